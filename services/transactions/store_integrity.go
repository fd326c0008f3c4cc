package transactions

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"example.com/groundwork/pkg/jobs"
	"example.com/groundwork/pkg/postgres"
	"example.com/groundwork/pkg/problem"
)

// invariant is a rule of the ledger and the statement that finds where it is broken, one text per place. $1 is the time since which things
// changed, $2 the least id that was given since then.
type invariant struct{ name, rule, sql string }

// invariants are what must always hold. That a refused request changes no balance (I10) is I3 and I5: a balance is its entries, and what it
// holds its holds. Sums per account are not taken: entries that go on from each other, from nothing to the balance, sum to it.
var invariants = []invariant{
	{"I1", "entries sum to zero per transaction and currency, and no transaction is without", `
		select t.id from transactions t left join entries e on e.transaction_id = t.id
		where t.id >= $2 and $1::timestamptz is not null group by t.id, e.currency having sum(e.amount) is distinct from 0`},
	{"I2", "balances sum to zero per currency", `
		select currency from balances where $1::timestamptz is not null and $2::uuid is not null group by currency having sum(posted) <> 0`},
	{"I3", "a balance is what the newest entry says", `
		select b.account_id from balances b
		left join lateral (select balance_after, account_version from entries e where e.account_id = b.account_id order by account_version desc limit 1) e on true
		where b.updated_at >= $1 and $2::uuid is not null
		and (b.posted, b.entry_version) is distinct from (coalesce(e.balance_after, 0), coalesce(e.account_version, 0))`},
	{"I3", "every account has a balance", `
		select a.id from accounts a left join balances b on b.account_id = a.id
		where a.created_at >= $1 and $2::uuid is not null and b.account_id is null`},
	{"I3", "an entry goes on from the balance that the one before left", `
		select e.account_id from entries e
		left join entries before on before.account_id = e.account_id and before.account_version = e.account_version - 1
		where e.transaction_id >= $2 and $1::timestamptz is not null and e.balance_after <> coalesce(before.balance_after, 0) + e.amount`},
	{"I4", "the entries of an account are numbered from 1 without a hole", `
		select e.account_id from entries e
		left join entries before on before.account_id = e.account_id and before.account_version = e.account_version - 1
		where e.transaction_id >= $2 and $1::timestamptz is not null and (before.account_id is null) <> (e.account_version = 1)`},
	{"I5", "what is held is the sum of the open holds", `
		select b.account_id from balances b
		left join (select account_id, sum(amount) as amount from holds where status = 'open' group by account_id) h on h.account_id = b.account_id
		where $1::timestamptz is not null and $2::uuid is not null and b.held <> coalesce(h.amount, 0)`},
	{"I6", "nothing is below its floor, holds included, and customers have one", `
		select b.account_id from balances b join accounts a on a.id = b.account_id
		where $1::timestamptz is not null and $2::uuid is not null and (b.posted - b.held < b.floor or a.kind = 'customer' and b.floor is null)`},
	{"I7", "a capture moves what its hold says, once, and no more than was held", `
		select t.id from transactions t
		left join holds h on h.transaction_id = t.id
		left join entries e on e.transaction_id = t.id and e.seq = 1
		left join entries f on f.transaction_id = t.id and f.seq = 2
		where t.id >= $2 and $1::timestamptz is not null and (t.kind = 'capture') <> (h.id is not null)
		or t.kind = 'capture' and t.id >= $2 and (h.captured_amount > h.amount or (h.account_id, -h.captured_amount, h.destination_account_id, h.captured_amount)
			is distinct from (e.account_id, e.amount, f.account_id, f.amount))`},
	{"I8", "a reversal takes back one transaction, all of it", `
		select t.id from transactions t
		left join transaction_reversals r on r.reversal_id = t.id
		left join entries e on e.transaction_id in (r.original_id, r.reversal_id)
		where t.id >= $2 and $1::timestamptz is not null and (t.kind = 'reversal' or r.original_id is not null)
		group by t.id, r.original_id, e.account_id having t.kind <> 'reversal' or r.original_id is null or sum(e.amount) is distinct from 0`},
	{"I9", "a key has at most one effect, which is there, and no effect has two keys", `
		select made from (
			select headers -> 'Location' ->> 0 as made, count(*) as keys from idempotency_keys
			where headers ? 'Location' and expires_at >= $1::timestamptz + interval '24 hours' and $2::uuid is not null group by 1
		) k
		where keys > 1 or not exists (
			select from transactions where id = right(made, 36)::uuid union all select from holds where id = right(made, 36)::uuid)`},
	{"I9", "what was done in the last twelve hours is kept under its key", `
		select made.id from (
			select id, created_at from transactions where id >= $2 and kind <> 'capture' union all select id, created_at from holds where id >= $2
		) made
		where made.created_at >= now() - interval '12 hours' and not exists (
			select from idempotency_keys k where right(headers -> 'Location' ->> 0, 36) = made.id::text and expires_at >= $1::timestamptz + interval '12 hours')`},
	// What fires when: 58 before update, delete and truncate; 42 before delete and truncate; 19 before the update of a row; 4 after an insert.
	{"I11", "history cannot be changed, and what guards it is there", `
		select guard || ' of ' || name from (values
			('transactions', 'refuse_change', '3ee2c9f0d215ff19d533cd8b1947f830', 58), ('entries', 'refuse_change', '3ee2c9f0d215ff19d533cd8b1947f830', 58),
			('entries', 'check_entries', 'c775be1aeb04d0db83e1c9324d3fca12', 4), ('transaction_reversals', 'refuse_change', '3ee2c9f0d215ff19d533cd8b1947f830', 58),
			('transaction_references', 'refuse_change', '3ee2c9f0d215ff19d533cd8b1947f830', 58), ('holds', 'refuse_change', '3ee2c9f0d215ff19d533cd8b1947f830', 42),
			('holds', 'check_hold', 'a127e103c4aa51b44e2af1fe502058f4', 19)
		) as g (name, guard, body, fires)
		where $1::timestamptz is not null and $2::uuid is not null and (
			has_table_privilege(name, 'delete, truncate, trigger')
			or exists (
				select from pg_attribute where attrelid = name::regclass and attnum > 0 and not attisdropped and has_column_privilege(name, attnum, 'update')
				and (name <> 'holds' or attname not in ('status', 'captured_amount', 'transaction_id', 'version')))
			or not exists (
				select from pg_trigger join pg_proc p on p.oid = tgfoid where tgrelid = name::regclass and tgfoid = guard::regproc
				and md5(prosrc) = body and tgtype = fires and tgqual is null and tgenabled in ('O', 'A')))`},
	{"I11", "nobody may say what the ledger says itself", `
		select privilege || ' of ' || name || '.' || field from (values
			('insert', 'transactions', 'created_xid'), ('insert', 'holds', 'status'), ('insert', 'holds', 'captured_amount'), ('insert', 'holds', 'transaction_id'),
			('insert', 'balances', 'posted'), ('insert', 'balances', 'held'), ('insert', 'balances', 'entry_version'), ('update', 'balances', 'floor'),
			('update', 'balances', 'currency'), ('update', 'accounts', 'kind'), ('update', 'accounts', 'owner_id'), ('update', 'accounts', 'currency')
		) as g (privilege, name, field)
		where $1::timestamptz is not null and $2::uuid is not null
		and (has_column_privilege(name, field, privilege) or name in ('balances', 'accounts') and has_table_privilege(name, 'delete, truncate, trigger'))`},
}

