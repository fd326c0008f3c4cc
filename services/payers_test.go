// only with auth, transactions: this file

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
)

// payers pay one cent after the other, each payment under a key of its own, and read what became of it.
type payers struct {
	t        *testing.T
	url      string
	operator *person
	from, to uuid.UUID
	again    bool // a payment is sent until it is answered for good
	token    atomic.Pointer[string]
	made     atomic.Int64 // payments that were answered as made
	dials    atomic.Int64 // connections that were opened
	busy     sync.WaitGroup
	over     chan struct{}

	mu      sync.Mutex
	answers map[string]int // of every request
}

// newPayers lets an operator open the accounts; money comes from outside, without an end.
func newPayers(s *teller, operator *person) *payers {
	p := &payers{t: s.t, url: s.url, operator: operator, over: make(chan struct{}), answers: map[string]int{}}
	p.from = s.open(operator, transactionsv1.NewAccount{Currency: "EUR", Kind: new(transactionsv1.AccountKindExternal)})
	p.to = s.open(operator, transactionsv1.NewAccount{Currency: "EUR"})
	p.token.Store(&operator.token)
	return p
}

// begin lets some of them work until end, each on a connection of its own that it keeps.
func (p *payers) begin(workers int, reads ...string) {
	for range workers {
		p.busy.Go(func() {
			// Who sends a request again after a connection broke, as net/http does by itself, needs another connection for it: they are counted.
			client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				p.dials.Add(1)
				return (&net.Dialer{}).DialContext(ctx, network, address)
			}}}
			defer client.CloseIdleConnections()
			for n := 0; ; n++ {
				select {
				case <-p.over:
					return
				default:
				}
				p.pay(client, uuid.NewString())
				if len(reads) > 0 {
					p.send(client, http.MethodGet, reads[n%len(reads)], "", nil)
				}
			}
		})
	}
}

// end waits until each has finished what it does, and tells how many answers of each kind there were.
func (p *payers) end() string {
	close(p.over)
	p.busy.Wait()
	var lines []string
	for _, answer := range slices.Sorted(maps.Keys(p.answers)) {
		lines = append(lines, fmt.Sprintf("%s: %d", answer, p.answers[answer]))
	}
	return strings.Join(lines, ", ")
}

func (p *payers) pay(client *http.Client, key string) {
	body := fmt.Appendf(nil, `{"postings":[{"from":%q,"to":%q,"amount":1,"currency":"EUR"}]}`, p.from, p.to)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		status := p.send(client, http.MethodPost, "/v1/transactions", key, body)
		if status == http.StatusCreated {
			p.made.Add(1)
		}
		if !p.again || status > 0 && status < 500 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Errorf("the payment %s is not answered for good within a minute", key)
			return
		}
	}
}

// send sends one request and notes how it is answered; 0 is not at all.
func (p *payers) send(client *http.Client, method, path, key string, body []byte) (status int) {
	req, err := http.NewRequest(method, p.url+path, bytes.NewReader(body))
	if err != nil {
		p.t.Error(err)
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+*p.token.Load())
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	what := method + " no answer"
	if err == nil {
		var text []byte
		text, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		var problem struct{ Code string }
		_ = json.Unmarshal(text, &problem)
		if status = resp.StatusCode; err == nil {
			what = strings.TrimSpace(fmt.Sprintf("%s %d %s", method, status, problem.Code))
		}
	}
	if err != nil {
		status = 0
		p.t.Logf("%s %s: %v", method, path, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[what]++
	return status
}

// bad is how many requests went wrong so far.
func (p *payers) bad() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for answer, times := range p.answers {
		if answer != "GET 200" && answer != "POST 201" {
			n += times
		}
	}
	return n
}

// booked is the balance that the payments have made.
func (p *payers) booked(s *teller) int64 {
	p.t.Helper()
	a, err := p.operator.transactions().GetAccountWithResponse(p.t.Context(), p.to, nil)
	s.wants(200, a, err)
	return a.JSON200.Balance.Posted
}
