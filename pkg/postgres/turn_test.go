package postgres_test

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/groundwork/pkg/postgres"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// server is a Postgres whose statements are how long they take, and so many times slower. "bye" ends a connection.
type server struct {
	slower atomic.Int64
	dials  atomic.Int64 // for so long
	made   atomic.Int64
}

func (s *server) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	s.made.Add(1)
	select {
	case <-time.After(time.Duration(s.dials.Load())):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	go s.serve(ours)
	return theirs, nil
}

func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	for {
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if b.Flush() != nil {
			return
		}
		got, err := b.Receive()
		query, ok := got.(*pgproto3.Query)
		if err != nil || !ok || query.String == "bye" {
			return
		}
		if takes, err := time.ParseDuration(query.String); err == nil { // else it is a ping
			time.Sleep(takes * time.Duration(s.slower.Load()))
		}
		b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 0")})
	}
}

const conns = 10

// still runs f in a time that stands still while anything is done, with a pool of a server.
func still(t *testing.T, f func(t *testing.T, s *server, pool *pgxpool.Pool)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.slower.Store(1)
		pool, err := postgres.OpenBy(t.Context(), "test", "postgres://user@127.0.0.1/db?sslmode=disable", conns, s.dial)
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		time.Sleep(time.Second)
		f(t, s, pool)
	})
}

// kind is a kind of request: its statements, each with a connection of its own, and how many of a hundred requests are such.
type kind struct {
	statements []time.Duration
	percent    int
}

func (k kind) works() (all time.Duration) {
	for _, s := range k.statements {
		all += s
	}
	return all
}

// second is what became of the requests that came in a second.
type second struct {
	done, away, failed int
	stuck              int // of those away: they were told that no connection comes back
	worked             time.Duration
	took               []time.Duration
}

// offer sends so many requests a second at random times, whatever becomes of them.
func offer(t *testing.T, pool *pgxpool.Pool, kinds []kind, perSecond float64, while time.Duration) []second {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	seconds := make([]second, while/time.Second)
	var mu sync.Mutex
	var all sync.WaitGroup
	began := time.Now()
	for time.Since(began) < while {
		k, n := kinds[0], random.IntN(100)
		for _, k = range kinds {
			if n -= k.percent; n < 0 {
				break
			}
		}
		all.Go(func() {
			came, ctx := time.Now(), request.Unbegun(t.Context())
			var err error
			for _, statement := range k.statements {
				if err == nil {
					_, err = pool.Exec(ctx, statement.String())
				}
			}
			mu.Lock()
			defer mu.Unlock()
			s := &seconds[came.Sub(began)/time.Second]
			switch {
			case err == nil:
				s.done++
				s.worked += k.works()
				s.took = append(s.took, time.Since(came))
			case time.Since(came) == 0:
				s.away++
				switch got := problem.From(err); {
				case got.RetryAfter != time.Second:
					t.Errorf("sent away without a time to come back: %v", err)
				case got.Code != "overloaded":
					s.stuck++
				}
			default:
				s.failed++
			}
		})
		time.Sleep(time.Duration(random.ExpFloat64() / perSecond * float64(time.Second)))
	}
	all.Wait()
	return seconds
}

// sum is all of some seconds.
func sum(seconds []second) (s second) {
	for _, one := range seconds {
		s.done, s.away, s.failed, s.worked = s.done+one.done, s.away+one.away, s.failed+one.failed, s.worked+one.worked
		s.took, s.stuck = append(s.took, one.took...), s.stuck+one.stuck
	}
	slices.Sort(s.took)
	return s
}

var (
	ms   = time.Millisecond
	many = func() (kinds []kind) {
		for n := range 20 {
			kinds = append(kinds, kind{[]time.Duration{time.Duration(10+10*n) * ms}, 5})
		}
		return kinds
	}()
	mixes = map[string][]kind{ // of which none takes longer than a statement may when it is five times as slow
		"one kind":                          {{[]time.Duration{40 * ms}, 100}},
		"three, two of which want two":      {{[]time.Duration{230 * ms}, 34}, {[]time.Duration{230 * ms, 230 * ms}, 33}, {[]time.Duration{30 * ms, 430 * ms}, 33}},
		"many that are quick, few slow":     {{[]time.Duration{100 * ms}, 80}, {[]time.Duration{1500 * ms}, 10}, {[]time.Duration{300 * ms, 300 * ms}, 10}},
		"many kinds, each of which is rare": many,
	}
)

