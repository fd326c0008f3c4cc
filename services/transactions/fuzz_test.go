package transactions

import (
	"encoding/json"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/pkg/problem"
)

// FuzzPostRequest reads any bytes as a request to post: it is refused, or it is a transaction whose sums are as in arithmetic without bounds.
// `go test -fuzz FuzzPostRequest ./services/transactions` looks for more.
func FuzzPostRequest(f *testing.F) {
	for _, seed := range []string{
		`{"postings":[{"from":"01900000-0000-7000-8000-000000000001","to":"01900000-0000-7000-8000-000000000002","amount":1,"currency":"EUR"}]}`,
		`{"postings":[{"amount":9007199254740991,"currency":"EUR"},{"amount":1,"currency":"EUR"}]}`,
		`{"postings":[{"amount":9223372036854775807,"currency":"EUR"},{"amount":9223372036854775807,"currency":"EUR"}]}`,
		`{"postings":[{"amount":-1,"currency":""}],"metadata":{"":""},"occurred_at":"9999-12-31T23:59:59-01:00"}`,
		`{"postings":null,"reference":null,"occurred_at":"0001-01-01T00:00:00Z"}`, `{"postings":[{"amount":1e3}]}`, `[]`, ``, `{`,
	} {
		f.Add([]byte(seed))
	}
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, body []byte) {
		var in transactionsv1.NewTransaction
		if json.Unmarshal(body, &in) != nil {
			return
		}
		made, err := newTransaction(newID(), now, uuid.Nil, in)
		if err != nil {
			var refusal *problem.Error
			if !errors.As(err, &refusal) || refusal.Kind != problem.Invalid || len(refusal.Fields) == 0 {
				t.Errorf("refused by %v", err)
			}
			return
		}
		sums := map[string]*big.Int{}
		for i, p := range made.Postings {
			if p.Amount < 1 || p != (posting{in.Postings[i].From, in.Postings[i].To, in.Postings[i].Amount, in.Postings[i].Currency}) {
				t.Errorf("posting %d is %+v of %+v", i, p, in.Postings[i])
			}
			if sums[p.Currency] == nil {
				sums[p.Currency] = new(big.Int)
			}
			sums[p.Currency].Add(sums[p.Currency], big.NewInt(p.Amount))
		}
		for currency, sum := range sums {
			if sum.Cmp(big.NewInt(maxAmount)) > 0 {
				t.Errorf("%s of %s are moved at once", sum, currency)
			}
		}
		if text, err := json.Marshal(made.api()); err != nil {
			t.Errorf("it cannot be answered: %v %s", err, text)
		}
	})
}

// border draws numbers around which arithmetic goes wrong.
func border(t *rapid.T, label string) int64 {
	at := rapid.SampledFrom([]int64{0, 1, -1, maxAmount, -maxAmount, 1 << 53, -(1 << 53), 1<<62 + 1, -1 << 63, 1<<63 - 1}).Draw(t, label)
	return at + rapid.Int64Range(-3, 3).Draw(t, "beside") // wraps where it will
}

// add is what numbers without bounds say, or nothing.
func TestAddIsArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := border(t, "a"), border(t, "b")
		want := new(big.Int).Add(big.NewInt(a), big.NewInt(b))
		fits := want.CmpAbs(big.NewInt(maxAmount)) <= 0
		if got, ok := add(a, b); ok != fits || ok && big.NewInt(got).Cmp(want) != 0 {
			t.Errorf("%d + %d: got %d, %v; want %s", a, b, got, ok, want)
		}
	})
}

// However near balances are to what can be kept: what is posted is arithmetic, and what is refused leaves everything as it was.
func TestPostingAtTheBordersIsArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := books{balances: map[uuid.UUID]balance{}, used: map[reference]bool{}, moved: map[uuid.UUID]bool{}}
		near := rapid.OneOf(rapid.Int64Range(maxAmount-5, maxAmount), rapid.Int64Range(-maxAmount, 5-maxAmount), rapid.Int64Range(-5, 5))
		var ids []uuid.UUID
		for range 3 {
			id := newID()
			one := balance{AccountID: id, Kind: "external", Currency: "EUR", Status: active, Posted: near.Draw(t, "posted")}
			if rapid.Bool().Draw(t, "customer") {
				owner := uuid.Nil
				one.Kind, one.OwnerID, one.Floor = customer, &owner, new(int64)
				one.Posted = max(one.Posted, -one.Posted)
			}
			room := one.Posted + maxAmount // for what is held: what is available is an amount
			if one.Floor != nil {
				room = one.Posted
			}
			one.Held = min(room, rapid.SampledFrom([]int64{0, 1, maxAmount}).Draw(t, "held"))
			b.balances[id], ids = one, append(ids, id)
		}
		before := map[uuid.UUID]balance{}
		for id, one := range b.balances {
			before[id] = one
		}
		var tr transaction
		for range rapid.IntRange(1, 4).Draw(t, "postings") {
			from := rapid.IntRange(0, 2).Draw(t, "from")
			amount := rapid.OneOf(rapid.Int64Range(1, 6), rapid.Int64Range(maxAmount-6, maxAmount)).Draw(t, "amount")
			tr.Postings = append(tr.Postings, posting{ids[from], ids[(from+rapid.IntRange(1, 2).Draw(t, "to"))%3], amount, "EUR"})
		}
		done, refusal := transfer{tr, true}.do(b)
		sums := map[uuid.UUID]*big.Int{}
		for id, one := range before {
			sums[id] = big.NewInt(one.Posted)
		}
		for _, e := range done.entries {
			sums[e.AccountID].Add(sums[e.AccountID], big.NewInt(e.Amount))
		}
		for id, one := range b.balances {
			if sums[id].Cmp(big.NewInt(one.Posted)) != 0 || sums[id].CmpAbs(big.NewInt(maxAmount)) > 0 {
				t.Errorf("%d and its entries make %s, and the balance is %d", before[id].Posted, sums[id], one.Posted)
			}
			if available := one.Posted - one.Held; one.Floor != nil && available < *one.Floor || available < -maxAmount {
				t.Errorf("%d are there, of which %d are held", one.Posted, one.Held)
			}
		}
		if refusal != nil && (len(done.entries) > 0 || len(b.moved) > 0) {
			t.Errorf("%v moves something", refusal)
		}
	})
}
