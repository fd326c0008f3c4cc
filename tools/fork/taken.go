package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// freeModule refuses a module whose name is somebody else's already.
func (t tree) freeModule(p plan) error {
	upper := strings.ToUpper(p.Module)
	for _, name := range slices.Sorted(maps.Keys(t)) {
		content := t[name]
		first, rest, _ := strings.Cut(name, "/")
		folder, _, _ := strings.Cut(rest, "/")
		switch {
		case slices.Contains([]string{"api", "services", "migrations"}, first) && folder == p.Module:
			return fmt.Errorf("there is a module %s already (%s/%s); make resource MODULE=%[1]s NAME=… adds to it", p.Module, first, folder)
		case first == "pkg" && folder == p.Module:
			return fmt.Errorf("%q cannot be a module: pkg/%s is called that; take a longer name, such as customer-%[1]s", p.Many, folder)
		case path.Dir(name) == "services" && strings.Contains(string(content), `"`+upper+`_URL"`) && !strings.HasSuffix(name, "_test.go"):
			return fmt.Errorf("%q cannot be a module: its setting %s_URL means something else in %s", p.Many, upper, name)
		case (name == together || name == apart) && strings.Contains(string(content), "\n  "+p.Module+":\n"):
			return fmt.Errorf("%q cannot be a module: %s has a service %s", p.Many, name, p.Module)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if belongs(name, nil, p.Module) {
			return fmt.Errorf("%q cannot be a module: make remove would take %s for a file of it; take a longer name, such as customer-%[1]s", p.Many, name)
		}
	}
	if len(p.Login) > longest {
		return fmt.Errorf("%q is too long: Postgres takes %d letters, and its login is called %s", p.Many, longest, p.Login)
	}
	return nil
}

// freeResource refuses a resource whose path or words have another meaning already.
func (t tree) freeResource(p plan) error {
	for _, name := range slices.Sorted(maps.Keys(t)) { // the same reason each time
		content := t[name]
		if ok, _ := path.Match("api/*/*/openapi.yaml", name); !ok {
			continue
		}
		if regexp.MustCompile(`(?m)^  /v[0-9]+/` + p.Many + `(/.*)?:$`).Match(content) {
			return fmt.Errorf("the path /v1/%s is in %s: each path has one owner", p.Many, name)
		}
		if !strings.HasPrefix(name, "api/"+p.Module+"/") && regexp.MustCompile(`(?m)(^|[^a-z-])`+p.Scope+`:(read|write)\b`).Match(content) {
			return fmt.Errorf("%q cannot be a name: %s has a scope %s:… already, which is for something else", p.Many, name, p.Scope)
		}
	}
	words, err := wordsOfTemplates()
	if err != nil {
		return err
	}
	for _, word := range []string{p.Var, p.Vars} {
		if words[word] {
			return fmt.Errorf("%q cannot be a name: the code that is made says %s for something else; take a longer one, such as invoice-%[1]s", p.Many, word)
		}
	}
	return nil
}

// wordsOfTemplates are the words that mean something in the templates' Go code: variables, functions, types, packages. Fields are not
// among them, which stand behind a dot, and neither is what is made of the name.
func wordsOfTemplates() (map[string]bool, error) {
	words := map[string]bool{}
	n, err := newNoun("zz-names", "")
	if err != nil {
		return nil, err
	}
	for _, public := range []bool{true, false} {
		p := plan{noun: n, Module: "zz", API: "zzv1", GoModule: "zz", Scope: "zz", Store: "store", NewStore: "store", First: true, Public: public}
		files, err := fs.Glob(templateFiles, "templates/*.go.tmpl")
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			content, err := render(strings.TrimSuffix(path.Base(file), ".tmpl"), p)
			if err != nil {
				return nil, err
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, content, 0)
			if err != nil {
				return nil, err
			}
			if parsed.Name.Name == "zz" { // and not the front door
				collect(words, parsed)
			}
		}
	}
	return words, nil
}

func collect(words map[string]bool, in ast.Node) {
	ast.Inspect(in, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			collect(words, n.X)
			return false
		case *ast.KeyValueExpr:
			collect(words, n.Value)
			return false
		case *ast.StructType:
			return false
		case *ast.FuncDecl:
			if n.Recv != nil { // a method stands behind a dot, too
				collect(words, n.Recv)
				collect(words, n.Type)
				collect(words, n.Body)
				return false
			}
		case *ast.Ident:
			words[n.Name] = !strings.HasPrefix(n.Name, "zz")
		}
		return true
	})
}

// declaredTwice says which name the files of a folder have for two things, "" when there is none. The compiler knows as well, and says it in
// a page of consequences.
func (t tree) declaredTwice(folder string) string {
	declared, imported := map[string]string{}, map[string]string{} // by package and name: the file
	for _, file := range slices.Sorted(maps.Keys(t)) {
		if path.Dir(file) != folder || path.Ext(file) != ".go" {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, t[file], parser.SkipObjectResolution)
		if err != nil {
			return "" // the compiler says it better
		}
		within := parsed.Name.Name + "."
		for _, i := range parsed.Imports {
			name := path.Base(strings.Trim(i.Path.Value, `"`))
			if i.Name != nil {
				name = i.Name.Name
			}
			imported[within+name] = file
		}
		for _, name := range declarations(parsed) {
			if other := declared[within+name]; other != "" {
				return fmt.Sprintf("%s is in %s and in %s", name, path.Base(other), path.Base(file))
			}
			declared[within+name] = file
		}
	}
	for _, name := range slices.Sorted(maps.Keys(imported)) {
		if declared[name] != "" {
			return fmt.Sprintf("%s is declared in %s and imported in %s", strings.SplitN(name, ".", 2)[1], path.Base(declared[name]), path.Base(imported[name]))
		}
	}
	return ""
}

// declarations are the names that a file adds to its package: x for a type or function, x.y for a method.
func declarations(file *ast.File) (names []string) {
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				name = strings.TrimPrefix(types.ExprString(d.Recv.List[0].Type), "*") + "." + name
			}
			if name != "init" {
				names = append(names, name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					names = append(names, s.Name.Name)
				case *ast.ValueSpec:
					for _, id := range s.Names {
						if id.Name != "_" {
							names = append(names, id.Name)
						}
					}
				}
			}
		}
	}
	return names
}
