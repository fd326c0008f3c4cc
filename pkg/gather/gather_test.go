package gather_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/groundwork/pkg/gather"
	"example.com/groundwork/pkg/request"
)

// gate is a group whose batches stay until they are let through. It answers each number with its double.
type gate struct {
	*gather.Group[int, int]
	mu    sync.Mutex
	sizes []int
	pass  chan struct{}
	outs  chan int
}

var limits = gather.Limits{Batches: 2, Size: 8, Waiting: 20, Time: time.Minute}

func newGate() *gate {
	g := &gate{pass: make(chan struct{}), outs: make(chan int, 100)}
	g.Group = gather.New("double", limits, g.work)
	return g
}

func (g *gate) work(ctx context.Context, batch []int) (outs []int) {
	g.mu.Lock()
	g.sizes = append(g.sizes, len(batch))
	g.mu.Unlock()
	select {
	case <-g.pass:
	case <-ctx.Done():
	}
	for _, n := range batch {
		outs = append(outs, 2*n)
	}
	return outs
}

// worked are the sizes of the batches so far.
func (g *gate) worked() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.sizes)
}

// send has calls wait, one after the other.
func (g *gate) send(t *testing.T, calls int) {
	t.Helper()
	for n := range calls {
		go func() {
			out, err := g.Do(t.Context(), n)
			if err != nil || out != 2*n {
				t.Errorf("%d: %d, %v", n, out, err)
			}
			g.outs <- out
		}()
		synctest.Wait()
	}
}

func TestWhatArrivesMeanwhileIsOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		g.send(t, 2+8+3)
		for range 4 {
			g.pass <- struct{}{}
			synctest.Wait()
		}
		if want := []int{1, 1, 8, 3}; !slices.Equal(g.worked(), want) {
			t.Errorf("batches of %v, want %v", g.worked(), want)
		}
		if len(g.outs) != 13 {
			t.Errorf("%d of 13 calls have ended", len(g.outs))
		}
		g.send(t, 1) // after a rest it goes on
		g.pass <- struct{}{}
		synctest.Wait()
		if len(g.outs) != 14 {
			t.Error("a call after a rest does not end")
		}
	})
}

func TestABatchBesideASlowOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		patient := limits
		patient.After = time.Second
		g.Group = gather.New("double", patient, g.work)
		g.send(t, 3)
		if !slices.Equal(g.worked(), []int{1}) {
			t.Errorf("batches of %v beside one that has just begun", g.worked())
		}
		time.Sleep(patient.After - 1) // and nobody else comes
		synctest.Wait()
		if !slices.Equal(g.worked(), []int{1}) {
			t.Errorf("batches of %v beside one that is not old yet", g.worked())
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if !slices.Equal(g.worked(), []int{1, 2}) {
			t.Errorf("batches of %v beside one that is slow", g.worked())
		}
		close(g.pass)
		synctest.Wait()
		if len(g.outs) != 3 {
			t.Errorf("%d of 3 calls have ended", len(g.outs))
		}
	})
}

func TestAFullGroupSaysSoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		g.send(t, limits.Batches+limits.Waiting)
		if _, err := g.Do(t.Context(), 0); !errors.Is(err, gather.ErrFull) {
			t.Errorf("one more than may wait: %v", err)
		}
		close(g.pass)
		synctest.Wait()
		if len(g.outs) != limits.Batches+limits.Waiting {
			t.Errorf("%d have ended", len(g.outs))
		}
	})
}

// Batches that are slow are filled, and nobody waits for more than the next ones, and one. A burst of many that are quick waits.
func TestNobodyWaitsForLong(t *testing.T) {
	for _, c := range []struct {
		batch  time.Duration
		calls  int           // at once
		every  time.Duration // for 20 s
		latest time.Duration
		done   float64
	}{
		{800 * time.Millisecond, 8, 10 * time.Millisecond, 2100 * time.Millisecond, 0.9}, // five times what can be done
		{800 * time.Millisecond, 1, 12 * time.Millisecond, 1600 * time.Millisecond, 0},   // half of it
		{5 * time.Millisecond, 5000, 2 * time.Second, 250 * time.Millisecond, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			const while, places = 20 * time.Second, 2 * 64
			g := gather.New("slow", gather.Limits{Batches: 2, Size: 64, Waiting: 10_000, Time: time.Minute}, func(_ context.Context, all []int) []int {
				time.Sleep(c.batch)
				return all
			})
			var mu sync.Mutex
			done, refused, latest := 0, 0, time.Duration(0)
			var all sync.WaitGroup
			for began := time.Now(); time.Since(began) < while; time.Sleep(c.every) {
				for range c.calls {
					all.Go(func() {
						came := time.Now()
						_, err := g.Do(request.Unbegun(t.Context()), 1)
						took := time.Since(came)
						if came.Sub(began) < 2*c.batch && err == nil { // it is not known yet
							took = 0
						}
						mu.Lock()
						defer mu.Unlock()
						switch {
						case err == nil:
							done, latest = done+1, max(latest, took)
						case errors.Is(err, gather.ErrFull) && took == 0:
							refused++
						default:
							t.Errorf("%v after %s", err, took)
						}
					})
				}
			}
			all.Wait()
			best := places * while.Seconds() / c.batch.Seconds()
			t.Logf("batches of %s: %d of %.0f done, the latest after %s, %d refused", c.batch, done, best, latest, refused)
			if float64(done) < c.done*best || latest > c.latest || c.done == 0 && refused > 0 {
				t.Error("which is not as promised")
			}
		})
	}
}

