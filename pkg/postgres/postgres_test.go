package postgres_test

import (
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"

	"example.com/groundwork/pkg/postgres"
	"example.com/groundwork/pkg/postgres/pgtest"
	"example.com/groundwork/pkg/problem"
)

func open(t testing.TB, address string, maxConns int32) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), "test", address, maxConns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func exec(t testing.TB, db postgres.DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestWaitingForAConnectionEnds(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.NewEmpty(t).OwnerURL, 1)
	held, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	for what, ask := range map[string]func(ctx context.Context) error{
		"a statement": func(ctx context.Context) error { _, err := pool.Exec(ctx, "select 1"); return err },
		"a row":       func(ctx context.Context) error { var n int; return pool.QueryRow(ctx, "select 1").Scan(&n) },
		"a transaction": func(ctx context.Context) error {
			return postgres.InTx(ctx, pool, func(pgx.Tx) error { t.Error("it runs without a connection"); return nil })
		},
	} {
		waiting.Go(func() {
			began := time.Now()
			err := ask(t.Context())
			if took := time.Since(began); !problem.Is(err, problem.Unavailable) || took < 1500*time.Millisecond || took > 4*time.Second {
				t.Errorf("%s, when every connection is taken: %v after %s; want Unavailable after 2 s", what, err, took)
			}
		})
	}
	began := time.Now()
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := pool.Exec(short, "select 1"); !problem.Is(err, problem.Unavailable) || time.Since(began) > time.Second {
		t.Errorf("a caller with less time: %v after %s", err, time.Since(began))
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	if _, err := pool.Exec(left, "select 1"); !problem.Is(err, problem.ClientGone) {
		t.Errorf("a caller who left: %v", err)
	}
	waiting.Wait()
	held.Release()
	exec(t, pool, "select pg_sleep(2.2)") // the bound is on the wait, not on the work
}

func TestALostConnectionIsToldAsSuch(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.NewEmpty(t).OwnerURL, 2)
	err := postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "select pg_terminate_backend(pg_backend_pid())"); !problem.Is(err, problem.Unavailable) {
			t.Errorf("the statement whose connection is ended: %v", err)
		}
		_, err := tx.Exec(t.Context(), "select 1")
		return err
	})
	if !problem.Is(err, problem.Unavailable) {
		t.Errorf("the statement after it: %v", err)
	}
	exec(t, pool, "select 1") // on another one
}

func TestADatabaseThatIsAwayIsNoReasonNotToStart(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	for what, address := range map[string]string{"refuses": "127.0.0.1:1", "hangs": listener.Addr().String()} {
		began := time.Now()
		pool := open(t, "postgres://groundwork_module:s3cret@"+address+"/groundwork?sslmode=disable", 2)
		if took := time.Since(began); took > time.Second {
			t.Errorf("a server that %s holds up the start for %s", what, took)
		}
		_, err := pool.Exec(t.Context(), "select 1")
		if took := time.Since(began); !problem.Is(err, problem.Unavailable) || took > 4*time.Second || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("a server that %s: %v after %s", what, err, took)
		}
	}
	for _, address := range []string{"postgres://u:s3cret@host:port/db", "postgres://u:s3cret@host/db?pool_max_conns=many", "host=x password=s3cret port=y"} {
		if _, err := postgres.Open(t.Context(), "test", address, 1); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("an address that cannot be read: %v", err)
		}
	}
}

func TestADeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.NewEmpty(t).OwnerURL, 4)
	exec(t, pool, "create table boxes (id int primary key, n int not null)")
	exec(t, pool, "insert into boxes values (1, 0), (2, 0)")
	var runs atomic.Int32
	var met, over, both sync.WaitGroup
	met.Add(2)
	over.Add(2)
	for _, order := range [][2]int{{1, 2}, {2, 1}} {
		both.Go(func() {
			first, isOver := true, sync.OnceFunc(over.Done)
			err := postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error {
				runs.Add(1)
				if !first { // once is enough: while the other one still waits, they could meet again and again
					order = [2]int{1, 2}
					isOver()
					over.Wait()
				}
				for i, id := range order {
					if _, err := tx.Exec(t.Context(), "update boxes set n = n + 1 where id = $1", id); err != nil {
						return err
					}
					if i == 0 && first { // each holds one and wants the other's
						first = false
						met.Done()
						met.Wait()
					}
				}
				return nil
			})
			isOver()
			if err != nil {
				t.Errorf("the order %v: %v", order, err)
			}
		})
	}
	both.Wait()
	var total int
	if err := pool.QueryRow(t.Context(), "select sum(n) from boxes").Scan(&total); err != nil || total != 4 || runs.Load() < 3 { // on a busy machine both are victims
		t.Errorf("after a deadlock there are %d changes in %d runs, %v; want 4 in 3 or more", total, runs.Load(), err)
	}
}

func TestWhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.NewEmpty(t).OwnerURL, 2)
	exec(t, pool, "create table boxes (id int primary key)")
	for what, c := range map[string]struct {
		sql  string
		runs int
		kind problem.Kind
	}{
		"serialization, for ever": {"do $$ begin raise exception 'x' using errcode = '40001'; end $$", 3, problem.Unavailable},
		"deadlock, for ever":      {"do $$ begin raise exception 'x' using errcode = '40P01'; end $$", 3, problem.Unavailable},
		"a lock not to be had":    {"do $$ begin raise exception 'x' using errcode = '55P03'; end $$", 1, problem.Unavailable},
		"a mistake":               {"selekt", 1, problem.Internal},
	} {
		runs := 0
		err := postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error {
			runs++
			if _, err := tx.Exec(t.Context(), "insert into boxes values (1)"); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), c.sql)
			return err
		})
		if !problem.Is(err, c.kind) || runs != c.runs {
			t.Errorf("%s: %d runs, %v; want %d", what, runs, err, c.runs)
		}
	}
	ours := problem.Conflict.New("some-conflict", "")
	if err := postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error {
		exec(t, tx, "insert into boxes values (1)")
		return ours
	}); !errors.Is(err, ours) {
		t.Errorf("a rule's refusal comes back as %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error {
			exec(t, tx, "insert into boxes values (1)")
			panic("a mistake")
		})
	}()
	var rows int
	if err := pool.QueryRow(t.Context(), "select count(*) from boxes").Scan(&rows); err != nil || rows != 0 {
		t.Errorf("of what was refused there are %d rows, %v", rows, err)
	}
	if n := pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections were not given back", n)
	}
	if err := postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error { exec(t, tx, "insert into boxes values (1)"); return nil }); err != nil {
		t.Error(err)
	}
	if err := pool.QueryRow(t.Context(), "select count(*) from boxes").Scan(&rows); err != nil || rows != 1 {
		t.Errorf("of what was done there are %d rows, %v", rows, err)
	}
}

func TestViolates(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.NewEmpty(t).OwnerURL, 2)
	exec(t, pool, "create table boxes (id int constraint boxes_key primary key, n int constraint boxes_n_check check (n > 0))")
	exec(t, pool, "insert into boxes values (1, 1)")
	_, twice := pool.Exec(t.Context(), "insert into boxes values (1, 1)")
	_, low := pool.Exec(t.Context(), "insert into boxes values (2, 0)")
	_, syntax := pool.Exec(t.Context(), "selekt")
	for _, c := range []struct {
		err  error
		name string
		want bool
	}{
		{twice, "boxes_key", true}, {errors.Join(errors.New("wrapped"), twice), "boxes_key", true}, {twice, "boxes_n_check", false}, {twice, "", false},
		{low, "boxes_n_check", true}, {low, "boxes_key", false}, {syntax, "boxes_key", false}, {nil, "boxes_key", false}, {errors.New("boxes_key"), "boxes_key", false},
	} {
		if got := postgres.Violates(c.err, c.name); got != c.want {
			t.Errorf("%v breaks %q: %v", c.err, c.name, got)
		}
	}
}

func TestSpansAreNamedWithoutValues(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"select id from users where email = 'ada@example.com'":           "select users",
		"SELECT id\n\tFROM \"users\"":                                    "select users",
		"insert into accounts(id) values ('secret')":                     "insert accounts",
		"insert into transactions.entries (id) select 1":                 "insert transactions.entries",
		"update balances set posted = 1":                                 "update balances",
		"delete from idempotency_keys where expires_at < now()":          "delete idempotency_keys",
		"with moved as (update balances set posted = 1) select 1 from x": "with balances",
		"select 'secret'": "select",
		"begin":           "begin",
		"":                "empty",
		"  \n":            "empty",
		"select 1 from":   "select",
		"truncate boxes":  "truncate",
	} {
		if got := postgres.SpanName(sql); got != want {
			t.Errorf("%q is called %q; want %q", sql, got, want)
		}
	}
}

func TestUUIDs(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.NewEmpty(t).OwnerURL, 2)
	id, other := uuid.Must(uuid.NewV7()), uuid.New()
	var one, nobody uuid.NullUUID
	var many []uuid.UUID
	var text string
	err := pool.QueryRow(t.Context(), "select $1::uuid, null::uuid, $2::uuid[], $1::uuid::text", id, []uuid.UUID{id, other, uuid.Nil}).Scan(&one, &nobody, &many, &text)
	if err != nil || one.UUID != id || nobody.Valid || !reflect.DeepEqual(many, []uuid.UUID{id, other, uuid.Nil}) || text != id.String() {
		t.Errorf("they come back as %v %v %v %s, %v", one, nobody, many, text, err)
	}
	var none *uuid.UUID
	if err := pool.QueryRow(t.Context(), "select $1::uuid", none).Scan(&none); err != nil || none != nil {
		t.Errorf("no id comes back as %v, %v", none, err)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	kind, _ := conn.Conn().TypeMap().TypeForOID(pgtype.UUIDOID)
	if _, ours := kind.Codec.(pgxuuid.UUIDCodec); !ours {
		t.Error("there is no codec for uuid.UUID: each goes through reflection and an error that is thrown away, a quarter of the CPU of a large insert")
	}
}

