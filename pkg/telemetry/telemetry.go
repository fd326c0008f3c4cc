// Package telemetry sets up traces, metrics and logs. Metrics are always there to be scraped; traces and metrics are also pushed when a
// collector is named (OTEL_EXPORTER_OTLP_ENDPOINT and its relatives). Without one it is silent, and nothing here can stop the program.
package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Config says what to name the program and where to send things. The exporters read the other OTEL_EXPORTER_OTLP_* variables themselves.
type Config struct {
	Service, Version, Revision, Environment string
	Traces, Metrics                         bool    // push them to the collector
	Sample                                  float64 // the share of traces that begin here and are kept, 0 to 1
	Log                                     *slog.Logger
}

// Telemetry is what runs until Shutdown.
type Telemetry struct {
	Metrics http.Handler // what /metrics answers, in Prometheus' format
	stops   []func(context.Context) error
}

// Start sets the global tracer, meter and propagator. What fails is logged and left out.
func Start(ctx context.Context, c Config) *Telemetry {
	t := &Telemetry{}
	otel.SetErrorHandler(&quietly{log: c.Log})
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	// Without a schema URL: two of them that differ would be an error, after an upgrade, in production only.
	about := resource.NewSchemaless(
		attribute.String("service.name", c.Service), attribute.String("service.version", c.Version),
		attribute.String("vcs.ref.head.revision", c.Revision), attribute.String("deployment.environment.name", c.Environment),
		attribute.String("service.instance.id", uuid.NewString())) // what two instances push is told apart by it

	// Traces have ids also when nobody collects them: the logs name them.
	tracing := []sdktrace.TracerProviderOption{sdktrace.WithResource(about), sdktrace.WithSampler(sdktrace.NeverSample())}
	if c.Traces {
		if exporter, err := otlptracehttp.New(ctx); err != nil {
			c.Log.Error("traces are not pushed", "error", err)
		} else {
			tracing = append(tracing, sdktrace.WithBatcher(exporter),
				sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.Sample))))
		}
	}
	traces := sdktrace.NewTracerProvider(tracing...)
	otel.SetTracerProvider(traces)
	t.stops = append(t.stops, traces.Shutdown)

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	t.Metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	// A label whose values run away fills up at the limit instead of the memory.
	metering := []metric.Option{metric.WithResource(about), metric.WithCardinalityLimit(2000)}
	if reader, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo()); err != nil {
		c.Log.Error("there are no metrics", "error", err)
	} else {
		metering = append(metering, metric.WithReader(reader))
	}
	if c.Metrics {
		if exporter, err := otlpmetrichttp.New(ctx); err != nil {
			c.Log.Error("metrics are not pushed", "error", err)
		} else {
			metering = append(metering, metric.WithReader(metric.NewPeriodicReader(exporter)))
		}
	}
	metrics := metric.NewMeterProvider(metering...)
	otel.SetMeterProvider(metrics)
	t.stops = append(t.stops, metrics.Shutdown)
	return t
}

// Shutdown pushes what is left, until ctx ends.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	var errs []error
	for _, stop := range t.stops {
		errs = append(errs, stop(ctx))
	}
	return errors.Join(errs...)
}

// quietly logs what goes wrong with pushing once a minute: a collector that is away is not an incident of ours.
type quietly struct {
	log  *slog.Logger
	mu   sync.Mutex
	last time.Time
}

func (q *quietly) Handle(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if time.Since(q.last) > time.Minute {
		q.last = time.Now()
		q.log.Warn("telemetry", "error", err)
	}
}
