package transactions

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"example.com/groundwork/pkg/problem"
)

// retries is how often a batch that failed as a whole is tried again.
const retries = 3

// post posts a batch of orders, no key twice among them, in one database transaction, and says what became of each. An order that is
// refused is refused alone; a database that fails, fails them all. When a commit's outcome is lost with its connection, the next try
// finds the keys of the batch, or does not.
//
// The order of locks, everywhere in the ledger: keys (tried, never waited for), references by their number, balances by account.
func (s store) post(ctx context.Context, orders []*order) []outcome {
	var outcomes []outcome
	var err error
	for try := 0; ; try++ {
		err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) (err error) {
			outcomes, err = postOnce(ctx, tx, orders)
			return err
		})
		if try == retries || !passing(err) {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(20 * time.Millisecond << try)):
		}
	}
	if err == nil {
		return outcomes
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == "55P03" { // lock_not_available
		err = problem.Unavailable.New("ledger-busy", "Too many are waiting for these accounts; send the same key again.").Because(err)
	}
	return slices.Repeat([]outcome{{err: err}}, len(orders))
}

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
func postOnce(ctx context.Context, tx pgx.Tx, orders []*order) ([]outcome, error) {
	outcomes := make([]outcome, len(orders))
	open, err := takeKeys(ctx, tx, orders, outcomes)
	if err != nil || len(open) == 0 {
		return outcomes, err
	}
	b, err := lockBooks(ctx, tx, orders, open)
	if err != nil {
		return nil, err
	}
	var w written
	for _, i := range open {
		o := orders[i]
		entries, e := b.post(o.transaction, o.operator)
		if e != nil {
			outcomes[i].answer = o.refused(e)
		} else {
			outcomes[i].answer = o.accepted
			w.transactions, w.entries = append(w.transactions, o), append(w.entries, entries...)
		}
		w.orders, w.answers = append(w.orders, o), append(w.answers, outcomes[i].answer)
	}
	return outcomes, w.write(ctx, tx)
}

// kept is what was answered to the key of the order in that place.
type kept struct {
	Place       int
	Fingerprint []byte
	Status      int
	Headers     http.Header
	Body        []byte
}

// takeKeys locks the orders' keys and looks them up. It returns which orders are to be decided; the others have their outcome.
func takeKeys(ctx context.Context, tx pgx.Tx, orders []*order, outcomes []outcome) (open []int, err error) {
	locks := column(orders, func(o *order) int64 { return lockOf("key", o.CreatedBy, o.key) })
	principals := column(orders, func(o *order) uuid.UUID { return o.CreatedBy })
	keys := column(orders, func(o *order) string { return o.key })

	var taken []bool
	known := map[int]bool{}
	batch := &pgx.Batch{}
	batch.Queue(`select pg_try_advisory_xact_lock(lock) from unnest($1::bigint[]) as l (lock)`, locks).Query(func(rows pgx.Rows) (err error) {
		taken, err = pgx.CollectRows(rows, pgx.RowTo[bool])
		return err
	})
	// A statement of its own sees what was committed until the locks were taken.
	batch.Queue(`
		select o.place, k.fingerprint, k.status, k.headers, k.body
		from unnest($1::uuid[], $2::text[]) with ordinality as o (principal_id, key, place)
		join idempotency_keys k on k.principal_id = o.principal_id and k.key = o.key`, principals, keys).Query(func(rows pgx.Rows) error {
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
			open = append(open, i)
		}
	}
	return open, nil
}

// lockBooks locks what the open orders name, in the order that all keep, and reads how it stands.
func lockBooks(ctx context.Context, tx pgx.Tx, orders []*order, open []int) (books, error) {
	b := books{balances: map[uuid.UUID]balance{}, used: map[reference]bool{}}
	var accounts []uuid.UUID
	var names []reference
	var locks []int64
	for _, i := range open {
		for _, p := range orders[i].Postings {
			accounts = append(accounts, p.From, p.To)
		}
		if name, ok := orders[i].reference(); ok {
			names, locks = append(names, name), append(locks, lockOf("reference", name.CreatedBy, name.Reference))
		}
	}
	batch := &pgx.Batch{}
	if len(names) > 0 {
		// A lock and not a row: the reference of an order that is refused stays free, and nothing is ever deleted.
		slices.Sort(locks)
		batch.Queue(`select pg_advisory_xact_lock(lock) from unnest($1::bigint[]) as l (lock)`, locks)
		batch.Queue(`
			select r.created_by, r.reference
			from unnest($1::uuid[], $2::text[]) as o (created_by, reference)
			join transaction_references r on r.created_by = o.created_by and r.reference = o.reference`,
			column(names, func(r reference) uuid.UUID { return r.CreatedBy }),
			column(names, func(r reference) string { return r.Reference })).Query(func(rows pgx.Rows) error {
			found, err := pgx.CollectRows(rows, pgx.RowToStructByName[reference])
			for _, r := range found {
				b.used[r] = true
			}
			return err
		})
	}
	batch.Queue(`
		select b.account_id, a.owner_id, a.kind, b.currency, b.status, b.posted, b.held, b.floor, b.entry_version
		from balances b join accounts a on a.id = b.account_id
		where b.account_id = any($1) order by b.account_id for no key update of b`, accounts).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[balance])
		for _, f := range found {
			b.balances[f.AccountID] = f
		}
		return err
	})
	return b, tx.SendBatch(ctx, batch).Close()
}

