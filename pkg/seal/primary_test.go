package seal_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"example.com/groundwork/pkg/seal"
)

// clock is one that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// processes are keys of several processes with one store and one clock.
func processes(t *testing.T, store seal.Store, n int) (*clock, []*seal.Keys) {
	c, all := &clock{now: time.Now()}, make([]*seal.Keys, n)
	for i := range all {
		all[i] = seal.New(kek(t, 1), store)
		all[i].SetNow(c.Now)
	}
	return c, all
}

// sealed are ciphertexts of one row, with what they say.
type sealed struct {
	t    *testing.T
	row  uuid.UUID
	made map[string][]byte
}

func (s *sealed) by(k *seal.Keys, what string) (key uint32) {
	s.t.Helper()
	s.made[what] = must[[]byte](s.t)(k.Seal(s.t.Context(), []byte(what), "t", "c", s.row))
	key, ok := k.KeyOf(s.made[what])
	if !ok {
		s.t.Fatalf("%s begins with no key", what)
	}
	return key
}

func (s *sealed) open(when string, all ...*seal.Keys) {
	s.t.Helper()
	for n, k := range all {
		for what, ct := range s.made {
			if got, err := k.Open(s.t.Context(), ct, "t", "c", s.row); err != nil || string(got) != what {
				s.t.Errorf("%s: process %d opens %q to %q, %v", when, n, what, got, err)
			}
		}
	}
}

func TestEverythingOpensAtEachStepOfARotation(t *testing.T) {
	t.Parallel()
	ctx, store, id := t.Context(), newShelf(), must[uint32](t)
	clock, p := processes(t, store, 3)
	text := &sealed{t, uuid.New(), map[string][]byte{}}
	old := text.by(p[0], "before")
	text.open("before", p...)

	added := id(p[0].Rotate(ctx))
	if added == old || id(p[0].Primary(ctx)) != old {
		t.Fatalf("Rotate added %d, and %d seals; %d should until the new one has settled", added, id(p[0].Primary(ctx)), old)
	}
	if again := id(p[1].Rotate(ctx)); again != added {
		t.Errorf("a second Rotate adds %d although %d has not settled", again, added)
	}
	for n, k := range p {
		if key := text.by(k, "meanwhile "+string(rune('0'+n))); key != old {
			t.Errorf("process %d seals with a key that others may not know yet", n)
		}
	}
	text.open("when the key is added", p...)

	for age, want := range map[time.Duration]bool{0: false, seal.Settling - time.Second: false} {
		store.set(nil, age)
		if settled, err := p[1].Settle(ctx); err != nil || settled != want {
			t.Errorf("after %s it settled: %t, %v", age, settled, err)
		}
	}
	clock.pass(seal.Settling) // in which nobody needed a key, so nobody read
	store.set(nil, seal.Settling)
	if settled, err := p[1].Settle(ctx); err != nil || !settled {
		t.Fatalf("after %s it did not settle: %v", seal.Settling, err)
	}
	if id(p[1].Primary(ctx)) != added || text.by(p[1], "after") != added {
		t.Error("who made the key primary does not seal with it")
	}
	text.open("when the key is primary", p...) // at once, without a restart
	for end := time.Now().Add(10 * time.Second); text.by(p[0], "after, elsewhere") != added; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("who knew the new key already never reads that it seals now")
		}
	}
	text.open("at the end", p...)
	text.open("after a restart", seal.New(kek(t, 1), store))
	if settled, err := p[2].Settle(ctx); settled || err != nil {
		t.Errorf("it settles twice: %v", err)
	}
	if keys, err := p[0].Data(ctx); err != nil || len(keys) != 2 || keys[0].ID != old || keys[0].Primary || !keys[1].Primary {
		t.Errorf("the keys are %v, %v", keys, err)
	}
}

// The settling time is longer than what passes between two reads, so this is what a process that is in use meets.
func TestAProcessInUseKnowsANewKeyBeforeItSeals(t *testing.T) {
	t.Parallel()
	store := newShelf()
	clock, p := processes(t, store, 2)
	text := &sealed{t, uuid.New(), map[string][]byte{}}
	text.by(p[0], "before")
	text.open("before", p...)
	must[uint32](t)(p[0].Rotate(t.Context()))
	clock.pass(seal.RereadEvery)
	text.open("a minute later", p...) // which lets them read again, and waits for nothing
	for end := time.Now().Add(10 * time.Second); store.asked() < 6 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	store.set(nil, seal.Settling)
	if settled, err := p[0].Settle(t.Context()); err != nil || !settled {
		t.Fatal(settled, err)
	}
	text.by(p[0], "after") // p[0] read a moment ago, and needs not to know
	store.set(errors.New("away"), 0)
	text.open("with the store away", p...)
}

func TestAKeysetIsNotReadTooOften(t *testing.T) {
	t.Parallel()
	store := newShelf()
	clock, p := processes(t, store, 1)
	text := &sealed{t, uuid.New(), map[string][]byte{}}
	text.by(p[0], "x")
	foreign := must[[]byte](t)(seal.New(kek(t, 1), newShelf()).Seal(t.Context(), []byte("x"), "t", "c", text.row))
	before := store.asked()
	for range 100 {
		text.by(p[0], "x")
		text.open("at once", p[0])
		if _, err := p[0].Open(t.Context(), foreign, "t", "c", text.row); err == nil {
			t.Error("a foreign ciphertext opens")
		}
	}
	if n := store.asked() - before; n != 0 {
		t.Errorf("read %d times although it was read a moment ago", n)
	}
	clock.pass(seal.RereadAgain)
	for range 100 {
		if _, err := p[0].Open(t.Context(), foreign, "t", "c", text.row); err == nil {
			t.Error("a foreign ciphertext opens")
		}
	}
	if n := store.asked() - before; n != 1 {
		t.Errorf("an unknown key has it read %d times within %s, want once", n, seal.RereadAgain)
	}
}

