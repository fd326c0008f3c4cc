package transactions

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"example.com/groundwork/pkg/problem"
)

const selectHolds = `
	select h.id, h.account_id, h.destination_account_id, h.amount, h.currency, h.captured_amount, h.status, h.expires_at, h.transaction_id,
	       h.version, h.created_at, h.created_by
	from holds h`

// hold returns a hold that v may see: on an account of theirs, or for one.
func (s store) hold(ctx context.Context, id uuid.UUID, v viewer) (hold, error) {
	return s.oneHold(ctx, id, v, `exists (select from accounts a where a.id in (h.account_id, h.destination_account_id) and a.owner_id = $2)`)
}

// holdToEnd returns a hold that v may end: for an account of theirs.
func (s store) holdToEnd(ctx context.Context, id uuid.UUID, v viewer) (hold, error) {
	return s.oneHold(ctx, id, v, `exists (select from accounts a where a.id = h.destination_account_id and a.owner_id = $2)`)
}

func (s store) oneHold(ctx context.Context, id uuid.UUID, v viewer, seen string) (hold, error) {
	rows, _ := s.db.Query(ctx, selectHolds+` where h.id = $1 and ($3 or `+seen+`)`, id, v.id, v.all)
	h, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[hold])
	if errors.Is(err, pgx.ErrNoRows) {
		return h, problem.NotFound.New("not-found", "There is no such hold.")
	}
	return h, err
}

// queueHolds writes the holds of a batch: those that are new, and those that ended.
func (w *written) queueHolds(batch *pgx.Batch) {
	for _, h := range w.placed {
		batch.Queue(`
			insert into holds (id, account_id, destination_account_id, amount, currency, expires_at, created_at, created_by)
			values ($1, $2, $3, $4, $5, $6, $7, $8)`,
			h.ID, h.AccountID, h.DestinationAccountID, h.Amount, h.Currency, h.ExpiresAt, h.CreatedAt, h.CreatedBy)
	}
	for _, h := range w.ended {
		batch.Queue(`update holds set status = $2, captured_amount = $3, transaction_id = $4, version = $5 where id = $1`,
			h.ID, h.Status, h.CapturedAmount, h.TransactionID, h.Version)
	}
}

// expireHolds ends at most limit holds whose time is over, and says how many. It steps around those that somebody is ending, and those of an
// account that does not hold what it should (I5): it would stop the others.
func (s store) expireHolds(ctx context.Context, limit int) (n int, err error) {
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, `
			select h.id, h.account_id from holds h join balances b on b.account_id = h.account_id
			where h.status = 'open' and h.expires_at <= now()
			and b.held >= (select sum(amount) from holds o where o.account_id = h.account_id and o.status = 'open')
			order by h.expires_at limit $1 for no key update of h skip locked`, limit)
		type due struct{ ID, AccountID uuid.UUID }
		over, err := pgx.CollectRows(rows, pgx.RowToStructByName[due])
		if n = len(over); err != nil || n == 0 {
			return err
		}
		ids, accounts := column(over, func(d due) uuid.UUID { return d.ID }), column(over, func(d due) uuid.UUID { return d.AccountID })
		batch := &pgx.Batch{}
		batch.Queue(`select from balances where account_id = any($1) order by account_id for no key update`, accounts)
		batch.Queue(`
			update balances b set held = b.held - due.amount, version = b.version + 1, updated_at = clock_timestamp()
			from (select account_id, sum(amount) as amount from holds where id = any($1) group by account_id) due
			where b.account_id = due.account_id`, ids)
		batch.Queue(`update holds set status = 'expired', version = version + 1 where id = any($1)`, ids)
		return tx.SendBatch(ctx, batch).Close()
	})
	return n, err
}
