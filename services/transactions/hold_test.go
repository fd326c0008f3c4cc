package transactions

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
)

// hold sets money aside under a key of its own.
func (a *actor) hold(from, to uuid.UUID, amount, seconds int64) *transactionsv1.CreateHoldResponse {
	a.t.Helper()
	resp, err := a.CreateHoldWithResponse(context.Background(), &transactionsv1.CreateHoldParams{IdempotencyKey: newID().String()}, transactionsv1.NewHold{
		AccountId: from, DestinationAccountId: to, Amount: amount, Currency: "EUR", ExpiresIn: seconds})
	if err != nil {
		a.t.Fatal(err)
	}
	return resp
}

// held sets money aside or fails the test.
func (a *actor) held(from, to uuid.UUID, amount int64) uuid.UUID {
	a.t.Helper()
	resp := a.hold(from, to, amount, 600)
	if resp.JSON201 == nil {
		a.t.Fatalf("hold: %s", resp.Body)
	}
	return resp.JSON201.Id
}

func (a *actor) capture(id uuid.UUID, amount *int64) *transactionsv1.CaptureHoldResponse {
	a.t.Helper()
	return a.captureAs(newID().String(), id, amount)
}

func (a *actor) captureAs(key string, id uuid.UUID, amount *int64) *transactionsv1.CaptureHoldResponse {
	a.t.Helper()
	resp, err := a.CaptureHoldWithResponse(context.Background(), id, &transactionsv1.CaptureHoldParams{IdempotencyKey: key}, transactionsv1.HoldCapture{Amount: amount})
	if err != nil {
		a.t.Fatal(err)
	}
	return resp
}

func (a *actor) void(id uuid.UUID) *transactionsv1.VoidHoldResponse {
	a.t.Helper()
	resp, err := a.VoidHoldWithResponse(context.Background(), id, &transactionsv1.VoidHoldParams{IdempotencyKey: newID().String()})
	if err != nil {
		a.t.Fatal(err)
	}
	return resp
}

// wantBalance checks what is posted and held in an account.
func (a *actor) wantBalance(account uuid.UUID, posted, held int64) {
	a.t.Helper()
	resp, err := a.GetAccountWithResponse(context.Background(), account, nil)
	if err != nil || resp.JSON200 == nil {
		a.t.Fatalf("read an account: %v %s", err, resp.Body)
	}
	if b := resp.JSON200.Balance; b.Posted != posted || b.Held != held || b.Available != posted-held {
		a.t.Errorf("the balance is %+v, want %d of which %d held", b, posted, held)
	}
}

func TestAHoldIsCaptured(t *testing.T) {
	b := newBank(t, 1, 100)
	guest, hotel, stranger := b.actor(b.owner), b.person(), b.person()
	purse, till := b.accounts[0], hotel.open("EUR")

	placed := guest.hold(purse, till, 60, 600)
	if placed.JSON201 == nil || placed.HTTPResponse.Header.Get("Location") != "/v1/holds/"+placed.JSON201.Id.String() {
		t.Fatalf("%s", placed.Body)
	}
	id := placed.JSON201.Id
	guest.wantBalance(purse, 100, 60)
	if resp := guest.post("more than is left", payment(purse, till, 41)); codeOf(resp.Body) != "insufficient-funds" {
		t.Errorf("what is held is spent: %s", resp.Body)
	}
	for who, a := range map[string]*actor{"the guest": guest, "a stranger": stranger} {
		if resp := a.capture(id, nil); resp.StatusCode() != 404 {
			t.Errorf("%s captures: %s", who, resp.Body)
		}
		if resp := a.void(id); resp.StatusCode() != 404 {
			t.Errorf("%s voids: %s", who, resp.Body)
		}
	}
	if resp, err := stranger.GetHoldWithResponse(t.Context(), id, nil); err != nil || resp.StatusCode() != 404 {
		t.Errorf("a stranger reads it: %v %s", err, resp.Body)
	}
	if resp := hotel.capture(id, new(int64(61))); codeOf(resp.Body) != "amount-exceeds-hold" {
		t.Errorf("more than is held: %s", resp.Body)
	}
	taken := hotel.captureAs("stay", id, new(int64(45)))
	if taken.JSON200 == nil || *taken.JSON200.CapturedAmount != 45 || taken.JSON200.Status != "captured" {
		t.Fatalf("%s", taken.Body)
	}
	if again := hotel.captureAs("stay", id, new(int64(45))); string(again.Body) != string(taken.Body) || again.HTTPResponse.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the replay differs: %s", again.Body)
	}
	guest.wantBalance(purse, 55, 0) // and the rest is free again
	hotel.wantBalance(till, 45, 0)
	for what, resp := range map[string]interface{ GetBody() []byte }{"captured again": hotel.capture(id, nil), "voided": hotel.void(id)} {
		if codeOf(resp.GetBody()) != "hold-not-open" {
			t.Errorf("%s: %s", what, resp.GetBody())
		}
	}
	seen, err := guest.GetHoldWithResponse(t.Context(), id, nil)
	if err != nil || seen.JSON200 == nil || string(seen.Body) != string(taken.Body) || seen.HTTPResponse.Header.Get("ETag") != taken.HTTPResponse.Header.Get("ETag") {
		t.Errorf("what is read is not what was answered: %v\n%s\n%s", err, seen.Body, taken.Body)
	}
	if resp, err := guest.GetHoldWithResponse(t.Context(), id, &transactionsv1.GetHoldParams{IfNoneMatch: new(seen.HTTPResponse.Header.Get("ETag"))}); err != nil || resp.StatusCode() != 304 {
		t.Errorf("read again: %v %d", err, resp.StatusCode())
	}
	moved, err := guest.GetTransactionWithResponse(t.Context(), *seen.JSON200.TransactionId)
	if err != nil || moved.JSON200 == nil || moved.JSON200.Kind != "capture" || moved.JSON200.Postings[0].Amount != 45 {
		t.Errorf("the transaction: %v %s", err, moved.Body)
	}
	b.audit()
}

