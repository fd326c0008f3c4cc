package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
)

// A place says where a stack keeps what, and who runs its servers.
type place struct {
	root    string // the checkout
	home    string // locks, environment, the server's log
	data    string // Postgres, passwords, logs: what -reset wipes
	cache   string // downloaded Postgres
	test    bool
	servant *syscall.Credential // runs the servers for root, because Postgres refuses root
}

// shared is where root keeps what the servant must reach: root's own folders are closed to others.
const shared = "/var/tmp/groundwork"

// locate finds the place of this checkout. With test it is that of the stack for tests, which has nothing in common with the other.
func locate(test bool) (p place, err error) {
	isRoot := os.Getuid() == 0
	if isRoot {
		p.cache = shared
		p.servant, err = servant(), ownFolder(shared)
	} else {
		p.cache, err = os.UserCacheDir()
		p.cache = filepath.Join(p.cache, "groundwork")
	}
	if err == nil {
		p.root, err = checkout()
	}
	if err != nil {
		return p, err
	}
	p.home = filepath.Join(p.root, ".local")
	kind := ""
	if p.test = test; test {
		p.home, kind = p.in("test"), forTests
	}
	p.data = p.in("data")
	elsewhere := os.Getenv("LOCAL_DATA") // where Postgres can own its files, when the checkout is a mount
	if elsewhere == "" && test {
		elsewhere = memory()
	}
	if elsewhere == "" && isRoot {
		elsewhere = shared
	}
	if elsewhere != "" {
		p.data = filepath.Join(elsewhere, fmt.Sprintf("%x", sha256.Sum256([]byte(p.root)))[:10]+kind)
	}
	return p, errors.Join(os.MkdirAll(p.home, 0o700), os.MkdirAll(p.data, 0o700), os.Chmod(p.data, 0o711), // whatever the umask
		os.WriteFile(filepath.Join(p.data, "checkout"), []byte(p.root), 0o600))
}

// checkout is the folder of the go.mod at or above the working directory.
func checkout() (string, error) {
	here, err := os.Getwd()
	if err == nil {
		here, err = filepath.EvalSymlinks(here)
	}
	for root := here; err == nil; root = filepath.Dir(root) {
		if _, missing := os.Stat(filepath.Join(root, "go.mod")); missing == nil {
			return root, nil
		} else if root == filepath.Dir(root) {
			return "", fmt.Errorf("there is no go.mod in or above %s: run this in a checkout", here)
		}
	}
	return "", err
}

// forTests ends the name of a folder of data for tests that is not in its checkout.
const forTests = "-test"

// forget removes what lies elsewhere of checkouts that are gone, because a copy in a temporary folder does not take it along: the data for
// tests, and folders without data. A checkout may lie on a disk that is away, so its own data stay.
func forget() {
	notes, _ := filepath.Glob(filepath.Join(shared, "*", "checkout"))
	if folder := memory(); folder != "" {
		more, _ := filepath.Glob(filepath.Join(folder, "*", "checkout"))
		notes = append(notes, more...)
	}
	for _, note := range notes {
		folder := filepath.Dir(note)
		root, err := os.ReadFile(note)
		_, gone := os.Stat(string(root))
		_, empty := os.Stat(filepath.Join(folder, "postgres"))
		// An empty note is one that somebody writes just now.
		if err == nil && len(root) > 0 && os.IsNotExist(gone) && (strings.HasSuffix(folder, forTests) || os.IsNotExist(empty)) {
			_ = os.RemoveAll(folder)
		}
	}
}

func (p place) in(name string) string { return filepath.Join(p.home, name) }

// servant is postgres, where there is such a user, or nobody.
func servant() *syscall.Credential {
	c := &syscall.Credential{Uid: 65534, Gid: 65534}
	for _, name := range []string{"nobody", "postgres"} {
		if u, err := user.Lookup(name); err == nil {
			_, _ = fmt.Sscan(u.Uid+" "+u.Gid, &c.Uid, &c.Gid)
		}
	}
	return c
}

// give hands a file to the servant.
func (p place) give(path string) error {
	if p.servant == nil {
		return nil
	}
	return os.Lchown(path, int(p.servant.Uid), int(p.servant.Gid))
}

// program is a command of the servant. The caller's environment stays out: it may hold secrets.
func (p place) program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = "/" // ours may be closed to the servant
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.servant}
	return cmd
}

// ownFolder makes a folder that only we may change, or checks that the one which is there is just that: in /var/tmp anybody
// can make a folder of any name, and Postgres would run what lies in it.
func ownFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	uid, me := int(info.Sys().(*syscall.Stat_t).Uid), os.Getuid()
	if !info.IsDir() || uid != me || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a folder that only user %d can write to (%s, of user %d): look at it, then remove it", path, me, info.Mode(), uid)
	}
	return os.Chmod(path, 0o755) // whatever the umask
}

// lock opens and locks a file; how is LOCK_SH or LOCK_EX. With LOCK_NB it does not wait: EWOULDBLOCK says that somebody
// else has it.
func lock(path string, how int) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(file, how); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func flock(file *os.File, how int) error {
	for {
		if err := syscall.Flock(int(file.Fd()), how); err != syscall.EINTR {
			return os.NewSyscallError("lock "+file.Name(), err)
		}
	}
}

// wipe removes what a stack remembers. The lock files stay: whoever opened them must lock the same file as we do.
func wipe() error {
	var places []place
	var locks []io.Closer
	defer func() {
		for _, one := range locks {
			_ = one.Close()
		}
	}()
	for _, test := range []bool{false, true} { // both or none
		p, err := locate(test)
		if err != nil {
			return err
		}
		stack, err := lock(p.in("stack.env"), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("the stack of %s is running: stop `make run`, `make dev`, tests and every other command that uses it first", p.root)
		} else if err != nil {
			return err
		}
		places, locks = append(places, p), append(locks, stack)
	}
	for _, p := range places {
		say("wiping the data of %s (%s)", p.root, p.data)
		if err := errors.Join(os.RemoveAll(p.data), os.RemoveAll(p.in("key-encryption-key")), os.RemoveAll(p.in("run.env"))); err != nil {
			return err
		}
	}
	return nil
}
