package transactions

import "context"

// purgeKeys forgets at most limit idempotency keys whose time is over, and says how many.
func (s store) purgeKeys(ctx context.Context, limit int) (int, error) {
	deleted, err := s.db.Exec(ctx, `
		delete from idempotency_keys k
		using (select principal_id, key from idempotency_keys where expires_at < now() order by expires_at limit $1) old
		where k.principal_id = old.principal_id and k.key = old.key`, limit)
	return int(deleted.RowsAffected()), err
}
