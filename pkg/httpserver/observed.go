package httpserver

import (
	"cmp"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"example.com/groundwork/pkg/request"
)

// observed gives each request a name, makes it a span that continues the caller's trace, measures it (http.server.request.duration, and
// http.server.active_requests while it lasts), and tells it once in the log, where its story ends. All are named by the route's pattern, which
// is known only when the router is done: a path alone would be a series each.
//
// It is our own because it is on the way of every request: otelhttp measures sizes as well, and was an eighth of reading an account.
type observed struct {
	log      *slog.Logger
	tracer   trace.Tracer
	duration metric.Float64Histogram
	active   metric.Int64UpDownCounter
	known    sync.Map // what has been measured: series to []metric.RecordOption
	told     sync.Map // what is told in the log: outcome to *flood
	methods  map[string][]metric.AddOption
}

// series is what a measurement is told apart by. Each part has few values, whatever callers make up.
type series struct {
	method, module, route string
	status                int
}

// outcome is what lines of the log are counted by: an error is not lost among others that have the same status.
type outcome struct {
	series
	code string
}

// flood counts what has the same outcome.
type flood struct {
	mu     sync.Mutex
	second int64 // of the clock,
	told   int   // in which so many of its requests ended
}

const (
	toldFully = 100 // requests of an outcome that have a line in the log in each second;
	toldFor   = 100 // after them one of so many has, and says so
)

// tells reports whether the log has a line for one more request, and for how many it stands.
func (m *flood) tells(second int64) (standsFor int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rest := 0
	if m.second != second {
		rest = max(0, m.told-toldFully) % toldFor // of the last one, that no line stands for
		m.second, m.told = second, 0
	}
	m.told++
	switch over := m.told - toldFully; {
	case over <= 0:
		return 1 + rest
	case over%toldFor == 0:
		return toldFor
	}
	return 0
}

func newObserved(log *slog.Logger) (*observed, error) {
	const name = "example.com/groundwork/pkg/httpserver"
	// The name, the unit and the buckets are those of OpenTelemetry's semantic conventions for HTTP.
	duration, err := otel.Meter(name).Float64Histogram("http.server.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of HTTP server requests."),
		metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10))
	if err != nil {
		return nil, err
	}
	active, err := otel.Meter(name).Int64UpDownCounter("http.server.active_requests", metric.WithUnit("{request}"),
		metric.WithDescription("Number of active HTTP server requests."))
	o := &observed{log: log, tracer: otel.Tracer(name), duration: duration, active: active, methods: map[string][]metric.AddOption{}}
	for _, m := range append([]string{"HTTP"}, methods...) {
		o.methods[m] = []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("http.request.method", m), attribute.String("url.scheme", "http")))}
	}
	return o, err
}

var asServer = trace.WithSpanKind(trace.SpanKindServer)

func (o *observed) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		if !wellFormedID.MatchString(id) {
			id = uuid.Must(uuid.NewV7()).String()
		}
		w.Header().Set("X-Request-Id", id)
		info := &request.Info{
			ID: id, Method: r.Method, Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Header: r.Header,
			Client: middleware.GetClientIPAddr(r.Context()), Started: time.Now(),
		}
		ctx, span := r.Context(), trace.Span(nil)
		if !quiet(info.Path) {
			if r.Header.Get("Traceparent") != "" {
				ctx = otel.GetTextMapPropagator().Extract(ctx, propagation.HeaderCarrier(r.Header))
			}
			ctx, span = o.tracer.Start(ctx, method(r.Method), asServer)
			o.active.Add(ctx, 1, o.methods[method(r.Method)]...)
		}
		r = r.WithContext(request.With(ctx, info))
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer func() { // also when it hangs up
			took, route, status, standsFor := time.Since(info.Started), route(r), cmp.Or(ww.Status(), http.StatusOK), 1
			if span != nil {
				o.active.Add(r.Context(), -1, o.methods[method(info.Method)]...)
				finish(span, info, route, status)
				standsFor = o.measure(r, series{method(r.Method), info.Module, route, status}, took)
			}
			if standsFor > 0 || o.log.Enabled(r.Context(), slog.LevelDebug) {
				o.tell(r, ww, info, route, took, standsFor)
			}
		}()
		next.ServeHTTP(ww, r)
	})
}

