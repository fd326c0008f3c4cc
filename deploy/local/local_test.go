package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

var program string // the launcher, built once

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "local-launcher-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(folder, "local")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	code := 1
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s", out)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// held is a launcher under -hold.
type held struct {
	cmd   *exec.Cmd
	stdin io.Closer
	env   []string
}

func hold(t *testing.T, dir string, env []string, args ...string) *held {
	t.Helper()
	h := &held{cmd: launcher(dir, env, append(args, "-hold")...)}
	h.stdin, _ = h.cmd.StdinPipe()
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "" {
		h.env = append(h.env, lines.Text())
	}
	if lookup(h.env, "DATABASE_URL") == "" {
		t.Fatalf("-hold prints no DATABASE_URL: %q", h.env)
	}
	return h
}

// launcher is a command without the caller's own settings, and in a group of its own: a test at a terminal stays alive.
func launcher(dir string, env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	for _, line := range os.Environ() {
		switch name, _, _ := strings.Cut(line, "="); name {
		case "DATABASE_URL", "REDIS_URL", "ENVIRONMENT", "KEY_ENCRYPTION_KEY_FILE", "HTTP_ADDR", "ADMIN_ADDR", "OPERATOR_EMAIL", "OPERATOR_PASSWORD":
		default:
			cmd.Env = append(cmd.Env, line)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// elsewhere are addresses that keep the launcher from starting servers of its own.
var elsewhere = []string{"DATABASE_URL=postgres://x@127.0.0.1:1/x", "REDIS_URL=redis://127.0.0.1:1/0"}

func host(t *testing.T, env []string, name string) string {
	t.Helper()
	u, err := url.Parse(lookup(env, name))
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func lookup(env []string, name string) string {
	for _, line := range env {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return value
		}
	}
	return ""
}

func ask(t *testing.T, url, question string) (answer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, question).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", question, err)
	}
	return answer
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after 10 s still not: %s", what)
		}
	}
}

func silent(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err == nil {
		conn.Close()
	}
	return err != nil
}

func TestCommand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		does string
		args []string
		want int
	}{
		{"ends well", []string{"true"}, 0},
		{"ends with 7", []string{"sh", "-c", "exit 7"}, 7},
		{"dies of SIGTERM", []string{"sh", "-c", "kill -TERM $$"}, 143},
		{"is not there", []string{"./no-such-command"}, 127},
		{"asks for -test and nothing else", nil, 2},
		{"sees the caller's DATABASE_URL", []string{"sh", "-c", `test "$DATABASE_URL $ENVIRONMENT" = "postgres://x@127.0.0.1:1/x local"`}, 0},
	} {
		cmd := launcher(".", elsewhere, append([]string{"-test"}, c.args...)...)
		cmd.Stderr = nil
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != c.want {
			t.Errorf("a command that %s: the launcher ends with %d, not %d", c.does, got, c.want)
		}
	}
}

func TestSignalReachesWhatTheCommandStarted(t *testing.T) {
	t.Parallel()
	// As with `go run`: the command goes at the signal, the one below it takes its time.
	slow := `sh -c 'trap "sleep 0.3; exit" TERM; echo $$; while :; do sleep 0.1; done' & wait`
	for _, c := range []struct {
		victim string
		sig    syscall.Signal
	}{{"launcher", syscall.SIGTERM}, {"launcher", syscall.SIGINT}, {"launcher", syscall.SIGKILL}, {"go run", syscall.SIGKILL}} {
		cmd := launcher(".", elsewhere, "-test", "sh", "-c", slow)
		if c.victim == "go run" {
			cmd.Path, _ = exec.LookPath("go")
			cmd.Args = append([]string{"go", "run", "."}, cmd.Args[1:]...)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, _ := bufio.NewReader(out).ReadString('\n')
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // the launcher tells its keeper of a command right after the start, and not before
		_ = cmd.Process.Signal(c.sig)
		_ = cmd.Wait()
		if c.sig != syscall.SIGKILL {
			if got := cmd.ProcessState.ExitCode(); got != 143 {
				t.Errorf("after %s the launcher ends with %d, not with the command's 143", c.sig, got)
			}
			if alive(pid) {
				t.Errorf("after %s the launcher does not wait for what the command has started", c.sig)
			}
		}
		eventually(t, fmt.Sprintf("the grandchild has gone after %s of the %s", c.sig, c.victim), func() bool { return !alive(pid) })
	}
}

func alive(pid int) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(string(out), "Z")
}

