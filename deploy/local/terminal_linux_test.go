package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTheEndOfATerminalIsOurs closes a terminal whose first process is no shell, and tells its children nothing: `make` in a window of its own.
func TestTheEndOfATerminalIsOurs(t *testing.T) {
	t.Parallel()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer screen.Close()
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skip(err)
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skip(err)
	}
	keyboard, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	leader := exec.Command("sh", "-c", `trap : HUP; "$1" -test sh -c 'echo $$; exec sleep 60'; :`, "sh", program)
	leader.Stdin, leader.Stdout, leader.Stderr = keyboard, keyboard, keyboard
	leader.Env = append(os.Environ(), elsewhere...)
	leader.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-leader.Process.Pid, syscall.SIGKILL); _ = leader.Wait() })
	keyboard.Close()
	line, _ := bufio.NewReader(screen).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || !alive(pid) {
		t.Fatalf("the command says %q, %v", line, err)
	}
	screen.Close()
	eventually(t, "the command has gone with its terminal", func() bool { return !alive(pid) })
}
