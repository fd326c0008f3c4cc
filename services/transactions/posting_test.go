package transactions

import (
	"maps"
	"math"
	"testing"
	"time"

	"github.com/google/uuid"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/pkg/problem"
)

func TestAddNeverWraps(t *testing.T) {
	for _, c := range []struct {
		a, b int64
		ok   bool
	}{
		{0, 0, true}, {1, 2, true}, {-1, -2, true}, {5, -5, true}, {-5, 5, true},
		{maxAmount, 0, true}, {maxAmount - 1, 1, true}, {-maxAmount, 0, true}, {1 - maxAmount, -1, true},
		{maxAmount, 1, false}, {-maxAmount, -1, false},
		{math.MaxInt64, 1, false}, {math.MaxInt64, math.MaxInt64, false}, {math.MinInt64, -1, false}, {math.MinInt64, math.MinInt64, false},
	} {
		if sum, ok := add(c.a, c.b); ok != c.ok || ok && sum != c.a+c.b {
			t.Errorf("%d + %d: got %d, %v; want ok %v", c.a, c.b, sum, ok, c.ok)
		}
	}
}

func TestDecide(t *testing.T) {
	ann, bob := newID(), newID()
	purse, jar, his, world, dollars := newID(), newID(), newID(), newID(), newID()
	fresh := func() books {
		account := func(id uuid.UUID, owner *uuid.UUID, kind, currency string, posted, held int64) balance {
			b := balance{AccountID: id, OwnerID: owner, Kind: kind, Currency: currency, Status: active, Posted: posted, Held: held, EntryVersion: 7}
			if kind == customer {
				b.Floor = new(int64)
			}
			return b
		}
		return books{
			moved: map[uuid.UUID]bool{},
			used:  map[reference]bool{{ann, "used"}: true},
			balances: map[uuid.UUID]balance{
				purse: account(purse, &ann, customer, "EUR", 100, 30), jar: account(jar, &ann, customer, "EUR", 0, 0),
				his: account(his, &bob, customer, "EUR", maxAmount, 0), world: account(world, nil, "external", "EUR", 0, 0),
				dollars: account(dollars, &ann, customer, "USD", 100, 0),
			},
		}
	}
	eur := func(from, to uuid.UUID, amount int64) posting { return posting{from, to, amount, "EUR"} }
	for name, c := range map[string]struct {
		postings []posting
		name     string
		operator bool
		want     string
	}{
		"all that is available":            {postings: []posting{eur(purse, jar, 70)}},
		"what is held":                     {postings: []posting{eur(purse, jar, 71)}, want: "insufficient-funds"},
		"in and out again":                 {postings: []posting{eur(purse, jar, 70), eur(jar, purse, 70)}},
		"out before it is in":              {postings: []posting{eur(jar, purse, 1), eur(purse, jar, 1)}, want: "insufficient-funds"},
		"the second is refused":            {postings: []posting{eur(purse, jar, 40), eur(purse, jar, 40)}, want: "insufficient-funds"},
		"the world's, without the right":   {postings: []posting{eur(world, purse, 1)}, want: "not-found"},
		"the world's, with it":             {postings: []posting{eur(world, purse, 1)}, operator: true},
		"bob's":                            {postings: []posting{eur(his, purse, 1)}, want: "not-found"},
		"bob's, by an operator":            {postings: []posting{eur(his, purse, 1)}, operator: true, want: "not-found"},
		"more than a balance can be":       {postings: []posting{eur(purse, his, 1)}, want: "validation-failed"},
		"less than a balance can be":       {postings: []posting{eur(world, purse, 1), eur(world, jar, maxAmount)}, operator: true, want: "validation-failed"},
		"to itself":                        {postings: []posting{eur(purse, purse, 1)}, want: "same-account"},
		"other money":                      {postings: []posting{eur(purse, dollars, 1)}, want: "currency-mismatch"},
		"a used reference":                 {postings: []posting{eur(purse, jar, 1)}, name: "used", want: "reference-already-used"},
		"no money and a used reference":    {postings: []posting{eur(purse, jar, 71)}, name: "used", want: "insufficient-funds"},
		"a fresh reference, no money":      {postings: []posting{eur(purse, jar, 71)}, name: "fresh", want: "insufficient-funds"},
		"to an account that is not there":  {postings: []posting{eur(purse, newID(), 1)}, want: "not-found"},
		"the first of two that is refused": {postings: []posting{eur(jar, purse, 1), eur(purse, newID(), 1)}, want: "insufficient-funds"},
	} {
		b, before := fresh(), fresh()
		transaction := transaction{ID: newID(), Postings: c.postings, CreatedBy: ann}
		if c.name != "" {
			transaction.Reference = &c.name
		}
		got, e := transfer{transaction, c.operator}.do(b)
		if code := codeOfError(e); code != c.want {
			t.Errorf("%s: got %q, want %q", name, code, c.want)
		}
		if e != nil && (!same(b, before) || got.entries != nil) {
			t.Errorf("%s: a refusal changes the books", name)
		}
		checkEntries(t, name, b, before, got.entries)
	}
}