// Batches that become slow are found out by the first of them, and when they are quick again, too.
func TestBatchesThatBecomeSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		slow := func() bool { at := time.Since(began); return at >= 5*time.Second && at < 20*time.Second }
		g := gather.New("at times slow", gather.Limits{Batches: 2, Size: 64, Waiting: 10_000, Time: time.Minute}, func(_ context.Context, all []int) []int {
			takes := 5 * time.Millisecond
			if slow() {
				takes = 2 * time.Second
			}
			time.Sleep(takes)
			return all
		})
		var mu sync.Mutex
		var all sync.WaitGroup
		refused, latest := map[bool]int{}, time.Duration(0)
		for time.Since(began) < 40*time.Second {
			for range 10 { // 500 a second: more than half of what can be done while it is quick, eight times as much as while it is slow
				all.Go(func() {
					came := time.Now()
					_, err := g.Do(request.Unbegun(t.Context()), 1)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						refused[came.Sub(began) > 5*time.Second && came.Sub(began) < 22*time.Second]++
					}
					latest = max(latest, time.Since(came))
				})
			}
			time.Sleep(20 * time.Millisecond)
		}
		all.Wait()
		t.Logf("%d refused while it is slow, %d else, the latest after %s", refused[true], refused[false], latest)
		if refused[false] > 0 || refused[true] < 5000 || latest > 8*time.Second {
			t.Error("which is not as promised")
		}
	})
}

// What was slow a while ago says nothing about a burst of quick ones.
func TestABurstAfterSomethingSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		takes := 5 * time.Second
		g := gather.New("slow once", gather.Limits{Batches: 2, Size: 64, Waiting: 10_000, Time: time.Minute}, func(_ context.Context, all []int) []int {
			time.Sleep(takes)
			return all
		})
		for range 5 {
			if _, err := g.Do(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		takes = time.Millisecond
		time.Sleep(time.Hour)
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				if _, err := g.Do(request.Unbegun(t.Context()), 1); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}

// A request for which something was done, and what is no request, waits for as long as it takes.
func TestWhoHasBegunIsNotRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gather.New("slow", gather.Limits{Batches: 1, Size: 4, Waiting: 20, Time: time.Minute}, func(_ context.Context, all []int) []int {
			time.Sleep(time.Second)
			return all
		})
		begun := request.Unbegun(t.Context())
		request.Begin(begun)
		var all sync.WaitGroup
		for n := range 1 + 20 {
			ctx := begun
			if n%2 == 0 {
				ctx = t.Context()
			}
			all.Go(func() {
				if _, err := g.Do(ctx, 1); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			if n == 0 {
				time.Sleep(600 * time.Millisecond)
			}
			if n == 4 {
				if _, err := g.Do(request.Unbegun(t.Context()), 1); !errors.Is(err, gather.ErrFull) {
					t.Errorf("one that has not begun: %v", err)
				}
			}
		}
		if _, err := g.Do(begun, 1); !errors.Is(err, gather.ErrFull) {
			t.Errorf("one more than may wait: %v", err)
		}
		all.Wait()
	})
}

func TestWhoLeavesUndoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := g.Do(ctx, 1)
			left <- err
		}()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who leaves gets %v", err)
		}
		g.pass <- struct{}{} // it is worked on all the same
		synctest.Wait()
		if !slices.Equal(g.worked(), []int{1}) {
			t.Errorf("batches of %v", g.worked())
		}
	})
}

func TestAMistakeInTheWorkIsItsCallersError(t *testing.T) {
	g := gather.New("mistaken", limits, func(_ context.Context, batch []int) []int {
		if batch[0] == 0 {
			panic("on purpose")
		}
		return nil
	})
	for n, want := range []string{"panic: on purpose", "0 answers to 1 calls"} {
		if _, err := g.Do(t.Context(), n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v, want %s", n, err, want)
		}
	}
}

func TestABatchHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, began := newGate(), time.Now()
		g.send(t, 1)
		if <-g.outs; time.Since(began) != limits.Time {
			t.Errorf("a batch that hangs ends after %s", time.Since(began))
		}
	})
}
