package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTheCommandsInDocsRun does what docs/ says, as a reader does: page by page, one block after the other in one shell, in a checkout of
// its own, beside a server that runs for it. What compiles takes minutes and is for `make docs`.
func TestTheCommandsInDocsRun(t *testing.T) {
	t.Parallel()
	needed(t, "curl", "git", "openssl", "base32")
	for _, p := range theTree(t).pages() {
		if p.name == "README.md" || len(p.runs()) == 0 { // the README has a test of its own
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			if p.slow() && os.Getenv("NEED_DOCS") == "" {
				t.Skip("it compiles, which takes minutes: make docs runs it")
			}
			for _, m := range makesModule.FindAllStringSubmatch(p.prose, -1) {
				if name := strings.ReplaceAll(m[1], "-", ""); theTree(t).has("services/" + name + "/module.go") {
					t.Skipf("it makes a module %s as an example, and this backend has one", name)
				}
			}
			t.Parallel()
			dir := checkout(t, theTree(t))
			seen, env := collecting(t, world(t))
			server := start(t, env)
			runEnv(t, dir, env, server)
			said, err := p.do(t.Context(), dir, env)
			if err != nil {
				t.Fatal(err)
			}
			var wrong []string
			for range 200 { // a line of the log and a span come a moment later
				if wrong = p.shows(said, server.logs.String(), seen); len(wrong) == 0 {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			for _, w := range wrong {
				t.Error(w)
			}
			if p.changing() {
				after, err := treeAt(dir)
				if err != nil {
					t.Fatal(err)
				}
				for name, content := range theTree(t) { // a page tells of before as well
					if !after.has(name) {
						after[name] = content
					}
				}
				for _, wrong := range p.names(after) {
					t.Error(wrong)
				}
			}
		})
	}
}

var makesModule = regexp.MustCompile(`(?m)^make module NAME=([a-z-]+)`)

// needed skips the test where a program is missing, but not in CI, where nobody reads a skip.
func needed(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing", program)
		}
		t.Skipf("%s is missing: what needs it is not run", program)
	}
}

