package cache

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"example.com/groundwork/pkg/telemetry"
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
	timeouts, err2 := m.Int64ObservableCounter("db.client.connection.timeouts", metric.WithUnit("{timeout}"),
		metric.WithDescription("The number of connection timeouts that have occurred trying to obtain a connection from the pool."))
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	pool := telemetry.PoolAttributes("redis", "redis")
	if _, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(timeouts, int64(client.PoolStats().Timeouts), pool)
		return nil
	}, timeouts); err != nil {
		return nil, err
	}
	err = telemetry.WatchPool("redis", "redis", func() telemetry.Pool {
		now := client.PoolStats()
		return telemetry.Pool{Idle: int64(now.IdleConns), Used: int64(now.TotalConns) - int64(now.IdleConns), Max: most, Pending: int64(now.PendingRequests)}
	})
	return &duration{
		histogram: histogram,
		answered:  metric.WithAttributeSet(attribute.NewSet(system)),
		failed:    metric.WithAttributeSet(attribute.NewSet(system, attribute.String("error.type", "unanswered"))),
	}, err
}