func TestWithTheStoreAwayTheLastKeysGoOn(t *testing.T) {
	t.Parallel()
	store, away := newShelf(), errors.New("away")
	clock, p := processes(t, store, 2)
	text := &sealed{t, uuid.New(), map[string][]byte{}}
	text.by(p[0], "before")
	text.open("before", p...)
	must[uint32](t)(p[0].Rotate(t.Context()))
	store.set(nil, seal.Settling)
	if settled, err := p[0].Settle(t.Context()); err != nil || !settled {
		t.Fatal(settled, err)
	}
	must[uint32](t)(p[0].Primary(t.Context()))
	late := &sealed{t, text.row, map[string][]byte{}}
	late.by(p[0], "late")
	store.set(away, 0)
	for range 5 {
		clock.pass(seal.RereadEvery)
		text.by(p[1], "meanwhile")
		text.open("with the store away", p...)
		late.open("with the store away", p[0])
		// p[1] never read the new key. That is no fault of the ciphertext, and is not said to be.
		if _, err := p[1].Open(t.Context(), late.made["late"], "t", "c", late.row); !errors.Is(err, away) {
			t.Errorf("a key that could not be read: %v", err)
		}
	}
	clock.pass(seal.RereadAgain)
	store.set(nil, 0)
	late.open("when it is back", p[1])
}

func TestOfSeveralWhoRotateOneAddsAKey(t *testing.T) {
	t.Parallel()
	store := newShelf()
	_, p := processes(t, store, 8)
	must[uint32](t)(p[0].Primary(t.Context()))
	ids := make([]uint32, len(p))
	var all sync.WaitGroup
	for n, k := range p {
		all.Go(func() {
			var err error
			if ids[n], err = k.Rotate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("they added %v", ids)
		}
	}
	if keys, err := p[0].Data(t.Context()); err != nil || len(keys) != 2 {
		t.Errorf("the keys are %v, %v", keys, err)
	}
}

func TestRotatingWithAnotherKeyEncryptionKey(t *testing.T) {
	t.Parallel()
	store := newShelf()
	must[uint32](t)(seal.New(kek(t, 1), store).Primary(t.Context()))
	before := string(store.keysets["data"])
	wrong := seal.New(kek(t, 2), store)
	_, rotate := wrong.Rotate(t.Context())
	_, settle := wrong.Settle(t.Context())
	for _, err := range []error{rotate, settle} {
		if err == nil || !strings.Contains(err.Error(), "keyset data: the keysets were made with another key-encryption key") {
			t.Errorf("got %v", err)
		}
	}
	if string(store.keysets["data"]) != before {
		t.Error("the keyset has changed")
	}
}

func TestKeyOf(t *testing.T) {
	t.Parallel()
	k := seal.New(kek(t, 1), newShelf())
	for given, want := range map[string]uint32{"\x01\x00\x00\x01\x02": 258, "\x01\xff\xff\xff\xff and more": 1<<32 - 1, "": 0, "\x01abc": 0, "\x00abcdef": 0} {
		if id, ok := k.KeyOf([]byte(given)); id != want || ok != (want != 0) {
			t.Errorf("%q is of %d, %t", given, id, ok)
		}
	}
}

// slowly is a store one of whose answers is long on its way.
type slowly struct {
	*shelf
	next       chan struct{} // has a place for each answer that is to be held
	read, goOn chan struct{}
}

func (s *slowly) Keyset(ctx context.Context, name string) ([]byte, time.Duration, error) {
	encrypted, age, err := s.shelf.Keyset(ctx, name)
	select {
	case <-s.next:
		s.read <- struct{}{}
		<-s.goOn
	default:
	}
	return encrypted, age, err
}

func TestAnAnswerThatIsLateBringsNoOldKeysBack(t *testing.T) {
	t.Parallel()
	store := &slowly{newShelf(), make(chan struct{}, 1), make(chan struct{}), make(chan struct{})}
	clock, p := processes(t, store, 2)
	text := &sealed{t, uuid.New(), map[string][]byte{}}
	text.by(p[0], "before")
	store.next <- struct{}{}
	var late sync.WaitGroup
	late.Go(func() { must[[]seal.Key](t)(p[0].Data(t.Context())) })
	<-store.read
	clock.pass(time.Second)
	must[uint32](t)(p[1].Rotate(t.Context()))
	store.set(nil, seal.Settling)
	if settled, err := p[1].Settle(t.Context()); err != nil || !settled {
		t.Fatal(settled, err)
	}
	must[[]seal.Key](t)(p[0].Data(t.Context()))
	primary := must[uint32](t)(p[1].Primary(t.Context()))
	close(store.goOn)
	late.Wait()
	store.set(errors.New("away"), 0)
	if id := text.by(p[0], "after"); id != primary {
		t.Errorf("sealed by key %d, want %d", id, primary)
	}
}
