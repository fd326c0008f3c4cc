// Package httpserver is the way a request takes before a module's handler sees it and after: the router with what every answer has
// (router.go), what pages of other origins may do (cors.go), the contract that names the request and checks it (contract.go, body.go) and
// says when it goes (deprecation.go), health (health.go), and a server that starts and drains (server.go). It serves modules and knows none.
package httpserver

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/google/uuid"
	"github.com/klauspost/compress/gzhttp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// Options are what a router needs to know of the world.
type Options struct {
	Log            *slog.Logger
	Timeout        time.Duration // per request; pgx, Redis and peers inherit it
	TrustedProxies []string      // CIDRs whose X-Forwarded-For is believed
	HTTPS          bool          // the public address is https: tell browsers to stay there
	Origins        Origins       // whose pages may call from a browser
}

// NewRouter returns a router whose every answer has a request id, security headers, a deadline, a trace, a log line, and whose every
// failure is a problem. The order matters: what stands first sees the answer last.
func NewRouter(o Options) *chi.Mux {
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(1024))
	if err != nil { // constant options
		panic(err)
	}
	r := chi.NewRouter()
	r.Use(
		func(next http.Handler) http.Handler { return compress(next) },
		clientIP(o.TrustedProxies),
		begin,
		traced,
		logged(o.Log),
		recovered,
		headers(o.HTTPS),
		o.Origins.guard,
		deadline(o.Timeout),
		middleware.GetHead,
	)
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		problem.Write(w, r, nowhere())
	})
	r.MethodNotAllowed(func(w http.ResponseWriter, req *http.Request) {
		problem.Write(w, req, notAllowed(r, cmp.Or(req.URL.RawPath, req.URL.Path)))
	})
	return r
}

func nowhere() error { return problem.NotFound.New("not-found", "There is nothing at this path.") }

func clientIP(proxies []string) func(http.Handler) http.Handler {
	if len(proxies) == 0 {
		return middleware.ClientIPFromRemoteAddr
	}
	return middleware.ClientIPFromXFF(proxies...)
}

var wellFormedID = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)

// begin notes what came in and gives it a name.
func begin(next http.Handler) http.Handler {
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
		next.ServeHTTP(w, r.WithContext(request.With(r.Context(), info)))
	})
}

// traced makes the request a span that continues the caller's trace, and measures it (http.server.request.duration). Both are named by
// the route's pattern, which is known only when the router is done, so it is added at the end: a path alone would be a series each.
func traced(next http.Handler) http.Handler {
	named := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { // also when it hangs up
			pattern := route(r)
			if pattern == "" {
				return
			}
			span := trace.SpanFromContext(r.Context())
			span.SetName(method(r.Method) + " " + pattern)
			span.SetAttributes(attribute.String("http.route", pattern))
			if code := request.From(r.Context()).Code; code != "" {
				span.SetAttributes(attribute.String("code", code))
			}
			if labels, ok := otelhttp.LabelerFromContext(r.Context()); ok {
				labels.Add(attribute.String("http.route", pattern))
			}
		}()
		next.ServeHTTP(w, r)
	})
	return otelhttp.NewHandler(named, "",
		otelhttp.WithServerName("groundwork:80"), // else it is the Host header, which a caller makes up: a series each
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return method(r.Method) }),
		otelhttp.WithFilter(func(r *http.Request) bool { return !quiet(r.URL.Path) }))
}

// method is the request's method when it is a known one: anything else would be a series each.
func method(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return m
	}
	return "HTTP"
}

// route is the pattern that answered, or "" when none did.
func route(r *http.Request) string {
	pattern := chi.RouteContext(r.Context()).RoutePattern()
	if strings.HasSuffix(pattern, "*") && request.From(r.Context()).Code == "not-found" {
		return ""
	}
	return pattern
}

// quiet paths are asked every second by machines.
func quiet(path string) bool { return path == "/livez" || path == "/readyz" }

// logged tells each request once, where its story ends.
func logged(log *slog.Logger) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
			defer func() { // also when it hangs up
				info := request.From(r.Context())
				level := slog.LevelInfo
				if quiet(info.Path) || preflight(r) && ww.Status() < 400 {
					level = slog.LevelDebug
				}
				attrs := []slog.Attr{
					slog.String("method", method(r.Method)), slog.String("route", route(r)), slog.Int("status", ww.Status()),
					slog.Int("bytes", ww.BytesWritten()), slog.Float64("ms", float64(time.Since(info.Started).Microseconds())/1000),
					slog.String("request_id", info.ID), slog.String("caller", info.Caller),
				}
				if info.Code != "" {
					attrs = append(attrs, slog.String("code", info.Code))
				}
				if info.Deprecated { // who has to change before the operation can go
					attrs = append(attrs, slog.Bool("deprecated", true), slog.String("client", info.ClientID))
				}
				if ww.Status() >= 500 || info.Code == "internal" {
					level = slog.LevelError
					attrs = append(attrs, slog.Any("error", info.Err))
				}
				log.LogAttrs(r.Context(), level, "request", attrs...)
			}()
			next.ServeHTTP(ww, r)
		})
	}
}

// recovered answers a panic as any other mistake of ours.
func recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { // net/http's own way to hang up
				panic(v)
			}
			err := fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			if ww, ok := w.(middleware.WrapResponseWriter); ok && ww.Status() != 0 {
				info := request.From(r.Context()) // half of an answer is out: hang up rather than add to it
				info.Code, info.Err = "internal", err
				panic(http.ErrAbortHandler)
			}
			problem.Write(w, r, err)
		}()
		next.ServeHTTP(w, r)
	})
}

// headers are the same on every answer. What is answered here is for the caller alone, unless a handler says otherwise.
func headers(https bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Cache-Control", "no-store")
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("X-Frame-Options", "DENY")
			h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
			h.Set("Referrer-Policy", "no-referrer")
			if https {
				h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
			}
			next.ServeHTTP(w, r)
		})
	}
}

func deadline(d time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), d)
			defer cancel()
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

// notAllowed is the answer at a path that does not have the method, or is nowhere: an unknown method comes here whatever its path.
func notAllowed(r chi.Routes, path string) error {
	methods := allowed(r, path)
	if len(methods) == 0 {
		return nowhere()
	}
	e := problem.MethodNotAllowed.New("method-not-allowed", "This path does not have this method.")
	e.Header = http.Header{"Allow": {strings.Join(methods, ", ")}}
	return e
}

// allowed lists the methods that the router has at a path, for the Allow header. A path that stands there word for word is not one of those
// with a parameter: /v1/things/mine does not have the methods of /v1/things/{id} (as OpenAPI matches paths).
func allowed(r chi.Routes, path string) []string {
	var methods, literal []string
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		switch r.Find(chi.NewRouteContext(), m, path) {
		case "":
		case path:
			literal = append(literal, m)
		default:
			methods = append(methods, m)
		}
	}
	if literal != nil {
		return literal
	}
	return methods
}
