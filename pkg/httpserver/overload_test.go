package httpserver_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"

	"example.com/groundwork/pkg/gather"
	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/problem"
)

const busyContract = `
openapi: 3.0.3
info: {title: busy, version: 1.0.0}
security: []
paths:
  /v1/work: {get: {responses: {default: {description: whatever}}}}
  /v1/quick: {get: {responses: {default: {description: whatever}}}}
`

// busy is a program that does work at so many places, one after the other, each in a time of its own.
func busy(t *testing.T, overload *httpserver.Overload, places int, each time.Duration) http.Handler {
	t.Helper()
	place := make(chan struct{}, places)
	return router(t, overload, func(w http.ResponseWriter, r *http.Request) {
		select {
		case place <- struct{}{}:
			defer func() { <-place }()
			time.Sleep(each)
		case <-r.Context().Done():
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
}

// mix is a program whose operations share 10 connections, which are waited for two seconds, and one that waits for no connection but takes long
// by itself, at 160 places. The path of each is /v1/ and how long it works.
func mix(t *testing.T, overload *httpserver.Overload, alone time.Duration, each ...time.Duration) http.Handler {
	t.Helper()
	contract := "openapi: 3.0.3\ninfo: {title: mix, version: 1.0.0}\nsecurity: []\npaths:\n"
	router := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.DiscardHandler), Timeout: 15 * time.Second})
	routes := map[string]http.HandlerFunc{}
	add := func(works time.Duration, place chan struct{}, patience time.Duration) {
		path := "/v1/" + works.String()
		contract += "  " + path + ": {get: {responses: {default: {description: whatever}}}}\n"
		routes[path] = func(w http.ResponseWriter, r *http.Request) {
			select {
			case place <- struct{}{}:
				defer func() { <-place }()
				time.Sleep(works)
			case <-time.After(patience):
				problem.Write(w, r, context.DeadlineExceeded)
			}
		}
	}
	add(alone, make(chan struct{}, 160), 15*time.Second)
	shared := make(chan struct{}, 10)
	for _, works := range each {
		add(works, shared, 2*time.Second)
	}
	if err := (httpserver.Guard{Overload: overload, Module: "mix"}).Mount(router, func(r chi.Router) {
		for path, work := range routes {
			r.Get(path, work)
		}
	}, []byte(contract)); err != nil {
		t.Fatal(err)
	}
	return router
}

func router(t *testing.T, overload *httpserver.Overload, work http.HandlerFunc) http.Handler {
	t.Helper()
	router := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.DiscardHandler), Timeout: 15 * time.Second})
	err := httpserver.Guard{Overload: overload, Module: "busy"}.Mount(router, func(r chi.Router) {
		r.Get("/v1/work", work)
		r.Get("/v1/quick", func(http.ResponseWriter, *http.Request) {})
	}, []byte(busyContract))
	if err != nil {
		t.Fatal(err)
	}
	return router
}

// offer sends so many requests a second for a while, whatever is answered, and reports how many a second are done in the second half, how long
// each of those took, and how many were sent away.
func offer(h http.Handler, perSecond int, while time.Duration) (done float64, took []time.Duration, away int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	began := time.Now()
	for range int(while.Seconds() * float64(perSecond)) {
		all.Go(func() {
			sent := time.Now()
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/work", nil))
			at := time.Since(began)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case at < while/2 || at >= while:
			case w.Code == http.StatusOK:
				done++
				took = append(took, time.Since(sent))
			case w.Header().Get("Retry-After") == "1" && strings.Contains(w.Body.String(), "overloaded"):
				away++
			}
		})
		time.Sleep(time.Second / time.Duration(perSecond))
	}
	all.Wait()
	slices.Sort(took)
	return done / (while / 2).Seconds(), took, away
}

// Time stands still while anything is done here, so what is counted is the same on any machine.
func TestFiveTimesWhatCanBeCarriedChangesLittle(t *testing.T) {
	t.Parallel()
	const carried = 250 // a second: 10 places, 40 ms each
	for _, c := range []struct {
		times   int
		limited bool
	}{{1, true}, {2, true}, {5, true}, {5, false}} {
		synctest.Test(t, func(t *testing.T) {
			var overload *httpserver.Overload
			if c.limited {
				var err error
				if overload, err = httpserver.NewOverload(time.Second, 10); err != nil {
					t.Fatal(err)
				}
			}
			done, took, away := offer(busy(t, overload, 10, 40*time.Millisecond), c.times*carried, 12*time.Second)
			var late time.Duration
			if len(took) > 0 {
				late = took[len(took)*99/100]
			}
			t.Logf("%d× offered, limited: %t: %.0f/s done of %d/s, 99 of 100 within %s, %d sent away", c.times, c.limited, done, carried, late, away)
			inTime := done >= 0.9*carried && late <= 1500*time.Millisecond
			if inTime != c.limited {
				t.Errorf("is it in time? %t", inTime)
			}
		})
	}
}

