package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const (
	meter        = "example.com/groundwork/pkg/jobs"
	watchTimeout = time.Second // of what the metrics ask
)

// newDuration measures tries of jobs. What becomes of one is its outcome: done, again when it is tried once more, given-up, or refused.
func newDuration() (metric.Float64Histogram, error) {
	return otel.Meter(meter).Float64Histogram("job.duration", metric.WithUnit("s"), metric.WithDescription("Duration of the tries of jobs, by what became of them."),
		metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 20, 60, 600))
}

// states are what jobs that are not done can be in. One that is given up (River: discarded) stays until somebody decides (desk.go), one that was
// refused (River: cancelled) for a month.
var states = []string{"available", "scheduled", "retryable", "running", "given-up", "refused"}

// watch adds to the metrics how many jobs wait, for how long the one has that waits the longest, and how many were given up. It is read from the
// database, so each instance tells the same. No figure is told, rather than a wrong one, while the database is away.
func watch(db *pgxpool.Pool, module string) error {
	m := otel.Meter(meter)
	depth, err := m.Int64ObservableGauge("job.queue.depth", metric.WithUnit("{job}"), metric.WithDescription("Jobs that are not done, by their state."))
	age, err2 := m.Float64ObservableGauge("job.queue.age", metric.WithUnit("s"),
		metric.WithDescription("For how long the oldest job is due that nobody works on; 0 when there is none."))
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	sql := fmt.Sprintf(`
		select case state when 'discarded' then 'given-up' when 'cancelled' then 'refused' when 'pending' then 'scheduled' else state::text end as state, count(*),
		       coalesce(extract(epoch from now() - min(scheduled_at) filter (where state in ('available', 'scheduled', 'retryable') and scheduled_at <= now())), 0)::float8 as age
		from %s where state in ('available', 'scheduled', 'pending', 'retryable', 'running', 'discarded', 'cancelled') group by state`,
		pgx.Identifier{module, "river_job"}.Sanitize())
	in := func(more ...attribute.KeyValue) metric.MeasurementOption {
		return metric.WithAttributes(append(more, attribute.String("module", module))...)
	}
	_, err = m.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, watchTimeout)
		defer cancel()
		rows, _ := db.Query(ctx, sql)
		counts, oldest, of := map[string]int64{}, 0.0, struct {
			State string
			Count int64
			Age   float64
		}{}
		if _, err := pgx.ForEachRow(rows, []any{&of.State, &of.Count, &of.Age}, func() error {
			counts[of.State] += of.Count
			oldest = max(oldest, of.Age)
			return nil
		}); err != nil {
			return nil
		}
		for _, state := range states {
			o.ObserveInt64(depth, counts[state], in(attribute.String("state", state)))
		}
		o.ObserveFloat64(age, oldest, in())
		return nil
	}, depth, age)
	return err
}
