package main

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A saga is a fork of this very repository, and the template that goes on without it. Both change the same files, in other lines.
type saga struct {
	here         tree
	old, names   template
	origin, fork string
	folder       string // of migrations
	arrives      string // what the template's new migration is called in the fork
	contract     string
	// Two dependencies of dependencies, in lines that touch: the template uses the one itself from its second release on, the fork the other.
	direct, own string
}

func newSaga(t *testing.T) *saga {
	t.Helper()
	s := &saga{here: thisTree(t), names: template{Module: "example.net/puffin/backend", Name: "puffin-hq"}, arrives: "8002_new.sql"}
	s.old, _ = s.here.template()
	s.here["pkg/tide/tide.go"] = s.text("// Package tide is for a test.\npackage tide\n\n// High is one.\nconst High = \"NAME high\"\n\n// Middle is one.\nconst Middle = \"NAME\"\n\n// Low is one.\nconst Low = \"NAME low\"\n")
	s.here["pkg/tide/old.go"] = s.text("package tide\n\n// Old goes away.\nconst Old = \"NAME\"\n")
	for name := range s.here {
		if folder, number, _ := migration(name); number > 0 {
			s.folder = max(s.folder, folder)
		}
		if ok, _ := path.Match("api/*/v1/openapi.yaml", name); ok && len(summaries(string(s.here[name]))) > 1 {
			s.contract = max(s.contract, name)
		}
	}
	if m := regexp.MustCompile(`(golang\.org/x/crypto v\S+) // indirect\n\t(golang\.org/x/net v\S+) // indirect`).FindSubmatch(s.here["go.mod"]); m != nil {
		s.direct, s.own = string(m[1]), string(m[2])
	}
	if s.folder == "" || s.contract == "" {
		t.Skip("there is no module any more whose contract and schema could change")
	}
	s.origin = repository(t, s.here)
	do(t, s.origin, "release", "v0.1.0")
	return s
}

// text is a file of the template's.
func (s *saga) text(text string) []byte { return []byte(strings.ReplaceAll(text, "NAME", s.old.Name)) }

var summary = regexp.MustCompile(`summary: (.+)`)

// summaries are what a contract says of each operation.
func summaries(contract string) (all []string) {
	for _, m := range summary.FindAllStringSubmatch(contract, -1) {
		all = append(all, m[1])
	}
	return all
}

// begin clones the template, renames it and changes it.
func (s *saga) begin(t *testing.T) {
	t.Helper()
	s.fork = filepath.Join(t.TempDir(), "fork")
	must(t, ".", "clone", "--quiet", s.origin, s.fork)
	identify(t, s.fork)
	do(t, s.fork, "rename", s.names.Module, s.names.Name)
	if err := commit(s.fork, "Make it ours"); err != nil {
		t.Fatal(err)
	}
	change(t, s.fork, tree{
		"pkg/own/own.go":           []byte("// Package own is the fork's.\npackage own\n\nimport \"" + s.names.Module + "/pkg/tide\"\n\n// Own is one.\nconst Own = tide.High\n"),
		s.folder + "/8001_own.sql": []byte("select 'the fork';\n"),
	}, "Something of our own")
	if s.own != "" {
		change(t, s.fork, tree{"pkg/own/net.go": []byte("package own\n\nimport _ \"golang.org/x/net/idna\" // a dependency\n")}, "Use it directly")
		edit(t, s.fork, map[string][2]string{"go.mod": {s.own + " // indirect", s.own}}, "Say so")
	}
	all := summaries(contents(t, s.fork, s.contract))
	edit(t, s.fork, map[string][2]string{
		"pkg/tide/tide.go": {`"puffin-hq low"`, `"puffin-hq low, as the fork has it"`},
		s.contract:         {all[len(all)-1], "Say what the fork says"},
		changelogFile:      {"- Everything, ", "- Puffins. Everything, "},
	}, "Change what is the template's")
	generateIn(t, s.fork)
}

