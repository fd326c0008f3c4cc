package postgres

import (
	"container/list"
	"context"
	"errors"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"example.com/groundwork/pkg/telemetry"
)

// tracer is otelpgx's, and stands around every wait for a connection: it ends the wait, or does not let it begin, as a pgxpool asks its tracer for
// the context to wait with, and measures it. Names and units are those of OpenTelemetry's semantic conventions for pools of connections, where there
// are any; otelpgx has names of its own for them, under which the pools of two modules are one.
type tracer struct {
	*otelpgx.Tracer
	name     metric.MeasurementOption // of the pool
	wait     metric.Float64Histogram
	timeouts metric.Int64Counter
	turns    turns
}

const meter = "example.com/groundwork/pkg/postgres"

func newTracer(name string, conns int32) (*tracer, error) {
	t := &tracer{
		Tracer: otelpgx.NewTracer(otelpgx.WithSpanNameFunc(spanName), otelpgx.WithDisableConnectionDetailsInAttributes(),
			otelpgx.WithMeterAttributes(attribute.String("module", name))),
		name:  telemetry.PoolAttributes("postgresql", name),
		turns: turns{conns: float64(conns), taken: map[*pgx.Conn]time.Time{}},
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
	turn, err := otel.Meter(meter).Float64ObservableGauge("db.client.connection.turn", metric.WithUnit("s"),
		metric.WithDescription("How long who comes now would wait for a connection."))
	if err != nil {
		return err
	}
	if _, err := otel.Meter(meter).RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveFloat64(turn, t.turns.now(p).Seconds(), t.name.(metric.ObserveOption))
		return nil
	}, turn); err != nil {
		return err
	}
	return telemetry.WatchPool("postgresql", name, func() telemetry.Pool {
		now := p.Stat()
		return telemetry.Pool{
			Idle: int64(now.IdleConns()), Used: int64(now.TotalConns() - now.IdleConns()), // those that are being made, too
			Max: int64(now.MaxConns()), Pending: t.turns.waiting(),
		}
	})
}

// waiting is one wait for a connection.
type waiting struct {
	began  time.Time
	cancel context.CancelFunc
	place  *list.Element
}

type waitingKey struct{}

// TraceAcquireStart gives the wait its end.
func (t *tracer) TraceAcquireStart(ctx context.Context, pool *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	place, err := t.turns.wait(ctx, pool)
	if err != nil {
		return sentAway{ctx, err}
	}
	ctx, cancel := context.WithTimeout(ctx, acquireTimeout)
	return context.WithValue(ctx, waitingKey{}, waiting{time.Now(), cancel, place})
}

// turn is when it is somebody's turn: they have a connection that is looked at, or may make one.
func (t *tracer) turn(ctx context.Context) {
	if w, ok := ctx.Value(waitingKey{}).(waiting); ok { // else the pool makes one to have some
		t.turns.leave(w.place)
	}
}

// TraceAcquireEnd measures it. One that came to nothing counts as well: it is the longest.
func (t *tracer) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, end pgxpool.TraceAcquireEndData) {
	if _, is := ctx.(sentAway); is {
		return
	}
	w := ctx.Value(waitingKey{}).(waiting)
	t.turns.leave(w.place)
	if end.Conn != nil {
		t.turns.take(ctx, end.Conn)
	}
	t.wait.Record(ctx, time.Since(w.began).Seconds(), t.name.(metric.RecordOption))
	if end.Err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.timeouts.Add(ctx, 1, t.name)
	}
	w.cancel()
}

// TraceRelease is when a connection comes back.
func (t *tracer) TraceRelease(_ *pgxpool.Pool, end pgxpool.TraceReleaseData) {
	t.turns.release(end.Conn)
}