// written is what a batch leaves behind: the orders that were posted, their entries, and every decided order with its answer.
type written struct {
	transactions []*order
	entries      []entry
	orders       []*order
	answers      []answer
}

// write writes it all in one round trip.
func (w written) write(ctx context.Context, tx pgx.Tx) error {
	batch := &pgx.Batch{}
	if len(w.transactions) > 0 {
		w.queueHistory(batch)
	}
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
		column(w.orders, func(o *order) uuid.UUID { return o.CreatedBy }),
		column(w.orders, func(o *order) string { return o.key }),
		column(w.orders, func(o *order) []byte { return o.fingerprint[:] }),
		column(w.answers, func(a answer) int { return a.Status }),
		headers,
		column(w.answers, func(a answer) []byte { return a.Body }))
	return tx.SendBatch(ctx, batch).Close()
}

// queueHistory writes the transactions and moves the balances to where their last entries say.
func (w written) queueHistory(batch *pgx.Batch) {
	last := map[uuid.UUID]entry{}
	for _, e := range w.entries {
		last[e.AccountID] = e
	}
	moved := slices.Collect(maps.Values(last))
	batch.Queue(`
		update balances b
		set posted = n.posted, entry_version = n.entry_version, version = b.version + 1, updated_at = clock_timestamp()
		from unnest($1::uuid[], $2::bigint[], $3::bigint[]) as n (account_id, posted, entry_version)
		where b.account_id = n.account_id`,
		column(moved, func(e entry) uuid.UUID { return e.AccountID }),
		column(moved, func(e entry) int64 { return e.BalanceAfter }),
		column(moved, func(e entry) int64 { return e.AccountVersion }))
	batch.Queue(`
		insert into transactions (id, kind, occurred_at, created_at, created_by, request_id)
		select id, kind, occurred_at, created_at, created_by, request_id
		from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::uuid[], $6::text[])
			as t (id, kind, occurred_at, created_at, created_by, request_id)`,
		column(w.transactions, func(o *order) uuid.UUID { return o.ID }),
		column(w.transactions, func(o *order) string { return o.Kind }),
		column(w.transactions, func(o *order) time.Time { return o.OccurredAt }),
		column(w.transactions, func(o *order) time.Time { return o.CreatedAt }),
		column(w.transactions, func(o *order) uuid.UUID { return o.CreatedBy }),
		column(w.transactions, func(o *order) string { return o.info.ID }))
	batch.Queue(`
		insert into entries (transaction_id, seq, account_id, amount, currency, balance_after, account_version)
		select transaction_id, seq, account_id, amount, currency, balance_after, account_version
		from unnest($1::uuid[], $2::int[], $3::uuid[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[])
			as e (transaction_id, seq, account_id, amount, currency, balance_after, account_version)`,
		column(w.entries, func(e entry) uuid.UUID { return e.TransactionID }),
		column(w.entries, func(e entry) int { return e.Seq }),
		column(w.entries, func(e entry) uuid.UUID { return e.AccountID }),
		column(w.entries, func(e entry) int64 { return e.Amount }),
		column(w.entries, func(e entry) string { return e.Currency }),
		column(w.entries, func(e entry) int64 { return e.BalanceAfter }),
		column(w.entries, func(e entry) int64 { return e.AccountVersion }))
	w.queueWords(batch)
}

// queueWords writes what a person typed: references for ever, notes where they can be erased.
func (w written) queueWords(batch *pgx.Batch) {
	ids := column(w.transactions, func(o *order) uuid.UUID { return o.ID })
	batch.Queue(`
		insert into transaction_references (created_by, reference, transaction_id)
		select created_by, reference, id from unnest($1::uuid[], $2::text[], $3::uuid[]) as r (created_by, reference, id)
		where reference is not null`,
		column(w.transactions, func(o *order) uuid.UUID { return o.CreatedBy }),
		column(w.transactions, func(o *order) *string { return o.Reference }), ids)
	batch.Queue(`
		insert into transaction_notes (transaction_id, description, metadata)
		select id, description, metadata from unnest($1::uuid[], $2::text[], $3::jsonb[]) as n (id, description, metadata)
		where description is not null or metadata <> '{}'`,
		ids,
		column(w.transactions, func(o *order) *string { return o.Description }),
		column(w.transactions, func(o *order) map[string]string { return o.Metadata }))
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
