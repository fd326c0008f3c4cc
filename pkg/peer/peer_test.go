package peer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/peer"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
	"example.com/groundwork/pkg/secret"
)

// marker stands in what must not cross.
const marker = "xqmarkerqx"

// things is a module as others see it: the real router with a few routes behind it.
func things() http.Handler {
	r := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.DiscardHandler), Timeout: 5 * time.Second})
	r.HandleFunc("/v1/echo/{id}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			problem.Write(w, r, err)
			return
		}
		w.Header().Add("X-Many", "one")
		w.Header().Add("X-Many", "two")
		w.Header().Set("ETag", `"3"`)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		answer := map[string]any{
			"method": r.Method, "id": chi.URLParam(r, "id"), "uri": r.RequestURI, "query": r.URL.Query(), "body": string(body), "length": r.ContentLength,
			"auth": r.Header.Get("Authorization"), "key": r.Header.Values("Idempotency-Key"), "type": r.Header.Get("Content-Type"),
			"request_id": request.From(r.Context()).ID, "caller": authn.From(r.Context()).Subject, "value": r.Context().Value(key{}),
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
	r.Get("/v1/empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	r.Get("/v1/nothing", func(http.ResponseWriter, *http.Request) {})
	r.Get("/v1/large", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain") // nobody guesses it in memory
		_, _ = io.WriteString(w, strings.Repeat("large ", 100_000))
	})
	r.Get("/v1/text", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, marker, http.StatusBadGateway) })
	r.Get("/v1/panic", func(http.ResponseWriter, *http.Request) { panic(marker) })
	r.Get("/v1/half", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic(marker)
	})
	r.Get("/v1/slow", func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		problem.Write(w, r, r.Context().Err())
	})
	for name, e := range map[string]*problem.Error{
		"missing": problem.NotFound.New("not-found", "There is no such thing."),
		"taken":   problem.Conflict.New("reference-already-used", "It is taken.").Because(errors.New(marker)),
		"wrong":   problem.Invalid.New("validation-failed", "Some of it is wrong.").With(problem.Field{Pointer: "/a", Code: "type", Detail: "is wrong"}),
		"who":     problem.Unauthenticated.New("unauthenticated", "Who?"),
		"busy":    problem.Unavailable.New("overloaded", "Later.").After(7 * time.Second),
	} {
		r.Get("/v1/"+name, func(w http.ResponseWriter, r *http.Request) { problem.Write(w, r, e) })
	}
	return r
}

type key struct{}

// both runs a test twice: with the module here, and with the same module there.
func both(t *testing.T, h http.Handler, f func(t *testing.T, client *http.Client)) {
	t.Helper()
	t.Run("here", func(t *testing.T) {
		n := peer.New()
		n.Here("things", h)
		f(t, n.Open())
	})
	t.Run("there", func(t *testing.T) {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		n := peer.New()
		if err := n.There("things", s.URL); err != nil {
			t.Fatal(err)
		}
		f(t, n.Open())
	})
}

// call does what a generated client does, and then what a handler does with its answer.
func call(ctx context.Context, client *http.Client, method, path, body string, headers ...string) (*http.Response, string, error) {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://things"+path, reader)
	if err != nil {
		return nil, "", err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, "", err
	}
	return resp, string(content), problem.NoContent(resp, content, nil)
}

