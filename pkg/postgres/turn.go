package postgres

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// longestTurn is how long a request that comes may have to wait for its first connection. One that would have to wait for longer is sent away at
// once: more than can be done is not done sooner by waiting, but everybody would wait for as long as they are waited for, and then be told no.
// With the few turns that a request needs it is answered in time, and well before acquireTimeout.
const longestTurn = 500 * time.Millisecond

// turns is the line of those who wait for a connection of a pool, the first to come being the first to get one. How long it takes until the next
// one's turn follows, by Little's law, from how many wait, how long a connection is held and how many there are: it needs no number for what the
// database can do, and knows at once when that becomes less, or more.
type turns struct {
	conns float64

	mu    sync.Mutex
	line  list.List               // since when each waits
	taken map[*pgx.Conn]time.Time // since when each is held
	held  float64                 // seconds for which one was held, on average of the last ones that came back
	seen  int                     // of which there are so many
	back  time.Time               // when the last one came back,
	free  time.Time               // and when somebody came who found one free
}

const (
	smooth    = 64               // holds that are averaged
	leastSeen = 8                // before anything is made of them
	forgotten = 10 * time.Second // in which none came back, and how long they were held says nothing any more; and what is held for longer is by a job
)

// long is how long who comes now would wait. The lock is held, and no connection is free.
func (t *turns) long() time.Duration {
	if t.line.Len() == 0 {
		return 0
	}
	first := time.Since(t.line.Front().Value.(time.Time))
	if t.seen < leastSeen || time.Since(t.back) > forgotten {
		return first
	}
	running := 0.0 // those that are held count as well, or who holds one for long would be known too late
	for conn, since := range t.taken {
		switch age := time.Since(since); {
		case age < forgotten:
			running += age.Seconds()
		case age > maxLifetime: // whoever took it keeps it
			delete(t.taken, conn)
		}
	}
	held := t.held + running/float64(t.seen)
	return max(first, seconds(float64(t.line.Len())*held/t.conns))
}

// stuck reports that for longer than anybody waits nobody found a connection free, and none came back: the database is not there. The lock is held.
func (t *turns) stuck() bool {
	return min(time.Since(t.back), time.Since(t.free)) > max(acquireTimeout, seconds(3*t.held))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// full reports that no connection is free, and that none may be made.
func full(pool *pgxpool.Pool) bool {
	now := pool.Stat()
	return now.AcquiredConns()+now.ConstructingConns() >= now.MaxConns()
}

// wait puts somebody into the line, or says that it is too long for a request for which nothing has been done yet.
func (t *turns) wait(ctx context.Context, pool *pgxpool.Pool) (place *list.Element, err error) {
	full := full(pool)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !full:
		t.free = time.Now()
	case request.Begun(ctx):
	case t.stuck():
		return nil, fmt.Errorf("no connection comes back: %w", context.DeadlineExceeded)
	default:
		if long := t.long(); long > longestTurn {
			return nil, problem.Unavailable.New("overloaded", "There is more to do than can be done; try again in a moment.").After(time.Second).
				Because(fmt.Errorf("a connection would be free in %s", long))
		}
	}
	return t.line.PushBack(time.Now()), nil
}

// leave takes somebody out of the line, if they are in it still: it is their turn, or they give up.
func (t *turns) leave(place *list.Element) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line.Remove(place)
}

// take is when somebody has a connection.
func (t *turns) take(ctx context.Context, conn *pgx.Conn) {
	request.Begin(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taken[conn] = time.Now()
}

// release is when it comes back. One that was closed does not: whoever had it has given up.
func (t *turns) release(conn *pgx.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	since, ok := t.taken[conn]
	delete(t.taken, conn)
	if !ok || conn.IsClosed() {
		return
	}
	now := time.Now()
	if now.Sub(t.back) > forgotten {
		t.held, t.seen = 0, 0
	}
	t.back = now
	if held := now.Sub(since); held < forgotten {
		t.seen = min(t.seen+1, smooth)
		t.held += (held.Seconds() - t.held) / float64(t.seen)
	}
}

// now is how long who comes now would wait.
func (t *turns) now(pool *pgxpool.Pool) time.Duration {
	if !full(pool) {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.long()
}

// waiting is how many wait.
func (t *turns) waiting() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int64(t.line.Len())
}

// sentAway is the context of somebody who is not to wait: they get why, and no connection.
type sentAway struct {
	context.Context
	why error
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (s sentAway) Done() <-chan struct{} { return closed }
func (s sentAway) Err() error            { return s.why }
