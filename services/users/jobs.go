package users

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"example.com/groundwork/pkg/seal"
)

const rotateEvery = 10 * time.Minute

// rotateKeys goes on with a rotation of the data key. Profiles in the cache are not touched: they are the rows as they were, sealed by a key that
// stays in the keyset when it seals no more, so they open until their time is up. Nor does it raise a row's version, because nothing has
// changed that anybody sees.
type rotateKeys struct {
	river.WorkerDefaults[rotateKeysArgs]
	rotation *seal.Rotation
}

type rotateKeysArgs struct{}

// Kind names the job in the queue.
func (rotateKeysArgs) Kind() string { return "rotate-keys" }

func newRotateKeys() (river.JobArgs, *river.InsertOpts) { return rotateKeysArgs{}, nil }

// Timeout is longer than that of other jobs: a run seals as many rows as it can.
func (*rotateKeys) Timeout(*river.Job[rotateKeysArgs]) time.Duration { return seal.RunTimeout }

// Work does what is due, if anything.
func (w *rotateKeys) Work(ctx context.Context, _ *river.Job[rotateKeysArgs]) error {
	return w.rotation.Continue(ctx)
}
