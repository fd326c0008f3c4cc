// only with auth, users, transactions: this file

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"example.com/groundwork/tools/backend"
)

// process is a program that is killed and started again.
type process struct {
	command func() *exec.Cmd
	log     *os.File
	ended   func() // is told when it ends and was not killed

	mu     sync.Mutex // of starting and killing
	cmd    *exec.Cmd
	gone   chan struct{} // closed when it is
	killed bool          // by us
}

// start starts it, unless it runs.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.alive() {
		return nil
	}
	cmd, gone := p.command(), make(chan struct{})
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.gone, p.killed = cmd, gone, false
	go func() {
		_ = cmd.Wait()
		close(gone)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.gone == gone && !p.killed {
			p.ended()
		}
	}()
	return nil
}

func (p *process) alive() bool {
	if p.gone == nil {
		return false
	}
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// kill ends it and its children at once, without a word, and says whether it ran.
func (p *process) kill() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alive() {
		return false
	}
	p.killed = true
	pid := p.cmd.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGSTOP) // or it has more children than we know of
	doomed := append(children(pid), pid)
	for _, pid := range doomed {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.gone
	return true
}

// children are the processes that a process has started.
func children(parent int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		text, _ := os.ReadFile(stat) // 42 (a name) S 1 …: state, parent
		_, rest, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// cluster is a Postgres of our own that loses nothing that it has committed.
type cluster struct {
	process
	url, admin string // of the owner, in our database and in the server's own
}

// newCluster makes it, with the programs and as the user of the Postgres that DATABASE_URL names: Postgres refuses root, and not every machine
// has its programs where we would look. That server is asked for nothing but who it is.
func newCluster(ctx context.Context, folder, password string) (*cluster, error) {
	bin, credential, err := programs(ctx)
	if err != nil {
		return nil, err
	}
	data, word := filepath.Join(folder, "postgres"), filepath.Join(folder, "password")
	if err := errors.Join(os.Mkdir(data, 0o700), os.WriteFile(word, []byte(password), 0o600)); err != nil {
		return nil, err
	}
	if credential != nil {
		if err := errors.Join(os.Chown(data, int(credential.Uid), int(credential.Gid)), os.Chown(word, int(credential.Uid), int(credential.Gid))); err != nil {
			return nil, err
		}
	}
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir, cmd.Env = "/", []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		return cmd
	}
	if out, err := command("initdb", "-D", data, "-U", "groundwork", "--pwfile="+word, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	port, err := backend.FreeAddress()
	log, err2 := os.Create(filepath.Join(folder, "postgres.log"))
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	address := "postgres://groundwork:" + password + "@" + port + "/%s?sslmode=disable"
	c := &cluster{url: fmt.Sprintf(address, "groundwork"), admin: fmt.Sprintf(address, "postgres")}
	c.log, c.ended = log, func() {}
	c.command = func() *exec.Cmd {
		return command("postgres", "-D", data, "-p", port[strings.LastIndex(port, ":")+1:], "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
	}
	if err := c.up(ctx); err != nil {
		return c, err
	}
	return c, exec1(ctx, c.admin, "create database groundwork")
}

// programs are the folder of the programs of the server that DATABASE_URL names, and who runs them if that is not us.
func programs(ctx context.Context) (folder string, who *syscall.Credential, err error) {
	conn, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return "", nil, errors.New("DATABASE_URL names no server: make crash")
	}
	defer conn.Close(context.WithoutCancel(ctx))
	session := fmt.Sprintf("/proc/%d", conn.PgConn().PID())
	program, err := os.Readlink(session + "/exe")
	if err != nil || filepath.Base(program) != "postgres" {
		return "", nil, fmt.Errorf("the Postgres of DATABASE_URL is not a process of this machine whose program we may know: %w", err)
	}
	info, err := os.Stat(session)
	if err != nil {
		return "", nil, err
	}
	if of := info.Sys().(*syscall.Stat_t); int(of.Uid) != os.Getuid() {
		who = &syscall.Credential{Uid: of.Uid, Gid: of.Gid}
	}
	return filepath.Dir(program), who, nil
}

// up starts it and waits until it answers. After a crash it first reads its log; and it does not start while a session that outlived the
// last one is there.
func (c *cluster) up(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := c.start()
		if err == nil {
			err = exec1(ctx, c.admin, "select")
		}
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
	}
}

func exec1(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, sql)
	return err
}
