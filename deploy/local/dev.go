package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"
)

// developer is `make dev`: everything, and the steps that a save asks for, again and again. It goes by what is there and not by what
// happened: a contract whose code was made from other words is generated, a program with other bytes is started.
type developer struct {
	*site
	api, admin *door
	now        *server // leads at the doors; nil before the first
	migrations string  // the sum of those that were applied
	leaving    sync.WaitGroup
}

// server is a process that answers at ports of its own.
type server struct {
	cmd        *exec.Cmd
	program    string // the sum of it
	api, admin string
	ready      time.Time
	gone       chan struct{}
}

func dev(ctx context.Context) (code int, err error) {
	r, err := claim("groundwork-dev")
	if err != nil {
		return 1, err
	}
	defer r.running.Close()
	if r.stack, err = up(ctx, false); err != nil {
		return 1, err
	}
	defer r.down()
	d := &developer{site: r}
	if err = r.settle(); err == nil {
		d.api, err = openDoor("HTTP_ADDR", 8080)
	}
	if err == nil {
		d.admin, err = openDoor("ADMIN_ADDR", 9090)
	}
	if err != nil {
		return 1, err
	}
	say("compiling (the first time takes a minute or two)")
	for d.ctx.Err() == nil {
		d.turn()
	}
	d.retire(d.now, 0)
	d.leaving.Wait()
	_ = os.Remove(d.in("run.env"))
	return 0, d.lost()
}

// turn takes the checkout as it is, and lasts until the next save. A save in the middle breaks it off.
func (d *developer) turn() {
	begin, seen := time.Now(), read(d.root)
	made, err := d.generate(seen)
	for name, stamp := range read(d.root) { // what we wrote is no save
		for _, folder := range made {
			if path.Dir(name) == folder && path.Ext(name) == ".go" {
				seen[name] = stamp
			}
		}
	}
	now, end := edition(d.ctx, d.root, seen)
	defer end()
	if err == nil {
		err = d.renew(now, seen, begin)
		d.warn() // after each save, and below all that a server says which the schema does not fit
	}
	if err != nil && now.Err() == nil {
		say("%v\n", err)
		if d.now.alive() {
			say("the server from before keeps serving; the next save tries again")
		} else if d.now == nil {
			say("no server is up; the next save tries again")
		}
	}
	d.keepServing(now)
	<-now.Done()
	if names := (saved{}); errors.As(context.Cause(now), &names) {
		say("saved %v", names)
	}
}

// generate makes the code of the contracts that changed, and returns their folders. What each was made from stands in a file; where
// there is none yet, a contract that was saved after the checkout was made has changed.
func (d *developer) generate(seen tree) ([]string, error) {
	file := d.in("generated-from")
	content, err := os.ReadFile(file)
	fresh := os.IsNotExist(err)
	known, note := string(content), ""
	var folders []string
	for _, name := range seen.below("api") {
		if path.Base(name) != "config.yaml" {
			continue
		}
		folder := path.Dir(name)
		line := sum(d.root, name, folder+"/openapi.yaml", folder+"/doc.go", "tools/generator/go.mod") + "  " + folder + "\n"
		saved := seen[folder+"/openapi.yaml"].at.After(seen[folder+"/gen.go"].at.Add(10 * time.Second))
		if note += line; fresh && saved || !fresh && !strings.Contains(known, line) {
			folders = append(folders, folder)
		}
	}
	if len(folders) > 0 {
		say("generating %s", strings.Join(folders, ", "))
		args := []string{"generate"}
		for _, folder := range folders {
			args = append(args, "./"+folder)
		}
		if err := d.step(d.ctx, "go "+strings.Join(args, " "), "go", args...); err != nil {
			return folders, err
		}
	}
	return folders, os.WriteFile(file, []byte(note), 0o600)
}

