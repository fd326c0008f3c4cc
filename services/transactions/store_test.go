package transactions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// bank is the store with some accounts of one owner, each with money from outside.
type bank struct {
	*world
	owner    uuid.UUID
	outside  uuid.UUID
	accounts []uuid.UUID
}

func newBank(t *testing.T, accounts int, each int64) *bank {
	t.Helper()
	b := &bank{world: newWorld(t), owner: newID()}
	b.outside = b.open("external", nil)
	for range accounts {
		id := b.open(customer, &b.owner)
		if each > 0 {
			b.must(b.order("", b.outside, id, each))
		}
		b.accounts = append(b.accounts, id)
	}
	return b
}

func (b *bank) open(kind string, owner *uuid.UUID) uuid.UUID {
	b.t.Helper()
	id, now, _ := stamp()
	a := account{ID: id, OwnerID: owner, Kind: kind, Currency: "EUR", CreatedAt: now, Metadata: map[string]string{}}
	if err := b.store.createAccount(b.t.Context(), a); err != nil {
		b.t.Fatal(err)
	}
	return id
}

// order is a payment under a key, a new one if that is empty.
func (b *bank) order(key string, from, to uuid.UUID, amount int64) *order {
	b.t.Helper()
	id, now, _ := stamp()
	if key == "" {
		key = id.String()
	}
	tr, err := newTransaction(id, now, b.owner, payment(from, to, amount))
	if err != nil {
		b.t.Fatal(err)
	}
	o := b.orderOf(transfer{tr, true}, key)
	o.accepted.Header.Set("Location", "/v1/transactions/"+id.String())
	return o
}

// named is the payment under a reference.
func named(o *order, reference string) *order {
	t := o.deed.(transfer)
	t.Reference = &reference
	o.deed = t
	return o
}

// orderOf has a deed done for the owner. All have the same fingerprint.
func (b *bank) orderOf(d deed, key string) *order {
	b.t.Helper()
	o, err := newOrder(d, b.owner, key, &request.Info{ID: "test"}, http.StatusCreated, http.Header{}, struct{}{})
	if err != nil {
		b.t.Fatal(err)
	}
	o.fingerprint = [32]byte{}
	return o
}

// must posts orders as one batch; each has to be posted.
func (b *bank) must(orders ...*order) {
	b.t.Helper()
	for i, o := range b.store.post(b.t.Context(), orders) {
		if o.err != nil || o.answer.Status != http.StatusCreated {
			b.t.Fatalf("order %d: %v %s", i, o.err, o.answer.Body)
		}
	}
}