// broken says in how many places a rule is broken, and gives a few. A statement looks at one state of everything; all of a run in one snapshot
// would hold back the cleaning of what is dead for as long.
func (s store) broken(ctx context.Context, sql string, since time.Time) (found int, examples []string, err error) {
	err = pgx.BeginTxFunc(ctx, s.db, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf("set local statement_timeout = %d; set local enable_seqscan = on", checkTimeout.Milliseconds())); err != nil {
			return err
		}
		row := tx.QueryRow(ctx, `select count(*), coalesce((array_agg(place::text order by place::text))[:5], '{}') from (`+sql+`) broken (place)`, since, firstID(since))
		return row.Scan(&found, &examples)
	})
	return found, examples, err
}

// damaged reports whether a check failed because of what it found: something that it names is gone, or does not read as what it is.
func damaged(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && (pgErr.Code[:2] == "42" || pgErr.Code[:2] == "22")
}

// firstID is the least UUIDv7 of a time (RFC 9562, section 5.7).
func firstID(t time.Time) (id uuid.UUID) {
	if ms := t.UnixMilli(); ms > 0 {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(ms))
		copy(id[:6], b[2:])
	}
	return id
}

const selectRuns = `select id, is_full, started_at, finished_at, checks, failures from integrity_runs`

// lastRun is the run to go by: one over everything that runs, else the last of those if it has failed (it holds until another one passes), else
// the last to finish, else one that has begun. A run whose time is over without an end is none.
func (s store) lastRun(ctx context.Context) (integrityRun, error) {
	rows, _ := s.db.Query(ctx, `
		select id, is_full, started_at, finished_at, checks, failures from (
			(select 1 as rank, r.id, r.is_full, r.started_at, r.finished_at, r.checks, r.failures from integrity_runs r where finished_at is null and id > $1 and is_full order by id desc limit 1)
			union all (select case when failures <> '[]' then 2 else 5 end, r.id, r.is_full, r.started_at, r.finished_at, r.checks, r.failures from integrity_runs r where is_full and finished_at is not null order by finished_at desc limit 1)
			union all (select 3, r.id, r.is_full, r.started_at, r.finished_at, r.checks, r.failures from integrity_runs r where finished_at is not null order by finished_at desc limit 1)
			union all (select 4, r.id, r.is_full, r.started_at, r.finished_at, r.checks, r.failures from integrity_runs r where finished_at is null and id > $1 order by id desc limit 1)
		) runs order by rank limit 1`, firstID(time.Now().Add(-checkTimeout)))
	run, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[integrityRun])
	if errors.Is(err, pgx.ErrNoRows) {
		return run, problem.NotFound.New("not-found", "The ledger was not checked yet.")
	}
	return run, err
}

