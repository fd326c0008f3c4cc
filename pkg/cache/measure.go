package cache

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// duration is how long commands to Redis take, by whether there came an answer. A pipeline counts as one.
type duration struct {
	histogram        metric.Float64Histogram
	answered, failed metric.MeasurementOption
}

func (d *duration) record(ctx context.Context, took time.Duration, answered bool) {
	how := d.answered
	if !answered {
		how = d.failed
	}
	d.histogram.Record(ctx, took.Seconds(), how.(metric.RecordOption))
}

// watch adds the client's connections to the metrics, as pkg/postgres does those of the modules, and returns where commands are to be recorded.
// The names are those of OpenTelemetry's semantic conventions for clients of databases, of which redisotel knows older ones.
func watch(client *redis.Client, most int64) (*duration, error) {
	m := otel.Meter("example.com/groundwork/pkg/cache")
	system := attribute.String("db.system.name", "redis")
	histogram, err := m.Float64Histogram("db.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of database client operations."),
		metric.WithExplicitBucketBoundaries(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10))
	count, err2 := m.Int64ObservableUpDownCounter("db.client.connection.count", metric.WithUnit("{connection}"),
		metric.WithDescription("The number of connections that are currently in state described by the state attribute."))
	limit, err3 := m.Int64ObservableUpDownCounter("db.client.connection.max", metric.WithUnit("{connection}"),
		metric.WithDescription("The maximum number of open connections allowed."))
	pending, err4 := m.Int64ObservableUpDownCounter("db.client.connection.pending_requests", metric.WithUnit("{request}"),
		metric.WithDescription("The number of current pending requests for an open connection."))
	timeouts, err5 := m.Int64ObservableCounter("db.client.connection.timeouts", metric.WithUnit("{timeout}"),
		metric.WithDescription("The number of connection timeouts that have occurred trying to obtain a connection from the pool."))
	if err := errors.Join(err, err2, err3, err4, err5); err != nil {
		return nil, err
	}
	name := attribute.String("db.client.connection.pool.name", "redis")
	pool := metric.WithAttributes(system, name)
	idle := metric.WithAttributes(system, name, attribute.String("db.client.connection.state", "idle"))
	used := metric.WithAttributes(system, name, attribute.String("db.client.connection.state", "used"))
	_, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		now := client.PoolStats()
		o.ObserveInt64(count, int64(now.IdleConns), idle)
		o.ObserveInt64(count, int64(now.TotalConns)-int64(now.IdleConns), used)
		o.ObserveInt64(limit, most, pool)
		o.ObserveInt64(pending, int64(now.PendingRequests), pool)
		o.ObserveInt64(timeouts, int64(now.Timeouts), pool)
		return nil
	}, count, limit, pending, timeouts)
	return &duration{
		histogram: histogram,
		answered:  metric.WithAttributeSet(attribute.NewSet(system)),
		failed:    metric.WithAttributeSet(attribute.NewSet(system, attribute.String("error.type", "unanswered"))),
	}, err
}
