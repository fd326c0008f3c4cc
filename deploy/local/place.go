package main

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// A place says where a stack keeps what, and who runs its servers.
type place struct {
	root  string // the checkout
	state string // locks and environment: belongs to the caller
	data  string // Postgres: belongs to the one who runs it
	cache string // downloaded Postgres
	test  bool

	uid, gid int  // who runs the servers
	other    bool // it is somebody else, because we are root

	hold *os.File // keeps the sweep of others away from the state of a test stack
}

// shared is where root's stack keeps its data: root's own folders are closed to the user that runs Postgres.
const shared = "/var/tmp"

func locate(test bool) (place, error) {
	root, err := checkout()
	if err != nil {
		return place{}, err
	}
	p := place{root: root, state: filepath.Join(root, ".local"), test: test, uid: os.Getuid(), gid: os.Getgid()}
	if p.uid == 0 {
		p.other = true
		if p.uid, p.gid, err = servant(root); err != nil {
			return p, err
		}
	}

	p.data = filepath.Join(p.state, "data")
	if p.other {
		p.data = filepath.Join(shared, fmt.Sprintf("groundwork-%x", sha256.Sum256([]byte(root)))[:21])
	}
	p.cache = filepath.Join(shared, fmt.Sprintf("groundwork-cache-%d", p.uid))
	if folder, err := os.UserCacheDir(); err == nil && !p.other {
		p.cache = filepath.Join(folder, "groundwork")
	}

	if test {
		if p.state, err = os.MkdirTemp("", throwaway); err != nil {
			return p, err
		}
		if err := p.folder(p.state); err != nil {
			return p, err
		}
		p.hold, _ = lockFolder(p.state)
		p.data = filepath.Join(p.state, "data")
		if p.other {
			p.data = filepath.Join("/tmp", throwaway+rand.Text()[:10])
		}
		sweep(os.TempDir(), throwaway)
		return p, nil
	}
	return p, p.folder(p.state)
}

// servant chooses the user that runs Postgres for root: one that the checkout belongs to anyway, or one without rights.
func servant(root string) (uid, gid int, err error) {
	if uid, gid := owner(root); uid > 0 {
		return uid, gid, nil
	}
	if uid, err := strconv.Atoi(os.Getenv("SUDO_UID")); err == nil && uid > 0 {
		gid, _ := strconv.Atoi(os.Getenv("SUDO_GID"))
		return uid, gid, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.Atoi(u.Uid)
			gid, _ := strconv.Atoi(u.Gid)
			return uid, gid, nil
		}
	}
	return 0, 0, fmt.Errorf("Postgres refuses to run as root, and there is no user postgres or nobody to run it: set DATABASE_URL")
}

func owner(path string) (uid, gid int) {
	info, err := os.Lstat(path)
	if err != nil {
		return -1, -1
	}
	stat := info.Sys().(*syscall.Stat_t)
	return int(stat.Uid), int(stat.Gid)
}

// folder makes a folder in the checkout that only its owner may enter. What root makes in the checkout of somebody else
// is given to them, or their own next run would fail.
func (p place) folder(path string) error {
	if err := errors.Join(os.MkdirAll(path, 0o700), os.Chmod(path, 0o700)); err != nil { // whatever the umask
		return err
	}
	return p.give(path)
}

func (p place) give(path string) error {
	if uid, gid := owner(p.root); p.other && uid > 0 && !p.test {
		return os.Lchown(path, uid, gid)
	}
	return nil
}

// write replaces a file in one step, readable by its owner only.
func (p place) write(path, content string) error {
	fresh := path + ".new"
	_ = os.Remove(fresh)
	if err := os.WriteFile(fresh, []byte(content), 0o600); err != nil {
		return err
	}
	if err := os.Chmod(fresh, 0o600); err != nil { // whatever the umask
		return err
	}
	if err := p.give(fresh); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// lock opens a lock file; how is LOCK_SH or LOCK_EX, 0 for later. It never waits: held tells that somebody else has it.
func (p place) lock(name string, how int) (file *os.File, held bool, err error) {
	path := filepath.Join(p.state, name)
	file, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, err
	}
	if err := p.give(path); err != nil {
		return nil, false, err
	}
	if how == 0 {
		return file, false, nil
	}
	if err := syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, err == syscall.EWOULDBLOCK, fmt.Errorf("lock %s: %w", path, err)
	}
	return file, false, nil
}

// reset removes what a stack remembers. The lock files stay: whoever opened them must lock the same file as we do.
func (p place) reset() error {
	lock, held, err := p.lock("stack.env", syscall.LOCK_EX)
	if held {
		return fmt.Errorf("the stack of %s is running: stop `make run` and every other command under it first", p.root)
	} else if err != nil {
		return err
	}
	defer lock.Close()
	if uid, _ := owner(p.data); uid >= 0 && uid != p.uid {
		return fmt.Errorf("%s belongs to user %d, not to user %d who runs Postgres here: look at it, then remove it yourself", p.data, uid, p.uid)
	}
	for _, path := range []string{p.data, p.in("key-encryption-key"), p.in("operator.env"), p.in("run.env")} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	if err := lock.Truncate(0); err != nil {
		return err
	}
	say("wiped the data of %s (%s)", p.root, p.data)
	return nil
}

func (p place) in(name string) string { return filepath.Join(p.state, name) }

// ownFolder makes a folder for us alone, or checks that the one which is there is just that: in /var/tmp anybody can make
// a folder of any name, and Postgres would run what lies in it.
func ownFolder(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	uid, _ := owner(path)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder (a link?): look at it, then remove it", path)
	case uid != os.Getuid():
		return fmt.Errorf("%s belongs to user %d, not to user %d who runs Postgres here: look at it, then remove it", path, uid, os.Getuid())
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be written by others (mode %o): look at it, then remove it", path, info.Mode().Perm())
	}
	return os.Chmod(path, 0o700)
}

// The folders of -test and the launcher that root lends begin with these names.
const (
	throwaway = "groundwork-test-"
	lent      = "groundwork-launcher-"
)

// sweep removes what the killed have left behind: folders of ours that nobody has locked.
func sweep(temp, prefix string) {
	left, _ := filepath.Glob(filepath.Join(temp, prefix+"*"))
	for _, folder := range left {
		info, err := os.Lstat(folder)
		if uid, _ := owner(folder); err != nil || uid != os.Getuid() || !info.IsDir() || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		if lock, err := lockFolder(folder); err == nil {
			_ = os.RemoveAll(folder)
			_ = lock.Close()
		}
	}
}

func lockFolder(path string) (*os.File, error) {
	folder, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		folder.Close()
		return nil, err
	}
	return folder, nil
}
