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

	mu   sync.Mutex
	line list.List // since when each waits
	held float64   // seconds that a connection is held, on average of the last ones
	seen int       // of which there are so many
	back time.Time // when the last one came back
}

const (
	smooth    = 16               // holds that are averaged,
	outlier   = 4                // each as so many times as long as the others at most, if it is longer than longestTurn
	leastSeen = 8                // before anything is made of them
	forgotten = 10 * time.Second // in which none came back, and how long they were held says nothing any more; and what is held for longer is by a job
	takenAt   = "taken at"       // in a connection's data: when it was
)

// long is how long who comes now would wait. stuck says that nobody knows, as none has come back while the first one in the line waits.
func (t *turns) long(pool *pgxpool.Pool) (long time.Duration, stuck bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.line.Len() == 0 {
		return 0, false
	}
	if now := pool.Stat(); now.AcquiredConns()+now.ConstructingConns() < now.MaxConns() { // they wait for an idle one to be looked at, or a new one
		return 0, false
	}
	first := time.Since(t.line.Front().Value.(time.Time))
	inLine := time.Duration(float64(t.line.Len()) * t.held / t.conns * float64(time.Second))
	if t.seen < leastSeen || time.Since(t.back) > forgotten {
		inLine = 0
	}
	patience := max(longestTurn, time.Duration(2*t.held*float64(time.Second)))
	return max(first, inLine), min(first, time.Since(t.back)) > patience
}

// wait puts somebody into the line, or says that it is too long for a request for which nothing has been done yet.
func (t *turns) wait(ctx context.Context, pool *pgxpool.Pool) (*list.Element, error) {
	if !request.Begun(ctx) {
		switch long, stuck := t.long(pool); {
		case stuck:
			return nil, fmt.Errorf("no connection has come back for %s: %w", long, context.DeadlineExceeded)
		case long > longestTurn:
			return nil, problem.Unavailable.New("overloaded", "There is more to do than can be done; try again in a moment.").After(time.Second).
				Because(fmt.Errorf("a connection would be free in %s", long))
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.line.PushBack(time.Now()), nil
}

// end is when somebody has a connection, or gives up without one.
func (t *turns) end(ctx context.Context, place *list.Element, conn *pgx.Conn) {
	t.mu.Lock()
	t.line.Remove(place)
	t.mu.Unlock()
	if conn != nil {
		request.Begin(ctx)
		conn.PgConn().CustomData()[takenAt] = time.Now()
	}
}

// released is when a connection comes back.
func (t *turns) released(conn *pgx.Conn) {
	if taken, ok := conn.PgConn().CustomData()[takenAt].(time.Time); ok {
		held := time.Since(taken)
		t.mu.Lock()
		defer t.mu.Unlock()
		if time.Since(t.back) > forgotten {
			t.held, t.seen = 0, 0
		}
		t.back = time.Now()
		if held < forgotten {
			t.seen = min(t.seen+1, smooth)
			t.held += (min(held.Seconds(), max(longestTurn.Seconds(), outlier*t.held)) - t.held) / float64(t.seen)
		}
	}
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
