package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// drain is how long a command may take to end after a signal.
const drain = 30 * time.Second

// command runs what the caller asks for and returns its exit code.
func command(in *interrupts, s *stack, args []string) (int, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = os.Stdin
	if name := filepath.Base(args[0]); name == "psql" || strings.HasPrefix(name, "pg_") {
		s.env = append(s.env, pgVariables(lookup(s.env, "DATABASE_URL"))...)
	}
	return supervise(in, s, cmd, inForeground())
}

// pgVariables say to the tools of Postgres what DATABASE_URL says to us: they do not read it. Other commands do not get
// them, because pgx would fill the gaps of a URL from them without a word.
func pgVariables(address string) []string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return nil
	}
	password, _ := u.User.Password()
	return []string{"PGHOST=" + u.Hostname(), "PGPORT=" + cmp.Or(u.Port(), "5432"), "PGUSER=" + u.User.Username(),
		"PGPASSWORD=" + password, "PGDATABASE=" + strings.TrimPrefix(u.Path, "/")}
}

// supervise runs a command to its end: it passes on signals, and ends the command when the stack goes away.
//
// At a terminal the command must stay in the terminal's group of processes, or psql could not read from it. Then Ctrl-C
// reaches the command without us, and what it means is the command's affair. Everywhere else it gets a group of its own,
// so that a signal also reaches what `go run` has started.
func supervise(in *interrupts, s *stack, cmd *exec.Cmd, terminal bool) (int, error) {
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !terminal}
	if err := start(cmd, syscall.SIGTERM); err != nil {
		return 127, err
	}
	target := cmd.Process.Pid
	if !terminal {
		target = -cmd.Process.Pid
		defer startReaper(cmd.Process.Pid)()
	}

	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	var late <-chan time.Time
	var lost error
	end := func(sig syscall.Signal) {
		_ = syscall.Kill(target, sig)
		if late == nil {
			late = time.After(drain)
		}
	}
	gone := s.gone
	for running := true; running; {
		select {
		case <-ended:
			running = false
		case sig := <-in.signals:
			if !terminal || sig != syscall.SIGINT {
				end(sig.(syscall.Signal))
			}
		case <-gone:
			lost = errors.New("the stack went away under the command")
			gone = nil
			end(syscall.SIGTERM)
		case <-late:
			say("%s has not ended within %s: killing it", cmd.Args[0], drain)
			_ = syscall.Kill(target, syscall.SIGKILL)
		}
	}
	if late != nil && !terminal { // SIGTERM ends `go run` at once, but the server below it drains
		awaitGroup(cmd.Process.Pid, drain)
		_ = syscall.Kill(target, syscall.SIGKILL)
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal()), lost
	}
	return status.ExitStatus(), lost
}

// inForeground reports whether stdin is a terminal that listens to our group of processes.
func inForeground() bool {
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	return err == nil && group == syscall.Getpgrp()
}

// startReaper runs a process that ends the group of the command when we are killed. Linux can do that for the command
// itself, but not for what the command has started. The returned function calls it off.
func startReaper(group int) (callOff func()) {
	self, err := os.Executable()
	if err != nil {
		return func() {}
	}
	reaper := exec.Command(self, "-reap", strconv.Itoa(group))
	reaper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := reaper.StdinPipe() // its other end closes when we die
	if err != nil || reaper.Start() != nil {
		return func() {}
	}
	return func() {
		_ = reaper.Process.Kill()
		_ = reaper.Wait()
		_ = pipe.Close()
	}
}

func reap(group string) error {
	pid, err := strconv.Atoi(group)
	if err != nil || pid <= 1 {
		return fmt.Errorf("-reap %s: no group of processes", group)
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = syscall.Kill(-pid, syscall.SIGTERM)
	awaitGroup(pid, 10*time.Second)
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	return nil
}

func awaitGroup(group int, patience time.Duration) {
	for end := time.Now().Add(patience); time.Now().Before(end) && groupLives(group); {
		time.Sleep(50 * time.Millisecond)
	}
}
