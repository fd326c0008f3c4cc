package seal

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/groundwork/pkg/postgres"
)

// rows are the rows of a module that hold ciphertexts.
type rows struct{ db *pgxpool.Pool }

type row struct {
	ID       uuid.UUID
	Sealed   []byte
	resealed []byte
}

// sql puts the names of a column into a statement; they are constants of the program.
func (c Column) sql(statement string) string {
	return strings.NewReplacer("{table}", pgx.Identifier{c.Table}.Sanitize(), "{id}", pgx.Identifier{c.ID}.Sanitize(),
		"{column}", pgx.Identifier{c.Name}.Sanitize(), "{key}", "substring("+pgx.Identifier{c.Name}.Sanitize()+" from 1 for 5)").Replace(statement)
}

// notUnder finds rows that another key has sealed, a step of them, without those that are left.
func (r rows) notUnder(ctx context.Context, c Column, key uint32, left []uuid.UUID) ([]row, error) {
	if left == nil {
		left = []uuid.UUID{} // or it would be null, and nothing be unlike it
	}
	// Two halves, because an index knows "less" and "more" but not "other".
	found, _ := r.db.Query(ctx, c.sql(`
		(select {id} as id, {column} as sealed from {table} where {key} < $1 and {id} <> all($2) order by {key} limit $3)
		union all
		(select {id}, {column} from {table} where {key} > $1 and {id} <> all($2) order by {key} limit $3)
		limit $3`), prefixOf(key), left, stepSize)
	return pgx.CollectRows(found, func(found pgx.CollectableRow) (row, error) {
		var x row
		return x, found.Scan(&x.ID, &x.Sealed)
	})
}

// replace puts in place what is newly sealed, and returns the rows in which it did: who changed a row meanwhile is right, and who has it
// locked is not waited for.
func (r rows) replace(ctx context.Context, c Column, ready []row) ([]uuid.UUID, error) {
	ids, sealed, resealed := make([]uuid.UUID, len(ready)), make([][]byte, len(ready)), make([][]byte, len(ready))
	for i, x := range ready {
		ids[i], sealed[i], resealed[i] = x.ID, x.Sealed, x.resealed
	}
	done, _ := r.db.Query(ctx, c.sql(`
		with free as (
		  select t.{id} as id, n.resealed
		  from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as n (id, sealed, resealed)
		  join {table} t on t.{id} = n.id and t.{column} = n.sealed
		  for update of t skip locked)
		update {table} t set {column} = free.resealed from free where t.{id} = free.id
		returning t.{id}`), ids, sealed, resealed)
	return pgx.CollectRows(done, pgx.RowTo[uuid.UUID])
}

// count counts the rows of each key, those of none of ours together, and of each no more than is watched.
func (r rows) count(ctx context.Context, c Column, keys []Key) ([]KeyUse, error) {
	return countIn(ctx, r.db, c, keys, new(watched))
}

// countAll counts them to the last.
func (r rows) countAll(ctx context.Context, c Column, keys []Key) (uses []KeyUse, err error) {
	err = postgres.InTx(ctx, r.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf(`set local statement_timeout = %d`, countTime.Milliseconds())); err != nil {
			return err
		}
		uses, err = countIn(ctx, tx, c, keys, nil)
		return err
	})
	return uses, err
}

func countIn(ctx context.Context, db postgres.DB, c Column, keys []Key, most *int) ([]KeyUse, error) {
	var names []string
	var lows, highs [][]byte
	for _, s := range spans(keys) {
		names, lows, highs = append(names, s.key), append(lows, s.low), append(highs, s.high)
	}
	counted, _ := db.Query(ctx, c.sql(`
		select s.key, sum((select count(*) from (select from {table} where {key} >= s.low and {key} < s.high limit $4) few))::bigint
		from unnest($1::text[], $2::bytea[], $3::bytea[]) as s (key, low, high) group by s.key order by s.key`), names, lows, highs, most)
	return pgx.CollectRows(counted, func(counted pgx.CollectableRow) (KeyUse, error) {
		var u KeyUse
		return u, counted.Scan(&u.Key, &u.Rows)
	})
}