// measure counts a request, and reports for how many a line of the log stands, if it has one.
func (o *observed) measure(r *http.Request, s series, took time.Duration) (standsFor int) {
	known, ok := o.known.Load(s)
	if !ok {
		attributes := []attribute.KeyValue{
			attribute.String("http.request.method", s.method), attribute.String("url.scheme", "http"), attribute.Int("http.response.status_code", s.status),
		}
		if s.route != "" {
			attributes = append(attributes, attribute.String("http.route", s.route))
		}
		if s.module != "" {
			attributes = append(attributes, attribute.String("module", s.module))
		}
		if s.status >= 500 {
			attributes = append(attributes, attribute.String("error.type", strconv.Itoa(s.status)))
		}
		known, _ = o.known.LoadOrStore(s, []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attributes...))})
	}
	o.duration.Record(r.Context(), took.Seconds(), known.([]metric.RecordOption)...)
	of := outcome{s, request.From(r.Context()).Code}
	told, ok := o.told.Load(of)
	if !ok {
		told, _ = o.told.LoadOrStore(of, &flood{})
	}
	return told.(*flood).tells(time.Now().Unix())
}

func finish(span trace.Span, info *request.Info, route string, status int) {
	defer span.End()
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("http.request.method", method(info.Method)), attribute.Int("http.response.status_code", status))
	if route != "" {
		span.SetName(method(info.Method) + " " + route)
		span.SetAttributes(attribute.String("http.route", route))
	}
	for name, value := range map[string]string{"code": info.Code, "module": info.Module, "caller": info.Caller} { // by which a collector may choose what to keep
		if value != "" {
			span.SetAttributes(attribute.String(name, value))
		}
	}
	if status >= 500 {
		span.SetStatus(codes.Error, "")
	}
}

// tell writes the one line of the request. Its level is that of the outcome: an error is ours, a warning says that there was more to do than
// could be done.
func (o *observed) tell(r *http.Request, ww middleware.WrapResponseWriter, info *request.Info, route string, took time.Duration, standsFor int) {
	level := slog.LevelInfo
	if quiet(info.Path) || preflight(r) && ww.Status() < 400 {
		level = slog.LevelDebug
	}
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs,
		slog.String("method", method(r.Method)), slog.String("route", route), slog.Int("status", ww.Status()),
		slog.Int("bytes", ww.BytesWritten()), slog.Float64("ms", float64(took.Microseconds())/1000),
		slog.String("request_id", info.ID), slog.String("caller", info.Caller))
	if info.Code != "" {
		attrs = append(attrs, slog.String("code", info.Code))
	}
	if info.Deprecated { // who has to change before the operation can go
		attrs = append(attrs, slog.Bool("deprecated", true), slog.String("client", info.ClientID))
	}
	if standsFor > 1 {
		attrs = append(attrs, slog.Int("stands_for", standsFor))
	}
	switch {
	case info.Code == "overloaded":
		level = slog.LevelWarn
	case ww.Status() >= 500 || info.Code == "internal":
		level = slog.LevelError
		attrs = append(attrs, slog.Any("error", info.Err))
	}
	o.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// method is the request's method when it is a known one: anything else would be a series each.
func method(m string) string {
	if slices.Contains(methods, m) {
		return m
	}
	return "HTTP"
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// route is the pattern that answered, or "" when none did.
func route(r *http.Request) string {
	info := request.From(r.Context())
	if info.Pattern != "" { // the guard has asked for it already
		return info.Pattern
	}
	pattern := chi.RouteContext(r.Context()).RoutePattern()
	if strings.HasSuffix(pattern, "*") && info.Code == "not-found" {
		return ""
	}
	return pattern
}

// quiet paths are asked every second by machines.
func quiet(path string) bool { return path == "/livez" || path == "/readyz" }
