package transactions

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
)

// busyBank is a bank in which everything has happened that a ledger knows.
func busyBank(t *testing.T) (b *bank, paid, reversed, held, captured uuid.UUID) {
	t.Helper()
	b = newBank(t, 3, 1000)
	owner, operator := b.actor(b.owner), b.operator()
	paid = owner.pay(b.accounts[0], b.accounts[1], 100).Id
	owner.pay(b.accounts[1], b.accounts[2], 50)
	resp := operator.reverse("back", owner.pay(b.accounts[0], b.accounts[2], 7).Id)
	if resp.JSON201 == nil {
		t.Fatalf("%s", resp.Body)
	}
	held = owner.held(b.accounts[0], b.accounts[1], 20)
	taken := owner.capture(owner.held(b.accounts[0], b.accounts[1], 30), new(int64(10)))
	if taken.JSON200 == nil {
		t.Fatalf("%s", taken.Body)
	}
	owner.void(owner.held(b.accounts[0], b.accounts[1], 1))
	owner.post("refused", payment(b.accounts[0], b.accounts[1], 1_000_000))
	return b, paid, resp.JSON201.Id, held, *taken.JSON200.TransactionId
}

// broken are the invariants that a run finds broken.
func (b *bank) broken(full bool) (names []string) {
	b.t.Helper()
	c := &check{store: b.store, log: slog.New(slog.DiscardHandler)}
	if err := c.Work(b.t.Context(), &river.Job[checkArgs]{Args: checkArgs{IsFull: full}}); err != nil {
		b.t.Fatal(err)
	}
	run, err := b.store.lastRun(b.t.Context())
	if err != nil || run.FinishedAt == nil || full && !run.IsFull || run.Checks != len(invariants) {
		b.t.Fatalf("the run: %+v, %v", run, err)
	}
	for _, f := range run.Failures {
		if f.Found == 0 || len(f.Examples) == 0 {
			b.t.Errorf("%s says where in %d places: %q", f.Invariant, f.Found, f.Examples)
		}
		names = append(names, f.Invariant)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Somebody with every right changes the tables by hand, past every constraint. Each change is found, by the run over everything and by the
// one over what is recent.
func TestPlantedCorruptionIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql  string // with the ids of what happened as %[1]s …: paid, reversal, held, captured, account
		want []string
	}{
		"nothing":                      {"select", nil},
		"a balance is raised":          {"update balances set posted = posted + 1, updated_at = now() where account_id = '%[5]s'", []string{"I2", "I3"}},
		"money moves without entries":  {"update balances set posted = posted + case account_id when '%[5]s' then 1 else -1 end, updated_at = now() where account_id in ('%[5]s', (select account_id from balances where floor is null))", []string{"I3"}},
		"a balance is overdrawn":       {"update balances set held = 5000 where account_id = '%[5]s'", []string{"I5", "I6"}},
		"a hold is forgotten":          {"update balances set held = 0 where account_id = '%[5]s'", []string{"I5"}},
		"a hold is open again":         {"update holds set status = 'open', captured_amount = null, transaction_id = null where transaction_id = '%[4]s'", []string{"I5", "I7"}},
		"a capture took more":          {"update holds set captured_amount = captured_amount + 1 where transaction_id = '%[4]s'", []string{"I7"}},
		"an entry is deleted":          {"delete from entries where transaction_id = '%[1]s' and seq = 1", []string{"I1", "I3", "I4"}},
		"an entry is changed":          {"update entries set amount = amount - 1 where transaction_id = '%[1]s' and seq = 1", []string{"I1", "I3"}},
		"both entries are changed":     {"update entries set amount = amount * 2 where transaction_id = '%[1]s'", []string{"I3"}},
		"the newest entries go":        {"delete from entries e using (select account_id, max(account_version) as v from entries group by 1) n where e.account_id = n.account_id and e.account_version = n.v", []string{"I1", "I3", "I7", "I8"}},
		"a version is skipped":         {"update entries set account_version = account_version + 100 where account_id = '%[5]s' and account_version > 1", []string{"I3", "I4"}},
		"a transaction has no entries": {"delete from entries where transaction_id = '%[1]s'", []string{"I1", "I3", "I4"}},
		"a reversal is forgotten":      {"delete from transaction_reversals", []string{"I8"}},
		"a reversal is of another":     {"update transaction_reversals set original_id = '%[1]s'", []string{"I8"}},
		"two keys have one effect":     {"insert into idempotency_keys select principal_id, 'other', fingerprint, status, headers, body, created_at, expires_at from idempotency_keys where headers ? 'Location' limit 1", []string{"I9"}},
		"a payment is said to be none": {"update idempotency_keys set status = 422, headers = '{}' where right(headers -> 'Location' ->> 0, 36) = '%[1]s'", []string{"I9"}},
		"a hold's key is gone":         {"delete from idempotency_keys where right(headers -> 'Location' ->> 0, 36) = '%[3]s'", []string{"I9"}},
		"an effect of a key is gone":   {"update idempotency_keys set headers = '{\"Location\": [\"/v1/holds/01900000-0000-7000-8000-000000000000\"]}' where key = (select min(key) from idempotency_keys where headers ? 'Location')", []string{"I9"}},
		"a capture went elsewhere":     {"update holds set destination_account_id = gen_random_uuid() where transaction_id = '%[4]s'", []string{"I7"}},
		"a transfer is a capture":      {"update holds set status = 'captured', captured_amount = amount, transaction_id = '%[1]s' where id = '%[3]s'", []string{"I5", "I7"}},
		"a transfer is a reversal":     {"insert into transaction_reversals values ('%[4]s', '%[1]s')", []string{"I8"}},
		"a guard of sums is gone":      {"drop trigger entries_check on entries", []string{"I11"}},
		"a guard of holds is gone":     {"drop trigger holds_end_once on holds", []string{"I11"}},
		"holds may be deleted":         {"grant delete on holds to groundwork_transactions", []string{"I11"}},
		"a guard looks away":           {"drop trigger entries_append_only on entries; create trigger entries_append_only before update or delete or truncate on entries for each statement when (false) execute function refuse_change()", []string{"I11"}},
		"a guard sleeps":               {"drop trigger entries_append_only on entries; create trigger entries_append_only before truncate on entries for each statement execute function refuse_change()", []string{"I11"}},
		"guards are gone for good":     {"drop function refuse_change() cascade; update balances set posted = posted + 5, updated_at = now() where account_id = '%[5]s'", []string{"I11", "I2", "I3"}},
		"entries may come late":        {"grant insert (created_xid) on transactions to groundwork_transactions", []string{"I11"}},
		"customers may owe":            {"update balances set floor = null where account_id = '%[5]s'", []string{"I6"}},
		"floors may be moved":          {"grant update (floor) on balances to groundwork_transactions", []string{"I11"}},
		"a balance is gone":            {"update accounts set created_at = now() where id = '%[5]s'; delete from balances where account_id = '%[5]s'", []string{"I2", "I3"}},
		"a key leads nowhere":          {"update idempotency_keys set headers = '{\"Location\": [\"/v1/transactions/nonsense\"]}' where right(headers -> 'Location' ->> 0, 36) = '%[1]s'", []string{"I9"}},
		"a guard lets all pass":        {"create or replace function refuse_change() returns trigger language plpgsql as 'begin return new; end'", []string{"I11"}},
		"a guard is at peace":          {"alter table transaction_references disable trigger user", []string{"I11"}},
		"holds may be moved":           {"grant update (account_id) on holds to groundwork_transactions", []string{"I11"}},
		"guards may be added":          {"grant trigger on entries to groundwork_transactions", []string{"I11"}},
		"history is unlocked":          {"grant update (amount) on entries to groundwork_transactions", []string{"I11"}},
		"a trigger is gone":            {"drop trigger transaction_references_append_only on transaction_references", []string{"I11"}},
	} {
		t.Run(name, func(t *testing.T) {
			b, paid, reversal, held, captured := busyBank(t)
			owner := b.db.Owner()
			exec := func(sql string) {
				t.Helper()
				if _, err := owner.Exec(t.Context(), sql); err != nil {
					t.Fatalf("%v: %s", err, sql)
				}
			}
			if got := b.broken(false); got != nil {
				t.Fatalf("before: %q", got)
			}
			exec("set search_path to transactions")
			var rules string
			if err := owner.QueryRow(t.Context(), `
				select string_agg(format('alter table %I drop constraint if exists %I cascade;', conrelid::regclass, conname), ' ')
				from pg_constraint where connamespace = 'transactions'::regnamespace and contype in ('c', 'f', 'u', 'p')
				and conrelid in ('balances'::regclass, 'entries'::regclass, 'holds'::regclass, 'transaction_reversals'::regclass)`).Scan(&rules); err != nil {
				t.Fatal(err)
			}
			exec(rules)
			tables := []string{"entries", "holds", "transactions", "transaction_reversals"}
			for _, table := range tables {
				exec("alter table " + table + " disable trigger user")
			}
			exec(fmt.Sprintf(c.sql+" -- %[1]s %[2]s %[3]s %[4]s %[5]s", paid, reversal, held, captured, b.accounts[0]))
			for _, table := range tables {
				exec("alter table " + table + " enable trigger user")
			}
			for _, full := range []bool{false, true} {
				if got := b.broken(full); !slices.Equal(got, c.want) {
					t.Errorf("full %v: found %q, want %q", full, got, c.want)
				}
			}
		})
	}
}

