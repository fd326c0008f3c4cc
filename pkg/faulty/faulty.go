// Package faulty is for tests: a proxy between a program and a server of its, which fails as networks and servers do, on command.
package faulty

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy passes on what comes, until it is told to fail. Its address stays.
type Proxy struct {
	t      testing.TB
	target string

	mu       sync.Mutex
	address  string
	listener net.Listener          // nil while it refuses
	conns    map[net.Conn]struct{} // both sides of each
	hole     bool
	delay    time.Duration
	change   chan struct{} // closed when hole or delay change
}

// New makes a proxy to a server at host:port.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{t: t, target: target, address: "127.0.0.1:0", conns: map[net.Conn]struct{}{}, change: make(chan struct{})}
	if err := p.listen(); err != nil {
		t.Fatal(err)
	}
	p.address = p.listener.Addr().String()
	t.Cleanup(p.Refuse)
	return p
}

// Addr is where it listens.
func (p *Proxy) Addr() string { return p.address }

// Pass ends every failure.
func (p *Proxy) Pass() {
	p.t.Helper()
	p.set(false, 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	for end := time.Now().Add(10 * time.Second); p.listener == nil; time.Sleep(10 * time.Millisecond) {
		if err := p.listen(); err != nil && time.Now().After(end) { // somebody else has the port
			p.t.Fatal(err)
		}
	}
}

// Refuse is a server that is down: connections end, and new ones are refused.
func (p *Proxy) Refuse() {
	p.set(false, 0) // what waits in a hole goes on, and finds its connection closed
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.Cut()
}

// Hole is a network that swallows everything: connections are made, and nothing comes through.
func (p *Proxy) Hole() { p.set(true, 0) }

// Slow has every piece of data, in both directions, come so much later.
func (p *Proxy) Slow(by time.Duration) { p.set(false, by) }

// Cut ends the connections that there are.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *Proxy) set(hole bool, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole, p.delay = hole, delay
	close(p.change)
	p.change = make(chan struct{})
}

// listen wants the lock, but in New.
func (p *Proxy) listen() error {
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		return err
	}
	p.listener = l
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(near)
		}
	}()
	return nil
}

func (p *Proxy) serve(near net.Conn) {
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = near.Close()
		return
	}
	p.mu.Lock()
	refuses := p.listener == nil
	p.conns[near], p.conns[far] = struct{}{}, struct{}{}
	p.mu.Unlock()
	if !refuses {
		var both sync.WaitGroup
		both.Go(func() { p.copy(far, near) })
		both.Go(func() { p.copy(near, far) })
		both.Wait()
	}
	p.mu.Lock()
	delete(p.conns, near)
	delete(p.conns, far)
	p.mu.Unlock()
	_, _ = near.Close(), far.Close()
}

// copy passes on one direction; when it ends, so does the other.
func (p *Proxy) copy(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.wait()
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait returns when what has come may go on: while there is a hole, never.
func (p *Proxy) wait() {
	for {
		p.mu.Lock()
		hole, delay, change := p.hole, p.delay, p.change
		p.mu.Unlock()
		if !hole {
			time.Sleep(delay)
			return
		}
		<-change
	}
}
