package ratelimit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// limiter is one with a clock that the test moves.
func limiter(perSecond float64) (l *Limiter, pass func(time.Duration)) {
	now := time.Unix(1_900_000_000, 0)
	l = New(perSecond)
	l.now = func() time.Time { return now }
	return l, func(d time.Duration) { now = now.Add(d) }
}

func TestABurstAndThenTheRate(t *testing.T) {
	l, pass := limiter(10)
	for n := range 20 {
		if _, wait := l.Take("ada"); wait != 0 {
			t.Fatalf("request %d of the burst waits %v", n+1, wait)
		}
	}
	for range 3 { // asking again does not make it longer
		if _, wait := l.Take("ada"); wait != 100*time.Millisecond {
			t.Errorf("one too many waits %v", wait)
		}
	}
	if _, wait := l.Take("bob"); wait != 0 {
		t.Errorf("somebody else waits %v", wait)
	}
	pass(100 * time.Millisecond)
	if _, wait := l.Take("ada"); wait != 0 {
		t.Errorf("after the wait: %v", wait)
	}
	if _, wait := l.Take("ada"); wait == 0 {
		t.Error("the wait was for one request only")
	}
	pass(time.Hour)
	for n := range 20 {
		if _, wait := l.Take("ada"); wait != 0 {
			t.Fatalf("after a rest, request %d waits %v", n+1, wait)
		}
	}
	if _, wait := l.Take("ada"); wait == 0 {
		t.Error("a long rest makes a longer burst")
	}
}

func TestTheHeadersSayHowThingsStand(t *testing.T) {
	for _, c := range []struct {
		perSecond     float64
		takes         int
		policy, limit string
	}{
		{10, 1, `"default";q=20;w=2`, `"default";r=19;t=1`},
		{10, 20, `"default";q=20;w=2`, `"default";r=0;t=2`},
		{10, 25, `"default";q=20;w=2`, `"default";r=0;t=2`},
		{0.1, 1, `"default";q=1;w=10`, `"default";r=0;t=10`},
	} {
		l, _ := limiter(c.perSecond)
		for range c.takes - 1 {
			l.Take("ada")
		}
		h, _ := l.Take("ada")
		if h.Get("RateLimit-Policy") != c.policy || h.Get("RateLimit") != c.limit {
			t.Errorf("%v a second, request %d: %s and %s, want %s and %s", c.perSecond, c.takes, h.Get("RateLimit-Policy"), h.Get("RateLimit"), c.policy, c.limit)
		}
	}
}

func TestManyCallersDoNotFillTheMemory(t *testing.T) {
	l, _ := limiter(1)
	for range 10 {
		l.Take("ada")
	}
	for n := range tracked + 10 {
		l.Take(fmt.Sprint(n))
	}
	if _, wait := l.Take("ada"); wait == 0 {
		t.Error("a crowd makes the limiter forget who is over the limit")
	}
	for n := range 3 * tracked {
		l.Take(fmt.Sprint("more", n))
	}
	if n := len(l.recent) + len(l.older); n > 2*tracked {
		t.Errorf("%d callers are kept", n)
	}
}

func TestRequestsAtOnceAreAllCounted(t *testing.T) {
	l, _ := limiter(10)
	var passed atomic.Int64
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if _, wait := l.Take("ada"); wait == 0 {
				passed.Add(1)
			}
		})
	}
	all.Wait()
	if passed.Load() != 20 {
		t.Errorf("%d of 100 passed, want 20", passed.Load())
	}
}
