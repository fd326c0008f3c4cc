package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestGoModTakesWhatTheTemplateChangedAndKeepsWhatTheForkDid(t *testing.T) {
	t.Parallel()
	file := func(module, rest string, require ...string) []byte {
		return fmt.Appendf(nil, "module %s\n\ngo 1.26.0\n%s\nrequire (\n\t%s\n)\n", module, rest, strings.Join(require, "\n\t"))
	}
	base := file("x.example/x", "", "a.example/a v1.0.0", "b.example/b v1.0.0", "c.example/c v1.0.0", "d.example/d v1.0.0", "e.example/e v1.0.0", "i.example/i v1.0.0 // indirect")
	ours := file("x.example/x", "", "a.example/a v1.0.0", "b.example/b v1.3.0", "c.example/c v1.1.0", "d.example/d v1.0.0", "f.example/f v1.0.0", "i.example/i v1.0.0 // indirect")
	theirs := file("x.example/x", "", "a.example/a v1.1.0", "b.example/b v1.2.0", "c.example/c v1.2.0", "e.example/e v1.1.0", "g.example/g v1.0.0", "h.example/h v1.0.0 // indirect", "i.example/i v1.0.0")
	got, ok := mergedMod(base, ours, []byte(strings.Replace(string(theirs), "1.26.0", "1.27.0", 1)))
	const want = `module x.example/x

go 1.27.0

require (
	a.example/a v1.1.0
	b.example/b v1.3.0
	c.example/c v1.2.0
	d.example/d v1.0.0
	f.example/f v1.0.0
	g.example/g v1.0.0
	i.example/i v1.0.0
)

require h.example/h v1.0.0 // indirect
`
	if !ok || string(got) != want {
		t.Errorf("it becomes %v\n%s\nand not\n%s", ok, got, want)
	}
	for name, theirs := range map[string][]byte{
		"a replacement": file("x.example/x", "\nreplace a.example/a => ../a\n", "a.example/a v1.0.0"),
		"no go.mod":     []byte("<<<<<<<\n"),
	} {
		if got, ok := mergedMod(base, ours, theirs); ok {
			t.Errorf("%s is not left to git:\n%s", name, got)
		}
	}
}

func TestAProgramMergesWhatAProgramMakes(t *testing.T) {
	t.Parallel()
	of := func(text string) tree {
		return tree{"go.sum": []byte("all\n" + text), "api/users/v1/gen.go": []byte(text), "x.txt": []byte(text), "api/gone/v1/gen.go": []byte(text)}
	}
	base, ours, theirs := of("base\n"), of("ours\n"), of("theirs\n")
	delete(ours, "api/gone/v1/gen.go")
	settle(base, ours, theirs)
	for name, want := range map[string][2]string{
		"go.sum": {"all\nours\n", "all\nours\ntheirs\n"}, "api/users/v1/gen.go": {"ours\n", "ours\n"},
		"x.txt": {"base\n", "theirs\n"}, "api/gone/v1/gen.go": {"", ""},
	} {
		if string(base[name]) != want[0] || string(theirs[name]) != want[1] {
			t.Errorf("%s: git gets %q and %q, not %q", name, base[name], theirs[name], want)
		}
	}
	base, ours, theirs = of("base\n"), of("ours\n"), tree{}
	settle(base, ours, theirs)
	if string(base["go.sum"]) != "all\nours\n" || string(base["x.txt"]) != "base\n" || len(theirs) != 0 {
		t.Errorf("what the template no longer has: git gets %q and %q", base, theirs)
	}
}

func TestMigrationsOfTheTemplateComeAfterTheForksOwn(t *testing.T) {
	t.Parallel()
	files := func(names ...string) tree {
		made := tree{}
		for _, n := range names {
			made["migrations/"+n+".sql"] = []byte(n)
		}
		return made
	}
	for name, c := range map[string]struct{ base, ours, theirs, want tree }{
		"the fork has none":      {files("a/0001_a"), files("a/0001_a"), files("a/0001_a", "a/0002_b"), files("a/0001_a", "a/0002_b")},
		"the same number":        {files("a/0001_a"), files("a/0001_a", "a/0002_x"), files("a/0001_a", "a/0002_b"), files("a/0001_a", "a/0003_b")},
		"a lower number":         {files("a/0001_a"), files("a/0001_a", "a/0009_x"), files("a/0001_a", "a/0002_b"), files("a/0001_a", "a/0010_b")},
		"a higher number":        {files("a/0001_a"), files("a/0001_a", "a/0002_x"), files("a/0001_a", "a/0003_b"), files("a/0001_a", "a/0003_b")},
		"a run into each other":  {files("a/0001_a"), files("a/0001_a", "a/0002_x"), files("a/0001_a", "a/0002_b", "a/0003_c"), files("a/0001_a", "a/0003_b", "a/0004_c")},
		"another module":         {files("a/0001_a"), files("a/0001_a", "b/0002_x"), files("a/0001_a", "a/0002_b"), files("a/0001_a", "a/0002_b")},
		"one that moved before":  {files("a/0001_a", "a/0002_b"), files("a/0001_a", "a/0002_x", "a/0003_b"), files("a/0001_a", "a/0002_b", "a/0003_c"), files("a/0001_a", "a/0002_b", "a/0004_c")},
		"one that the fork took": {files("a/0001_a"), files("a/0001_a", "a/0002_b"), files("a/0001_a", "a/0002_b"), files("a/0001_a", "a/0002_b")},
	} {
		renumber(c.base, c.ours, c.theirs)
		got, want := slices.Sorted(maps.Keys(c.theirs)), slices.Sorted(maps.Keys(c.want))
		if !slices.Equal(got, want) {
			t.Errorf("%s: the template's are %v and not %v", name, got, want)
		}
	}
}