// elsewhere does something in another session, which then stays in its transaction: its locks are held until that ends.
func (b *bank) elsewhere(sql string, args ...any) pgx.Tx {
	b.t.Helper()
	tx, err := b.store.db.Begin(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	if err := exec(tx, sql, args...); err != nil {
		b.t.Fatal(err)
	}
	return tx
}

// sitOn locks an account's balance, as a batch of another process does.
func (b *bank) sitOn(account uuid.UUID) pgx.Tx {
	b.t.Helper()
	return b.elsewhere(`select from balances where account_id = $1 for no key update`, account)
}

func (b *bank) balance(id uuid.UUID) int64 {
	b.t.Helper()
	a, err := b.store.account(b.t.Context(), id, viewer{all: true})
	if err != nil {
		b.t.Fatal(err)
	}
	return a.Posted
}

// audit holds what must always be true against the whole database.
func (b *bank) audit() {
	b.t.Helper()
	for rule, sql := range map[string]string{
		"entries sum to zero per transaction and currency": `select from entries group by transaction_id, currency having sum(amount) <> 0`,
		"balances sum to zero per currency":                `select from balances group by currency having sum(posted) <> 0`,
		"a balance is the sum of its entries": `select from balances b left join entries e using (account_id)
			group by b.account_id having b.posted <> coalesce(sum(e.amount), 0)`,
		"versions run from one without a hole": `select from balances b left join entries e using (account_id)
			group by b.account_id having b.entry_version <> count(e) or b.entry_version <> coalesce(max(e.account_version), 0)`,
		"each entry goes on from the one before": `select from (select balance_after - amount as before,
			lag(balance_after, 1, 0) over (partition by account_id order by account_version) as after from entries) s where before <> after`,
		"what is held is the sum of the open holds": `select from balances b left join holds h on h.account_id = b.account_id and h.status = 'open'
			group by b.account_id having b.held <> coalesce(sum(h.amount), 0)`,
		"a capture moves what it says": `select from holds h left join entries e on e.transaction_id = h.transaction_id and e.seq = 1
			where h.status = 'captured' and (e.amount is distinct from -h.captured_amount or e.account_id <> h.account_id)`,
		"no customer is overdrawn": `select from balances where floor is not null and posted - held < floor`,
	} {
		var broken int
		if err := b.store.db.QueryRow(b.t.Context(), `select count(*) from (`+sql+`) s`).Scan(&broken); err != nil || broken > 0 {
			b.t.Errorf("%s: broken %d times, %v", rule, broken, err)
		}
	}
}

// together runs f n times at once.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func TestSpendersNeverOverdraw(t *testing.T) {
	b := newBank(t, 2, 1000)
	var mu sync.Mutex
	counts := map[string]int{}
	together(16, func(int) {
		for range 25 {
			o := b.store.post(t.Context(), []*order{b.order("", b.accounts[0], b.accounts[1], 3)})[0]
			mu.Lock()
			counts[codeOf(o.answer.Body)]++
			if o.answer.Status == http.StatusCreated {
				counts["posted"]++
			}
			mu.Unlock()
			if o.err != nil {
				t.Error(o.err)
			}
		}
	})
	if counts["posted"] != 333 || counts["insufficient-funds"] != 16*25-333 {
		t.Errorf("1000 in steps of 3 pays 333 times: posted %d, refused %d", counts["posted"], counts["insufficient-funds"])
	}
	if got := b.balance(b.accounts[0]); got != 1 {
		t.Errorf("left %d, want 1", got)
	}
	b.audit()
}

func TestOpposingTransfersNeverDeadlock(t *testing.T) {
	b := newBank(t, 4, 1000)
	together(8, func(n int) {
		for i := range 25 {
			from, to := b.accounts[(n+i)%4], b.accounts[(n+i+1+i%3)%4]
			batch := []*order{b.order("", from, to, 1), b.order("", to, from, 1)}
			for place, name := range []string{"x", "y"} { // the same references for all, in both orders
				named(batch[(place+n)%2], fmt.Sprint(name, i))
			}
			for _, o := range b.store.post(t.Context(), batch) {
				if code := o.answer.code; o.err != nil || code != "" && code != "reference-already-used" {
					t.Errorf("%v %s", o.err, o.answer.Body)
				}
			}
		}
	})
	b.audit()
	// A batch that hits a deadlock is tried again, so only the server tells; its sessions report when they end.
	b.store.db.Close()
	owner := b.db.Owner()
	for sessions := 1; sessions > 0; time.Sleep(10 * time.Millisecond) {
		if err := owner.QueryRow(t.Context(), `select count(*) from pg_stat_activity
			where datname = current_database() and usename = 'groundwork_transactions'`).Scan(&sessions); err != nil {
			t.Fatal(err)
		}
	}
	var deadlocks int
	if err := owner.QueryRow(t.Context(), `select deadlocks from pg_stat_database where datname = current_database()`).Scan(&deadlocks); err != nil || deadlocks > 0 {
		t.Errorf("%d deadlocks, %v", deadlocks, err)
	}
}

