package transactions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"example.com/groundwork/pkg/problem"
)

// retries is how often a batch that failed as a whole is tried again.
const retries = 3

// post posts a batch of orders, no key twice among them, in one database transaction, and says what became of each. An order that is
// refused is refused alone. When a commit's outcome is lost with its connection, the next try finds the keys of the batch, or does not.
//
// A batch that fails because of one of its orders is halved until that one is alone with its failure; a database that fails, fails them all.
//
// The order of locks, everywhere in the ledger: keys (tried, never waited for), holds by id, references and reversals by their number,
// balances by account.
func (s store) post(ctx context.Context, orders []*order) []outcome {
	outcomes, err := s.try(ctx, orders, "")
	if busy(err) && len(orders) > 1 { // somebody sits on an account: the others need not wait with those who name it
		outcomes, err = s.try(ctx, orders, " skip locked")
	}
	if err == nil {
		return outcomes
	}
	if len(orders) > 1 && problem.Is(err, problem.Internal) {
		half := len(orders) / 2
		return append(s.post(ctx, orders[:half]), s.post(ctx, orders[half:])...)
	}
	if busy(err) {
		err = errBusy.Because(err)
	}
	return slices.Repeat([]outcome{{err: err}}, len(orders))
}

var errBusy = problem.Unavailable.New("ledger-busy", "Too many are waiting for these accounts; send the same key again.")

// busy reports whether a lock was not to be had within lock_timeout.
func busy(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "55P03"
}

// try posts a batch, again as long as that may help. locked says what becomes of balances that somebody else has locked: "" waits.
func (s store) try(ctx context.Context, orders []*order, locked string) (outcomes []outcome, err error) {
	for try := 0; ; try++ {
		outcomes, err = s.inTx(ctx, orders, locked)
		if try == retries || !passing(err) {
			return outcomes, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(20 * time.Millisecond << try)):
		}
	}
}

// inTx is one try in a transaction, whose begin and commit travel with the first and the last of its statements: a round trip is what a batch
// has least of.
func (s store) inTx(ctx context.Context, orders []*order, locked string) (outcomes []outcome, err error) {
	conn, err := s.db.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release() // one that is not idle is closed
	defer func() {       // one order must not end the program
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		if conn.Conn().PgConn().TxStatus() != 'I' && !conn.Conn().IsClosed() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
			defer cancel()
			_, failed := conn.Exec(ctx, "rollback") // when nothing was to be written, too
			err = cmp.Or(err, failed)
		}
	}()
	return postOnce(ctx, conn, orders, locked)
}

const rollbackTimeout = time.Second

// passing reports whether a batch that failed so may well succeed when it is tried again: a deadlock, a serialization failure, a
// connection that was lost.
func passing(err error) bool {
	var pgErr *pgconn.PgError
	var network net.Error
	switch {
	case err == nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &pgErr):
		return pgErr.Code == "40001" || pgErr.Code == "40P01" || pgErr.Code == "57P01" || pgErr.Code[:2] == "08"
	}
	return pgconn.SafeToRetry(err) || errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// postOnce is one try: take the keys, lock the books, decide, write.
func postOnce(ctx context.Context, tx sender, orders []*order, locked string) ([]outcome, error) {
	outcomes := make([]outcome, len(orders))
	free, err := takeKeys(ctx, tx, orders, outcomes)
	if err != nil || len(free) == 0 {
		return outcomes, err
	}
	n := column(free, func(i int) needs { return orders[i].needs() })
	b, err := look(ctx, tx, n, "for no key update"+locked)
	if err != nil {
		return nil, err
	}
	var w written
	for place, i := range free {
		o := orders[i]
		if locked != "" && !b.complete(n[place]) {
			outcomes[i].err = errBusy
			continue
		}
		d, refusal := o.do(b)
		if refusal != nil {
			outcomes[i].answer = o.refused(refusal)
		} else {
			outcomes[i].answer = o.accepted
			w.add(d, o.info.ID)
		}
		w.orders, w.answers = append(w.orders, o), append(w.answers, outcomes[i].answer)
	}
	return outcomes, w.write(ctx, tx, b)
}

// kept is what was answered to the key of the order in that place.
type kept struct {
	Place       int
	Fingerprint []byte
	Status      int
	Headers     http.Header
	Body        []byte
}

