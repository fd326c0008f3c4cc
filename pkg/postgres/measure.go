package postgres

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"example.com/groundwork/pkg/telemetry"
)

// tracer is otelpgx's, and stands around every wait for a connection: it ends the wait, as a pgxpool asks its tracer for the context to wait
// with, and measures it. Names and units are those of OpenTelemetry's semantic conventions for pools of connections; otelpgx has names of its
// own for them, under which the pools of two modules are one.
type tracer struct {
	*otelpgx.Tracer
	name     metric.MeasurementOption // of the pool
	wait     metric.Float64Histogram
	timeouts metric.Int64Counter
	pending  atomic.Int64
}

const meter = "example.com/groundwork/pkg/postgres"

func newTracer(name string) (*tracer, error) {
	t := &tracer{
		Tracer: otelpgx.NewTracer(otelpgx.WithSpanNameFunc(spanName), otelpgx.WithDisableConnectionDetailsInAttributes(),
			otelpgx.WithMeterAttributes(attribute.String("module", name))),
		name: telemetry.PoolAttributes("postgresql", name),
	}
	var err, err2 error
	t.wait, err = otel.Meter(meter).Float64Histogram("db.client.connection.wait_time", metric.WithUnit("s"),
		metric.WithDescription("The time it took to obtain an open connection from the pool."),
		metric.WithExplicitBucketBoundaries(0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5))
	t.timeouts, err2 = otel.Meter(meter).Int64Counter("db.client.connection.timeouts", metric.WithUnit("{timeout}"),
		metric.WithDescription("The number of connection timeouts that have occurred trying to obtain a connection from the pool."))
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	t.timeouts.Add(context.Background(), 0, t.name) // there from the start: the first one is an increase
	return t, nil
}

// watch adds the pool itself to the metrics.
func (t *tracer) watch(name string, p *pgxpool.Pool) error {
	return telemetry.WatchPool("postgresql", name, func() telemetry.Pool {
		now := p.Stat()
		return telemetry.Pool{
			Idle: int64(now.IdleConns()), Used: int64(now.TotalConns() - now.IdleConns()), // those that are being made, too
			Max: int64(now.MaxConns()), Pending: t.pending.Load(),
		}
	})
}

// waiting is one wait for a connection.
type waiting struct {
	began  time.Time
	cancel context.CancelFunc
}

type waitingKey struct{}

// TraceAcquireStart gives the wait its end.
func (t *tracer) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	t.pending.Add(1)
	ctx, cancel := context.WithTimeout(ctx, acquireTimeout)
	return context.WithValue(ctx, waitingKey{}, waiting{time.Now(), cancel})
}

// TraceAcquireEnd measures it. One that came to nothing counts as well: it is the longest.
func (t *tracer) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, end pgxpool.TraceAcquireEndData) {
	t.pending.Add(-1)
	w := ctx.Value(waitingKey{}).(waiting)
	t.wait.Record(ctx, time.Since(w.began).Seconds(), t.name.(metric.RecordOption))
	if end.Err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.timeouts.Add(ctx, 1, t.name)
	}
	w.cancel()
}