func TestOneKeyOneEffect(t *testing.T) {
	b := newBank(t, 2, 1000)
	owner := b.actor(b.owner)
	var mu sync.Mutex
	bodies, statuses := map[string]int{}, map[int]int{}
	together(50, func(int) {
		resp := owner.post("the one", payment(b.accounts[0], b.accounts[1], 7))
		mu.Lock()
		defer mu.Unlock()
		statuses[resp.StatusCode()]++
		if resp.StatusCode() == 201 {
			bodies[string(resp.Body)]++
		} else if codeOf(resp.Body) != "idempotency-key-in-use" || resp.HTTPResponse.Header.Get("Retry-After") == "" {
			t.Errorf("%d %s", resp.StatusCode(), resp.Body)
		}
	})
	if len(bodies) != 1 || b.balance(b.accounts[0]) != 993 {
		t.Errorf("%d different answers, balance %d, statuses %v", len(bodies), b.balance(b.accounts[0]), statuses)
	}
	b.audit()
}

func TestReplays(t *testing.T) {
	b := newBank(t, 2, 100)
	owner, stranger, operator := b.actor(b.owner), b.person(), b.operator()
	from, to := b.accounts[0], b.accounts[1]
	const mark = "Idempotent-Replayed"

	first := owner.post("good", payment(from, to, 10))
	again := owner.post(`"good"`, payment(from, to, 10))
	for _, name := range []string{"Content-Type", "Location"} {
		if first.HTTPResponse.Header.Get(name) == "" || first.HTTPResponse.Header.Get(name) != again.HTTPResponse.Header.Get(name) {
			t.Errorf("%s: %q, then %q", name, first.HTTPResponse.Header.Get(name), again.HTTPResponse.Header.Get(name))
		}
	}
	if again.StatusCode() != 201 || string(first.Body) != string(again.Body) || again.HTTPResponse.Header.Get(mark) != "true" || first.HTTPResponse.Header.Get(mark) != "" {
		t.Errorf("a replay differs:\n%s%s%v", first.Body, again.Body, again.HTTPResponse.Header)
	}
	if b.balance(from) != 90 {
		t.Errorf("a replay moved money: %d", b.balance(from))
	}
	if other := owner.post("good", payment(from, to, 11)); other.StatusCode() != 422 || codeOf(other.Body) != "idempotency-key-reused" {
		t.Errorf("another body: %s", other.Body)
	}
	if theirs := stranger.post("good", payment(from, to, 10)); codeOf(theirs.Body) != "not-found" || theirs.HTTPResponse.Header.Get(mark) != "" {
		t.Errorf("somebody else's key: %s", theirs.Body)
	}

	refused := owner.post("poor", payment(from, to, 1000))
	b.must(b.order("", b.outside, from, 5000))
	again = owner.post("poor", payment(from, to, 1000))
	if refused.StatusCode() != 422 || string(refused.Body) != string(again.Body) || again.HTTPResponse.Header.Get(mark) != "true" ||
		again.HTTPResponse.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("what was refused stays refused:\n%s%s", refused.Body, again.Body)
	}

	bad := payment(from, to, 1)
	bad.Metadata = &transactionsv1.Metadata{"": "no name"}
	if resp := owner.post("typo", bad); codeOf(resp.Body) != "validation-failed" {
		t.Errorf("a mistake: %s", resp.Body)
	}
	if resp := owner.post("typo", payment(from, to, 1)); resp.StatusCode() != 201 {
		t.Errorf("a mistake does not use up its key: %s", resp.Body)
	}
	if resp := operator.post(strings.Repeat("k", 256), payment(from, to, 1)); codeOf(resp.Body) != "idempotency-key-invalid" {
		t.Errorf("a long key: %s", resp.Body)
	}
	b.audit()
}

// Somebody who sits on a reference keeps nobody else waiting for ever.
func TestAReferenceThatSomebodySitsOn(t *testing.T) {
	b := newBank(t, 2, 10)
	b.elsewhere(`select pg_advisory_xact_lock($1)`, lockOf("reference", b.owner, "r"))
	got := b.store.post(t.Context(), []*order{
		b.order("one", b.accounts[0], b.accounts[1], 1), named(b.order("two", b.accounts[0], b.accounts[1], 1), "r"), b.order("three", b.accounts[0], b.accounts[1], 1),
	})
	if got[0].answer.Status != 201 || got[2].answer.Status != 201 || problem.From(got[1].err).Code != "ledger-busy" {
		t.Errorf("%+v", got)
	}
	if n := b.balance(b.accounts[1]); n != 12 {
		t.Errorf("balance %d", n)
	}
}

