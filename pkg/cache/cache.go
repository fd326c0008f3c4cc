// Package cache remembers in Redis what a module would otherwise ask its database again. It is a help and never a need: with Redis away
// the fill answers. What is sealed in the database is given to it sealed.
package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/singleflight"

	"example.com/groundwork/pkg/gather"
)

const (
	fillTime   = 5 * time.Second // a fill outlives the request that began it, but not for long
	markerTime = time.Minute     // a marker outlives every fill that began before it
)

// Cache is one kind of thing, found by key. Each thing has a version of 1 or more that every change raises.
type Cache struct {
	client  *redis.Client
	prefix  string
	ttl     time.Duration
	flights singleflight.Group
	reads   metric.Int64Counter
	asking  *gather.Group[string, answer]
	counted map[string]metric.MeasurementOption // by outcome
	lost    atomic.Bool                         // Redis did not answer the last time
}

// Fill reads the truth.
type Fill = func(ctx context.Context) (version int64, value []byte, err error)

// New makes a cache whose keys begin with prefix and are forgotten after about ttl. A prefix names the shape of what it keeps too:
// another shape, another prefix, or a newer program reads what an older one kept.
func New(client *redis.Client, prefix string, ttl time.Duration) *Cache {
	reads, err := otel.Meter("example.com/groundwork/pkg/cache").Int64Counter("cache.reads",
		metric.WithDescription("Reads by outcome: hit, miss, or away when Redis did not answer."))
	if err != nil { // the name is a constant
		panic(err)
	}
	c := &Cache{client: client, prefix: prefix, ttl: ttl, reads: reads, counted: map[string]metric.MeasurementOption{}}
	for _, outcome := range []string{hit, miss, away} {
		c.counted[outcome] = metric.WithAttributeSet(attribute.NewSet(attribute.String("cache", prefix), attribute.String("outcome", outcome)))
	}
	c.asking = gather.New("read "+prefix, gather.Limits{Batches: 4, After: 5 * time.Millisecond, Size: 100, Waiting: 10_000, Time: fillTime}, c.ask)
	return c
}

// The outcomes of a read.
const (
	hit  = "hit"
	miss = "miss"
	away = "away" // Redis did not answer
)

// entry is what Redis keeps of a thing: a hash of v and d. Without d it is a marker: the thing has this version now, and nobody has
// read it since.
type entry struct {
	version int64
	value   []byte
}

// Get returns what is cached, or asks fill and remembers its answer. Callers who want the same thing at once share one fill, so they
// must not change the value. An error of fill is returned as it is and not remembered.
func (c *Cache) Get(ctx context.Context, key string, fill Fill) (version int64, value []byte, err error) {
	asked, err := c.look(ctx, key)
	if err != nil {
		return 0, nil, err
	}
	c.reads.Add(ctx, 1, c.counted[asked.outcome])
	found := asked.entry
	if asked.outcome == hit {
		return found.version, found.value, nil
	}
	// The one who fills may go away; the others still wait for the answer.
	detached := context.WithoutCancel(ctx)
	landed := c.flights.DoChan(key, func() (any, error) { return c.fill(detached, key, fill) })
	select {
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	case result := <-landed:
		if result.Err != nil {
			return 0, nil, result.Err
		}
		filled := result.Val.(entry)
		if filled.version < found.version { // the flight took off before the change that left the marker
			if filled, err = c.fill(ctx, key, fill); err != nil {
				return 0, nil, err
			}
		}
		return filled.version, filled.value, nil
	}
}

// Drop forgets what is cached, after a change that made it version. It leaves a marker, so that a slow reader who read an older
// version cannot put it back. With Redis away the older one may be read there later, until its time is up.
func (c *Cache) Drop(ctx context.Context, key string, version int64) {
	c.flights.Forget(key) // who comes from now on does not join a fill that began before
	// The change is made: a caller who went away must not leave the old state behind.
	c.put(context.WithoutCancel(ctx), key, markerTime, version)
}

func (c *Cache) fill(ctx context.Context, key string, fill Fill) (e entry, err error) {
	defer func() {
		if p := recover(); p != nil { // in a goroutine of singleflight it would end the program
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, fillTime)
	defer cancel()
	if e.version, e.value, err = fill(ctx); err != nil {
		return e, err
	}
	jittered := c.ttl*9/10 + rand.N(c.ttl/5+1) // what was filled together is not forgotten together
	c.put(ctx, key, jittered, e.version, e.value)
	return e, nil
}

// answer is what Redis has of a thing.
type answer struct {
	entry
	outcome string
}

// look asks together with others. While Redis is away each asks alone, so that only the one who finds out waits for it.
func (c *Cache) look(ctx context.Context, key string) (answer, error) {
	if c.lost.Load() {
		return c.ask(ctx, []string{key})[0], nil
	}
	a, err := c.asking.Do(ctx, key)
	if err != nil && ctx.Err() == nil { // too many wait
		return answer{outcome: away}, nil
	}
	return a, err
}

// ask reads what is asked for at the same time in one round trip.
func (c *Cache) ask(ctx context.Context, keys []string) []answer {
	answers := make([]answer, len(keys))
	reads := make([]*redis.SliceCmd, 0, len(keys))
	_, _ = c.client.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its own error
		for _, key := range keys {
			reads = append(reads, p.HMGet(ctx, c.prefix+":"+key, "v", "d"))
		}
		return nil
	})
	for i, read := range reads {
		answers[i] = answerOf(read)
	}
	c.lost.Store(answers[0].outcome == away)
	return answers
}

func answerOf(read *redis.SliceCmd) (a answer) {
	fields, err := read.Result()
	if err != nil {
		a.outcome = away
		return a
	}
	v, _ := fields[0].(string)
	d, whole := fields[1].(string)
	if a.version, err = strconv.ParseInt(v, 10, 64); err != nil || !whole {
		a.outcome = miss
		return a
	}
	a.outcome, a.value = hit, []byte(d)
	return a
}

// keep takes a version, a time to live and, unless it is a marker, the value. The newest version stays.
var keep = redis.NewScript(`
local have = tonumber(redis.call('hget', KEYS[1], 'v') or 0)
local new = tonumber(ARGV[1])
if new < have or (new == have and not ARGV[3]) then return 0 end
redis.call('del', KEYS[1])
redis.call('hset', KEYS[1], 'v', ARGV[1])
if ARGV[3] then redis.call('hset', KEYS[1], 'd', ARGV[3]) end
redis.call('pexpire', KEYS[1], ARGV[2])
return 1`)

// put says nothing of a failure: the breaker has told it, and the next reader asks the fill.
func (c *Cache) put(ctx context.Context, key string, ttl time.Duration, version int64, value ...[]byte) {
	args := []any{version, ttl.Milliseconds()}
	for _, v := range value {
		args = append(args, v)
	}
	_ = keep.Run(ctx, c.client, []string{c.prefix + ":" + key}, args...).Err()
}
