package main

import (
	"bytes"
	"fmt"
	"go/format"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestARegionGoesWithItsModule(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, out, err string }{
		"Go":                  {"a\n\t// only with users:\n\tb\n\t// end users\nc\n", "a\nc\n", ""},
		"YAML":                {"a\n  # only with users:\n  b\n  # end users\nc", "a\nc", ""},
		"SQL":                 {"-- only with users:\nb\n-- end users\n", "", ""},
		"Markdown":            {"a\n<!-- only with users -->\nb\n<!-- end users -->\n", "a\n", ""},
		"between blanks":      {"a\n\n# only with users:\nb\n# end users\n\nc\n", "a\n\nc\n", ""},
		"two, one blank each": {"a\n\n# only with users:\nb\n# end users\n\n# only with users:\nb\n# end users\n\nc\n", "a\n\nc\n", ""},
		"a blank above":       {"a\n\n# only with users:\nb\n# end users\nc\n", "a\n\nc\n", ""},
		"at the end":          {"a\n\n# only with users:\nb\n# end users\n", "a\n", ""},
		"another's":           {"# only with auth:\nb\n# end auth\n", "# only with auth:\nb\n# end auth\n", ""},
		"of two":              {"# only with auth, users:\nb\n# end auth, users\nc\n", "c\n", ""},
		"inside":              {"# only with auth:\nb\n# only with users:\nc\n# end users\nd\n# end auth\n", "# only with auth:\nb\nd\n# end auth\n", ""},
		"around":              {"# only with users:\nb\n# only with auth:\nc\n# end auth\nd\n# end users\ne\n", "e\n", ""},
		"without end":         {"# only with users:\nb\n", "", "the region of users does not end"},
		"without begin":       {"# only with auth:\nb\n# end auth\n# end users\n", "", "x:4: the region of users ends here and has not begun"},
		"crossed":             {"# only with auth:\n# only with users:\n# end auth\n# end users\n", "", "x:3: the region of auth ends here and has not begun"},
		"a sentence":          {"It is only with users that money moves.\n", "It is only with users that money moves.\n", ""},
	} {
		out, err := without("x", []byte(c.in), "users")
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", name, err, c.err)
			}
			continue
		}
		if err != nil || string(out) != c.out {
			t.Errorf("%s: %q, %v; want %q", name, out, err, c.out)
		}
	}
}

func TestEntriesAndImportsGoWithTheirModule(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, out string }{
		"an element":        {`var x = []string{"auth", "users", "money"}`, `var x = []string{"auth", "money"}`},
		"the last element":  {`var x = []string{"auth", "users"}`, `var x = []string{"auth"}`},
		"the only element":  {`var x = []string{"users"}`, `var x = []string{}`},
		"two at the end":    {"var x = []row{\n\t{\"auth\", 1},\n\t{\"users\", 2},\n\t{\"users\", 3},\n}", "var x = []row{\n\t{\"auth\", 1},\n}"},
		"a row within":      {"var x = []row{\n\t{\"users\", []string{\"users\"}},\n\t{\"auth\", nil},\n}", "var x = []row{\n\t{\"auth\", nil},\n}"},
		"an entry":          {"var x = map[string]int{\n\t\"users\": 1,\n\t\"auth\":  2,\n}", "var x = map[string]int{\n\t\"auth\": 2,\n}"},
		"a case":            {"func f(s string) {\n\tswitch s {\n\tcase \"users\":\n\t\tg()\n\tcase \"auth\":\n\t\th()\n\t}\n}", "func f(s string) {\n\tswitch s {\n\tcase \"auth\":\n\t\th()\n\t}\n}"},
		"another's word":    {`var x = []string{"usersx", "the users"}`, `var x = []string{"usersx", "the users"}`},
		"a call's argument": {`var x = f("users")`, `var x = f("users")`},
		"imports, and what only they used": {
			"import (\n\t\"fmt\"\n\n\t\"m/api/users/v1\"\n\t\"m/services/users\"\n\t\"m/services/usersx\"\n)\n\nvar x = map[string]any{\"users\": fmt.Sprint(users.New)}\nvar _ = usersx.New",
			"import (\n\t\"m/services/usersx\"\n)\n\nvar x = map[string]any{}\nvar _ = usersx.New",
		},
	} {
		in, want := []byte("package p\n\n"+c.in+"\n"), "package p\n\n"+c.out+"\n"
		out, err := withoutEntries("services/app.go", in, "m", "users")
		if err == nil {
			out, err = tidied("x.go", in, out)
		}
		blank := regexp.MustCompile(`\n\s*\n`)
		if got := blank.ReplaceAllString(string(out), "\n"); err != nil || got != blank.ReplaceAllString(want, "\n") {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, out, want)
		}
	}
}

