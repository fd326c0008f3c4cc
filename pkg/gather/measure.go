package gather

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// measured is what a group tells of itself: how large its batches are and how long they take, and how near it is to having no room.
type measured struct {
	group    metric.MeasurementOption
	size     metric.Int64Histogram
	duration metric.Float64Histogram
	refused  metric.Int64Counter
}

// newMeasured adds a group to the metrics. waiting is asked at each scrape.
func newMeasured(name string, limit int, waiting func() int) *measured {
	m := otel.Meter("example.com/groundwork/pkg/gather")
	size, err := m.Int64Histogram("batch.size", metric.WithUnit("{call}"), metric.WithDescription("Calls that share a batch."),
		metric.WithExplicitBucketBoundaries(1, 2, 4, 8, 16, 32, 64, 128, 256))
	duration, err2 := m.Float64Histogram("batch.duration", metric.WithUnit("s"), metric.WithDescription("Duration of batches."),
		metric.WithExplicitBucketBoundaries(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10))
	refused, err3 := m.Int64Counter("batch.refused", metric.WithUnit("{call}"), metric.WithDescription("Calls that were refused, as too many waited already, or too many for how long a batch takes."))
	depth, err4 := m.Int64ObservableGauge("batch.waiting", metric.WithUnit("{call}"), metric.WithDescription("Calls that wait for a batch."))
	most, err5 := m.Int64ObservableGauge("batch.waiting.max", metric.WithUnit("{call}"), metric.WithDescription("How many may wait."))
	g := &measured{metric.WithAttributeSet(attribute.NewSet(attribute.String("group", name))), size, duration, refused}
	if err := errors.Join(err, err2, err3, err4, err5); err != nil { // the names are constants
		panic(err)
	}
	if _, err := m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(depth, int64(waiting()), g.group)
		o.ObserveInt64(most, int64(limit), g.group)
		return nil
	}, depth, most); err != nil { // both are of this meter
		panic(err)
	}
	refused.Add(context.Background(), 0, g.group)
	return g
}

func (m *measured) batch(ctx context.Context, calls int, took time.Duration) {
	group := m.group.(metric.RecordOption)
	m.size.Record(ctx, int64(calls), group)
	m.duration.Record(ctx, took.Seconds(), group)
}
