// Package cache remembers in Redis what a module would otherwise ask its database again. It is a help and never a need: with Redis away
// the fill answers. What is sealed in the database is given to it sealed.
package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/singleflight"
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
	return &Cache{client: client, prefix: prefix, ttl: ttl, reads: reads}
}

// entry is what Redis keeps of a thing: a hash of v and d. Without d it is a marker: the thing has this version now, and nobody has
// read it since.
type entry struct {
	version int64
	value   []byte
}

// Get returns what is cached, or asks fill and remembers its answer. Callers who want the same thing at once share one fill, so they
// must not change the value. An error of fill is returned as it is and not remembered.
func (c *Cache) Get(ctx context.Context, key string, fill Fill) (version int64, value []byte, err error) {
	found, outcome := c.read(ctx, key)
	c.reads.Add(ctx, 1, metric.WithAttributes(attribute.String("cache", c.prefix), attribute.String("outcome", outcome)))
	if outcome == "hit" {
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

func (c *Cache) read(ctx context.Context, key string) (e entry, outcome string) {
	fields, err := c.client.HMGet(ctx, c.prefix+":"+key, "v", "d").Result()
	if err != nil {
		return e, "away"
	}
	v, _ := fields[0].(string)
	d, whole := fields[1].(string)
	if e.version, err = strconv.ParseInt(v, 10, 64); err != nil || !whole {
		return e, "miss"
	}
	e.value = []byte(d)
	return e, "hit"
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
