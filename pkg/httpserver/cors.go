package httpserver

import (
	"errors"
	"net/http"
	"strings"

	"github.com/jub0bs/cors"

	"example.com/groundwork/pkg/problem"
)

// Origins are the web origins whose pages may call the API from a browser, with cookies. The zero value has none.
type Origins struct {
	cors    *cors.Middleware
	forgery *http.CrossOriginProtection
}

// grants is what a page of a listed origin may send and read. GET, HEAD and POST need no leave. A test holds the contracts against it.
var grants = cors.Config{
	Credentialed: true,
	Methods:      []string{"PUT", "PATCH", "DELETE"},
	RequestHeaders: []string{
		"Authorization", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key", "X-Request-Id", "traceparent", "tracestate",
	},
	ResponseHeaders: []string{
		"Deprecation", "ETag", "Idempotent-Replayed", "Link", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "Sunset",
		"WWW-Authenticate", "X-Request-Id",
	},
	MaxAgeInSeconds: 2 * 60 * 60, // the longest that Chromium keeps a leave
}

var errOriginForm = errors.New("origins such as https://app.example.com, commas between: small letters, https (http on localhost only), " +
	"no path, no slash at the end, no default port, no wildcard")

// NewOrigins checks each origin. Wildcards and "null" are refused: with cookies they would let any page act as its visitor.
func NewOrigins(list []string) (Origins, error) {
	if len(list) == 0 {
		return Origins{}, nil
	}
	o := Origins{forgery: http.NewCrossOriginProtection()}
	for _, origin := range list {
		if strings.Contains(origin, "*") || o.forgery.AddTrustedOrigin(origin) != nil {
			return Origins{}, errOriginForm
		}
	}
	config := grants
	config.Origins = list
	var err error
	if o.cors, err = cors.NewMiddleware(config); err != nil {
		return Origins{}, errOriginForm
	}
	return o, nil
}

var (
	errForeign = problem.Forbidden.New("cross-origin-refused", "A page of an origin that is not in ALLOWED_ORIGINS sent this.")
	errAsked   = problem.Forbidden.New("cross-origin-refused",
		"A page may not send this request: its origin is not in ALLOWED_ORIGINS, or no operation has this method or header.")
)

// guard stands before everything that a page could reach. It answers preflights, before anybody asks for a token or counts the request
// (they cost no more than a 404 does); it adds what lets a listed page read an answer, whatever the answer is; and it refuses what
// another page's visitor never meant to send (forgery). Who is no browser says neither Origin nor Sec-Fetch-Site, and passes.
func (o Origins) guard(next http.Handler) http.Handler {
	leave, forgery := o.cors, o.forgery
	if leave == nil {
		leave, forgery = new(cors.Middleware), http.NewCrossOriginProtection() // these let nobody in
	}
	preflights := leave.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden) // without a list the library passes everything on
	}))
	requests := leave.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := forgery.Check(r); err != nil {
			problem.Write(w, r, errForeign.Because(err))
			return
		}
		next.ServeHTTP(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if preflight(r) {
			preflights.ServeHTTP(&refusal{w, r}, r)
			return
		}
		requests.ServeHTTP(w, r)
	})
}

// preflight says that a browser asks whether a page may send a request.
func preflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && len(r.Header["Origin"]) > 0 && len(r.Header["Access-Control-Request-Method"]) > 0
}

// refusal gives the library's refusal of a preflight, a bare 403, the form that every failure has.
type refusal struct {
	http.ResponseWriter
	r *http.Request
}

func (w *refusal) WriteHeader(status int) {
	if status == http.StatusForbidden {
		problem.Write(w.ResponseWriter, w.r, errAsked)
		return
	}
	w.ResponseWriter.WriteHeader(status)
}