// What takes long by itself, as batches in a slow database do, is not held to fewer than there is room for.
func TestWhatIsSlowByItselfIsDone(t *testing.T) {
	t.Parallel()
	for each, latest := range map[time.Duration]time.Duration{1600 * time.Millisecond: 4 * time.Second, 3 * time.Second: 6 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			overload, err := httpserver.NewOverload(time.Second, 10)
			if err != nil {
				t.Fatal(err)
			}
			carried := 160 / each.Seconds() // a second, at so many places
			done, took, _ := offer(busy(t, overload, 160, each), int(5*carried), time.Minute)
			late := took[len(took)*99/100]
			t.Logf("%s each: %.0f/s done of %.0f/s, 99 of 100 within %s", each, done, carried, late)
			if done < 0.9*carried || late > latest {
				t.Error("it is not, or too late")
			}
		})
	}
}

// Operations that wait for the same connections are in time together, be they few or so many that none has much to do; and one beside them that
// takes long by itself is done as it was. Who has waited for a connection for two seconds is told so, which says nothing about how long it takes.
func TestAMixIsInTime(t *testing.T) {
	t.Parallel()
	const while, counted, alone = time.Minute, 20 * time.Second, 1600 * time.Millisecond
	for _, c := range []struct {
		many int
		mean time.Duration // of their work
	}{{7, 100 * time.Millisecond}, {16, 100 * time.Millisecond}, {4, 500 * time.Millisecond}, {1, 3 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			overload, err := httpserver.NewOverload(time.Second, 10)
			if err != nil {
				t.Fatal(err)
			}
			var each []time.Duration // so 100/s or fewer can be carried, or more of the quick ones
			for n := range c.many {
				each = append(each, c.mean/5+c.mean*8/5*time.Duration(2*n+1)/time.Duration(2*c.many))
			}
			h := mix(t, overload, alone, each...)
			var mu sync.Mutex
			var took []time.Duration
			var together time.Duration
			slow, failed := 0, 0
			began := time.Now()
			var all sync.WaitGroup
			send := func(works time.Duration) {
				all.Go(func() {
					sent, w := time.Now(), httptest.NewRecorder()
					h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/"+works.String(), nil))
					at := time.Since(began)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case at < while-counted || at >= while:
					case w.Code == http.StatusOK && works == alone:
						slow++
					case w.Code == http.StatusOK:
						together += works
						took = append(took, time.Since(sent))
					case !strings.Contains(w.Body.String(), "overloaded"):
						failed++
					}
				})
			}
			for n := range int(while / (4 * time.Millisecond)) { // 250/s of both kinds: much more than can be carried
				send(alone)
				send(each[n%c.many])
				time.Sleep(4 * time.Millisecond)
			}
			all.Wait()
			slices.Sort(took)
			late := took[len(took)*99/100]
			used, beside := together.Seconds()/(10*counted.Seconds()), float64(slow)/counted.Seconds()
			t.Logf("%d of %s: the connections worked for %.0f %% of the time, 99 of 100 within %s, %d failed; %.0f/s done of 100/s that take long by themselves",
				c.many, c.mean, 100*used, late, failed, beside)
			if used < 0.85 || late > max(2*time.Second, 3*c.mean) || failed > 0 || beside < 90 {
				t.Error("it is not")
			}
		})
	}
}

// An operation that takes long by itself, beside one that has much to do and is in time, or one that hangs, keeps its place: it waits for nobody.
func TestNothingIsSentAwayOfWhatDoesNotWait(t *testing.T) {
	t.Parallel()
	for _, beside := range []time.Duration{900 * time.Millisecond, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			overload, err := httpserver.NewOverload(time.Second, 10)
			if err != nil {
				t.Fatal(err)
			}
			router := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.DiscardHandler), Timeout: 15 * time.Second})
			if err := (httpserver.Guard{Overload: overload, Module: "busy"}).Mount(router, func(r chi.Router) {
				r.Get("/v1/quick", func(_ http.ResponseWriter, r *http.Request) {
					select {
					case <-time.After(beside):
					case <-r.Context().Done():
					}
				})
				r.Get("/v1/work", func(http.ResponseWriter, *http.Request) { time.Sleep(1200 * time.Millisecond) })
			}, []byte(busyContract)); err != nil {
				t.Fatal(err)
			}
			const while = 2 * time.Minute
			var all sync.WaitGroup
			var away atomic.Int64
			send := func(path string) {
				all.Go(func() {
					w := httptest.NewRecorder()
					router.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
					if w.Code == http.StatusServiceUnavailable && path == "/v1/work" {
						away.Add(1)
					}
				})
			}
			for n := range int(while / (8 * time.Millisecond)) { // 110 and 37 on their way
				send("/v1/quick")
				if n%4 == 0 {
					send("/v1/work")
				}
				time.Sleep(8 * time.Millisecond)
			}
			all.Wait()
			if away.Load() > 0 {
				t.Errorf("beside one of %s %d are sent away", beside, away.Load())
			}
		})
	}
}