// renew builds, and when that makes another program, migrates and puts it in the place of the one that runs.
func (d *developer) renew(ctx context.Context, seen tree, begin time.Time) error {
	// Without inlining in our own packages and without tables for a debugger, the compiler and the linker take two thirds of the time.
	if err := d.build(ctx, "-gcflags=./...=-l", "-ldflags=-w"); err != nil {
		return err
	}
	program := sum("/", d.binary)
	if d.now.alive() && d.now.program == program {
		say("the program is the same")
		return nil
	}
	schema := sum(d.root, seen.below("migrations")...)
	if d.migrations != schema {
		if err := d.migrate(ctx); err != nil {
			return err
		}
		d.migrations = schema
	}
	next, err := d.start(ctx, program)
	if err != nil {
		return err
	}
	before := d.now
	d.lead(next)
	d.retire(before, 2*time.Second) // who was led to it a moment ago is to find it
	if before == nil {
		return d.announce("Every save is built and served. Ctrl-C stops it")
	}
	say("the new server is ready, after %.1f s", time.Since(begin).Seconds())
	return nil
}

// lead makes it the server that leads.
func (d *developer) lead(next *server) {
	d.api.lead(next.api)
	d.admin.lead(next.admin)
	d.now = next
}

// keepServing starts a server that ends by itself again: at once, and later each time as long as none lasts. What does not become ready, or
// is not there any more because a program that does not was built in its place, waits for a save.
func (d *developer) keepServing(ctx context.Context) {
	for pause := time.Duration(0); d.now != nil; pause = min(2*pause+time.Second, 30*time.Second) {
		select {
		case <-d.now.gone:
		case <-ctx.Done():
			return
		}
		if time.Since(d.now.ready) > 10*time.Second {
			pause = 0
		}
		if sum("/", d.binary) != d.now.program {
			say("the server ended by itself (%s), and another program has been built since; the next save tries again", d.now.cmd.ProcessState)
			return
		}
		say("the server ended by itself (%s); it starts again in %s", d.now.cmd.ProcessState, pause)
		begin := time.Now()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		next, err := d.start(ctx, d.now.program)
		if err != nil {
			if ctx.Err() == nil {
				say("%v\n", err)
				say("no server is up; the next save tries again")
			}
			return
		}
		d.lead(next)
		say("it is ready, after %.1f s", time.Since(begin).Seconds())
	}
}

// start starts the program and waits until it is ready, whatever becomes of the one before it.
func (d *developer) start(ctx context.Context, program string) (*server, error) {
	s := &server{program: program, gone: make(chan struct{}), cmd: exec.Command(d.binary, "serve")}
	api, err := freePort(0)
	admin, err2 := freePort(0)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	s.api, s.admin = localhost(api), localhost(admin)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.Dir = d.root
	s.cmd.Env = append(os.Environ(), "HTTP_ADDR="+s.api, "ADMIN_ADDR="+s.admin,
		"ISSUER="+cmp.Or(os.Getenv("ISSUER"), base(os.Getenv("HTTP_ADDR"))))
	s.cmd.Stdout, s.cmd.Stderr = d.log.Writer(), d.log.Writer()
	if err := start(s.cmd, syscall.SIGTERM); err != nil {
		return nil, err
	}
	fmt.Fprintln(d.ear, s.cmd.Process.Pid)
	go func() {
		_ = s.cmd.Wait()
		fmt.Fprintln(d.ear, -s.cmd.Process.Pid)
		close(s.gone)
	}()
	for patience := time.After(30 * time.Second); !answers("http://" + s.api + "/readyz"); {
		select {
		case <-s.gone:
			err = fmt.Errorf("the new server ended before it was ready: %s; what it said stands above", s.cmd.ProcessState)
		case <-patience:
			err = errors.New("the new server is not ready after 30 s: what it said stands above")
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(20 * time.Millisecond):
			continue
		}
		d.retire(s, 0)
		return nil, err
	}
	s.ready = time.Now()
	return s, nil
}

// retire lets a server finish what it has begun, and does not wait for that.
func (d *developer) retire(s *server, after time.Duration) {
	if !s.alive() {
		return
	}
	d.leaving.Go(func() {
		time.Sleep(after)
		endGroup(s.cmd.Process.Pid, 10*time.Second)
		<-s.gone
	})
}

func (s *server) alive() bool {
	if s == nil {
		return false
	}
	select {
	case <-s.gone:
		return false
	default:
		return true
	}
}