func TestBatch(t *testing.T) {
	b := newBank(t, 3, 10)
	old := b.order("old", b.accounts[0], b.accounts[1], 1)
	b.must(old)
	other := b.order("old", b.accounts[0], b.accounts[1], 1)
	other.fingerprint = [32]byte{1}
	replay := b.order("old", b.accounts[0], b.accounts[1], 1)

	// Another session works on a key.
	b.elsewhere(`select pg_advisory_xact_lock($1)`, lockOf("key", b.owner, "busy"))
	got := b.store.post(t.Context(), []*order{
		named(b.order("too much", b.accounts[0], b.accounts[1], 10), "r"), // refused: its reference stays free
		named(b.order("r", b.accounts[0], b.accounts[1], 9), "r"),
		named(b.order("r again", b.accounts[1], b.accounts[0], 1), "r"),
		b.order("on what came in", b.accounts[1], b.accounts[2], 20),
		b.order("too much by now", b.accounts[1], b.accounts[2], 1),
		b.order("busy", b.accounts[2], b.accounts[0], 1),
		replay,
	})
	want := []string{"insufficient-funds", "", "reference-already-used", "", "insufficient-funds", "idempotency-key-in-use", ""}
	for i, o := range got {
		code := o.answer.code
		if o.err != nil {
			code = problem.From(o.err).Code
		}
		if code != want[i] {
			t.Errorf("order %d: got %q, want %q", i, code, want[i])
		}
	}
	if !got[6].answer.replayed || string(got[6].answer.Body) != string(old.accepted.Body) {
		t.Errorf("a replay in a batch: %s", got[6].answer.Body)
	}
	if o := b.store.post(t.Context(), []*order{b.order("too much", b.accounts[0], b.accounts[1], 10)})[0]; !o.answer.replayed || o.answer.code != want[0] {
		t.Errorf("a refusal that is replayed tells the log %q", o.answer.code)
	}
	if o := b.store.post(t.Context(), []*order{other})[0]; problem.From(o.err).Code != "idempotency-key-reused" {
		t.Errorf("another request under a key: %v", o.err)
	}
	if got := []int64{b.balance(b.accounts[0]), b.balance(b.accounts[1]), b.balance(b.accounts[2])}; !slices.Equal(got, []int64{0, 0, 30}) {
		t.Errorf("balances %v", got)
	}
	b.audit()
}

func TestBusyAccountsSaySo(t *testing.T) {
	b := newBank(t, 2, 10)
	b.sitOn(b.accounts[0])
	resp := b.actor(b.owner).post("busy", payment(b.accounts[0], b.accounts[1], 1))
	if resp.StatusCode() != 503 || codeOf(resp.Body) != "ledger-busy" || resp.HTTPResponse.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", resp.StatusCode(), resp.Body)
	}
}

