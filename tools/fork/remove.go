package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// remove takes a module out: its contract, code, schema and wiring, and what stands elsewhere only because of it.
func remove(root string, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("say which module: make remove NAME=transactions")
	}
	if err := clean(root); err != nil {
		return err
	}
	before, err := read(root)
	if err != nil {
		return err
	}
	module := args[0]
	if !slices.Contains(before.modules(), module) { // a module's name is one word, whatever its resource is called
		module = strings.ReplaceAll(module, "-", "")
	}
	after, err := removed(before, module)
	if err != nil {
		return err
	}
	if err := after.write(root, before); err != nil {
		return err
	}
	if err := conform(root); err != nil {
		return err
	}
	name := after.name()
	fmt.Fprintf(out, "%s is gone; look at it with git diff, and run make check.\n", module)
	fmt.Fprintf(out, "A database that had it keeps its schema, with the data, and its login, until the owner of the database runs:\n"+
		"  drop schema %q cascade; drop owned by %s; drop role %s;\n", module, name+"_"+module, name+"_"+module)
	return nil
}

// name is the name in identifiers of Postgres.
func (t tree) name() string {
	made, _ := t.template() // removed has read it
	return strings.ReplaceAll(made.Name, "-", "_")
}

// conform brings what is made from the code in line with it: the table of settings, the list of dependencies.
func conform(root string) error {
	for _, args := range [][]string{{"go", "mod", "tidy"}, {"go", "build", "./..."}} {
		if err := inTree(root, io.Discard, args...); err != nil {
			return err
		}
	}
	var table bytes.Buffer
	if err := inTree(root, &table, "go", "run", "./services", "config"); err != nil {
		return err
	}
	file := path.Join(root, "README.md")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, rest, begins := strings.Cut(string(text), "<!-- settings -->\n")
	_, tail, ends := strings.Cut(rest, "<!-- /settings -->")
	if !begins || !ends {
		return nil // a fork may have moved it
	}
	return os.WriteFile(file, []byte(head+"<!-- settings -->\n"+table.String()+"<!-- /settings -->"+tail), 0o644)
}

func inTree(root string, out io.Writer, args ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, out, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s\nThe tree is as far as it came; git stash --include-untracked puts it back", strings.Join(args, " "), err, stderr.String())
	}
	return nil
}

// removed is t without a module. What knows of the module outside of its own files either stands in a region that says so (only with …),
// in a file that ends in its name, or is an entry of a list or a table in Go that is found by its name.
func removed(t tree, module string) (tree, error) {
	made, err := t.template()
	if err != nil {
		return nil, err
	}
	if !slices.Contains(t.modules(), module) {
		return nil, fmt.Errorf("there is no module %q; there are %s", module, strings.Join(t.modules(), ", "))
	}
	after := tree{}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if strings.HasPrefix(name, "tools/fork/") { // names modules as examples
			after[name] = t[name]
			continue
		}
		if belongs(name, t[name], module) {
			continue
		}
		content, err := without(name, t[name], module)
		if err != nil {
			return nil, err
		}
		if path.Ext(name) == ".go" {
			if content, err = withoutEntries(name, content, made.Module, module); err != nil {
				return nil, err
			}
			if !bytes.Equal(content, t[name]) {
				if content, err = tidied(name, t[name], content); err != nil {
					return nil, err
				}
			}
		}
		after[name] = content
	}
	made.Removed = append(made.Removed, module)
	after.set(made)
	return after, nil
}

// modules are the names that have a folder of code and one of migrations, in order.
func (t tree) modules() (names []string) {
	for name := range t {
		parts := strings.Split(name, "/")
		if len(parts) != 3 || parts[0] != "migrations" || slices.Contains(names, parts[1]) {
			continue
		}
		if _, ok := t["services/"+parts[1]+"/module.go"]; ok {
			names = append(names, parts[1])
		}
	}
	slices.Sort(names)
	return names
}

// belongs reports whether a file is there for one module only: it is in a folder of the module, its name says so, or one of its first lines.
func belongs(name string, content []byte, module string) bool {
	head, _, _ := bytes.Cut(content, []byte("\n\n"))
	if m := wholeFile.FindSubmatch(head); m != nil && slices.Contains(strings.Split(string(m[1]), ", "), module) {
		return true
	}
	for _, folder := range []string{"api/", "services/", "migrations/"} {
		if strings.HasPrefix(name, folder+module+"/") {
			return true
		}
	}
	base := path.Base(name)
	word := strings.ReplaceAll(module, "-", "_")
	return strings.HasSuffix(base, "_"+word+".go") || strings.HasSuffix(base, "_"+word+"_test.go")
}

var (
	// A word of a person stands behind it: only with auth: this file.
	wholeFile = regexp.MustCompile(`(?m)^\s*(?://|#|--|<!--|/\*)\s*only with ([a-z0-9, -]+?): this file\b`)

	opens  = regexp.MustCompile(`^\s*(?://|#|--|<!--)\s*only with ([a-z0-9, -]+?):?(?:\s*-->)?\s*$`)
	closes = regexp.MustCompile(`^\s*(?://|#|--|<!--)\s*end ([a-z0-9, -]+?)(?:\s*-->)?\s*$`)
)

