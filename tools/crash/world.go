// only with auth, users, transactions: this file

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"example.com/groundwork/tools/backend"
)

const (
	accounts = 40      // each person's in turn; the first few are hot
	hot      = 2       // into which many pay
	fill     = 100_000 // minor units in each
	people   = 2       // operators, who each have keys of their own of the same names
)

// world is two instances of the program, their Postgres, and the balancer before them.
type world struct {
	folder    string
	postgres  *cluster
	instances []*process
	addresses []string // the balancer's, then the instances'
	listener  net.Listener
	accounts  []string
	outside   string
	people    []*person
	filled    []said
	mu        sync.Mutex
	why       map[string]int // no answer was for good
	counts    struct {
		sent, again, twice                               atomic.Int64
		instances, postgres, backends, terminated, ended atomic.Int64
	}
}

// person is somebody who pays, with a token that is made anew before it ends.
type person struct {
	email string
	token atomic.Pointer[string]
}

func newWorld(ctx context.Context, program string) (w *world, err error) {
	w = &world{why: map[string]int{}}
	if w.folder, err = os.MkdirTemp("/var/tmp", "crash-"); err != nil { // a disk, where /tmp may be memory
		return w, err
	}
	if err := os.Chmod(w.folder, 0o711); err != nil { // whoever runs Postgres goes through
		return w, err
	}
	if w.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return w, err
	}
	w.addresses = []string{w.listener.Addr().String()}
	if w.postgres, err = newCluster(ctx, w.folder, rand.Text()); err != nil {
		return w, err
	}
	password := rand.Text()
	env := append(os.Environ(), "ENVIRONMENT=local", "DATABASE_URL="+w.postgres.url, "ISSUER=http://"+w.addresses[0], "RATE_LIMIT=off", "LOG_LEVEL=error", "OPERATOR_PASSWORD="+password)
	steps := [][]string{{"", "migrate", "up"}}
	for i := range people {
		w.people = append(w.people, &person{email: fmt.Sprintf("crash-%d@example.com", i)})
		steps = append(steps, []string{w.people[i].email, "operator"})
	}
	for _, step := range steps {
		cmd := exec.CommandContext(ctx, program, step[1:]...)
		cmd.Env = append(env, "OPERATOR_EMAIL="+step[0])
		if out, err := cmd.CombinedOutput(); err != nil {
			return w, fmt.Errorf("%s: %w\n%s", step[1], err, out)
		}
	}
	for i := range 2 {
		if err := w.addInstance(program, i, env); err != nil {
			return w, err
		}
	}
	go w.balance()
	if err := w.ready(ctx); err != nil {
		return w, err
	}
	for _, p := range w.people {
		if err := w.login(ctx, p, password); err != nil {
			return w, err
		}
	}
	go w.stayLoggedIn(ctx, password)
	return w, w.open(ctx)
}

func (w *world) addInstance(program string, i int, env []string) error {
	api, err := backend.FreeAddress()
	admin, err2 := backend.FreeAddress()
	log, err3 := os.Create(filepath.Join(w.folder, "instance-"+strconv.Itoa(i)+".log"))
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	p := &process{log: log, ended: func() { w.counts.ended.Add(1) }, command: func() *exec.Cmd {
		cmd := exec.Command(program, "serve")
		cmd.Env = append(env[:len(env):len(env)], "HTTP_ADDR="+api, "ADMIN_ADDR="+admin)
		return cmd
	}}
	w.instances, w.addresses = append(w.instances, p), append(w.addresses, api)
	return p.start()
}

// note counts why somebody has to ask again.
func (w *world) note(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.why[why]++
}

// close leaves nothing behind.
func (w *world) close() error {
	if w.listener != nil {
		_ = w.listener.Close()
	}
	for _, p := range w.instances {
		p.kill()
	}
	if w.postgres != nil {
		w.postgres.kill()
	}
	for range 20 { // a session that was orphaned may write for a moment longer
		if os.RemoveAll(w.folder) == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return os.RemoveAll(w.folder)
}

// complain shows the last words of each process.
func (w *world) complain(out io.Writer) {
	for _, name := range []string{"instance-0.log", "instance-1.log", "postgres.log"} {
		text, _ := os.ReadFile(filepath.Join(w.folder, name))
		fmt.Fprintf(out, "%s\n%s\n", name, text[max(0, len(text)-4000):])
	}
}

// balance gives each connection to one instance after the other, and to the next one when nobody listens. It does not look into what passes,
// so it never sends anything twice.
func (w *world) balance() {
	for turn := 0; ; turn++ {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer client.Close()
			for i := range w.instances {
				server, err := net.Dial("tcp", w.addresses[1+(turn+i)%len(w.instances)])
				if err != nil {
					continue
				}
				go func() {
					_, _ = io.Copy(server, client)
					_ = server.Close()
				}()
				_, _ = io.Copy(client, server)
				_ = server.Close()
				return
			}
		}()
	}
}

