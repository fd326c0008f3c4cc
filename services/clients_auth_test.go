package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheTypeScriptClient has the compiled client tell the main story to all modules in one process and to each in its own.
func TestTheTypeScriptClient(t *testing.T) {
	t.Parallel()
	if os.Getenv("TYPESCRIPT") == "" {
		t.Skip("`make typescript` compiles the client and runs this")
	}
	bothWays(t, func(t *testing.T, env map[string]string) {
		ask(t, env, "../api/typescript", "node", "--test", "build/test/story.test.js")
		// only with transactions:
		if said := ask(t, env, "../api/typescript", "node", "build/test/docs.js"); said != "/postings/0/to\n" {
			t.Errorf("the example in docs/clients.md says %q", said)
		}
		// end transactions
	})
}

// only with transactions:

var goBlock = regexp.MustCompile("(?s)```go\n(package main\n.*?)```")

// TestTheGoClientOfTheDocs runs the program that stands in docs/clients.md.
func TestTheGoClientOfTheDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	block := goBlock.FindSubmatch(text)
	if block == nil {
		t.Fatal("docs/clients.md has no program in Go")
	}
	dir := t.TempDir()
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "client")
	if err := os.WriteFile(source, block[1], 0o600); err != nil {
		t.Fatal(err)
	}
	ask(t, nil, "..", "go", "build", "-o", program, source)
	bothWays(t, func(t *testing.T, env map[string]string) {
		if said := ask(t, env, ".", program); !strings.HasSuffix(said, " holds 0 cents\n") {
			t.Errorf("the program in docs/clients.md says %q", said)
		}
	})
}

// end transactions

// bothWays starts the program with all modules in one process, and each in its own, and gives what a client has to know.
func bothWays(t *testing.T, tell func(t *testing.T, env map[string]string)) {
	t.Helper()
	to := func(t *testing.T, env map[string]string, address string) {
		if out, err := command(t, env, "operator").CombinedOutput(); err != nil {
			t.Fatalf("operator: %v\n%s", err, out)
		}
		tell(t, map[string]string{"BASE_URL": address, "OPERATOR_EMAIL": env["OPERATOR_EMAIL"], "OPERATOR_PASSWORD": env["OPERATOR_PASSWORD"]})
	}
	t.Run("together", func(t *testing.T) {
		t.Parallel()
		env := world(t)
		to(t, env, start(t, env).url)
	})
	t.Run("apart", func(t *testing.T) {
		t.Parallel()
		env := world(t)
		gateway, _ := apart(t, env)
		to(t, env, gateway)
	})
}

// ask runs a program in a folder, with more in its environment, and returns what it says.
func ask(t *testing.T, env map[string]string, folder, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = folder, os.Environ()
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
