package faulty_test

import (
	"io"
	"net"
	"testing"
	"time"

	"example.com/groundwork/pkg/faulty"
)

// echo is a server that says what it hears.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, p *faulty.Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// says sends something and reports whether it came back in time.
func says(t *testing.T, c net.Conn, what string, within time.Duration) bool {
	t.Helper()
	if _, err := c.Write([]byte(what)); err != nil {
		return false
	}
	_ = c.SetReadDeadline(time.Now().Add(within))
	got := make([]byte, len(what))
	_, err := io.ReadFull(c, got)
	return err == nil && string(got) == what
}

const long = 10 * time.Second

func TestItFailsOnCommandAndNotOtherwise(t *testing.T) {
	t.Parallel()
	p := faulty.New(t, echo(t))
	c := dial(t, p)
	if !says(t, c, "passes", long) {
		t.Fatal("nothing passes")
	}

	p.Hole()
	if says(t, c, "lost", 50*time.Millisecond) {
		t.Error("a hole lets through what comes on an old connection")
	}
	if says(t, dial(t, p), "lost", 50*time.Millisecond) {
		t.Error("or on a new one")
	}
	p.Pass()
	_ = c.SetReadDeadline(time.Now().Add(long))
	if got := make([]byte, 4); func() error { _, err := io.ReadFull(c, got); return err }() != nil || string(got) != "lost" {
		t.Errorf("what was swallowed comes after it: %q", got)
	}

	p.Slow(100 * time.Millisecond)
	began := time.Now()
	if !says(t, c, "slow", long) || time.Since(began) < 200*time.Millisecond {
		t.Errorf("there and back took %s, want a tenth of a second each way", time.Since(began))
	}
	p.Pass()

	p.Cut()
	if says(t, c, "cut", long) {
		t.Error("a connection that was cut goes on")
	}
	if !says(t, dial(t, p), "new", long) {
		t.Error("and there are no new ones")
	}

	c = dial(t, p)
	p.Refuse()
	if says(t, c, "gone", long) {
		t.Error("a server that is down answers on an old connection")
	}
	if c, err := net.Dial("tcp", p.Addr()); err == nil {
		_ = c.Close()
		t.Error("or takes new ones")
	}
	p.Pass()
	if !says(t, dial(t, p), "back", long) {
		t.Error("it does not come back")
	}
}
