package transactions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/groundwork/pkg/problem"
)

// What is lost at the worst moment, when a commit is on its way, is lost here on purpose.

// The moments at which a connection is cut.
const (
	before   = iota // the commit never leaves
	under           // it leaves, and what becomes of it is anybody's guess
	answered        // it is done, and the answer is lost
	moments
)

// cutting is a network that loses a connection now and then, around a commit.
type cutting struct {
	mu   sync.Mutex
	next []int // what the next commits meet with: each moment once, and as many times nothing
	cuts [moments]int
}

// pool is another one of the same login, over this network.
func (n *cutting) pool(t *testing.T, over *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	config := over.Config()
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = pgconn.DialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return &cutConn{Conn: conn, network: n}, err
	})
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// cut says whether the commit that is about to leave meets with an accident.
func (n *cutting) cut() (moment int, is bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.next) == 0 {
		n.next = rand.Perm(2 * moments)
	}
	if moment, n.next = n.next[0], n.next[1:]; moment < moments {
		n.cuts[moment]++
	}
	return moment, moment < moments
}

type cutConn struct {
	net.Conn
	network *cutting
	commit  []byte      // how pgx names the statement on this connection, once it was prepared
	deaf    atomic.Bool // the next answer is lost
}

var (
	errCut   = &net.OpError{Op: "write", Err: errors.New("cut on purpose")}
	prepared = regexp.MustCompile("(stmtcache_[0-9a-f]+)\x00commit\x00") // the body of a Parse message
)

func (c *cutConn) Write(b []byte) (int, error) {
	if is := prepared.FindSubmatch(b); is != nil {
		c.commit = bytes.Clone(is[1])
		return c.Conn.Write(b)
	}
	if c.commit == nil || !bytes.Contains(b, c.commit) {
		return c.Conn.Write(b)
	}
	moment, is := c.network.cut()
	if is && moment == before {
		return 0, errors.Join(errCut, c.Close())
	}
	n, err := c.Conn.Write(b)
	if is && moment == under {
		_ = c.Close()
	}
	c.deaf.Store(is && moment == answered)
	return n, err
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.deaf.Load() && n > 0 {
		return 0, errors.Join(errCut, c.Close())
	}
	return n, err
}

