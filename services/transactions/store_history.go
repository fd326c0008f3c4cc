package transactions

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
)

// entries returns an account's entries before the version named, newest first.
func (s store) entries(ctx context.Context, id uuid.UUID, before int64, limit int) ([]entry, error) {
	rows, _ := s.db.Query(ctx, `
		select e.transaction_id, e.seq, e.account_id, e.amount, e.currency, e.balance_after, e.account_version,
		       coalesce(e.created_at, (select t.created_at from transactions t where t.id = e.transaction_id)) as created_at
		from entries e
		where e.account_id = $1 and e.account_version < $2
		order by e.account_version desc limit $3`, id, before, limit)
	return pgx.CollectRows(rows, pgx.RowToStructByName[entry])
}

// api is the entry as the contract has it.
func (e entry) api() transactionsv1.Entry {
	return transactionsv1.Entry{
		TransactionId: e.TransactionID, Seq: e.Seq, Amount: e.Amount, Currency: e.Currency,
		BalanceAfter: e.BalanceAfter, AccountVersion: e.AccountVersion, CreatedAt: e.CreatedAt.UTC(),
	}
}

// columns and parts read a transaction t as a whole. Its postings are its entries, two by two.
const (
	columns = `
	t.id, t.kind, t.occurred_at, t.created_at, t.created_by, v.original_id as reverses, w.reversal_id as reversed_by, r.reference, n.description, coalesce(n.metadata, '{}') as metadata,
	(select jsonb_agg(jsonb_build_object('from', d.account_id, 'to', c.account_id, 'amount', c.amount, 'currency', c.currency) order by d.seq)
	 from entries d join entries c on c.transaction_id = d.transaction_id and c.seq = d.seq + 1
	 where d.transaction_id = t.id and d.seq % 2 = 1) as postings`
	parts = `
	left join transaction_notes n on n.transaction_id = t.id
	left join transaction_references r on r.transaction_id = t.id
	left join transaction_reversals v on v.reversal_id = t.id
	left join transaction_reversals w on w.original_id = t.id`
)

// transaction returns one transaction that v may see: made by them, or in or out of an account of theirs.
func (s store) transaction(ctx context.Context, id uuid.UUID, v viewer) (transaction, error) {
	rows, _ := s.db.Query(ctx, `
		select `+columns+` from transactions t `+parts+`
		where t.id = $1 and ($3 or t.created_by = $2 or exists (
			select from entries e join accounts a on a.id = e.account_id where e.transaction_id = t.id and a.owner_id = $2))`,
		id, v.id, v.all)
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[transaction])
	if errors.Is(err, pgx.ErrNoRows) {
		return t, errNoTransaction
	}
	return t, err
}

// listed is a transaction in the history of an account; AccountVersion is that of its last entry there.
type listed struct {
	transaction
	AccountVersion int64
}

// transactions returns an account's transactions before the version named, newest first. A transaction with several entries in the
// account has them side by side and is listed by the last of them.
func (s store) transactions(ctx context.Context, id uuid.UUID, before int64, limit int) ([]listed, error) {
	rows, _ := s.db.Query(ctx, `
		with page as (
			select e.transaction_id, e.account_version from entries e
			where e.account_id = $1 and e.account_version < $2
			and e.transaction_id is distinct from (
				select next.transaction_id from entries next
				where next.account_id = e.account_id and next.account_version = e.account_version + 1)
			order by e.account_version desc limit $3
		)
		select p.account_version, `+columns+` from page p join transactions t on t.id = p.transaction_id `+parts+`
		order by p.account_version desc`, id, before, limit)
	return pgx.CollectRows(rows, pgx.RowToStructByName[listed])
}