func TestAHoldIsVoidedOrExpires(t *testing.T) {
	b := newBank(t, 2, 100)
	guest, purse, till := b.actor(b.owner), b.accounts[0], b.accounts[1]
	voided, lapsed, open := guest.held(purse, till, 30), guest.held(purse, till, 20), guest.held(purse, till, 10)
	if resp := guest.void(voided); resp.JSON200 == nil || resp.JSON200.Status != "voided" {
		t.Errorf("%s", resp.Body)
	}
	guest.wantBalance(purse, 100, 30)
	if _, err := b.db.Owner().Exec(t.Context(), `alter table transactions.holds disable trigger holds_end_once;
		update transactions.holds set expires_at = now() - interval '1 second' where id = '`+lapsed.String()+`'`); err != nil {
		t.Fatal(err)
	}
	if resp := guest.capture(lapsed, nil); codeOf(resp.Body) != "hold-not-open" {
		t.Errorf("its time is over and no job has been there: %s", resp.Body)
	}
	for _, want := range []int{1, 0} {
		if n, err := b.store.expireHolds(t.Context(), 10); err != nil || n != want {
			t.Errorf("expired %d, want %d: %v", n, want, err)
		}
	}
	guest.wantBalance(purse, 100, 10)
	if resp := guest.void(lapsed); codeOf(resp.Body) != "hold-not-open" {
		t.Errorf("an expired hold is voided: %s", resp.Body)
	}
	if resp := guest.capture(open, nil); resp.JSON200 == nil {
		t.Errorf("the one that is left: %s", resp.Body)
	}
	guest.wantBalance(purse, 90, 0)
	b.audit()
}

// An account whose books are broken is for people to look at; the holds of others end in time.
func TestAHoldThatCannotExpireStopsNoOther(t *testing.T) {
	b := newBank(t, 2, 100)
	guest, broken, whole := b.actor(b.owner), b.accounts[0], b.accounts[1]
	guest.held(broken, whole, 30)
	guest.held(whole, broken, 20)
	if _, err := b.db.Owner().Exec(t.Context(), `alter table transactions.holds disable trigger holds_end_once;
		update transactions.holds set expires_at = now() - case account_id when '`+broken.String()+`' then interval '2 s' else interval '1 s' end;
		alter table transactions.holds enable trigger holds_end_once;
		update transactions.balances set held = 7 where account_id = '`+broken.String()+`'`); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} {
		if n, err := b.store.expireHolds(t.Context(), 1); err != nil || n != want {
			t.Errorf("expired %d, want %d: %v", n, want, err)
		}
	}
	guest.wantBalance(whole, 100, 0)
	guest.wantBalance(broken, 100, 7)
	guest.held(whole, broken, 5)
	third := guest.open("EUR")
	b.must(b.order("", b.outside, third, 10))
	guest.held(third, whole, 3)
	if _, err := b.db.Owner().Exec(t.Context(), `alter table transactions.holds disable trigger holds_end_once;
		update transactions.holds set expires_at = now() - interval '1 s' where status = 'open';
		alter table transactions.holds enable trigger holds_end_once`); err != nil {
		t.Fatal(err)
	}
	b.elsewhere(`select from balances where account_id = $1 for update`, whole)
	if n, err := b.store.expireHolds(t.Context(), 1); err != nil || n != 1 {
		t.Errorf("while somebody sits on an account %d end: %v", n, err)
	}
	guest.wantBalance(third, 10, 0)
	if got := b.broken(true); !slices.Equal(got, []string{"I5"}) {
		t.Errorf("found %q", got)
	}
}

