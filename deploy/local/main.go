// Command local gives any command a real Postgres and a Redis, without Docker:
//
//	go run ./deploy/local                              everything: build, migrate, operator, serve (make run)
//	go run ./deploy/local go run ./services serve      any command, with DATABASE_URL and REDIS_URL in its environment
//	go run ./deploy/local -test go test ./...          a throwaway stack: empty, fast, not durable, removed at the end
//	go run ./deploy/local -test -hold                  prints the environment, stays until its stdin closes
//	go run ./deploy/local -reset                       wipes the data of this checkout
//
// DATABASE_URL and REDIS_URL win when they are set: nothing is started in their place. LOCAL_POSTGRES=download and
// LOCAL_REDIS=mini pass over what is installed.
//
// Three kinds of process work together. The launcher is what you start; it runs the command as you. The keeper runs
// Postgres and Redis, as another user when you are root, because Postgres refuses root. The reaper ends the command when
// somebody kills the launcher the hard way. Locks (flock) tell them of each other, because the kernel lets go of a lock
// whatever way its holder dies: every launcher shares `users.lock`, the keeper waits to have it alone, and then stops.
// So a second command in the same checkout joins the stack that runs, and the last one to leave turns off the light.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		say("%v", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run returns the exit code of the command, or an error of our own.
func run(args []string) (int, error) {
	if len(args) == 2 && args[0] == "-keep" {
		return 0, keep(args[1])
	}
	if len(args) == 2 && args[0] == "-reap" {
		return 0, reap(args[1])
	}
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	test := flags.Bool("test", false, "a throwaway stack: empty, fast, removed at the end")
	hold := flags.Bool("hold", false, "print the environment and stay until stdin closes")
	reset := flags.Bool("reset", false, "wipe the data of this checkout")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0, nil
	} else if err != nil {
		return 2, nil
	}
	args = flags.Args()

	in := listen()
	p, err := locate(*test)
	if err != nil {
		return 1, err
	}
	if *test {
		defer os.RemoveAll(p.state)
	}
	switch {
	case *reset:
		return 0, p.reset()
	case !*hold && len(args) == 0 && !*test:
		return everything(in, p)
	case !*hold && len(args) == 0:
		return 2, errors.New("-test needs a command, or -hold")
	}

	s, err := up(in.ctx, p)
	if err != nil {
		return 1, err
	}
	defer s.down()
	if *hold {
		return wait(in, s)
	}
	return command(in, s, args)
}

// wait is -hold: the environment on stdout, an empty line, and then patience.
func wait(in *interrupts, s *stack) (int, error) {
	for _, line := range s.env {
		fmt.Println(line)
	}
	fmt.Println()
	closed := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(closed)
	}()
	select {
	case <-closed:
	case <-in.ctx.Done():
	case <-s.gone:
		return 1, errors.New("the stack went away")
	}
	return 0, nil
}

// interrupts are the signals we are sent, and the death of `go run`, which passes no signal on.
type interrupts struct {
	signals chan os.Signal
	ctx     context.Context // ends with the first of them
}

func listen() *interrupts {
	ctx, cancel := context.WithCancel(context.Background())
	in := &interrupts{signals: make(chan os.Signal, 8), ctx: ctx}
	raw := make(chan os.Signal, 8)
	signal.Notify(raw, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		parent := os.Getppid()
		watch := time.NewTicker(300 * time.Millisecond)
		if !isGo(parent) {
			watch.Stop() // a shell may end before us, for instance under nohup
		}
		for {
			var sig os.Signal
			select {
			case sig = <-raw:
			case <-watch.C:
				if os.Getppid() == parent {
					continue
				}
				watch.Stop()
				sig = syscall.SIGTERM
			}
			cancel()
			select {
			case in.signals <- sig:
			default:
			}
		}
	}()
	return in
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "local: "+format+"\n", args...)
}

// every says something at intervals until the returned function is called: a long silence looks like a fault.
func every(d time.Duration, what string) (done func()) {
	begin, ticker, end := time.Now(), time.NewTicker(d), make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				say("%s (%s so far)", what, time.Since(begin).Round(time.Second))
			case <-end:
				ticker.Stop()
				return
			}
		}
	}()
	return func() { close(end) }
}

// checkout is the nearest folder above the working directory that has a go.mod.
func checkout() (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	if here, err = filepath.EvalSymlinks(here); err != nil {
		return "", err
	}
	for dir := here; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod in %s or above: run this inside the checkout", here)
		}
	}
}

func lookup(env []string, name string) string {
	for _, line := range env {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return value
		}
	}
	return ""
}