// fake makes a checkout with a server that does nothing. The path has a space and is closed to others.
func fake(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "a checkout")
	if err := os.MkdirAll(filepath.Join(root, "services"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"go.mod": "module example.com/fake\n\ngo 1.26\n",
		"services/main.go": `package main

import ("net/http"; "os"; "time")

func main() {
	if os.Args[1] != "serve" {
		return
	}
	http.HandleFunc("/die", func(http.ResponseWriter, *http.Request) {
		time.AfterFunc(50*time.Millisecond, func() { os.Exit(5) })
	})
	http.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	panic(http.ListenAndServe(os.Getenv("HTTP_ADDR"), nil))
}
`,
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wiped(t, root)
	return root
}

// wiped removes a checkout's data with the test.
func wiped(t *testing.T, root string) {
	t.Helper()
	t.Cleanup(func() {
		var why bytes.Buffer
		eventually(t, "-reset wipes the data", func() bool { // the keeper of a launcher that was killed takes a moment
			why.Reset()
			cmd := launcher(root, nil, "-reset")
			cmd.Stderr = &why
			err := cmd.Run()
			return err == nil || !strings.Contains(why.String(), "is running")
		})
		if strings.Contains(why.String(), "is running") || !strings.Contains(why.String(), "wiping") {
			t.Errorf("-reset: %s", &why)
		}
	})
}

func TestCheckoutKeepsItsStackWhileAnybodyUsesIt(t *testing.T) {
	t.Parallel()
	root := fake(t)
	killed := launcher(root, nil, "sleep", "60")
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(60 * time.Millisecond) // its keeper is about to start: the next command joins it, or waits for its end
	_ = killed.Process.Kill()
	_ = killed.Wait()

	first := hold(t, root, nil)
	database := lookup(first.env, "DATABASE_URL")
	execute(t, database, `create table keepsake as select 'kept' as t`)
	second := hold(t, root, nil)
	if got := lookup(second.env, "DATABASE_URL"); got != database {
		t.Fatalf("the second command has a stack of its own: %s, not %s", got, database)
	}
	refused := launcher(root, nil, "-reset")
	var why bytes.Buffer
	refused.Stderr = &why
	if err := refused.Run(); err == nil || !strings.Contains(why.String(), "is running") {
		t.Errorf("-reset under a running stack: %v, %s", err, &why)
	}

	first.stdin.Close()
	_ = first.cmd.Wait()
	ask(t, database, `select t from keepsake`)
	second.stdin.Close()
	_ = second.cmd.Wait()
	eventually(t, "Postgres has gone with its last user", func() bool { return silent(host(t, second.env, "DATABASE_URL")) })

	third := hold(t, root, nil)
	if got := ask(t, lookup(third.env, "DATABASE_URL"), `select t from keepsake`); got != "kept" {
		t.Errorf("the data are lost: %q", got)
	}
	third.stdin.Close()
	_ = third.cmd.Wait()
}

func TestTwoCheckoutsSideBySide(t *testing.T) {
	t.Parallel()
	one, two := hold(t, fake(t), nil), hold(t, fake(t), nil)
	for _, name := range []string{"DATABASE_URL", "REDIS_URL"} {
		if a, b := host(t, one.env, name), host(t, two.env, name); a == b || silent(a) || silent(b) {
			t.Errorf("%s: %s and %s; each checkout is to have its own", name, a, b)
		}
	}
	for _, h := range []*held{one, two} {
		ask(t, lookup(h.env, "DATABASE_URL"), `select current_user`)
		_ = h.cmd.Process.Signal(syscall.SIGTERM)
		_ = h.cmd.Wait()
		eventually(t, "Postgres has gone", func() bool { return silent(host(t, h.env, "DATABASE_URL")) })
	}
}

func execute(t *testing.T, url, statement string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestEverything(t *testing.T) {
	t.Parallel()
	root := fake(t)
	run := launcher(root, elsewhere)
	run.Stderr = nil
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer run.Process.Kill()
	variable := func(name string) string {
		out, _ := exec.Command("sh", "-c", `. "$1" 2>/dev/null && eval printf %s '"$'$2'"'`, "sh", filepath.Join(root, ".local/run.env"), name).Output()
		return string(out)
	}
	var api string
	for end := time.Now().Add(time.Minute); api == "" && time.Now().Before(end); api = variable("BASE_URL") {
		time.Sleep(50 * time.Millisecond)
	}
	if variable("OPERATOR_PASSWORD") == "" || variable("DATABASE_URL") != "postgres://x@127.0.0.1:1/x" {
		t.Fatalf("run.env: OPERATOR_PASSWORD=%q DATABASE_URL=%q", variable("OPERATOR_PASSWORD"), variable("DATABASE_URL"))
	}

	if info, err := os.Stat(filepath.Join(root, ".local/run.env")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("run.env holds passwords and is open to others: %v %v", info.Mode(), err)
	}

	second := launcher(root, elsewhere)
	var why bytes.Buffer
	second.Stderr = &why
	if err := second.Run(); err == nil || !strings.Contains(why.String(), api) {
		t.Errorf("a second `make run`: %v, and it does not say where the first is: %s", err, &why)
	}

	if resp, err := http.Get(api + "/die"); err == nil { // it may die before it has answered
		resp.Body.Close()
	}
	_ = run.Wait()
	if got := run.ProcessState.ExitCode(); got != 5 {
		t.Errorf("the server ends with 5, `make run` with %d", got)
	}
	if _, err := os.Stat(filepath.Join(root, ".local/run.env")); !os.IsNotExist(err) {
		t.Errorf("run.env is left behind: %v", err)
	}
}

func TestOwnFolder(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	mine, link, open := filepath.Join(temp, "mine"), filepath.Join(temp, "link"), filepath.Join(temp, "open")
	theirs := "/usr"
	if os.Getuid() == 0 {
		theirs = filepath.Join(temp, "theirs")
		if err := os.Mkdir(theirs, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(theirs, 65534, 65534); err != nil {
			t.Skip(err)
		}
	}
	_ = os.Symlink(mine, link)
	_ = os.Mkdir(open, 0o700)
	_ = os.Chmod(open, 0o777)
	for _, c := range []struct{ path, want string }{
		{mine, ""}, {mine, ""}, {theirs, "of user"}, {link, "(Lrwx"}, {open, "(drwxrwxrwx"},
	} {
		err := ownFolder(c.path)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v; it should say %q", c.path, err, c.want)
		}
	}
}

func TestWhichPostgres(t *testing.T) {
	t.Parallel()
	p, data := place{cache: filepath.Join(t.TempDir(), "cache")}, t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.choose(t.Context(), madeBy(data)); err == nil || !strings.Contains(err.Error(), "made by Postgres 9") {
		t.Errorf("data of another Postgres: %v", err)
	}

	folders := installed()
	if len(folders) == 0 {
		t.Skip("no Postgres is installed to stand in for a downloaded one")
	}
	before := filepath.Join(p.cache, "postgres-"+string(downloaded))
	if err := os.MkdirAll(before, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(folders[0], filepath.Join(before, "bin")); err != nil {
		t.Fatal(err)
	}
	if b, err := p.download(t.Context()); err != nil || b.folder != filepath.Join(before, "bin") {
		t.Errorf("what is downloaded is not used again: %v %v", b, err)
	}
}

func TestFailedDownloadNamesTheWayOut(t *testing.T) {
	t.Parallel()
	if left, _ := filepath.Glob(shared + "/postgres-*"); os.Getuid() == 0 && len(left) > 0 {
		t.Skip("root has a downloaded Postgres")
	}
	cmd := launcher(fake(t), []string{"LOCAL_POSTGRES=download", "HTTPS_PROXY=http://127.0.0.1:1", "XDG_CACHE_HOME=" + t.TempDir(), "HOME=" + t.TempDir()},
		"-test", "true")
	var why bytes.Buffer
	cmd.Stderr = &why
	if err := cmd.Run(); err == nil || !strings.Contains(why.String(), "download Postgres") || !strings.Contains(why.String(), "set DATABASE_URL") {
		t.Errorf("without a network: %v, %s", err, &why)
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"plain", "", "it's", "a b  c", `$HOME "x" \ ` + "`id`", "a=b&c=d", "'", "two\nlines"} {
		file := filepath.Join(t.TempDir(), "env")
		if err := os.WriteFile(file, []byte("X="+quote(value)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("sh", "-c", `. "$1"; printf %s "$X"`, "sh", file).CombinedOutput()
		if string(out) != value {
			t.Errorf("%q comes back as %q (%v)", value, out, err)
		}
	}
}
