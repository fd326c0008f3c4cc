package authn

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// What is revoked again is revoked further, and never less.
func TestARevocationIsRaised(t *testing.T) {
	t.Parallel()
	var r Revocations
	who, now := uuid.New(), time.Now()
	holds := func(version int64, want bool) {
		t.Helper()
		if got := r.covers(Principal{UserID: who, Version: version}); got != want {
			t.Errorf("version %d is refused: %v", version, got)
		}
	}
	holds(1, false)
	r.Add([]Revocation{{who, 2, now}}, now)
	holds(1, true)
	holds(2, false)
	r.Add([]Revocation{{who, 3, now}}, now)
	holds(2, true)
	holds(3, false)
	r.Add([]Revocation{{who, 2, now}}, now) // it is told again and again, in any order
	holds(2, true)
	r.Add(nil, now.Add(RevocationsKept+time.Second))
	holds(1, false)
}

// Neither a clock that was ahead for a while nor one that is told late, behind what was read already, hides what is revoked.
func TestTheOrderOfTellingHidesNoRevocation(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]struct{ first, then time.Duration }{
		"a clock that is ahead": {5 * time.Minute, 0},
		"one that is late":      {0, -50 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
			defer rdb.Close()
			var r Revocations
			for _, from := range []time.Duration{second.first, second.then} {
				one := Revocation{uuid.New(), Whatever, time.Now().Add(from)}
				if err := Publish(t.Context(), rdb, []Revocation{one}, time.Now()); err != nil {
					t.Fatal(err)
				}
				if err := r.Read(t.Context(), rdb); err != nil {
					t.Fatal(err)
				}
				if !r.covers(Principal{SessionID: one.ID}) {
					t.Errorf("one of %s is not known", one.CreatedAt)
				}
			}
		})
	}
}

// Auth tells within a second, and everybody reads within another: two seconds is what is promised.
func TestRevocationsAreReadEverySecond(t *testing.T) {
	if followEvery > time.Second {
		t.Errorf("they are read every %s", followEvery)
	}
}
