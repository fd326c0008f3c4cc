// only with auth, transactions: this file

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/gatewaytest"
)

// expansions are what the next releases add to tables in use, as docs/change-the-database.md has it: release after release, each with the
// migrations of those before it.
var expansions = [][]string{
	{"alter table transactions.balances add column note text not null default 'none';"},
	{"-- +goose NO TRANSACTION\nset lock_timeout = 0;\ndrop index concurrently if exists transactions.balances_note;\n" +
		"create index concurrently balances_note on transactions.balances (note);\nreset lock_timeout;"},
	{"alter table transactions.balances add constraint balances_note_check check (length(note) < 100) not valid;",
		"alter table transactions.balances validate constraint balances_note_check;"},
}

// releases builds the program of each release after this one: the same, with more migrations.
func releases(t *testing.T) (programs []string) {
	t.Helper()
	root, folder := gatewaytest.Root(t), t.TempDir()
	replaced := map[string]string{}
	version := migrations.Version("transactions")
	for i, files := range expansions {
		for _, sql := range files {
			version++
			file := filepath.Join(folder, fmt.Sprintf("%04d_expand.sql", version))
			if err := os.WriteFile(file, []byte("-- +goose Up\n"+sql+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			replaced[filepath.Join(root, "migrations/transactions", filepath.Base(file))] = file
		}
		overlay, err := json.Marshal(map[string]any{"Replace": replaced})
		list, program := filepath.Join(folder, fmt.Sprintf("overlay-%d.json", i)), filepath.Join(folder, fmt.Sprintf("release-%d", i))
		if err == nil {
			err = os.WriteFile(list, overlay, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		build := exec.Command("go", "build", "-overlay", list, "-o", program, "./services")
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("release %d: %v\n%s", i+1, err, out)
		}
		programs = append(programs, program)
	}
	return programs
}

// handled is how many requests an instance has answered for the gateway.
func (p *program) handled(t *testing.T) (n int) {
	t.Helper()
	_, _, body := fetch(t, get(p.admin+"/metrics"))
	for _, m := range regexp.MustCompile(`(?m)^http_server_request_duration_seconds_count\{.*http_route="/v1/transactions".*\} (\d+)$`).FindAllSubmatch(body, -1) {
		one, _ := strconv.Atoi(string(m[1]))
		n += one
	}
	return n
}

// TestRollingRestarts replaces both instances of the whole program, one after the other, under payments and reads, by releases that each bring
// a migration. Nobody notices.
func TestRollingRestarts(t *testing.T) {
	if os.Getenv("NEED_ROLLING") == "" {
		t.Skip("builds three releases and replaces instances for half a minute: `make rolling` runs it")
	}
	t.Parallel()
	times := 3
	if text := os.Getenv("ROLLING_TIMES"); text != "" {
		var err error
		if times, err = strconv.Atoi(text); err != nil || times < len(expansions) {
			t.Fatalf("ROLLING_TIMES is %q, and there are %d releases", text, len(expansions))
		}
	}
	programs := releases(t)
	gateway, addresses := free(t), []string{free(t), free(t)}
	env := with(world(t), "ISSUER", "http://"+gateway, "TRUSTED_PROXIES", "127.0.0.1/32", "DRAIN_DELAY", "2s", "LOG_LEVEL", "warn")
	var running []*program
	upstreams := map[string][]string{}
	for _, address := range addresses {
		running = append(running, start(t, with(env, "HTTP_ADDR", address)))
	}
	for _, m := range migrations.Modules() {
		upstreams[m] = addresses
	}
	if out, err := command(t, env, "operator").CombinedOutput(); err != nil {
		t.Fatalf("operator: %v\n%s", err, out)
	}
	gatewaytest.Start(t, gateway, upstreams)
	s := &teller{t: t, url: "http://" + gateway}
	operator := s.login(env["OPERATOR_EMAIL"], env["OPERATOR_PASSWORD"])
	// only with users:
	eventually(t, "the operator has a profile", func() bool {
		me, err := s.quiet(operator).users().GetMeWithResponse(t.Context(), nil)
		s.must(err)
		return me.JSON200 != nil
	})
	// end users
	p := newPayers(s, operator)
	const workers = 6
	p.begin(workers,
		// only with users:
		"/v1/users/me",
		// end users
		"/v1/accounts/"+p.to.String(), "/v1/accounts/"+p.to.String()+"/entries", "/v1/auth/sessions", "/.well-known/jwks.json")
	began, late := time.Now(), time.Now()

	for turn := range times {
		now := programs[min(turn, len(programs)-1)]
		migrate := command(t, env, "migrate", "up")
		migrate.Path = now
		out, err := migrate.CombinedOutput()
		if err != nil {
			t.Fatalf("migrate: %v\n%s", err, out)
		}
		if turn < len(programs) && len(out) == 0 {
			t.Fatalf("release %d brings no migration", turn+1)
		}
		for i, address := range addresses {
			before := p.made.Load()
			running[i].stop(t) // it drains first
			running[i] = startOf(t, now, with(env, "HTTP_ADDR", address))
			if p.made.Load() == before {
				t.Errorf("while instance %d was replaced, nobody paid", i)
			}
			eventually(t, "the new instance is used", func() bool { return running[i].handled(t) > 20 })
		}
		if time.Since(late) > 2*time.Minute { // a token lives five
			late, operator = time.Now(), s.login(env["OPERATOR_EMAIL"], env["OPERATOR_PASSWORD"])
			p.token.Store(&operator.token)
			p.operator = operator
		}
		t.Logf("both instances are replaced for the %d. time, after %s: %d payments, %d requests went wrong", turn+1, time.Since(began).Round(time.Second), p.made.Load(), p.bad())
	}
	answers := p.end()
	if bad := p.bad(); bad > 0 {
		t.Errorf("%d requests went wrong", bad)
	}
	if dials := p.dials.Load(); dials != workers {
		t.Errorf("%d workers needed %d connections: one broke, and its request may have been sent again", workers, dials)
	}
	db, err := pgx.Connect(t.Context(), env["DATABASE_URL"])
	s.must(err)
	defer db.Close(t.Context())
	var booked, notes, valid int64
	s.must(db.QueryRow(t.Context(), `select (select count(*) from transactions.transactions), (select count(*) from transactions.balances where note = 'none'),
		(select count(*) from pg_constraint where conname = 'balances_note_check' and convalidated)`).Scan(&booked, &notes, &valid))
	if made := p.made.Load(); booked != made || p.booked(s) != made || made == 0 {
		t.Errorf("%d payments were answered as made, the ledger has %d, and the account %d", made, booked, p.booked(s))
	}
	if notes != 2 || valid != 1 {
		t.Errorf("the migrations left %d balances with a note and %d constraints", notes, valid)
	}
	t.Attr("figure", fmt.Sprintf("%d replacements under %d payments and as many reads, %d requests went wrong, %d booked", 2*times, p.made.Load(), p.bad(), booked))
	t.Logf("%d replacements in %s: %d payments, %d in the ledger, over %d connections; all answers: %s", 2*times, time.Since(began).Round(time.Second), p.made.Load(), booked, p.dials.Load(), answers)
}
