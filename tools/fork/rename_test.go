package main

import (
	"bytes"
	"fmt"
	"go/format"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The template of these tests is called Tidewater.
var (
	tidewater = template{Version: "v0.1.0", Module: "example.com/tidewater", Name: "tidewater"}
	heron     = template{Version: "v0.1.0", Module: "github.com/heron/backend", Name: "heron"}
	heronBay  = template{Version: "v0.1.0", Module: "github.com/heron/bay/v2", Name: "heron-bay"}
)

func TestEverySpellingOfTheNameBecomesThatOfTheNewOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ file, old, short, long string }{
		{"go.mod", "module example.com/tidewater", "module github.com/heron/backend", "module github.com/heron/bay/v2"},
		{"x.go", `import "example.com/tidewater/pkg/mail"`, `import "github.com/heron/backend/pkg/mail"`, `import "github.com/heron/bay/v2/pkg/mail"`},
		{"lint.yml", `^example\.com/tidewater/api$`, `^github\.com/heron/backend/api$`, `^github\.com/heron/bay/v2/api$`},
		{"README.md", "https://example.com/tidewater.", "https://github.com/heron/backend.", "https://github.com/heron/bay/v2."},
		{"README.md", "example.com/tidewater-two and www.example.com/tidewater", "example.com/heron-two and www.example.com/heron", "example.com/heron-bay-two and www.example.com/heron-bay"},

		{"README.md", "Tidewater is Tidewater's. Run `tidewater serve`.", "Heron is Heron's. Run `heron serve`.", "Heron Bay is Heron Bay's. Run `heron-bay serve`."},
		{"x.sql", "grant select on users.users to tidewater_users;", "grant select on users.users to heron_users;", "grant select on users.users to heron_bay_users;"},
		{"x.go", `func Login(m string) string { return "tidewater_" + m }`, `func Login(m string) string { return "heron_" + m }`, `func Login(m string) string { return "heron_bay_" + m }`},
		{"x.yml", "ports: [${TIDEWATER_API_PORT:-8080}, TIDEWATER_*_PORT]", "ports: [${HERON_API_PORT:-8080}, HERON_*_PORT]", "ports: [${HERON_BAY_API_PORT:-8080}, HERON_BAY_*_PORT]"},
		{"x.go", `os.Getenv("BE_TIDEWATER")`, `os.Getenv("BE_HERON")`, `os.Getenv("BE_HERON_BAY")`},
		{"x.yml", "postgres://tidewater_auth:s3cret@db/tidewater?sslmode=disable", "postgres://heron_auth:s3cret@db/heron?sslmode=disable", "postgres://heron_bay_auth:s3cret@db/heron-bay?sslmode=disable"},
		{"Dockerfile", "COPY /out/tidewater /tidewater", "COPY /out/heron /heron", "COPY /out/heron-bay /heron-bay"},
		{"Dockerfile", "/var/lib/tidewater/key", "/var/lib/heron/key", "/var/lib/heron-bay/key"},
		{"x.txt", "Tidewater <no-reply@tidewater.example>", "Heron <no-reply@heron.example>", "Heron Bay <no-reply@heron-bay.example>"},
		{"x.go", `"X-Tidewater-Id", "Tidewater/1.0", "X-TIDEWATER-ID"`, `"X-Heron-Id", "Heron/1.0", "X-HERON-ID"`, `"X-Heron-Bay-Id", "Heron-Bay/1.0", "X-HERON-BAY-ID"`},
		{"x.go", `fmt.Printf("\ntidewater %stidewater %[1]stidewater %2Ftidewater")`, `fmt.Printf("\nheron %sheron %[1]sheron %2Fheron")`, `fmt.Printf("\nheron-bay %sheron-bay %[1]sheron-bay %2Fheron-bay")`},

		{"x.go", "func newTidewater(tidewater Tidewater2) tidewaterHome", "func newHeron(heron Heron2) heronHome", "func newHeronBay(heronBay HeronBay2) heronBayHome"},
		{"x.go", "func TestTidewaterStarts() { // tidewater starts", "func TestHeronStarts() { // heron starts", "func TestHeronBayStarts() { // heron-bay starts"},
		{"x.go", "const TIDEWATER_X, tidewater_x = 1, 2", "const HERON_X, heron_x = 1, 2", "const HERON_BAY_X, heron_bay_x = 1, 2"},
		{"x.ts", "export class TidewaterClient", "export class HeronClient", "export class HeronBayClient"},

		{"README.md", "tidewaters, undertidewater", "tidewaters, undertidewater", "tidewaters, undertidewater"},
		{"go.sum", "h1:Tidewater/ubO8PFFQcDA3d4T0ZyHNNlZ0E8WwMZH6i=", "h1:Tidewater/ubO8PFFQcDA3d4T0ZyHNNlZ0E8WwMZH6i=", "h1:Tidewater/ubO8PFFQcDA3d4T0ZyHNNlZ0E8WwMZH6i="},
	} {
		for to, want := range map[string]string{heron.Name: c.short, heronBay.Name: c.long} {
			new := map[string]template{heron.Name: heron, heronBay.Name: heronBay}[to]
			there, back := newSpeller(tidewater, new), newSpeller(new, tidewater)
			got := string(there.file(c.file, []byte(c.old)))
			if got != want {
				t.Errorf("%s: %s\n becomes %s\n and not %s", to, c.old, got, want)
			}
			if again := string(back.file(c.file, []byte(got))); again != c.old {
				t.Errorf("%s: %s\n comes back as %s\n and not as %s", to, got, again, c.old)
			}
		}
	}
}

