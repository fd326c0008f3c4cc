package httpserver_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

const busyContract = `
openapi: 3.0.3
info: {title: busy, version: 1.0.0}
security: []
paths:
  /v1/work: {get: {responses: {default: {description: whatever}}}}
  /v1/quick: {get: {responses: {default: {description: whatever}}}}
  /v1/called: {get: {security: [{oauth2: []}], responses: {default: {description: whatever}}}}
components:
  securitySchemes:
    oauth2: {type: oauth2, flows: {clientCredentials: {tokenUrl: /v1/token, scopes: {internal: modules}}}}
`

// busy is a program of which an operation does some work, and another one nothing. Ten requests of each are worked on at once.
func busy(t *testing.T, work http.HandlerFunc) http.Handler {
	t.Helper()
	router := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.DiscardHandler), Timeout: 15 * time.Second})
	err := httpserver.Guard{Module: "busy", AtOnce: 10, Verifier: verifier{"module": {Subject: "users", Scopes: []string{"internal"}}, "user": {Subject: "somebody"}}}.Mount(router, func(r chi.Router) {
		r.Get("/v1/work", work)
		r.Get("/v1/quick", func(http.ResponseWriter, *http.Request) {})
		r.Get("/v1/called", func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, request.Begun(r.Context())) })
	}, []byte(busyContract))
	if err != nil {
		t.Fatal(err)
	}
	return router
}

func TestAnOperationThatHangsTakesNothingFromAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var in atomic.Int64
		h := busy(t, func(_ http.ResponseWriter, r *http.Request) {
			in.Add(1)
			<-r.Context().Done()
		})
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v1/work", nil))
			})
		}
		synctest.Wait()
		if in.Load() != 10 {
			t.Errorf("%d of 10 are let in", in.Load())
		}
		ask := func(path string, takes time.Duration) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			began := time.Now()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if time.Since(began) != takes {
				t.Errorf("%s is answered after %s", path, time.Since(began))
			}
			return w
		}
		if w := ask("/v1/work", 0); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"overloaded"`) {
			t.Errorf("one more of what hangs: %d %v %s", w.Code, w.Header(), w.Body)
		}
		if w := ask("/v1/quick", 0); w.Code != http.StatusOK {
			t.Errorf("another one: %d", w.Code)
		}
		all.Wait()                      // their time is up
		ask("/v1/work", 15*time.Second) // there is room, and it hangs as well
	})
}

// A person's request may be sent away until something was done for it. A module asks for one that has begun, or for a job.
func TestWhoMayBeSentAway(t *testing.T) {
	t.Parallel()
	h := busy(t, nil)
	for who, begun := range map[string]string{"user": "false", "module": "true"} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v1/called", nil)
		r.Header.Set("Authorization", "Bearer "+who)
		if h.ServeHTTP(w, r); w.Body.String() != begun {
			t.Errorf("%s: %d %s", who, w.Code, w.Body)
		}
	}
}

// Who is sent away is counted, here as well as by what is further inside.
func TestWhoIsSentAwayIsCounted(t *testing.T) {
	s := newSignals(t)
	h := busy(t, func(w http.ResponseWriter, r *http.Request) {
		problem.Write(w, r, problem.Unavailable.New("overloaded", "Later."))
	})
	for _, path := range []string{"/v1/work", "/v1/work", "/v1/quick"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	var all metricdata.ResourceMetrics
	if err := s.meter.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if data, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "http.server.shed" {
				for _, p := range data.DataPoints {
					route, _ := p.Attributes.Value("http.route")
					got[route.AsString()] = p.Value
				}
			}
		}
	}
	if len(got) != 3 || got["/v1/work"] != 2 || got["/v1/quick"]+got["/v1/called"] != 0 {
		t.Errorf("sent away: %v", got)
	}
}

// Whoever has not sent all of a request has no place yet.
func TestASlowSenderTakesNoPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *httpserver.Options, g *httpserver.Guard) { g.AtOnce = 10 })
	for range 30 {
		conn, err := net.Dial("tcp", w.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "POST /v1/things HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer writer\r\nIdempotency-Key: k\r\n"+
			"Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
		line, err := bufio.NewReader(conn).ReadString('\n') // which comes when somebody reads the body
		if err != nil || !strings.Contains(line, "100") {
			t.Fatalf("%q %v", line, err)
		}
	}
	resp, body := w.send(t, "POST /v1/things", `{"name":"a"}`, "Authorization: Bearer writer", "Idempotency-Key: k", "Content-Type: application/json")
	if resp.StatusCode != http.StatusOK {
		t.Errorf("beside those who are slow: %d %s", resp.StatusCode, body)
	}
}
