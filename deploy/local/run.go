package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// everything is `make run`: the stack, the program, its schema, an operator, and the server until it ends.
func everything(in *interrupts, p place) (int, error) {
	begin := time.Now()
	lock, held, err := p.lock("run.lock", syscall.LOCK_EX)
	if held {
		return 1, fmt.Errorf("`make run` is already up for %s%s", p.root, whereabouts(p))
	} else if err != nil {
		return 1, err
	}
	defer lock.Close()

	ctx, cancel := context.WithCancel(in.ctx)
	defer cancel()
	built := make(chan error, 1)
	go func() { built <- build(ctx, p) }()
	s, err := up(ctx, p)
	if err != nil {
		cancel()
		<-built
		return 1, err
	}
	defer s.down()
	if err := <-built; err != nil {
		return 1, err
	}

	email, password, err := operator(p)
	if err != nil {
		return 1, err
	}
	address, err := listenOn("HTTP_ADDR", "127.0.0.1:8080")
	if err != nil {
		return 1, err
	}
	admin, err := listenOn("ADMIN_ADDR", "127.0.0.1:9090")
	if err != nil {
		return 1, err
	}
	s.env = append(s.env, "OPERATOR_EMAIL="+email, "OPERATOR_PASSWORD="+password, "HTTP_ADDR="+address, "ADMIN_ADDR="+admin)
	program := p.in("bin/groundwork")
	say("migrating")
	if err := step(ctx, s.env, p.root, program, "migrate", "up"); err != nil {
		return 1, err
	}
	if err := step(ctx, s.env, p.root, program, "operator"); err != nil {
		return 1, err
	}

	say("starting the server")
	defer os.Remove(p.in("run.env"))
	go func() {
		if err := announce(ctx, p, s.env, base(address), base(admin), begin); err != nil && ctx.Err() == nil {
			say("%v", err)
		}
	}()
	serve := exec.Command(program, "serve")
	serve.Dir = p.root
	code, err := supervise(in, s, serve, false)
	if in.ctx.Err() == nil && err == nil {
		say("the server ended by itself (code %d)", code)
	}
	return code, err
}

func whereabouts(p place) string {
	content, _ := os.ReadFile(p.in("run.env"))
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, "BASE_URL="); ok {
			return ", at " + strings.Trim(strings.TrimSpace(value), "'")
		}
	}
	return ", still starting"
}

func build(ctx context.Context, p place) error {
	if err := p.folder(p.in("bin")); err != nil {
		return err
	}
	say("compiling (the first time takes a minute or two)")
	defer every(15*time.Second, "still compiling")()
	var env []string
	if u, err := user.Current(); err == nil && os.Getenv("HOME") == "" {
		env = append(env, "HOME="+u.HomeDir) // go keeps its cache there, and stops without
	}
	return step(ctx, env, p.root, "go", "build", "-o", p.in("bin/groundwork"), "./services")
}

// step runs a short program and shows what it says only when it fails.
func step(ctx context.Context, env []string, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	var out strings.Builder
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), env...), &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err := start(cmd, syscall.SIGTERM)
	if err == nil {
		err = cmd.Wait()
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	} else if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}

// operator returns the credentials of this checkout's operator: the caller's, or some made up once.
func operator(p place) (email, password string, err error) {
	email, password = os.Getenv("OPERATOR_EMAIL"), os.Getenv("OPERATOR_PASSWORD")
	if email != "" && password != "" {
		return email, password, nil
	}
	content, err := os.ReadFile(p.in("operator.env"))
	if os.IsNotExist(err) {
		content = []byte("OPERATOR_EMAIL=operator@example.com\nOPERATOR_PASSWORD=" + rand.Text() + "\n")
		err = p.write(p.in("operator.env"), string(content))
	}
	lines := strings.Split(string(content), "\n")
	return lookup(lines, "OPERATOR_EMAIL"), lookup(lines, "OPERATOR_PASSWORD"), err
}

// listenOn is the caller's address, or ours; another free port when ours is taken.
func listenOn(name, ours string) (string, error) {
	if address := os.Getenv(name); address != "" {
		if !free(address) {
			return "", fmt.Errorf("%s=%s: something else listens there", name, address)
		}
		return address, nil
	}
	if free(ours) {
		return ours, nil
	}
	port, err := freePort()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

// base is the URL by which a browser on this machine reaches an address to listen on.
func base(address string) string {
	host, port, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// announce waits for the server, writes run.env and tells where everything is.
func announce(ctx context.Context, p place, env []string, api, admin string, begin time.Time) error {
	for !answers(ctx, api+"/readyz") {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		if time.Since(begin) > 10*time.Minute {
			return fmt.Errorf("%s/readyz does not say 200", api)
		}
	}
	vars := []string{"BASE_URL=" + api, "ADMIN_URL=" + admin}
	for _, name := range []string{"DATABASE_URL", "REDIS_URL", "OPERATOR_EMAIL", "OPERATOR_PASSWORD"} {
		vars = append(vars, name+"="+lookup(env, name))
	}
	if err := p.write(p.in("run.env"), shell(vars)); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, `
  Groundwork is up, after %.1f s. Ctrl-C stops it; the data stay (make reset wipes them).

    API        %s
    docs       %s/docs
    mailbox    %s/dev/mail
    metrics    %s/metrics
    operator   %s  %s
    shell      . .local/run.env

`, time.Since(begin).Seconds(), api, api, api, admin, lookup(env, "OPERATOR_EMAIL"), lookup(env, "OPERATOR_PASSWORD"))
	return nil
}

func answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// shell writes variables for `. file`: between single quotes a shell reads everything as it stands.
func shell(vars []string) string {
	var b strings.Builder
	for _, line := range vars {
		name, value, _ := strings.Cut(line, "=")
		fmt.Fprintf(&b, "%s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	return b.String()
}
