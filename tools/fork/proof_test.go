package main

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWhatIsMadeIsGreenAtOnce is the long proof: in a checkout of its own it makes every kind of module and resource there is, and runs
// what CI runs. It takes minutes, so it has to be asked for; CI does at night. The Postgres and Redis are those of the environment.
func TestWhatIsMadeIsGreenAtOnce(t *testing.T) {
	if os.Getenv("FORK_PROOF") == "" {
		t.Skip("it takes minutes: FORK_PROOF=1 runs it")
	}
	before := checkout(t)
	root := repository(t, before)
	makings := before.makings(3)
	for _, m := range makings {
		var said bytes.Buffer
		if err := run(root, m.args(), &said); err != nil {
			t.Fatalf("fork %s: %v", strings.Join(m.args(), " "), err)
		}
		t.Logf("fork %s\n%s", strings.Join(m.args(), " "), said.String())
	}
	whole, err := read(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range makings { // nothing is made twice, nor anywhere else
		refuse(t, whole, root, strings.Join(m.args(), " "), "")
		refuse(t, whole, root, "resource lanterns "+m.resource, "each path has one owner")
	}
	broken := maps.Clone(whole)
	broken["services/broken.go"] = []byte("package main\n\nvar broken int = \"\"\n")
	if err := broken.write(root, whole); err != nil {
		t.Fatal(err)
	}
	refuse(t, broken, root, "module anchors", "does not compile, so nothing is written")
	if err := whole.write(root, broken); err != nil {
		t.Fatal(err)
	}

	steps := [][]string{
		{"gofmt", "-l", "api", "services", "migrations"}, {"go", "generate", "./api/..."}, {"git", "diff", "--exit-code", "--stat", "--", "api"},
		{"go", "vet", "./..."}, {"go", "mod", "tidy", "-diff"}, {"go", "test", "./api/...", "./deploy/...", "./migrations/...", "./pkg/docs/...", "./services/..."},
	}
	if _, err := git(root, "add", "-A"); err != nil { // so that git diff is about what the generator does now
		t.Fatal(err)
	}
	if lint, err := filepath.Glob("../../.local/bin/golangci-lint-*"); err == nil && len(lint) == 1 {
		lint[0], _ = filepath.Abs(lint[0])
		steps = append(steps, []string{lint[0], "run", "./api/...", "./services/...", "./migrations/..."})
	} else if os.Getenv("CI") != "" {
		t.Error("there is no linter: make lint builds it")
	}
	for _, step := range steps {
		cmd := exec.CommandContext(t.Context(), step[0], step[1:]...)
		cmd.Dir = root
		began := time.Now()
		out, err := cmd.CombinedOutput()
		t.Logf("%s: %s", strings.Join(step, " "), time.Since(began).Round(time.Second))
		if err != nil || step[0] == "gofmt" && len(out) > 0 {
			t.Errorf("%s: %v\n%s", strings.Join(step, " "), err, out)
		}
	}
}
