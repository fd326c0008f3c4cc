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
	maxLifetime    = 30 * time.Minute
	pingTimeout    = time.Second // to see whether one that was idle for a while is still good,
	idleUnseen     = time.Second // which is longer than this
)

var errBadURL = errors.New("the database address cannot be read") // without its cause: that may hold the password

// Open makes a pool of at most maxConns connections, of that name in the metrics. It does not wait for the server: a program starts, and says that it is not
// ready, while its database is away. statement_timeout, lock_timeout and search_path are the login's own (see migrations).
func Open(ctx context.Context, name, url string, maxConns int32) (*pgxpool.Pool, error) {
	return open(ctx, name, url, maxConns, nil)
}

func open(ctx context.Context, name, url string, maxConns int32, dial pgconn.DialFunc) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errBadURL
	}
	config.MaxConns = maxConns
	config.MinIdleConns = min(2, maxConns)
	config.MaxConnLifetime = maxLifetime
	config.MaxConnLifetimeJitter = 5 * time.Minute
	config.PingTimeout = pingTimeout
	config.ConnConfig.ConnectTimeout = connectTimeout
	if dial != nil {
		config.ConnConfig.DialFunc = dial
	}
	measured, err := newTracer(name, maxConns)
	if err != nil {
		return nil, fmt.Errorf("measure the pool: %w", err)
	}
	config.ConnConfig.Tracer = measured
	config.BeforeConnect = func(ctx context.Context, _ *pgx.ConnConfig) error { measured.turn(ctx); return nil }
	config.ShouldPing = func(ctx context.Context, p pgxpool.ShouldPingParams) bool {
		measured.turn(ctx)
		return p.IdleDuration > idleUnseen
	}
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

// Alone is a connection that is nobody else's, for who is not to stand in a pool's line: it is made when it is asked for, and again when it was lost.
type Alone struct {
	config *pgx.ConnConfig
	turn   chan *pgx.Conn // the connection, or nil
	until  time.Time      // it is made again
}

// NewAlone makes one. It does not wait for the server. A statement is one round trip, the first one, too.
func NewAlone(url string) (*Alone, error) { return newAlone(url, nil) }

func newAlone(url string, dial pgconn.DialFunc) (*Alone, error) {
	config, err := pgxpool.ParseConfig(url) // which knows the settings of a pool, too
	if err != nil {
		return nil, errBadURL
	}
	config.ConnConfig.ConnectTimeout = connectTimeout
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	if dial != nil {
		config.ConnConfig.DialFunc = dial
	}
	a := &Alone{config: config.ConnConfig, turn: make(chan *pgx.Conn, 1)}
	a.turn <- nil
	return a, nil
}

// Do has f use it, once more when it turns out to be lost. One that takes longer to be made than there is time is there for the next who asks.
func (a *Alone) Do(ctx context.Context, f func(conn *pgx.Conn) error) error {
	conn, err := a.take(ctx)
	if err != nil {
		return err
	}
	if conn != nil {
		err := f(conn)
		if !conn.IsClosed() || ctx.Err() != nil {
			a.turn <- conn
			return err
		}
	}
	made := make(chan error, 1)
	go func() {
		conn, err := pgx.ConnectConfig(context.WithoutCancel(ctx), a.config)
		a.until = time.Now().Add(maxLifetime)
		a.turn <- conn
		made <- err
	}()
	select {
	case err := <-made:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	if conn, err = a.take(ctx); err != nil {
		return err
	}
	defer func() { a.turn <- conn }()
	if conn == nil { // somebody was quicker, and lost it
		return errLost
	}
	return f(conn)
}

var errLost = errors.New("the connection was lost")

// take waits for the connection, which is nil when there is none that is good. Whoever takes it gives it back.
func (a *Alone) take(ctx context.Context) (*pgx.Conn, error) {
	select {
	case conn := <-a.turn:
		if conn != nil && (conn.IsClosed() || time.Now().After(a.until)) {
			go func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			return nil, nil
		}
		return conn, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends it, when nobody uses it any more.
func (a *Alone) Close() {
	if conn := <-a.turn; conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		defer cancel()
		_ = conn.Close(ctx)
	}
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
