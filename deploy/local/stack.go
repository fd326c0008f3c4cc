package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A stack is what a launcher sees of the servers: their environment, and how to leave them.
type stack struct {
	env      []string // NAME=value, what a command needs beyond the caller's environment
	users    *os.File // our share of users.lock; the keeper stops when nobody has one
	keeper   *exec.Cmd
	stopping chan struct{} // the keeper has begun to stop
	gone     chan struct{} // the keeper has ended; nil when it is not our child
}

// up starts the servers, or joins those that already run for this checkout.
func up(ctx context.Context, p place) (*stack, error) {
	s := &stack{}
	order := order{Data: p.data, Cache: p.cache, Test: p.test,
		Postgres: os.Getenv("DATABASE_URL") == "", Redis: os.Getenv("REDIS_URL") == ""}
	if order.Postgres || order.Redis {
		if err := s.startOrJoin(ctx, p, order); err != nil {
			s.down()
			return nil, err
		}
	}
	ours := s.env
	s.env = without(ours, "DATABASE_URL", "REDIS_URL")
	for name, value := range map[string]string{ // the caller's word comes first
		"DATABASE_URL":            lookup(ours, "DATABASE_URL"),
		"REDIS_URL":               lookup(ours, "REDIS_URL"),
		"ENVIRONMENT":             "local",
		"KEY_ENCRYPTION_KEY_FILE": p.in("key-encryption-key"),
	} {
		value = cmp.Or(os.Getenv(name), value)
		if value == "" {
			s.down()
			return nil, fmt.Errorf("the stack that runs for %s was started with a %s from outside: stop it, or set %s", p.root, name, name)
		}
		s.env = append(s.env, name+"="+value)
	}
	slices.Sort(s.env)
	return s, nil
}

func (s *stack) startOrJoin(ctx context.Context, p place, order order) error {
	patience := time.Now().Add(10 * time.Minute) // the keeper of another launcher may be downloading
	for told := false; s.keeper != nil || time.Now().Before(patience); {
		if s.users == nil {
			users, held, err := p.lock("users.lock", syscall.LOCK_SH)
			if err != nil && !held {
				return err
			}
			s.users = users // nil: a keeper has it alone, so it is stopping
		}
		if s.users != nil && s.keeper == nil {
			lock, held, err := p.lock("stack.env", syscall.LOCK_EX)
			if err == nil {
				err = s.start(p, order, lock)
				_ = lock.Close()
			}
			if err != nil && !held {
				return err
			}
		}
		if s.users != nil && s.join(p) {
			return nil
		}
		if s.keeper == nil && !told {
			say("waiting for another start or stop of the stack of %s", p.root)
			told = true
		}
		select {
		case <-ctx.Done():
			return errors.New("interrupted")
		case <-s.gone:
			return errors.New("the stack did not start")
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("the stack of %s neither starts nor stops: who holds %s?", p.root, p.in("stack.env"))
}

// join takes the environment of the stack that runs; an empty line says that it is whole. What a killed keeper has left
// shows by a server that does not answer.
func (s *stack) join(p place) bool {
	content, err := os.ReadFile(p.in("stack.env"))
	text, whole := strings.CutSuffix(string(content), "\n\n")
	if err != nil || !whole {
		return false
	}
	env := strings.Split(text, "\n")
	for _, name := range []string{"DATABASE_URL", "REDIS_URL"} {
		if u, err := url.Parse(lookup(env, name)); err == nil && u.Host != "" {
			conn, err := net.DialTimeout("tcp", u.Host, time.Second)
			if err != nil {
				return false
			}
			conn.Close()
		}
	}
	s.env = env
	return true
}

// start runs a keeper. It inherits the lock, and with it the file to write the environment to: should we be killed the
// next moment, another launcher can join it all the same.
func (s *stack) start(p place, order order, lock *os.File) error {
	if err := lock.Truncate(0); err != nil {
		return err
	}
	users, _, err := p.lock("users.lock", 0)
	if err != nil {
		return err
	}
	defer users.Close()
	program, cleanup, err := p.program()
	if err != nil {
		return err
	}
	defer cleanup()

	spec, _ := json.Marshal(order)
	keeper := exec.Command(program, "-keep", string(spec))
	keeper.Dir = "/"
	keeper.Env = keeperEnv(p)
	keeper.ExtraFiles = []*os.File{users, lock}
	keeper.Stderr = struct{ io.Writer }{os.Stderr}          // by a pipe: a keeper that outlives us must not hold our terminal
	keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is not for Postgres
	if p.other {
		keeper.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(p.uid), Gid: uint32(p.gid)}
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		return err
	}
	keeper.Stdout = stdout
	err = keeper.Start()
	stdout.Close()
	if err != nil {
		return fmt.Errorf("start the keeper of Postgres and Redis as user %d: %w (with DATABASE_URL and REDIS_URL set there is no need for it)", p.uid, err)
	}

	s.keeper, s.stopping, s.gone = keeper, make(chan struct{}), make(chan struct{})
	go func() {
		_, _ = out.Read(make([]byte, 1)) // its first word is its last
		close(s.stopping)
	}()
	go func() {
		_ = keeper.Wait()
		// Killed, it leaves its servers to us where the system does not end them by itself. They are in its group.
		_ = syscall.Kill(-keeper.Process.Pid, syscall.SIGINT)
		close(s.gone)
	}()
	return nil
}

// down leaves the stack, and waits for its end when nobody else uses it.
func (s *stack) down() {
	if s.users != nil {
		s.users.Close()
	}
	if s.keeper == nil {
		return
	}
	select {
	case <-s.gone:
	case <-s.stopping:
		select {
		case <-s.gone:
		case <-time.After(time.Minute):
			say("Postgres or Redis does not stop; process %d looks after it", s.keeper.Process.Pid)
		}
	case <-time.After(time.Second):
		say("another command uses the stack: it stays up")
	}
}

// program is the executable the keeper runs. The one of `go run` lies where only root may go, so root lends a copy.
func (p place) program() (path string, cleanup func(), err error) {
	self, err := os.Executable()
	if err != nil || !p.other {
		return self, func() {}, err
	}
	sweep(shared, lent)
	folder, err := os.MkdirTemp(shared, lent)
	if err != nil {
		return "", nil, err
	}
	cleanup = func() { os.RemoveAll(folder) } // a running program needs its file no more
	path = filepath.Join(folder, "local")
	err = func() error {
		from, err := os.Open(self)
		if err != nil {
			return err
		}
		defer from.Close()
		to, err := os.Create(path)
		if err != nil {
			return err
		}
		if _, err := io.Copy(to, from); err != nil {
			return err
		}
		return errors.Join(to.Close(), os.Chmod(path, 0o755), os.Chmod(folder, 0o755)) // whatever the umask
	}()
	if err != nil {
		cleanup()
		return "", nil, fmt.Errorf("copy the launcher for user %d: %w", p.uid, err)
	}
	return path, cleanup, nil
}

// keeperEnv passes on what the servers and a download need: the caller's secrets and PG… variables stay out.
func keeperEnv(p place) []string {
	env := []string{"HOME=" + p.data, "LC_ALL=C", "TZ=UTC"}
	for _, name := range []string{"PATH", "LOCAL_POSTGRES", "LOCAL_REDIS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
		"http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func without(env []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return slices.Contains(names, name)
	})
}
