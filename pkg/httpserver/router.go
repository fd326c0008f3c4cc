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
	"github.com/klauspost/compress/gzhttp"

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
	watched, err := newObserved(o.Log)
	if err != nil { // a constant name
		panic(err)
	}
	r := chi.NewRouter()
	r.Use(
		func(next http.Handler) http.Handler { return compress(next) },
		clientIP(o.TrustedProxies),
		watched.around,
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
			h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'")
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