// Whoever shares a batch with a payment from an account that somebody sits on waits for it once, and is posted.
func TestNeighboursOfABusyAccountArePosted(t *testing.T) {
	b := newBank(t, 4, 10)
	tx := b.sitOn(b.accounts[0])
	busy, free := b.order("", b.accounts[0], b.accounts[1], 1), b.order("", b.accounts[2], b.accounts[3], 1)
	got := b.store.post(t.Context(), []*order{busy, free})
	if code := problem.From(got[0].err).Code; code != "ledger-busy" {
		t.Errorf("the busy one: %v", got[0].err)
	}
	if got[1].err != nil || got[1].answer.Status != http.StatusCreated {
		t.Errorf("its neighbour: %v %s", got[1].err, got[1].answer.Body)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.must(busy) // its key was not used up
	b.audit()
}

// One order that breaks the database's rules, or the program's, breaks nobody else's.
func TestAPoisonedOrderIsAloneWithIt(t *testing.T) {
	b := newBank(t, 4, 100)
	if _, err := b.db.Owner().Exec(t.Context(), `alter table transactions.entries add constraint poison check (abs(amount) <> 66)`); err != nil {
		t.Fatal(err)
	}
	var orders []*order
	for i := range 9 {
		orders = append(orders, b.order("", b.accounts[i%2], b.accounts[2+i%2], int64(i+1)))
	}
	orders[3], orders[7] = b.order("", b.accounts[0], b.accounts[1], 66), b.orderOf(panics{}, "panics")
	for i, out := range b.store.post(t.Context(), orders) {
		poisoned := i == 3 || i == 7
		if poisoned != problem.Is(out.err, problem.Internal) || !poisoned && out.answer.Status != http.StatusCreated {
			t.Errorf("order %d: %v %s", i, out.err, out.answer.Body)
		}
	}
	b.audit()
}

type panics struct{}

func (panics) needs() needs                    { return needs{} }
func (panics) do(books) (done, *problem.Error) { panic("a mistake of ours") }

func TestACallerWhoLeavesUndoesNothing(t *testing.T) {
	b := newBank(t, 2, 10)
	tx := b.sitOn(b.accounts[0])
	ctx, leave := context.WithCancel(authn.With(t.Context(), authn.Principal{UserID: b.owner}))
	in := payment(b.accounts[0], b.accounts[1], 4)
	answered := make(chan error)
	params := transactionsv1.CreateTransactionParams{IdempotencyKey: new("left")}
	go func() {
		_, err := b.CreateTransaction(ctx, transactionsv1.CreateTransactionRequestObject{Params: params, Body: &in})
		answered <- err
	}()
	time.Sleep(100 * time.Millisecond) // it waits for the lock by now
	leave()
	if err := <-answered; !problem.Is(err, problem.ClientGone) {
		t.Errorf("the caller left: %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Who asks again under the key gets what was posted, whether it is on its way yet or not.
	again, err := b.CreateTransaction(context.WithoutCancel(ctx), transactionsv1.CreateTransactionRequestObject{Params: params, Body: &in})
	if a, ok := again.(answer); err != nil || !ok || a.Status != http.StatusCreated || !a.replayed || b.balance(b.accounts[1]) != 14 {
		t.Errorf("asked again: %v, %v, balance %d", again, err, b.balance(b.accounts[1]))
	}
}

func TestLostConnectionsAreTriedAgain(t *testing.T) {
	b := newBank(t, 2, 1000)
	killer, err := pgx.Connect(t.Context(), b.db.URL("transactions"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = killer.Close(context.Background()) }()
	kill := func() (n int) {
		if err := killer.QueryRow(context.Background(), `select count(pg_terminate_backend(pid)) from pg_stat_activity
			where datname = current_database() and usename = current_user and pid <> pg_backend_pid()`).Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	b.must(b.order("", b.accounts[0], b.accounts[1], 1))
	kill()
	b.must(b.order("", b.accounts[0], b.accounts[1], 1))

	stop, kills := make(chan struct{}), 0
	var killed sync.WaitGroup
	killed.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(15 * time.Millisecond):
				kills += kill()
			}
		}
	})
	posted := 2
	for range 60 {
		o := b.order("", b.accounts[0], b.accounts[1], 1)
		for { // as a client does: the same key until there is an answer
			done := b.store.post(t.Context(), []*order{o})[0]
			if done.err == nil {
				posted++
				break
			}
			// A backend that was killed may hold the key for a moment longer than its connection lives: 409, ask again.
			inUse := problem.From(done.err).Code == "idempotency-key-in-use"
			if !problem.Is(done.err, problem.Unavailable) && !inUse {
				t.Errorf("a lost connection reads %v", done.err)
				break
			}
		}
	}
	close(stop)
	killed.Wait()
	b.store.db.Reset()
	if got := b.balance(b.accounts[1]); got != 1000+int64(posted) || kills == 0 {
		t.Errorf("%d payments, balance %d, %d connections lost", posted, got, kills)
	}
	b.audit()
}

func TestStatementPagedUnderWrites(t *testing.T) {
	b := newBank(t, 2, 1000)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 3 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					b.store.post(t.Context(), []*order{b.order("", b.accounts[0], b.accounts[1], 1)})
				}
			}
		})
	}
	owner := b.actor(b.owner)
	for range 10 {
		params := &transactionsv1.ListEntriesParams{Limit: new(2)}
		var last int64
		for {
			resp, err := owner.ListEntriesWithResponse(t.Context(), b.accounts[0], params)
			if err != nil || resp.JSON200 == nil {
				t.Fatalf("%v %s", err, resp.Body)
			}
			for _, e := range resp.JSON200.Data {
				if last != 0 && e.AccountVersion != last-1 {
					t.Errorf("after version %d comes %d", last, e.AccountVersion)
				}
				last = e.AccountVersion
			}
			if params.Cursor = resp.JSON200.Page.NextCursor; params.Cursor == nil {
				break
			}
		}
		if last != 1 {
			t.Errorf("the statement ends with version %d", last)
		}
	}
	close(stop)
	writers.Wait()
	b.audit()
}