// codeOfError is what a refusal is called, "" for none.
func codeOfError(e *problem.Error) string {
	if e == nil {
		return ""
	}
	return e.Code
}

func same(a, b books) bool {
	for id, x := range a.balances {
		if y := b.balances[id]; x.Posted != y.Posted || x.Held != y.Held || x.EntryVersion != y.EntryVersion {
			return false
		}
	}
	return len(a.used) == len(b.used) && len(a.reversed) == len(b.reversed) && len(a.moved) == len(b.moved) && maps.Equal(a.holds, b.holds)
}

// checkEntries: entries sum to zero, number the account's versions without a hole, and lead from the balance before to the one after.
func checkEntries(t *testing.T, name string, after, before books, entries []entry) {
	t.Helper()
	var sum int64
	for i, e := range entries {
		b := before.balances[e.AccountID]
		b.Posted += e.Amount
		b.EntryVersion++
		if e.Seq != i+1 || e.BalanceAfter != b.Posted || e.AccountVersion != b.EntryVersion {
			t.Errorf("%s: entry %d is %+v, want balance %d and version %d", name, i, e, b.Posted, b.EntryVersion)
		}
		before.balances[e.AccountID] = b
		sum += e.Amount
	}
	if sum != 0 {
		t.Errorf("%s: the entries sum to %d", name, sum)
	}
	for id, b := range before.balances {
		if a := after.balances[id]; a.Posted != b.Posted || a.EntryVersion != b.EntryVersion {
			t.Errorf("%s: the books say %d at %d, the entries %d at %d", name, a.Posted, a.EntryVersion, b.Posted, b.EntryVersion)
		}
	}
}

func TestEachStatusButActiveIsRefused(t *testing.T) {
	from, to := balance{Kind: "external", Currency: "EUR", Status: active}, balance{Kind: "external", Currency: "EUR", Status: active}
	p := posting{newID(), newID(), 1, "EUR"}
	for _, status := range []string{frozen, closed} {
		cold := from
		cold.Status = status
		if e := p.move(&cold, &to, 0, false); e == nil || e.Code != "account-not-active" || e.Fields[0].Pointer != "/postings/0/from" {
			t.Errorf("from a %s account: %v", status, e)
		}
		if e := p.move(&from, &cold, 3, false); e == nil || e.Kind != problem.Conflict || e.Fields[0].Pointer != "/postings/3/to" {
			t.Errorf("to a %s account: %v", status, e)
		}
	}
}

func TestSumsOfPostings(t *testing.T) {
	one := func(currency string, amount int64) transactionsv1.Posting {
		return transactionsv1.Posting{From: newID(), To: newID(), Currency: currency, Amount: amount}
	}
	_, now, _ := stamp()
	for name, c := range map[string]struct {
		postings []transactionsv1.Posting
		pointer  string
	}{
		"the most there is":        {[]transactionsv1.Posting{one("EUR", maxAmount)}, ""},
		"one more":                 {[]transactionsv1.Posting{one("EUR", maxAmount), one("EUR", 1)}, "/postings/1/amount"},
		"the most in two":          {[]transactionsv1.Posting{one("EUR", maxAmount), one("USD", maxAmount)}, ""},
		"more than a number holds": {[]transactionsv1.Posting{one("EUR", 1), one("EUR", math.MaxInt64)}, "/postings/1/amount"},
		"nothing":                  {[]transactionsv1.Posting{one("EUR", 0)}, "/postings/0/amount"},
		"money backwards":          {[]transactionsv1.Posting{one("EUR", -1)}, "/postings/0/amount"},
	} {
		_, err := newTransaction(newID(), now, newID(), transactionsv1.NewTransaction{Postings: c.postings})
		if (err == nil) != (c.pointer == "") || err != nil && problem.From(err).Fields[0].Pointer != c.pointer {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTimesThatCanBeAnswered(t *testing.T) {
	_, now, _ := stamp()
	for text, ok := range map[string]bool{
		"2026-07-01T12:00:00.123456789+02:00": true, "9999-12-31T23:59:59Z": true, "9999-12-31T23:59:59-01:00": false, "0000-12-31T00:00:00Z": false,
	} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := newTransaction(newID(), now, newID(), transactionsv1.NewTransaction{OccurredAt: &at})
		if (err == nil) != ok || ok && tr.OccurredAt != at.UTC().Truncate(time.Microsecond) {
			t.Errorf("%s: got %v, %v", text, tr.OccurredAt, err)
		}
	}
}
