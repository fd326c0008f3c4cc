package ratelimit_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"example.com/groundwork/pkg/cache"
	"example.com/groundwork/pkg/postgres/pgtest"
	"example.com/groundwork/pkg/ratelimit"
)

func backoff(t *testing.T, client *redis.Client, free int) *ratelimit.Backoff {
	t.Helper()
	return ratelimit.NewBackoff(client, "tries:", free, time.Minute, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

func connect(t *testing.T, url string) *redis.Client {
	t.Helper()
	client, err := cache.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestTheWaitGrowsAndEnds(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	now := time.Now()
	server.SetTime(now)
	b := backoff(t, connect(t, "redis://"+server.Addr()), 3)
	for _, want := range []int{0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60} { // the wait after each try
		if wait := b.Try(t.Context(), "ada"); wait != 0 {
			t.Fatalf("too early by %v", wait)
		}
		if want > 0 {
			server.SetTime(now.Add(time.Duration(want)*time.Second - time.Millisecond))
			if wait := b.Try(t.Context(), "ada"); wait != time.Millisecond {
				t.Errorf("a moment before the end of %d s, %v is left", want, wait)
			}
		}
		now = now.Add(time.Duration(want) * time.Second)
		server.SetTime(now)
	}
	if wait := b.Try(t.Context(), "bob"); wait != 0 {
		t.Errorf("somebody else waits %v", wait)
	}
	b.Try(t.Context(), "ada")
	b.Clear(t.Context(), "ada")
	for range 3 {
		if wait := b.Try(t.Context(), "ada"); wait != 0 {
			t.Errorf("after a success: %v", wait)
		}
	}
	server.FastForward(time.Hour)
	if keys := server.Keys(); len(keys) != 0 {
		t.Errorf("an hour later Redis still keeps %v", keys)
	}
}

// On the Redis of the test run: where there is a real one, the script runs on it.
func TestTriesAtOnceAreAllCounted(t *testing.T) {
	t.Parallel()
	client, name := connect(t, pgtest.RedisURL(t)), uuid.NewString()
	instances := []*ratelimit.Backoff{backoff(t, client, 20), backoff(t, connect(t, pgtest.RedisURL(t)), 20)}
	var passed atomic.Int64
	var all sync.WaitGroup
	for n := range 100 {
		all.Go(func() {
			if instances[n%2].Try(t.Context(), name) == 0 {
				passed.Add(1)
			}
		})
	}
	all.Wait()
	if passed.Load() != 20 {
		t.Errorf("%d of 100 tries at once passed, want 20", passed.Load())
	}
	if wait := instances[0].Try(t.Context(), name); wait <= 0 || wait > time.Second {
		t.Errorf("the wait is %v", wait)
	}
	instances[0].Clear(t.Context(), name)
}

func TestWithRedisAwayEachProcessCountsMoreStrictly(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	var log bytes.Buffer
	b := ratelimit.NewBackoff(connect(t, "redis://"+server.Addr()), "tries:", 6, time.Minute, slog.New(slog.NewTextHandler(&log, nil)))
	server.Close()
	for n := range 3 {
		if wait := b.Try(t.Context(), "ada@example.com"); wait != 0 {
			t.Errorf("try %d waits %v", n+1, wait)
		}
	}
	if wait := b.Try(t.Context(), "ada@example.com"); wait <= 0 || wait > time.Second {
		t.Errorf("the wait after half the free tries is %v", wait)
	}
	if wait := b.Try(t.Context(), "bob"); wait != 0 {
		t.Errorf("somebody else waits %v", wait)
	}
	b.Clear(t.Context(), "ada@example.com")
	if wait := b.Try(t.Context(), "ada@example.com"); wait != 0 {
		t.Errorf("after a success: %v", wait)
	}
	if strings.Count(log.String(), "in this process only") != 1 || strings.Contains(log.String(), "ada") {
		t.Errorf("the log says %s", log.String())
	}
}

func TestKeysDoNotTellWhoIsCounted(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	b := backoff(t, connect(t, "redis://"+server.Addr()), 3)
	b.Try(t.Context(), "ada|192.0.2.0/24")
	if keys := server.Keys(); len(keys) != 1 || !strings.HasPrefix(keys[0], "tries:") || strings.Contains(keys[0], "ada") || strings.Contains(keys[0], "192") {
		t.Errorf("Redis keeps %v", keys)
	}
}