func TestHistoryCannotBeChanged(t *testing.T) {
	b := newBank(t, 2, 10)
	ctx, login, owner := t.Context(), b.store.db, b.db.Owner()
	if _, err := owner.Exec(ctx, `set search_path = transactions`); err != nil {
		t.Fatal(err)
	}
	state := func(err error) string {
		var pgErr *pgconn.PgError
		errors.As(err, &pgErr)
		if pgErr == nil {
			return "allowed"
		}
		return pgErr.Code
	}
	const denied, restricted = "42501", "23001"
	for _, table := range []string{"transactions", "entries"} {
		for _, sql := range []string{"update " + table + " set created_xid = created_xid", "delete from " + table, "truncate " + table + " cascade"} {
			sql = strings.Replace(sql, "entries set created_xid = created_xid", "entries set amount = amount", 1)
			if _, err := login.Exec(ctx, sql); state(err) != denied {
				t.Errorf("the module may %s: %s", sql, state(err))
			}
			if _, err := owner.Exec(ctx, sql); state(err) != restricted {
				t.Errorf("the owner may %s: %s", sql, state(err))
			}
		}
	}
	for name, sql := range map[string]string{
		"forge the database transaction": `insert into transactions (id, kind, occurred_at, created_at, created_by, created_xid, request_id)
			values (gen_random_uuid(), 'transfer', now(), now(), gen_random_uuid(), '1', '')`,
		"free a reference":    `delete from transaction_references`,
		"move a floor":        `update balances set floor = null`,
		"change an owner":     `update accounts set owner_id = gen_random_uuid()`,
		"invent a currency":   `insert into currencies values ('ZZZ', 2)`,
		"drop a trigger":      `drop trigger entries_check on entries`,
		"switch triggers off": `alter table entries disable trigger all`,
	} {
		if _, err := login.Exec(ctx, sql); state(err) != denied {
			t.Errorf("the module may %s: %s", name, state(err))
		}
	}
}

