// Command local gives any command a real Postgres and a Redis, without Docker:
//
//	go run ./deploy/local                              everything: build, migrate, operator, serve (make run)
//	go run ./deploy/local go run ./services serve      any command, with DATABASE_URL and REDIS_URL in its environment
//	go run ./deploy/local -dev                         the same, and again whenever something is saved (make dev)
//	go run ./deploy/local -debug PATH-OF-DLV           everything, under a debugger (make debug)
//	go run ./deploy/local -apart PATH-OF-CADDY         everything, each module in processes of its own (make apart)
//	go run ./deploy/local -logs                        what the server says (make logs)
//	go run ./deploy/local -test go test ./...          a stack for tests: fast and not durable; nobody's data
//	go run ./deploy/local -test -hold                  prints the environment, stays until its stdin closes
//	go run ./deploy/local -reset                       wipes the data of this checkout, and those of its tests
//
// DATABASE_URL and REDIS_URL win when they are set: nothing is started in their place. LOCAL_POSTGRES=download and
// LOCAL_REDIS=mini pass over what is installed; LOCAL_DATA=FOLDER keeps the data out of the checkout.
//
// The launcher is what you start; it runs the command. Its child, the keeper, runs Postgres and Redis, and outlives the
// launcher to clean up, whatever way the launcher ends: it sees the pipe between them close. A second command in the same
// checkout has a keeper of its own, which finds the stack locked, and joins it; the first keeper stops the servers when
// the last one has left. A lock (flock) is let go of by the kernel, so the dead hold none.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	code, err := run()
	if err != nil {
		say("%v", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run returns the exit code of the command, or an error of our own.
func run() (int, error) {
	test := flag.Bool("test", false, "the stack for tests: fast, not durable")
	hold := flag.Bool("hold", false, "print the environment and stay until stdin closes")
	reset := flag.Bool("reset", false, "wipe the data of this checkout")
	watch := flag.Bool("dev", false, "build, migrate and serve again whenever something is saved")
	debugger := flag.String("debug", "", "the path of dlv: serve under a debugger")
	caddy := flag.String("apart", "", "the path of caddy: serve each module in processes of its own, behind the gateway")
	logs := flag.Bool("logs", false, "show what the server says")
	keeper := flag.Bool("keep", false, "look after the servers of a launcher; not for you")
	flag.Parse()
	if *keeper {
		return 0, keep(*test)
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	signal.Notify(interrupts, os.Interrupt)
	go func() {
		<-interrupts
		cancel()
	}()
	go func(parent int, typed bool) { // `go run` passes no signal on, nor does make the end of its terminal: we end with them
		for os.Getppid() == parent && typed == terminal() {
			time.Sleep(300 * time.Millisecond)
		}
		cancel()
	}(os.Getppid(), terminal())
	switch args := flag.Args(); {
	case *reset:
		return 0, wipe()
	case *logs:
		return 0, follow(ctx, os.Stdout)
	case len(args) > 0 || *hold:
		s, err := up(ctx, *test)
		if err != nil {
			return 1, err
		}
		defer s.down()
		if *hold {
			return s.hold()
		}
		return s.command(args)
	case *test:
		return 2, errors.New("-test needs a command, or -hold")
	case *watch:
		return dev(ctx)
	}
	return everything(ctx, *debugger, *caddy)
}

// terminal reports whether our input is one that is still there.
func terminal() bool {
	_, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	return err == nil
}

// interrupts are the Ctrl-C that are meant for us.
var interrupts = make(chan os.Signal, 1)

// A stack is what a launcher sees of the servers: a context that ends with them, and the keeper's ear.
type stack struct {
	ctx    context.Context
	env    []string // NAME=value, what a command needs; it is in our own environment too
	keeper *exec.Cmd
	ear    io.WriteCloser // hears the numbers of groups that run, below zero when they have ended; closed, the keeper leaves the stack
	gone   chan struct{}  // the keeper needs us no more
}

var errLost = errors.New("the stack went away")

// up starts a keeper and takes over the environment it speaks of: lines on its stdout, which we print when they are not
// for us. No file of ours is in its hands: a keeper that outlives us must not hold our terminal.
func up(ctx context.Context, test bool) (*stack, error) {
	self, _ := os.Executable()
	ctx, cancel := context.WithCancelCause(ctx)
	keeper := exec.Command(self, "-keep", fmt.Sprintf("-test=%t", test))
	keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is not for Postgres
	ear, _ := keeper.StdinPipe()
	mouth, _ := keeper.StdoutPipe()
	keeper.Stderr = keeper.Stdout
	if err := keeper.Start(); err != nil {
		cancel(err)
		return nil, fmt.Errorf("start the keeper of Postgres and Redis: %w", err)
	}

	s := &stack{ctx: ctx, keeper: keeper, ear: ear, gone: make(chan struct{})}
	ready := make(chan struct{})
	go func() {
		defer close(s.gone)
		for lines := bufio.NewScanner(mouth); lines.Scan(); {
			line := lines.Text()
			variable, isEnv := strings.CutPrefix(line, "env ")
			switch {
			case isEnv:
				name, value, _ := strings.Cut(variable, "=")
				_ = os.Setenv(name, value)
				s.env = append(s.env, variable)
			case line == "ready":
				close(ready)
			case line == "shared":
				say("another command uses the stack: it stays up")
				return
			default:
				fmt.Fprintln(os.Stderr, line)
			}
		}
		// Killed, it leaves its servers to us where the system does not end them by itself. They are in its group.
		_ = syscall.Kill(-keeper.Process.Pid, syscall.SIGINT)
		_ = keeper.Wait()
		cancel(errLost)
	}()
	select {
	case <-ready:
		return s, nil
	case <-ctx.Done():
		s.down()
		if s.lost() != nil {
			return nil, errors.New("the stack did not start")
		}
		return nil, errors.New("interrupted")
	}
}

// lost is the error of a command that ends because its servers do.
func (s *stack) lost() error {
	if errors.Is(context.Cause(s.ctx), errLost) {
		return errLost
	}
	return nil
}

// down leaves the stack, and waits for its end when nobody else uses it.
func (s *stack) down() {
	_ = s.ear.Close()
	select {
	case <-s.gone:
	case <-time.After(time.Minute):
		say("Postgres or Redis does not stop; process %d looks after it", s.keeper.Process.Pid)
	}
}

// drain is how long a command may take to end after a signal.
const drain = 30 * time.Second

// command runs what the caller asks for and returns its exit code.
//
// At a terminal the command must stay in the terminal's group of processes, or psql could not read from it. Then Ctrl-C
// reaches the command without us, and what it means is the command's affair.
func (s *stack) command(args []string) (int, error) {
	cmd := exec.CommandContext(s.ctx, args[0], args[1:]...)
	cmd.Stdin = os.Stdin
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	if err != nil || group != syscall.Getpgrp() {
		return s.run(ownGroup(cmd))
	}
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	signal.Stop(interrupts)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = drain
	return s.run(cmd)
}

func (s *stack) run(cmd *exec.Cmd) (int, error) {
	if cmd.Stdout == nil {
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	}
	if err := start(cmd, syscall.SIGTERM); err != nil {
		return 127, err
	}
	if cmd.SysProcAttr.Setpgid { // the keeper ends the group when we are killed
		fmt.Fprintln(s.ear, cmd.Process.Pid)
		defer fmt.Fprintln(s.ear, -cmd.Process.Pid)
	}
	_ = cmd.Wait()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal()), s.lost()
	}
	return status.ExitStatus(), s.lost()
}

// ownGroup lets the end of a command's context reach what the command has started: SIGTERM ends `go run` at once, but the
// server below it drains.
func ownGroup(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		endGroup(cmd.Process.Pid, drain)
		return nil
	}
	return cmd
}

// endGroup asks a group of processes to end, and kills what is left of it after a while.
func endGroup(group int, patience time.Duration) {
	_ = syscall.Kill(-group, syscall.SIGTERM)
	for end := time.Now().Add(patience); groupLives(group); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			say("the command has not ended within %s: killing it", patience)
			_ = syscall.Kill(-group, syscall.SIGKILL)
			return
		}
	}
}

// hold is -hold: the environment on stdout, an empty line, and then patience.
func (s *stack) hold() (int, error) {
	fmt.Println(strings.Join(s.env, "\n") + "\n")
	ctx, closed := context.WithCancel(s.ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		closed()
	}()
	<-ctx.Done()
	return 0, s.lost()
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "local: "+format+"\n", args...)
}

// every says something at intervals until the returned function is called: a long silence looks like a fault.
func every(d time.Duration, what string) (done func()) {
	begin, ticker := time.Now(), time.NewTicker(d)
	go func() {
		for range ticker.C {
			say("%s (%s so far)", what, time.Since(begin).Round(time.Second))
		}
	}()
	return ticker.Stop
}