// Batches take as long for one as for many, and those that wait for the next take longer.
func TestBatchesAreFilled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		overload, err := httpserver.NewOverload(time.Second, 10)
		if err != nil {
			t.Fatal(err)
		}
		batches := gather.New("batch", gather.Limits{Batches: 2, Size: 64, Waiting: 1024, Time: time.Minute}, func(_ context.Context, all []int) []int {
			time.Sleep(800 * time.Millisecond)
			return all
		})
		const carried = 160 // a second: twice 64 in 0.8 s
		done, took, _ := offer(router(t, overload, func(w http.ResponseWriter, r *http.Request) {
			if _, err := batches.Do(r.Context(), 1); err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}), 5*carried, 40*time.Second)
		late := took[len(took)*99/100]
		t.Logf("%.0f/s done of %d/s, 99 of 100 within %s", done, carried, late)
		if done < 0.9*carried || late > 4500*time.Millisecond {
			t.Errorf("%.0f/s are done of %d/s, 99 of 100 within %s", done, carried, late)
		}
	})
}

func TestWhatIsQuickIsNotSentAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		overload, err := httpserver.NewOverload(time.Second, 10)
		if err != nil {
			t.Fatal(err)
		}
		h := busy(t, overload, 10_000, 100*time.Millisecond)
		if _, _, away := offer(h, 2000, 2*time.Second); away != 0 { // 200 at once
			t.Errorf("%d are sent away of what the program can do", away)
		}
		if done, _, _ := offer(h, 8000, 4*time.Second); done < 7900 { // 800 at once: it finds out
			t.Errorf("%.0f/s are done of 8000/s that could be", done)
		}
	})
}

// A limit that an incident made smaller is not there for the next burst, and one after the other makes none smaller.
func TestALimitComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		overload, err := httpserver.NewOverload(time.Second, 10)
		if err != nil {
			t.Fatal(err)
		}
		each, places := 3*time.Second, make(chan struct{}, 1000)
		h := router(t, overload, func(http.ResponseWriter, *http.Request) {
			place, took := places, each
			place <- struct{}{}
			defer func() { <-place }()
			time.Sleep(took)
		})
		burst := func() (away int) {
			var all sync.WaitGroup
			var mu sync.Mutex
			for range 200 {
				all.Go(func() {
					w := httptest.NewRecorder()
					h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/work", nil))
					mu.Lock()
					defer mu.Unlock()
					if w.Code == http.StatusServiceUnavailable {
						away++
					}
				})
			}
			all.Wait()
			return away
		}
		one := func(times int) {
			for range times {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v1/work", nil))
			}
		}
		one(100)
		if away := burst(); away > 0 {
			t.Errorf("one slow request after the other, and then %d of a burst of 200 are sent away", away)
		}
		each, places = time.Second, make(chan struct{}, 10) // an incident: they wait for each other
		if _, _, away := offer(h, 100, 30*time.Second); away < 1000 {
			t.Fatalf("the incident sends %d away", away)
		}
		each, places = time.Millisecond, make(chan struct{}, 1000)
		one(3000)
		if away := burst(); away > 0 {
			t.Errorf("it is over, and %d of a burst of 200 are sent away", away)
		}
		each, places = time.Second, make(chan struct{}, 10)
		if _, _, away := offer(h, 100, 30*time.Second); away < 1000 {
			t.Fatalf("the next one sends %d away", away)
		}
		each, places = time.Millisecond, make(chan struct{}, 1000)
		for range 4 { // somebody comes now and then
			time.Sleep(30 * time.Second)
			one(1)
		}
		if away := burst(); away > 0 {
			t.Errorf("nobody was sent away since, and %d of a burst of 200 are sent away", away)
		}
	})
}

func TestOneBusyOperationTakesNothingFromAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		overload, err := httpserver.NewOverload(time.Second, 10)
		if err != nil {
			t.Fatal(err)
		}
		h := busy(t, overload, 1, time.Hour) // it hangs, until its requests' time is up
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v1/work", nil)) })
		}
		synctest.Wait()
		for path, want := range map[string]int{"/v1/work": http.StatusServiceUnavailable, "/v1/quick": http.StatusOK} {
			w := httptest.NewRecorder()
			began := time.Now()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code != want || time.Since(began) > 0 {
				t.Errorf("%s is answered %d after %s", path, w.Code, time.Since(began))
			}
		}
		all.Wait() // an hour of its time
	})
}

// Whoever has not sent all of a request has no place yet.
func TestASlowSenderTakesNoPlace(t *testing.T) {
	t.Parallel()
	overload, err := httpserver.NewOverload(time.Second, 10)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(_ *httpserver.Options, g *httpserver.Guard) { g.Overload = overload })
	for range 300 {
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
