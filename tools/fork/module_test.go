package main

import (
	"bytes"
	"go/format"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A fork runs these tests as well, with other modules and under another name: so they make what nobody has, and take what is there.

// checkout is the tree that these tests stand in.
func checkout(t *testing.T) tree {
	t.Helper()
	return thisTree(t)
}

// making is what these tests make: modules, and resources in them and in those that are there.
type making struct {
	module, resource string // module is "" for a new one
	public           bool
}

func (m making) args() []string {
	args := []string{"module", m.resource}
	if m.module != "" {
		args = []string{"resource", m.module, m.resource}
	}
	if m.public {
		args = append(args, "--public")
	}
	return args
}

// makings are two modules with resources, and a resource in each of some modules of the tree that have a store.
func (t tree) makings(most int) []making {
	list := []making{
		{"", "lanterns", false}, {"", "paper-boats", true}, {"lanterns", "wicks", false}, {"lanterns", "candles", true}, {"paper-boats", "oars", false},
	}
	names := []making{{resource: "boat-notes"}, {resource: "boat-budgets", public: true}, {resource: "boat-api-keys"}}
	all := t.modules()
	slices.Reverse(all)
	for _, m := range all {
		if _, err := t.storeOf("services/" + m); err == nil && len(names) > 0 && most > 0 {
			list = append(list, making{m, names[0].resource, names[0].public})
			names, most = names[1:], most-1
		}
	}
	return list
}

// TestWhatIsMadeCompiles makes them all in memory, has the generator and the compiler look at them, and writes nothing.
func TestWhatIsMadeCompiles(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it compiles the program")
	}
	before := checkout(t)
	asItWas, err := read("../..")
	if err != nil {
		t.Fatal(err)
	}
	made := maps.Clone(before)
	var last plan
	for _, m := range before.makings(1) { // the proof has more; here most of the program would be compiled anew
		var err error
		if m.module == "" {
			last, err = made.newModule(m.resource, "", m.public)
		} else {
			last, err = made.newResource(m.module, m.resource, "", m.public)
		}
		if err == nil {
			err = made.generate("../..", t.TempDir(), last)
		}
		if err != nil {
			t.Fatalf("%s: %v", m.resource, err)
		}
	}
	last.First = true // so that the README's table is made
	if err := made.prove("../..", before, last); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(made["README.md"], []byte("| `PAPERBOATS_DATABASE_URL` ")) || len(made["README.md"]) < len(before["README.md"]) {
		t.Error("the settings of paper-boats are not in the README's table")
	}
	for name, content := range made {
		if bytes.Equal(content, before[name]) || strings.HasSuffix(name, "/gen.go") {
			continue
		}
		if formatted, err := format.Source(content); strings.HasSuffix(name, ".go") && (err != nil || !bytes.Equal(formatted, content)) {
			t.Errorf("%s is not as gofmt has it: %v", name, err)
		}
		if bytes.Contains(content, []byte("<no value>")) || bytes.Contains(content, []byte("\n\n\n")) {
			t.Errorf("%s has a gap:\n%s", name, content)
		}
	}
	now, err := read("../..")
	if err != nil || !maps.EqualFunc(now, asItWas, bytes.Equal) {
		t.Errorf("it was only to be proved, and the tree has changed: %v", err)
	}
}

// TestAModuleThatIsMadeCanBeTakenOutAgain removes it, and finds the tree of before.
func TestAModuleThatIsMadeCanBeTakenOutAgain(t *testing.T) {
	t.Parallel()
	before := checkout(t)
	made := maps.Clone(before)
	if _, err := made.newModule("paper-boats", "", true); err != nil {
		t.Fatal(err)
	}
	if _, err := made.newResource("paperboats", "oars", "", true); err != nil {
		t.Fatal(err)
	}
	after, err := removed(made, "paperboats")
	if err != nil {
		t.Fatal(err)
	}
	for name := range after {
		is, was := string(after[name]), string(before[name])
		if strings.HasSuffix(name, ".go") {
			is, was = squeeze(is), squeeze(was)
		}
		if is != was {
			t.Errorf("%s keeps something of the module:\n%s", name, after[name])
		}
	}
	if len(after) != len(before) {
		t.Errorf("of %d files there are %d", len(before), len(after))
	}
}

// squeeze leaves out space, and the comma that a list ends with when it stands on lines of its own.
func squeeze(s string) string {
	return regexp.MustCompile(`,?}`).ReplaceAllString(strings.Join(strings.Fields(s), ""), "}")
}

func TestAModuleIsWiredUnderAnotherName(t *testing.T) {
	t.Parallel()
	here := checkout(t)
	old, err := here.template()
	if err != nil {
		t.Fatal(err)
	}
	fork, err := renamed(here, template{Module: "example.net/puffin/backend", Name: "puffin-hq"})
	if err != nil {
		t.Fatal(err)
	}
	before := maps.Clone(fork)
	if _, err := fork.newModule("lanterns", "", false); err != nil {
		t.Fatal(err)
	}
	for name, content := range fork {
		if text := strings.ToLower(string(content)); !bytes.Equal(content, before[name]) && strings.Contains(text, strings.ToLower(old.Name)) {
			t.Errorf("%s has the old name:\n%s", name, content)
		}
	}
	for name, want := range map[string]string{
		"migrations/lanterns/0001_lanterns.sql": "to puffin_hq_lanterns;",
		"services/lanterns/handlers.go":         `"example.net/puffin/backend/api/lanterns/v1"`,
		together:                                "LANTERNS_DATABASE_URL: postgres://puffin_hq_lanterns:local-only-lanterns@postgres:5432/",
	} {
		if !bytes.Contains(fork[name], []byte(want)) {
			t.Errorf("%s has no %s:\n%s", name, want, fork[name])
		}
	}
}

