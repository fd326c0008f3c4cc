package main

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/google/uuid"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
)

func (p *person) transactions() *transactionsv1.ClientWithResponses {
	c, err := transactionsv1.NewClientWithResponses(p.url, transactionsv1.WithHTTPClient(p.client))
	if err != nil {
		panic(err)
	}
	return c
}

// payments is the chapter of transactions: an operator brings money in through an external account, and it is spent once.
func (s *teller) payments(c cast) {
	s.t.Helper()
	ctx := s.t.Context()
	external := s.open(c.operator, transactionsv1.NewAccount{Currency: "EUR", Kind: new(transactionsv1.AccountKindExternal)})
	hers, his := s.open(c.alice, transactionsv1.NewAccount{Currency: "EUR"}), s.open(c.bob, transactionsv1.NewAccount{Currency: "EUR"})
	s.wants(403, s.create(c.alice, transactionsv1.NewAccount{Currency: "EUR", Kind: new(transactionsv1.AccountKindExternal)}), nil)
	// only with users:
	s.wants(422, s.create(c.operator, transactionsv1.NewAccount{Currency: "EUR", OwnerId: new(uuid.New())}), nil) // transactions asks users
	// end users
	s.wants(201, s.pay(c.operator, "in-1", external, hers, 10_000), nil)

	// Alice pays Bob; her retry does no harm, whatever else is sent under the same key is refused.
	first := s.pay(c.alice, "rent", hers, his, 2_500)
	s.wants(201, first, nil)
	again := s.pay(c.alice, "rent", hers, his, 2_500)
	s.wants(201, again, nil)
	if !bytes.Equal(first.Body, again.Body) || again.HTTPResponse.Header.Get("Idempotent-Replayed") != "true" {
		s.t.Errorf("the replay differs:\n%s\n%s", first.Body, again.Body)
	}
	s.wants(422, s.pay(c.alice, "rent", hers, his, 2_501), nil)
	s.wants(422, s.pay(c.alice, "too much", hers, his, 7_501), nil)
	s.wants(404, s.pay(c.bob, "theft", hers, his, 1), nil)

	// She sets something aside for him, of which he takes a part; and he gives a payment back.
	key := transactionsv1.IdempotencyKey("deposit")
	held, err := c.alice.transactions().CreateHoldWithResponse(ctx, &transactionsv1.CreateHoldParams{IdempotencyKey: key},
		transactionsv1.NewHold{AccountId: hers, DestinationAccountId: his, Amount: 1_000, Currency: "EUR", ExpiresIn: 600})
	s.wants(201, held, err)
	hers404, err := c.alice.transactions().CaptureHoldWithResponse(ctx, held.JSON201.Id, &transactionsv1.CaptureHoldParams{IdempotencyKey: key}, transactionsv1.HoldCapture{})
	s.wants(404, hers404, err)
	taken, err := c.bob.transactions().CaptureHoldWithResponse(ctx, held.JSON201.Id, &transactionsv1.CaptureHoldParams{IdempotencyKey: key}, transactionsv1.HoldCapture{Amount: new(int64(400))})
	s.wants(200, taken, err)
	back, err := c.bob.transactions().ReverseTransactionWithResponse(ctx, *taken.JSON200.TransactionId, &transactionsv1.ReverseTransactionParams{IdempotencyKey: "back"})
	s.wants(201, back, err)
	twice, err := c.bob.transactions().ReverseTransactionWithResponse(ctx, *taken.JSON200.TransactionId, &transactionsv1.ReverseTransactionParams{IdempotencyKey: "back twice"})
	s.wants(409, twice, err)

	s.statement(c.alice, hers, []int64{400, -400, -2_500, 10_000}, 7_500)
	s.statement(c.bob, his, []int64{-400, 400, 2_500}, 2_500)
	foreign, err := c.bob.transactions().GetAccountWithResponse(ctx, hers, nil)
	s.wants(404, foreign, err)
	seen, err := c.bob.transactions().GetTransactionWithResponse(ctx, first.JSON201.Id)
	s.wants(200, seen, err)
	list, err := c.bob.transactions().ListTransactionsWithResponse(ctx, &transactionsv1.ListTransactionsParams{AccountId: his})
	s.wants(200, list, err)
	anonymous, err := s.as("").transactions().ListAccountsWithResponse(ctx, nil)
	s.wants(401, anonymous, err)
}

func (s *teller) create(p *person, a transactionsv1.NewAccount) *transactionsv1.CreateAccountResponse {
	s.t.Helper()
	resp, err := p.transactions().CreateAccountWithResponse(s.t.Context(), a)
	s.must(err)
	return resp
}

func (s *teller) open(p *person, a transactionsv1.NewAccount) uuid.UUID {
	s.t.Helper()
	resp := s.create(p, a)
	s.wants(201, resp, nil)
	return resp.JSON201.Id
}

func (s *teller) pay(p *person, key string, from, to uuid.UUID, amount int64) *transactionsv1.CreateTransactionResponse {
	s.t.Helper()
	resp, err := p.transactions().CreateTransactionWithResponse(s.t.Context(), &transactionsv1.CreateTransactionParams{IdempotencyKey: &key},
		transactionsv1.NewTransaction{Postings: []transactionsv1.Posting{{From: from, To: to, Amount: amount, Currency: "EUR"}}})
	s.must(err)
	return resp
}

// statement checks an account's entries, newest first, and its balance.
func (s *teller) statement(p *person, account uuid.UUID, amounts []int64, posted int64) {
	s.t.Helper()
	entries, err := p.transactions().ListEntriesWithResponse(s.t.Context(), account, nil)
	s.wants(200, entries, err)
	var got []int64
	for _, e := range entries.JSON200.Data {
		got = append(got, e.Amount)
	}
	if !slices.Equal(got, amounts) {
		s.t.Errorf("the statement has %v, want %v", got, amounts)
	}
	a, err := p.transactions().GetAccountWithResponse(s.t.Context(), account, nil)
	s.wants(200, a, err)
	if a.JSON200.Balance.Posted != posted {
		s.t.Errorf("the balance is %d, want %d", a.JSON200.Balance.Posted, posted)
	}
}

// accounts opens accounts with money in them, and others that may be paid: dictionaries of schemathesis, a quoted text in each line.
func (s *teller) accounts(operator, customer *person) (payers, payees string) {
	s.t.Helper()
	external := s.open(operator, transactionsv1.NewAccount{Currency: "EUR", Kind: new(transactionsv1.AccountKindExternal)})
	payer, payee := s.open(customer, transactionsv1.NewAccount{Currency: "EUR"}), s.open(customer, transactionsv1.NewAccount{Currency: "EUR"})
	s.wants(201, s.pay(operator, "in", external, payer, 1_000_000_000), nil)
	return fmt.Sprintf("%q\n%q\n", payer, external), fmt.Sprintf("%q\n", payee)
}
