package authn

import (
	"context"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

const (
	// RevocationsKept is how long a revocation counts: a token's life, the leeway, and a minute for clocks and for what is on its way.
	RevocationsKept = 7 * time.Minute

	revokedKey  = "auth:revoked"
	followEvery = time.Second
	overlap     = time.Minute // what is committed, or published, late is read all the same
)

// Revocation says that tokens count no more: those of a session (sid), one alone (jti), or somebody's (sub) that go by an older version of
// their identity. It goes by versions and by no clock: whoever signs in right afterwards gets a token that is taken.
type Revocation struct {
	ID        uuid.UUID
	Below     int64 // versions below this one; Whatever: all of them
	CreatedAt time.Time
}

// Whatever is above every version.
const Whatever = math.MaxInt64

// Revocations is what a process knows of tokens that count no more. It is asked at every request and costs no round trip: auth publishes to
// Redis, again and again, what was revoked in the last minutes, and every process reads it once a second. What is known is merged and never
// replaced, so a Redis that was flushed makes nobody forget. With Redis away a token ends with its time, and the age in the metrics says so.
type Revocations struct {
	mu     sync.RWMutex
	known  map[uuid.UUID]Revocation
	some   atomic.Bool  // the map has something in it
	read   atomic.Int64 // when Redis was read last, in milliseconds since 1970; 0: never
	newest time.Time    // of what was read there
}

// Add merges revocations and forgets those whose tokens are over.
func (r *Revocations) Add(list []Revocation, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[uuid.UUID]Revocation{}
	}
	for _, more := range list {
		if has, is := r.known[more.ID]; !is || more.Below > has.Below {
			r.known[more.ID] = more
		}
	}
	for id, one := range r.known {
		if now.Sub(one.CreatedAt) > RevocationsKept {
			delete(r.known, id)
		}
	}
	r.some.Store(len(r.known) > 0)
}

// covers reports whether a token was revoked.
func (r *Revocations) covers(p Principal) bool {
	if !r.some.Load() {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, id := range []uuid.UUID{p.SessionID, p.UserID, p.TokenID} {
		if one, is := r.known[id]; is && id != uuid.Nil && p.Version < one.Below {
			return true
		}
	}
	return false
}

// Publish tells every process. What is told again is told once; what is older than it counts goes.
func Publish(ctx context.Context, rdb *redis.Client, list []Revocation, now time.Time) error {
	pipe := rdb.Pipeline()
	if len(list) > 0 {
		members := make([]redis.Z, 0, len(list))
		for _, one := range list {
			members = append(members, redis.Z{Score: float64(one.CreatedAt.UnixMilli()), Member: one.ID.String() + " " + strconv.FormatInt(one.Below, 10)})
		}
		pipe.ZAdd(ctx, revokedKey, members...)
	}
	pipe.ZRemRangeByScore(ctx, revokedKey, "-inf", strconv.FormatInt(now.Add(-RevocationsKept).UnixMilli(), 10))
	_, err := pipe.Exec(ctx)
	return err
}

// Read merges what was published since the last reading.
func (r *Revocations) Read(ctx context.Context, rdb *redis.Client) error {
	since := "-inf"
	if !r.newest.IsZero() {
		since = strconv.FormatInt(r.newest.Add(-overlap).UnixMilli(), 10)
	}
	found, err := rdb.ZRangeByScoreWithScores(ctx, revokedKey, &redis.ZRangeBy{Min: since, Max: "+inf"}).Result()
	if err != nil {
		return err
	}
	var list []Revocation
	for _, z := range found {
		text, _ := z.Member.(string)
		name, version, _ := strings.Cut(text, " ")
		id, err := uuid.Parse(name)
		below, err2 := strconv.ParseInt(version, 10, 64)
		if err != nil || err2 != nil {
			continue // not ours; a newer program may say more
		}
		at := time.UnixMilli(int64(z.Score))
		if at.After(r.newest) && !at.After(time.Now()) { // one from a clock that is ahead must not hide those that come
			r.newest = at
		}
		list = append(list, Revocation{id, below, at})
	}
	r.Add(list, time.Now())
	r.read.Store(time.Now().UnixMilli())
	return nil
}

// Follow reads once a second until ctx ends. It is the only one that reads.
func (r *Revocations) Follow(ctx context.Context, rdb *redis.Client, log *slog.Logger) {
	_, err := otel.Meter("example.com/groundwork/pkg/authn").Float64ObservableGauge("auth.revocations.age", metric.WithUnit("s"),
		metric.WithDescription("How long ago this process last heard which tokens are revoked; much more than a second: it goes by their time only."),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			if ms := r.read.Load(); ms > 0 {
				o.Observe(time.Since(time.UnixMilli(ms)).Seconds())
			}
			return nil
		}))
	if err != nil {
		log.Error("there is no metric of revocations", "error", err)
	}
	r.read.CompareAndSwap(0, time.Now().UnixMilli()) // of a process that never hears anything the age grows, too
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	failed := false
	for {
		once, cancel := context.WithTimeout(ctx, followEvery)
		err := r.Read(once, rdb)
		cancel()
		if (err != nil) != failed && ctx.Err() == nil {
			if failed = err != nil; failed {
				log.Warn("revoked tokens go on until their time is over", "error", err)
			} else {
				log.Info("revoked tokens are refused at once again")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
