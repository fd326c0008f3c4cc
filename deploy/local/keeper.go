package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// An order is what a launcher asks its keeper for.
type order struct {
	Data, Cache     string
	Test            bool
	Postgres, Redis bool
}

// keep runs the servers until no launcher is left. Descriptor 3 is users.lock, 4 is stack.env, which the launcher has
// locked for us: the lock is ours as long as we live.
func keep(spec string) error {
	var o order
	if err := json.Unmarshal([]byte(spec), &o); err != nil {
		return err
	}
	syscall.Umask(0o077)
	syscall.CloseOnExec(3) // the servers must not keep the locks
	syscall.CloseOnExec(4)
	signal.Ignore(syscall.SIGPIPE) // the launcher that reads our words may be gone
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	go func() {
		for syscall.Flock(3, syscall.LOCK_EX) == syscall.EINTR {
		}
		_ = syscall.Ftruncate(4, 0) // nobody is to join any more
		fmt.Println("stopping")
		cancel()
	}()

	if err := ownFolder(o.Data); err != nil {
		return err
	}
	lock, err := lockFolder(o.Data)
	if err != nil {
		return fmt.Errorf("%s is in use by another stack: %w", o.Data, err)
	}
	defer lock.Close()
	if o.Test {
		defer os.RemoveAll(o.Data)
		sweep(filepath.Dir(o.Data), throwaway)
	}

	var env []string
	died := make(chan error, 2)
	if o.Redis {
		address, stop, err := startRedis(ctx, o, died)
		if err != nil {
			return err
		}
		defer stop()
		env = append(env, "REDIS_URL=redis://"+address+"/0")
	}
	if o.Postgres {
		urls, stop, err := startPostgres(ctx, o, died)
		if err != nil {
			return err
		}
		defer stop()
		env = append(env, urls...)
	}
	if _, err := syscall.Pwrite(4, []byte(strings.Join(env, "\n")+"\n\n"), 0); err != nil {
		return fmt.Errorf("write stack.env: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-died:
		return err
	}
}

// A server is a program that we run, with its log.
type server struct {
	name string
	cmd  *exec.Cmd
	log  string
	gone chan struct{}
}

// launch starts a program that dies with us, even when we are killed (see start).
func launch(name, log, program string, args ...string) (*server, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	if info, err := out.Stat(); err == nil && info.Size() > 10<<20 {
		_ = out.Truncate(0)
	}
	s := &server{name: name, cmd: exec.Command(program, args...), log: log, gone: make(chan struct{})}
	s.cmd.Dir = filepath.Dir(log)
	s.cmd.Stdout, s.cmd.Stderr = out, out
	if err := start(s.cmd, syscall.SIGINT); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.gone)
	}()
	return s, nil
}

// ready asks until the answer is yes, the server dies, or a minute has passed.
func (s *server) ready(ctx context.Context, ask func(context.Context) error) error {
	deadline := time.Now().Add(time.Minute)
	for {
		attempt, cancel := context.WithTimeout(ctx, 3*time.Second)
		err := ask(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-s.gone:
			return fmt.Errorf("%s ended at once (%s); %s", s.name, s.cmd.ProcessState, s.tail())
		case <-ctx.Done():
			s.stop()
			return fmt.Errorf("%s: interrupted while starting", s.name)
		case <-time.After(30 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.stop()
			return fmt.Errorf("%s does not answer: %w; %s", s.name, err, s.tail())
		}
	}
}

// watch reports the end of a server that nobody has stopped.
func (s *server) watch(ctx context.Context, died chan<- error) {
	select {
	case <-ctx.Done():
	case <-s.gone:
		died <- fmt.Errorf("%s ended by itself (%s); %s", s.name, s.cmd.ProcessState, s.tail())
	}
}

// stop asks politely (to Postgres SIGINT is a fast shutdown), then firmly.
func (s *server) stop() {
	for _, step := range []struct {
		signal   syscall.Signal
		patience time.Duration
	}{{syscall.SIGINT, 20 * time.Second}, {syscall.SIGQUIT, 5 * time.Second}, {syscall.SIGKILL, 5 * time.Second}} {
		_ = s.cmd.Process.Signal(step.signal)
		select {
		case <-s.gone:
			return
		case <-time.After(step.patience):
		}
	}
}

// tail is the end of the log, for an error message.
func (s *server) tail() string {
	content, _ := os.ReadFile(s.log)
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	lines = lines[max(0, len(lines)-20):]
	return fmt.Sprintf("the end of %s:\n    %s", s.log, strings.Join(lines, "\n    "))
}

// onPort runs attempt with the port we like, then with any free port: somebody may take a port between our look and the
// server's bind.
func onPort(favourite int, attempt func(port int) error) (err error) {
	for try := range 5 {
		port := favourite
		if try > 0 || port == 0 || !free(fmt.Sprintf("127.0.0.1:%d", port)) {
			if port, err = freePort(); err != nil {
				return err
			}
		}
		if err = attempt(port); err == nil || free(fmt.Sprintf("127.0.0.1:%d", port)) {
			return err
		}
	}
	return err
}

func free(address string) bool {
	listener, err := net.Listen("tcp", address)
	if err == nil {
		listener.Close()
	}
	return err == nil
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// secret reads a password, and makes one up the first time.
func secret(path string) (string, error) {
	content, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		fresh := rand.Text()
		return fresh, os.WriteFile(path, []byte(fresh), 0o600)
	}
	return strings.TrimSpace(string(content)), err
}