func TestAModuleIsMadeWhereAuthIsGone(t *testing.T) {
	t.Parallel()
	fork := checkout(t)
	if slices.Contains(fork.modules(), "auth") {
		var err error
		if fork, err = removed(fork, "auth"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fork.newModule("lanterns", "", false); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(fork[apart], []byte("AUTH_URL")) || !bytes.Contains(fork[apart], []byte("--modules=lanterns]")) {
		t.Errorf("%s calls auth, or has no lanterns:\n%s", apart, fork[apart])
	}
	if !bytes.Contains(fork["services/app.go"], []byte(`{"v1": lanternsv1.Spec}, nil, (*app).lanterns}`)) {
		t.Errorf("app.go has it call somebody:\n%s", fork["services/app.go"])
	}
}

// TestARefusalLeavesNothingBehind runs the commands in a checkout: after each of them every file is as it was.
func TestARefusalLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	whole := checkout(t)
	root := repository(t, whole)
	type refusal struct{ command, says string }
	refusals := []refusal{
		{"module", "make module NAME="},
		{"module lanterns boats", "make module NAME="},
		{"module lanterns --loud", "--loud"},
		{"module lantern", "say lanterns"},
		{"module types", "a keyword of Go"},
		{"module jobs", "pkg/jobs is called that"},
		{"module pages", "says page for something else"},
		{"module stores", "says store for something else"},
		{"module redis --singular=redis-key", "docker-compose.yml has a service redis"},
		{"module " + strings.Repeat("a", 62) + "s", "too long"},
		{"module rules", "make remove would take services/contracts_rules_test.go for a file of it"},
		{"module clients", "Client is in gen.go and in gen.go"},
		{"module settings", "settings is declared in config.go and imported in app_settings.go"},
		{"resource lanterns", "make resource MODULE="},
		{"resource ghosts notes", "there is no module \"ghosts\"; there are"},
	}
	for _, m := range whole.modules() {
		if strings.HasSuffix(m, "s") {
			refusals = append(refusals, refusal{"module " + m, "already"})
		}
		refusals = append(refusals, refusal{"resource " + m + " lantern", "say lanterns"})
	}
	if slices.Contains(whole.modules(), "auth") {
		refusals = append(refusals, refusal{"module identities", "v1/openapi.yaml has a scope identities:… already"})
	}
	if slices.Contains(whole.modules(), "transactions") {
		refusals = append(refusals, []refusal{
			{"module accounts", "the path /v1/accounts is in api/transactions/v1/openapi.yaml"},
			{"resource transactions accounts", "the path /v1/accounts is in api/transactions/v1/openapi.yaml"},
			{"resource transactions entries", "schemas has an entry Entry already"},
			{"resource transactions postings", "posting.go is there already"},
			{"resource transactions viewers", "viewer is in store_accounts.go and in store_viewers.go"},
		}...)
	}
	for _, r := range refusals {
		refuse(t, whole, root, r.command, r.says)
	}

	// What is found out late: the generator does not run, an anchor is gone.
	for file, says := range map[string]string{
		"tools/generator/go.mod": "nothing is written", caddyfile: "has no line", "services/auth/roles.go": "has no list permissions",
		"services/main_test.go": "has no list chapters", "migrations/migrations.go": "what a module's login is called", templateFile: "does not say",
	} {
		if whole[file] == nil {
			continue // a fork without auth
		}
		broken := maps.Clone(whole)
		broken[file] = []byte("package x\n")
		if err := broken.write(root, whole); err != nil {
			t.Fatal(err)
		}
		refuse(t, broken, root, "module lanterns", says)
		if err := whole.write(root, broken); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASettingHasOneMeaning(t *testing.T) {
	t.Parallel()
	fork := checkout(t)
	delete(fork, together) // whose service redis is in the way before
	if _, err := fork.newModule("redis", "redis-key", false); err == nil || !strings.Contains(err.Error(), "REDIS_URL means something else in services/config.go") {
		t.Errorf("a module redis: %v", err)
	}
}

func refuse(t *testing.T, whole tree, root, command, says string) {
	t.Helper()
	if err := run(root, strings.Fields(command), io.Discard); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("fork %s: %v; want %q", command, err, says)
	}
	after, err := read(root)
	if err != nil {
		t.Fatal(err)
	}
	for name := range maps.Keys(after) {
		if !bytes.Equal(after[name], whole[name]) {
			t.Errorf("fork %s was refused and changed %s", command, name)
		}
	}
	for _, folder := range []string{"api", "services", "migrations"} { // git sees no empty ones
		found, err := os.ReadDir(filepath.Join(root, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if name := folder + "/" + f.Name(); f.IsDir() && !slices.ContainsFunc(slices.Collect(maps.Keys(whole)), func(s string) bool { return strings.HasPrefix(s, name+"/") }) {
				t.Errorf("fork %s was refused and left the folder %s", command, name)
			}
		}
	}
	if len(after) != len(whole) {
		t.Errorf("fork %s was refused, and of %d files there are %d", command, len(whole), len(after))
	}
}