// without drops the regions of a text that need the module. A region may stand inside of another one.
func without(name string, content []byte, module string) ([]byte, error) {
	if bytes.IndexByte(content, 0) >= 0 || !bytes.Contains(content, []byte("only with ")) {
		return content, nil
	}
	var out []string
	var inside []string // the modules of the regions around this line, outermost first
	dropping := 0       // how many regions there were when one began that goes
	for i, line := range strings.SplitAfter(string(content), "\n") {
		bare := strings.TrimRight(line, "\r\n")
		if m := opens.FindStringSubmatch(bare); m != nil {
			inside = append(inside, m[1])
			if dropping == 0 && slices.Contains(strings.Split(m[1], ", "), module) {
				dropping = len(inside)
			}
		}
		if dropping == 0 {
			out = append(out, line)
		}
		if m := closes.FindStringSubmatch(bare); m != nil {
			if len(inside) == 0 || inside[len(inside)-1] != m[1] {
				return nil, fmt.Errorf("%s:%d: the region of %s ends here and has not begun", name, i+1, m[1])
			}
			if len(inside) == dropping {
				dropping = 0
			}
			inside = inside[:len(inside)-1]
		}
	}
	if len(inside) > 0 {
		return nil, fmt.Errorf("%s: the region of %s does not end", name, inside[len(inside)-1])
	}
	return []byte(strings.Join(out, "")), nil
}

// names reports whether an element of a literal is about a module: its name, an entry under its name, or a row that begins with it.
func names(e ast.Expr, is func(ast.Expr) bool) bool {
	switch e := e.(type) {
	case *ast.KeyValueExpr:
		return is(e.Key)
	case *ast.CompositeLit:
		return e.Type == nil && len(e.Elts) > 1 && is(e.Elts[0])
	}
	return is(e)
}

// withoutEntries drops from a Go file the imports of the module's packages, and the elements, entries, rows and cases that are its name.
func withoutEntries(name string, content []byte, modulePath, module string) ([]byte, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var cuts [][2]int
	cut := func(from, to token.Pos) {
		cuts = append(cuts, [2]int{set.Position(from).Offset, set.Position(to).Offset})
	}
	is := func(e ast.Expr) bool {
		lit, ok := e.(*ast.BasicLit)
		return ok && lit.Kind == token.STRING && lit.Value == strconv.Quote(module)
	}
	for _, i := range file.Imports {
		imported, _ := strconv.Unquote(i.Path.Value)
		for _, folder := range []string{"/api/", "/services/"} {
			if p := modulePath + folder + module; imported == p || strings.HasPrefix(imported, p+"/") {
				cut(i.Pos(), i.End())
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			for i := 0; i < len(n.Elts); i++ {
				from := i
				for i < len(n.Elts) && names(n.Elts[i], is) {
					i++
				}
				switch {
				case i == from:
				case i < len(n.Elts):
					cut(n.Elts[from].Pos(), n.Elts[i].Pos())
				case from > 0:
					cut(n.Elts[from-1].End(), n.Elts[i-1].End())
				default:
					cut(n.Elts[0].Pos(), n.Rbrace)
				}
			}
		case *ast.CaseClause:
			if len(n.List) == 1 && is(n.List[0]) {
				cut(n.Pos(), n.End())
			}
		}
		return true
	})
	if len(cuts) == 0 {
		return content, nil
	}
	return cutOut(content, cuts), nil
}

// cutOut takes ranges of bytes out of a text. One that lies in another goes with it.
func cutOut(content []byte, cuts [][2]int) []byte {
	slices.SortFunc(cuts, func(a, b [2]int) int { return b[0] - a[0] })
	for i, c := range cuts {
		cuts[i] = wholeLines(content, c)
	}
	for _, c := range cuts {
		if slices.ContainsFunc(cuts, func(o [2]int) bool { return o != c && o[0] <= c[0] && c[1] <= o[1] }) {
			continue
		}
		content = append(content[:c[0]:c[0]], content[c[1]:]...)
	}
	return content
}

// wholeLines widens a range that leaves nothing of its lines but space.
func wholeLines(content []byte, c [2]int) [2]int {
	from, to := c[0], c[1]
	for from > 0 && (content[from-1] == ' ' || content[from-1] == '\t') {
		from--
	}
	for to < len(content) && (content[to] == ' ' || content[to] == '\t') {
		to++
	}
	if from > 0 && content[from-1] == '\n' && to < len(content) && content[to] == '\n' {
		return [2]int{from, to + 1}
	}
	return c
}

// tidied drops the imports that the cuts have left without a use, and formats what is left.
func tidied(name string, before, content []byte) ([]byte, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, content, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	old, err := parser.ParseFile(token.NewFileSet(), name, before, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	was, is := qualifiers(old), qualifiers(file)
	var cuts [][2]int
	for _, i := range file.Imports {
		if q := qualifier(i); was[q] && !is[q] {
			cuts = append(cuts, [2]int{set.Position(i.Pos()).Offset, set.Position(i.End()).Offset})
		}
	}
	if content, err = format.Source(cutOut(content, cuts)); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return content, nil
}

// qualifiers are the names before a dot.
func qualifiers(file *ast.File) map[string]bool {
	names := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := s.X.(*ast.Ident); ok {
				names[id.Name] = true
			}
		}
		return true
	})
	return names
}

var versionSuffix = regexp.MustCompile(`/v[0-9]+$`)

// qualifier is the name that an import is used by, as far as its path tells.
func qualifier(i *ast.ImportSpec) string {
	if i.Name != nil {
		return i.Name.Name
	}
	imported, _ := strconv.Unquote(i.Path.Value)
	return strings.TrimPrefix(path.Base(versionSuffix.ReplaceAllString(imported, "")), "go-")
}
