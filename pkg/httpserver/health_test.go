package httpserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/groundwork/pkg/httpserver"
)

// part is something that a process needs, and how it is.
type part struct {
	asked atomic.Int32
	down  atomic.Bool
	slow  atomic.Bool
}

func (p *part) ask(ctx context.Context) error {
	p.asked.Add(1)
	if p.slow.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if p.down.Load() {
		return errors.New(marker)
	}
	return nil
}

type healthAnswer struct {
	code   int
	Status string
	Checks map[string]string
}

func TestHealth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var postgres, redis part
		var log book
		h := httpserver.NewHealth(slog.New(slog.NewJSONHandler(&log, nil)),
			httpserver.Check{Name: "postgres", Critical: true, Ask: postgres.ask}, httpserver.Check{Name: "redis", Ask: redis.ask})
		router := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.DiscardHandler), Timeout: time.Minute})
		h.Routes(router)
		ask := func(path string) (a healthAnswer) {
			t.Helper()
			w := httptest.NewRecorder()
			router.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Header().Get("Cache-Control") != "no-store" {
				t.Fatalf("%s: %v %s", path, err, w.Body)
			}
			if strings.Contains(w.Body.String(), marker) {
				t.Errorf("%s tells a cause: %s", path, w.Body)
			}
			a.code = w.Code
			return a
		}
		wants := func(path string, code int, status, checks string) {
			t.Helper()
			a := ask(path)
			if got, _ := json.Marshal(a.Checks); a.code != code || a.Status != status || string(got) != checks {
				t.Errorf("%s: %d %s %s; want %d %s %s", path, a.code, a.Status, got, code, status, checks)
			}
		}

		wants("/livez", 200, "ok", "null")
		if postgres.asked.Load() != 0 {
			t.Error("/livez asks the database: a pause of it would end every process at once")
		}
		wants("/readyz", 200, "ok", "null")
		wants("/readyz?verbose", 200, "ok", `{"postgres":"ok","redis":"ok"}`)

		var probes sync.WaitGroup
		for range 50 {
			probes.Go(func() { ask("/readyz") })
		}
		probes.Wait()
		if n := postgres.asked.Load(); n != 1 {
			t.Errorf("52 probes within a second ask %d times", n)
		}

		redis.down.Store(true)
		wants("/readyz?verbose", 200, "ok", `{"postgres":"ok","redis":"ok"}`) // as it was a moment ago
		time.Sleep(time.Second)
		wants("/readyz?verbose", 200, "ok", `{"postgres":"ok","redis":"degraded"}`)
		postgres.down.Store(true)
		time.Sleep(time.Second)
		wants("/readyz?verbose", 503, "unready", `{"postgres":"failed","redis":"degraded"}`)
		wants("/readyz", 503, "unready", "null")
		wants("/livez", 200, "ok", "null")
		time.Sleep(time.Second)
		wants("/readyz", 503, "unready", "null")
		log.mu.Lock()
		if n := strings.Count(log.b.String(), marker); n != 2 {
			t.Errorf("two failures that last are logged %d times; want each once, when it begins", n)
		}
		log.mu.Unlock()
		postgres.down.Store(false)
		time.Sleep(time.Second)
		wants("/readyz", 200, "ok", "null")

		// One that hangs is cut off, and the probe of somebody who left is not wasted.
		postgres.slow.Store(true)
		time.Sleep(time.Second)
		gone, leave := context.WithCancel(t.Context())
		leave()
		began := time.Now()
		w := httptest.NewRecorder()
		router.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil).WithContext(gone))
		if took := time.Since(began); w.Code != 503 || took != 500*time.Millisecond {
			t.Errorf("a database that hangs: %d after %s", w.Code, took)
		}
		postgres.slow.Store(false)
		time.Sleep(time.Second)
		wants("/readyz", 200, "ok", "null")

		h.Drain()
		wants("/readyz?verbose", 503, "unready", `{"draining":"the process is about to end"}`)
		wants("/livez", 200, "ok", "null")
	})
}

func TestOneOfSeveralDatabasesTakesNoTrafficFromTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var auth, users part
		users.down.Store(true)
		h := httpserver.NewHealth(slog.New(slog.DiscardHandler),
			httpserver.Check{Name: "auth", Critical: true, Ask: auth.ask}, httpserver.Check{Name: "users", Critical: true, Ask: users.ask})
		router := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.DiscardHandler), Timeout: time.Minute})
		h.Routes(router)
		wants := func(what string, code int) {
			t.Helper()
			time.Sleep(time.Second)
			w := httptest.NewRecorder()
			router.ServeHTTP(w, httptest.NewRequest("GET", "/readyz?verbose", nil))
			if w.Code != code {
				t.Errorf("%s: %d %s, want %d", what, w.Code, w.Body, code)
			}
		}
		wants("before both were well", 503)
		users.down.Store(false)
		wants("both well", 200)
		users.down.Store(true)
		wants("one is lost", 200)
		auth.down.Store(true)
		wants("both are lost", 503)
		users.down.Store(false)
		wants("one is back", 200)
	})
}