func TestHereAndThereAreTheSame(t *testing.T) {
	t.Parallel()
	var seen []map[string]string // of each way: what came back, by what was sent
	both(t, things(), func(t *testing.T, client *http.Client) {
		answers := map[string]string{}
		// The caller is in the middle of a request of its own.
		ctx := request.With(context.WithValue(t.Context(), key{}, marker), &request.Info{ID: "the-callers-id"})
		ctx = authn.With(ctx, authn.Principal{Subject: marker})
		ctx = context.WithValue(ctx, chi.RouteCtxKey, chi.NewRouteContext())
		for _, c := range []struct{ method, path, body string }{
			{"POST", "/v1/echo/7?a=1&a=2&b=%20", `{"x":1}`}, {"GET", "/v1/echo/a%2Fb", ""}, {"DELETE", "/v1/echo/7", ""}, {"PATCH", "/v1/echo/ü", "{}"},
			{"GET", "/v1/empty", ""}, {"GET", "/v1/nothing", ""}, {"GET", "/v1/large", ""},
			{"GET", "/v1/missing", ""}, {"GET", "/v1/taken", ""}, {"GET", "/v1/wrong", ""}, {"GET", "/v1/who", ""}, {"GET", "/v1/busy", ""}, {"GET", "/v1/text", ""},
			{"GET", "/v1/panic", ""}, {"GET", "/v1/half", ""}, {"GET", "/v1/nowhere", ""}, {"PUT", "/v1/empty", ""}, {"HEAD", "/v1/nowhere", ""},
		} {
			resp, content, err := call(ctx, client, c.method, c.path, c.body, "Content-Type: application/json", "Idempotency-Key: one", "Idempotency-Key: two", "Authorization: Bearer t")
			answer := ""
			if resp != nil {
				h := resp.Header.Clone()
				for _, name := range []string{"Date", "Content-Length", "Vary"} { // the wire's own
					h.Del(name)
				}
				answer = fmt.Sprint(resp.StatusCode, resp.Status, h, content, resp.Request.URL.Hostname())
				if h.Get("X-Request-Id") != "the-callers-id" {
					t.Errorf("%s has the request id %q", c.path, h.Get("X-Request-Id"))
				}
			}
			if err != nil {
				e := problem.From(err)
				answer += fmt.Sprintf("\nproblem %d %s %q %v %s", e.Kind, e.Code, e.Detail, e.Fields, e.RetryAfter)
				if strings.Contains(e.Detail, marker) {
					t.Errorf("%s: its cause is shown: %s", c.path, e.Detail)
				}
			}
			if strings.Contains(content, marker) && c.path != "/v1/text" {
				t.Errorf("%s: a value of the caller's context crossed: %s", c.path, content)
			}
			answers[c.method+" "+c.path] = answer
		}
		seen = append(seen, answers)
	})
	for sent, here := range seen[0] {
		if there := seen[1][sent]; here != there {
			t.Errorf("%s answers\nhere  %.700s\nthere %.700s", sent, here, there)
		}
	}
	for sent, want := range map[string]string{
		"POST /v1/echo/7?a=1&a=2&b=%20": `"key":["one","two"],"length":7,"method":"POST"`, "GET /v1/half": "dependency-unavailable",
		"GET /v1/panic": "problem 0 internal", "GET /v1/who": "problem 0 internal", "GET /v1/taken": `reference-already-used "It is taken."`,
	} {
		if !strings.Contains(seen[0][sent], want) {
			t.Errorf("%s answers %s; want %s", sent, seen[0][sent], want)
		}
	}
}

func TestTheEndOfTheCallerEndsTheCall(t *testing.T) {
	t.Parallel()
	both(t, things(), func(t *testing.T, client *http.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, _, err := call(ctx, client, "GET", "/v1/slow", ""); !errors.Is(err, context.DeadlineExceeded) || !problem.Is(err, problem.Unavailable) {
			t.Errorf("past the caller's deadline: %v", err)
		}
		left, leave := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, leave)
		if _, _, err := call(left, client, "GET", "/v1/slow", ""); !errors.Is(err, context.Canceled) || !problem.Is(err, problem.ClientGone) {
			t.Errorf("when the caller's client leaves: %v", err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it takes %s", took)
		}
	})
}

func TestAModuleThatIsNotThere(t *testing.T) {
	t.Parallel()
	n := peer.New()
	_, _, err := call(t.Context(), n.Open(), "GET", "/v1/empty", "")
	if !problem.Is(err, problem.Unavailable) || problem.From(err).Detail != "The module things is not known here." {
		t.Errorf("an unknown module: %v", err)
	}
	if err := n.There("things", "http://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	_, _, err = call(t.Context(), n.Open(), "GET", "/v1/empty", "")
	if e := problem.From(err); e.Kind != problem.Unavailable || strings.Contains(e.Detail, "127.0.0.1") || e.RetryAfter == 0 {
		t.Errorf("a module that is down: %v", err)
	}
	for _, address := range []string{"", "things:8080", "ftp://things", "http://", "http://[::1", "//things"} {
		if err := n.There("things", address); err == nil {
			t.Errorf("the address %q: %v", address, err)
		}
	}
	if err := n.There("things", "https://things.internal/base/"); err != nil {
		t.Error(err)
	}
}

func TestAModuleBehindAPath(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) }))
	t.Cleanup(s.Close)
	n := peer.New()
	if err := n.There("things", s.URL+"/base/"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/v1/a?b=c": "/base/v1/a?b=c", "/v1/a%2Fb": "/base/v1/a%2Fb"} {
		if _, got, err := call(t.Context(), n.Open(), "GET", path, ""); err != nil || got != want {
			t.Errorf("%s arrives as %s, %v; want %s", path, got, err, want)
		}
	}
}