// What is broken is found again and again, however long ago it was, until it is put right.
func TestAFailureIsNotForgotten(t *testing.T) {
	b, paid, _, _, _ := busyBank(t)
	owner := b.db.Owner()
	exec := func(sql string) {
		t.Helper()
		if _, err := owner.Exec(t.Context(), "set search_path to transactions; alter table entries disable trigger user; "+sql); err != nil {
			t.Fatal(err)
		}
	}
	want := func(full bool, want ...string) {
		t.Helper()
		if got := b.broken(full); !slices.Equal(got, want) {
			t.Errorf("full %v: found %q, want %q", full, got, want)
		}
		exec("update integrity_runs set started_at = started_at + interval '1 hour'; alter table entries enable trigger user") // and time goes by
	}
	want(false)
	want(false)
	exec("update entries set balance_after = balance_after + 1 where transaction_id = '" + paid.String() + "'")
	exec("alter table entries enable trigger user")
	want(false) // it is too long ago to be looked at
	want(true, "I3")
	want(false, "I3")
	want(false, "I3")
	exec("update entries set balance_after = balance_after - 1 where transaction_id = '" + paid.String() + "'")
	exec("alter table entries enable trigger user")
	want(false)
	want(false)
}

// A run over everything takes long, and others begin and pass beside it: what it finds in the end is not covered by them.
func TestALongRunThatFailsIsTheLast(t *testing.T) {
	b := newBank(t, 1, 10)
	ctx := t.Context()
	begin := func(full bool) integrityRun {
		t.Helper()
		id, now, _ := stamp()
		run, err := b.store.startRun(ctx, integrityRun{ID: id, IsFull: full, StartedAt: now}, nil)
		if err != nil || run.IsFull != full {
			t.Fatalf("%+v %v", run, err)
		}
		return run
	}
	finish := func(run integrityRun, failures ...integrityFailure) {
		t.Helper()
		run.Failures = failures
		if err := b.store.finishRun(ctx, run); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, id uuid.UUID, sinceEver bool) {
		t.Helper()
		run, err := b.store.lastRun(ctx)
		until, err2 := b.store.checkedUntil(ctx, time.Now())
		if err != nil || err2 != nil || run.ID != id || until.IsZero() != sinceEver {
			t.Errorf("%s: the last run is %+v, %v, and all held until %s, %v", what, run, err, until, err2)
		}
	}
	first := begin(false)
	want("the first has begun", first.ID, true)
	finish(first)
	long := begin(true)
	if again := begin(true); again.ID != long.ID {
		t.Error("two runs over everything at once")
	}
	beside := begin(false)
	finish(beside)
	want("one passes beside a long one", long.ID, false)
	finish(long, integrityFailure{"I3", "a rule", 1, []string{"x"}})
	want("the long one fails", long.ID, true)
	finish(begin(false))
	want("another passes", long.ID, true)
	mended := begin(true)
	finish(mended)
	want("one over everything passes", mended.ID, false)
	last := begin(false)
	finish(last)
	want("and another one", last.ID, false)
}

