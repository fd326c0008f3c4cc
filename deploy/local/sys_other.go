//go:build !linux

package main

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// start starts a command. Only Linux tells a child that its parent died: elsewhere the launcher ends the servers of a
// killed keeper, the reaper ends the command of a killed launcher, and the next start stops a Postgres that is left.
func start(cmd *exec.Cmd, _ syscall.Signal) error { return cmd.Start() }

// worksIn reports whether a process is a server on this folder.
func worksIn(pid int, folder string) bool { return strings.Contains(ps(pid, "command"), folder) }

func isGo(pid int) bool { return filepath.Base(ps(pid, "comm")) == "go" }

func groupLives(group int) bool { return syscall.Kill(-group, 0) == nil }

func ps(pid int, column string) string {
	out, _ := exec.Command("ps", "-o", column+"=", "-p", strconv.Itoa(pid)).Output()
	return strings.TrimSpace(string(out))
}
