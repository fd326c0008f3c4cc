package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	patience      = 500 * time.Millisecond // a command takes at most this, with its dial, handshake and second attempt
	socketTimeout = 300 * time.Millisecond // and each of its waits this: for a free connection, a dial, a write, an answer
	rest          = time.Second            // a Redis that did not answer is left alone for this long
)

// Connect makes a client whose every wait is bounded; it does not wait for the server. Nothing may depend on Redis being there: a
// command to one that is away fails after half a second, and the next ones at once, until one a second asks again.
// Every limit is named here, because the library's own ones change with its versions.
func Connect(url string) (*redis.Client, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("the Redis address cannot be read") // without err: it may hold the password
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = socketTimeout, socketTimeout, socketTimeout, socketTimeout
	o.DialerRetries, o.MaxRetries = 1, 1
	o.MinRetryBackoff, o.MaxRetryBackoff = 5*time.Millisecond, 20*time.Millisecond
	o.ContextTimeoutEnabled = true // or a context's deadline does not end a command
	o.PoolSize, o.MaxActiveConns, o.PipelinePoolSize = 10, 20, 5
	o.MinIdleConns, o.MaxIdleConns = 1, 10
	o.ConnMaxIdleTime, o.ConnMaxLifetime = 5*time.Minute, 30*time.Minute
	o.DisableIdentity = true // saves a round trip per connection
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	logging.Disable() // the breaker tells once what the library tells for every connection

	client := redis.NewClient(o)
	duration, err := watch(client, int64(o.MaxActiveConns))
	client.AddHook(&breaker{duration: duration})
	if err := errors.Join(err,
		// A statement holds keys and values, and those are people's.
		redisotel.InstrumentTracing(client, redisotel.WithDBStatement(false), redisotel.WithCallerEnabled(false)),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("measure Redis: %w", err), client.Close())
	}
	return client, nil
}

// ErrAway says that Redis did not answer a moment ago and was not asked again.
var ErrAway = errors.New("redis is away")

// breaker stands before every command. What the library asks on its own behalf to make a connection passes with the command that
// wanted it.
type breaker struct {
	awayUntil atomic.Int64 // nanoseconds; 0 while Redis answers
	duration  *duration
}

type admitted struct{}

func (b *breaker) do(ctx context.Context, command func(ctx context.Context) error) error {
	if ctx.Value(admitted{}) != nil {
		return command(ctx)
	}
	until, now := b.awayUntil.Load(), time.Now()
	// After the rest one caller asks, and the others are refused for another while.
	if until != 0 && (now.UnixNano() < until || !b.awayUntil.CompareAndSwap(until, now.Add(rest).UnixNano())) {
		return ErrAway
	}
	bounded, cancel := context.WithTimeout(context.WithValue(ctx, admitted{}, true), patience)
	defer cancel()
	began := time.Now()
	err := command(bounded)
	answer := redis.Error(nil)
	answered := err == nil || errors.As(err, &answer) // also redis.Nil, and what Redis refuses
	b.duration.record(ctx, time.Since(began), answered)
	switch {
	case answered:
		if b.awayUntil.Swap(0) != 0 {
			slog.InfoContext(ctx, "redis answers again")
		}
	case ctx.Err() != nil: // the caller's time is up, which says nothing about Redis
	default:
		if b.awayUntil.Swap(time.Now().Add(rest).UnixNano()) == 0 {
			slog.WarnContext(ctx, "redis does not answer; the program goes on without it", "error", err)
		}
	}
	return err
}

func (b *breaker) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := b.do(ctx, func(ctx context.Context) error { return next(ctx, cmd) })
		if errors.Is(err, ErrAway) {
			cmd.SetErr(err) // a command carries its error itself
		}
		return err
	}
}

func (b *breaker) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := b.do(ctx, func(ctx context.Context) error { return next(ctx, cmds) })
		if errors.Is(err, ErrAway) {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
		}
		return err
	}
}

func (b *breaker) DialHook(next redis.DialHook) redis.DialHook { return next }
