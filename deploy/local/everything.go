package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// site is a checkout whose server runs: `make run`, `make debug`, `make dev`. There is one at a time.
type site struct {
	place
	*stack
	begin   time.Time
	running *os.File // locked; says where the server is
	log     *serverLog
	binary  string   // what runs
	outside bool     // the database is not ours
	stale   []string // what is wrong with migrations that were applied
}

// claim makes sure that there is one.
func claim(program string) (*site, error) {
	p, err := locate(false)
	if err != nil {
		return nil, err
	}
	r := &site{place: p, begin: time.Now(), binary: p.in("bin/" + program), outside: os.Getenv("DATABASE_URL") != ""}
	r.running, err = lock(p.in("run.lock"), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		where, _ := os.ReadFile(p.in("run.lock"))
		return nil, fmt.Errorf("a server is already up for %s, %s", p.root, cmp.Or(string(where), "still starting"))
	} else if err != nil {
		return nil, err
	}
	_ = r.running.Truncate(0)      // where an earlier one was
	_ = os.Remove(p.in("run.env")) // of one that was killed
	r.log, err = openLog(p.in(logFile), os.Stderr)
	return r, err
}

// everything is `make run`: the stack, the program, its schema, an operator, and the server until it ends. With a debugger it is
// `make debug`; with a gateway it is `make apart`.
func everything(ctx context.Context, debugger, caddy string) (int, error) {
	name, flags, wrap := "groundwork", []string(nil), []string(nil)
	if debugger != "" {
		name, flags = "groundwork-debug", []string{"-gcflags=./...=-N -l"}
		if os.Getenv("REQUEST_TIMEOUT") == "" { // who stands at a breakpoint thinks for longer
			_ = os.Setenv("REQUEST_TIMEOUT", "10m")
		}
		wrap = []string{debugger, "exec", "--headless", "--accept-multiclient", "--continue", "--listen=" + debugAddr, "--api-version=2"}
	}
	r, err := claim(name)
	if err != nil {
		return 1, err
	}
	defer r.running.Close()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	var building sync.WaitGroup
	building.Go(func() {
		say("compiling (the first time takes a minute or two)")
		defer every(15*time.Second, "still compiling")()
		failed = r.build(ctx, flags...)
	})
	if r.stack, err = up(ctx, false); err != nil {
		cancel()
		building.Wait()
		return 1, err
	}
	defer r.down()
	if building.Wait(); failed != nil {
		return 1, failed
	}
	if err := errors.Join(r.settle(), listenOn("HTTP_ADDR", 8080), listenOn("ADMIN_ADDR", 9090)); err != nil {
		return 1, err
	}
	err = r.migrate(r.ctx)
	r.warn()
	if err != nil {
		return 1, err
	}
	if caddy != "" {
		return r.apart(caddy)
	}
	return r.serve(wrap)
}

// debugAddr is where a debugger waits for an editor, as .vscode/launch.json knows it.
const debugAddr = "127.0.0.1:2345"

func (r *site) build(ctx context.Context, flags ...string) error {
	return r.step(ctx, "go build ./services", "go", append(append([]string{"build"}, flags...), "-o", r.binary, "./services")...)
}

// settle chooses who the operator is.
func (r *site) settle() error {
	password, err := secret(filepath.Join(r.data, "operator-password"))
	return errors.Join(err,
		os.Setenv("OPERATOR_EMAIL", cmp.Or(os.Getenv("OPERATOR_EMAIL"), "operator@example.com")),
		os.Setenv("OPERATOR_PASSWORD", cmp.Or(os.Getenv("OPERATOR_PASSWORD"), password)))
}

// warn says what is wrong with migrations that were applied.
func (r *site) warn() {
	for _, warning := range r.stale {
		say("%s", warning)
	}
}

// migrate brings the data up to the program.
func (r *site) migrate(ctx context.Context) error {
	say("migrating")
	if err := r.step(ctx, "migrate up", r.binary, "migrate", "up"); err != nil {
		return err
	}
	if !r.outside {
		var err error
		if r.stale, err = r.noteMigrations(); err != nil {
			return err
		}
	}
	// only with auth:
	if err := r.step(ctx, "operator", r.binary, "operator"); err != nil {
		return err
	}
	// end auth
	return nil
}

