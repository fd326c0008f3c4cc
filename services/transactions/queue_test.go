package transactions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"example.com/groundwork/pkg/problem"
)

// gate is a queue whose batches stay until they are let through.
type gate struct {
	*queue
	mu      sync.Mutex
	batches [][]*order
	pass    chan struct{}
}

func newGate() *gate {
	g := &gate{pass: make(chan struct{})}
	g.queue = newQueue(func(_ context.Context, orders []*order) []outcome {
		g.mu.Lock()
		g.batches = append(g.batches, orders)
		g.mu.Unlock()
		<-g.pass
		outcomes := make([]outcome, len(orders))
		for i, o := range orders {
			outcomes[i].answer = answer{Status: http.StatusCreated, Body: []byte(o.key)}
		}
		return outcomes
	})
	return g
}

func keyed(key string, fingerprint byte) *order {
	return &order{key: key, fingerprint: [32]byte{fingerprint}}
}

// send has orders wait for their outcomes.
func (g *gate) send(outcomes chan<- outcome, orders ...*order) {
	for _, o := range orders {
		go func() { outcomes <- g.do(context.Background(), o) }()
		synctest.Wait()
	}
}

func TestWhatArrivesMeanwhileIsOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, outcomes := newGate(), make(chan outcome, 2*maxBatch)
		for i := range maxPosting + maxBatch + 3 {
			g.send(outcomes, keyed(fmt.Sprint(i), 0))
		}
		for range maxPosting + 2 {
			g.pass <- struct{}{}
			synctest.Wait()
		}
		var sizes []int
		for _, b := range g.batches {
			sizes = append(sizes, len(b))
		}
		if fmt.Sprint(sizes) != fmt.Sprint([]int{1, 1, maxBatch, 3}) {
			t.Errorf("batches of %v", sizes)
		}
		for range maxPosting + maxBatch + 3 {
			if out := <-outcomes; out.err != nil {
				t.Error(out.err)
			}
		}
		if g.posting != 0 || len(g.flying) != 0 {
			t.Errorf("%d still post, %d are in flight", g.posting, len(g.flying))
		}
	})
}

func TestAKeyInFlightSharesItsOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, outcomes := newGate(), make(chan outcome, 3)
		g.send(outcomes, keyed("k", 1), keyed("k", 1), keyed("k", 2))
		if out := <-outcomes; problem.From(out.err).Code != "idempotency-key-reused" { // and it did not wait
			t.Errorf("another request under the key: %v", out)
		}
		close(g.pass)
		first, second := <-outcomes, <-outcomes
		if first.err != nil || second.err != nil || first.answer.replayed == second.answer.replayed || len(g.batches) != 1 {
			t.Errorf("%+v and %+v, in %d batches", first, second, len(g.batches))
		}
	})
}

func TestAFullQueueSaysSoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, outcomes := newGate(), make(chan outcome, 2*maxWaiting)
		for i := range maxPosting + maxWaiting {
			g.send(outcomes, keyed(fmt.Sprint(i), 0))
		}
		if out := g.do(t.Context(), keyed("one more", 0)); problem.From(out.err).Code != "overloaded" || problem.From(out.err).RetryAfter == 0 {
			t.Errorf("%v", out.err)
		}
		if out := len(outcomes); out != 0 {
			t.Errorf("%d were answered", out)
		}
		close(g.pass)
		for range maxPosting + maxWaiting {
			if out := <-outcomes; out.err != nil {
				t.Error(out.err)
			}
		}
	})
}

func TestWhoLeavesDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, outcomes := newGate(), make(chan outcome, 1)
		ctx, leave := context.WithCancel(t.Context())
		go func() { outcomes <- g.do(ctx, keyed("k", 0)) }()
		synctest.Wait()
		leave()
		if out := <-outcomes; !errors.Is(out.err, context.Canceled) {
			t.Errorf("%v", out.err)
		}
		close(g.pass)
		if out := g.do(t.Context(), keyed("k", 0)); out.err != nil {
			t.Error(out.err)
		}
	})
}