// uneven is a mix in which few take most of the time.
var uneven = map[string][]kind{
	"quick ones, and a fifth slow": {{[]time.Duration{20 * ms}, 80}, {[]time.Duration{1500 * ms}, 20}},
}

// carried is how many a second the connections can do.
func carried(kinds []kind) float64 {
	var works time.Duration
	for _, k := range kinds {
		works += k.works() * time.Duration(k.percent) / 100
	}
	return conns / works.Seconds()
}

// latest is how long an answer may take: its own work, and so long for each connection it waits for.
func latest(kinds []kind, each time.Duration) (longest time.Duration) {
	for _, k := range kinds {
		longest = max(longest, k.works()+time.Duration(len(k.statements))*each)
	}
	return longest
}

// Whatever is offered, all connections are at work, and who is not sent away at once is answered in time. Who comes in the first three seconds, before
// it is known how long a connection is held, is answered as well; some wait in vain then when few hold them for most of the time.
func TestMoreThanCanBeDone(t *testing.T) {
	t.Parallel()
	try := func(what string, kinds []kind, each time.Duration, failed int) {
		for _, times := range []float64{0.5, 1, 1.5, 2, 5, 10} {
			still(t, func(t *testing.T, _ *server, pool *pgxpool.Pool) {
				seconds := offer(t, pool, kinds, times*carried(kinds), 20*time.Second)
				first, rest := sum(seconds[:3]), sum(seconds[3:])
				used, late := rest.worked.Seconds()/conns/17, rest.took[len(rest.took)*99/100]
				t.Logf("%s, %.1f×: the connections work for %.0f %%, 99 of 100 within %s, %d of %d are sent away, %d and %d fail",
					what, times, 100*used, late.Round(ms), rest.away, rest.done+rest.away+rest.failed, first.failed, rest.failed)
				if used < 0.85*min(times, 1) || late > latest(kinds, each) || first.failed > failed || rest.failed+rest.stuck > 0 || times < 1 && first.away+rest.away > 0 {
					t.Errorf("which is not as promised: they are to be within %s, and %d are told that no connection comes back", latest(kinds, each), rest.stuck)
				}
			})
		}
	}
	for what, kinds := range mixes {
		try(what, kinds, time.Second, 0)
	}
	for what, kinds := range uneven {
		try(what, kinds, 1500*ms, int(3*carried(kinds)))
	}
}

// A database that takes five times as long, and then as long as before, is found out at once, both times.
func TestADatabaseThatBecomesSlow(t *testing.T) {
	t.Parallel()
	for what, kinds := range mixes {
		still(t, func(t *testing.T, s *server, pool *pgxpool.Pool) {
			time.AfterFunc(10*time.Second, func() { s.slower.Store(5) })
			time.AfterFunc(30*time.Second, func() { s.slower.Store(1) })
			seconds := offer(t, pool, kinds, carried(kinds)/2, 50*time.Second)
			before, slow, after := sum(seconds[:10]), sum(seconds[10:30]), sum(seconds[35:])
			used := slow.worked.Seconds() * 5 / conns / 20
			t.Logf("%s: the connections work for %.0f %% while it is slow, %d of %d are sent away, %d fail", what, 100*used, slow.away, slow.done+slow.away, slow.failed)
			if before.away+after.away > 0 {
				t.Errorf("%d are sent away before it, and %d after it", before.away, after.away)
			}
			if failed, stuck := sum(seconds).failed, sum(seconds[15:]).stuck; failed+stuck > 0 || used < 0.9 || slow.away == 0 {
				t.Errorf("%d fail, and %d are told that the database is not there", failed, stuck)
			}
		})
	}
}