// startRun keeps a run that begins, with the job that makes it where there is a queue to add it to. While another one runs over everything, a
// second one is not begun: it returns that one instead.
func (s store) startRun(ctx context.Context, run integrityRun, queue *jobs.Queue) (integrityRun, error) {
	err := postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock($1)`, lockOf("integrity", uuid.Nil, "")); err != nil {
			return err
		}
		rows, _ := tx.Query(ctx, selectRuns+` where id > $1 and finished_at is null and is_full order by id desc limit 1`, firstID(run.StartedAt.Add(-checkTimeout)))
		running, err := pgx.CollectRows(rows, pgx.RowToStructByName[integrityRun])
		if err != nil {
			return err
		}
		if run.IsFull && len(running) > 0 {
			run = running[0]
			return nil
		}
		_, err = tx.Exec(ctx, `insert into integrity_runs (id, is_full, started_at) values ($1, $2, $3)`, run.ID, run.IsFull, run.StartedAt)
		if err != nil || queue == nil {
			return err
		}
		return queue.Add(ctx, tx, checkArgs{RunID: run.ID, IsFull: run.IsFull})
	})
	return run, err
}

// finishRun keeps what a run found, and forgets runs of long ago.
func (s store) finishRun(ctx context.Context, run integrityRun) error {
	if run.Failures == nil {
		run.Failures = []integrityFailure{}
	}
	_, err := s.db.Exec(ctx, `
		with old as (delete from integrity_runs where id < $4)
		update integrity_runs set finished_at = now(), checks = $2, failures = $3 where id = $1`,
		run.ID, run.Checks, run.Failures, firstID(time.Now().Add(-keepRuns)))
	return err
}

// checkedUntil is the time until which everything held, some minutes less: what was under way then may have been committed since. It is the
// zero time when everything is to be looked at: when nothing was, while the last run over everything has failed (what is broken is found until
// it is put right), and when the last night's is missing.
func (s store) checkedUntil(ctx context.Context, now time.Time) (time.Time, error) {
	var failed *bool
	var held *time.Time
	var due bool
	err := s.db.QueryRow(ctx, `
		select (select failures <> '[]' from integrity_runs where is_full and finished_at is not null order by finished_at desc limit 1),
		       (select started_at from integrity_runs where finished_at is not null and failures = '[]' order by id desc limit 1),
		       not exists (select from integrity_runs where is_full and started_at >= $1 and (finished_at is not null or started_at > $2))`,
		lastNight(now), now.Add(-checkAgain)).Scan(&failed, &held, &due)
	if err != nil || held == nil || due || failed != nil && *failed {
		return time.Time{}, err
	}
	return held.Add(-checkOverlap), nil
}

// verdict is what was found last, and when the runs were begun that were the last to finish.
type verdict struct {
	Failures  []integrityFailure
	Any, Full *time.Time // nil for none
}

// verdict goes by the run that lastRun goes by, but for runs that go on.
func (s store) verdict(ctx context.Context) (verdict, error) {
	rows, _ := s.db.Query(ctx, `
		select case when f.failures <> '[]' then f.failures else l.failures end as failures, l.started_at as "any", f.started_at as "full"
		from (values (0)) as always
		left join (select started_at, failures from integrity_runs where finished_at is not null order by finished_at desc limit 1) l on true
		left join (select started_at, failures from integrity_runs where finished_at is not null and is_full order by finished_at desc limit 1) f on true`)
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[verdict])
}
