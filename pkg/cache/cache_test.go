package cache_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"example.com/groundwork/pkg/cache"
)

func connect(t *testing.T, address string) *redis.Client {
	t.Helper()
	client, err := cache.Connect("redis://" + address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// book is a truth to read from, which counts how often it is asked.
type book struct {
	version int64
	text    string
	asked   atomic.Int64
}

func (b *book) fill(context.Context) (int64, []byte, error) {
	b.asked.Add(1)
	return b.version, []byte(b.text), nil
}

func wants(t *testing.T, c *cache.Cache, fill cache.Fill, version int64, text string) {
	t.Helper()
	v, value, err := c.Get(t.Context(), "k", fill)
	if err != nil || v != version || string(value) != text {
		t.Errorf("got %d %q %v, want %d %q", v, value, err, version, text)
	}
}

func TestASecondReaderIsAnsweredFromTheCache(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	c, b := cache.New(connect(t, server.Addr()), "books:1", time.Minute), &book{version: 1, text: "one"}
	wants(t, c, b.fill, 1, "one")
	wants(t, c, b.fill, 1, "one")
	if n := b.asked.Load(); n != 1 {
		t.Errorf("the fill was asked %d times", n)
	}
	if ttl := server.TTL("books:1:k"); ttl < 54*time.Second || ttl > 67*time.Second {
		t.Errorf("the entry lives %v", ttl)
	}
	server.FastForward(2 * time.Minute)
	b.version, b.text = 2, "two"
	wants(t, c, b.fill, 2, "two")
}

func TestAfterAChangeTheNewStateIsRead(t *testing.T) {
	t.Parallel()
	c, b := cache.New(connect(t, miniredis.RunT(t).Addr()), "books:1", time.Minute), &book{version: 1, text: "one"}
	wants(t, c, b.fill, 1, "one")
	b.version, b.text = 2, "two"
	c.Drop(t.Context(), "k", 2)
	wants(t, c, b.fill, 2, "two")
	c.Drop(t.Context(), "k", 2) // a repeated or late one does no harm
	c.Drop(t.Context(), "k", 1)
	wants(t, c, b.fill, 2, "two")
	if n := b.asked.Load(); n != 2 {
		t.Errorf("the fill was asked %d times, want 2", n)
	}
}

// A reader reads version 1 and is slow; meanwhile version 2 is written and dropped. Whatever process the reader is in, version 1 must
// not come back, and nobody who asks after the write may be told of it.
func TestASlowReaderCannotPutAnOldStateBack(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"same process", "another process", "same process with Redis away"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			server := miniredis.RunT(t)
			client := connect(t, server.Addr())
			reader := cache.New(client, "books:1", time.Minute)
			writer := reader
			switch where {
			case "another process":
				writer = cache.New(client, "books:1", time.Minute)
			case "same process with Redis away":
				server.Close()
			}
			began, finish, slow := make(chan struct{}), make(chan struct{}), make(chan struct{})
			go func() {
				defer close(slow)
				_, _, _ = reader.Get(t.Context(), "k", func(context.Context) (int64, []byte, error) {
					close(began)
					<-finish
					return 1, []byte("one"), nil
				})
			}()
			<-began
			b := &book{version: 2, text: "two"}
			writer.Drop(t.Context(), "k", 2)
			time.AfterFunc(50*time.Millisecond, func() { close(finish) }) // the next Get may join the old flight
			wants(t, reader, b.fill, 2, "two")
			<-slow
			wants(t, reader, b.fill, 2, "two")
			wants(t, writer, b.fill, 2, "two")
		})
	}
}

func TestOneFillServesAllEvenWhenTheWinnerGoes(t *testing.T) {
	t.Parallel()
	c := cache.New(connect(t, miniredis.RunT(t).Addr()), "books:1", time.Minute)
	var asked atomic.Int64
	began, finish := make(chan struct{}), make(chan struct{})
	fill := func(ctx context.Context) (int64, []byte, error) {
		if asked.Add(1) == 1 {
			close(began)
		}
		<-finish
		return 1, []byte("one"), ctx.Err()
	}
	winner, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, _, err := c.Get(winner, "k", fill)
		gone <- err
	}()
	<-began
	var others sync.WaitGroup
	for range 20 {
		others.Go(func() {
			if _, value, err := c.Get(t.Context(), "k", fill); err != nil || string(value) != "one" {
				t.Errorf("got %q %v: the winner's cancelled context reached the others", value, err)
			}
		})
	}
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the winner is told %v", err)
	}
	time.Sleep(time.Second) // until all of them wait for it
	close(finish)
	others.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("the fill was asked %d times", n)
	}
}

func TestAnErrorOfTheFillIsReturnedAndNotRemembered(t *testing.T) {
	t.Parallel()
	c, b := cache.New(connect(t, miniredis.RunT(t).Addr()), "books:1", time.Minute), &book{version: 1, text: "one"}
	broken := errors.New("broken")
	if _, _, err := c.Get(t.Context(), "k", func(context.Context) (int64, []byte, error) { return 0, nil, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, _, err := c.Get(t.Context(), "k", func(context.Context) (int64, []byte, error) { panic("boom") }); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("a panic gave %v", err)
	}
	wants(t, c, b.fill, 1, "one")
}

func TestARedisThatRefusesCostsNothing(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	c, b := cache.New(connect(t, server.Addr()), "books:1", time.Minute), &book{version: 1, text: "one"}
	server.Close()
	began := time.Now()
	for range 50 {
		wants(t, c, b.fill, 1, "one")
		c.Drop(t.Context(), "k", 1)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("50 reads took %v with Redis away", took)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	b.asked.Store(0)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		wants(t, c, b.fill, 1, "one")
		if server.Exists("books:1:k") {
			n := b.asked.Load()
			wants(t, c, b.fill, 1, "one")
			if b.asked.Load() != n {
				t.Error("Redis is back and the fill is still asked")
			}
			return
		}
	}
	t.Error("Redis came back and was not used again")
}

// A Redis that takes connections and never answers is worse than none: every command waits its whole timeout.
func TestARedisThatIsSilentCostsOneTimeoutASecond(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	client := connect(t, listener.Addr().String())
	c, b := cache.New(client, "books:1", time.Minute), &book{version: 1, text: "one"}
	began := time.Now()
	wants(t, c, b.fill, 1, "one")
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("the first read took %v", took)
	}
	began = time.Now()
	for range 100 {
		wants(t, c, b.fill, 1, "one")
	}
	if took := time.Since(began); took > 200*time.Millisecond {
		t.Errorf("the next 100 reads took %v: each of them waits for Redis", took)
	}
	if err := client.Ping(t.Context()).Err(); !errors.Is(err, cache.ErrAway) {
		t.Errorf("a command is told %v", err)
	}
	if _, err := client.Pipelined(t.Context(), func(p redis.Pipeliner) error { return p.Incr(t.Context(), "n").Err() }); !errors.Is(err, cache.ErrAway) {
		t.Errorf("a pipeline is told %v", err)
	}
	time.Sleep(1100 * time.Millisecond) // then one of many asks again
	var waited atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			began := time.Now()
			wants(t, c, b.fill, 1, "one")
			if time.Since(began) > 250*time.Millisecond {
				waited.Add(1)
			}
		})
	}
	all.Wait()
	if n := waited.Load(); n > 1 {
		t.Errorf("%d of 20 readers waited for a Redis that is known to be away, want 1 at most", n)
	}
}

func TestAnAddressThatCannotBeReadIsNotShown(t *testing.T) {
	t.Parallel()
	if _, err := cache.Connect("http://:secret@host"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}
