package transactions

import (
	"context"
	"time"

	"github.com/riverqueue/river"
)

// Keys are purged, and holds end, often and in small steps, so that no step holds its locks for long.
const (
	purgeEvery  = 10 * time.Minute
	purgeStep   = 1000
	expireEvery = time.Minute
	expireStep  = 100
)

// purge forgets the idempotency keys whose time is over.
type purge struct {
	river.WorkerDefaults[purgeArgs]
	store store
}

type purgeArgs struct{}

// Kind names the job in the queue.
func (purgeArgs) Kind() string { return "purge_idempotency_keys" }

func newPurge() (river.JobArgs, *river.InsertOpts) { return purgeArgs{}, nil }

// Work forgets until nothing is left to forget, or its time is over; the next run goes on.
func (p *purge) Work(ctx context.Context, _ *river.Job[purgeArgs]) error {
	for {
		if n, err := p.store.purgeKeys(ctx, purgeStep); err != nil || n < purgeStep {
			return err
		}
	}
}

// expire ends the holds whose time is over. A hold cannot be captured any more from that moment on; what it held is free when this has run.
type expire struct {
	river.WorkerDefaults[expireArgs]
	store store
}

type expireArgs struct{}

// Kind names the job in the queue.
func (expireArgs) Kind() string { return "expire_holds" }

func newExpire() (river.JobArgs, *river.InsertOpts) { return expireArgs{}, nil }

// Work ends them all, or its time is over; the next run goes on.
func (e *expire) Work(ctx context.Context, _ *river.Job[expireArgs]) error {
	_, err := e.store.expireHolds(ctx, expireStep)
	return err
}
