package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// starter runs functions on a thread that never ends: Pdeathsig fires when the *thread* that started the child dies,
// and Go ends threads as it likes (golang/go#27505).
var starter = sync.OnceValue(func() chan func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// start starts a command that is sent a signal when we die, however we die.
func start(cmd *exec.Cmd, lastWill syscall.Signal) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = lastWill
	done := make(chan error)
	starter() <- func() { done <- cmd.Start() }
	return <-done
}

// worksIn reports whether a process has this working directory: Postgres moves to its data.
func worksIn(pid int, folder string) bool {
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	folder, err2 := filepath.EvalSymlinks(folder)
	return err == nil && err2 == nil && cwd == folder
}

func isGo(pid int) bool {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(name)) == "go"
}

// groupLives reports whether a group has a process that is more than a zombie: in a container without an init, nobody
// buries the children of the dead.
func groupLives(group int) bool {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		content, _ := os.ReadFile(path) // 42 (a name) S 1 42 …: state, parent, group
		_, rest, _ := strings.Cut(string(content), ") ")
		if f := strings.Fields(rest); len(f) > 2 && f[2] == strconv.Itoa(group) && f[0] != "Z" {
			return true
		}
	}
	return false
}
