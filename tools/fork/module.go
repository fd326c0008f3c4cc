package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// plan is what is to be made: a resource, in a module that is new or there already. The templates see it.
type plan struct {
	noun
	Module     string // giftcards
	First      bool   // the module is new
	Public     bool   // reading needs no token
	Auth       bool   // the module auth is there
	GoModule   string
	API        string // giftcardsv1
	Login      string // of the module in Postgres
	Scope      string // gift-cards, of gift-cards:read
	ScopeWords string
	Store      string // what the store's methods are called on: store or *store
	NewStore   string // store or &store
}

// module makes a whole module.
func module(root string, args []string, out io.Writer) error {
	words, public, one, err := options(args)
	if err != nil || len(words) != 1 {
		return errors.Join(errors.New("make module NAME=invoices [PUBLIC=1] [SINGULAR=invoice]"), err)
	}
	before, err := read(root)
	if err != nil {
		return err
	}
	t := maps.Clone(before)
	p, err := t.newModule(words[0], one, public)
	if err != nil {
		return err
	}
	if err := t.finish(root, before, p, out); err != nil {
		return err
	}
	fmt.Fprintf(out, `the module %[1]s answers at /v1/%[2]s, %[3]s; begin with
  api/%[1]s/v1/openapi.yaml: what it promises (then make generate)
  migrations/%[1]s/0001_%[5]s.sql: its table (a new file once this one has run elsewhere)
  services/%[1]s/store.go and %[4]s.go: what it keeps, and its rules
then make test, and make run; docs/add-a-module.md says what each file is for
`, p.Module, p.Many, p.readers(), p.File, p.Table)
	list(out, t, before)
	return nil
}

// resource makes one more resource in a module.
func resource(root string, args []string, out io.Writer) error {
	words, public, one, err := options(args)
	if err != nil || len(words) != 2 {
		return errors.Join(errors.New("make resource MODULE=invoices NAME=line-items [PUBLIC=1] [SINGULAR=line-item]"), err)
	}
	before, err := read(root)
	if err != nil {
		return err
	}
	t := maps.Clone(before)
	p, err := t.newResource(words[0], words[1], one, public)
	if err != nil {
		return err
	}
	if err := t.finish(root, before, p, out); err != nil {
		return err
	}
	fmt.Fprintf(out, "the module %s answers at /v1/%s too, %s\n", p.Module, p.Many, p.readers())
	list(out, t, before)
	return nil
}

func (p plan) readers() string {
	if p.Public {
		return "which everybody may read"
	}
	return "to each caller with what is theirs"
}

// list says which files are new and which have new lines.
func list(out io.Writer, t, before tree) {
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if was, there := before[name]; !there {
			fmt.Fprintf(out, "  new      %s\n", name)
		} else if string(was) != string(t[name]) {
			fmt.Fprintf(out, "  changed  %s\n", name)
		}
	}
}

// options reads flags wherever they stand, and the words between them.
func options(args []string) (words []string, public bool, one string, err error) {
	for _, arg := range args {
		value, isOne := strings.CutPrefix(arg, "--singular=")
		switch {
		case arg == "--public":
			public = true
		case isOne:
			one = value
		case strings.HasPrefix(arg, "-"):
			err = fmt.Errorf("there is no %q", arg)
		default:
			words = append(words, arg)
		}
	}
	return words, public, one, err
}

// newModule adds a module to the tree, but for what the generator makes of its contract.
func (t tree) newModule(name, one string, public bool) (plan, error) {
	n, err := newNoun(name, one)
	if err != nil {
		return plan{}, err
	}
	p, err := t.plan(n, word(name), public)
	if err != nil {
		return p, err
	}
	p.First, p.Scope, p.ScopeWords, p.Store, p.NewStore = true, n.Many, n.ManyWords, "store", "store"
	if err := errors.Join(t.freeModule(p), t.freeResource(p)); err != nil {
		return p, err
	}
	files := map[string]string{
		"api/" + p.Module + "/v1/openapi.yaml":                 "openapi.yaml",
		"api/" + p.Module + "/v1/config.yaml":                  "config.yaml",
		"api/" + p.Module + "/v1/doc.go":                       "doc.go",
		"services/" + p.Module + "/module.go":                  "module.go",
		"services/" + p.Module + "/handlers.go":                "handlers.go",
		"services/" + p.Module + "/store.go":                   "store.go",
		"services/" + p.Module + "/module_test.go":             "story_test.go",
		"services/" + p.Module + "/" + p.File + ".go":          "rules.go",
		"services/" + p.Module + "/" + p.File + "_test.go":     "rules_test.go",
		"services/app_" + p.Module + ".go":                     "app.go",
		"services/story_" + p.Module + "_test.go":              "front_test.go",
		"migrations/" + p.Module + "/0001_" + p.Table + ".sql": "migration.sql",
	}
	if err := t.add(files, p); err != nil {
		return p, err
	}
	if made, err := t.template(); err == nil { // plan has read it
		made.Made = append(made.Made, p.Module)
		t.set(made)
	}
	return p, t.wireModule(p)
}

// plan is what every template needs to know of the tree.
func (t tree) plan(n noun, module string, public bool) (plan, error) {
	template, err := t.template()
	if err != nil {
		return plan{}, err
	}
	login := regexp.MustCompile(`func Login\(module string\) string \{ return "([^"]+)" \+ module \}`).FindSubmatch(t["migrations/migrations.go"])
	if login == nil {
		return plan{}, errors.New("migrations/migrations.go does not say in its function Login what a module's login is called")
	}
	_, auth := t["services/auth/module.go"]
	return plan{
		noun: n, Module: module, Public: public, Auth: auth, GoModule: template.Module,
		API: module + "v1", Login: string(login[1]) + module,
	}, nil
}