// second is the template's next release.
func (s *saga) second(t *testing.T) {
	t.Helper()
	change(t, s.origin, tree{
		"pkg/tide/new.go":          s.text("package tide\n\nimport _ \"golang.org/x/crypto/blake2b\" // a dependency\n\n// New is one of NAME_users.\nconst New = \"NAME_users\"\n"),
		"pkg/tide/old.go":          nil,
		s.folder + "/8000_new.sql": s.text("-- for NAME_x\nselect 1;\n"),
		changelogFile:              s.text("# Changelog\n\n## v0.2.0 - 2026-02-03\n\n### In a fork\n\n- Run `NAME migrate up`.\n\n## v0.1.0 - 2026-01-02\n\n- Everything.\n"),
	}, "Change much")
	script := "deploy/tide-" + s.old.Name + ".sh"
	change(t, s.origin, tree{script: []byte("#!/bin/sh\n")}, "A program")
	must(t, s.origin, "update-index", "--chmod=+x", script)
	must(t, s.origin, "commit", "--quiet", "--message", "May be run")
	must(t, s.origin, "checkout", "--quiet", script)
	if s.direct != "" {
		edit(t, s.origin, map[string][2]string{"go.mod": {s.direct + " // indirect", s.direct}}, "Use it directly")
	}
	edit(t, s.origin, map[string][2]string{
		"pkg/tide/tide.go": {`"` + s.old.Name + ` high"`, `"` + s.old.Name + ` higher"`},
		s.contract:         {summaries(contents(t, s.origin, s.contract))[0], "Say what the template says"},
	}, "Change lines")
	generateIn(t, s.origin)
	do(t, s.origin, "release", "v0.2.0")
}

// third changes what the second brought.
func (s *saga) third(t *testing.T) {
	t.Helper()
	change(t, s.origin, tree{
		s.folder + "/8003_more.sql": []byte("select 2;\n"),
		changelogFile:               []byte("# Changelog\n\n## v0.3.0 - 2026-03-04\n\n- More.\n"),
	}, "More")
	edit(t, s.origin, map[string][2]string{"pkg/tide/new.go": {`_users"`, `_auth"`}}, "Change what was new")
	do(t, s.origin, "release", "v0.3.0")
}

func generateIn(t *testing.T, root string) {
	t.Helper()
	if said, err := command(root, "make", "generate"); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if must(t, root, "status", "--porcelain") != "" {
		if err := commit(root, "Generate"); err != nil {
			t.Fatal(err)
		}
	}
}

// long leaves out what makes forks of the whole tree and their releases, a good part of what make test would take, unless it was asked for.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("NEED_UPGRADES") == "" {
		t.Skip("makes whole forks and their releases: `make upgrades` runs it")
	}
	t.Parallel()
}

func TestAForkTakesTheNextReleasesAndKeepsItsOwnChanges(t *testing.T) {
	long(t)
	s := newSaga(t)
	s.begin(t)
	s.second(t)
	before := must(t, s.fork, "rev-parse", "HEAD")
	said := do(t, s.fork, "upgrade", "v0.2.0", s.origin)
	if !strings.Contains(said, "- Run `puffin-hq migrate up`.") || strings.Contains(said, "v0.1.0") {
		t.Errorf("it does not show what the changelog says of the release:\n%s", said)
	}
	if parent, subject := must(t, s.fork, "rev-parse", "HEAD~1"), must(t, s.fork, "log", "-1", "--format=%s"); parent != before || subject != "Upgrade to v0.2.0" {
		t.Errorf("it is not one commit on top: %s, %s", parent, subject)
	}
	s.upgraded(t)
	upgraded := must(t, s.fork, "rev-parse", "HEAD")
	if generateIn(t, s.fork); must(t, s.fork, "rev-parse", "HEAD") != upgraded {
		t.Errorf("make generate makes something else than the upgrade:\n%s", must(t, s.fork, "show", "--stat"))
	}
	vetted(t, s.fork)

	// Once more, from where it came the first time.
	s.third(t)
	do(t, s.fork, "upgrade", "v0.3.0")
	if !strings.Contains(contents(t, s.fork, "pkg/tide/new.go"), `"puffin_hq_auth"`) {
		t.Error("the second upgrade does not change what the first one brought")
	}
	var migrations []string
	for name := range onDisk(t, s.fork) {
		if folder, number, _ := migration(name); folder == s.folder && number >= 8000 {
			migrations = append(migrations, path.Base(name))
		}
	}
	slices.Sort(migrations)
	if want := []string{"8001_own.sql", "8002_new.sql", "8003_more.sql"}; !slices.Equal(migrations, want) {
		t.Errorf("the migrations are %v and not %v: one that moved stays where it is", migrations, want)
	}
	if said := do(t, s.fork, "upgrade", "v0.3.0"); !strings.Contains(said, "nothing to do") {
		t.Errorf("the same upgrade again says %q", said)
	}
}

