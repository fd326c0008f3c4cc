// Package jobs is a module's background work: River's queue in the module's own schema. A job is enqueued in the transaction that makes
// it necessary, so it exists if and only if that was committed; it is tried until it succeeds, so its work must bear being repeated.
package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const (
	timeout  = 20 * time.Second // of one try
	rescue   = 30 * time.Second // after it a job whose process died is tried again; River looks every 30 s
	softStop = 10 * time.Second // what a running job gets when the process ends
	workers  = 10

	refusedFor = 30 * 24 * time.Hour // a job that was refused is there for a person to see
)

// Queue is one module's jobs.
type Queue struct {
	client *river.Client[pgx.Tx]

	chores []chore

	mu   sync.Mutex // of what follows: Start may run beside Stop, when a program ends as its database comes
	stop context.CancelFunc
	busy sync.WaitGroup
}

// chore is what every process does for itself while it works jobs.
type chore struct {
	every time.Duration
	do    func(ctx context.Context)
}

// Every has each process that works jobs do something over and over, between Start and Stop: what is no job because all of them have to.
func (q *Queue) Every(every time.Duration, do func(ctx context.Context)) {
	q.chores = append(q.chores, chore{every, do})
}

// New makes the queue in the module's schema. It works nothing before Start.
func New(db *pgxpool.Pool, schema string, log *slog.Logger, kinds *river.Workers, periodic ...*river.PeriodicJob) (*Queue, error) {
	duration, err := newDuration()
	if err = errors.Join(err, watch(db, schema)); err != nil {
		return nil, fmt.Errorf("measure the jobs of %s: %w", schema, err)
	}
	client, err := river.NewClient(riverpgxv5.New(db), &river.Config{
		Schema:               schema,
		Workers:              kinds,
		PeriodicJobs:         periodic,
		Queues:               map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		Middleware:           []rivertype.Middleware{&traced{schema: schema, log: log, duration: duration}},
		Logger:               slog.New(warnings{log.Handler()}),
		JobTimeout:           timeout,
		RescueStuckJobsAfter: rescue,
		SoftStopTimeout:      softStop,
		ReindexerIndexNames:  []string{}, // only an owner may reindex, and the module's login owns nothing
		// What was given up stays until a person decides (desk.go): it was accepted. What was refused stays for as long as somebody may ask.
		DiscardedJobRetentionPeriod: -1,
		CancelledJobRetentionPeriod: refusedFor,
	})
	if err != nil {
		return nil, fmt.Errorf("jobs of %s: %w", schema, err)
	}
	return &Queue{client: client}, nil
}

// Add enqueues a job in the caller's transaction. Its arguments are ids only: they are kept, shown and logged.
func (q *Queue) Add(ctx context.Context, tx pgx.Tx, args river.JobArgs) error {
	_, err := q.client.InsertTx(ctx, tx, args, nil)
	return err
}

// Refuse is the error of a job that what it needs has refused for good, as a mail server does an address: nobody tries it again, but a person may.
func Refuse(why error) error { return river.JobCancel(why) }

// Start works jobs until Stop.
func (q *Queue) Start(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if err := q.client.Start(ctx); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	ctx, q.stop = context.WithCancel(ctx)
	for _, c := range q.chores {
		q.busy.Go(func() {
			tick := time.NewTicker(c.every)
			defer tick.Stop()
			for ctx.Err() == nil {
				c.do(ctx)
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		})
	}
	return nil
}

// Stop takes no more jobs, gives the running ones a while to end, and cancels those that do not: they are tried again elsewhere. It ends with ctx.
func (q *Queue) Stop(ctx context.Context) error {
	q.mu.Lock()
	stop := q.stop
	q.mu.Unlock()
	if stop != nil {
		stop()
	}
	ended := make(chan struct{})
	go func() { q.busy.Wait(); close(ended) }()
	err := q.client.Stop(ctx)
	select {
	case <-ended:
	case <-ctx.Done():
		err = errors.Join(err, ctx.Err())
	}
	return err
}

// traced lets a job go on in the trace of the request that enqueued it, and measures and logs each try once, where it ends.
type traced struct {
	river.MiddlewareDefaults
	schema   string
	log      *slog.Logger
	duration metric.Float64Histogram
}

const metadataKey = "trace"

// InsertMany notes the trace among the job's metadata.
func (*traced) InsertMany(ctx context.Context, many []*rivertype.JobInsertParams, do func(context.Context) ([]*rivertype.JobInsertResult, error)) ([]*rivertype.JobInsertResult, error) {
	carrier := propagation.MapCarrier{}
	otel.GetTextMapPropagator().Inject(ctx, carrier)
	for _, job := range many {
		metadata := map[string]json.RawMessage{}
		if len(job.Metadata) > 0 {
			if err := json.Unmarshal(job.Metadata, &metadata); err != nil {
				return nil, err
			}
		}
		var err error
		if metadata[metadataKey], err = json.Marshal(carrier); err != nil {
			return nil, err
		}
		if job.Metadata, err = json.Marshal(metadata); err != nil {
			return nil, err
		}
	}
	return do(ctx)
}

// Work runs one try of a job as a span.
func (t *traced) Work(ctx context.Context, job *rivertype.JobRow, do func(context.Context) error) error {
	var metadata struct {
		Trace propagation.MapCarrier `json:"trace"`
	}
	if json.Unmarshal(job.Metadata, &metadata) == nil && metadata.Trace != nil {
		ctx = otel.GetTextMapPropagator().Extract(ctx, metadata.Trace)
	}
	ctx, span := otel.Tracer("jobs").Start(ctx, "job "+job.Kind, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("job.kind", job.Kind), attribute.Int("job.attempt", job.Attempt)))
	defer span.End()
	began := time.Now()
	err := whole(ctx, do)
	took := time.Since(began)
	level, outcome := slog.LevelInfo, "done"
	if err != nil {
		level, outcome = slog.LevelWarn, "again"
		switch {
		case errors.Is(err, &river.JobCancelError{}):
			outcome = string(Refused)
		case job.Attempt >= job.MaxAttempts:
			level, outcome = slog.LevelError, string(GivenUp) // nobody tries it again: a person has to look
		}
		span.SetStatus(codes.Error, "the try failed")
	}
	t.duration.Record(ctx, took.Seconds(), metric.WithAttributes(
		attribute.String("module", t.schema), attribute.String("kind", job.Kind), attribute.String("outcome", outcome)))
	attrs := []slog.Attr{
		slog.String("module", t.schema), slog.String("kind", job.Kind), slog.Int64("job", job.ID), slog.Int("attempt", job.Attempt), slog.String("outcome", outcome),
		slog.Float64("ms", float64(took.Microseconds())/1000),
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	t.log.LogAttrs(ctx, level, "job", attrs...)
	return err
}

// whole lets a panic end like any other failure: one line in the log, and another try.
func whole(ctx context.Context, do func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return do(ctx)
}

// warnings lets River say only what needs somebody: its tries are logged above.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}
func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