// BenchmarkUUIDArray is what the codec is for: ids in bulk.
func BenchmarkUUIDArray(b *testing.B) {
	pool := open(b, pgtest.NewEmpty(b).OwnerURL, 2)
	ids := make([]uuid.UUID, 100)
	for i := range ids {
		ids[i] = uuid.Must(uuid.NewV7())
	}
	for b.Loop() {
		var n int
		if err := pool.QueryRow(b.Context(), "select cardinality($1::uuid[])", ids).Scan(&n); err != nil || n != len(ids) {
			b.Fatal(n, err)
		}
	}
}

// A connection alone is not behind those who wait for a pool's, and nobody notices when it was lost.
func TestAConnectionAlone(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t).OwnerURL
	pool := open(t, address, 1)
	alone, err := postgres.NewAlone(address + "&pool_max_conns=3")
	if err != nil {
		t.Fatal(err)
	}
	held, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	var first, second, third int
	ask := func(ctx context.Context, pid *int) error {
		return alone.Do(ctx, func(conn *pgx.Conn) error { return conn.QueryRow(ctx, "select pg_backend_pid()").Scan(pid) })
	}
	if err := errors.Join(ask(t.Context(), &first), ask(t.Context(), &second)); err != nil || first != second || first == 0 {
		t.Fatalf("two connections, %d and %d: %v", first, second, err)
	}
	exec(t, held, "select pg_terminate_backend($1)", first)
	if err := ask(t.Context(), &third); err != nil || third == first {
		t.Errorf("after it was lost: %v", err)
	}
	alone.Close()
	gone, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := ask(gone, &third); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after its end: %v", err)
	}
}

// Who asks has their own time: a connection that takes longer to be made is there for the next one, and nobody waits for whoever uses it.
func TestAConnectionAloneThatIsSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.slower.Store(1)
		s.dials.Store(int64(time.Second))
		alone, err := postgres.NewAloneBy("postgres://user@127.0.0.1/db?sslmode=disable", s.dial)
		if err != nil {
			t.Fatal(err)
		}
		defer alone.Close()
		ask := func(works time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			return alone.Do(ctx, func(conn *pgx.Conn) error {
				_, err := conn.Exec(context.WithoutCancel(ctx), works.String())
				return err
			})
		}
		takes := func(what string, want time.Duration, fails bool, works time.Duration) {
			t.Helper()
			began := time.Now()
			if err := ask(works); time.Since(began) != want || (err != nil) != fails {
				t.Errorf("%s: %v after %s", what, err, time.Since(began))
			}
		}
		takes("the first one", 500*time.Millisecond, true, 0)
		time.Sleep(600 * time.Millisecond)
		takes("the next one", 100*time.Millisecond, false, 100*time.Millisecond)
		go takes("one who takes long", 3*time.Second, false, 3*time.Second)
		synctest.Wait()
		takes("beside it", 500*time.Millisecond, true, 0)
		time.Sleep(3 * time.Second)
		takes("after it", 0, false, 0)
		if n := s.made.Load(); n != 1 {
			t.Errorf("%d connections were made", n)
		}
		time.Sleep(31 * time.Minute)
		takes("when it is old", 500*time.Millisecond, true, 0)
		time.Sleep(600 * time.Millisecond)
		takes("the new one", 0, false, 0)
		if n := s.made.Load(); n != 2 {
			t.Errorf("%d connections were made, and the first is old", n)
		}
	})
}

// One that was made for somebody, and lost by who was quicker, is made for the next.
func TestAConnectionAloneThatAnotherLoses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.dials.Store(int64(time.Second))
		alone, err := postgres.NewAloneBy("postgres://user@127.0.0.1/db?sslmode=disable", s.dial)
		if err != nil {
			t.Fatal(err)
		}
		defer alone.Close()
		first := make(chan error)
		go func() { first <- alone.Do(t.Context(), func(*pgx.Conn) error { return nil }) }()
		synctest.Wait()
		gone, cancel := context.WithCancel(t.Context())
		if err := alone.Do(gone, func(conn *pgx.Conn) error {
			_, err := conn.Exec(context.WithoutCancel(gone), "bye")
			cancel()
			return err
		}); err == nil {
			t.Error("the connection is still there")
		}
		if err := <-first; err == nil {
			t.Error("it was there for the one who waited for it")
		}
		ctx, end := context.WithTimeout(t.Context(), 5*time.Second)
		defer end()
		if err := alone.Do(ctx, func(*pgx.Conn) error { return nil }); err != nil {
			t.Errorf("the next one: %v", err)
		}
	})
}
