package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"example.com/groundwork/pkg/telemetry"
)

// What is set here is global, so no test of this file runs beside another.

// book is a log to read in.
type book struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// use does what a program does all day.
func use(t *testing.T) (traceID string) {
	t.Helper()
	ctx, span := otel.Tracer("test").Start(t.Context(), "work")
	defer span.End()
	counter, err := otel.Meter("test").Int64Counter("work.done")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(ctx, 1)
	return span.SpanContext().TraceID().String()
}

func stop(t *testing.T, signals *telemetry.Telemetry, within time.Duration) (took time.Duration, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	began := time.Now()
	err = signals.Shutdown(ctx)
	return time.Since(began), err
}

func scrape(t *testing.T, signals *telemetry.Telemetry) string {
	t.Helper()
	w := httptest.NewRecorder()
	signals.Metrics.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("/metrics answers %d", w.Code)
	}
	return w.Body.String()
}

func TestWithoutACollectorItIsSilent(t *testing.T) {
	var log book
	began := time.Now()
	signals := telemetry.Start(t.Context(), telemetry.Config{Service: "test", Version: "1", Environment: "test", Sample: 1, Log: telemetry.NewLog(&log, slog.LevelDebug)})
	if took := time.Since(began); took > time.Second {
		t.Errorf("it starts in %s", took)
	}
	if id := use(t); strings.Trim(id, "0") == "" {
		t.Error("a trace has no id for the log")
	}
	if metrics := scrape(t, signals); !strings.Contains(metrics, "work_done_total") || !strings.Contains(metrics, "go_goroutines") {
		t.Errorf("/metrics holds\n%s", metrics)
	}
	if took, err := stop(t, signals, 3*time.Second); err != nil || took > time.Second {
		t.Errorf("it ends in %s, %v", took, err)
	}
	if log.String() != "" {
		t.Errorf("it says %s", &log)
	}
}

func TestACollectorThatRefusesHarmsNothing(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close() // nobody listens there now
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+listener.Addr().String())
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
	var log book
	signals := telemetry.Start(t.Context(), telemetry.Config{Service: "test", Traces: true, Metrics: true, Sample: 1, Log: telemetry.NewLog(&log, slog.LevelDebug)})
	began := time.Now()
	for range 100 {
		use(t)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("work waits for the collector: %s", took)
	}
	time.Sleep(100 * time.Millisecond)
	if !strings.Contains(scrape(t, signals), "work_done_total") {
		t.Error("/metrics is empty without the collector")
	}
	if took, _ := stop(t, signals, 500*time.Millisecond); took > 2*time.Second {
		t.Errorf("it ends after %s; it had 500 ms", took)
	}
	otel.Handle(context.DeadlineExceeded)
	otel.Handle(context.DeadlineExceeded)
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("it complains %d times within a minute:\n%s", n, &log)
	}
}

func TestACollectorThatHangsHoldsUpTheEndForItsTimeOnly(t *testing.T) {
	release := make(chan struct{})
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(collector.Close)
	t.Cleanup(func() { close(release) })
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	signals := telemetry.Start(t.Context(), telemetry.Config{Service: "test", Traces: true, Metrics: true, Sample: 1, Log: slog.New(slog.DiscardHandler)})
	use(t)
	if took, err := stop(t, signals, 300*time.Millisecond); err == nil || took > 2*time.Second {
		t.Errorf("it ends after %s, %v; it had 300 ms", took, err)
	}
}

func TestWhatIsPushedArrives(t *testing.T) {
	var mu sync.Mutex
	arrived := map[string]int{}
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		arrived[r.URL.Path]++
	}))
	t.Cleanup(collector.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	for _, c := range []struct{ traces, metrics bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		clear(arrived)
		var log book
		signals := telemetry.Start(t.Context(), telemetry.Config{Service: "test", Version: "1", Environment: "test", Traces: c.traces, Metrics: c.metrics, Sample: 1, Log: telemetry.NewLog(&log, slog.LevelInfo)})
		use(t)
		if _, err := stop(t, signals, 3*time.Second); err != nil || log.String() != "" {
			t.Errorf("%+v: %v %s", c, err, &log)
		}
		mu.Lock()
		if (arrived["/v1/traces"] > 0) != c.traces || (arrived["/v1/metrics"] > 0) != c.metrics {
			t.Errorf("%+v: there arrives %v", c, arrived)
		}
		mu.Unlock()
	}
}

func TestALabelThatRunsAwayStopsAtALimit(t *testing.T) {
	signals := telemetry.Start(t.Context(), telemetry.Config{Service: "test", Log: slog.New(slog.DiscardHandler)})
	counter, err := otel.Meter("test").Int64Counter("runaway")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5000 {
		counter.Add(t.Context(), 1, metric.WithAttributes(attribute.Int("path", n)))
	}
	if n := strings.Count(scrape(t, signals), "\nrunaway_total{"); n > 2000 || n < 100 {
		t.Errorf("5,000 values make %d series", n)
	}
	_, _ = stop(t, signals, time.Second)
}

func TestLogLinesCarryTheirTrace(t *testing.T) {
	signals := telemetry.Start(t.Context(), telemetry.Config{Service: "test", Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { _, _ = stop(t, signals, time.Second) })
	var out book
	log := telemetry.NewLog(&out, slog.LevelInfo, slog.String("program", "test"))
	ctx, span := otel.Tracer("test").Start(t.Context(), "work")
	log.InfoContext(ctx, "one", "a", 1)
	log.With("b", 2).InfoContext(ctx, "two")
	log.WithGroup("g").InfoContext(ctx, "three", "c", 3)
	log.InfoContext(t.Context(), "outside")
	log.DebugContext(ctx, "too quiet")
	span.End()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 {
		t.Fatalf("the log holds %d lines:\n%s", len(lines), &out)
	}
	for i, line := range lines {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m["program"] != "test" {
			t.Errorf("%s lacks what every line has", line)
		}
		if group, ok := m["g"].(map[string]any); ok {
			m = group
		}
		if inside := i < 3; inside && (m["trace_id"] != span.SpanContext().TraceID().String() || m["span_id"] != span.SpanContext().SpanID().String()) || !inside && m["trace_id"] != nil {
			t.Errorf("%s: its trace is %v", line, m["trace_id"])
		}
	}
}