// takeKeys begins, locks the orders' keys and looks them up. It returns which orders are to be decided; the others have their outcome.
func takeKeys(ctx context.Context, tx sender, orders []*order, outcomes []outcome) (free []int, err error) {
	locks := column(orders, func(o *order) int64 { return lockOf("key", o.by, o.key) })
	principals := column(orders, func(o *order) uuid.UUID { return o.by })
	keys := column(orders, func(o *order) string { return o.key })

	var taken []bool
	known := map[int]bool{}
	batch := &pgx.Batch{}
	batch.Queue("begin")
	batch.Queue(`select pg_try_advisory_xact_lock(lock) from unnest($1::bigint[]) as l (lock)`, locks).Query(func(rows pgx.Rows) (err error) {
		taken, err = pgx.CollectRows(rows, pgx.RowTo[bool])
		return err
	})
	// A statement of its own sees what was committed until the locks were taken. (offset 0: one look into the index for each key, whatever
	// the planner knew of the table when it was empty.)
	batch.Queue(`
		select o.place, k.fingerprint, k.status, k.headers, k.body
		from unnest($1::uuid[], $2::text[]) with ordinality as o (principal_id, key, place)
		cross join lateral (select fingerprint, status, headers, body from idempotency_keys k where k.principal_id = o.principal_id and k.key = o.key offset 0) k`, principals, keys).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[kept])
		for _, k := range found {
			i := k.Place - 1
			outcomes[i], known[i] = orders[i].again(k.Fingerprint, answer{Status: k.Status, Header: k.Headers, Body: k.Body}), true
		}
		return err
	})
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return nil, err
	}
	for i := range orders {
		switch {
		case known[i]:
		case !taken[i]:
			outcomes[i].err = problem.Conflict.New("idempotency-key-in-use", "A request with this key is being worked on.").After(time.Second)
		default:
			free = append(free, i)
		}
	}
	return free, nil
}

// sender is a connection in a transaction, or the pool where nothing is locked.
type sender interface {
	SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults
}

// look reads what is needed, and locks it in the order that all keep. With "" for how it is locked it only looks, as a dry run does.
func look(ctx context.Context, db sender, all []needs, locked string) (books, error) {
	b := books{
		balances: map[uuid.UUID]balance{}, holds: map[uuid.UUID]hold{}, used: map[reference]bool{}, reversed: map[uuid.UUID]bool{},
		moved: map[uuid.UUID]bool{}, sat: map[int64]bool{},
	}
	var accounts, holds, originals []uuid.UUID
	var names []reference
	var locks []int64
	for _, n := range all {
		accounts, holds = append(accounts, n.accounts...), append(holds, n.holds...)
		locks = append(locks, n.locks()...)
		if n.reference != nil {
			names = append(names, *n.reference)
		}
		if n.original != nil {
			originals = append(originals, *n.original)
		}
	}
	batch := &pgx.Batch{}
	if len(holds) > 0 {
		queueRows(batch, func(h hold) { b.holds[h.ID] = h }, selectHolds+` where h.id = any($1) order by h.id `+locked, holds)
	}
	// A lock and not a row: the reference of an order that is refused stays free, and nothing is ever deleted.
	slices.Sort(locks)
	switch {
	case len(locks) == 0 || locked == "":
	case strings.Contains(locked, "skip"):
		queueRows(batch, func(l struct{ Lock int64 }) { b.sat[l.Lock] = true },
			`select lock from unnest($1::bigint[]) as l (lock) where not pg_try_advisory_xact_lock(lock)`, locks)
	default:
		batch.Queue(`select pg_advisory_xact_lock(lock) from unnest($1::bigint[]) as l (lock)`, locks)
	}
	if len(names) > 0 {
		queueRows(batch, func(r reference) { b.used[r] = true }, `
			select r.created_by, r.reference
			from unnest($1::uuid[], $2::text[]) as o (created_by, reference)
			cross join lateral (select created_by, reference from transaction_references r where r.created_by = o.created_by and r.reference = o.reference offset 0) r`,
			column(names, func(r reference) uuid.UUID { return r.CreatedBy }),
			column(names, func(r reference) string { return r.Reference }))
	}
	if len(originals) > 0 {
		queueRows(batch, func(r struct{ OriginalID uuid.UUID }) { b.reversed[r.OriginalID] = true },
			`select original_id from transaction_reversals where original_id = any($1)`, originals)
	}
	queueRows(batch, func(f balance) { b.balances[f.AccountID] = f }, `
		select b.account_id, a.owner_id, a.kind, b.currency, b.status, b.posted, b.held, b.floor, b.entry_version
		from balances b join accounts a on a.id = b.account_id
		where b.account_id = any($1) order by b.account_id `+strings.Replace(locked, "update", "update of b", 1), accounts)
	if len(holds) > 0 {
		batch.Queue(`select clock_timestamp()`).QueryRow(func(row pgx.Row) error { return row.Scan(&b.now) })
	}
	return b, db.SendBatch(ctx, batch).Close()
}

