package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

// Desk is where a person looks at the jobs of a module that did not succeed, and decides what becomes of those that nobody tries any more.
type Desk struct{ client *river.Client[pgx.Tx] }

// Job is one that failed once at least.
type Job struct {
	ID      int64
	Kind    string
	Args    string // ids only, as Add wants them
	State   State
	Attempt int
	Since   time.Time // it was enqueued
	Next    time.Time // try
	Failure string    // the last one
}

// State is what becomes of a job that failed.
type State string

// The states of a job that failed.
const (
	Retried State = "waits"    // for its next try
	GivenUp State = "given-up" // it failed as often as it is tried
	Refused State = "refused"  // by what it needs, for good (Refuse)
)

// statesOf are River's names for them.
var statesOf = map[rivertype.JobState]State{
	rivertype.JobStateRetryable: Retried, rivertype.JobStateDiscarded: GivenUp, rivertype.JobStateCancelled: Refused,
}

// NewDesk opens the desk of the module with this schema; nil when the module has no jobs.
func NewDesk(ctx context.Context, db *pgxpool.Pool, schema string) (*Desk, error) {
	var has bool
	if err := db.QueryRow(ctx, `select to_regclass($1) is not null`, pgx.Identifier{schema, "river_job"}.Sanitize()).Scan(&has); err != nil || !has {
		return nil, err
	}
	client, err := river.NewClient(riverpgxv5.New(db), &river.Config{Schema: schema})
	if err != nil {
		return nil, fmt.Errorf("jobs of %s: %w", schema, err)
	}
	return &Desk{client}, nil
}

const listed = 1000

// Failed lists those that failed and were not done since, the oldest first, a thousand at most of those after the one with this id.
func (d *Desk) Failed(ctx context.Context, after int64) ([]Job, error) {
	found, err := d.client.JobList(ctx, river.NewJobListParams().First(listed).Where("id > @after", river.NamedArgs{"after": after}).
		States(slices.Collect(maps.Keys(statesOf))...).OrderBy(river.JobListOrderByID, river.SortOrderAsc))
	if err != nil {
		return nil, err
	}
	var list []Job
	for _, row := range found.Jobs {
		j := Job{
			ID: row.ID, Kind: row.Kind, Args: string(row.EncodedArgs), State: statesOf[row.State],
			Attempt: row.Attempt, Since: row.CreatedAt, Next: row.ScheduledAt,
		}
		if n := len(row.Errors); n > 0 {
			j.Failure, _, _ = strings.Cut(row.Errors[n-1].Error, "\n") // of a panic the first line
		}
		list = append(list, j)
	}
	return list, nil
}

// ErrNotFailed says that a job is not there, or did not fail.
var ErrNotFailed = errors.New("there is no such job that failed")

// Retry has a job that failed tried again now.
func (d *Desk) Retry(ctx context.Context, id int64) error {
	if err := d.failed(ctx, id); err != nil {
		return err
	}
	_, err := d.client.JobRetry(ctx, id)
	return err
}

// Drop deletes a job that failed: what it should have done is not done.
func (d *Desk) Drop(ctx context.Context, id int64) error {
	if err := d.failed(ctx, id); err != nil {
		return err
	}
	_, err := d.client.JobDelete(ctx, id)
	return err
}

func (d *Desk) failed(ctx context.Context, id int64) error {
	row, err := d.client.JobGet(ctx, id)
	if errors.Is(err, rivertype.ErrNotFound) {
		return ErrNotFailed
	}
	if err == nil && statesOf[row.State] == "" {
		return ErrNotFailed
	}
	return err
}
