package transactions

import (
	"context"
	"errors"
	"time"

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

// expireHolds goes through all holds whose time is over, step by step, and says how many it has ended. It steps around those that somebody is
// ending, those of an account that somebody sits on, and those of one that does not hold what it should (I5): they would stop the others.
func (s store) expireHolds(ctx context.Context, step int) (ended int, err error) {
	var last lapsed
	for {
		var n int
		err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
			over, err := pickLapsed(ctx, tx, last, step)
			if n = len(over); err != nil || n == 0 {
				return err
			}
			last = over[n-1]
			done, err := endLapsed(ctx, tx, over)
			ended += done
			return err
		})
		if err != nil || n < step {
			return ended, err
		}
	}
}

// lapsed is a hold whose time is over.
type lapsed struct {
	ID, AccountID uuid.UUID
	ExpiresAt     time.Time
}

func pickLapsed(ctx context.Context, tx pgx.Tx, after lapsed, limit int) ([]lapsed, error) {
	rows, _ := tx.Query(ctx, `
		select id, account_id, expires_at from holds where status = 'open' and expires_at <= now() and (expires_at, id) > ($1, $2)
		order by expires_at, id limit $3 for no key update skip locked`, after.ExpiresAt, after.ID, limit)
	return pgx.CollectRows(rows, pgx.RowToStructByName[lapsed])
}

// endLapsed ends the holds of the accounts that it gets hold of, and lets go of what they held.
func endLapsed(ctx context.Context, tx pgx.Tx, over []lapsed) (int, error) {
	rows, _ := tx.Query(ctx, `select account_id from balances where account_id = any($1) order by account_id for no key update skip locked`,
		column(over, func(l lapsed) uuid.UUID { return l.AccountID }))
	free, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return 0, err
	}
	rows, _ = tx.Query(ctx, `
		update balances b set held = b.held - due.amount, version = b.version + 1, updated_at = clock_timestamp()
		from (select account_id, sum(amount) as amount from holds where id = any($1) and account_id = any($2) group by account_id) due
		where b.account_id = due.account_id and b.held >= due.amount
		returning b.account_id`, column(over, func(l lapsed) uuid.UUID { return l.ID }), free)
	freed, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return 0, err
	}
	done, err := tx.Exec(ctx, `update holds set status = 'expired', version = version + 1 where id = any($1) and account_id = any($2)`,
		column(over, func(l lapsed) uuid.UUID { return l.ID }), freed)
	return int(done.RowsAffected()), err
}