func TestARunIsStartedAndRead(t *testing.T) {
	b, _, _, _, _ := busyBank(t)
	operator := b.operator()
	read := func() *transactionsv1.GetIntegrityResponse {
		t.Helper()
		resp, err := operator.GetIntegrityWithResponse(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if resp := read(); resp.StatusCode() != 404 {
		t.Errorf("before the first run: %s", resp.Body)
	}
	start := func() uuid.UUID {
		t.Helper()
		resp, err := operator.StartIntegrityWithResponse(t.Context())
		if err != nil || resp.JSON202 == nil || resp.JSON202.Status != "running" || !resp.JSON202.IsFull {
			t.Fatalf("%v %s", err, resp.Body)
		}
		return resp.JSON202.Id
	}
	id := start()
	if again := start(); again != id {
		t.Error("two runs at once")
	}
	running := read()
	if running.JSON200 == nil || running.JSON200.Id != id || running.JSON200.Status != "running" {
		t.Errorf("%s", running.Body)
	}
	if err := b.Jobs().Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Jobs().Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var finished bool
		if err := b.store.db.QueryRow(t.Context(), `select finished_at is not null from integrity_runs where id = $1`, id).Scan(&finished); err != nil {
			t.Fatal(err)
		}
		if finished {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the run does not end")
		}
	}
	if resp := read(); resp.JSON200 == nil || resp.JSON200.Status == "failed" || resp.HTTPResponse.Header.Get("ETag") == running.HTTPResponse.Header.Get("ETag") {
		t.Errorf("%s", resp.Body)
	}
	if next := start(); next == id {
		t.Error("a run that has ended is answered as one that runs")
	}
	if resp, err := b.person().GetIntegrityWithResponse(t.Context(), nil); err != nil || codeOf(resp.Body) != "insufficient-scope" {
		t.Errorf("by somebody: %v %s", err, resp.Body)
	}
}

// Once a day everything is looked at, when the program did not run at that hour, too.
func TestEveryNightAtThree(t *testing.T) {
	for now, want := range map[string]string{
		"2026-11-24T02:59:59Z": "2026-11-23T03:00:00Z", "2026-11-24T03:00:00Z": "2026-11-24T03:00:00Z",
		"2026-12-31T23:30:00-02:00": "2026-12-31T03:00:00Z", "2027-01-01T13:00:00+09:00": "2027-01-01T03:00:00Z",
	} {
		at, err := time.Parse(time.RFC3339, now)
		if got := lastNight(at).Format(time.RFC3339); err != nil || got != want {
			t.Errorf("at %s: %s, want %s; %v", now, got, want, err)
		}
	}
	b := newBank(t, 1, 10)
	b.broken(false) // the first is over everything
	b.broken(false)
	at := lastNight(time.Now().Add(24 * time.Hour))
	for _, c := range []struct {
		what     string
		now      time.Time
		wantFull bool
	}{
		{"the same day", at.Add(-time.Second), false},
		{"the next night", at.Add(time.Second), true},
		{"the next noon, after a night that the program missed", at.Add(9 * time.Hour), true},
	} {
		until, err := b.store.checkedUntil(t.Context(), c.now)
		if err != nil || until.IsZero() != c.wantFull {
			t.Errorf("%s: everything held until %s, %v", c.what, until, err)
		}
	}
	// One that came to no end is not made again at once: others look at what is recent meanwhile.
	id, _, _ := stamp()
	if _, err := b.store.startRun(t.Context(), integrityRun{ID: id, IsFull: true, StartedAt: at.Add(time.Second)}, nil); err != nil {
		t.Fatal(err)
	}
	for after, wantFull := range map[time.Duration]bool{checkEvery: false, checkAgain + time.Minute: true} {
		until, err := b.store.checkedUntil(t.Context(), at.Add(after))
		if err != nil || until.IsZero() != wantFull {
			t.Errorf("%s after one that died: everything held until %s, %v", after, until, err)
		}
	}
}

// Every instance tells what was found, whichever has looked, and how long ago that was.
func TestTheMetricsTellWhatWasFound(t *testing.T) {
	b, paid, _, _, _ := busyBank(t)
	reader := sdkmetric.NewManualReader()
	if err := watch(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test"), b.store); err != nil {
		t.Fatal(err)
	}
	read := func() (failures map[string]int64, ages map[string]float64) {
		t.Helper()
		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		failures, ages = map[string]int64{}, map[string]float64{}
		for _, scope := range all.ScopeMetrics {
			for _, m := range scope.Metrics {
				switch data := m.Data.(type) {
				case metricdata.Gauge[int64]:
					for _, p := range data.DataPoints {
						name, _ := p.Attributes.Value("invariant")
						failures[name.AsString()] = p.Value
					}
				case metricdata.Gauge[float64]:
					for _, p := range data.DataPoints {
						run, _ := p.Attributes.Value("run")
						ages[run.AsString()] = p.Value
					}
				}
			}
		}
		return failures, ages
	}
	if failures, ages := read(); len(failures)+len(ages) > 0 {
		t.Errorf("before the first run: %v %v", failures, ages)
	}
	b.broken(true)
	if failures, ages := read(); len(failures) < 9 || failures["I3"] != 0 || len(ages) != 2 || ages["any"] > 60 || ages["any"] != ages["full"] {
		t.Errorf("after a run: %v %v", failures, ages)
	}
	if _, err := b.db.Owner().Exec(t.Context(), `set search_path to transactions; alter table entries disable trigger user;
		update entries set balance_after = balance_after + 1 where transaction_id = '`+paid.String()+`';
		alter table entries enable trigger user; update integrity_runs set started_at = started_at - interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
	if failures, ages := read(); failures["I3"] != 0 || ages["any"] < 3600 {
		t.Errorf("an hour later: %v %v", failures, ages)
	}
	b.broken(true)
	if failures, ages := read(); failures["I3"] == 0 || failures["I1"] != 0 || ages["full"] > 60 {
		t.Errorf("after one that fails: %v %v", failures, ages)
	}
}
