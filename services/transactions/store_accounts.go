package transactions

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/groundwork/pkg/gather"
	"example.com/groundwork/pkg/postgres"
	"example.com/groundwork/pkg/problem"
)

// store is every line of SQL of the module.
type store struct {
	db      *pgxpool.Pool
	reading *gather.Group[uuid.UUID, read]
}

const readTimeout = 5 * time.Second // of reads that several wait for

func newStore(db *pgxpool.Pool) store {
	return store{db, gather.New("read accounts", gather.Limits{Batches: 4, After: 5 * time.Millisecond, Size: 100, Waiting: 10_000, Time: readTimeout},
		func(ctx context.Context, ids []uuid.UUID) []read { return readAccounts(ctx, db, ids) })}
}

// viewer is who looks: they see what is theirs, or everything.
type viewer struct {
	id  uuid.UUID
	all bool
}

// selectAccounts reads accounts as a whole. The notes may have been erased.
const selectAccounts = `
	select a.id, a.owner_id, a.kind, a.currency, a.version, a.created_at, n.name, coalesce(n.metadata, '{}') as metadata,
	       b.status, b.posted, b.held, b.version as balance_version
	from accounts a
	join balances b on b.account_id = a.id
	left join account_notes n on n.account_id = a.id`

func (s store) createAccount(ctx context.Context, a account) error {
	_, err := s.db.Exec(ctx, `
		with account as (
			insert into accounts (id, owner_id, kind, currency, created_at) values ($1, $2, $3, $4, $5)
		), notes as (
			insert into account_notes (account_id, name, metadata) values ($1, $7, $8)
		)
		insert into balances (account_id, currency, floor) values ($1, $4, $6)`,
		a.ID, a.OwnerID, a.Kind, a.Currency, a.CreatedAt, a.floor(), a.Name, a.Metadata)
	if postgres.Violates(err, "accounts_currency_fkey") {
		return invalid("/currency", "unknown", "is not a currency in use")
	}
	return err
}

// account returns one account that v may see.
func (s store) account(ctx context.Context, id uuid.UUID, v viewer) (account, error) {
	found, err := s.reading.Do(ctx, id)
	if err == nil {
		err = found.err
	}
	return visible(found.account, v, err)
}

// read is an account, the zero one when it is not there.
type read struct {
	account account
	err     error
}

// readAccounts reads accounts that are asked for at the same time by one statement.
func readAccounts(ctx context.Context, db postgres.DB, ids []uuid.UUID) []read {
	rows, _ := db.Query(ctx, selectAccounts+` where a.id = any($1)`, ids)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[account])
	byID := make(map[uuid.UUID]account, len(found))
	for _, a := range found {
		byID[a.ID] = a
	}
	return column(ids, func(id uuid.UUID) read { return read{byID[id], err} })
}

// visible is the account, if it is there and v may see it.
func visible(a account, v viewer, err error) (account, error) {
	if err == nil && (a.ID == uuid.Nil || !v.all && (a.OwnerID == nil || *a.OwnerID != v.id)) {
		err = errNoAccount
	}
	if err != nil {
		return account{}, err
	}
	return a, nil
}

var errNoAccount = problem.NotFound.New("not-found", "There is no such account.")

// accounts returns the accounts of an owner that were made before the one named, newest first.
func (s store) accounts(ctx context.Context, owner, before uuid.UUID, limit int) ([]account, error) {
	rows, _ := s.db.Query(ctx, selectAccounts+` where a.owner_id = $1 and a.id < $2 order by a.id desc limit $3`, owner, before, limit)
	return pgx.CollectRows(rows, pgx.RowToStructByName[account])
}

// updateNotes changes an account's notes if its profile is at one of the versions, whichever if that is nil.
func (s store) updateNotes(ctx context.Context, id uuid.UUID, v viewer, versions []int64, n notes) (account, error) {
	changed, err := s.db.Exec(ctx, `
		with changed as (
			update accounts set version = version + 1
			where id = $1 and ($3 or owner_id = $2) and ($4::bigint[] is null or version = any($4))
			returning id
		)
		insert into account_notes as old (account_id, name, metadata) select id, $5, $6 from changed
		on conflict (account_id) do update set
			name     = case when $7 then excluded.name else old.name end,
			metadata = case when $8 then excluded.metadata else old.metadata end`,
		id, v.id, v.all, versions, n.Name, n.Metadata, n.SetName, n.SetMetadata)
	if err != nil {
		return account{}, err
	}
	a, err := s.account(ctx, id, v)
	if err == nil && changed.RowsAffected() == 0 {
		return a, problem.PreconditionFailed.New("precondition-failed", "It has changed since; read it again.")
	}
	return a, err
}

// setStatus freezes, unfreezes or closes an account. Under its lock nothing moves and no hold comes to be.
func (s store) setStatus(ctx context.Context, id uuid.UUID, status string) (a account, err error) {
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select from balances where account_id = $1 for no key update`, id); err != nil {
			return err
		}
		r := readAccounts(ctx, tx, []uuid.UUID{id})[0]
		if a, err = visible(r.account, viewer{all: true}, r.err); err != nil || a.Status == status {
			return err
		}
		var holds bool
		row := tx.QueryRow(ctx, `select exists (select from holds where status = 'open' and account_id = $1)
			or exists (select from holds where status = 'open' and destination_account_id = $1)`, id)
		if err := row.Scan(&holds); err != nil {
			return err
		}
		if refusal := a.become(status, holds); refusal != nil {
			return refusal
		}
		if _, err := tx.Exec(ctx, `update balances set status = $2, version = version + 1, updated_at = clock_timestamp() where account_id = $1`, id, status); err != nil {
			return err
		}
		r = readAccounts(ctx, tx, []uuid.UUID{id})[0]
		a = r.account
		return r.err
	})
	return a, err
}