// serve runs the server until it ends, under a debugger if there is one.
func (r *site) serve(wrap []string) (int, error) {
	say("starting the server")
	serving, ended := context.WithCancel(r.ctx)
	var announcement sync.WaitGroup
	announcement.Go(func() {
		for !answers(base(os.Getenv("HTTP_ADDR")) + "/readyz") {
			select {
			case <-serving.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
		if err := r.announce("Ctrl-C stops it"); err != nil {
			say("%v", err)
		}
	})
	args := []string{r.binary, "serve"}
	if len(wrap) > 0 {
		args = append(append(wrap, r.binary), "--", "serve")
		say("the debugger listens on %s", debugAddr)
	}
	cmd := ownGroup(exec.CommandContext(r.ctx, args[0], args[1:]...))
	cmd.Dir = r.root
	cmd.Stdout, cmd.Stderr = r.log.Writer(), r.log.Writer()
	code, err := r.run(cmd)
	ended()
	announcement.Wait()
	_ = os.Remove(r.in("run.env"))
	if r.ctx.Err() == nil {
		say("the server ended by itself (code %d)", code)
	}
	return code, err
}

// step runs a short program and shows what it says only when it fails.
func (r *site) step(ctx context.Context, what, program string, args ...string) error {
	cmd := ownGroup(exec.CommandContext(ctx, program, args...))
	cmd.Dir = r.root
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return errors.New("interrupted")
	} else if err != nil {
		return fmt.Errorf("%s: %w\n%s", what, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// listenOn sets an address to listen on: the caller's, or ours, on another port when ours is taken.
func listenOn(name string, port int) error {
	if address := wish(name); address != "" {
		if !free(address) {
			return fmt.Errorf("%s=%s: something else listens there", name, address)
		}
		return nil
	}
	port, err := freePort(port)
	return errors.Join(err, os.Setenv(name, localhost(port)))
}

// wish is the address that the caller has set. Any port, 0, is as good as no wish: the port has to be known to be told.
func wish(name string) string {
	if address := os.Getenv(name); !strings.HasSuffix(address, ":0") {
		return address
	}
	return ""
}

// base is the URL by which a browser on this machine reaches an address to listen on.
func base(address string) string {
	host, port, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// announce tells where everything is when it is one process.
func (r *site) announce(end string) error {
	api, admin := base(os.Getenv("HTTP_ADDR")), base(os.Getenv("ADMIN_ADDR"))
	return r.tell(end, api, admin, api, [2]string{"docs", api + "/docs"}, [2]string{"metrics", admin + "/metrics"})
}

// tell writes run.env and prints where everything is; mail is the process that keeps the mailbox.
func (r *site) tell(end, api, admin, mail string, more ...[2]string) error {
	vars := "BASE_URL=" + quote(api) + "\nADMIN_URL=" + quote(admin) + "\nMAIL_URL=" + quote(mail) + "\n"
	for _, name := range []string{"ENVIRONMENT", "DATABASE_URL", "REDIS_URL", "KEY_ENCRYPTION_KEY_FILE", "OPERATOR_EMAIL", "OPERATOR_PASSWORD"} {
		vars += name + "=" + quote(os.Getenv(name)) + "\n"
	}
	_, err := r.running.WriteString("at " + api) // for a second `make run`
	fresh := r.in("run.env.new")                 // whoever waits for the file finds it whole
	err = errors.Join(err, os.WriteFile(fresh, []byte(vars), 0o600), os.Rename(fresh, r.in("run.env")))
	if err != nil {
		return err
	}
	lines := slices.Concat([][2]string{{"API", api}}, more, [][2]string{{"shell", ". .local/run.env"}, {"log", "make logs"}})
	// only with auth:
	lines = append(lines, [2]string{"mailbox", mail + "/dev/mail"}, [2]string{"operator", os.Getenv("OPERATOR_EMAIL") + "  " + os.Getenv("OPERATOR_PASSWORD")})
	// end auth
	width := 10
	for _, line := range lines {
		width = max(width, len(line[0]))
	}
	fmt.Fprintf(os.Stderr, "\n  Groundwork is up, after %.1f s. %s; the data stay (make reset wipes them).\n\n", time.Since(r.begin).Seconds(), end)
	for _, line := range lines {
		fmt.Fprintf(os.Stderr, "    %-*s %s\n", width, line[0], line[1])
	}
	fmt.Fprintln(os.Stderr)
	return nil
}

func answers(url string) bool {
	client := http.Client{Timeout: 2 * time.Second}
	response, err := client.Get(url) //nolint:gosec // our own server
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// quote is for `. file`: between single quotes a shell reads everything as it stands.
func quote(value string) string { return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'" }
