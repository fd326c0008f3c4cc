package transactions

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/pkg/servertest"
)

// statements records what is sent to Postgres, each text once.
type statements struct {
	mu   sync.Mutex
	args map[string][]any
}

func (s *statements) note(sql string, args []any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.args[sql] = args
}

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.note(data.SQL, data.Args)
	return ctx
}
func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (s *statements) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	for _, q := range data.Batch.QueuedQueries {
		s.note(q.SQL, q.Arguments)
	}
	return ctx
}
func (s *statements) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (s *statements) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// plan is a node of what EXPLAIN says.
type plan struct {
	Node     string  `json:"Node Type"`
	Table    string  `json:"Relation Name"`
	Rows     float64 `json:"Plan Rows"`
	Children []plan  `json:"Plans"`
}

func (p plan) all() (nodes []plan) {
	nodes = append(nodes, p)
	for _, c := range p.Children {
		nodes = append(nodes, c.all()...)
	}
	return nodes
}

// Whatever the module asks while its story is told, it finds by an index, and it sorts no more than a page: nothing gets slower with history.
// The planner is asked as the owner, who may read row by row, with tables that are full.
func TestNothingGetsSlowerWithHistory(t *testing.T) {
	const page = 101 // what a list reads at the most
	b, paid, reversal, held, _ := busyBank(t)
	b.fill()
	var seen statements
	seen.args = map[string][]any{}
	config := b.store.db.Config()
	config.ConnConfig.Tracer = &seen
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	b.Module = b.instance(pool)
	b.Server = servertest.New(t, servertest.Module{Specs: [][]byte{transactionsv1.Spec}, Routes: b.Routes})
	b.story(paid, reversal, held)

	owner := b.db.Owner()
	if _, err := owner.Exec(t.Context(), "set search_path = transactions; set plan_cache_mode = force_generic_plan"); err != nil {
		t.Fatal(err)
	}
	explained := 0
	for sql, args := range seen.args {
		if first, _, _ := strings.Cut(strings.TrimSpace(sql), " "); !slices.Contains([]string{"select", "insert", "update", "delete", "with"}, strings.TrimSpace(first)) || strings.Contains(sql, "river_") {
			continue
		}
		var text []byte
		if err := owner.QueryRow(t.Context(), "explain (format json) "+sql, args...).Scan(&text); err != nil {
			t.Errorf("%v: %s", err, sql)
			continue
		}
		var explanation []struct{ Plan plan }
		if err := json.Unmarshal(text, &explanation); err != nil {
			t.Fatal(err)
		}
		explained++
		for _, n := range explanation[0].Plan.all() {
			if strings.Contains(n.Node, "Seq Scan") && n.Table != "" {
				t.Errorf("all of %s is read for\n%s\n%s", n.Table, sql, text)
			}
			if strings.Contains(n.Node, "Sort") && n.Rows > page {
				t.Errorf("%g rows are sorted for\n%s\n%s", n.Rows, sql, text)
			}
		}
	}
	if explained < 25 {
		t.Errorf("the story is told by %d statements only", explained)
	}
}