// queueRows adds a query whose rows each go to one place.
func queueRows[T any](batch *pgx.Batch, each func(T), sql string, args ...any) {
	batch.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[T])
		for _, f := range found {
			each(f)
		}
		return err
	})
}

// written is what a batch leaves behind.
type written struct {
	transactions []*transaction
	requests     []string // the ids of the requests they were made by
	entries      []entry
	placed       []*hold
	ended        []*hold
	orders       []*order // every one that was decided, with its answer
	answers      []answer
}

// add notes what was done for a request.
func (w *written) add(d done, request string) {
	if d.transaction != nil {
		w.transactions, w.requests = append(w.transactions, d.transaction), append(w.requests, request)
		w.entries = append(w.entries, d.entries...)
	}
	if d.placed != nil {
		w.placed = append(w.placed, d.placed)
	}
	if d.ended != nil {
		w.ended = append(w.ended, d.ended)
	}
}

// write writes it all in one round trip, and the balances as they are now, and commits.
func (w *written) write(ctx context.Context, tx sender, b books) error {
	batch := &pgx.Batch{}
	if len(b.moved) > 0 {
		b.queue(batch)
	}
	if len(w.transactions) > 0 {
		w.queueHistory(batch)
		w.queueWords(batch)
	}
	w.queueHolds(batch) // after the transactions that capture them
	headers := make([]string, 0, len(w.answers))
	for _, a := range w.answers {
		text, err := json.Marshal(a.Header)
		if err != nil {
			return err
		}
		headers = append(headers, string(text))
	}
	batch.Queue(`
		insert into idempotency_keys (principal_id, key, fingerprint, status, headers, body, created_at, expires_at)
		select principal_id, key, fingerprint, status, headers::jsonb, body, now(), now() + interval '24 hours'
		from unnest($1::uuid[], $2::text[], $3::bytea[], $4::int[], $5::text[], $6::bytea[])
			as k (principal_id, key, fingerprint, status, headers, body)`,
		column(w.orders, func(o *order) uuid.UUID { return o.by }),
		column(w.orders, func(o *order) string { return o.key }),
		column(w.orders, func(o *order) []byte { return o.fingerprint[:] }),
		column(w.answers, func(a answer) int { return a.Status }),
		headers,
		column(w.answers, func(a answer) []byte { return a.Body }))
	batch.Queue("commit")
	return tx.SendBatch(ctx, batch).Close()
}

// queue writes the balances that moved.
func (b books) queue(batch *pgx.Batch) {
	var moved []balance
	for id := range b.moved {
		moved = append(moved, b.balances[id])
	}
	batch.Queue(`
		update balances b
		set posted = n.posted, held = n.held, entry_version = n.entry_version, version = b.version + 1, updated_at = clock_timestamp()
		from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) as n (account_id, posted, held, entry_version)
		where b.account_id = n.account_id`,
		column(moved, func(b balance) uuid.UUID { return b.AccountID }),
		column(moved, func(b balance) int64 { return b.Posted }),
		column(moved, func(b balance) int64 { return b.Held }),
		column(moved, func(b balance) int64 { return b.EntryVersion }))
}

