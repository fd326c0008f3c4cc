package transactions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/pkg/etag"
)

const (
	checkEvery   = 5 * time.Minute
	checkAllAt   = 3 * time.Hour // after midnight, UTC
	checkOverlap = 10 * time.Minute
	checkTimeout = 30 * time.Minute // of one run; the statements of the checks have it, too
	watchTimeout = time.Second      // of what the metrics ask
	checkAgain   = time.Hour        // after a run over everything that came to no end
	keepRuns     = 30 * 24 * time.Hour
)

// integrityRun is one run over what must always hold.
type integrityRun struct {
	ID         uuid.UUID
	IsFull     bool
	StartedAt  time.Time
	FinishedAt *time.Time
	Checks     int
	Failures   []integrityFailure
}

// integrityFailure is one thing that does not hold.
type integrityFailure struct {
	Invariant string   `json:"invariant"`
	Rule      string   `json:"rule"`
	Found     int      `json:"found"`
	Examples  []string `json:"examples"`
}

func (r integrityRun) status() transactionsv1.IntegrityRunStatus {
	switch {
	case r.FinishedAt == nil:
		return transactionsv1.IntegrityRunStatusRunning
	case len(r.Failures) > 0:
		return transactionsv1.IntegrityRunStatusFailed
	}
	return transactionsv1.IntegrityRunStatusPassed
}

// tag is the run's ETag: a run changes once, when it is finished.
func (r integrityRun) tag() string {
	return etag.Of(r.ID.String() + "." + strconv.FormatBool(r.FinishedAt != nil))
}

// api is the run as the contract has it.
func (r integrityRun) api() transactionsv1.IntegrityRun {
	failures := []transactionsv1.IntegrityFailure{}
	for _, f := range r.Failures {
		failures = append(failures, transactionsv1.IntegrityFailure{Invariant: f.Invariant, Rule: f.Rule, Found: f.Found, Examples: f.Examples})
	}
	return transactionsv1.IntegrityRun{
		Id: r.ID, IsFull: r.IsFull, Status: r.status(), StartedAt: r.StartedAt.UTC(), FinishedAt: r.FinishedAt, Checks: r.Checks, Failures: failures,
	}
}

// GetIntegrity reads the last run.
func (m *Module) GetIntegrity(ctx context.Context, r transactionsv1.GetIntegrityRequestObject) (transactionsv1.GetIntegrityResponseObject, error) {
	run, err := m.store.lastRun(ctx)
	if err != nil {
		return nil, err
	}
	if etag.None(r.Params.IfNoneMatch, run.tag()) {
		return transactionsv1.GetIntegrity304Response{Headers: transactionsv1.GetIntegrity304ResponseHeaders{ETag: run.tag()}}, nil
	}
	return transactionsv1.GetIntegrity200JSONResponse{Body: run.api(), Headers: transactionsv1.GetIntegrity200ResponseHeaders{ETag: run.tag()}}, nil
}

// StartIntegrity starts a run over everything.
func (m *Module) StartIntegrity(ctx context.Context, _ transactionsv1.StartIntegrityRequestObject) (transactionsv1.StartIntegrityResponseObject, error) {
	id, now, err := stamp()
	if err != nil {
		return nil, err
	}
	run, err := m.store.startRun(ctx, integrityRun{ID: id, IsFull: true, StartedAt: now}, m.queue)
	if err != nil {
		return nil, err
	}
	return transactionsv1.StartIntegrity202JSONResponse{
		Body: run.api(), Headers: transactionsv1.StartIntegrity202ResponseHeaders{Location: "/v1/ledger/integrity"},
	}, nil
}

// check is the job that makes a run.
type check struct {
	river.WorkerDefaults[checkArgs]
	store store
	log   *slog.Logger
}

// checkArgs name the run that somebody started; without an id the run is the job's own.
type checkArgs struct {
	RunID  uuid.UUID `json:"run_id"`
	IsFull bool      `json:"is_full"`
}