func (w *world) ready(ctx context.Context) error {
	for _, address := range w.addresses {
		if err := backend.Ready(ctx, "http://"+address+"/readyz"); err != nil {
			w.complain(os.Stderr)
			return err
		}
	}
	return nil
}

// call is one request beside the payments.
func (w *world) call(ctx context.Context, method, path, key, token string, in, out any) error {
	return backend.Call(ctx, w.addresses[0], method, path, token, key, in, out)
}

func (w *world) login(ctx context.Context, p *person, password string) error {
	token, err := backend.Login(ctx, w.addresses[0], p.email, password)
	if err == nil {
		p.token.Store(&token)
	}
	return err
}

// stayLoggedIn has tokens made anew: one lives five minutes.
func (w *world) stayLoggedIn(ctx context.Context, password string) {
	wait := 2 * time.Minute
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = 2 * time.Minute
		for _, p := range w.people {
			if w.login(ctx, p, password) != nil {
				wait = time.Second
			}
		}
	}
}

// open opens the accounts, and brings money in.
func (w *world) open(ctx context.Context) error {
	account := func(owner int, in map[string]string) (string, error) {
		var out struct{ ID string }
		err := w.call(ctx, http.MethodPost, "/v1/accounts", "", *w.people[owner].token.Load(), in, &out)
		return out.ID, err
	}
	var err error
	if w.outside, err = account(0, map[string]string{"currency": "EUR", "kind": "external"}); err != nil {
		return err
	}
	for i := range accounts {
		id, err := account(i%people, map[string]string{"currency": "EUR"})
		if err != nil {
			return err
		}
		w.accounts = append(w.accounts, id)
		s := said{kind: "fill", key: "fill-" + strconv.Itoa(i), answered: true, done: true, from: w.outside, to: id, moves: fill}
		var out struct{ ID string }
		if err := w.call(ctx, http.MethodPost, "/v1/transactions", s.key, *w.people[0].token.Load(), posting(s.from, s.to, fill), &out); err != nil {
			return err
		}
		s.transaction = out.ID
		w.filled = append(w.filled, s)
	}
	return nil
}

func posting(from, to string, amount int64) map[string]any {
	return map[string]any{"postings": []map[string]any{{"from": from, "to": to, "amount": amount, "currency": "EUR"}}}
}

// look reads all that the database has.
func (w *world) look(ctx context.Context) (is ledger, err error) {
	is = ledger{map[string]bool{}, map[string]string{}, map[string]balance{}}
	conn, err := pgx.Connect(ctx, w.postgres.url)
	if err != nil {
		return is, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var id, status string
	var b balance
	rows, _ := conn.Query(ctx, `select id::text from transactions.transactions`)
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error { is.transactions[id] = true; return nil })
	rows, _ = conn.Query(ctx, `select id::text, status from transactions.holds`)
	_, err2 := pgx.ForEachRow(rows, []any{&id, &status}, func() error { is.holds[id] = status; return nil })
	rows, _ = conn.Query(ctx, `select account_id::text, posted, held from transactions.balances`)
	_, err3 := pgx.ForEachRow(rows, []any{&id, &b.posted, &b.held}, func() error { is.balances[id] = b; return nil })
	return is, errors.Join(err, err2, err3)
}

// integrity has the ledger check itself, all of it, and returns what is broken.
func (w *world) integrity(ctx context.Context) (broken []string, err error) {
	const path = "/v1/ledger/integrity"
	type integrityRun struct {
		ID       string
		Status   string
		Failures []struct {
			Invariant, Rule string
			Found           int
		}
	}
	var started, run integrityRun
	token := *w.people[0].token.Load()
	for deadline := time.Now().Add(time.Minute); started.ID == "" || run.Status == "running"; time.Sleep(100 * time.Millisecond) {
		if run.ID != started.ID || started.ID == "" { // a run over what changed lately, which begins by itself, may come after ours
			if err := w.call(ctx, http.MethodPost, path, "", token, nil, &started); err != nil {
				return nil, err
			}
		}
		run = integrityRun{}
		if err := w.call(ctx, http.MethodGet, path, "", token, nil, &run); err != nil {
			return nil, err
		}
		if run.ID != started.ID {
			run.Status = "running"
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the integrity run %s does not end", started.ID)
		}
	}
	for _, f := range run.Failures {
		broken = append(broken, fmt.Sprintf("%s, %s: %d", f.Invariant, f.Rule, f.Found))
	}
	return broken, nil
}
