package telemetry

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Pool is a pool of connections as it is now.
type Pool struct {
	Idle, Used, Max int64 // connections
	Pending         int64 // who waits for one
}

// PoolAttributes are what the measurements of a pool are told apart by.
func PoolAttributes(system, name string, more ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(append(more,
		attribute.String("db.client.connection.pool.name", name), attribute.String("db.system.name", system))...))
}

// WatchPool adds a pool to the metrics. Names and units are those of OpenTelemetry's semantic conventions for clients of databases.
func WatchPool(system, name string, now func() Pool) error {
	m := otel.Meter("example.com/groundwork/pkg/telemetry")
	count, err := m.Int64ObservableUpDownCounter("db.client.connection.count", metric.WithUnit("{connection}"),
		metric.WithDescription("The number of connections that are currently in state described by the state attribute."))
	most, err2 := m.Int64ObservableUpDownCounter("db.client.connection.max", metric.WithUnit("{connection}"),
		metric.WithDescription("The maximum number of open connections allowed."))
	pending, err3 := m.Int64ObservableUpDownCounter("db.client.connection.pending_requests", metric.WithUnit("{request}"),
		metric.WithDescription("The number of current pending requests for an open connection."))
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	all := PoolAttributes(system, name)
	idle := PoolAttributes(system, name, attribute.String("db.client.connection.state", "idle"))
	used := PoolAttributes(system, name, attribute.String("db.client.connection.state", "used"))
	_, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		p := now()
		o.ObserveInt64(count, p.Idle, idle)
		o.ObserveInt64(count, p.Used, used)
		o.ObserveInt64(most, p.Max, all)
		o.ObserveInt64(pending, p.Pending, all)
		return nil
	}, count, most, pending)
	return err
}
