package seal

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"example.com/groundwork/pkg/postgres"
)

// Store is where a module keeps its encrypted keysets.
type Store interface {
	// Keyset returns nil when there is none.
	Keyset(ctx context.Context, name string) ([]byte, error)
	// AddKeyset does nothing when there is one already.
	AddKeyset(ctx context.Context, name string, encrypted []byte) error
}

// Table is the Store of a module: the table keysets of its own schema.
func Table(db postgres.DB) Store { return table{db} }

type table struct{ db postgres.DB }

func (t table) Keyset(ctx context.Context, name string) (encrypted []byte, err error) {
	err = t.db.QueryRow(ctx, `select encrypted from keysets where name = $1`, name).Scan(&encrypted)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return encrypted, err
}

func (t table) AddKeyset(ctx context.Context, name string, encrypted []byte) error {
	_, err := t.db.Exec(ctx, `insert into keysets (name, encrypted) values ($1, $2) on conflict (name) do nothing`, name, encrypted)
	return err
}
