package main

import (
	"bytes"
	"maps"
	"os/exec"
	"testing"
)

// TestWhatTheForkAndTheTemplateMakeStandsBesideEachOther has the fork and the template make a module each, and a resource each in every module:
// merged, the files are those of a tree in which both were made, one after the other.
func TestWhatTheForkAndTheTemplateMakeStandsBesideEachOther(t *testing.T) {
	t.Parallel()
	base := thisTree(t)
	grown := func(from tree, module, resource string, public bool) tree {
		made := maps.Clone(from)
		_, err := made.newModule(module, "", public)
		for _, m := range base.modules() {
			if _, none := base.storeOf("services/" + m); none == nil && err == nil {
				_, err = made.newResource(m, m+"-"+resource, "", false)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	for _, public := range []bool{false, true} {
		// The longer name moves the columns of the other entries in services/app.go.
		ours, theirs := grown(base, "extraordinary-lanterns", "oars", public), grown(base, "paper-boats", "wicks", public)
		both := grown(ours, "paper-boats", "wicks", public)
		for name, was := range base {
			if name == templateFile || bytes.Equal(was, ours[name]) || bytes.Equal(was, theirs[name]) {
				continue
			}
			merged, ok := mergedList(name, was, ours[name], theirs[name])
			other, ok2 := mergedList(name, was, theirs[name], ours[name])
			if !ok || !ok2 {
				t.Errorf("%s is left to git", name)
			} else if want := both[name]; !bytes.Equal(merged, want) && !bytes.Equal(other, want) { // a new chapter is the first one
				t.Errorf("%s is not merged as if both were made in one tree: %s", name, difference(merged, want))
			}
		}
	}
}

func TestOnlyWhatIsAddedToAListStandsBesideEachOther(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		skipWithout(t, err)
	}
	const app, contract = "services/app.go", "api/users/v1/openapi.yaml"
	for name, c := range map[string]struct{ file, base, ours, theirs, want string }{
		"an entry each":           {together, "a:\n  b: 1\n", "a:\n  b: 1\n  c: 1\n", "a:\n  b: 1\n  d: 1\n", "a:\n  b: 1\n  c: 1\n  d: 1\n"},
		"the same end":            {apart, "a:\n  b: 1\n", "a:\n  b: 1\nc:\n  b: 1\n", "a:\n  b: 1\nd:\n  b: 1\n", "a:\n  b: 1\nc:\n  b: 1\nd:\n  b: 1\n"},
		"the same line":           {together, "a: 1\n", "a: 2\n", "a: 3\n", ""},
		"beside a changed line":   {together, "a: 1\n", "a: 1\nb: 1\n", "a: 2\n", ""},
		"in two depths":           {together, "a:\n  b: 1\nz: 1\n", "a:\n  b: 1\nc:\n  b: 1\nz: 1\n", "a:\n  b: 1\n  d: 1\nz: 1\n", ""},
		"an end and a beginning":  {together, "a:\n  b: 1\n", "a:\n  b: 1\n  e: 1\nc:\n  b: 1\n", "a:\n  b: 1\n  f: 1\nd:\n  b: 1\n", ""},
		"a key twice":             {together, "a: 1\n", "a: 1\nb: 1\n", "a: 1\nb: 2\n", ""},
		"a region without end":    {caddyfile, "a\n", "a\n# only with users:\nb\n", "a\nc\n", ""},
		"a part that both took":   {contract, "a: 1\n", "a: 1\nb: {c: 1}\nd:\n  e: 1\n", "a: 1\nb: {c: 1}\nf:\n  e: 1\n", "a: 1\nb: {c: 1}\nd:\n  e: 1\nf:\n  e: 1\n"},
		"a part that differs":     {contract, "a: 1\n", "a: 1\nb: {c: 1}\nd: 1\n", "a: 1\nb: {c: 2}\nf: 1\n", ""},
		"columns":                 {app, "package x\n\nvar x = y{\n\ta: 1, // 1\n}\n", "package x\n\nvar x = y{\n\ta:   1, // 1\n\tbbb: 1,\n}\n", "package x\n\nvar x = y{\n\ta:  1, // 1\n\tcc: 1,\n}\n", "package x\n\nvar x = y{\n\ta:   1, // 1\n\tbbb: 1,\n\tcc:  1,\n}\n"},
		"the first entry":         {app, "package x\n\nvar x = []y{}\n", "package x\n\nvar x = []y{\n\ta,\n}\n", "package x\n\nvar x = []y{\n\tb,\n}\n", "package x\n\nvar x = []y{\n\ta,\n\tb,\n}\n"},
		"the first one within":    {app, "package x\n\nvar x = []y{\n\ta: {},\n\tb: {},\n}\n", "package x\n\nvar x = []y{\n\ta: {\n\t\t1,\n\t},\n\tb: {},\n}\n", "package x\n\nvar x = []y{\n\ta: {\n\t\t2,\n\t},\n\tb: {},\n}\n", "package x\n\nvar x = []y{\n\ta: {\n\t\t1,\n\t\t2,\n\t},\n\tb: {},\n}\n"},
		"steps of a function":     {app, "package x\n\nfunc x() {\n\ta()\n}\n", "package x\n\nfunc x() {\n\ta()\n\tb()\n}\n", "package x\n\nfunc x() {\n\ta()\n\tc()\n}\n", ""},
		"what is no Go":           {app, "package x\n", "package x\n\nvar y = 1\n", "package x\n\nvar\n", ""},
		"what gofmt would change": {app, "package x\n", "package x\n\nvar  y = 1\n", "package x\n\nvar z = 1\n", ""},
		"a file that is gone":     {together, "a: 1\n", "", "a: 2\n", ""},
	} {
		ours := []byte(c.ours)
		if c.ours == "" {
			ours = nil
		}
		merged, ok := mergedList(c.file, []byte(c.base), ours, []byte(c.theirs))
		if !ok {
			merged = nil
		}
		if string(merged) != c.want {
			t.Errorf("%s: it is %q and not %q", name, merged, c.want)
		}
	}
}
