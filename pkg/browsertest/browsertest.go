// Package browsertest drives a real Chromium in a test: it opens pages, runs scripts in them, and reads its cookies as no script can. It
// speaks the DevTools protocol over a pipe (https://chromedevtools.github.io/devtools-protocol/).
package browsertest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Find returns where Chromium or Chrome is. Without one the test is skipped, but in CI, where nobody reads a skip, and in `make browser`,
// which is there for it.
func Find(t testing.TB) string {
	t.Helper()
	for _, name := range []string{
		"google-chrome", "google-chrome-stable", "chromium", "chromium-browser",
		"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome", "/Applications/Chromium.app/Contents/MacOS/Chromium",
	} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const how = "there is no Chromium or Chrome here (apt-get install chromium): this is not tried in a browser"
	if os.Getenv("CI") == "true" || os.Getenv("NEED_BROWSER") == "true" {
		t.Fatal(how)
	}
	t.Skip(how)
	return ""
}

// Browser is a running Chromium with a profile of its own. Its methods fail the test when the browser does not do as it is told.
type Browser struct {
	t   testing.TB
	out io.Writer // commands, each with a NUL behind it

	mu      sync.Mutex
	last    int
	waiting map[int]chan answer
	loaded  map[string]chan struct{} // by session
	against []string
}

type answer struct {
	Result json.RawMessage
	Error  *struct{ Message string }
}

// patience is how long anything in the browser may take. It is much more than anything needs, so that only what hangs meets it.
const patience = time.Minute

// Start runs a browser until the test ends. It resolves no name but localhost.
func Start(t testing.TB) *Browser {
	t.Helper()
	path := Find(t)
	home, err := os.MkdirTemp("", "browsertest-")
	if err != nil {
		t.Fatal(err)
	}
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // t.Context ends before the cleanups
	// No sandbox: root and most CI have none to offer, and it sees no page but ours.
	cmd := exec.CommandContext(ctx, path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-background-timer-throttling",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost", "--user-data-dir="+home, "--remote-debugging-pipe", "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4, by the protocol
	cmd.WaitDelay = 5 * time.Second
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = theirIn.Close(), theirOut.Close()
	b := &Browser{t: t, out: ourOut, waiting: map[int]chan answer{}, loaded: map[string]chan struct{}{}}
	heard := make(chan struct{})
	go func() { b.listen(ourIn); close(heard) }()
	t.Cleanup(func() {
		_ = ourOut.Close() // the browser ends with its pipe
		select {
		case <-heard:
		case <-time.After(10 * time.Second):
		}
		cancel()
		_ = cmd.Wait() // killed or not
		_ = ourIn.Close()
		_ = os.RemoveAll(home) // a helper process may write a moment longer, which is no failure
		for line := range strings.Lines(log.String()) {
			if t.Failed() && !strings.Contains(line, "dbus") { // which a machine without a desktop does not have
				t.Log("the browser says: ", line)
			}
		}
	})
	return b
}

// listen hands every message to whom it is for.
func (b *Browser) listen(in io.Reader) {
	for r := bufio.NewReader(in); ; {
		line, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m struct {
			answer
			ID        int
			Method    string
			SessionID string
			Params    struct {
				Entry struct{ Source, Level, Text string }
			}
		}
		if json.Unmarshal(bytes.TrimSuffix(line, []byte{0}), &m) != nil {
			continue
		}
		b.mu.Lock()
		switch {
		case m.ID != 0:
			b.waiting[m.ID] <- m.answer
			delete(b.waiting, m.ID)
		case m.Method == "Page.loadEventFired":
			b.loaded[m.SessionID] <- struct{}{}
		case m.Method == "Log.entryAdded" && m.Params.Entry.Source != "network":
			b.against = append(b.against, m.Params.Entry.Text)
		}
		b.mu.Unlock()
	}
}

// command sends a command and reads its answer into result, nil when there is nothing to know.
func (b *Browser) command(session, method string, params map[string]any, result any) {
	b.t.Helper()
	answered := make(chan answer, 1)
	b.mu.Lock()
	b.last++
	b.waiting[b.last] = answered
	message, _ := json.Marshal(map[string]any{"id": b.last, "method": method, "params": params, "sessionId": session}) // strings and numbers
	if session == "" {
		message = bytes.Replace(message, []byte(`,"sessionId":""`), nil, 1)
	}
	_, err := b.out.Write(append(message, 0))
	b.mu.Unlock()
	if err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	select {
	case a := <-answered:
		if a.Error != nil {
			b.t.Fatalf("%s: %s", method, a.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(a.Result, result); err != nil {
				b.t.Fatalf("%s: %v", method, err)
			}
		}
	case <-time.After(patience):
		b.t.Fatalf("%s: no answer", method)
	}
}

// Complaints are what the browser said against its pages: scripts that failed, things that a policy kept out.
func (b *Browser) Complaints() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.against, "\n")
}

// Cookie is one as the browser keeps it.
type Cookie struct {
	Name, Value, Domain, Path, SameSite string
	HTTPOnly                            bool `json:"httpOnly"`
	Secure                              bool
	Expires                             float64 // seconds since 1970, negative for a session's cookie
}

// Cookies are all that the browser keeps, also those that no script sees.
func (b *Browser) Cookies() []Cookie {
	b.t.Helper()
	var kept struct{ Cookies []Cookie }
	b.command("", "Storage.getCookies", nil, &kept)
	return kept.Cookies
}

// Page is one tab.
type Page struct {
	b       *Browser
	session string
}

// Open opens an address in a tab of its own, and returns when it is loaded.
func (b *Browser) Open(address string) *Page {
	b.t.Helper()
	var made struct{ TargetID string }
	b.command("", "Target.createTarget", map[string]any{"url": "about:blank"}, &made)
	var attached struct{ SessionID string }
	b.command("", "Target.attachToTarget", map[string]any{"targetId": made.TargetID, "flatten": true}, &attached)
	p := &Page{b, attached.SessionID}
	b.mu.Lock()
	b.loaded[p.session] = make(chan struct{}, 100)
	b.mu.Unlock()
	for _, domain := range []string{"Page.enable", "Log.enable", "Runtime.enable"} {
		b.command(p.session, domain, nil, nil)
	}
	var went struct{ ErrorText string }
	b.command(p.session, "Page.navigate", map[string]any{"url": address}, &went)
	if went.ErrorText != "" {
		b.t.Fatalf("%s: %s", address, went.ErrorText)
	}
	p.arrive()
	return p
}

// Reload loads the page again: what its scripts knew is gone.
func (p *Page) Reload() {
	p.b.t.Helper()
	p.b.command(p.session, "Page.reload", nil, nil)
	p.arrive()
}

func (p *Page) arrive() {
	p.b.t.Helper()
	p.b.mu.Lock()
	loaded := p.b.loaded[p.session]
	p.b.mu.Unlock()
	select {
	case <-loaded:
	case <-time.After(patience):
		p.b.t.Fatal("the page does not load")
	}
}

// Run runs an expression in the page, waits for its promise, and returns what it says as a text.
func (p *Page) Run(expression string) string {
	p.b.t.Helper()
	var ran struct {
		Result           struct{ Value any }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	p.b.command(p.session, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &ran)
	if ran.ExceptionDetails != nil {
		p.b.t.Fatalf("%s: %s", expression, ran.ExceptionDetails.Exception.Description)
	}
	if ran.Result.Value == nil {
		return ""
	}
	return fmt.Sprint(ran.Result.Value)
}
