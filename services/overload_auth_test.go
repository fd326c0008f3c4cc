package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
)

const (
	overloadFor = 30 * time.Second // each load is offered, of which the last third is counted
	trialFor    = 6 * time.Second  // while it is looked for how much can be carried
)

// offered is what became of requests that were sent whatever was answered, in the last third of their time.
type offered struct {
	perSecond, done float64
	p50, p99        time.Duration // of what was done
	away            int           // 503 overloaded
	wrong           map[string]int
}

// offer sends so many requests a second.
func offer(t *testing.T, perSecond float64, while time.Duration, request func() *http.Request) offered {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 8192}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	got := offered{perSecond: perSecond, wrong: map[string]int{}}
	var mu sync.Mutex
	var took []time.Duration
	began := time.Now()
	ctx, cancel := context.WithDeadline(t.Context(), began.Add(while))
	defer cancel()
	counts := began.Add(while * 2 / 3)
	one := func() {
		sent := time.Now()
		resp, err := client.Do(request().WithContext(ctx))
		if ctx.Err() != nil { // the rest of it is not waited for
			if err == nil {
				_ = resp.Body.Close()
			}
			return
		}
		what := fmt.Sprint(err)
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			var d struct{ Code string }
			_ = json.Unmarshal(body, &d)
			what = fmt.Sprint(resp.StatusCode, " ", d.Code)
		}
		at := time.Now()
		mu.Lock()
		defer mu.Unlock()
		switch {
		case what == "503 overloaded" && resp.Header.Get("Retry-After") == "1":
			if at.After(counts) {
				got.away++
			}
		case err != nil || resp.StatusCode >= 300:
			got.wrong[what]++
		case at.After(counts):
			took = append(took, at.Sub(sent))
		}
	}
	var all sync.WaitGroup
	for sent := 0; ctx.Err() == nil; time.Sleep(time.Millisecond) {
		for due := int(time.Since(began).Seconds() * perSecond); sent < due; sent++ {
			all.Go(one)
		}
	}
	all.Wait()
	got.done = float64(len(took)) / (while / 3).Seconds()
	if slices.Sort(took); len(took) > 0 {
		got.p50, got.p99 = took[len(took)/2], took[len(took)*99/100]
	}
	return got
}

// probed asks a few times a second whether somebody is ready, until it is asked how often it was not.
func probed(t *testing.T, url string) (unready func() int) {
	t.Helper()
	end, not := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-end:
				not <- n
				return
			case <-time.After(300 * time.Millisecond):
				if resp, err := http.Get(url); err != nil {
					n++
				} else if _ = resp.Body.Close(); resp.StatusCode != http.StatusOK {
					n++
				}
			}
		}
	}()
	return func() int { close(end); return <-not }
}

