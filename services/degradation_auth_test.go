package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/faulty"
)

// through puts a proxy that fails on command before the server of a URL.
func through(t *testing.T, address string) (*faulty.Proxy, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	p := faulty.New(t, u.Host)
	u.Host = p.Addr()
	return p, u.String()
}

// asked is how the program answers while something fails: statuses, and how long the slowest answer took.
type asked struct {
	statuses string
	slowest  time.Duration
}

// asker asks the program what people ask, one after the other.
type asker struct {
	*stage
	admin, access string
	// only with transactions:
	keys []string // of the payments that were sent
	// end transactions
}

// ask reports what a login, a profile, a payment and the two probes are answered.
func (a *asker) ask() (got asked) {
	a.t.Helper()
	send := func(name, method, address, token string, body any, header ...string) {
		text, err := json.Marshal(body)
		if err != nil {
			a.t.Fatal(err)
		}
		req, err := http.NewRequest(method, address, bytes.NewReader(text))
		if err != nil {
			a.t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		began := time.Now()
		status, d, _ := fetch(a.t, req)
		got.slowest = max(got.slowest, time.Since(began))
		got.statuses += fmt.Sprintf("%s %d", name, status)
		if status >= 500 && d.Code != "" {
			got.statuses += " " + d.Code
		}
		got.statuses += ", "
	}
	send("login", http.MethodPost, a.url+"/v1/auth/login", "", map[string]string{"email": "alice@example.com", "password": "the long password of alice@example.com"})
	// only with users:
	send("profile", http.MethodGet, a.url+"/v1/users/me", a.access, nil)
	// end users
	// only with transactions:
	a.keys = append(a.keys, uuid.NewString())
	send("payment", http.MethodPost, a.url+"/v1/transactions", a.access, a.payment(), "Idempotency-Key", a.keys[len(a.keys)-1])
	// end transactions
	send("ready", http.MethodGet, a.admin+"/readyz", "", nil)
	send("alive", http.MethodGet, a.admin+"/livez", "", nil)
	got.statuses = strings.TrimSuffix(got.statuses, ", ")
	return got
}

// failing is the answers with some of them 503.
func failing(well string, names ...string) string {
	answers := strings.Split(well, ", ")
	for i, answer := range answers {
		switch name, _, _ := strings.Cut(answer, " "); {
		case !slices.Contains(names, name):
		case name == "ready":
			answers[i] = "ready 503"
		default:
			answers[i] = name + " 503 dependency-unavailable"
		}
	}
	return strings.Join(answers, ", ")
}

// TestWhenAPartFails is the table of docs/staying-up.md: what is answered while a part fails, and that all is well after it, with nothing done
// twice.
func TestWhenAPartFails(t *testing.T) {
	if os.Getenv("NEED_FAILURES") == "" {
		t.Skip("waits for what fails, most of half a minute: `make failures` runs it")
	}
	t.Parallel()
	env := with(world(t), "AUTH_CLIENT_SECRET", "a secret of auth that is long enough", "REQUEST_TIMEOUT", "4s")
	owner := env["DATABASE_URL"]
	postgres, database := through(t, owner)
	redis, cache := through(t, env["REDIS_URL"])
	collector, telemetry := through(t, "http://127.0.0.1:9")
	collector.Refuse()
	mine := map[string]*faulty.Proxy{} // in front of that of all
	for _, m := range migrations.Modules() {
		login, err := migrations.LocalURL(database, m)
		if err != nil {
			t.Fatal(err)
		}
		mine[m], env[strings.ToUpper(m)+"_DATABASE_URL"] = through(t, login)
	}
	p := start(t, with(env, "DATABASE_URL", database, "REDIS_URL", cache, "OTEL_EXPORTER_OTLP_ENDPOINT", telemetry))
	st := &teller{t: t, url: p.url}
	st.gather(env)
	a := &asker{stage: newStage(t, st, env), admin: p.admin}
	a.access = a.tokens["the owner"]()
	well := a.ask().statuses // with the collector down
	if want := failing(well); strings.Contains(want, "503") || strings.Contains(want, "500") {
		t.Fatalf("before anything fails: %s", well)
	}
	maintenance, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(maintenance.Path, "/")
	maintenance.Path = "/postgres"
	onDatabase := func(what string) {
		execIn(t, maintenance.String(), `alter database `+pgx.Identifier{name}.Sanitize()+` `+what)
		postgres.Cut()
	}
	flapping := make(chan struct{})
	var flaps sync.WaitGroup
	type row struct {
		what, want string
		fail, mend func()
	}
	rows := []row{
		{"Redis is refused", well, redis.Refuse, redis.Pass},
		{"Redis is black-holed", well, redis.Hole, redis.Pass},
		{"Redis is slow", well, func() { redis.Slow(200 * time.Millisecond) }, redis.Pass},
		{"Redis flaps", well, func() {
			flaps.Go(func() {
				for {
					select {
					case <-flapping:
						return
					case <-time.After(20 * time.Millisecond):
						redis.Cut()
					}
				}
			})
		}, func() { close(flapping); flaps.Wait() }},
		{"Postgres is refused", failing(well, "login", "payment", "ready"), postgres.Refuse, postgres.Pass},
		{"Postgres is black-holed", failing(well, "login", "payment", "ready"), postgres.Hole, postgres.Pass},
		{"Postgres is slow", well, func() { postgres.Slow(20 * time.Millisecond) }, postgres.Pass},
		{"Postgres has no connection left", failing(well, "login", "payment", "ready"), func() { onDatabase("connection limit 0") }, func() { onDatabase("connection limit -1") }},
		{"Postgres takes no writes", failing(well, "login", "payment"), func() { onDatabase("set default_transaction_read_only = on") }, func() { onDatabase("reset default_transaction_read_only") }},
	}
	rows = append(rows, row{"the log cannot be written", well, func() {
		p.logs.disk.Lock()
		for range 1000 { // more than the system keeps for it
			fetch(t, get(p.url+"/nothing"))
		}
	}, p.logs.disk.Unlock})
	for m, asked := range map[string][]string{"auth": {"login"}, "transactions": {"payment"}, "users": nil} { // profiles come from Redis
		if mine[m] != nil && len(mine) > 1 {
			rows = append(rows, row{"the database of " + m + " hangs", failing(well, asked...), mine[m].Hole, mine[m].Pass})
		}
	}
	var toDegrade, toRecover time.Duration
	for _, c := range rows {
		c.fail()
		began := time.Now()
		var slowest time.Duration
		eventually(t, c.what+": "+c.want, func() bool {
			got := a.ask()
			slowest = got.slowest
			return got.statuses == c.want
		})
		degraded := time.Since(began)
		c.mend()
		began = time.Now()
		eventually(t, c.what+", and is mended", func() bool { return a.ask().statuses == well })
		again := time.Since(began)
		eventually(t, "everything is looked at again", func() bool {
			_, _, body := fetch(t, get(p.admin+"/readyz?verbose"))
			return bytes.Contains(body, []byte(`"ok"`)) && !bytes.Contains(body, []byte("degraded")) && !bytes.Contains(body, []byte("failed"))
		})
		toDegrade, toRecover = max(toDegrade, degraded), max(toRecover, again)
		t.Logf("%s: answered like that after %s (the slowest in %s), well again after %s", c.what,
			degraded.Round(time.Millisecond), slowest.Round(time.Millisecond), again.Round(time.Millisecond))
	}
	t.Attr("figure", fmt.Sprintf("%d parts failed; degraded after %s at most, well again after %s at most", len(rows), toDegrade.Round(100*time.Millisecond), toRecover.Round(100*time.Millisecond)))
	postgres.Cut() // as a restart does
	eventually(t, "after a restart of Postgres", func() bool { return a.ask().statuses == well })
	// only with transactions:
	for _, key := range a.keys { // whoever did not hear asks again
		body, _ := json.Marshal(a.payment())
		if code, answer := a.send(http.MethodPost, "/v1/transactions", a.access, "application/json", body, "Idempotency-Key", key); code != "" {
			t.Fatalf("a payment that is sent again: %s", answer)
		}
	}
	_, answer := a.send(http.MethodGet, "/v1/accounts/"+a.till, a.access, "", nil)
	if want := fmt.Sprintf(`"posted":%d}`, len(a.keys)); !bytes.Contains(answer, []byte(want)) {
		t.Errorf("of %d payments, each sent twice at least: %s", len(a.keys), answer)
	}
	// end transactions
	collector.Pass()
	collector.Hole()
	a.ask()
	p.stop(t) // in good order, although nobody takes the last spans
}
