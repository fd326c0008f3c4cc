// Package ratelimit holds back who asks too often. Limiter counts requests per caller in this process; with several instances each
// allows the rate. (Failed logins are counted across instances: see Backoff.)
package ratelimit

import (
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"
)

// burst is how many seconds' worth of requests may come at once.
const burst = 2

// tracked bounds the callers that are remembered, twice at most.
const tracked = 50_000

// Limiter is a leaky bucket per caller (the generic cell rate algorithm: one time per caller, no counters to reset).
type Limiter struct {
	interval  time.Duration // one request's share
	tolerance time.Duration // how far ahead a burst may run
	policy    string
	now       func() time.Time

	mu     sync.Mutex
	recent map[string]time.Time // when the caller's bucket will be empty
	older  map[string]time.Time
}

// New allows each caller perSecond requests a second, and twice as many at once after a rest.
func New(perSecond float64) *Limiter {
	interval := time.Duration(float64(time.Second) / perSecond)
	capacity := math.Max(1, math.Floor(perSecond*burst))
	return &Limiter{
		interval: interval, tolerance: time.Duration(capacity) * interval, now: time.Now,
		policy: fmt.Sprintf(`"default";q=%d;w=%d`, int(capacity), max(1, int(math.Ceil(capacity/perSecond)))),
		recent: map[string]time.Time{},
	}
}

// Take counts one request. wait is how long to wait when it is one too many, 0 when it may pass. headers say how things stand
// (RateLimit and RateLimit-Policy of the IETF's draft).
func (l *Limiter) Take(caller string) (headers http.Header, wait time.Duration) {
	now := l.now()
	l.mu.Lock()
	empty, ok := l.recent[caller]
	if !ok {
		empty = l.older[caller]
	}
	if empty.Before(now) {
		empty = now
	}
	next := empty.Add(l.interval)
	if wait = next.Add(-l.tolerance).Sub(now); wait <= 0 {
		wait, empty = 0, next
		if len(l.recent) >= tracked { // the old generation has had time to drain
			l.older, l.recent = l.recent, map[string]time.Time{}
		}
		l.recent[caller] = empty
	}
	l.mu.Unlock()
	left := int((l.tolerance - empty.Sub(now)) / l.interval)
	reset := int(math.Ceil(empty.Sub(now).Seconds()))
	return http.Header{
		"Ratelimit-Policy": {l.policy},
		"Ratelimit":        {fmt.Sprintf(`"default";r=%d;t=%d`, max(0, left), reset)},
	}, wait
}
