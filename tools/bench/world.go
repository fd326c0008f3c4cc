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
	"regexp"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"example.com/groundwork/migrations"
	"example.com/groundwork/tools/backend"
)

const (
	clients  = 64
	accounts = 4000
	fill     = 1 << 30 // minor units in each account
	warmUp   = time.Second
)

// world is what is measured: the program and the baselines as processes of their own, and accounts with money in them.
type world struct {
	database, api, admin, baseline string
	server, baselines              *exec.Cmd
	scratch                        string
	token, password                string
	ids                            []string // of the accounts
	transactions                   []string // their ids, where there is a history
	outside                        string
	pgbenchVersion                 string
	began                          string // part of each key, so that no run repeats another's
}

const operatorEmail = "bench@example.com"

func newWorld(ctx context.Context, program string) (w *world, err error) {
	w = &world{database: os.Getenv("DATABASE_URL"), password: rand.Text(), began: rand.Text()}
	if w.database == "" {
		return nil, errors.New("DATABASE_URL names no server: make bench")
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.scratch, err = os.MkdirTemp("", "bench-"); err != nil {
		return w, err
	}
	for _, address := range []*string{&w.api, &w.admin, &w.baseline} {
		if *address, err = backend.FreeAddress(); err != nil {
			return w, err
		}
	}
	collector, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return w, err
	}
	go func() { // takes what is pushed, and forgets it
		_ = http.Serve(collector, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })) //nolint:gosec // on loopback
	}()
	// As in production: traces of the default share are pushed, everything is logged, requests are counted (the limit is not to be met).
	env := append(os.Environ(), "ENVIRONMENT=local", "HTTP_ADDR="+w.api, "ADMIN_ADDR="+w.admin, "ISSUER=http://"+w.api, "TRACE_SAMPLE=0.1", "LOG_LEVEL=info",
		"RATE_LIMIT=1000000", "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+collector.Addr().String(), "OPERATOR_EMAIL="+operatorEmail, "OPERATOR_PASSWORD="+w.password)
	for _, args := range [][]string{{"migrate", "up"}, {"operator", "--replace"}} {
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			return w, fmt.Errorf("%s: %w\n%s", args, err, out)
		}
	}
	if w.server, err = w.start(env, "server.log", program, "serve"); err != nil {
		return w, err
	}
	self, err := os.Executable()
	if err != nil {
		return w, err
	}
	login, err := migrations.LocalURL(w.database, "transactions")
	if err != nil {
		return w, err
	}
	if w.baselines, err = w.start(append(os.Environ(), "BENCH_DATABASE_URL="+login), "baselines.log", self, "-baselines", w.baseline); err != nil {
		return w, err
	}
	for _, url := range []string{"http://" + w.api + "/readyz", "http://" + w.baseline + "/constant"} {
		if err := backend.Ready(ctx, url); err != nil {
			return w, fmt.Errorf("%w: see %s", err, w.scratch)
		}
	}
	if err := w.login(ctx); err != nil {
		return w, err
	}
	return w, errors.Join(w.people(ctx), w.open(ctx), w.preparePgbench(ctx))
}

// start starts a process that ends with the world.
func (w *world) start(env []string, log, program string, args ...string) (*exec.Cmd, error) {
	out, err := os.Create(filepath.Join(w.scratch, log))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, out, out
	return cmd, cmd.Start()
}

func (w *world) close() {
	for _, cmd := range []*exec.Cmd{w.server, w.baselines} {
		if cmd != nil && cmd.Process != nil {
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Wait()
		}
	}
	_ = os.RemoveAll(w.scratch)
}

// call is one request of the preparations.
func (w *world) call(ctx context.Context, path, key string, in, out any) error {
	return backend.Call(ctx, w.api, http.MethodPost, path, w.token, key, in, out)
}

func (w *world) login(ctx context.Context) (err error) {
	w.token, err = backend.Login(ctx, w.api, operatorEmail, w.password)
	return err
}

