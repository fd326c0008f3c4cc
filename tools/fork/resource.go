package main

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// newResource adds a resource to a module of the tree, but for what the generator makes of its contract.
func (t tree) newResource(module, name, one string, public bool) (plan, error) {
	n, err := newNoun(name, one)
	if err != nil {
		return plan{}, err
	}
	p, err := t.plan(n, word(module), public)
	if err != nil {
		return p, err
	}
	if !slices.Contains(t.modules(), p.Module) {
		return p, fmt.Errorf("there is no module %q; there are %s", module, strings.Join(t.modules(), ", "))
	}
	folder, contract := "services/"+p.Module, "api/"+p.Module+"/v1/openapi.yaml"
	if p.Store, err = t.storeOf(folder); err != nil {
		return p, err
	}
	p.NewStore = strings.Replace(p.Store, "*", "&", 1)
	p.Scope = scopeIn(string(t[contract]), p)
	p.ScopeWords = strings.ReplaceAll(p.Scope, "-", " ")
	if err := t.freeResource(p); err != nil {
		return p, err
	}
	files := map[string]string{
		folder + "/" + p.File + ".go":           "rules.go",
		folder + "/" + p.File + "_test.go":      "rules_test.go",
		folder + "/handlers_" + p.Table + ".go": "handlers.go",
		folder + "/store_" + p.Table + ".go":    "store.go",
		folder + "/" + p.Table + "_test.go":     "story_test.go",
		t.nextMigration(p):                      "migration.sql",
	}
	if err := t.add(files, p); err != nil {
		return p, err
	}
	alone, err := render("openapi.yaml", p)
	if err != nil {
		return p, err
	}
	made, err := addResource(string(t[contract]), string(alone))
	if err != nil {
		return p, fmt.Errorf("%s: %w", contract, err)
	}
	t[contract] = []byte(made)
	return p, t.wireResource(p)
}

// storeOf finds what the store of a module is kept as: store, or *store. It has to have the pool in db.
func (t tree) storeOf(folder string) (string, error) {
	var kept, pool string
	for name, content := range t {
		if path.Dir(name) != folder || !strings.HasSuffix(name, ".go") {
			continue
		}
		if m := regexp.MustCompile(`(?ms)^type Module struct \{.*?^\tstore +(\*?store)$.*?^\}`).FindSubmatch(content); m != nil {
			kept = string(m[1])
		}
		if m := regexp.MustCompile(`(?ms)^type store struct \{.*?^\t(db) +\*pgxpool\.Pool$.*?^\}`).FindSubmatch(content); m != nil {
			pool = string(m[1])
		}
	}
	if kept == "" || pool == "" {
		return "", fmt.Errorf("%s has no type Module with a store in it, which has a db of *pgxpool.Pool: what is made is called on that", folder)
	}
	return kept, nil
}

// scopeIn is the word before :read and :write: the module's own where the contract has no other, as in a module that was made here.
func scopeIn(contract string, p plan) string {
	target := strings.Split(contract, "\n")
	at, _ := find(target, []string{"components", "securitySchemes", "oauth2", "flows", "clientCredentials", "scopes"})
	own := ""
	for _, e := range entries(target, at) {
		before, _, _ := strings.Cut(e.key, ":")
		switch {
		case word(before) == p.Module:
			own = before
		case before != "internal":
			return p.Many
		}
	}
	if own == "" {
		return p.Many
	}
	return own
}

// nextMigration is the name of the module's next file.
func (t tree) nextMigration(p plan) string {
	number := 0
	for name := range t {
		var n int
		if path.Dir(name) == "migrations/"+p.Module {
			if _, err := fmt.Sscanf(path.Base(name), "%d_", &n); err == nil {
				number = max(number, n)
			}
		}
	}
	return fmt.Sprintf("migrations/%s/%04d_%s.sql", p.Module, number+1, p.Table)
}