// queueHistory writes the transactions and their entries.
func (w *written) queueHistory(batch *pgx.Batch) {
	batch.Queue(`
		insert into transactions (id, kind, occurred_at, created_at, created_by, request_id)
		select id, kind, occurred_at, created_at, created_by, request_id
		from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::uuid[], $6::text[])
			as t (id, kind, occurred_at, created_at, created_by, request_id)`,
		column(w.transactions, func(t *transaction) uuid.UUID { return t.ID }),
		column(w.transactions, func(t *transaction) string { return t.Kind }),
		column(w.transactions, func(t *transaction) time.Time { return t.OccurredAt }),
		column(w.transactions, func(t *transaction) time.Time { return t.CreatedAt }),
		column(w.transactions, func(t *transaction) uuid.UUID { return t.CreatedBy }),
		w.requests)
	batch.Queue(`
		insert into entries (transaction_id, seq, account_id, amount, currency, balance_after, account_version, created_at)
		select transaction_id, seq, account_id, amount, currency, balance_after, account_version, created_at
		from unnest($1::uuid[], $2::int[], $3::uuid[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::timestamptz[])
			as e (transaction_id, seq, account_id, amount, currency, balance_after, account_version, created_at)`,
		column(w.entries, func(e entry) uuid.UUID { return e.TransactionID }),
		column(w.entries, func(e entry) int { return e.Seq }),
		column(w.entries, func(e entry) uuid.UUID { return e.AccountID }),
		column(w.entries, func(e entry) int64 { return e.Amount }),
		column(w.entries, func(e entry) string { return e.Currency }),
		column(w.entries, func(e entry) int64 { return e.BalanceAfter }),
		column(w.entries, func(e entry) int64 { return e.AccountVersion }),
		column(w.entries, func(e entry) time.Time { return e.CreatedAt }))
}

// queueWords writes what few transactions have: what a person typed (references for ever, notes where they can be erased), and which
// transaction is taken back.
func (w *written) queueWords(batch *pgx.Batch) {
	var referring, noted, reversing []*transaction
	for _, t := range w.transactions {
		if t.Reference != nil {
			referring = append(referring, t)
		}
		if t.Description != nil || len(t.Metadata) > 0 {
			noted = append(noted, t)
		}
		if t.Reverses != nil {
			reversing = append(reversing, t)
		}
	}
	id := func(t *transaction) uuid.UUID { return t.ID }
	if len(referring) > 0 {
		batch.Queue(`
			insert into transaction_references (created_by, reference, transaction_id)
			select created_by, reference, id from unnest($1::uuid[], $2::text[], $3::uuid[]) as r (created_by, reference, id)`,
			column(referring, func(t *transaction) uuid.UUID { return t.CreatedBy }),
			column(referring, func(t *transaction) *string { return t.Reference }), column(referring, id))
	}
	if len(noted) > 0 {
		batch.Queue(`
			insert into transaction_notes (transaction_id, description, metadata)
			select id, description, metadata from unnest($1::uuid[], $2::text[], $3::jsonb[]) as n (id, description, metadata)`,
			column(noted, id),
			column(noted, func(t *transaction) *string { return t.Description }),
			column(noted, func(t *transaction) map[string]string { return t.Metadata }))
	}
	if len(reversing) > 0 {
		batch.Queue(`
			insert into transaction_reversals (original_id, reversal_id)
			select original_id, id from unnest($1::uuid[], $2::uuid[]) as r (original_id, id)`,
			column(reversing, func(t *transaction) *uuid.UUID { return t.Reverses }), column(reversing, id))
	}
}

// preview says what would become of a deed at this moment; nil: it would be done.
func (s store) preview(ctx context.Context, d deed) error {
	b, err := look(ctx, s.db, []needs{d.needs()}, "")
	if err != nil {
		return err
	}
	if _, refusal := d.do(b); refusal != nil {
		return refusal
	}
	return nil
}

// purgeKeys forgets at most limit idempotency keys whose time is over, and says how many.
func (s store) purgeKeys(ctx context.Context, limit int) (int, error) {
	deleted, err := s.db.Exec(ctx, `
		delete from idempotency_keys k
		using (select principal_id, key from idempotency_keys where expires_at < now() order by expires_at limit $1) old
		where k.principal_id = old.principal_id and k.key = old.key`, limit)
	return int(deleted.RowsAffected()), err
}

// column is one column of many rows, for unnest.
func column[R, C any](rows []R, value func(R) C) []C {
	values := make([]C, 0, len(rows))
	for _, row := range rows {
		values = append(values, value(row))
	}
	return values
}
