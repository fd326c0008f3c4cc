package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The server of this checkout is a gateway as well, and says what it was told of the modules.
const apartServer = `package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	address := os.Getenv("HTTP_ADDR")
	switch os.Args[1] {
	case "serve":
		fmt.Fprintln(os.Stderr, "serves", os.Args[2], os.Getenv("ISSUER"))
	case "run":
		address = os.Getenv("GATEWAY_HOST") + ":" + os.Getenv("GATEWAY_PORT")
		fmt.Fprintln(os.Stderr, "leads to", os.Getenv("ONE_UPSTREAM"), os.Getenv("TWO_UPSTREAM"), "not", os.Getenv("THREE_UPSTREAM"))
	default:
		return
	}
	http.HandleFunc("/livez", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	panic(http.ListenAndServe(address, nil))
}
`

func TestEveryModuleApart(t *testing.T) {
	t.Parallel()
	root := fake(t)
	for name, content := range map[string]string{
		"services/main.go": apartServer, "migrations/one/0001_one.sql": "", "migrations/two/0001_two.sql": "", "migrations/two/0002_more.sql": "", "migrations/three.sql": "",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said := &said{}
	run := launcher(root, elsewhere, "-apart", filepath.Join(root, ".local/bin/groundwork"))
	run.Stderr = said
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer run.Process.Kill()
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	saying := func(pattern string) []string {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			if found := regexp.MustCompile(pattern).FindStringSubmatch(said.since(0)); found != nil {
				return found
			}
			if time.Now().After(end) {
				t.Fatalf("it does not say %s:\n%s", pattern, said.since(0))
			}
		}
	}
	up := saying(`(?s)API +(http://\S+)\n.*one +process (\d+) +http://(\S+) .*two +process (\d+) +http://(\S+) .*gateway +process (\d+)`)
	saying(`leads to ` + up[3] + ` ` + up[5] + ` not \n`)
	saying(`serves --modules=one ` + up[1] + `\n`)
	if !answers(up[1]+"/livez") || strings.Count(said.since(0), "serves --modules=") != 2 {
		t.Errorf("not a process for each module behind a gateway:\n%s", said.since(0))
	}
	if env, err := os.ReadFile(filepath.Join(root, ".local/run.env")); err != nil || !bytes.Contains(env, []byte("BASE_URL='"+up[1]+"'")) {
		t.Errorf("run.env: %v\n%s", err, env)
	}

	victim, _ := strconv.Atoi(up[2])
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	saying(`one has ended \(signal: killed\)`)
	next := saying(`one is process (\d+)`)
	eventually(t, "what was killed answers again", func() bool { return answers("http://" + up[3] + "/readyz") })

	_ = run.Process.Signal(syscall.SIGINT)
	if err := <-ended; err != nil {
		t.Errorf("after Ctrl-C it ends with %v:\n%s", err, said.since(0))
	}
	for _, process := range []string{next[1], up[4], up[6]} {
		if pid, _ := strconv.Atoi(process); alive(pid) {
			t.Errorf("process %d is left behind", pid)
		}
	}
	if _, err := os.Stat(filepath.Join(root, ".local/run.env")); !os.IsNotExist(err) {
		t.Errorf("run.env is left behind: %v", err)
	}
}