// issuer is auth as far as it gives tokens.
type issuer struct {
	asked   atomic.Int32
	seconds int
	wrong   atomic.Bool
	hold    chan struct{}
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := i.asked.Add(1)
	name, secret, _ := r.BasicAuth()
	if i.hold != nil {
		select {
		case <-i.hold:
		case <-r.Context().Done():
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if i.wrong.Load() || r.URL.Path != "/v1/auth/token" || r.FormValue("grant_type") != "client_credentials" || name != "users" || secret != "s%3Acret+" {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"`+marker+`"}`)
		return
	}
	fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":%d}`, n, i.seconds)
}

func TestAModuleCallsWithItsOwnToken(t *testing.T) {
	t.Parallel()
	auth := &issuer{seconds: 3600}
	var refused atomic.Value
	refused.Store("")
	var got []string
	n := peer.New()
	n.Here("auth", auth)
	n.Here("things", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Authorization")
		got = append(got, token)
		if token == refused.Load() {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	client := n.Client("users", secret.New("s:cret "))
	ask := func() error {
		_, _, err := call(t.Context(), client, "GET", "/v1/x", "", "Authorization: Bearer of-the-caller")
		return err
	}
	if err := errors.Join(ask(), ask()); err != nil || !slices.Equal(got, []string{"Bearer token-1", "Bearer token-1"}) {
		t.Fatalf("%v %q", err, got)
	}
	refused.Store("Bearer token-1") // the keys were changed, say
	if err := ask(); err == nil {
		t.Error("a refused token goes unnoticed")
	}
	if err := ask(); err != nil || got[len(got)-1] != "Bearer token-2" {
		t.Errorf("after a 401: %v, called with %q; want a new token", err, got[len(got)-1])
	}

	// No token: the caller is told that something is away, and not what.
	auth.wrong.Store(true)
	refused.Store("Bearer token-2")
	_ = ask()
	err := ask()
	if e := problem.From(err); e.Kind != problem.Unavailable || strings.Contains(e.Detail, marker) || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("without a token: %v", err)
	}
}

func TestATokenIsRenewedInTime(t *testing.T) {
	t.Parallel()
	auth := &issuer{seconds: 3}
	n := peer.New()
	n.Here("auth", auth)
	n.Here("things", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	client := n.Client("users", secret.New("s:cret "))
	for range 3 {
		_, _, _ = call(t.Context(), client, "GET", "/", "")
	}
	if n := auth.asked.Load(); n != 1 {
		t.Errorf("three calls ask for %d tokens", n)
	}
	time.Sleep(2850 * time.Millisecond) // less than a tenth of its life is left
	_, _, _ = call(t.Context(), client, "GET", "/", "")
	if n := auth.asked.Load(); n != 2 {
		t.Errorf("an old token is renewed %d times", n-1)
	}
}

func TestASlowIssuerHoldsNobodyLongerThanTheyHave(t *testing.T) {
	t.Parallel()
	auth := &issuer{seconds: 3600, hold: make(chan struct{})}
	n := peer.New()
	n.Here("auth", auth)
	n.Here("things", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	client := n.Client("users", secret.New("s:cret "))
	var callers sync.WaitGroup
	began := time.Now()
	for range 20 {
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if _, _, err := call(ctx, client, "GET", "/", ""); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who waits for the issuer: %v", err)
			}
		})
	}
	callers.Wait()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("20 callers with 500 ms each wait %s, one after the other", took)
	}
	close(auth.hold) // the first asked for all, and what it gets is there for the next
	if _, _, err := call(t.Context(), client, "GET", "/", ""); err != nil || auth.asked.Load() != 1 {
		t.Errorf("afterwards: %v, asked %d times", err, auth.asked.Load())
	}
}

// Not beside others: the tracer is global.
func TestATraceGoesOnBothWays(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer, propagator := otel.GetTracerProvider(), otel.GetTextMapPropagator()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	t.Cleanup(func() { otel.SetTracerProvider(tracer); otel.SetTextMapPropagator(propagator) })
	both(t, things(), func(t *testing.T, client *http.Client) {
		ctx, root := provider.Tracer("test").Start(t.Context(), "root")
		if _, _, err := call(ctx, client, "GET", "/v1/empty", ""); err != nil {
			t.Fatal(err)
		}
		root.End()
		var server, clients sdktrace.ReadOnlySpan
		for range 200 {
			for _, s := range spans.Ended() {
				if s.SpanContext().TraceID() == root.SpanContext().TraceID() {
					switch s.SpanKind() {
					case trace.SpanKindServer:
						server = s
					case trace.SpanKindClient:
						clients = s
					}
				}
			}
			if server != nil && clients != nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if server == nil || clients == nil {
			t.Fatal("the trace breaks off")
		}
		if server.Parent().SpanID() != clients.SpanContext().SpanID() || clients.Parent().SpanID() != root.SpanContext().SpanID() || server.Name() != "GET /v1/empty" {
			t.Errorf("%s is the child of %s, not of the call", server.Name(), server.Parent().SpanID())
		}
	})
}

// closing is a body that tells that it was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

// TestABodyIsClosedBothWays: a call whose body is not closed is never measured, however it ends.
func TestABodyIsClosedBothWays(t *testing.T) {
	t.Parallel()
	here, there := peer.New(), peer.New()
	here.Here("things", things())
	server := httptest.NewServer(things())
	t.Cleanup(server.Close)
	if err := there.There("things", server.URL); err != nil {
		t.Fatal(err)
	}
	for how, network := range map[string]*peer.Network{"here": here, "there": there} {
		body := &closing{Reader: strings.NewReader("{}")}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://things/v1/echo/1", body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := network.Open().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if !body.closed {
			t.Errorf("%s: the body of the call is left open", how)
		}
	}
}
