package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// made runs make with the real Makefile and returns the words that its commands are given, and what stands in their environment. Nothing else
// runs: every command is one that notes them.
func made(t *testing.T, env []string, args ...string) []string {
	t.Helper()
	folder := t.TempDir()
	note := filepath.Join(folder, "bin", "go")
	err := os.Mkdir(filepath.Dir(note), 0o700)
	if err == nil {
		err = os.WriteFile(note, []byte("#!/bin/sh\nprintf '%s\\0' \"$@\" \"SQL=$SQL\" \"CMD=$CMD\"\n"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "Makefile"), []byte(text(t, "Makefile")), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("make", append([]string{"-s", "LOCAL=" + note, "DEV=" + note, "OASDIFF=" + note}, args...)...)
	cmd.Dir, cmd.Env = folder, append(env, "PATH="+filepath.Dir(note)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("make %q: %v, %q", args, err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(folder, "*")); len(left) != 2 {
		t.Errorf("make %q has run what was a value: %q", args, left)
	}
	return strings.Split(string(out), "\x00")
}

// given are the targets that take a variable, and how its value arrives after them.
var given = []struct{ target, name, before string }{
	{"psql", "AS", ""},
	{"psql", "DB", ""},
	{"psql", "SQL", "SQL="},
	{"redis", "CMD", "CMD="},
	{"mail", "TO", ""},
	// only with auth:
	{"token", "AS", ""},
	// end auth
	{"test", "RUN", ""},
	{"snapshot", "VERSION", ""},
	{"rename", "MODULE", ""},
	{"rename", "NAME", ""},
	{"upgrade", "VERSION", ""},
	{"upgrade", "FROM", ""},
	{"release", "VERSION", ""},
	{"module", "NAME", ""},
	{"module", "SINGULAR", "--singular="},
	{"resource", "MODULE", ""},
	{"resource", "NAME", ""},
	{"resource", "SINGULAR", "--singular="},
	{"remove", "NAME", ""},
}

func TestAValueArrivesAsItWasTyped(t *testing.T) {
	t.Parallel()
	hostile := []string{
		"a'; touch ran; '", `a"; touch ran; "`, "`touch ran`", "$(touch ran)", "$(shell touch ran)", "a\ntouch ran", "a & touch ran", "A|B",
		"two  words ", "select $1, $$x$$, ${HOME}", `back\slash\`, "-flag", "*", "a=b#c,d)",
	}
	for _, g := range given {
		for _, value := range hostile {
			if words := made(t, nil, g.target, g.name+"="+value); !slices.Contains(words, g.before+value) {
				t.Errorf("make %s %s=%q gives its commands %q", g.target, g.name, value, words)
			}
		}
		env := []string{g.name + "=somebody-elses"}
		if words := made(t, env, g.target); strings.Contains(strings.Join(words, " "), "somebody-elses") {
			t.Errorf("make %s takes %s from the environment: %q", g.target, g.name, words)
		}
	}
	// Several packages are several words, a flag of a module is there or not, and neither is code.
	for _, value := range hostile {
		if words := made(t, nil, "test", "PKG="+value); value != "*" && !slices.Contains(words, strings.Fields(value)[0]) {
			t.Errorf("make test PKG=%q gives its commands %q", value, words)
		}
		if words := made(t, nil, "module", "PUBLIC="+value); !slices.Contains(words, "--public") {
			t.Errorf("make module PUBLIC=%q gives its commands %q", value, words)
		}
		made(t, nil, "help", "ALL="+value)
	}
}
