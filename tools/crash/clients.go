// only with auth, users, transactions: this file

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
)

// patience is how long a client asks for an answer when there is no trouble any more.
const patience = time.Minute

// client pays, one payment after the other, on connections that it keeps.
type client struct {
	w      *world
	number int
	by     *person
	lines  []line // to the balancer and to each instance
	said   []said // all
	past   []said // payments that may be taken back
	open   []said // holds that were not ended
	calm   <-chan struct{}
	over   <-chan struct{} // closed when patience is
}

// line is a connection, and what comes over it.
type line struct {
	conn net.Conn
	in   *bufio.Reader
}

func newClient(w *world, number int) *client {
	return &client{w: w, number: number, by: w.people[number%people], lines: make([]line, len(w.addresses))}
}

// run pays until there is calm, and returns what was said.
func (c *client) run(ctx context.Context) []said {
	defer func() {
		for i := range c.lines {
			c.hangUp(i)
		}
	}()
	for n := 0; ctx.Err() == nil; n++ {
		select {
		case <-c.calm:
			return c.said
		default:
		}
		s, path, body := c.choose()
		s.key = fmt.Sprintf("%d-%d", c.number/people, n) // somebody else's, too
		c.settle(ctx, &s, path, body)
		c.said = append(c.said, s)
		c.remember(s)
	}
	return c.said
}

// remember keeps what later payments are about.
func (c *client) remember(s said) {
	switch {
	case s.done && s.kind == "payment":
		c.past = append(c.past, s)
	case s.done && s.kind == "hold":
		c.open = append(c.open, s)
	}
}

// choose makes up what to ask for.
func (c *client) choose() (s said, path string, body any) {
	a, b := rand.N(accounts/people)*people+c.number%people, rand.N(accounts-1) // from one's own
	if b >= a {
		b++
	}
	s = said{kind: "payment", from: c.w.accounts[a], to: c.w.accounts[b], moves: 1 + rand.Int64N(9)}
	const transactions = "/v1/transactions"
	switch dice := rand.N(100); {
	case dice < 40: // spread out
	case dice < 65 && a >= hot:
		s.to = c.w.accounts[rand.N(hot)]
	case dice < 75:
		s.kind, s.moves, s.holds = "hold", 0, s.moves
		return s, "/v1/holds", map[string]any{"account_id": s.from, "destination_account_id": s.to, "amount": s.holds, "currency": "EUR", "expires_in": 86400}
	case dice < 85 && len(c.open) > 0:
		h := c.open[0]
		if rand.N(8) > 0 { // or it is ended once more, which is refused
			c.open = c.open[1:]
		}
		s = said{kind: "void", hold: h.hold, from: h.from, to: h.to, holds: -h.holds}
		if dice < 80 {
			s.kind, s.moves, body = "capture", h.holds, map[string]any{}
		}
		return s, "/v1/holds/" + h.hold + "/" + s.kind, body
	case dice < 92 && len(c.past) > 0:
		at := rand.N(len(c.past))
		p := c.past[at]
		if rand.N(4) > 0 { // or it is taken back once more, which is refused
			c.past = append(c.past[:at], c.past[at+1:]...)
		}
		s = said{kind: "reversal", from: p.to, to: p.from, moves: p.moves}
		return s, transactions + "/" + p.transaction + "/reversal", nil
	case dice < 97:
		s.kind, s.moves = "too much", 1<<40
	default:
		s.kind, s.to = "to nobody", uuid.NewString()
	}
	return s, transactions, posting(s.from, s.to, s.moves)
}

// settle asks under one key until there is an answer for good, now and then both instances at the same time.
func (c *client) settle(ctx context.Context, s *said, path string, body any) {
	for ctx.Err() == nil {
		to := []int{0}
		if rand.N(10) == 0 {
			to = []int{1, 2}
			c.w.counts.twice.Add(1)
		}
		answers := make([]answer, len(to))
		var asked sync.WaitGroup
		for i, at := range to {
			asked.Go(func() { answers[i] = c.ask(at, s.key, path, body) })
		}
		asked.Wait()
		for _, a := range answers {
			c.take(s, a)
		}
		if s.answered {
			return
		}
		select {
		case <-c.over:
			return
		case <-time.After(rand.N(100 * time.Millisecond)):
			c.w.counts.again.Add(1)
		}
	}
}

// take notes an answer. One that is for good is the same whoever gives it.
func (c *client) take(s *said, a answer) {
	if a.again() {
		c.w.note(cmp.Or(a.code, "no answer"))
		return
	}
	before := *s
	s.answered, s.done, s.code, s.bytes = true, a.status < 300, a.code, sha256.Sum256(a.body)
	if s.done {
		s.transaction, s.hold = a.made(s.kind)
	}
	s.differed = before.differed || before.answered && *s != before
}

// answer is what came back; the zero value when nothing did.
type answer struct {
	status int
	code   string
	body   []byte
}

// again reports whether this is no answer for good.
func (a answer) again() bool {
	return a.status == 0 || a.status >= 500 || a.status == http.StatusUnauthorized || a.code == "idempotency-key-in-use"
}

// made are the ids of the transaction and of the hold that an answer names.
func (a answer) made(kind string) (transaction, hold string) {
	var out struct {
		ID          string
		Transaction string `json:"transaction_id"`
	}
	_ = json.Unmarshal(a.body, &out)
	if statuses[kind] != "" {
		return out.Transaction, out.ID
	}
	return out.ID, ""
}

// ask sends a request over one of the lines and waits for the answer. What goes wrong is no answer.
func (c *client) ask(at int, key, path string, in any) answer {
	c.w.counts.sent.Add(1)
	var body []byte
	if in != nil {
		body, _ = json.Marshal(in)
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+c.w.addresses[0]+path, bytes.NewReader(body))
	if err != nil {
		return answer{}
	}
	req.Header.Set("Authorization", "Bearer "+*c.by.token.Load())
	req.Header.Set("Idempotency-Key", key)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	a, err := c.exchange(at, req)
	if err != nil || rand.N(20) == 0 { // a new one goes to another instance
		c.hangUp(at)
	}
	return a
}

func (c *client) exchange(at int, req *http.Request) (a answer, err error) {
	l := &c.lines[at]
	if l.conn == nil {
		if l.conn, err = net.Dial("tcp", c.w.addresses[at]); err != nil {
			return a, err
		}
		l.in = bufio.NewReader(l.conn)
	}
	if err := l.conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return a, err
	}
	if err := req.Write(l.conn); err != nil {
		return a, err
	}
	resp, err := http.ReadResponse(l.in, req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	var problem struct{ Code string }
	_ = json.Unmarshal(body, &problem)
	return answer{resp.StatusCode, problem.Code, body}, nil
}

func (c *client) hangUp(at int) {
	if conn := c.lines[at].conn; conn != nil {
		_ = conn.Close()
	}
	c.lines[at] = line{}
}