// open opens the accounts, and brings money in.
func (w *world) open(ctx context.Context) error {
	account := func(in map[string]string) (id string, err error) {
		var out struct{ ID string }
		err = w.call(ctx, "/v1/accounts", "", in, &out)
		return out.ID, err
	}
	var err error
	if w.outside, err = account(map[string]string{"currency": "EUR", "kind": "external"}); err != nil {
		return err
	}
	for range accounts {
		id, err := account(map[string]string{"currency": "EUR"})
		if err != nil {
			return err
		}
		w.ids = append(w.ids, id)
	}
	for at := 0; at < len(w.ids); at += 50 {
		var postings []map[string]any
		for _, id := range w.ids[at:min(at+50, len(w.ids))] {
			postings = append(postings, map[string]any{"from": w.outside, "to": id, "amount": fill, "currency": "EUR"})
		}
		var out any
		if err := w.call(ctx, "/v1/transactions", w.began+"-fill-"+strconv.Itoa(at), map[string]any{"postings": postings}, &out); err != nil {
			return err
		}
	}
	return nil
}

// rows are the table.
func (w *world) rows(each time.Duration) []row {
	over := func(address string, n int, want string, request func(client, n int, buf []byte) []byte) func() (result, error) {
		return func() (result, error) {
			return load{address: address, clients: n, request: request, want: want}.run(each)
		}
	}
	spread := func(client, n int) (from, to string) {
		at := (client*7919 + n*104729) % accounts
		return w.ids[at], w.ids[(at+1+n%(accounts-1))%accounts]
	}
	hot := func(client, n int) (from, to string) {
		from, to = spread(client, n)
		if n%2 == 0 && from != w.ids[0] {
			to = w.ids[0]
		}
		return from, to
	}
	run := 0
	pay := func(path string, choose func(client, n int) (from, to string)) func(client, n int, buf []byte) []byte {
		run++
		prefix := w.began + "-" + strconv.Itoa(run) + "-"
		return func(client, n int, buf []byte) []byte {
			from, to := choose(client, n)
			if from == to {
				to = w.ids[(client+1)%accounts]
			}
			key := strconv.AppendInt(append(strconv.AppendInt([]byte(prefix), int64(client), 10), '-'), time.Now().UnixNano(), 10)
			return w.post(buf, path, key, from, to)
		}
	}
	get := func(path func(client, n int) string) func(client, n int, buf []byte) []byte {
		return func(client, n int, buf []byte) []byte { return w.get(buf, path(client, n)) }
	}
	const posting, reading = "/v1/transactions", "200"
	rows := []row{
		{name: "payments, spread out", own: true, against: "pgbench", atLeast: 1, measure: over(w.api, clients, "201", pay(posting, spread))},
		{name: "payments, half of all into one account", own: true, against: "pgbench", atLeast: 1, measure: over(w.api, clients, "201", pay(posting, hot))},
		{name: "payments, half into one, against the classic way", own: true, against: "classic, half into one", atLeast: 4, measure: over(w.api, clients, "201", pay(posting, hot))},
		{name: "classic, half into one", measure: over(w.baseline, clients, "201", pay("/classic", hot))},
		{name: "GET /v1/accounts/{id}", own: true, against: "a constant", atLeast: 0.25, measure: over(w.api, clients, reading, get(func(c, n int) string { return "/v1/accounts/" + w.ids[(c*7919+n)%accounts] }))},
		{name: "GET /v1/users/me", own: true, against: "a constant", atLeast: 0.25, measure: over(w.api, clients, reading, get(func(int, int) string { return "/v1/users/me" }))},
		{name: "a constant", measure: over(w.baseline, clients, reading, get(func(int, int) string { return "/constant" }))},
		{name: "payments, one client", own: true, against: "classic, one client", atMost: 1.1, measure: over(w.api, 1, "201", pay(posting, spread))},
		{name: "classic, one client", measure: over(w.baseline, 1, "201", pay("/classic", spread))},
	}
	if w.pgbenchVersion != "" {
		rows = append(rows, row{name: "pgbench", measure: func() (result, error) { return w.pgbench(each) }})
	}
	return rows
}