func TestAWordThatIsOnlyLikeTheNameStays(t *testing.T) {
	t.Parallel()
	s := newSpeller(template{Module: "example.com/to-do", Name: "to-do"}, heron)
	text := "todo: what to do with TODO; To Do, to-do and toDo"
	if got, want := s.text(text), "todo: what to do with TODO; Heron, heron and heron"; got != want {
		t.Errorf("%q becomes %q and not %q", text, got, want)
	}
	s = newSpeller(template{Module: "example.com/b", Name: "base-2"}, heron)
	text = "base-2, base-21, Base2, BASE_2_URL, base-2x"
	if got, want := s.text(text), "heron, base-21, Heron, HERON_URL, base-2x"; got != want {
		t.Errorf("%q becomes %q and not %q", text, got, want)
	}
	s = newSpeller(template{Module: "example.com/pay", Name: "pay"}, heron)
	text = "pay for payment_id, repay, PayPal; PAY_URL"
	if got, want := s.text(text), "heron for payment_id, repay, HeronPal; HERON_URL"; got != want {
		t.Errorf("%q becomes %q and not %q", text, got, want)
	}
}

func TestWhatARenameMovesIsPutRight(t *testing.T) {
	t.Parallel()
	before := tree{
		"x.go": []byte("package x\n\nimport (\n\t\"example.com/tidewater/pkg/a\"\n\t\"github.com/b/c\"\n)\n\nvar _ = map[string]int{\n" +
			"\t\"tidewater\": a.A, // one\n\t\"x\":         c.C, // two\n}\n"),
		"untidy.go": []byte("package x\nvar   tidewater   =   1\n"),
		"x.md":      []byte("| Name      | Of `tidewater` |\n|---        |---             |\n| Tidewater | a \\| b         |\n\n|x|tidewater|\n|---|---|\n"),
	}
	before.set(tidewater)
	after, err := renamed(before, template{Module: "zeta.example/z", Name: "ze"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"x.go": "package x\n\nimport (\n\t\"github.com/b/c\"\n\t\"zeta.example/z/pkg/a\"\n)\n\nvar _ = map[string]int{\n" +
			"\t\"ze\": a.A, // one\n\t\"x\":  c.C, // two\n}\n",
		"untidy.go": "package x\nvar   ze   =   1\n",
		"x.md":      "| Name | Of `ze` |\n|---   |---      |\n| Ze   | a \\| b  |\n\n|x|ze|\n|---|---|\n",
	} {
		if string(after[name]) != want {
			t.Errorf("%s becomes\n%s\nand not\n%s", name, after[name], want)
		}
	}
}

func TestARenameTouchesPathsAndModesAndLeavesWhatItMust(t *testing.T) {
	t.Parallel()
	before := tree{
		"deploy/tidewater.service": []byte("ExecStart=/usr/bin/tidewater"), "cmd/tidewater_test.go": []byte("package tidewater\n"), "cmd/other.go": []byte("package other\n"),
		"run-tidewater.sh": []byte("#!/bin/sh\nexec tidewater\n"), "logo.png": []byte("PNG\x00Tidewater"), "LICENSE": []byte("Copyright Tidewater\n"),
		"word.md": []byte("tidewaters\n"), "empty": {}, changelogFile: []byte("## v0.1.0\n\nof Tidewater"), "api/users/CHANGELOG.md": []byte("x\n"), "api/users/released/v1.yaml": []byte("x\n"),
	}
	before.set(tidewater)
	root := repository(t, before)
	must(t, root, "update-index", "--chmod=+x", "run-tidewater.sh")
	must(t, root, "commit", "--quiet", "--message", "A program")
	must(t, root, "checkout", "--quiet", ".")
	if err := os.Chmod(filepath.Join(root, "run-tidewater.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	said := do(t, root, "rename", heronBay.Module, heronBay.Name)
	after := onDisk(t, root)
	for name, want := range map[string]string{
		"deploy/heron-bay.service": "ExecStart=/usr/bin/heron-bay", "cmd/heron_bay_test.go": "package heronBay\n", "cmd/other.go": "package other\n",
		"run-heron-bay.sh": "#!/bin/sh\nexec heron-bay\n", "logo.png": "PNG\x00Tidewater", "LICENSE": "Copyright Tidewater\n", "empty": "",
		"word.md": "tidewaters\n", changelogFile: firstChangelog("v0.1.0"),
	} {
		if content, has := after[name]; !has || string(content) != want {
			t.Errorf("%s is %q and not %q", name, content, want)
		}
	}
	if want := len(before) - 2; len(after) != want { // the template's releases are none of the fork's
		t.Errorf("%d files became %d and not %d", len(before), len(after), want)
	}
	if info, err := os.Stat(filepath.Join(root, "run-heron-bay.sh")); err != nil || info.Mode().Perm()&0o100 == 0 {
		t.Errorf("a program that moved is none any more: %v %v", info, err)
	}
	for _, left := range []string{"logo.png", "LICENSE", "word.md"} {
		if !strings.Contains(said, left) {
			t.Errorf("it does not say that %s still has the old name:\n%s", left, said)
		}
	}
	if made, _ := after.template(); made.Module != heronBay.Module || made.Name != heronBay.Name || made.Version != "v0.1.0" || !made.Fork {
		t.Errorf("the version file says %+v", made)
	}
}

func TestARenameTwiceIsHarmless(t *testing.T) {
	t.Parallel()
	before := tree{"README.md": []byte("# Tidewater\n")}
	before.set(tidewater)
	root := repository(t, before)
	do(t, root, "rename", heron.Module, heron.Name)
	once := onDisk(t, root)
	if said := do(t, root, "rename", heron.Module, heron.Name); !strings.Contains(said, "nothing to do") {
		t.Errorf("the second time it says %q", said)
	}
	for name, content := range onDisk(t, root) {
		if !bytes.Equal(content, once[name]) {
			t.Errorf("the second time changes %s to %q", name, content)
		}
	}
}

func TestWhatCannotBeANameIsRefused(t *testing.T) {
	t.Parallel()
	before := tree{
		"go.mod":               []byte("module example.com/tidewater\n\nrequire github.com/google/uuid v1.6.0\n"),
		"services/users/x.go":  []byte("package users\n\n// northwind is prose.\nfunc newPlover() string { return \"a wader\" }\n"),
		"compose.yml":          []byte("# northwind\nkelp: 1 # northwind\n"),
		"README.md":            []byte("make rename NAME=northwind\n"),
		"api/invoices/v1/x.go": []byte("package invoicesv1\n"),
		"pkg/tidewater.go":     []byte("package pkg\n"),
		"pkg/heron.go":         []byte("package pkg\n"),
	}
	before.set(tidewater)
	root := repository(t, before)
	const good = "github.com/northwind/backend"
	for name, c := range map[string]struct{ module, name, why string }{
		"nothing":            {"", "", "say both"},
		"no name":            {good, "", "say both"},
		"capitals":           {good, "Heron", "lower-case letters"},
		"an underscore":      {good, "heron_bay", "lower-case letters"},
		"a digit first":      {good, "7heron", "begins with a letter"},
		"a hyphen first":     {good, "-heron", "begins with a letter"},
		"a hyphen last":      {good, "heron-", "hyphens inside"},
		"two hyphens":        {good, "heron--bay", "single hyphens"},
		"one letter":         {good, "a", "2 to 30"},
		"too long":           {good, strings.Repeat("a", 31), "2 to 30"},
		"a word with spaces": {good, "heron bay", "lower-case letters"},
		"a keyword":          {good, "select", "keyword of Go"},
		"a database":         {good, "postgres", "Postgres has already"},
		"a kept prefix":      {good, "pg-heron", "pg_"},
		"an image":           {good, "redis", "image"},
		"a root folder":      {good, "etc", "root"},
		"yaml":               {good, "null", "YAML"},
		"test":               {good, "test", "word of the tools"},
		"a module":           {good, "users", "module of this repository"},
		"a made module":      {good, "invoices", "module of this repository"},
		"a path":             {good, "heron", "a word of pkg/heron.go already"},
		"an identifier":      {good, "plover", "a word of services/users/x.go already"},
		"a word of a text":   {good, "wader", "a word of services/users/x.go already"},
		"a key":              {good, "kelp", "a word of compose.yml already"},
		"no host":            {"heron", "northwind", "MODULE=heron cannot be"},
		"an address":         {"https://github.com/northwind/backend", "northwind", "cannot be"},
		"a space":            {"github.com/north wind", "northwind", "cannot be"},
		"a slash last":       {good + "/", "northwind", "cannot be"},
		"a dependency":       {"github.com/google/uuid", "northwind", "dependency"},
	} {
		if why := refused(t, root, "rename", c.module, c.name); !strings.Contains(why, c.why) {
			t.Errorf("%s: says %q and not %q", name, why, c.why)
		}
	}
	if why := refused(t, root, "rename", good); !strings.Contains(why, "say both") {
		t.Errorf("one argument: says %q", why)
	}
	if where := wordIn(before, tidewater, template{Module: good, Name: "northwind"}); where != "" {
		t.Errorf("a name that only prose has is refused for %s", where)
	}
	if err := os.WriteFile(filepath.Join(root, "new.txt"), []byte("Tidewater\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if why := refused(t, root, "rename", good, "northwind"); !strings.Contains(why, "not committed") || !strings.Contains(why, "new.txt") {
		t.Errorf("with a change that is not committed: says %q", why)
	}
}

func TestAWordOfThisTreeIsNoNameForIt(t *testing.T) {
	t.Parallel()
	here := thisTree(t)
	old, err := here.template()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"api", "app", "server", "token", "contract"} {
		if err := mayBeCalled(here, old, template{Module: "github.com/heron/backend", Name: word}); err == nil || !strings.Contains(err.Error(), "is a word of") {
			t.Errorf("%s: %v", word, err)
		}
	}
	for _, word := range []string{"ac" + "me", old.Name + "-two", "kitti" + "wake"} {
		if err := mayBeCalled(here, old, template{Module: "github.com/heron/backend", Name: word}); err != nil && word != old.Name {
			t.Error(err)
		}
	}
}

// TestThisTreeUnderAnotherNameHasNothingLeftOfItsOwn renames this very repository.
func TestThisTreeUnderAnotherNameHasNothingLeftOfItsOwn(t *testing.T) {
	t.Parallel()
	here := thisTree(t)
	old, err := here.template()
	if err != nil {
		t.Fatal(err)
	}
	// No name may stand in this file as it is: renamed back, it would be taken for the name.
	north, short := template{Module: "example.org/north" + "/wind", Name: "north" + "-wind"}, template{Module: "aa.example" + "/a", Name: "qu" + "ux"}
	longer := template{Module: old.Module + "-two/backend", Name: old.Name + "-two"}
	next := template{Module: "github.com/heron" + "/net", Name: "heron" + "-net"}
	mine, hers := renameBack(t, here, old), renameBack(t, here, next)
	var first tree
	for _, to := range []template{north, short, longer} {
		there, err := renamed(here, to)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = there
		}
		for _, left := range leftovers(there, old, to) {
			t.Errorf("%s: %s", to.Name, left)
		}
		plain := regexp.MustCompile("(?i)" + old.Name)
		for name, content := range there { // the same asked as plainly as can be
			if to.Name != longer.Name && (plain.MatchString(name) || plain.Match(content)) {
				t.Errorf("%s: %s still has %q", to.Name, name, plain.Find(content))
			}
			if is, err := format.Source(content); strings.HasSuffix(name, ".go") && (err != nil || !bytes.Equal(is, content)) {
				t.Errorf("%s: %s is not as gofmt has it: %v", to.Name, name, err)
			}
		}
		if strings.Contains(old.Name, "-") && !strings.Contains(to.Name, "-") {
			continue // of one word, nobody can tell any more which two stood together and which apart
		}
		sameTree(t, to.Name+" and back", renameBack(t, there, old), mine)
		sameTree(t, to.Name+" and then "+next.Name, renameBack(t, there, next), hers)
	}
	root := t.TempDir()
	if err := first.write(root, nil); err != nil {
		t.Fatal(err)
	}
	vetted(t, root)
}

func renameBack(t *testing.T, from tree, to template) tree {
	t.Helper()
	there, err := renamed(from, to)
	if err != nil {
		t.Fatal(err)
	}
	return there
}

func sameTree(t *testing.T, what string, got, want tree) {
	t.Helper()
	for name := range want {
		if !bytes.Equal(got[name], want[name]) {
			t.Errorf("%s: %s differs: %s", what, name, difference(got[name], want[name]))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d files and not %d", what, len(got), len(want))
	}
}

// difference is the first line that two texts do not share.
func difference(got, want []byte) string {
	a, b := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range min(len(a), len(b)) {
		if !bytes.Equal(a[i], b[i]) {
			return fmt.Sprintf("line %d is\n  %s\nand not\n  %s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines and not %d", len(a), len(b))
}

// TestSQLQuotesABareName holds what a name with a hyphen rests on: the database and its owner are called like the program.
func TestSQLQuotesABareName(t *testing.T) {
	t.Parallel()
	here := thisTree(t)
	made, err := here.template()
	if err != nil {
		t.Fatal(err)
	}
	bare := regexp.MustCompile(`(?i)\b(role|database|owner|user|authorization)\s+(if\s+(not\s+)?exists\s+)?` + made.Name + `($|[^_a-z"])`)
	wrong := func(name string, content []byte) string {
		if strings.HasPrefix(name, "tools/fork/") {
			return ""
		}
		return string(bare.Find(content))
	}
	for name, content := range here {
		if found := wrong(name, content); found != "" {
			t.Errorf(`%s says %q: with a hyphen in the name that is no SQL; write "%s" between quotes`, name, found, made.Name)
		}
	}
	for _, bad := range []string{"create role NAME login", "create database NAME;", "owner NAME", "drop database if exists NAME"} {
		if wrong("x.sql", []byte(strings.ReplaceAll(bad, "NAME", made.Name))) == "" {
			t.Errorf("%q is not found", bad)
		}
	}
	for _, good := range []string{`create role "NAME"`, "create role NAME_users", "alter database \"NAME\" owner to x"} {
		if found := wrong("x.sql", []byte(strings.ReplaceAll(good, "NAME", made.Name))); found != "" {
			t.Errorf("%q is found in %q", found, good)
		}
	}
}

func TestOutsideOfGitItSaysWhatToDo(t *testing.T) {
	t.Parallel()
	checkedOut(t) // there is git
	for _, command := range [][]string{
		{"rename", heron.Module, heron.Name}, {"module", "lanterns"}, {"resource", "users", "lanterns"}, {"remove", "users"},
		{"upgrade", "v1.0.0"}, {"release", "v1.0.0"},
	} {
		if err := run(t.TempDir(), command, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "git init") {
			t.Errorf("%s: %v", command[0], err)
		}
	}
}