// settle asks under one key, as a client does, until there is an answer.
func settle(t *testing.T, ask func() outcome) answer {
	t.Helper()
	for range 200 {
		out := ask()
		if out.err == nil {
			return out.answer
		}
		if code := problem.From(out.err).Code; !problem.Is(out.err, problem.Unavailable) && code != "idempotency-key-in-use" {
			t.Errorf("a lost connection reads %v", out.err)
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("there is no answer")
	return answer{}
}

// telling is a payment whose answer tells its id.
func (b *bank) telling(key string, from, to uuid.UUID, amount int64) *order {
	b.t.Helper()
	o := b.order(key, from, to, amount)
	o.accepted.Body = fmt.Appendf(nil, `{"id":%q}`, o.deed.(transfer).ID)
	return o
}

// made is the id of what an answer says was done.
func made(t *testing.T, a answer) uuid.UUID {
	t.Helper()
	var body struct{ ID uuid.UUID }
	if err := json.Unmarshal(a.Body, &body); err != nil {
		t.Errorf("%v: %s", err, a.Body)
	}
	return body.ID
}

// transactions are those in the database beside the ones that filled the accounts, which the outside pays.
func (b *bank) transactions() map[uuid.UUID]bool {
	b.t.Helper()
	rows, _ := b.store.db.Query(b.t.Context(), `
		select transaction_id from entries group by transaction_id having not array_agg(account_id) @> array[$1::uuid]`, b.outside)
	all := map[uuid.UUID]bool{}
	var id uuid.UUID
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { all[id] = true; return nil }); err != nil {
		b.t.Fatal(err)
	}
	return all
}

// Whatever becomes of the answer to a commit, an order has one effect, which is found under its key.
func TestALostCommitIsFoundUnderItsKey(t *testing.T) {
	b := newBank(t, 4, 1000)
	var network cutting
	m := b.instance(network.pool(t, b.store.db))
	var mu sync.Mutex
	posted, replays, refusals := map[uuid.UUID]bool{}, 0, 0
	together(16, func(client int) {
		for n := range 10 {
			key, from, to, amount := newID().String(), b.accounts[client%4], b.accounts[(client+1+n%3)%4], int64(1)
			if n == 5 {
				amount = 1 << 40
			}
			a := settle(t, func() outcome { return m.orders.do(t.Context(), b.telling(key, from, to, amount)) })
			again := settle(t, func() outcome { return b.orders.do(t.Context(), b.telling(key, from, to, amount)) })
			mu.Lock()
			if a.replayed {
				replays++
			}
			if amount == 1 && a.Status == http.StatusCreated {
				posted[made(t, a)] = true
			} else if amount > 1 && codeOf(a.Body) == "insufficient-funds" {
				refusals++
			} else {
				t.Errorf("%d of money is answered %d %s", amount, a.Status, a.Body)
			}
			mu.Unlock()
			if !again.replayed || string(again.Body) != string(a.Body) {
				t.Errorf("asked again elsewhere:\n%s%s", a.Body, again.Body)
			}
		}
	})
	there := b.transactions()
	for id := range posted {
		if !there[id] {
			t.Errorf("%s was answered 201 and is lost", id)
		}
	}
	if len(posted) != 16*9 || refusals != 16 || len(there) != len(posted) {
		t.Errorf("%d posted, %d refused, %d in the ledger", len(posted), refusals, len(there))
	}
	for moment, n := range network.cuts {
		if n == 0 {
			t.Errorf("nothing was cut at moment %d", moment)
		}
	}
	if replays == 0 {
		t.Error("no order was found under its key")
	}
	b.audit()
}

// Two processes that get the same keys at the same moment do each thing once, and say so or that the key is in use.
func TestTwoInstancesHaveOneEffect(t *testing.T) {
	b := newBank(t, 4, 1000)
	instances := []*Module{b.Module, b.instance(b.db.Pool("transactions"))}
	var mu sync.Mutex
	done := map[uuid.UUID]bool{}
	const pairs, rounds = 24, 4
	for range rounds {
		var keys [pairs]string
		var outcomes [pairs][2]outcome
		for i := range keys {
			keys[i] = newID().String()
		}
		pay := func(pair, instance int) outcome {
			return instances[instance].orders.do(t.Context(), b.telling(keys[pair], b.accounts[pair%4], b.accounts[(pair+1)%4], 1))
		}
		together(2*pairs, func(i int) { outcomes[i/2][i%2] = pay(i/2, i%2) })
		together(pairs, func(pair int) {
			fresh := 0
			for instance, out := range outcomes[pair] {
				if out.err == nil && !out.answer.replayed {
					fresh++
				} else if out.err != nil && problem.From(out.err).Code != "idempotency-key-in-use" {
					t.Errorf("instance %d: %v", instance, out.err)
				}
			}
			one, other := pay(pair, 0).answer, pay(pair, 1).answer
			if fresh != 1 || !one.replayed || !other.replayed || string(one.Body) != string(other.Body) {
				t.Errorf("of two, %d did it; asked again:\n%s%s", fresh, one.Body, other.Body)
			}
			mu.Lock()
			done[made(t, one)] = true
			mu.Unlock()
		})
	}
	if there := b.transactions(); len(done) != pairs*rounds || len(there) != len(done) {
		t.Errorf("%d keys, %d answers, %d in the ledger", pairs*rounds, len(done), len(there))
	}
	b.audit()
}

// Who shares a batch with a key that another process works on does not wait for that.
func TestNeighboursOfAKeyInUseArePosted(t *testing.T) {
	b := newBank(t, 2, 10)
	tx := b.elsewhere(`select pg_advisory_xact_lock($1)`, lockOf("key", b.owner, "held"))
	held, free := b.order("held", b.accounts[0], b.accounts[1], 1), b.order("", b.accounts[0], b.accounts[1], 2)
	began := time.Now()
	got := b.store.post(t.Context(), []*order{held, free})
	if code := problem.From(got[0].err).Code; code != "idempotency-key-in-use" {
		t.Errorf("the one with the key: %v", got[0].err)
	}
	if took := time.Since(began); got[1].err != nil || got[1].answer.Status != http.StatusCreated || b.balance(b.accounts[1]) != 12 || took > time.Second {
		t.Errorf("its neighbour, after %s: %v %s, balance %d", took, got[1].err, got[1].answer.Body, b.balance(b.accounts[1]))
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.must(held)
	b.audit()
}