func (w *world) get(buf []byte, path string) []byte {
	buf = append(append(append(buf, "GET "...), path...), " HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer "...)
	return append(append(buf, w.token...), "\r\n\r\n"...)
}

func (w *world) post(buf []byte, path string, key []byte, from, to string) []byte {
	const length = len(`{"postings":[{"from":"","to":"","amount":1,"currency":"EUR"}]}`) + 72
	buf = append(append(append(buf, "POST "...), path...), " HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nAuthorization: Bearer "...)
	buf = append(append(append(append(buf, w.token...), "\r\nIdempotency-Key: "...), key...), "\r\nContent-Length: "...)
	buf = append(strconv.AppendInt(buf, int64(length), 10), "\r\n\r\n{\"postings\":[{\"from\":\""...)
	return append(append(append(append(buf, from...), `","to":"`...), to...), `","amount":1,"currency":"EUR"}]}`...)
}

const pgbenchDatabase = "bench_pgbench"

// preparePgbench makes the tables of pgbench, in a database of their own. Where there is no pgbench the rows that need it have no ratio.
func (w *world) preparePgbench(ctx context.Context) error {
	version, err := exec.CommandContext(ctx, "pgbench", "--version").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "there is no pgbench here, so what is held against it is not: apt install postgresql-contrib, or the like")
		return nil
	}
	conn, err := pgx.Connect(ctx, w.database)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "drop database if exists "+pgbenchDatabase)
	if err == nil {
		_, err = conn.Exec(ctx, "create database "+pgbenchDatabase)
	}
	if err != nil {
		return err
	}
	if out, err := w.pgbenchCommand("-i", "-q", "-s", "20").CombinedOutput(); err != nil {
		return fmt.Errorf("pgbench -i: %w\n%s", err, out)
	}
	w.pgbenchVersion = string(version)
	return nil
}

func (w *world) pgbenchCommand(args ...string) *exec.Cmd {
	c, err := pgx.ParseConfig(w.database)
	if err != nil {
		c = &pgx.ConnConfig{}
	}
	cmd := exec.Command("pgbench", append(args, pgbenchDatabase)...)
	cmd.Env = append(os.Environ(), "PGHOST="+c.Host, "PGPORT="+strconv.Itoa(int(c.Port)), "PGUSER="+c.User, "PGPASSWORD="+c.Password)
	return cmd
}

// pgbench runs its own standard mix, as long as the other rows with their warm-up.
func (w *world) pgbench(each time.Duration) (result, error) {
	out, err := w.pgbenchCommand("-b", "tpcb-like", "-c", "32", "-j", "2", "-M", "prepared", "-n", "-T", strconv.Itoa(int((warmUp + each).Seconds()))).CombinedOutput()
	if err != nil {
		return result{}, fmt.Errorf("%w\n%s", err, out)
	}
	tps := regexp.MustCompile(`(?m)^tps = ([0-9.]+)`).FindSubmatch(out)
	average := regexp.MustCompile(`(?m)^latency average = ([0-9.]+) ms`).FindSubmatch(out)
	if tps == nil || average == nil {
		return result{}, fmt.Errorf("pgbench says something else than tps\n%s", out)
	}
	perSecond, err := strconv.ParseFloat(string(tps[1]), 64)
	mean, err2 := time.ParseDuration(string(average[1]) + "ms")
	times := make([]time.Duration, int(perSecond*each.Seconds())) // it tells the average only
	for i := range times {
		times[i] = mean
	}
	return result{each, times}, errors.Join(err, err2)
}
