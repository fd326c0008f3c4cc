package transactions

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"example.com/groundwork/pkg/problem"
)

// gated is a queue whose batches stay until they are let through.
func gated(pass <-chan struct{}) (q *queue, batches *atomic.Int64) {
	batches = new(atomic.Int64)
	return newQueue(func(_ context.Context, orders []*order) (outcomes []outcome) {
		batches.Add(1)
		<-pass
		for range orders {
			outcomes = append(outcomes, outcome{answer: answer{Status: http.StatusCreated}})
		}
		return outcomes
	}), batches
}

func keyed(key string, fingerprint byte) *order {
	return &order{key: key, fingerprint: [32]byte{fingerprint}}
}

func TestAKeyInFlightSharesItsOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pass, outcomes := make(chan struct{}), make(chan outcome, 3)
		q, batches := gated(pass)
		for _, o := range []*order{keyed("k", 1), keyed("k", 1), keyed("k", 2)} {
			go func() { outcomes <- q.do(t.Context(), o) }()
			synctest.Wait()
		}
		if out := <-outcomes; problem.From(out.err).Code != "idempotency-key-reused" { // and it did not wait
			t.Errorf("another request under the key: %v", out)
		}
		close(pass)
		first, second := <-outcomes, <-outcomes
		if first.err != nil || second.err != nil || first.answer.replayed == second.answer.replayed || batches.Load() != 1 {
			t.Errorf("%+v and %+v, in %d batches", first, second, batches.Load())
		}
		if len(q.flying) != 0 {
			t.Errorf("%d are still in flight", len(q.flying))
		}
	})
}

func TestAFullQueueSaysSoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pass, outcomes, most := make(chan struct{}), make(chan outcome, 2*inBatches.Waiting), inBatches.Batches+inBatches.Waiting
		q, _ := gated(pass)
		for i := range most {
			go func() { outcomes <- q.do(t.Context(), keyed(fmt.Sprint(i), 0)) }()
			synctest.Wait()
		}
		out := q.do(t.Context(), keyed("one more", 0))
		if e := problem.From(out.err); e.Code != "overloaded" || e.RetryAfter == 0 {
			t.Errorf("one more than fits: %v", out.err)
		}
		close(pass)
		for range most {
			if out := <-outcomes; out.err != nil {
				t.Error(out.err)
			}
		}
		if out := q.do(t.Context(), keyed("one more", 0)); out.err != nil { // its key is not taken
			t.Errorf("afterwards: %v", out.err)
		}
	})
}
