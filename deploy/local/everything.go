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
	"strings"
	"sync"
	"syscall"
	"time"
)

// everything is `make run`: the stack, the program, its schema, an operator, and the server until it ends.
func everything(ctx context.Context) (int, error) {
	begin := time.Now()
	p, err := locate(false)
	if err != nil {
		return 1, err
	}
	running, err := lock(p.in("run.lock"), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		where, _ := os.ReadFile(p.in("run.lock"))
		return 1, fmt.Errorf("`make run` is already up for %s, %s", p.root, cmp.Or(string(where), "still starting"))
	} else if err != nil {
		return 1, err
	}
	defer running.Close()
	_ = running.Truncate(0)        // where an earlier one was
	_ = os.Remove(p.in("run.env")) // of one that was killed

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	program := p.in("bin/groundwork")
	var failed error
	var building, announcement sync.WaitGroup
	building.Go(func() {
		say("compiling (the first time takes a minute or two)")
		defer every(15*time.Second, "still compiling")()
		failed = step(ctx, p.root, "go", "build", "-o", program, "./services")
	})
	s, err := up(ctx, false)
	if err != nil {
		cancel()
		building.Wait()
		return 1, err
	}
	defer s.down()
	if building.Wait(); failed != nil {
		return 1, failed
	}

	password, err := secret(filepath.Join(p.data, "operator-password"))
	if err := errors.Join(err, listenOn("HTTP_ADDR", 8080), listenOn("ADMIN_ADDR", 9090),
		os.Setenv("OPERATOR_EMAIL", cmp.Or(os.Getenv("OPERATOR_EMAIL"), "operator@example.com")),
		os.Setenv("OPERATOR_PASSWORD", cmp.Or(os.Getenv("OPERATOR_PASSWORD"), password))); err != nil {
		return 1, err
	}
	say("migrating")
	for _, args := range [][]string{{"migrate", "up"}, {"operator"}} {
		if err := step(s.ctx, p.root, program, args...); err != nil {
			return 1, err
		}
	}

	say("starting the server")
	serving, ended := context.WithCancel(s.ctx)
	announcement.Go(func() {
		if err := p.announce(serving, running, begin); err != nil && serving.Err() == nil {
			say("%v", err)
		}
	})
	serve := exec.CommandContext(s.ctx, program, "serve")
	serve.Dir = p.root
	code, err := s.run(ownGroup(serve))
	ended()
	announcement.Wait()
	_ = os.Remove(p.in("run.env"))
	if s.ctx.Err() == nil {
		say("the server ended by itself (code %d)", code)
	}
	return code, err
}

// step runs a short program and shows what it says only when it fails.
func step(ctx context.Context, dir, name string, args ...string) error {
	cmd := ownGroup(exec.CommandContext(ctx, name, args...))
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return errors.New("interrupted")
	} else if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// listenOn sets an address to listen on: the caller's, or ours, on another port when ours is taken.
func listenOn(name string, port int) error {
	if address := os.Getenv(name); address != "" {
		if !free(address) {
			return fmt.Errorf("%s=%s: something else listens there", name, address)
		}
		return nil
	}
	port, err := freePort(port)
	return errors.Join(err, os.Setenv(name, localhost(port)))
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
func (p place) announce(ctx context.Context, running *os.File, begin time.Time) error {
	api, admin := base(os.Getenv("HTTP_ADDR")), base(os.Getenv("ADMIN_ADDR"))
	for !answers(api + "/readyz") {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	vars := "BASE_URL=" + quote(api) + "\nADMIN_URL=" + quote(admin) + "\n"
	for _, name := range []string{"DATABASE_URL", "REDIS_URL", "OPERATOR_EMAIL", "OPERATOR_PASSWORD"} {
		vars += name + "=" + quote(os.Getenv(name)) + "\n"
	}
	_, err := running.WriteString("at " + api)                                                          // for a second `make run`
	fresh := p.in("run.env.new")                                                                        // whoever waits for the file finds it whole
	err = errors.Join(err, os.WriteFile(fresh, []byte(vars), 0o600), os.Rename(fresh, p.in("run.env"))) //nolint:gosec // our own file
	if err != nil {
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

`, time.Since(begin).Seconds(), api, api, api, admin, os.Getenv("OPERATOR_EMAIL"), os.Getenv("OPERATOR_PASSWORD"))
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
