package main

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// thisTree is this repository as the template at v0.1.0, whatever it is by now: a fork runs these tests too.
func thisTree(t *testing.T) tree {
	t.Helper()
	here := checkedOut(t)
	made, err := here.template()
	if err != nil {
		t.Fatal(err)
	}
	made.Version, made.Fork = "v0.1.0", false
	here.set(made)
	// What a release keeps of the contracts is another tool's, which has to be built first.
	here["Makefile"] = bytes.Replace(here["Makefile"], []byte("\nsnapshot:"), []byte("\nno-snapshot:"), 1)
	here[changelogFile] = []byte("# Changelog\n\n## v0.1.0 - 2026-01-02\n\n### Added\n\n- Everything.\n")
	return here
}

// checkedOut is this repository as it is.
func checkedOut(t *testing.T) tree {
	t.Helper()
	here, err := read("../..")
	if err != nil {
		skipWithout(t, err)
	}
	return here
}

// skipWithout skips a test that cannot be where git is missing, or this is no checkout of it. In CI it fails.
func skipWithout(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// repository is a new repository of git with a tree in one commit.
func repository(t *testing.T, content tree) string {
	t.Helper()
	root := t.TempDir()
	if _, err := exec.LookPath("git"); err != nil {
		skipWithout(t, err)
	}
	must(t, root, "init", "--quiet", "--initial-branch=main")
	identify(t, root)
	change(t, root, content, "Begin")
	return root
}

// identify gives a repository somebody who commits, on a machine where git knows nobody.
func identify(t *testing.T, root string) {
	t.Helper()
	must(t, root, "config", "user.name", "Ada")
	must(t, root, "config", "user.email", "ada@example.com")
	must(t, root, "config", "commit.gpgsign", "false")
}

// change writes files, deletes those that are nil, and commits.
func change(t *testing.T, root string, files tree, message string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if content == nil {
			err = os.Remove(file)
		} else if err == nil {
			err = os.WriteFile(file, content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := commit(root, message); err != nil {
		t.Fatal(err)
	}
}

// edit is a change of words in files: the old text has to be there.
func edit(t *testing.T, root string, words map[string][2]string, message string) {
	t.Helper()
	files := tree{}
	for name, w := range words {
		content := contents(t, root, name)
		if !strings.Contains(content, w[0]) {
			t.Fatalf("%s has no %q:\n%s", name, w[0], content)
		}
		files[name] = []byte(strings.Replace(content, w[0], w[1], 1))
	}
	change(t, root, files, message)
}

func contents(t *testing.T, root, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(content)
}

func must(t *testing.T, root string, args ...string) string {
	t.Helper()
	out, err := git(root, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// do runs a command of fork and returns what it says.
func do(t *testing.T, root string, args ...string) string {
	t.Helper()
	var out strings.Builder
	if err := run(root, args, &out); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// refused runs a command that has to fail and to change nothing, and returns why.
func refused(t *testing.T, root string, args ...string) string {
	t.Helper()
	state := func() string {
		return must(t, root, "rev-parse", "HEAD") + must(t, root, "status", "--porcelain") + must(t, root, "tag") + must(t, root, "remote")
	}
	before, filesBefore := state(), onDisk(t, root)
	var out strings.Builder
	err := run(root, args, &out)
	if err == nil {
		t.Fatalf("%s: is not refused\n%s", strings.Join(args, " "), out.String())
	}
	if state() != before || !maps.EqualFunc(filesBefore, onDisk(t, root), func(a, b []byte) bool { return string(a) == string(b) }) {
		t.Errorf("%s: is refused (%v), and has changed something", strings.Join(args, " "), err)
	}
	return err.Error()
}

func onDisk(t *testing.T, root string) tree {
	t.Helper()
	files, err := read(root)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// vetted compiles everything in a checkout, tests too. Without the path of its folder, because then the next run has it in the cache.
func vetted(t *testing.T, root string) {
	t.Helper()
	cmd := exec.Command("go", "vet", "-trimpath", "./...")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("it does not compile: %v\n%s", err, out)
	}
}
