package transactions

import (
	"context"
	"time"

	"github.com/riverqueue/river"
)

// Keys are purged often and in small steps, so that no step holds its locks for long.
const (
	purgeEvery = 10 * time.Minute
	purgeStep  = 1000
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
