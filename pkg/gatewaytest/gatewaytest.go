// Package gatewaytest runs the gateway in a test: the real Caddy that the Makefile pins, on the real file, deploy/gateway/Caddyfile.
package gatewaytest

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Root returns the folder of the checkout.
func Root(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

// Find returns where Caddy is: `make apart` and others build it. Without one the test is skipped, but in CI, where nobody reads a skip.
func Find(t testing.TB) string {
	t.Helper()
	root := Root(t)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	version := regexp.MustCompile(`(?m)^CADDY_VERSION := (\S+)`).FindSubmatch(makefile)
	if err != nil || version == nil {
		t.Fatalf("the Makefile names no CADDY_VERSION: %v", err)
	}
	name := ".local/bin/caddy-" + string(version[1])
	path := filepath.Join(root, name)
	if _, err := os.Stat(path); err != nil {
		how := "there is no gateway here (make " + name + " builds one): its file is not tried"
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	return path
}

// Start runs the gateway at an address until the test ends. upstreams are where the instances of each module listen; who is
// not among them listens nowhere.
func Start(t testing.TB, at string, upstreams map[string][]string) {
	t.Helper()
	caddy, root := Find(t), Root(t)
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // t.Context ends before the cleanups
	cmd := exec.CommandContext(ctx, caddy, "run", "--adapter", "caddyfile", "--config", filepath.Join(root, "deploy/gateway/Caddyfile"))
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "GATEWAY_HOST="+host, "GATEWAY_PORT="+port)
	for module, addresses := range upstreams {
		cmd.Env = append(cmd.Env, strings.ToUpper(module)+"_UPSTREAM="+strings.Join(addresses, " "))
	}
	log := &log{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() {
			t.Logf("what the gateway said:\n%s", log)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", at); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-ended:
			t.Fatal("the gateway ended")
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the gateway does not answer")
		}
	}
}

// log keeps the last that the gateway said.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.text.String()
	return text[max(0, len(text)-8000):]
}