// A fork that removed a module, and made one and a resource in another, gets nothing back of the one, and the template's new ones beside the
// others: no conflict, but where both changed the same line.
func TestAForkThatShrankAndGrewIsUpgraded(t *testing.T) {
	long(t)
	s := newSaga(t)
	grows := strings.Split(s.contract, "/")[1]
	var gone string
	for _, m := range s.here.modules() {
		if s.folder != "migrations/"+m && m != grows {
			gone = m
		}
	}
	if gone == "" {
		t.Skip("there are not two modules any more")
	}
	s.begin(t)
	grow(t, s.fork, gone, "extraordinary-lanterns", grows, "oars")
	file := "services/" + gone + "/module.go"
	edit(t, s.origin, map[string][2]string{file: {"// Package " + gone, "// A comment more.\n\n// Package " + gone}}, "Change what the fork does not have")
	grow(t, s.origin, "", "paper-boats", grows, "wicks")
	if s.folder == "migrations/"+grows {
		s.arrives = "8004_new.sql" // after the oars, and the wicks, which come after the fork's own
	}
	setting(t, s.origin, "TIDE")
	s.second(t)
	do(t, s.fork, "upgrade", "v0.2.0", s.origin)
	s.upgraded(t)
	vetted(t, s.fork)
	for name := range onDisk(t, s.fork) {
		if belongs(name, nil, gone) {
			t.Errorf("%s is back", name)
		}
	}
	made, err := onDisk(t, s.fork).template()
	if err != nil || !slices.Equal(made.Removed, append(slices.Clone(s.old.Removed), gone)) || !slices.Equal(made.Made, []string{"extraordinarylanterns"}) {
		t.Errorf("%s says %+v, %v", templateFile, made, err)
	}
	s.prints(t, []string{"TIDE", "EXTRAORDINARYLANTERNS_URL", "PAPERBOATS_URL"}, strings.ToUpper(gone)+"_URL")

	// Where both change one line git asks, and what it says then is what is left to do.
	words := func(words string) map[string][2]string {
		return map[string][2]string{"services/app.go": {"// modules is the whole backend", "// modules is " + words}}
	}
	edit(t, s.fork, words("all that we have"), "In our words")
	edit(t, s.origin, words("all that there is"), "In its words")
	setting(t, s.origin, "EBB")
	s.third(t)
	before := must(t, s.fork, "rev-parse", "HEAD")
	err = run(s.fork, []string{"upgrade", "v0.3.0"}, &strings.Builder{})
	if conflicts := must(t, s.fork, "diff", "--name-only", "--diff-filter=U"); err == nil || conflicts != "services/app.go" {
		t.Fatalf("these conflict: %q, %v", conflicts, err)
	}
	if got := contents(t, s.fork, "services/app.go"); !strings.Contains(got, "<<<<<<<") {
		t.Error("the conflict is not shown as git shows it")
	}
	must(t, s.fork, "checkout", "--ours", "services/app.go")
	recipe := regexp.MustCompile(`\n  (make generate .*) && make check\n`).FindStringSubmatch(err.Error())
	if recipe == nil {
		t.Fatalf("it does not say what to do then: %v", err)
	}
	if said, err := command(s.fork, "env", "GIT_EDITOR=true", "sh", "-c", recipe[1]); err != nil {
		t.Fatalf("%s: %v\n%s", recipe[1], err, said)
	}
	if must(t, s.fork, "rev-parse", "HEAD~1") != before || must(t, s.fork, "log", "-1", "--format=%s") != "Upgrade to v0.3.0" || clean(s.fork) != nil {
		t.Errorf("it is not one commit on top: %s", must(t, s.fork, "log", "-3", "--format=%s"))
	}
	if got := contents(t, s.fork, "services/app.go"); !strings.Contains(got, "all that we have") || !strings.Contains(got, "paperboats") {
		t.Errorf("what the fork decided is not in it:\n%s", got)
	}
	s.prints(t, []string{"TIDE", "EBB"}, "old")
}

