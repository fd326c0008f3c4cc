package main

import (
	"bytes"
	"os"
	"os/exec"
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
	needed(t, "curl")
	env, dir := world(t), t.TempDir()
	runEnv(t, dir, env, start(t, env))
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

// TestTheReadmeIsShortAndExplainsWhatIsDependedOn wants every dependency to be explained, and what is longer to stand in docs/.
func TestTheReadmeIsShortAndExplainsWhatIsDependedOn(t *testing.T) {
	t.Parallel()
	text := readme(t)
	if lines := strings.Count(text, "\n"); lines > 250 {
		t.Errorf("the README has %d lines, of 250 that one reads in a sitting: move something to docs/", lines)
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
	// What the packages of the program import; tests, tools and the local stack have some more.
	list, err := exec.Command("go", "list", "-deps", "-f", `{{with .Module}}{{if .Main}}{{join $.Imports "\n"}}{{end}}{{end}}`, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	shipped := slices.DeleteFunc(direct, func(d string) bool { return !strings.Contains(string(list), d) })
	if len(shipped) > 25 {
		t.Errorf("%d projects are parts of the program: %v", len(shipped), shipped)
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