// TestFiveTimesTheLoadThatCanBeCarried slows Postgres, so that it and neither the program nor the loader is what limits, finds how much can be
// carried, and offers that, twice and five times as much. Ratios within one run are asserted, no speed.
func TestFiveTimesTheLoadThatCanBeCarried(t *testing.T) {
	if os.Getenv("NEED_OVERLOAD") == "" {
		t.Skip("takes some minutes and all of the machine: `make overload` runs it")
	}
	env := with(world(t), "AUTH_CLIENT_SECRET", "a secret of auth that is long enough", "RATE_LIMIT", "off", "LOG_LEVEL", "error")
	postgres, database := through(t, env["DATABASE_URL"])
	p := start(t, with(env, "DATABASE_URL", database))
	st := &teller{t: t, url: p.url}
	st.gather(env)
	s := newStage(t, st, env)
	send := func(method, path, token string, body any, header ...string) *http.Request {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(method, p.url+path, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		return req
	}
	loads := []struct {
		what string
		slow time.Duration // each way to Postgres
		as   string
		one  func(token string) *http.Request
	}{
		{"GET /v1/auth/sessions", 40 * time.Millisecond, "the owner", func(token string) *http.Request {
			return send(http.MethodGet, "/v1/auth/sessions", token, nil)
		}},
	}
	// only with transactions:
	outside := s.made(s.tokens["an operator"](), "/v1/accounts", map[string]any{"currency": "EUR", "kind": "external"})
	loads = append(loads, struct {
		what string
		slow time.Duration
		as   string
		one  func(token string) *http.Request
	}{"POST /v1/transactions", 100 * time.Millisecond, "an operator", func(token string) *http.Request {
		return send(http.MethodPost, "/v1/transactions", token, map[string]any{"postings": []map[string]any{
			{"from": outside, "to": s.till, "amount": 1, "currency": "EUR"},
		}}, "Idempotency-Key", uuid.NewString())
	}})
	var turn atomic.Int64
	loads = append(loads, struct {
		what string
		slow time.Duration
		as   string
		one  func(token string) *http.Request
	}{"GET of three lists that wait for the same connections", 40 * time.Millisecond, "an operator", func(token string) *http.Request {
		lists := []string{"/v1/accounts", "/v1/accounts/" + s.till + "/entries", "/v1/transactions?account_id=" + s.till}
		return send(http.MethodGet, lists[turn.Add(1)%int64(len(lists))], token, nil)
	}})
	// end transactions
	// login waits until those before are through, and returns a token that is good for five minutes.
	login := func(as string) string {
		postgres.Pass()
		eventually(t, "nobody waits for a connection of auth", func() bool {
			return measured(t, p.admin, "db_client_connection_turn_seconds", `db_client_connection_pool_name="auth"`) == 0
		})
		return s.tokens[as]()
	}
	t.Logf("| what | offered /s | done /s | of the best | p50 ms | p99 ms | sent away /s |")
	for _, load := range loads {
		token := login(load.as)
		postgres.Slow(load.slow)
		var carried float64
		for more := 32.0; ; more *= 2 {
			got := offer(t, more, trialFor, func() *http.Request { return load.one(token) })
			carried = max(carried, got.done)
			if got.done < 0.7*more {
				break
			}
		}
		// Once the limit has been found more may be carried than in the trials.
		carried = max(carried, offer(t, 2*carried, overloadFor, func() *http.Request { return load.one(token) }).done)
		var all []offered
		best := carried
		for _, times := range []float64{1, 2, 5} {
			token = login(load.as)
			postgres.Slow(load.slow)
			ready := probed(t, p.admin+"/readyz")
			got := offer(t, times*carried, overloadFor, func() *http.Request { return load.one(token) })
			if unready := ready(); unready > 0 {
				t.Errorf("%s, %.0f times: unready %d times", load.what, times, unready)
			}
			all, best = append(all, got), max(best, got.done)
		}
		for _, got := range all {
			t.Logf("| %s | %.0f | %.0f | %.2f | %d | %d | %.0f |", load.what, got.perSecond, got.done, got.done/best,
				got.p50.Milliseconds(), got.p99.Milliseconds(), float64(got.away)/(overloadFor/3).Seconds())
			if len(got.wrong) > 0 {
				t.Errorf("%s: %v", load.what, got.wrong)
			}
		}
		last := all[len(all)-1]
		t.Attr("figure", fmt.Sprintf("%s, %.0f/s where %.0f/s can be carried: %.0f %% of the best work is done, 99 of 100 within %s", load.what, last.perSecond, carried,
			100*last.done/best, last.p99.Round(10*time.Millisecond)))
		// In time is within half of what a request may take at all.
		if last.done < 0.8*best || last.p99 > 7500*time.Millisecond {
			t.Errorf("%s, five times: %.0f/s of %.0f/s are done, 99 of 100 within %s", load.what, last.done, best, last.p99)
		}
		postgres.Pass()
		for _, probe := range []string{"/livez", "/readyz"} {
			if status, _, _ := fetch(t, get(p.admin+probe)); status != http.StatusOK {
				t.Errorf("%s after it: %d", probe, status)
			}
		}
	}
}
