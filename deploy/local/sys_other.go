//go:build !linux

package main

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// start starts a command. Only Linux tells a child that its parent died: elsewhere the launcher ends the servers of a
// killed keeper, and the next start stops a Postgres that is left.
func start(cmd *exec.Cmd, _ syscall.Signal) error { return cmd.Start() }

// worksIn reports whether a process is a server on this folder.
func worksIn(pid int, folder string) bool {
	out, _ := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return strings.Contains(string(out), folder)
}

// memory is for systems that have a folder in memory.
func memory() string { return "" }

func groupLives(group int) bool { return syscall.Kill(-group, 0) == nil }
