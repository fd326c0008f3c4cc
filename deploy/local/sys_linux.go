package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Pdeathsig fires when the *thread* that started the child dies, and Go ends threads as it likes (golang/go#27505). So the
// main goroutine stays on the main thread, which never ends, and start is called from there.
func init() { runtime.LockOSThread() }

// start starts a command that is sent a signal when we die, however we die.
func start(cmd *exec.Cmd, lastWill syscall.Signal) error {
	cmd.SysProcAttr.Pdeathsig = lastWill
	return cmd.Start()
}

// worksIn reports whether a process has this working directory: Postgres moves to its data.
func worksIn(pid int, folder string) bool {
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	folder, err2 := filepath.EvalSymlinks(folder)
	return err == nil && err2 == nil && cwd == folder
}

// memory is a folder that lies in memory, for the data of tests: each makes and removes a database of four hundred files, which is most of
// their work on a disk. It is made when there are 4 GiB to spare, and "" where it is not to be had.
func memory() string {
	const all = "/dev/shm"
	folder := fmt.Sprintf("%s/groundwork-%d", all, os.Getuid())
	var fs unix.Statfs_t
	if _, missing := os.Stat(folder); missing != nil && (unix.Statfs(all, &fs) != nil || fs.Type != unix.TMPFS_MAGIC || float64(fs.Bavail)*float64(fs.Bsize) < 4<<30) {
		return ""
	}
	if ownFolder(folder) != nil {
		return ""
	}
	return folder
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
