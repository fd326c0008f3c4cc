package ratelimit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Backoff makes whoever keeps failing wait longer and longer: after some free tries 1, 2, 4 … seconds up to a limit. Tries are counted
// in Redis, across instances; while Redis is away each process counts by itself, with half the free tries.
type Backoff struct {
	redis  *redis.Client
	prefix string
	free   int
	limit  time.Duration
	log    *slog.Logger

	mu     sync.Mutex
	local  map[string]tries
	warned time.Time
}

type tries struct {
	count int
	until time.Time
}

const forgotten = time.Hour // after the last try

// NewBackoff allows free tries before the first wait, and lets none be longer than limit.
func NewBackoff(client *redis.Client, prefix string, free int, limit time.Duration, log *slog.Logger) *Backoff {
	return &Backoff{redis: client, prefix: prefix, free: free, limit: limit, log: log, local: map[string]tries{}}
}

// try counts one try and sets when the next may come; during a wait it counts nothing and returns what is left of it, in milliseconds.
// It is one script, so that a hundred tries at once are a hundred and not one.
var try = redis.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', KEYS[1], 'count', 'until')
local wait = (tonumber(state[2]) or 0) - now
if wait > 0 then return wait end
local count = (tonumber(state[1]) or 0) + 1
local pause = 0
if count >= tonumber(ARGV[1]) then
  pause = math.min(tonumber(ARGV[2]), 1000 * 2 ^ math.min(30, count - tonumber(ARGV[1])))
end
redis.call('HSET', KEYS[1], 'count', count, 'until', string.format('%d', now + pause))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 0`)

// Try counts a try for the key before its outcome is known. wait is how long it is too early, 0 when it may go on; then call Clear if
// it succeeds.
func (b *Backoff) Try(ctx context.Context, key string) (wait time.Duration) {
	key = b.key(key)
	left, err := try.Run(ctx, b.redis, []string{key}, b.free, b.limit.Milliseconds(), forgotten.Milliseconds()).Int64()
	if err == nil {
		return time.Duration(left) * time.Millisecond
	}
	b.warn(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	t := b.local[key]
	if wait = t.until.Sub(now); wait > 0 {
		return wait
	}
	t.count++
	t.until = now
	if over := t.count - max(1, b.free/2); over >= 0 {
		t.until = now.Add(time.Duration(math.Min(float64(b.limit), float64(time.Second)*math.Pow(2, float64(min(30, over))))))
	}
	if len(b.local) >= tracked {
		b.local = map[string]tries{}
	}
	b.local[key] = t
	return 0
}

// Clear forgets the tries of a key that succeeded.
func (b *Backoff) Clear(ctx context.Context, key string) {
	key = b.key(key)
	if err := b.redis.Del(ctx, key).Err(); err != nil {
		b.warn(err)
	}
	b.mu.Lock()
	delete(b.local, key)
	b.mu.Unlock()
}

// key hides what is counted: an address's index and a network name somebody.
func (b *Backoff) key(key string) string {
	sum := sha256.Sum256([]byte(key))
	return b.prefix + hex.EncodeToString(sum[:16])
}

func (b *Backoff) warn(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.warned) > time.Minute {
		b.warned = time.Now()
		b.log.Warn("tries are counted in this process only", "error", err)
	}
}
