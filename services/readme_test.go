package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var shellBlock = regexp.MustCompile("(?s)(<!-- story -->\n)?```sh\n(.*?)```")

// only with auth:

// TestTheReadmesStoryRuns runs the README's curl commands, as they stand there, against a running server.
func TestTheReadmesStoryRuns(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("curl is missing")
		}
		t.Skip("curl is missing: the README's story is not run")
	}
	env := world(t)
	p := start(t, env)
	if out, err := command(t, env, "operator").CombinedOutput(); err != nil {
		t.Fatalf("operator: %v\n%s", err, out)
	}
	dir := t.TempDir()
	vars := fmt.Sprintf("BASE_URL='%s'\nOPERATOR_EMAIL='%s'\nOPERATOR_PASSWORD='%s'\n",
		p.url, env["OPERATOR_EMAIL"], strings.ReplaceAll(env["OPERATOR_PASSWORD"], "'", `'\''`))
	if err := os.MkdirAll(filepath.Join(dir, ".local"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".local/run.env"), []byte(vars), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, block := range shellBlock.FindAllStringSubmatch(readme(t), -1) {
		if block[1] == "" {
			continue
		}
		cmd := exec.Command("sh", "-eu", "-c", block[2])
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		// only with transactions:
		if bytes.Count(out, []byte(`"amount":2500`)) < 2 || !bytes.Contains(bytes.ToLower(out), []byte("idempotent-replayed: true")) ||
			!bytes.Contains(out, []byte(`"balance_after":7500`)) {
			t.Errorf("the story ended otherwise:\n%s", out)
		}
		// end transactions
		return
	}
	t.Fatal("the README has no story")
}

// end auth

// TestTheReadmesCommandsAreChecked wants every other command in it to be a make target that the checks run.
func TestTheReadmesCommandsAreChecked(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var check []byte // what CI runs
	for _, name := range []string{"check", "fork"} {
		script, err := os.ReadFile("../.ci/" + name)
		if err != nil {
			t.Fatal(err)
		}
		check = append(check, script...)
	}
	for _, block := range shellBlock.FindAllStringSubmatch(readme(t), -1) {
		if block[1] != "" {
			continue
		}
		for line := range strings.Lines(block[2]) {
			command, _, _ := strings.Cut(line, "#")
			words := strings.Fields(command)
			if len(words) < 2 || words[0] != "make" {
				t.Errorf("nothing runs the README's command %q", line)
				continue
			}
			if !bytes.Contains(makefile, []byte("\n"+words[1]+":")) {
				t.Errorf("the Makefile has no target %s", words[1])
			}
			if words[1] != "check" && !bytes.Contains(check, []byte("make "+words[1])) {
				t.Errorf("CI does not run make %s", words[1])
			}
		}
	}
}

// TestTheReadmeNamesWhatIsThere wants every file it names to exist, and every dependency to be explained.
func TestTheReadmeNamesWhatIsThere(t *testing.T) {
	t.Parallel()
	text := readme(t)
	for _, m := range regexp.MustCompile("`([a-z.]+(?:/[A-Za-z0-9_.-]+)+)`").FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(m[1], ".local/") {
			continue // made by make run
		}
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Errorf("the README names %s, which is not there", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([A-Za-z][^)#:]*)\)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Errorf("the README links to %s, which is not there", m[1])
		}
	}
	gomod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var direct []string
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(gomod), -1) {
		direct = append(direct, repository(m[1]))
	}
	slices.Sort(direct)
	direct = slices.Compact(direct)
	_, table, _ := strings.Cut(text, "## Dependencies")
	for _, d := range direct {
		if !strings.Contains(table, d) {
			t.Errorf("the README does not say what %s is for", d)
		}
	}
	if len(direct) > 28 {
		t.Errorf("%d projects are depended on directly: %v", len(direct), direct)
	}
}

// repository is a module's repository as the table names it: owner/name, or the module itself elsewhere.
func repository(module string) string {
	if path, ok := strings.CutPrefix(module, "github.com/"); ok {
		return strings.Join(strings.Split(path, "/")[:2], "/")
	}
	if strings.HasPrefix(module, "go.opentelemetry.io/") {
		return "go.opentelemetry.io"
	}
	return module
}