// fill makes history, past every rule: the planner wants to see full tables.
func (b *bank) fill() {
	b.t.Helper()
	owner := b.db.Owner()
	for _, sql := range []string{
		"set search_path = transactions",
		"alter table entries disable trigger user", "alter table transactions disable trigger user",
		`insert into accounts (id, owner_id, kind, currency, created_at)
			select gen_random_uuid(), gen_random_uuid(), 'customer', 'EUR', now() from generate_series(1, 20000)`,
		`insert into account_notes (account_id, name) select id, 'x' from accounts on conflict do nothing`,
		`insert into balances (account_id, currency, floor) select id, 'EUR', 0 from accounts on conflict do nothing`,
		`insert into transactions (id, kind, occurred_at, created_at, created_by, request_id)
			select gen_random_uuid(), 'transfer', now(), now(), gen_random_uuid(), 'x' from generate_series(1, 40000)`,
		`insert into integrity_runs (id, is_full, started_at, finished_at) select gen_random_uuid(), false, now(), now() from generate_series(1, 9000)`,
		"analyze", // or the joins below take minutes
		`insert into transaction_notes (transaction_id, description) select id, 'x' from transactions on conflict do nothing`,
		`insert into transaction_references (created_by, reference, transaction_id) select created_by, id::text, id from transactions where request_id = 'x'`,
		`insert into entries (transaction_id, seq, account_id, amount, currency, balance_after, account_version)
			select t.id, 1, a.id, 1, 'EUR', 1, 100 + t.n from (select id, row_number() over () as n from transactions where request_id = 'x') t
			join (select id, row_number() over () as n from accounts) a on a.n = 1 + t.n % 20000`,
		`insert into holds (id, account_id, destination_account_id, amount, currency, status, expires_at, created_at, created_by)
			select gen_random_uuid(), a.id, b.id, 1, 'EUR', case when a.n % 50 = 0 then 'open' else 'voided' end, now() + interval '1 hour', now(), a.id
			from (select id, row_number() over () as n from accounts) a join (select id, row_number() over () as n from accounts) b on b.n = a.n + 1`,
		`insert into transaction_reversals (original_id, reversal_id) select a.id, b.id
			from (select id, row_number() over () as n from transactions where request_id = 'x') a
			join (select id, row_number() over () as n from transactions where request_id = 'x') b on b.n = a.n + 1 where a.n % 2 = 0`,
		`insert into idempotency_keys (principal_id, key, fingerprint, status, headers, body, created_at, expires_at)
			select id, 'x', '', 201, '{}', '', now(), now() + interval '1 day' from transactions`,
		"alter table entries enable trigger user", "alter table transactions enable trigger user", "analyze",
	} {
		if _, err := owner.Exec(b.t.Context(), sql); err != nil {
			b.t.Fatalf("%v: %s", err, sql)
		}
	}
}

// story does one of everything that callers and jobs do.
func (b *bank) story(paid, reversal, held uuid.UUID) {
	b.t.Helper()
	ctx := b.t.Context()
	owner, operator := b.actor(b.owner), b.operator()
	in := payment(b.accounts[0], b.accounts[1], 1)
	in.Reference, in.Description = new("a reference"), new("and words")
	again := owner.post("told", in)
	for _, resp := range []interface{ StatusCode() int }{
		owner.post("told", in), operator.reverse("taken back", again.JSON201.Id), owner.hold(b.accounts[0], b.accounts[1], 1, 60),
		owner.capture(held, nil), owner.void(owner.held(b.accounts[0], b.accounts[1], 1)),
	} {
		if code := resp.StatusCode(); code >= 300 {
			b.t.Errorf("a part of the story ends with %d", code)
		}
	}
	ok := func(resp interface{ StatusCode() int }, err error) {
		b.t.Helper()
		if err != nil || resp.StatusCode() >= 300 {
			b.t.Errorf("a part of the story ends with %v, %v", resp, err)
		}
	}
	ok(owner.CreateAccountWithResponse(ctx, transactionsv1.NewAccount{Currency: "EUR", Name: new("x")}))
	ok(owner.GetAccountWithResponse(ctx, b.accounts[0], nil))
	ok(owner.ListAccountsWithResponse(ctx, nil))
	ok(owner.ListEntriesWithResponse(ctx, b.accounts[0], nil))
	ok(owner.ListTransactionsWithResponse(ctx, &transactionsv1.ListTransactionsParams{AccountId: b.accounts[0]}))
	ok(owner.GetTransactionWithResponse(ctx, paid))
	ok(owner.GetTransactionWithResponse(ctx, reversal))
	ok(owner.GetHoldWithResponse(ctx, held, nil))
	ok(owner.CreateTransactionWithResponse(ctx, &transactionsv1.CreateTransactionParams{DryRun: new(true)}, payment(b.accounts[0], b.accounts[1], 1)))
	ok(operator.FreezeAccountWithResponse(ctx, b.accounts[2]))
	ok(operator.UnfreezeAccountWithResponse(ctx, b.accounts[2]))
	ok(operator.StartIntegrityWithResponse(ctx))
	ok(operator.GetIntegrityWithResponse(ctx, nil))
	if _, err := b.store.checkedUntil(ctx, time.Now()); err != nil {
		b.t.Error(err)
	}
	for _, step := range []func(context.Context, int) (int, error){b.store.purgeKeys, b.store.expireHolds} {
		if _, err := step(ctx, 100); err != nil {
			b.t.Error(err)
		}
	}
}
