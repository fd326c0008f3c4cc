package main

import (
	"maps"
	"strings"
	"testing"
)

// TestABrokenPageIsFound breaks each promise of docs_test.go on purpose, in a page beside the real ones.
func TestABrokenPageIsFound(t *testing.T) {
	t.Parallel()
	for says, want := range map[string]string{
		"[a](nowhere.md)":                              "docs/x.md:3 links to nowhere.md, which is not there",
		"[a](../docs)":                                 "", // a folder is a place as well
		"[a](README.md#no-such-part)":                  "docs/x.md:3 links to README.md#no-such-part, and there is no such heading",
		"[a](#x)":                                      "",
		"[a](https://example.com/nowhere)":             "",
		"`services/nothing.go`":                        "docs/x.md:3 names services/nothing.go, which is not there",
		"`nothing.go`":                                 "docs/x.md:3 names nothing.go, which is not there",
		"`services/<module>/handlers.go`":              "",
		"`services/<module>/handles.go`":               "docs/x.md:3 names services/<module>/handles.go, which is not there",
		"`pkg/nothing/`":                               "docs/x.md:3 names pkg/nothing/, which is not there",
		"`application/json`, `.local/run.env`":         "",
		"`nothing.go` <!-- to be made: nothing.go -->": "",
		"`Nothing` in `services/main.go`":              "docs/x.md:3: there is no Nothing in services/main.go",
		"`run` and `Nothing` in `services/main.go`":    "docs/x.md:3: there is no Nothing in services/main.go",
		"`run` and\n`chosen` in `services/main.go`":    "",
		"`app.stop` in `services/serve.go`":            "",
		"`config.stop` in `services/serve.go`":         "docs/x.md:3: there is no config.stop in services/serve.go",
		"`problem.Nothing`":                            "docs/x.md:3 names problem.Nothing, which the package problem does not have",
		"`problem.Invalid.New(\"code\", …)`":           "",
		"`TestNothing`":                                "docs/x.md:3 names TestNothing, and there is no such test",
		"`TestABrokenPageIsFound`":                     "",
		"`make nothing`":                               "docs/x.md:3 names make nothing, which is no target of the Makefile",
		"`make test`":                                  "",
		"```sh\nmake nothing\n```":                     "docs/x.md:4 names make nothing, which is no target of the Makefile",
		"```bash\ntrue\n```":                           "docs/x.md:3 is marked bash: mark commands as sh, so that they are run",
		"```text\nservices/nothing.go\n```":            "docs/x.md:4 names services/nothing.go, which is not there",
		"`GET /v1/nothing`":                            "docs/x.md:3 names GET /v1/nothing, which is in no contract",
		"`NO_SUCH" + "_SETTING`":                       "docs/x.md:3 names NO_SUCH" + "_SETTING, which nothing reads",
		"`DATABASE_URL`":                               "",
	} {
		tree := maps.Clone(theTree(t))
		tree["docs/x.md"] = "# X\n\n" + says + "\n"
		p := parsePage("docs/x.md", tree["docs/x.md"])
		if got := strings.Join(append(p.links(tree), p.names(tree)...), "; "); got != want {
			t.Errorf("%q: %q, want %q", says, got, want)
		}
	}
}

func TestABrokenCommandInDocsIsFound(t *testing.T) {
	t.Parallel()
	run := func(text string) (page, map[int]string, error) {
		p := parsePage("docs/x.md", strings.ReplaceAll("# X\n\n~sh\necho first; x=1\n~\n\nwords\n\n"+text, "~", "```"))
		said, err := p.do(t.Context(), t.TempDir(), nil)
		return p, said, err
	}
	for name, c := range map[string]struct{ text, want string }{
		"a failing command":           {"~sh\necho second\ntest -f nowhere\n~\n", "docs/x.md:9: exit status 1\nsecond\n+ echo second\n+ test -f nowhere\n"},
		"an unknown command":          {"~sh\nnosuchcommand\n~\n", "docs/x.md:9: exit status 127"},
		"an unknown variable":         {"~sh\necho $x\necho $nobody\n~\n", "docs/x.md:9: exit status "},
		"one in an indented block":    {"1. do\n\n   ~sh\n   false\n   ~\n", "docs/x.md:11: exit status 1"},
		"what is no shell":            {"~sh\nfor\n~\n", "docs/x.md:9: exit status "},
		"a process that is left":      {"~sh\nsleep 600 &\n~\n", "docs/x.md:9: exec: WaitDelay expired"},
		"a reason that is none":       {"<!-- not run -->\n~sh\nfalse\n~\n", "docs/x.md:10: exit status 1"},
		"one that is not to be run":   {"<!-- not run: it waits -->\n~sh\nfalse\n~\n", ""},
		"one in another language":     {"~yaml\nfalse\n~\n", ""},
		"a variable of another block": {"~sh\ntest $x = 1\n~\n", ""},
	} {
		if _, _, err := run(c.text); (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	for text, want := range map[string]int{
		"<!-- printed -->\n~text\nfirst\n~":               0,
		"<!-- printed -->\n~text\nf…t\n~":                 0,
		"<!-- printed -->\n~text\nsecond\n~":              1,
		"<!-- logged -->\n~json\n{\"a\":…}\n{\"b\":1}\n~": 1,
		"<!-- traced -->\n~text\nGET /\n  select x\n~":    0,
		"<!-- traced -->\n~text\nGET /\n  select y\n~":    1,
	} {
		p, said, err := run(text + "\n")
		if got := p.shows(said, `{"a":7}`, &spans{traces: map[string][]string{"1": {"select x", "GET /"}}}); err != nil || len(got) != want {
			t.Errorf("%s: %v, %v, want %d", text, got, err, want)
		}
	}
}