// grow takes out a module, when it has a name, and makes one, and a resource in another. The table of settings becomes that of nobody.
func grow(t *testing.T, root, gone, module, other, resource string) {
	t.Helper()
	before := onDisk(t, root)
	after := maps.Clone(before)
	var err error
	if gone != "" {
		after, err = removed(before, gone)
	}
	plans := make([]plan, 2)
	if err == nil {
		plans[0], err = after.newModule(module, "", true)
	}
	if err == nil {
		plans[1], err = after.newResource(other, resource, "", false)
	}
	for _, p := range plans {
		if err == nil {
			err = after.generate("../..", t.TempDir(), p)
		}
	}
	if err == nil {
		after[readme] = settingsIn(after[readme], "| "+module+" | old |\n")
		err = after.write(root, before)
	}
	if err == nil {
		err = commit(root, "Grow")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// setting adds a setting of the program, and its row in the README's table.
func setting(t *testing.T, root, name string) {
	t.Helper()
	edit(t, root, map[string][2]string{
		"services/config.go": {"\t\t{\"HTTP_ADDR\"", "\t\t{\"" + name + "\", \"high\", \"\", \"how the water stands\", false, text(new(string))},\n\t\t{\"HTTP_ADDR\""},
		readme:               {"<!-- /settings -->", "| `" + name + "` | old |\n<!-- /settings -->"},
	}, "A setting")
}

// prints looks at the fork's table of settings.
func (s *saga) prints(t *testing.T, names []string, never string) {
	t.Helper()
	table := string(settingsTable.Find([]byte(contents(t, s.fork, readme))))
	for _, name := range names {
		if !strings.Contains(table, "| `"+name+"` ") {
			t.Errorf("the table of settings has no %s:\n%s", name, table)
		}
	}
	if strings.Contains(table, never) {
		t.Errorf("the table of settings still has %s:\n%s", never, table)
	}
}

// upgraded looks at what the fork has after the first upgrade.
func (s *saga) upgraded(t *testing.T) {
	t.Helper()
	both := []string{"Say what the template says", "Say what the fork says"}
	for name, want := range map[string][]string{
		"pkg/tide/tide.go":               {`"puffin-hq higher"`, `"puffin-hq low, as the fork has it"`},
		"pkg/tide/new.go":                {`"puffin_hq_users"`},
		"pkg/own/own.go":                 {"tide.High"},
		s.folder + "/8001_own.sql":       {"the fork"},
		s.folder + "/" + s.arrives:       {"for puffin_hq_x"},
		s.contract:                       both,
		path.Dir(s.contract) + "/gen.go": both,
		"go.mod":                         {"module " + s.names.Module, s.direct + "\n", s.own + "\n"},
		changelogFile:                    {"- Puffins.", "release v0.1.0 of the template"},
		templateFile:                     {`"version": "v0.2.0"`, `"name": "puffin-hq"`},
	} {
		for _, w := range want {
			if content := contents(t, s.fork, name); !strings.Contains(content, w) {
				t.Errorf("%s has no %q after the upgrade:\n%.2000s", name, w, content)
			}
		}
	}
	for _, gone := range []string{"pkg/tide/old.go", s.folder + "/8000_new.sql"} {
		if _, err := os.Stat(filepath.Join(s.fork, gone)); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	if listed := must(t, s.fork, "ls-files", "--stage", "deploy/tide-puffin-hq.sh"); !strings.HasPrefix(listed, "100755") {
		t.Errorf("a new program arrives as %q", listed)
	}
	for _, left := range leftovers(onDisk(t, s.fork), s.old, s.names) {
		t.Error(left)
	}
}
