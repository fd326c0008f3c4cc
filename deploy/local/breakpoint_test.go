package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// copied is a copy of this repository.
func copied(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "checkout")
	pack := exec.Command("sh", "-c", `cd ../.. && mkdir "$1" && git ls-files -co --exclude-standard | while read -r f; do [ ! -f "$f" ] || echo "$f"; done | tar -cf - -T - | tar -xf - -C "$1"`, "sh", root)
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	wiped(t, root)
	return root
}

// TestABreakpoint stops a running server in a handler and looks at a value.
func TestABreakpoint(t *testing.T) {
	if os.Getenv("INNER_LOOP") == "" {
		t.Skip("is run by .ci/check, with INNER_LOOP=yes")
	}
	debuggers, _ := filepath.Glob("../../.local/bin/dlv-*")
	if len(debuggers) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no dlv: .ci/check makes it")
		}
		t.Skip("there is no dlv: make debug builds it")
	}
	dlv, err := filepath.Abs(debuggers[len(debuggers)-1])
	if err != nil {
		t.Fatal(err)
	}
	root := copied(t)
	server := launcher(root, nil, "-debug", dlv)
	said := &said{}
	server.Stderr = said
	d := &developed{t: t, root: root, cmd: server, said: said}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill() })
	d.await(5*time.Minute, "is up, after", 0)

	env, err := os.ReadFile(filepath.Join(root, ".local/run.env"))
	if err != nil {
		t.Fatal(err)
	}
	d.base = strings.Trim(lookup(strings.Split(string(env), "\n"), "BASE_URL"), "'")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("break httpserver.writeHealth\ncontinue\nprint ok\nclearall\nexit -c\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	editor := exec.Command(dlv, "connect", debugAddr, "--init", script)
	ended := make(chan struct{})
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for {
			select {
			case <-ended:
				return
			case <-time.After(100 * time.Millisecond):
				fetch(d.base + "/livez") // waits in the debugger's hands
			}
		}
	}()
	out, err := editor.CombinedOutput()
	close(ended)
	<-asked
	if err != nil || !strings.Contains(string(out), "[Breakpoint 1]") || !regexp.MustCompile(`(?m)^true$`).Match(out) {
		t.Errorf("the debugger says %v\n%s", err, out)
	}
	if !answers(d.base + "/readyz") {
		t.Errorf("after the breakpoint the server does not go on")
	}
	_ = server.Process.Signal(syscall.SIGINT)
	_ = server.Wait()
	if !silent(strings.TrimPrefix(d.base, "http://")) || !silent(debugAddr) {
		t.Errorf("the server or the debugger outlives make debug")
	}
}