// What was slow a while ago, or is so once, says nothing about a burst of quick ones.
func TestABurstAfterSomethingSlow(t *testing.T) {
	t.Parallel()
	burst := func(t *testing.T, pool *pgxpool.Pool, many int) {
		var all sync.WaitGroup
		for range many {
			all.Go(func() {
				if _, err := pool.Exec(request.Unbegun(t.Context()), "5ms"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	still(t, func(t *testing.T, _ *server, pool *pgxpool.Pool) {
		burst(t, pool, 100)
		if _, err := pool.Exec(t.Context(), "1m"); err != nil { // a job
			t.Fatal(err)
		}
		burst(t, pool, 100)
	})
	still(t, func(t *testing.T, s *server, pool *pgxpool.Pool) {
		s.slower.Store(400)
		offer(t, pool, []kind{{[]time.Duration{5 * ms}, 100}}, 10, 20*time.Second)
		s.slower.Store(1)
		time.Sleep(time.Hour)
		burst(t, pool, 300)
	})
}

// A connection that is slow to be made is waited for by the one who makes it, and holds nobody up while the others are good.
func TestASlowNewConnection(t *testing.T) {
	t.Parallel()
	still(t, func(t *testing.T, s *server, pool *pgxpool.Pool) {
		kinds := mixes["one kind"]
		offer(t, pool, kinds, carried(kinds), 5*time.Second) // so that all are made
		s.dials.Store(int64(1900 * ms))
		if _, err := pool.Exec(t.Context(), "bye"); err == nil {
			t.Fatal("the connection is still there")
		}
		made := s.made.Load()
		if all := sum(offer(t, pool, kinds, 0.7*carried(kinds), 10*time.Second)); all.away+all.failed > 0 || s.made.Load() == made {
			t.Errorf("%d are sent away, %d fail, %d connections are made", all.away, all.failed, s.made.Load()-made)
		}
	})
}

// A burst of quick ones, or of as many as there are connections, waits.
func TestABurstIsNotSentAway(t *testing.T) {
	t.Parallel()
	for many, takes := range map[int]time.Duration{300: 10 * ms, 10: 3 * time.Second} {
		still(t, func(t *testing.T, _ *server, pool *pgxpool.Pool) {
			for range 20 { // so that it is known how long they take
				if _, err := pool.Exec(t.Context(), takes.String()); err != nil {
					t.Fatal(err)
				}
			}
			var all sync.WaitGroup
			for range many {
				all.Go(func() {
					if _, err := pool.Exec(request.Unbegun(t.Context()), takes.String()); err != nil {
						t.Errorf("one of %d that take %s: %v", many, takes, err)
					}
				})
			}
			all.Wait()
		})
	}
}

// What hangs holds nobody else up for long. What has begun is finished, as far as can be, and what is no request waits for as long as it may.
func TestWhoIsNotSentAway(t *testing.T) {
	t.Parallel()
	still(t, func(t *testing.T, _ *server, pool *pgxpool.Pool) {
		begun := request.Unbegun(t.Context())
		if _, err := pool.Exec(begun, "1ms"); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range conns { // they have all of them
			all.Go(func() {
				if _, err := pool.Exec(t.Context(), "20s"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		for _, c := range []struct {
			what  string
			ctx   context.Context
			comes time.Duration
			code  string
			waits time.Duration
		}{
			{"the first one", request.Unbegun(t.Context()), 0, "dependency-unavailable", 2 * time.Second},
			{"one that comes soon", request.Unbegun(t.Context()), 400 * ms, "dependency-unavailable", 2 * time.Second},
			{"one that comes later", request.Unbegun(t.Context()), 600 * ms, "overloaded", 0},
			{"one that comes when none came back for long", request.Unbegun(t.Context()), 2010 * ms, "dependency-unavailable", 0},
			{"one that comes when nobody waits any more", request.Unbegun(t.Context()), 5 * time.Second, "dependency-unavailable", 0},
			{"one that has begun", begun, 600 * ms, "dependency-unavailable", 2 * time.Second},
			{"a job", t.Context(), 600 * ms, "dependency-unavailable", 2 * time.Second},
		} {
			all.Go(func() {
				time.Sleep(c.comes)
				came := time.Now()
				_, err := pool.Exec(c.ctx, "1ms")
				if got := problem.From(err); got.Code != c.code || time.Since(came) != c.waits || got.RetryAfter != time.Second {
					t.Errorf("%s: %v after %s", c.what, err, time.Since(came))
				}
			})
		}
		all.Wait()
		if _, err := pool.Exec(request.Unbegun(t.Context()), "1ms"); err != nil {
			t.Errorf("when it hangs no more: %v", err)
		}
	})
}
