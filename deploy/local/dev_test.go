package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// developed is a checkout under `make dev`.
type developed struct {
	t    *testing.T
	root string
	env  []string
	cmd  *exec.Cmd
	said *said
	base string
}

// said collects what a process says.
type said struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(p)
}

func (s *said) since(n int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()[n:]
}

// sources are a server in small: its answer has a word of its own, one of a contract, and one of a template.
var sources = map[string]string{
	".gitignore":  "/.local/\n*.junk\n",
	"generate.sh": "if grep -q broken openapi.yaml; then echo openapi.yaml: a broken contract; exit 1; fi\ncp openapi.yaml gen.go\n",
	"api/x/v1/doc.go": `// Package x is a contract.
package x

//go:generate sh ../../../generate.sh
`,
	"api/x/v1/config.yaml":         "package: x\n",
	"api/x/v1/openapi.yaml":        "package x\n\nconst Word = \"first\"\n",
	"api/x/v1/gen.go":              "package x\n\nconst Word = \"first\"\n",
	"migrations/x/0001_first.sql":  "create table first;\n",
	"services/greeting/word.txt":   "hello",
	"services/greeting/word.go":    "package greeting\n\nimport _ \"embed\"\n\n//go:embed word.txt\nvar Word string\n",
	"services/word.go":             "package main\n\nconst word = \"one\"\n",
	"services/word_test.go":        "package main\n",
	"services/greeting/notes.md":   "notes",
	"services/greeting/notes.junk": "junk",
	"services/main.go": `package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	x "example.com/fake/api/x/v1"
	"example.com/fake/services/greeting"
)

func main() {
	switch os.Args[1] {
	case "migrate":
		if _, err := os.Stat("migrations/x/0002_bad.sql"); err == nil {
			fmt.Println("0002_bad.sql: no such column")
			os.Exit(1)
		}
		return
	case "operator":
		return
	}
	if strings.Contains(word, "dead") {
		fmt.Fprintln(os.Stderr, "cannot start")
		os.Exit(3)
	}
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	http.HandleFunc("/die", func(http.ResponseWriter, *http.Request) { os.Exit(5) })
	http.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {
		if word == "short-lived" {
			time.AfterFunc(2*time.Second, func() { os.Exit(6) })
		}
	})
	http.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(2 * time.Second)
		fmt.Fprint(w, "slow ", word)
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, strings.Join([]string{word, x.Word, greeting.Word, os.Getenv("ISSUER")}, " "))
	})
	server := &http.Server{Addr: os.Getenv("HTTP_ADDR")}
	go server.ListenAndServe()
	<-ctx.Done()
	server.Shutdown(context.Background())
}
`,
}

func develop(t *testing.T) *developed {
	t.Helper()
	d := &developed{t: t, root: fake(t), said: &said{}, env: elsewhere}
	for name, content := range sources {
		d.write(name, content)
	}
	if out, err := exec.Command("git", "-C", d.root, "init", "-q").CombinedOutput(); err != nil {
		t.Logf("without git: %v %s", err, out)
	}
	d.start()
	return d
}

func (d *developed) start() {
	d.t.Helper()
	n := len(d.said.since(0))
	cmd := launcher(d.root, d.env, "-dev")
	cmd.Stderr = d.said
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.cmd = cmd
	d.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if d.t.Failed() {
			d.t.Logf("make dev says:\n%s", d.said.since(n))
		}
	})
	d.await(5*time.Minute, "Groundwork is up", n)
	env, err := os.ReadFile(filepath.Join(d.root, ".local/run.env"))
	if err != nil {
		d.t.Fatal(err)
	}
	d.base = strings.Trim(lookup(strings.Split(string(env), "\n"), "BASE_URL"), "'")
}

