package httpserver_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/request"
)

func TestRequestIDsAreTakenWhenWellFormed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for id, taken := range map[string]bool{
		"abcdefgh": true, "0193a5f0-0000-7000-8000-000000000000": true, "a.b_c-D9": true, strings.Repeat("a", 64): true,
		"": false, "short": false, strings.Repeat("a", 65): false, "with space in it": false, "new\tline": false, "quote\"quote": false, "ümlaut-ümlaut": false, "<script>alert(1)": false,
	} {
		resp, body := w.send(t, "GET /v1/nothing", "", "X-Request-Id: "+id)
		d := isProblem(t, resp, body, 404, "not-found")
		if (d.RequestID == id) != taken || len(d.RequestID) < 8 {
			t.Errorf("%q becomes %q; taken as it is: %v", id, d.RequestID, taken)
		}
	}
}

func TestEveryAnswerHasSecurityHeaders(t *testing.T) {
	t.Parallel()
	plain := newWorld(t)
	safe := newWorld(t, func(o *httpserver.Options, _ *httpserver.Guard) { o.HTTPS = true })
	for _, line := range []string{"GET /v1/things", "GET /v1/nothing", "DELETE /v1/things", "GET /v1/fails/panic", "GET /v1/pages/10"} {
		for w, transport := range map[*world]string{plain: "", safe: "max-age=31536000; includeSubDomains"} {
			resp, _ := w.send(t, line, "", reader)
			for name, want := range map[string]string{
				"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
				"Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'", "Strict-Transport-Security": transport,
			} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s: %s is %q; want %q", line, name, got, want)
				}
			}
		}
	}
}

func TestLargeAnswersAreCompressed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		size     int
		accepts  string
		encoding string
	}{{1000, "gzip", ""}, {1100, "gzip", "gzip"}, {100_000, "br, gzip;q=0.5", "gzip"}, {100_000, "identity", ""}, {100_000, "gzip;q=0", ""}} {
		resp, body := w.send(t, fmt.Sprintf("GET /v1/pages/%d", c.size), "", "Accept-Encoding: "+c.accepts)
		if got := resp.Header.Get("Content-Encoding"); got != c.encoding || resp.Header.Get("ETag") != `"7"` {
			t.Errorf("%d bytes for who accepts %s are encoded as %q with the ETag %s; want %q", c.size, c.accepts, got, resp.Header.Get("ETag"), c.encoding)
		}
		if (len(body) < c.size) != (c.encoding == "gzip") {
			t.Errorf("%d bytes for who accepts %s are %d on the wire", c.size, c.accepts, len(body))
		}
	}
}

func TestWhoTheClientIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		proxies   []string
		forwarded string
		want      string
	}{
		{"nobody is believed", nil, "192.0.2.1", "127.0.0.1"},
		{"a proxy is", []string{"127.0.0.0/8"}, "192.0.2.1", "192.0.2.1"},
		{"what a client put before the proxy's own word is not", []string{"127.0.0.0/8"}, "198.51.100.1, 192.0.2.1", "192.0.2.1"},
		{"proxies behind each other", []string{"127.0.0.0/8", "10.0.0.0/8"}, "192.0.2.1, 10.0.0.7", "192.0.2.1"},
	} {
		w := newWorld(t, func(o *httpserver.Options, _ *httpserver.Guard) { o.TrustedProxies = c.proxies })
		if resp, _ := w.send(t, "GET /v1/things", "", reader, "X-Forwarded-For: "+c.forwarded, "X-Real-Ip: 203.0.113.9", "True-Client-Ip: 203.0.113.9"); resp.StatusCode != 200 {
			t.Fatalf("%s: %d", c.name, resp.StatusCode)
		}
		if got := (<-w.reached).Client.String(); got != c.want {
			t.Errorf("%s: the client is %s; want %s", c.name, got, c.want)
		}
	}
}

// signals collects what the router measures. Providers are global, so a test with them does not run beside others.
type signals struct {
	spans *tracetest.SpanRecorder
	meter *metric.ManualReader
}

func newSignals(t *testing.T) *signals {
	t.Helper()
	s := &signals{tracetest.NewSpanRecorder(), metric.NewManualReader()}
	tracer, meter, propagator := otel.GetTracerProvider(), otel.GetMeterProvider(), otel.GetTextMapPropagator()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.spans)))
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(s.meter)))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	t.Cleanup(func() {
		otel.SetTracerProvider(tracer)
		otel.SetMeterProvider(meter)
		otel.SetTextMapPropagator(propagator)
	})
	return s
}

// series lists the label sets of every server metric.
func (s *signals) series(t *testing.T) (list []string) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := s.meter.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	add := func(name string, labels attribute.Set) {
		list = append(list, name+" "+labels.Encoded(attribute.DefaultEncoder()))
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes)
				}
			case metricdata.Histogram[int64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes)
				}
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes)
				}
			}
		}
	}
	slices.Sort(list)
	return list
}

