package seal

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"example.com/groundwork/pkg/postgres"
)

// Store is where a module keeps its encrypted keysets.
type Store interface {
	// Keyset returns nil when there is none. Its age is how long it has been as it is.
	Keyset(ctx context.Context, name string) (encrypted []byte, age time.Duration, err error)
	// AddKeyset does nothing when there is one already.
	AddKeyset(ctx context.Context, name string, encrypted []byte) error
	// ReplaceKeyset does nothing, and says so, when the keyset is not the old one any more.
	ReplaceKeyset(ctx context.Context, name string, old, encrypted []byte) (replaced bool, err error)
}

// Table is the Store of a module: the table keysets of its own schema.
func Table(db postgres.DB) Store { return table{db} }

type table struct{ db postgres.DB }

func (t table) Keyset(ctx context.Context, name string) (encrypted []byte, age time.Duration, err error) {
	err = t.db.QueryRow(ctx, `select encrypted, now() - changed_at from keysets where name = $1`, name).Scan(&encrypted, &age)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, 0, nil
	}
	return encrypted, age, err
}

func (t table) AddKeyset(ctx context.Context, name string, encrypted []byte) error {
	_, err := t.db.Exec(ctx, `insert into keysets (name, encrypted) values ($1, $2) on conflict (name) do nothing`, name, encrypted)
	return err
}

func (t table) ReplaceKeyset(ctx context.Context, name string, old, encrypted []byte) (bool, error) {
	done, err := t.db.Exec(ctx, `update keysets set encrypted = $3, changed_at = now() where name = $1 and encrypted = $2`, name, old, encrypted)
	return done.RowsAffected() == 1, err
}