func (d *developed) write(name, content string) {
	d.t.Helper()
	path := filepath.Join(d.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// await waits until make dev has said something since it had said n bytes.
func (d *developed) await(patience time.Duration, what string, n int) {
	d.t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(d.said.since(n), what); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("make dev does not say %q", what)
		}
	}
}

// save writes a file and waits for what make dev says then.
func (d *developed) save(name, content, then string) {
	d.t.Helper()
	n := len(d.said.since(0))
	d.write(name, content)
	d.await(time.Minute, "saved "+name, n)
	d.await(time.Minute, then, n)
}

func (d *developed) answers(want string) {
	d.t.Helper()
	if got := fetch(d.base); got != want {
		d.t.Fatalf("the server answers %q, not %q", got, want)
	}
}

// fetch comes on a connection of its own, as a new caller does.
func fetch(url string) string {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

const ready, stays = "the new server is ready", "the server from before keeps serving"

func TestEverySaveIsServedAndNoMistakeEndsTheServer(t *testing.T) {
	t.Parallel()
	d := develop(t)
	d.answers("one first hello " + d.base)
	word := func(text string) string { return fmt.Sprintf("package main\n\nconst word = %q\n", text) }
	contract := func(text string) string { return fmt.Sprintf("package x\n\nconst Word = %q\n", text) }

	d.save("services/word.go", word("two"), ready)
	d.answers("two first hello " + d.base)
	d.save("services/greeting/word.txt", "servus", ready) // not Go, and in the program all the same
	d.answers("two first servus " + d.base)

	for _, mistake := range []struct{ name, content, why, mended string }{
		{"services/word.go", "package main\n\nconst word = three\n", "undefined: three", word("three")},
		{"services/word.go", word("dead"), "ended before it was ready", word("four")},
		{"api/x/v1/openapi.yaml", "broken", "a broken contract", contract("second")},
	} {
		before := fetch(d.base)
		n := len(d.said.since(0))
		d.save(mistake.name, mistake.content, stays)
		if said := d.said.since(n); !strings.Contains(said, mistake.why) {
			t.Errorf("make dev does not say %q:\n%s", mistake.why, said)
		}
		d.answers(before)
		d.save(mistake.name, mistake.mended, ready)
	}
	d.answers("four second servus " + d.base)
	if gen, _ := os.ReadFile(filepath.Join(d.root, "api/x/v1/gen.go")); string(gen) != contract("second") {
		t.Errorf("the code of the contract is %s", gen)
	}

	d.save("migrations/x/0002_bad.sql", "create", "the program is the same") // nobody embeds it here
	d.save("services/word.go", word("five"), "no such column")
	d.answers("four second servus " + d.base)
	if err := os.Rename(filepath.Join(d.root, "migrations/x/0002_bad.sql"), filepath.Join(d.root, "migrations/x/0002_good.sql")); err != nil {
		t.Fatal(err)
	}
	d.await(time.Minute, "saved migrations/x/0002_bad.sql, migrations/x/0002_good.sql", 0)
	eventually(t, "the migration that is mended lets the program in", func() bool { return strings.HasPrefix(fetch(d.base), "five") })

	d.end(syscall.SIGINT)
}

func TestAServerThatEndsByItselfStartsAgain(t *testing.T) {
	t.Parallel()
	d := develop(t)
	word := func(text string) string { return fmt.Sprintf("package main\n\nconst word = %q\n", text) }
	fetch(d.base + "/die")
	d.await(time.Minute, "the server ended by itself (exit status 5); it starts again in 0s", 0)
	d.answers("one first hello " + d.base) // who comes meanwhile waits

	n := len(d.said.since(0))
	d.save("services/word.go", "package main\n\nconst word = two\n", stays)
	for _, pid := range d.servers() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	d.await(time.Minute, "the server ended by itself (signal: killed); it starts again", n)
	d.answers("one first hello " + d.base) // code that does not build is no reason to be without a server

	n = len(d.said.since(0))
	d.save("services/word.go", word("short-lived"), ready)
	for _, pause := range []string{"0s", "1s", "3s"} { // one that never lasts is not started all the time
		d.await(time.Minute, "(exit status 6); it starts again in "+pause, n)
	}

	n = len(d.said.since(0))
	d.save("services/word.go", word("dead"), "ended before it was ready")
	d.await(time.Minute, "the next save tries again", n)
	d.save("services/word.go", word("six"), ready)
	d.answers("six first hello " + d.base)
	d.end(syscall.SIGINT)
}

// servers are the processes of the server.
func (d *developed) servers() (pids []int) {
	d.t.Helper()
	out, err := exec.Command("pgrep", "-f", filepath.Join(d.root, ".local/bin/groundwork-dev")).Output()
	if err != nil {
		d.t.Skipf("pgrep: %v", err)
	}
	for _, pid := range strings.Fields(string(out)) {
		number, _ := strconv.Atoi(pid)
		pids = append(pids, number)
	}
	return pids
}

// end ends make dev, whatever way, and looks that nothing is left.
func (d *developed) end(how syscall.Signal) {
	d.t.Helper()
	pids := d.servers()
	_ = d.cmd.Process.Signal(how)
	_ = d.cmd.Wait()
	eventually(d.t, "the address is silent", func() bool { return silent(strings.TrimPrefix(d.base, "http://")) })
	for _, pid := range pids {
		eventually(d.t, "the server has gone", func() bool { return !alive(pid) })
	}
	if _, err := os.Stat(filepath.Join(d.root, ".local/run.env")); how != syscall.SIGKILL && !os.IsNotExist(err) {
		d.t.Errorf("run.env is left behind: %v", err)
	}
}

func TestDevKilledLeavesNoServer(t *testing.T) {
	t.Parallel()
	develop(t).end(syscall.SIGKILL)
}

func TestNobodyNoticesThatTheServerIsReplaced(t *testing.T) {
	t.Parallel()
	d := develop(t)
	slow := make(chan string)
	go func() { slow <- fetch(d.base + "/slow") }()
	var asking sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := fetch(d.base); !strings.HasSuffix(got, d.base) {
					t.Errorf("in the moment of the change a caller gets %q", got)
					return
				}
			}
		})
	}
	d.save("services/word.go", "package main\n\nconst word = \"two\"\n", ready)
	d.answers("two first hello " + d.base)
	close(stop)
	asking.Wait()
	if got := <-slow; got != "slow one" {
		t.Errorf("a request that was under way ends with %q", got)
	}
	d.end(syscall.SIGTERM)
}