func TestEntriesBalanceAndComeInTime(t *testing.T) {
	b := newBank(t, 2, 10)
	var old uuid.UUID
	if err := b.store.db.QueryRow(t.Context(), `select id from transactions limit 1`).Scan(&old); err != nil {
		t.Fatal(err)
	}
	const begin = `insert into transactions (id, kind, occurred_at, created_at, created_by, request_id) values ($1, 'transfer', now(), now(), $1, '')`
	const one = `insert into entries (transaction_id, seq, account_id, amount, currency, balance_after, account_version) values ($1, $2, $3, $4, $5, 0, 99)`
	const two = `insert into entries (transaction_id, seq, account_id, amount, currency, balance_after, account_version)
		values ($1, 91, $2, -$4::bigint, $6, 10 - $4::bigint, $7), ($1, 92, $3, $5::bigint, $6, 10 + $5::bigint + $8::bigint, $7)`
	x, y := b.accounts[0], b.accounts[1] // each has 10, by one entry
	for name, c := range map[string]struct {
		try  func(tx pgx.Tx, id uuid.UUID) error
		want string
	}{
		"one side alone":           {func(tx pgx.Tx, id uuid.UUID) error { return exec(tx, one, id, 1, x, -5, "EUR") }, "entries_sum_to_zero"},
		"another amount":           {func(tx pgx.Tx, id uuid.UUID) error { return exec(tx, two, id, x, y, 5, 6, "EUR", 2, 0) }, "entries_sum_to_zero"},
		"an old one":               {func(tx pgx.Tx, _ uuid.UUID) error { return exec(tx, two, old, x, y, 5, 5, "EUR", 2, 0) }, "entries_in_time"},
		"nothing":                  {func(tx pgx.Tx, id uuid.UUID) error { return exec(tx, one, id, 1, x, 0, "EUR") }, "entries_amount_check"},
		"other money":              {func(tx pgx.Tx, id uuid.UUID) error { return exec(tx, two, id, x, y, 5, 5, "USD", 2, 0) }, "entries_account_id_currency_fkey"},
		"one left out":             {func(tx pgx.Tx, id uuid.UUID) error { return exec(tx, two, id, x, y, 5, 5, "EUR", 3, 0) }, "entries_in_order"},
		"the first once more":      {func(tx pgx.Tx, id uuid.UUID) error { return exec(tx, two, id, x, y, 5, 5, "EUR", 1, 0) }, "entries_account_version_key"},
		"a balance that is no sum": {func(tx pgx.Tx, id uuid.UUID) error { return exec(tx, two, id, x, y, 5, 5, "EUR", 2, 1) }, "entries_in_order"},
		"a balanced one":           {func(tx pgx.Tx, id uuid.UUID) error { return exec(tx, two, id, x, y, 5, 5, "EUR", 2, 0) }, ""},
	} {
		err := pgx.BeginFunc(t.Context(), b.store.db, func(tx pgx.Tx) error {
			id := newID()
			if err := exec(tx, begin, id); err != nil {
				return err
			}
			if err := c.try(tx, id); err != nil {
				return err
			}
			return tx.Rollback(t.Context())
		})
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr); pgErr == nil && c.want != "" || pgErr != nil && pgErr.ConstraintName != c.want {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// The database holds the floor when the program does not.
	if err := pgx.BeginFunc(t.Context(), b.store.db, func(tx pgx.Tx) error { return exec(tx, `update balances set posted = -1 where account_id = $1`, x) }); err == nil {
		t.Error("the database lets a customer be overdrawn")
	}
}

func exec(tx pgx.Tx, sql string, args ...any) error {
	_, err := tx.Exec(context.Background(), sql, args...)
	return err
}

func TestKeysArePurgedInSteps(t *testing.T) {
	b := newBank(t, 2, 10)
	for _, key := range []string{"a", "b", "c"} {
		b.must(b.order(key, b.accounts[0], b.accounts[1], 1))
	}
	if _, err := b.db.Owner().Exec(t.Context(), `update transactions.idempotency_keys set expires_at = now() - interval '1 s' where key in ('a', 'b', 'c')`); err != nil {
		t.Fatal(err)
	}
	if o := b.store.post(t.Context(), []*order{b.order("a", b.accounts[0], b.accounts[1], 1)})[0]; !o.answer.replayed {
		t.Error("a key counts until it is purged")
	}
	for _, want := range []int{2, 1, 0} {
		if n, err := b.store.purgeKeys(t.Context(), 2); err != nil || n != want {
			t.Errorf("purged %d, %v; want %d", n, err, want)
		}
	}
	if o := b.store.post(t.Context(), []*order{b.order("a", b.accounts[0], b.accounts[1], 1)})[0]; o.answer.replayed {
		t.Error("a purged key is new")
	}
}

func TestJobsRun(t *testing.T) {
	b := newBank(t, 0, 0)
	if err := b.Jobs().Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Jobs().Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
