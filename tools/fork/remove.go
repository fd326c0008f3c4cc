package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
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
	fmt.Fprintln(out, "seeing that the rest compiles (a minute where nothing is cached)")
	if err := after.conform(); err != nil {
		return err
	}
	if err := after.writeOrUndo(root, before); err != nil {
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

// conform sees, in a folder of its own, that the tree and its tests compile, and brings what is made from the code in line with it: the list of
// dependencies, the table of settings.
func (t tree) conform() error {
	scratch, err := os.MkdirTemp("", "fork-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	if err := t.write(scratch, nil); err != nil {
		return err
	}
	// Without the path of this folder in what is compiled, the next run finds it in the cache.
	for _, args := range [][]string{{"mod", "tidy"}, {"vet", "-trimpath", "./..."}} {
		if _, err := goes(scratch, scratch, args...); err != nil {
			return fmt.Errorf("nothing is written: %w", err)
		}
	}
	table, err := goes(scratch, scratch, "run", "-trimpath", "./services", "config")
	if err != nil {
		return fmt.Errorf("the program does not print its settings, so nothing is written: %w", err)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		if t[name], err = os.ReadFile(filepath.Join(scratch, name)); err != nil {
			return err
		}
	}
	return t.edit(readme, func(content []byte) ([]byte, error) { return settingsIn(content, table), nil }) // a fork may have moved it
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
		if belongs(name, t[name], module) {
			continue
		}
		content, err := without(name, t[name], module)
		if err != nil {
			return nil, err
		}
		if path.Ext(name) == ".go" && !strings.HasPrefix(name, "tools/fork/") { // which names modules as examples
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
	if len(t.modules()) == 1 {
		return nil, fmt.Errorf("%s is the last module: a backend has one at least, so make another one first", module)
	}
	if own := slices.Index(made.Made, module); own >= 0 { // the template never had it
		made.Made = slices.Delete(made.Made, own, own+1)
	} else if !slices.Contains(made.Removed, module) {
		made.Removed = append(made.Removed, module)
	}
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
	folder, base := path.Split(name) // in the front door's folder a module's files are known by their names, and so is what has no comments
	return folder == "services/" && (strings.HasSuffix(base, "_"+module+".go") || strings.HasSuffix(base, "_"+module+"_test.go")) ||
		folder == "deploy/observability/dashboards/" && strings.HasSuffix(base, "_"+module+".json")
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
	gone := false       // one that goes has ended on the line before
	blank := func(line string) bool { return strings.TrimSpace(line) == "" }
	for i, line := range strings.SplitAfter(string(content), "\n") {
		bare := strings.TrimRight(line, "\r\n")
		if gone && blank(line) && len(out) > 0 && blank(out[len(out)-1]) { // of the blank lines around it one stays, at the end of the file none
			out = out[:len(out)-1]
		}
		gone = false
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
				dropping, gone = 0, true
			}
			inside = inside[:len(inside)-1]
		}
	}
	if len(inside) > 0 {
		return nil, fmt.Errorf("%s: the region of %s does not end", name, inside[len(inside)-1])
	}
	return []byte(strings.Join(out, "")), nil
}