// Kind names the job in the queue.
func (checkArgs) Kind() string { return "check_integrity" }

func newRun() (river.JobArgs, *river.InsertOpts) { return checkArgs{}, nil }

// Timeout is longer than that of other jobs: a run over everything reads everything.
func (*check) Timeout(*river.Job[checkArgs]) time.Duration { return checkTimeout }

// Work makes the run, and tells where the ledger does not add up: in the log, in a metric (watch), and to who asks for the run.
func (c *check) Work(ctx context.Context, job *river.Job[checkArgs]) error {
	since, err := c.store.checkedUntil(ctx, time.Now())
	if err != nil {
		return err
	}
	if job.Args.IsFull {
		since = time.Time{}
	}
	run := integrityRun{ID: job.Args.RunID, IsFull: since.IsZero()}
	if run.ID == uuid.Nil {
		if run.ID, run.StartedAt, err = stamp(); err != nil {
			return err
		}
		begun, err := c.store.startRun(ctx, run, nil)
		if err != nil || begun.ID != run.ID { // one is on its way, or has died and is not missed yet: the next job looks again
			return err
		}
	}
	var wrong error
	for _, i := range invariants {
		run.Checks++
		found, examples, err := c.store.broken(ctx, i.sql, since)
		if damaged(err) { // a guard that is gone, an id that is none: what cannot be checked does not hold
			found, examples, err = 1, []string{err.Error()}, nil
		}
		if err != nil { // Postgres is away, or it took too long: that says nothing, and what the other checks find counts
			wrong = errors.Join(wrong, fmt.Errorf("check %s, %s: %w", i.name, i.rule, err))
			continue
		}
		if found > 0 {
			run.Failures = append(run.Failures, integrityFailure{i.name, i.rule, found, examples})
			c.log.ErrorContext(ctx, "the ledger does not add up", "invariant", i.name, "rule", i.rule, "found", found, "examples", examples)
		}
	}
	if wrong != nil && len(run.Failures) == 0 {
		return wrong // this run has no end; another one has to be made
	}
	return errors.Join(c.store.finishRun(ctx, run), wrong)
}

// lastNight is the last time at which a run over everything was due.
func lastNight(now time.Time) time.Time {
	due := now.UTC().Truncate(24 * time.Hour).Add(checkAllAt)
	if due.After(now) {
		due = due.AddDate(0, 0, -1)
	}
	return due
}

// watch adds to the metrics what the last runs have found, and how long ago they were begun: a check that is not made looks like one that
// finds nothing. It is read from the database, so each instance tells the same, whichever made the run.
func watch(meter metric.Meter, s store) error {
	failures, err := meter.Int64ObservableGauge("ledger.integrity.failures",
		metric.WithDescription("In how many places an invariant of the ledger does not hold, by the last run."))
	if err != nil {
		return err
	}
	age, err := meter.Float64ObservableGauge("ledger.integrity.age", metric.WithUnit("s"),
		metric.WithDescription("How long ago the last run began that came to an end: of any sort, and over all of history."))
	if err != nil {
		return err
	}
	_, err = meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, watchTimeout)
		defer cancel()
		found, err := s.verdict(ctx)
		if err != nil || found.Any == nil { // no figure, rather than a wrong one; that the database is away is told elsewhere
			return nil
		}
		now, broken := time.Now(), map[string]int{}
		for _, f := range found.Failures {
			broken[f.Invariant] += f.Found
		}
		for _, i := range invariants {
			o.ObserveInt64(failures, int64(broken[i.name]), metric.WithAttributes(attribute.String("invariant", i.name)))
		}
		o.ObserveFloat64(age, now.Sub(*found.Any).Seconds(), metric.WithAttributes(attribute.String("run", "any")))
		if found.Full != nil {
			o.ObserveFloat64(age, now.Sub(*found.Full).Seconds(), metric.WithAttributes(attribute.String("run", "full")))
		}
		return nil
	}, failures, age)
	return err
}
