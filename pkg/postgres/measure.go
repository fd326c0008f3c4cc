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
		name: metric.WithAttributeSet(attribute.NewSet(pool(name)...)),
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

// pool is what a pool's measurements are told apart by, and more.
func pool(name string, more ...attribute.KeyValue) []attribute.KeyValue {
	return append(more, attribute.String("db.client.connection.pool.name", name), attribute.String("db.system.name", "postgresql"))
}

// watch adds the pool itself to the metrics.
func (t *tracer) watch(name string, p *pgxpool.Pool) error {
	m := otel.Meter(meter)
	count, err := m.Int64ObservableUpDownCounter("db.client.connection.count", metric.WithUnit("{connection}"),
		metric.WithDescription("The number of connections that are currently in state described by the state attribute."))
	most, err2 := m.Int64ObservableUpDownCounter("db.client.connection.max", metric.WithUnit("{connection}"),
		metric.WithDescription("The maximum number of open connections allowed."))
	pending, err3 := m.Int64ObservableUpDownCounter("db.client.connection.pending_requests", metric.WithUnit("{request}"),
		metric.WithDescription("The number of current pending requests for an open connection."))
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	idle := metric.WithAttributes(pool(name, attribute.String("db.client.connection.state", "idle"))...)
	used := metric.WithAttributes(pool(name, attribute.String("db.client.connection.state", "used"))...)
	_, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		now := p.Stat()
		o.ObserveInt64(count, int64(now.IdleConns()), idle)
		o.ObserveInt64(count, int64(now.TotalConns()-now.IdleConns()), used) // those that are being made, too
		o.ObserveInt64(most, int64(now.MaxConns()), t.name)
		o.ObserveInt64(pending, t.pending.Load(), t.name)
		return nil
	}, count, most, pending)
	return err
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