// checkout makes a checkout of the tree as it stands, committed, with the tools that are built already.
func checkout(t *testing.T, tree files) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "checkout")
	for name, content := range tree {
		file := filepath.Join(dir, filepath.FromSlash(name))
		info, err := os.Stat(filepath.Join("..", name))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(file), 0o755)
		}
		if err == nil {
			err = os.WriteFile(file, []byte(content), info.Mode().Perm())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, ".local/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	tools, _ := filepath.Glob("../.local/bin/*-v[0-9]*")
	for _, tool := range tools {
		from, err := filepath.Abs(tool)
		if err == nil {
			err = os.Symlink(from, filepath.Join(dir, ".local/bin", filepath.Base(tool)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "--quiet"}, {"add", "--all"}, {"commit", "--quiet", "--message", "What is here"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Env = dir, reader(nil)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
	}
	return dir
}

// reader is the environment of somebody who reads: ours without what tests and make have in it, and with more.
func reader(more map[string]string) (env []string) {
	for _, line := range os.Environ() {
		name, _, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(name, "MAKE") && !strings.HasPrefix(name, "GIT_") && !slices.Contains([]string{"MFLAGS", "TESTFLAGS", "NEED_DOCS"}, name) {
			env = append(env, line)
		}
	}
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		env = append(env, "GIT_"+who+"_NAME=Reader", "GIT_"+who+"_EMAIL=reader@example.com")
	}
	for name, value := range more {
		env = append(env, name+"="+value)
	}
	return env
}

// runEnv makes the operator and writes what `make run` writes when its server is up.
func runEnv(t *testing.T, dir string, env map[string]string, p *program) {
	t.Helper()
	// only with auth:
	if out, err := command(t, env, "operator").CombinedOutput(); err != nil {
		t.Fatalf("operator: %v\n%s", err, out)
	}
	// end auth
	text := fmt.Sprintf("BASE_URL='%s'\nADMIN_URL='%s'\n", p.url, p.admin)
	for _, name := range []string{"ENVIRONMENT", "DATABASE_URL", "REDIS_URL", "KEY_ENCRYPTION_KEY_FILE", "OPERATOR_EMAIL", "OPERATOR_PASSWORD"} {
		text += name + "='" + strings.ReplaceAll(env[name], "'", `'\''`) + "'\n"
	}
	if err := os.MkdirAll(filepath.Join(dir, ".local"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".local/run.env"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// do runs the page's commands in a folder and returns what each block printed, by the line of its fence. It ends at the first that fails.
func (p page) do(ctx context.Context, dir string, env map[string]string) (map[int]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", p.script())
	cmd.Dir = dir
	cmd.Env = reader(map[string]string{"DATABASE_URL": env["DATABASE_URL"], "REDIS_URL": env["REDIS_URL"]})
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second // for what a block leaves running
	err := cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	}
	said := p.divide(out.String())
	if err == nil {
		return said, nil
	}
	// The shell tells each command before it runs it.
	traces, failed := p.divide(errs.String()), 0
	for line := range traces {
		failed = max(failed, line)
	}
	return nil, fmt.Errorf("%s:%d: %w\n%s%s", p.name, failed, err, said[failed], traces[failed])
}

// mark begins the output of a block. Nobody types it.
const mark = "\x1e"

// script is the commands on the lines where they stand in the page, so that what the shell says of a line is true of the page.
func (p page) script() string {
	lines := make([]string, 1+strings.Count(p.prose, "\n"))
	lines[0] = "set -eux"
	for _, b := range p.runs() {
		lines[b.line-1] = fmt.Sprintf(`printf '%s%d\n'; printf '%[1]s%d\n' >&2`, mark, b.line)
		copy(lines[b.line:], strings.Split(strings.TrimSuffix(b.text, "\n"), "\n"))
	}
	return strings.Join(lines, "\n")
}

// divide divides what was written by the lines of the blocks.
func (p page) divide(text string) map[int]string {
	parts := map[int]string{}
	for _, b := range p.runs() {
		if _, rest, ran := strings.Cut(text, fmt.Sprintf("%s%d\n", mark, b.line)); ran {
			parts[b.line], _, _ = strings.Cut(rest, mark)
		}
	}
	return parts
}

// shows returns which of the blocks that show something show what is not so. What varies is … in them.
//
//	<!-- printed -->  lines that the block of commands before it printed, in this order
//	<!-- logged -->   lines of the server's log
//	<!-- traced -->   the names of the spans of one trace, the first of them its root
func (p page) shows(said map[int]string, log string, seen *spans) (wrong []string) {
	last := 0
	for _, b := range p.blocks {
		if _, ran := said[b.line]; ran {
			last = b.line
			continue
		}
		lines := strings.Split(strings.TrimSpace(b.text), "\n")
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		where := fmt.Sprintf("%s:%d", p.name, b.line)
		switch b.above {
		case "<!-- printed -->":
			if !like(said[last], lines...) {
				wrong = append(wrong, fmt.Sprintf("%s: it printed something else:\n%s", where, said[last]))
			}
		case "<!-- logged -->":
			for _, line := range lines {
				if !like(log, line) {
					wrong = append(wrong, fmt.Sprintf("%s: the log has no line like %s", where, line))
				}
			}
		case "<!-- traced -->":
			if !seen.whole(lines[0], lines[1:]) {
				wrong = append(wrong, where+": there is no such trace")
			}
		}
	}
	return wrong
}

// like reports whether a text has the lines, one after the other.
func like(text string, lines ...string) bool {
	for i := range lines {
		lines[i] = strings.ReplaceAll(regexp.QuoteMeta(lines[i]), "…", "[^\n]*?")
	}
	return regexp.MustCompile("(?s)" + strings.Join(lines, ".*?")).MatchString(text)
}
