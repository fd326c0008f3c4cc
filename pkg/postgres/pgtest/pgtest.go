// Package pgtest gives each test a database of its own on a real Postgres: a copy of a migrated template, made in a few hundredths of
// a second, so every test may run in parallel and leave a mess. A test that fails keeps its database and says how to open it.
package pgtest

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/postgres"
)

// DB is one test's database.
type DB struct {
	OwnerURL string // the login that owns everything
	t        testing.TB
}

// URL is the connection string of a module's own login.
func (db *DB) URL(module string) string {
	u, err := migrations.LocalURL(db.OwnerURL, module)
	if err != nil {
		db.t.Fatal(err)
	}
	return u
}

// Pool opens a pool as a module does; it is closed with the test.
func (db *DB) Pool(module string) *pgxpool.Pool {
	db.t.Helper()
	pool, err := postgres.Open(db.t.Context(), module, db.URL(module), 10)
	if err != nil {
		db.t.Fatal(err)
	}
	db.t.Cleanup(pool.Close)
	return pool
}

// Owner connects as the owner; the connection is closed with the test.
func (db *DB) Owner() *pgx.Conn {
	db.t.Helper()
	conn, err := pgx.Connect(db.t.Context(), db.OwnerURL)
	if err != nil {
		db.t.Fatal(err)
	}
	db.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// New makes a database with every module's schema in it, dropped after the test.
func New(t testing.TB) *DB {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatalf("no Postgres to test with: %v", err)
	}
	return s.copy(t, s.template)
}

// NewEmpty makes a database with nothing in it.
func NewEmpty(t testing.TB) *DB {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatalf("no Postgres to test with: %v", err)
	}
	return s.copy(t, "template1")
}

// RedisURL is the address of a Redis for tests; their keys need names of their own.
func RedisURL(t testing.TB) string {
	t.Helper()
	if _, err := shared(); err != nil {
		t.Fatalf("no Redis to test with: %v", err)
	}
	return os.Getenv("REDIS_URL")
}

// server is the Postgres of this test program and the template made on it.
type server struct{ ownerURL, template string }

var shared = sync.OnceValues(func() (server, error) {
	if os.Getenv("DATABASE_URL") == "" || os.Getenv("REDIS_URL") == "" {
		if err := startStack(); err != nil {
			return server{}, err
		}
	}
	s := server{ownerURL: os.Getenv("DATABASE_URL")}
	return s, s.makeTemplate(context.Background())
})

// stackInput is our end of the local stack's standard input. It must stay reachable: the garbage collector would close it.
var stackInput io.Closer //nolint:unused // it is kept, not used

// startStack starts the local stack for a lone `go test`. It lives until our end of its standard input is closed, which the kernel
// does for us however we end.
func startStack() error {
	root, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "run", "./deploy/local", "-test", "-hold")
	cmd.Dir = strings.TrimSuffix(strings.TrimSpace(string(root)), "go.mod")
	cmd.Stderr = os.Stderr
	if stackInput, err = cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "" {
		name, value, _ := strings.Cut(lines.Text(), "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	if os.Getenv("DATABASE_URL") == "" {
		return fmt.Errorf("the local stack did not start: %w", cmd.Wait())
	}
	return nil
}

// makeTemplate migrates a database once per server and set of migrations. Several test programs come here at once: the first one does
// it under a lock, and gives it its name when it is whole.
func (s *server) makeTemplate(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.ownerURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	s.template = "template_" + migrations.Fingerprint()[:16]
	const lock = 0x67777465 // any number, and always the same
	if _, err := conn.Exec(ctx, `select pg_advisory_lock($1)`, lock); err != nil {
		return err
	}
	var done bool
	if err := conn.QueryRow(ctx, `select exists (select from pg_database where datname = $1)`, s.template).Scan(&done); err != nil || done {
		return err
	}
	draft := s.template + "_draft"
	for _, sql := range []string{"drop database if exists " + draft + " with (force)", "create database " + draft} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	logins := map[string]string{}
	for _, module := range migrations.Modules() {
		if logins[module], err = migrations.LocalURL(s.ownerURL, module); err != nil {
			return err
		}
	}
	if err := migrations.Up(ctx, at(s.ownerURL, draft), logins, io.Discard); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "alter database "+draft+" rename to "+s.template)
	return err
}

func (s server) copy(t testing.TB, template string) *DB {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.ownerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	name := databaseName(t.Name())
	if _, err := conn.Exec(t.Context(), "create database "+name+" template "+template); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, s.ownerURL)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(ctx)
		if t.Failed() && keeps() {
			// The comment is what the stack for tests goes by when it drops what nobody will come back for.
			if _, err := conn.Exec(ctx, fmt.Sprintf("comment on database %s is 'kept: %s'", name, strings.ReplaceAll(t.Name(), "'", "''"))); err != nil {
				t.Error(err)
			}
			t.Logf("%s keeps its database, until ten others have failed: make psql DB=%s", t.Name(), name)
			return
		}
		// A connection that was just closed lives on in the server for a moment; the owner may not end a module's by force.
		for range 100 {
			if _, err = conn.Exec(ctx, "drop database "+name); err == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Error(err)
	})
	return &DB{OwnerURL: at(s.ownerURL, name), t: t}
}

// keeps reports whether a database may stay: on the stack for tests of a person's machine, which tidies up after us.
func keeps() bool { return os.Getenv("KEEP_FAILED") != "" && os.Getenv("CI") == "" }

// databaseName makes a name that nobody else has from the name of a test. Postgres takes 63 bytes.
func databaseName(test string) string {
	words := strings.FieldsFunc(strings.ToLower(strings.TrimPrefix(test, "Test")), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	name := "test_" + strings.Join(words, "_")
	return name[:min(len(name), 50)] + "_" + strings.ToLower(rand.Text()[:12])
}

// at is the same server's address with another database.
func at(address, database string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	u.Path = "/" + database
	return u.String()
}
