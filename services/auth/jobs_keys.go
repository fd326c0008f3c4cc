package auth

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"

	"example.com/groundwork/pkg/seal"
)

// rotateEvery is far more often than a signing key is due. The time counts from a process's start: a job of every day would never come where
// the program is released every day.
const rotateEvery = 10 * time.Minute

type rotateKeysArgs struct{}

// Kind names the job in the queue.
func (rotateKeysArgs) Kind() string { return "rotate-keys" }

func newRotateKeys() (river.JobArgs, *river.InsertOpts) { return rotateKeysArgs{}, nil }

// rotateKeys goes on with a rotation of the data key, and makes and deletes signing keys in their time.
type rotateKeys struct {
	river.WorkerDefaults[rotateKeysArgs]
	m *Module
}

// Timeout is longer than that of other jobs: a run seals as many rows as it can.
func (*rotateKeys) Timeout(*river.Job[rotateKeysArgs]) time.Duration { return seal.RunTimeout }

// Work does what is due, if anything.
func (w *rotateKeys) Work(ctx context.Context, _ *river.Job[rotateKeysArgs]) error {
	return errors.Join(w.m.signing.rotate(ctx), w.m.rotation.Continue(ctx))
}
