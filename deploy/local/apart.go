package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// instances are how many processes a module has, where that is not one.
var instances = map[string]int{
	// only with transactions:
	"transactions": 2, // so that one may go
	// end transactions
}

// again is when a process that ended by itself is started once more: late enough to see what goes on without it.
const again = 10 * time.Second

// member is one of the processes that run apart: an instance of a module, or the gateway before them.
type member struct {
	name       string
	command    []string
	env        []string
	api, admin string // "" for the gateway, which has no admin
	cmd        *exec.Cmd
	process    atomic.Int64 // its number
	gone       chan struct{}
}

// apart runs every module in processes of its own, behind the gateway, until it is told to end.
func (r *site) apart(caddy string) (int, error) {
	members, err := r.members(caddy)
	if err != nil {
		return 1, err
	}
	say("starting %d processes", len(members))
	ended, due := make(chan *member, len(members)), make(chan *member, len(members))
	front := members[len(members)-1]
	for _, m := range members {
		if m != front && err == nil {
			err = r.launch(m, ended)
		}
	}
	serving, over := context.WithCancel(r.ctx)
	var announcement sync.WaitGroup
	announcement.Go(func() {
		if await(serving, members[:len(members)-1]) {
			due <- front // now, as it sends nothing to who was away when it looked
		}
		if await(serving, members) {
			r.announceApart(members)
		}
	})
	for err == nil && r.ctx.Err() == nil { // here, as a process that is to end with us has to be started by the main thread
		select {
		case <-r.ctx.Done():
		case m := <-ended:
			say("%s has ended (%s); it starts again in %s", m.name, m.cmd.ProcessState, again)
			time.AfterFunc(again, func() { due <- m })
		case m := <-due:
			if err = r.launch(m, ended); err == nil {
				say("%s is process %d", m.name, m.cmd.Process.Pid)
			}
		}
	}
	over()
	announcement.Wait()
	var leaving sync.WaitGroup
	for _, m := range members {
		if m.cmd != nil {
			leaving.Go(func() {
				endGroup(m.cmd.Process.Pid, drain)
				<-m.gone
			})
		}
	}
	leaving.Wait()
	_ = os.Remove(r.in("run.env"))
	return 0, errors.Join(err, r.lost())
}

// members are the processes: of each module that has migrations, as every module has, and the gateway.
func (r *site) members(caddy string) ([]*member, error) {
	names := modules(r.root)
	if len(names) == 0 {
		return nil, errors.New("there are no modules in migrations/")
	}
	gateway := os.Getenv("HTTP_ADDR")
	host, port, err := net.SplitHostPort(gateway)
	if err != nil {
		return nil, fmt.Errorf("HTTP_ADDR: %w", err)
	}
	front := &member{name: "gateway", command: []string{caddy, "run", "--adapter", "caddyfile", "--config", filepath.Join(r.root, "deploy/gateway/Caddyfile")},
		env: []string{"GATEWAY_HOST=" + host, "GATEWAY_PORT=" + port, "XDG_DATA_HOME=" + r.in("caddy"), "XDG_CONFIG_HOME=" + r.in("caddy")}} // and nothing in the home of who runs it
	shared := []string{"ISSUER=" + cmp.Or(os.Getenv("ISSUER"), base(gateway)), "TRUSTED_PROXIES=127.0.0.1/32"} // whom the gateway calls from
	var members []*member
	for _, module := range names {
		upper := strings.ToUpper(module)
		var addresses []string
		for i := range max(1, instances[module]) {
			api, err := freePort(0)
			admin, err2 := freePort(0)
			if err := errors.Join(err, err2); err != nil {
				return nil, err
			}
			m := &member{name: module, command: []string{r.binary, "serve", "--modules=" + module}, api: localhost(api), admin: localhost(admin)}
			if instances[module] > 1 {
				m.name += fmt.Sprint(" ", i+1)
			}
			m.env = []string{"HTTP_ADDR=" + m.api, "ADMIN_ADDR=" + m.admin}
			members, addresses = append(members, m), append(addresses, m.api)
		}
		front.env = append(front.env, upper+"_UPSTREAM="+strings.Join(addresses, " "))
		// Other modules call one instance, as what they ask for is not for the gateway.
		shared = append(shared, upper+"_URL=http://"+addresses[0], upper+"_CLIENT_SECRET="+rand.Text()+rand.Text())
	}
	for _, m := range members {
		m.env = append(m.env, shared...)
	}
	return append(members, front), nil
}

// launch starts a process and tells when it has ended.
func (r *site) launch(m *member, ended chan<- *member) error {
	cmd, gone := exec.Command(m.command[0], m.command[1:]...), make(chan struct{})
	cmd.Dir, cmd.Env = r.root, append(os.Environ(), m.env...)
	cmd.Stdout, cmd.Stderr = r.log.Writer(), r.log.Writer()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := start(cmd, syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	m.cmd, m.gone = cmd, gone
	m.process.Store(int64(cmd.Process.Pid))
	fmt.Fprintln(r.ear, cmd.Process.Pid) // the keeper ends the group when we are killed
	go func() {
		_ = cmd.Wait()
		fmt.Fprintln(r.ear, -cmd.Process.Pid)
		close(gone)
		ended <- m
	}()
	return nil
}

// await waits until each answers, and says whether that came.
func await(ctx context.Context, members []*member) bool {
	for _, m := range members {
		probe := base(os.Getenv("HTTP_ADDR")) + "/livez" // the gateway's
		if m.api != "" {
			probe = base(m.api) + "/readyz"
		}
		for !answers(probe) {
			select {
			case <-ctx.Done():
				return false
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return true
}

// announceApart tells where each process is.
func (r *site) announceApart(members []*member) {
	api, mail := base(os.Getenv("HTTP_ADDR")), ""
	var lines [][2]string
	for _, m := range members {
		where := fmt.Sprintf("process %d", m.process.Load())
		if m.api != "" {
			where += "  " + base(m.api) + "  " + base(m.admin) + "/metrics"
		}
		lines = append(lines, [2]string{m.name, where})
		if m.name == "auth" {
			mail = base(m.api)
		}
	}
	if err := r.tell("Ctrl-C stops it, and what ends by itself starts again after "+again.String(), api, base(members[0].admin), mail, lines...); err != nil {
		say("%v", err)
	}
}

// modules are those whose schema the checkout has, as every module has one.
func modules(root string) []string {
	files, _ := fs.Glob(os.DirFS(root), "migrations/*/*.sql")
	for i, file := range files {
		files[i] = path.Base(path.Dir(file))
	}
	return slices.Compact(files) // in order
}