func TestSpansAndMetricsAreNamedByPattern(t *testing.T) {
	s := newSignals(t)
	router := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.DiscardHandler), Timeout: time.Second})
	type key struct{}
	router.Use(func(next http.Handler) http.Handler { // any middleware copies the request like this
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, 1)))
		})
	})
	w := &world{log: &book{}, reached: make(chan *request.Info, 10000), gone: make(chan error, 1)}
	if err := (httpserver.Guard{Module: "things", Verifier: verifier{"reader": {Subject: "reader", Scopes: []string{"things:read"}}}}).Mount(router, w.routes, []byte(contract)); err != nil {
		t.Fatal(err)
	}
	httpserver.NewHealth(slog.New(slog.DiscardHandler)).Routes(router)
	w.Server = httptest.NewServer(router)
	t.Cleanup(w.Close)

	ends := 0
	for _, c := range []struct{ line, span, route, tells string }{ // tells: code, module, caller
		{"GET " + thing, "GET /v1/things/{id}", "/v1/things/{id}", " things service"},
		{"GET /v1/things/broken", "GET /v1/things/{id}", "/v1/things/{id}", "invalid-parameter things service"},
		{"GET /v1/fails/panic", "GET /v1/fails/{how}", "/v1/fails/{how}", "internal things "},
		{"GET /v1/nothing/" + marker, "GET", "", "not-found  "},
		{"BREW /v1/nothing/" + marker, "HTTP", "", "not-found  "},
	} {
		_, _ = w.send(t, c.line, "", reader)
		ends++
		span := s.ended(t, ends)
		has := map[attribute.Key]string{}
		for _, a := range span.Attributes() {
			has[a.Key] = a.Value.AsString()
		}
		route := has["http.route"]
		if tells := has["code"] + " " + has["module"] + " " + has["caller"]; tells != c.tells {
			t.Errorf("%s: its span tells %q; want %q", c.line, tells, c.tells)
		}
		if span.Name() != c.span || route != c.route {
			t.Errorf("%s is the span %q with the route %q; want %q and %q", c.line, span.Name(), route, c.span, c.route)
		}
		if !slices.ContainsFunc(s.series(t), func(s string) bool {
			return strings.HasPrefix(s, "http.server.request.duration ") && strings.Contains(s, "http.route="+c.route) == (c.route != "") || c.route == ""
		}) {
			t.Errorf("%s is not measured under its route: %q", c.line, s.series(t))
		}
	}
	for range 2 { // hanging up is measured as well
		_, _ = http.Get(w.URL + "/v1/fails/panic-halfway-far")
	}
	ends += 2
	if span := s.ended(t, ends); span.Name() != "GET /v1/fails/{how}" {
		t.Errorf("hanging up is the span %q", span.Name())
	}

	// Whatever callers make up, it makes no series of its own.
	for _, m := range []string{"GET", "POST", "BREW"} {
		for _, path := range []string{"/v1/made-up", "/v1/fails/unknown"} {
			_, _ = w.send(t, m+" "+path, "", "Host: 127.0.0.1:1")
			ends++
		}
	}
	s.ended(t, ends)
	before := s.series(t)
	for i := range 1000 {
		made := fmt.Sprintf("%x", rand.Uint64())
		lines := []string{"GET /v1/" + made, "X" + strings.ToUpper(made) + " /v1/" + made, "POST /" + made + "/" + made + "?" + made, "GET /v1/fails/" + made,
			"X" + made + " /v1/fails/" + made, "POST /v1/fails/" + made}
		_, _ = w.send(t, lines[i%len(lines)], "", "Host: "+made+".example:"+fmt.Sprint(1+i), "User-Agent: "+made, "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: "+made)
	}
	s.ended(t, ends+1000)
	after := s.series(t)
	for _, a := range after {
		if !slices.Contains(before, a) {
			t.Errorf("a made-up request makes the series %s", a)
			if t.Failed() && len(after) > 50 {
				break
			}
		}
	}
	for _, span := range s.spans.Ended() {
		if strings.Count(span.Name(), "/") > 3 {
			t.Errorf("a path is the name of a span: %s", span.Name())
		}
	}

	// Machines that ask every second are not of interest.
	had := len(s.spans.Ended())
	_, _ = w.send(t, "GET /livez", "")
	_, _ = w.send(t, "GET /readyz?verbose", "")
	time.Sleep(20 * time.Millisecond)
	if n := len(s.spans.Ended()); n != had {
		t.Errorf("health is traced: %d spans more", n-had)
	}
}

// ended waits for the n-th span and returns it.
func (s *signals) ended(t *testing.T, n int) sdktrace.ReadOnlySpan {
	t.Helper()
	for range 500 {
		if spans := s.spans.Ended(); len(spans) >= n {
			return spans[n-1]
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("there are %d spans; want %d", len(s.spans.Ended()), n)
	return nil
}

func TestATraceGoesOn(t *testing.T) {
	s := newSignals(t)
	w := newWorld(t)
	_, _ = w.send(t, "GET /v1/things", "", reader, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if got := s.ended(t, 1).SpanContext().TraceID().String(); got != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("the trace is %s", got)
	}
}

func TestAContractThatIsWrongIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	for what, spec := range map[string]string{
		"no YAML":    "\t",
		"no OpenAPI": "openapi: 3.0.3",
		"no answers": strings.Replace(contract, "responses: {default: {description: whatever}}", "responses: {}", 1),
	} {
		if err := (httpserver.Guard{}).Mount(chi.NewRouter(), func(chi.Router) {}, []byte(spec)); err == nil {
			t.Errorf("%s: it is mounted", what)
		}
	}
}

func TestARouteThatIsNotInTheContractIsNotServed(t *testing.T) {
	t.Parallel()
	router := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.DiscardHandler), Timeout: time.Second})
	err := httpserver.Guard{}.Mount(router, func(r chi.Router) {
		r.Get("/v1/forgotten", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, marker) })
	}, []byte(contract))
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/forgotten", nil))
	isProblem(t, w.Result(), w.Body.Bytes(), 500, "internal")
}
