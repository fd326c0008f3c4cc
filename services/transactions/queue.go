package transactions

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"example.com/groundwork/pkg/problem"
)

// Orders are posted in batches: those that arrive while a batch is being written are the next one. The cost of a database transaction, its
// round trips and above all its commit, is shared by all in it, and an account that everybody pays into is locked once per batch and not once
// per payment. Nobody waits for a batch to fill: when there is little to do, each order is a batch of its own and takes no longer than it would
// without.
//
// Two batches are on their way at a time, so that one is decided and written while the other one commits. More would wait for each other's
// accounts and be smaller, which costs more than it brings.
//
// The goroutines that post begin when there is something to post and end when there is nothing: a queue needs neither start nor stop.
const (
	maxBatch   = 256  // orders in one database transaction
	maxWaiting = 1024 // orders before the next ones are sent away
	maxPosting = 2    // batches at a time

	// postDeadline bounds the posting of a batch. It does not depend on the callers: what was begun for one who has left is finished, and
	// found under its key.
	postDeadline = 10 * time.Second
)

// queue is where orders wait to be posted.
type queue struct {
	post func(ctx context.Context, orders []*order) []outcome // no key twice among them

	mu      sync.Mutex
	waiting []*ticket
	flying  map[flight]*ticket // waiting or being posted
	posting int
}

// flight names an order by whose key it has.
type flight struct {
	by  uuid.UUID
	key string
}

// ticket is an order on its way.
type ticket struct {
	order   *order
	span    trace.SpanContext // of the request
	settled chan struct{}     // closed when there is an outcome
	outcome outcome
}

func newQueue(post func(context.Context, []*order) []outcome) *queue {
	return &queue{post: post, flying: map[flight]*ticket{}}
}

// do has an order posted and returns what became of it. One whose key is in flight here never enters a second batch: it shares the outcome,
// as if it had come later. A caller who does not wait for the outcome undoes nothing.
func (q *queue) do(ctx context.Context, o *order) outcome {
	t, err := q.enter(o, trace.SpanContextFromContext(ctx))
	if err != nil {
		return outcome{err: err}
	}
	select {
	case <-t.settled:
	case <-ctx.Done():
		return outcome{err: ctx.Err()}
	}
	if t.order != o && t.outcome.err == nil {
		return o.again(t.order.fingerprint[:], t.outcome.answer)
	}
	return t.outcome
}

var errOverloaded = problem.Unavailable.New("overloaded", "Too many payments are waiting; send the same key again.")

// enter puts an order into the queue, unless its key is there already.
func (q *queue) enter(o *order, span trace.SpanContext) (*ticket, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f := flight{o.by, o.key}
	if t := q.flying[f]; t != nil {
		if t.order.fingerprint != o.fingerprint {
			return nil, errKeyReused
		}
		return t, nil
	}
	if len(q.waiting) == maxWaiting {
		return nil, errOverloaded
	}
	t := &ticket{order: o, span: span, settled: make(chan struct{})}
	q.flying[f] = t
	q.waiting = append(q.waiting, t)
	if q.posting < maxPosting {
		q.posting++
		go q.work()
	}
	return t, nil
}

// work posts what waits until nothing does.
func (q *queue) work() {
	for batch := q.next(); batch != nil; batch = q.next() {
		outcomes := q.postAll(batch)
		q.mu.Lock()
		for i, t := range batch {
			t.outcome = outcomes[i]
			delete(q.flying, flight{t.order.by, t.order.key})
			close(t.settled)
		}
		q.mu.Unlock()
	}
}

// postAll posts a batch as a part of the trace of one of its requests, with links to the others.
func (q *queue) postAll(batch []*ticket) []outcome {
	ctx, cancel := context.WithTimeout(context.Background(), postDeadline)
	defer cancel()
	var links []trace.Link
	for _, t := range batch {
		if t.span.IsSampled() {
			links = append(links, trace.Link{SpanContext: t.span})
		}
	}
	if len(links) > 0 {
		ctx = trace.ContextWithSpanContext(ctx, links[0].SpanContext)
	}
	ctx, span := otel.Tracer("transactions").Start(ctx, "post batch", trace.WithLinks(links...), trace.WithAttributes(attribute.Int("ledger.batch.size", len(batch))))
	defer span.End()
	return q.post(ctx, column(batch, func(t *ticket) *order { return t.order }))
}

// next takes the orders that wait, as many as fit into a batch; nil when there is none, and then the worker is not counted any more.
func (q *queue) next() []*ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), maxBatch)
	if n == 0 {
		q.posting--
		q.waiting = nil // and what it had grown to
		return nil
	}
	batch := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	return batch
}
