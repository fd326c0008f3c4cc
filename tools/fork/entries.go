package main

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

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

// listing are the files of Go that list modules by name. Elsewhere a word that is a module's name is a word.
var listing = []string{
	"services/app.go", "services/config.go", "services/main_test.go", "services/outside_test.go",
	"migrations/migrations.go", "migrations/migrations_test.go", "migrations/roles_test.go",
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
		if !slices.Contains(listing, name) {
			return false
		}
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
