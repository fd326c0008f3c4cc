// Package postgres opens a module's pool with every wait bounded, and names what the database refuses. SQL itself stands in the
// modules' stores.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"
)

// DB is what a store needs of a pool or of a transaction.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

const (
	acquireTimeout = 2 * time.Second // for a connection: a caller who waits longer for a free one is better told to come back
	connectTimeout = 3 * time.Second // to make one
	pingTimeout    = time.Second     // to see whether one that was idle for a while is still good
)

// Open makes a pool of at most maxConns connections, of that name in the metrics. It does not wait for the server: a program starts, and says that it is not
// ready, while its database is away. statement_timeout, lock_timeout and search_path are the login's own (see migrations).
func Open(ctx context.Context, name, url string, maxConns int32) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the database address cannot be read") // without err: it may hold the password
	}
	config.MaxConns = maxConns
	config.MinIdleConns = min(2, maxConns)
	config.MaxConnLifetime = 30 * time.Minute
	config.MaxConnLifetimeJitter = 5 * time.Minute
	config.PingTimeout = pingTimeout
	config.ConnConfig.ConnectTimeout = connectTimeout
	measured, err := newTracer(name)
	if err != nil {
		return nil, fmt.Errorf("measure the pool: %w", err)
	}
	config.ConnConfig.Tracer = measured
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		pgxuuid.Register(conn.TypeMap()) // without it every UUID goes through reflection
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the pool: %w", err)
	}
	if err := measured.watch(name, pool); err != nil {
		pool.Close()
		return nil, fmt.Errorf("measure the pool: %w", err)
	}
	return pool, nil
}

// spanName says what a statement does and to what, without its values: "select identities".
func spanName(sql string) string {
	words := strings.Fields(strings.ToLower(sql))
	for i, w := range words {
		switch strings.TrimLeft(w, "(") {
		case "from", "into", "update":
			if i+1 < len(words) {
				table, _, _ := strings.Cut(strings.TrimLeft(words[i+1], "("), "(") // a list of columns may stand close
				return words[0] + " " + strings.Trim(table, `"),;`)
			}
		}
	}
	if len(words) == 0 {
		return "empty"
	}
	return words[0]
}

// InTx runs f in a transaction on pool: committed when f returns nil, rolled back otherwise. f does SQL only; it is run again from the
// start, twice at most, after a deadlock or a serialization failure, so it must not keep what it learned from a run that failed.
func InTx(ctx context.Context, pool *pgxpool.Pool, f func(tx pgx.Tx) error) error {
	var err error
	for range 3 {
		err = pgx.BeginFunc(ctx, pool, f)
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != "40001" && pgErr.Code != "40P01" {
			return err
		}
	}
	return err
}

// Violates reports whether err breaks the named constraint.
func Violates(err error, constraint string) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.ConstraintName == constraint
}