func TestWhatIsNoPartOfTheServerStartsNothing(t *testing.T) {
	t.Parallel()
	d := develop(t)
	d.write("services/word_test.go", "package main\n\n// more\n")
	d.write("services/greeting/notes.md", "more notes")
	d.write("services/greeting/.word.go.swp", "an editor's")
	d.write("services/.idea/workspace.xml", "an editor's")
	d.write(".local/anything", "ours")
	ignored := []string{"word_test", "notes.md", "swp", "idea", "anything"}
	if _, err := os.Stat(filepath.Join(d.root, ".git")); err == nil {
		d.write("services/greeting/notes.junk", "more junk")
		ignored = append(ignored, "junk")
	}
	time.Sleep(5 * pause)
	d.save("services/word.go", "package main\n\nconst word = \"two\"\n", ready)
	for _, name := range ignored {
		if said := d.said.since(0); strings.Contains(said, name) {
			t.Errorf("make dev takes note of %s:\n%s", name, said)
		}
	}
}

func TestAContractSavedWhileNobodyWatchedIsGenerated(t *testing.T) {
	t.Parallel()
	d := develop(t)
	d.end(syscall.SIGINT)
	d.write("api/x/v1/openapi.yaml", "package x\n\nconst Word = \"later\"\n")
	d.start()
	d.answers("one later hello " + d.base)
}
