package transactions

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"example.com/groundwork/pkg/gather"
)

// Orders are posted in batches: those that arrive while a batch is being written are the next one (pkg/gather). The cost of a database
// transaction, its round trips and above all its commit, is shared by all in it, and an account that everybody pays into is locked once per
// batch and not once per payment.
//
// Two batches are on their way at a time, so that one is decided and written while the other one commits. More would be
// smaller, and wait for each other's accounts. A batch goes on for as long as it may take, whoever has left: what was begun is
// finished, and found under its key.
var inBatches = gather.Limits{Batches: 2, Size: 256, Waiting: 1024, Time: batchTimeout}

const batchTimeout = 10 * time.Second

// queue is where orders wait to be posted.
type queue struct {
	orders *gather.Group[*order, outcome]

	mu     sync.Mutex
	flying map[flight]flying // waiting or being posted
}

// flight names an order by whose key it has.
type flight struct {
	by  uuid.UUID
	key string
}

// flying is an order on its way.
type flying struct {
	order *order
	call  *gather.Call[*order, outcome]
}

// newQueue makes a queue in front of post, which never gets a key twice in a batch.
func newQueue(post func(ctx context.Context, orders []*order) []outcome) *queue {
	q := &queue{flying: map[flight]flying{}}
	q.orders = gather.New("post batch", inBatches, func(ctx context.Context, orders []*order) []outcome {
		defer q.land(orders)
		return post(ctx, orders)
	})
	return q
}

// do has an order posted and returns what became of it. One whose key is in flight here never enters a second batch: it shares the outcome,
// as if it had come later. A caller who does not wait for the outcome undoes nothing.
func (q *queue) do(ctx context.Context, o *order) outcome {
	f, err := q.fly(ctx, o)
	if err != nil {
		return outcome{err: err}
	}
	if f.order.fingerprint != o.fingerprint {
		return outcome{err: errKeyReused}
	}
	out, err := f.call.Wait(ctx)
	switch {
	case err != nil:
		return outcome{err: err}
	case f.order != o && out.err == nil:
		return o.again(f.order.fingerprint[:], out.answer)
	}
	return out
}

// fly lets an order wait to be posted, unless one with its key is on its way already.
func (q *queue) fly(ctx context.Context, o *order) (flying, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f, is := q.flying[flight{o.by, o.key}]; is {
		return f, nil
	}
	call, err := q.orders.Begin(ctx, o)
	if err != nil {
		return flying{}, err
	}
	f := flying{o, call}
	q.flying[flight{o.by, o.key}] = f
	return f, nil
}

// land forgets orders that are posted: their keys are in the database now.
func (q *queue) land(orders []*order) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, o := range orders {
		delete(q.flying, flight{o.by, o.key})
	}
}
