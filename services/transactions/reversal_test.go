package transactions

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
)

func (a *actor) reverse(key string, id uuid.UUID) *transactionsv1.ReverseTransactionResponse {
	a.t.Helper()
	resp, err := a.ReverseTransactionWithResponse(context.Background(), id, &transactionsv1.ReverseTransactionParams{IdempotencyKey: key})
	if err != nil {
		a.t.Fatal(err)
	}
	return resp
}

func TestARefund(t *testing.T) {
	b := newBank(t, 1, 100)
	payer, shop, operator := b.actor(b.owner), b.person(), b.operator()
	purse, till := b.accounts[0], shop.open("EUR")
	paid := payer.pay(purse, till, 40)

	for who, a := range map[string]*actor{"who paid": payer, "a stranger": b.person()} {
		if resp := a.reverse("theft", paid.Id); resp.StatusCode() != 404 {
			t.Errorf("%s takes it back: %s", who, resp.Body)
		}
	}
	back := shop.reverse("refund", paid.Id)
	if back.JSON201 == nil || back.JSON201.Kind != "reversal" || *back.JSON201.Reverses != paid.Id ||
		back.JSON201.Postings[0] != (transactionsv1.Posting{From: till, To: purse, Amount: 40, Currency: "EUR"}) {
		t.Fatalf("%s", back.Body)
	}
	if again := shop.reverse("refund", paid.Id); string(again.Body) != string(back.Body) || again.HTTPResponse.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the replay differs: %s", again.Body)
	}
	if resp := shop.reverse("refund twice", paid.Id); codeOf(resp.Body) != "already-reversed" || resp.StatusCode() != 409 {
		t.Errorf("twice: %s", resp.Body)
	}
	if resp := operator.reverse("back and forth", back.JSON201.Id); codeOf(resp.Body) != "not-reversible" {
		t.Errorf("a reversal is reversed: %s", resp.Body)
	}
	payer.wantBalance(purse, 100, 0)
	if seen, err := payer.GetTransactionWithResponse(t.Context(), paid.Id); err != nil || seen.JSON200 == nil || *seen.JSON200.ReversedBy != back.JSON201.Id {
		t.Errorf("the original does not say by what it was taken back: %v %s", err, seen.Body)
	}
	if seen, err := shop.GetTransactionWithResponse(t.Context(), back.JSON201.Id); err != nil || string(seen.Body) != string(back.Body) {
		t.Errorf("what is read is not what was answered: %v %s", err, seen.Body)
	}
	b.audit()
}

func TestReversalsKeepTheRulesOfMoney(t *testing.T) {
	b := newBank(t, 3, 100)
	payer, operator := b.actor(b.owner), b.operator()
	shop := b.person()
	till := shop.open("EUR")
	paid := payer.pay(b.accounts[0], till, 40)
	spent := shop.pay(till, b.accounts[1], 30)
	if resp := shop.reverse("gone", paid.Id); codeOf(resp.Body) != "insufficient-funds" || resp.ApplicationproblemJSONDefault.Errors != nil {
		t.Errorf("the money is gone: %s", resp.Body)
	}
	if resp, err := operator.FreezeAccountWithResponse(t.Context(), b.accounts[1]); err != nil || resp.JSON200 == nil {
		t.Fatalf("%v %s", err, resp.Body)
	}
	if resp := operator.reverse("frozen", spent.Id); codeOf(resp.Body) != "account-not-active" {
		t.Errorf("from a frozen account: %s", resp.Body)
	}
	if resp, err := operator.UnfreezeAccountWithResponse(t.Context(), b.accounts[1]); err != nil || resp.JSON200 == nil {
		t.Fatalf("%v %s", err, resp.Body)
	}
	for _, id := range []uuid.UUID{spent.Id, paid.Id} { // an operator may, for both of them
		if resp := operator.reverse(id.String(), id); resp.JSON201 == nil {
			t.Errorf("%s", resp.Body)
		}
	}
	if resp := operator.reverse("nothing", newID()); resp.StatusCode() != 404 {
		t.Errorf("what is not there: %s", resp.Body)
	}
	// A chain: what arrived by the first posting left by the second.
	chain := payment(b.accounts[0], till, 100)
	chain.Postings = append(chain.Postings, transactionsv1.Posting{From: b.accounts[1], To: b.accounts[2], Amount: 100, Currency: "EUR"})
	chained := payer.post("chain", chain)
	if chained.JSON201 == nil {
		t.Fatalf("%s", chained.Body)
	}
	if resp := shop.reverse("half of it is not mine", chained.JSON201.Id); resp.StatusCode() != 404 {
		t.Errorf("who owns only one of the accounts that it debits: %s", resp.Body)
	}
	if resp := operator.reverse("chain", chained.JSON201.Id); resp.JSON201 == nil {
		t.Errorf("%s", resp.Body)
	}
	for _, account := range b.accounts {
		payer.wantBalance(account, 100, 0)
	}
	b.audit()
}

// Each transaction is taken back twice at the same time.
func TestATransactionIsReversedOnce(t *testing.T) {
	const payments = 60
	b := newBank(t, 2, 1000)
	operator := b.operator()
	var ids []uuid.UUID
	for range payments {
		ids = append(ids, b.actor(b.owner).pay(b.accounts[0], b.accounts[1], 1).Id)
	}
	var done, already atomic.Int64
	together(2*payments, func(i int) {
		switch resp := operator.reverse(newID().String(), ids[i/2]); {
		case resp.JSON201 != nil:
			done.Add(1)
		case codeOf(resp.Body) == "already-reversed":
			already.Add(1)
		default:
			t.Errorf("%s", resp.Body)
		}
	})
	if done.Load() != payments || already.Load() != payments {
		t.Errorf("%d were taken back and %d refused, of %d each", done.Load(), already.Load(), payments)
	}
	if got := b.balance(b.accounts[0]); got != 1000 {
		t.Errorf("the balance is %d", got)
	}
	b.audit()
}