func TestWhatIsAnothersStays(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"properties", "people", "media"} { // good names of modules, and words of ours
		in := []byte("package p\n\nvar x = []string{\"" + word + "\"}\n")
		if out, err := withoutEntries("pkg/p/p.go", in, "m", word); err != nil || !bytes.Equal(out, in) {
			t.Errorf("%s is taken out of a file that lists no modules: %v\n%s", word, err, out)
		}
	}
	for name, want := range map[string]bool{
		"api/tokens/v1/gen.go": true, "services/tokens/store.go": true, "services/app_tokens.go": true, "services/story_tokens_test.go": true,
		"services/auth/handlers_tokens.go": false, "services/users/store_paid_tokens.go": false, "pkg/authn/tokens.go": false, "services/auth/x_tokens_test.go": false,
		"deploy/observability/dashboards/money_tokens.json": true, "deploy/observability/dashboards/tokens.json": false,
	} {
		if belongs(name, []byte("package p\n"), "tokens") != want {
			t.Errorf("%s belongs to tokens: %v", name, !want)
		}
	}
	if !belongs("services/auth/jobs.go", []byte("// only with users, tokens: this file\n\npackage auth\n"), "tokens") {
		t.Error("the first line of a file does not count")
	}
}

func TestTheLastModuleStays(t *testing.T) {
	t.Parallel()
	house := tree{templateFile: []byte(`{"version":"v1.0.0","module":"m","name":"n"}`), "services/users/module.go": nil, "migrations/users/0001_users.sql": nil}
	if _, err := removed(house, "users"); err == nil || !strings.Contains(err.Error(), "the last module") {
		t.Errorf("it is removed: %v", err)
	}
}

// examples are files that say what was, or show how with a module that a fork may really have; the README's table is made after the code.
var examples = []string{templateFile, changelogFile, "README.md", "docs/add-a-module.md", ".ci/fork", ".ci/testdata/field.go"}

// TestNoModuleLeavesATrace takes each module out of the real tree. That what is left builds, passes and runs is .ci/fork's to prove.
func TestNoModuleLeavesATrace(t *testing.T) {
	t.Parallel()
	house := checkedOut(t)
	made, err := house.template()
	if err != nil {
		t.Fatal(err)
	}
	if len(house.modules()) == 0 {
		t.Fatal("there is no module")
	}
	for _, m := range house.modules() {
		t.Run(m, func(t *testing.T) {
			t.Parallel()
			after, err := removed(house, m)
			if err != nil {
				t.Fatal(err)
			}
			if len(after) >= len(house) {
				t.Error("nothing is gone")
			}
			word := strings.ReplaceAll(m, "-", "_")
			trace := regexp.MustCompile(fmt.Sprintf(`(?m)^.*(?:\bapi/%s\b|\bservices/%s\b|\bmigrations/%s\b|\b%sv[0-9]+\b|\b%s_%s\b|\b%s_(?:DATABASE_URL|URL|CLIENT_SECRET|UPSTREAM)\b|^\s*(?://|#|--|<!--|/\*)\s*only with [a-z, -]*\b%s\b).*$`,
				m, m, m, word, made.Name, word, strings.ToUpper(word), m))
			for name, content := range after {
				if slices.Contains(examples, name) || strings.HasPrefix(name, "tools/fork/") {
					continue
				}
				if found := trace.Find(content); found != nil {
					t.Errorf("%s still has: %s", name, found)
				}
				if path.Ext(name) == ".go" {
					if tidy, err := format.Source(content); err != nil || !bytes.Equal(tidy, content) {
						t.Errorf("%s is not as gofmt has it: %v", name, err)
					}
				}
			}
			if again, err := removed(after, m); err == nil || again != nil || !strings.Contains(err.Error(), "no module") {
				t.Errorf("once more: %v", err)
			}
		})
	}
}

func TestWhatIsNoModuleIsNotRemoved(t *testing.T) {
	t.Parallel()
	house := tree{templateFile: []byte(`{"version":"v1.0.0","module":"m","name":"n"}`), "services/main.go": nil, "services/users/module.go": nil}
	for _, name := range []string{"", "billing", ".", "..", "main.go", "users"} { // users has no schema here
		if _, err := removed(house, name); err == nil || !strings.Contains(err.Error(), "there is no module") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
