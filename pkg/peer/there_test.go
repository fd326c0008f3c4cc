package peer_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/groundwork/pkg/peer"
	"example.com/groundwork/pkg/problem"
)

// elsewhere is a client of a module elsewhere, which is h.
func elsewhere(t *testing.T, h http.HandlerFunc) *http.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	n := peer.New()
	if err := n.There("things", s.URL); err != nil {
		t.Fatal(err)
	}
	return n.Open()
}

func TestWhatMayBeRepeatedIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, body string
		headers      []string
		arrive       int
	}{
		{"GET", "", nil, 3},
		{"PUT", `{"a":1}`, nil, 3},
		{"DELETE", "", nil, 3},
		{"POST", `{"a":1}`, []string{"Idempotency-Key: once"}, 3},
		{"POST", `{"a":1}`, nil, 1},
		{"PATCH", `{"a":1}`, nil, 1},
	} {
		t.Run(fmt.Sprint(c.method, c.headers), func(t *testing.T) {
			t.Parallel()
			var arrived atomic.Int64
			client := elsewhere(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if string(body) != c.body {
					t.Errorf("what arrives is %q", body)
				}
				if arrived.Add(1) < 3 {
					panic(http.ErrAbortHandler)
				}
			})
			resp, _, err := call(t.Context(), client, c.method, "/v1/x", c.body, c.headers...)
			if c.arrive == 3 && (err != nil || resp.StatusCode != 200) || c.arrive == 1 && !problem.Is(err, problem.Unavailable) {
				t.Errorf("it is answered %v", err)
			}
			if got := arrived.Load(); got != int64(c.arrive) {
				t.Errorf("it arrives %d times; want %d", got, c.arrive)
			}
		})
	}
}

// An answer is an answer: a module that says what is wrong is not asked again.
func TestAnAnswerIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	var arrived atomic.Int64
	client := elsewhere(t, func(w http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		problem.Write(w, r, problem.Unavailable.New("overloaded", "Later.").After(time.Second))
	})
	_, _, err := call(t.Context(), client, "GET", "/v1/x", "")
	if !problem.Is(err, problem.Unavailable) || arrived.Load() != 1 {
		t.Errorf("%v after %d calls", err, arrived.Load())
	}
}

func TestAModuleThatDoesNotAnswerIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what string
		how  http.HandlerFunc
	}{
		{"it hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"it hangs in the middle of an answer", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}},
		{"it is slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"its gateway says so", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no upstream", http.StatusBadGateway) }},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			var away atomic.Bool
			var arrived atomic.Int64
			client := elsewhere(t, func(w http.ResponseWriter, r *http.Request) {
				arrived.Add(1)
				if away.Load() {
					c.how(w, r)
				}
			})
			ask := func(patience time.Duration) error {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				_, _, err := call(ctx, client, "POST", "/v1/x", "")
				return err
			}
			if err := ask(10 * time.Second); err != nil {
				t.Fatal(err)
			}
			away.Store(true)
			for range 100 {
				_ = ask(50 * time.Millisecond)
			}
			// A slow machine may take longer than the rest, and then somebody looks whether it is back.
			if got := arrived.Load(); got > 30 {
				t.Errorf("%d of 101 calls arrive", got)
			}
			if err := ask(50 * time.Millisecond); !problem.Is(err, problem.Unavailable) {
				t.Errorf("it is answered %v", err)
			}
			away.Store(false)
			for end := time.Now().Add(20 * time.Second); ask(50*time.Millisecond) != nil; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("it is back, and nobody calls it")
				}
			}
		})
	}
}

// One that only says that it is alive is left alone all the same.
func TestToBeAliveIsNotEnough(t *testing.T) {
	t.Parallel()
	var arrived atomic.Int64
	client := elsewhere(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/livez" {
			arrived.Add(1)
			panic(http.ErrAbortHandler)
		}
	})
	for range 50 {
		_, _, _ = call(t.Context(), client, "POST", "/v1/x", "")
		for range 2 {
			if _, _, err := call(t.Context(), client, "GET", "/livez", ""); err != nil {
				t.Fatalf("is it alive? %v", err)
			}
		}
	}
	if got := arrived.Load(); got > 25 { // on a slow machine somebody looks whether it is back
		t.Errorf("%d of 50 calls arrive", got)
	}
}

func TestASlowModuleTakesSoManyCallsAndNoMore(t *testing.T) {
	t.Parallel()
	var waiting, most atomic.Int64
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n := waiting.Add(1)
		defer waiting.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer slow.Close()
	quick := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer quick.Close()
	n := peer.New()
	if err := n.There("things", slow.URL); err != nil {
		t.Fatal(err)
	}
	if err := n.There("others", quick.URL); err != nil {
		t.Fatal(err)
	}
	client := n.Open()
	var calls sync.WaitGroup
	var refused atomic.Int64
	for range 100 {
		calls.Go(func() {
			if _, _, err := call(t.Context(), client, "GET", "/v1/x", ""); problem.Is(err, problem.Unavailable) {
				refused.Add(1)
			}
		})
	}
	for refused.Load() < 36 { // 64 wait
		time.Sleep(10 * time.Millisecond)
	}
	resp, err := client.Get("http://others/v1/x")
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("another module is answered %v", err)
	}
	for end := time.Now().Add(20 * time.Second); waiting.Load() < 64 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	close(release)
	calls.Wait()
	if most.Load() != 64 || refused.Load() != 36 {
		t.Errorf("%d at once, %d refused", most.Load(), refused.Load())
	}
}

func TestHalfAnAnswerIsNone(t *testing.T) {
	t.Parallel()
	client := elsewhere(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "half")
	})
	if _, _, err := call(t.Context(), client, "GET", "/v1/x", ""); !problem.Is(err, problem.Unavailable) {
		t.Errorf("it is answered %v", err)
	}
}
