// Package gather makes few calls of many: those that arrive while one is being worked on are the next one's, together. What a call costs as
// such, a round trip or a commit, is then shared by all in it, and the more there is to do the less each costs. Nobody waits for a batch to
// fill: with little to do each call is a batch of its own and takes no longer than it would without.
//
// The goroutines that work begin when there is something to do and end when there is nothing: a Group needs neither start nor stop.
package gather

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// Limits bound a Group.
type Limits struct {
	Batches int           // worked on at a time
	After   time.Duration // a batch beside others begins when the youngest of them is older; until then calls rather wait and share one
	Size    int           // calls in a batch
	Waiting int           // calls that wait; the next ones get ErrFull
	Time    time.Duration // for one batch, whatever becomes of its callers
}

const (
	// longest is how long a call may have to wait until it is among those for the next batches: with more of them than these take nobody is done
	// sooner, and everybody later.
	longest   = 500 * time.Millisecond
	smooth    = 4           // batches that are averaged
	forgotten = time.Minute // in which none began, and how long they took says nothing any more
)

// ErrFull says that too many calls wait already: as many as may, or, to a request for which nothing has been done yet, so many that it would take too long.
var ErrFull = problem.Unavailable.New("overloaded", "Too many are waiting; send the same again in a moment.")

// Group gathers calls. Its work gets a batch and returns what becomes of each call in it, in the same order.
type Group[In, Out any] struct {
	name   string
	limits Limits
	work   func(ctx context.Context, batch []In) []Out
	tracer trace.Tracer
	*measured

	mu      sync.Mutex
	waiting []*Call[In, Out]
	working int
	began   time.Time     // the youngest batch
	armed   bool          // somebody looks again when it has become old
	took    time.Duration // a batch, on average of the last ones
}

// Call is one that waits, is worked on, or is done.
type Call[In, Out any] struct {
	in   In
	span trace.SpanContext
	done chan struct{} // closed when there is an out
	out  Out
	err  error // the work failed as a whole
}

// New makes a group whose batches are spans, and in the metrics a group, of that name.
func New[In, Out any](name string, limits Limits, work func(ctx context.Context, batch []In) []Out) *Group[In, Out] {
	g := &Group[In, Out]{name: name, limits: limits, work: work, tracer: otel.Tracer("gather")}
	g.measured = newMeasured(name, limits.Waiting, func() int {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.waiting)
	})
	return g
}

// Do has something done and returns what became of it: ErrFull, why ctx ended if that is before the end, or that the work has failed as a whole.
func (g *Group[In, Out]) Do(ctx context.Context, in In) (out Out, err error) {
	c, err := g.Begin(ctx, in)
	if err != nil {
		return out, err
	}
	return c.Wait(ctx)
}

// Begin lets something wait to be done, or returns ErrFull. It is done whoever waits for the end.
func (g *Group[In, Out]) Begin(ctx context.Context, in In) (*Call[In, Out], error) {
	c := &Call[In, Out]{in: in, span: trace.SpanContextFromContext(ctx), done: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == g.limits.Waiting || !request.Begun(ctx) && g.turn() > longest {
		g.refused.Add(ctx, 1, g.group)
		return nil, ErrFull
	}
	g.waiting = append(g.waiting, c)
	g.start()
	return c, nil
}

// turn is how long a call that comes now would wait until it is among those for the next batches. The lock is held.
func (g *Group[In, Out]) turn() time.Duration {
	before := len(g.waiting) / (g.limits.Batches * g.limits.Size)
	takes := max(g.took, time.Since(g.began)) // the latter when none comes to an end
	return time.Duration(before) * takes
}

// start begins a batch for what waits if it is time for one, or sees to it that somebody looks again when it is. The lock is held.
func (g *Group[In, Out]) start() {
	age := time.Since(g.began)
	switch {
	case len(g.waiting) == 0 || g.working == g.limits.Batches:
	case g.working == 0 || age >= g.limits.After:
		if age > forgotten {
			g.took = 0
		}
		g.working++
		g.began = time.Now()
		go g.run()
	case !g.armed:
		g.armed = true
		time.AfterFunc(g.limits.After-age, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.armed = false
			g.start()
		})
	}
}

// Wait returns what became of the call, why ctx ended before, or that the work has failed as a whole. Any number may wait for one.
func (c *Call[In, Out]) Wait(ctx context.Context) (out Out, err error) {
	select {
	case <-c.done:
		return c.out, c.err
	case <-ctx.Done():
		return out, ctx.Err()
	}
}

// run works until nothing waits.
func (g *Group[In, Out]) run() {
	for batch := g.next(); batch != nil; batch = g.next() {
		outs, err := g.one(batch)
		for i, c := range batch {
			if c.err = err; err == nil {
				c.out = outs[i]
			}
			close(c.done)
		}
	}
}

// next takes what waits, as much as fits into a batch; nil when there is nothing, and then the goroutine is not counted any more.
func (g *Group[In, Out]) next() []*Call[In, Out] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), g.limits.Size)
	if n == 0 {
		g.working--
		g.waiting = nil // and what it had grown to
		return nil
	}
	g.began = time.Now()
	batch := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	return batch
}

// one works on a batch, as a part of the trace of one of its callers, with links to the others. A mistake in the work is its callers' error and
// must not end the program, which nobody above would keep it from.
func (g *Group[In, Out]) one(batch []*Call[In, Out]) (outs []Out, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: panic: %v\n%s", g.name, p, debug.Stack())
		} else if len(outs) != len(batch) {
			err = fmt.Errorf("%s: %d answers to %d calls", g.name, len(outs), len(batch))
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), g.limits.Time)
	defer cancel()
	ins := make([]In, 0, len(batch))
	var links []trace.Link
	for _, c := range batch {
		ins = append(ins, c.in)
		if c.span.IsSampled() {
			links = append(links, trace.Link{SpanContext: c.span})
		}
	}
	if len(links) > 0 {
		var span trace.Span
		ctx, span = g.tracer.Start(trace.ContextWithSpanContext(ctx, links[0].SpanContext), g.name,
			trace.WithLinks(links...), trace.WithAttributes(attribute.Int("batch.size", len(batch))))
		defer span.End()
	}
	began := time.Now()
	defer func() {
		took := time.Since(began)
		g.batch(ctx, len(batch), took)
		g.mu.Lock()
		if g.took == 0 {
			g.took = took
		}
		g.took += (took - g.took) / smooth
		g.mu.Unlock()
	}()
	return g.work(ctx, ins), nil
}