func TestHoldsThatAreRefused(t *testing.T) {
	b := newBank(t, 2, 100)
	guest, operator := b.actor(b.owner), b.operator()
	purse, till, dollars, foreign := b.accounts[0], b.accounts[1], guest.open("USD"), b.person().open("EUR")
	full, owing := operator.outside("EUR"), operator.outside("EUR")
	operator.held(full, till, maxAmount)
	operator.pay(owing, till, 1)
	for _, c := range []struct {
		name          string
		by            *actor
		from, to      uuid.UUID
		amount        int64
		code, pointer string
	}{
		{"more than there is", guest, purse, till, 101, "insufficient-funds", "/amount"},
		{"for itself", guest, purse, purse, 1, "same-account", "/destination_account_id"},
		{"of somebody else", guest, foreign, purse, 1, "not-found", "/account_id"},
		{"by an operator", operator, purse, till, 1, "not-found", "/account_id"},
		{"for nobody", guest, purse, newID(), 1, "not-found", "/destination_account_id"},
		{"for other money", guest, purse, dollars, 1, "currency-mismatch", "/destination_account_id"},
		{"of other money", guest, dollars, purse, 1, "currency-mismatch", "/account_id"},
		{"more than can be kept", operator, full, till, 1, "validation-failed", "/amount"},
		{"more than can be shown", operator, owing, till, maxAmount, "validation-failed", "/amount"},
	} {
		resp := c.by.hold(c.from, c.to, c.amount, 60)
		if codeOf(resp.Body) != c.code || resp.ApplicationproblemJSONDefault.Errors[0].Pointer != c.pointer {
			t.Errorf("%s: %s, want %s at %s", c.name, resp.Body, c.code, c.pointer)
		}
	}
	for status, change := range map[string]func(uuid.UUID) int{
		"frozen": func(id uuid.UUID) int {
			resp, _ := operator.FreezeAccountWithResponse(t.Context(), id)
			return resp.StatusCode()
		},
		"closed": func(id uuid.UUID) int {
			resp, _ := operator.CloseAccountWithResponse(t.Context(), id)
			return resp.StatusCode()
		},
	} {
		idle := guest.open("EUR")
		if code := change(idle); code != 200 {
			t.Fatalf("%s: %d", status, code)
		}
		if resp := guest.hold(purse, idle, 1, 60); codeOf(resp.Body) != "account-not-active" {
			t.Errorf("for a %s account: %s", status, resp.Body)
		}
	}
	guest.wantBalance(purse, 100, 0)
	b.audit()
}

func TestAFrozenAccountPaysWhatItPromised(t *testing.T) {
	b := newBank(t, 2, 100)
	guest, operator := b.actor(b.owner), b.operator()
	id := guest.held(b.accounts[0], b.accounts[1], 60)
	if resp, err := operator.FreezeAccountWithResponse(t.Context(), b.accounts[0]); err != nil || resp.JSON200 == nil {
		t.Fatalf("%v %s", err, resp.Body)
	}
	if resp := guest.hold(b.accounts[0], b.accounts[1], 1, 60); codeOf(resp.Body) != "account-not-active" {
		t.Errorf("a new hold: %s", resp.Body)
	}
	if resp := guest.capture(id, nil); resp.JSON200 == nil {
		t.Errorf("an old one: %s", resp.Body)
	}
	guest.wantBalance(b.accounts[0], 40, 0)
	b.audit()
}

// Many try to end each hold, each in their own way and at once, while the job does too: one wins.
func TestAHoldEndsOnce(t *testing.T) {
	const holds, racers = 20, 24
	b := newBank(t, 2, 1000)
	guest := b.actor(b.owner)
	var ids []uuid.UUID
	var over time.Time
	for range holds {
		placed := guest.hold(b.accounts[0], b.accounts[1], 7, 1)
		if placed.JSON201 == nil {
			t.Fatalf("%s", placed.Body)
		}
		ids, over = append(ids, placed.JSON201.Id), placed.JSON201.ExpiresAt
	}
	time.Sleep(time.Until(over) - 100*time.Millisecond) // some are captured in time, others are not
	var won [holds]atomic.Int64
	var lapsed atomic.Int64
	together(holds*racers, func(i int) {
		id, n := ids[i%holds], &won[i%holds]
		switch i / holds % 3 {
		case 0:
			if guest.capture(id, nil).StatusCode() == http.StatusOK {
				n.Add(1)
			}
		case 1:
			if guest.void(id).StatusCode() == http.StatusOK {
				n.Add(1)
			}
		default:
			expired, err := b.store.expireHolds(context.Background(), 1)
			if lapsed.Add(int64(expired)); err != nil {
				t.Error(err)
			}
		}
	})
	ended := lapsed.Load()
	for i := range won {
		if ended += won[i].Load(); won[i].Load() > 1 {
			t.Errorf("%d ended hold %d", won[i].Load(), i)
		}
	}
	if ended != holds {
		t.Errorf("%d ends of %d holds", ended, holds)
	}
	b.audit()
}
