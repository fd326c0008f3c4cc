package main

import (
	"bytes"
	"go/format"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// checkout is the tree that these tests stand in.
func checkout(t *testing.T) tree {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("git is missing")
		}
		t.Skip("git is missing: the tree is not read")
	}
	whole, err := read("../..")
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

// copyOf writes a tree to a checkout of its own, with everything committed.
func copyOf(t *testing.T, whole tree) string {
	t.Helper()
	root := t.TempDir()
	if err := whole.write(root, tree{}); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-qm", "All of it"}} {
		if _, err := git(root, args...); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// making are the things that these tests make: every kind of module there is gets a resource, and one of them two.
var making = []struct {
	module, resource string // module is "" for a new one
	public           bool
}{
	{"", "invoices", false}, {"", "gift-cards", true}, {"invoices", "line-items", false}, {"invoices", "reminders", true},
	{"gift-cards", "card-designs", false}, {"users", "notes", false}, {"transactions", "budgets", true}, {"auth", "api-keys", false},
}

// TestWhatIsMadeCompiles makes them all in memory, has the generator and the compiler look at them, and writes nothing.
func TestWhatIsMadeCompiles(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it compiles the program")
	}
	before := checkout(t)
	made := maps.Clone(before)
	var last plan
	for _, m := range making {
		if m.module == "transactions" || m.module == "auth" {
			continue // the proof has them; here most of the program would be compiled anew
		}
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
	if !bytes.Contains(made["README.md"], []byte("| `GIFTCARDS_DATABASE_URL` ")) || len(made["README.md"]) < len(before["README.md"]) {
		t.Error("the settings of gift-cards are not in the README's table")
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
	if err != nil || !maps.EqualFunc(now, before, bytes.Equal) {
		t.Errorf("it was only to be proved, and the tree has changed: %v", err)
	}
}

// TestAModuleThatIsMadeCanBeTakenOutAgain removes it, and finds the tree of before.
func TestAModuleThatIsMadeCanBeTakenOutAgain(t *testing.T) {
	t.Parallel()
	before := checkout(t)
	made := maps.Clone(before)
	if _, err := made.newModule("gift-cards", "", true); err != nil {
		t.Fatal(err)
	}
	if _, err := made.newResource("giftcards", "card-designs", "", true); err != nil {
		t.Fatal(err)
	}
	after, err := removed(made, "giftcards")
	if err != nil {
		t.Fatal(err)
	}
	after[templateFile] = before[templateFile] // which now says that it is gone
	for name := range after {
		if squeeze(string(after[name])) != squeeze(string(before[name])) {
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

func TestAModuleIsWiredWhereTheForkHasOtherNames(t *testing.T) {
	t.Parallel()
	fork := tree{}
	for name, content := range checkout(t) {
		text := strings.ReplaceAll(string(content), "example.com/groundwork", "github.com/acme/backend")
		fork[name] = []byte(strings.NewReplacer("groundwork", "acme", "GROUNDWORK", "ACME", "Groundwork", "Acme").Replace(text))
	}
	before := maps.Clone(fork)
	if _, err := fork.newModule("invoices", "", false); err != nil {
		t.Fatal(err)
	}
	for name, content := range fork {
		if !bytes.Equal(content, before[name]) && regexp.MustCompile(`(?i)groundwork`).Match(content) {
			t.Errorf("%s has the old name:\n%s", name, content)
		}
	}
	for name, want := range map[string]string{
		"migrations/invoices/0001_invoices.sql": "to acme_invoices;",
		"services/invoices/handlers.go":         `"github.com/acme/backend/api/invoices/v1"`,
		together:                                "INVOICES_DATABASE_URL: postgres://acme_invoices:local-only-invoices@postgres:5432/acme?sslmode=disable",
	} {
		if !bytes.Contains(fork[name], []byte(want)) {
			t.Errorf("%s has no %s:\n%s", name, want, fork[name])
		}
	}
}

func TestAModuleIsMadeWhereAuthIsGone(t *testing.T) {
	t.Parallel()
	fork := checkout(t)
	maps.DeleteFunc(fork, func(name string, _ []byte) bool {
		return strings.HasPrefix(name, "services/auth/") || strings.HasPrefix(name, "api/auth/") || strings.HasPrefix(name, "migrations/auth/")
	})
	before := maps.Clone(fork)
	if _, err := fork.newModule("invoices", "", false); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(fork[apart], []byte("AUTH_URL")) - bytes.Count(before[apart], []byte("AUTH_URL")); n != 0 || !bytes.Contains(fork[apart], []byte("--modules=invoices]")) {
		t.Errorf("%s calls auth:\n%s", apart, fork[apart])
	}
	if !bytes.Contains(fork["services/app.go"], []byte(`{"v1": invoicesv1.Spec}, nil, (*app).invoices}`)) {
		t.Error("app.go has it call somebody")
	}
}

// TestARefusalLeavesNothingBehind runs the commands in a checkout: after each of them every file is as it was.
func TestARefusalLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	whole := checkout(t)
	root := copyOf(t, whole)
	for _, c := range []struct{ command, says string }{
		{"module", "make module NAME="},
		{"module invoices bills", "make module NAME="},
		{"module invoices --loud", "--loud"},
		{"module invoice", "say invoices"},
		{"module types", "a keyword of Go"},
		{"module users", "there is a module users already"},
		{"module accounts", "the path /v1/accounts is in api/transactions/v1/openapi.yaml"},
		{"module jobs", "pkg/jobs is called that"},
		{"module pages", "says page for something else"},
		{"module stores", "says store for something else"},
		{"module redis --singular=redis-key", "docker-compose.yml has a service redis"},
		{"module " + strings.Repeat("a", 54) + "s", "too long"},
		{"module clients", "Client is in gen.go and in gen.go"},
		{"module settings", "settings is declared in config.go and imported in app_settings.go"},
		{"resource transactions lines", "line is in store_history.go and in store_lines.go"},
		{"resource users", "make resource MODULE="},
		{"resource ghosts notes", "there is no module \"ghosts\"; there are auth, transactions, users"},
		{"resource users accounts", "the path /v1/accounts is in api/transactions/v1/openapi.yaml"},
		{"resource users note", "say notes"},
		{"resource transactions entries", "schemas has an entry Entry already"},
		{"resource transactions postings", "posting.go is there already"},
	} {
		refuse(t, whole, root, c.command, c.says)
	}

	// What is found out late: the generator does not run, an anchor is gone.
	for file, says := range map[string]string{
		"tools/generator/go.mod": "nothing is written", caddyfile: "has no line", "services/auth/roles.go": "has no list permissions",
		"migrations/migrations.go": "what a module's login is called", templateFile: "does not say",
	} {
		broken := maps.Clone(whole)
		broken[file] = []byte("package x\n")
		if err := broken.write(root, whole); err != nil {
			t.Fatal(err)
		}
		refuse(t, broken, root, "module invoices", says)
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
