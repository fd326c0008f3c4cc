package transactions

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/oapi-codegen/nullable"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/postgres/pgtest"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/servertest"
)

// world is the module on a database of its own, with one person whom everybody knows.
type world struct {
	t     *testing.T
	db    *pgtest.DB
	known uuid.UUID
	*Module
	*servertest.Server
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, db: pgtest.New(t), known: newID()}
	w.Module = w.instance(w.db.Pool("transactions"))
	w.Server = servertest.New(t, servertest.Module{Specs: [][]byte{transactionsv1.Spec}, Routes: w.Routes})
	return w
}

// instance is the module as one process has it: some of them share a database.
func (w *world) instance(db *pgxpool.Pool) *Module {
	w.t.Helper()
	m, err := New(db,
		// only with users:
		w.usersModule(),
		// end users
		slog.New(slog.NewTextHandler(w.t.Output(), nil)))
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// actor is somebody with a client.
type actor struct {
	*transactionsv1.ClientWithResponses
	id   uuid.UUID
	t    *testing.T
	http *http.Client
	url  string
}

var personal = []string{"accounts:read", "accounts:write", "transactions:read", "transactions:write"}

func (w *world) actor(id uuid.UUID, scopes ...string) *actor {
	w.t.Helper()
	a := &actor{id: id, t: w.t, http: w.As(authn.Principal{UserID: id, Scopes: append(scopes, personal...)}), url: w.URL}
	var err error
	if a.ClientWithResponses, err = transactionsv1.NewClientWithResponses(w.URL, transactionsv1.WithHTTPClient(a.http)); err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) person() *actor { return w.actor(newID()) }
func (w *world) operator() *actor {
	return w.actor(newID(), "ledger:read", "ledger:write", "ledger:admin")
}

// open opens an account of the actor's.
func (a *actor) open(currency string) uuid.UUID {
	a.t.Helper()
	return a.openAs(transactionsv1.NewAccount{Currency: currency})
}

func (a *actor) openAs(in transactionsv1.NewAccount) uuid.UUID {
	a.t.Helper()
	resp, err := a.CreateAccountWithResponse(context.Background(), in)
	if err != nil || resp.JSON201 == nil {
		a.t.Fatalf("open an account: %v %s", err, resp.Body)
	}
	return resp.JSON201.Id
}

// outside opens an external account, through which money comes in.
func (a *actor) outside(currency string) uuid.UUID {
	a.t.Helper()
	return a.openAs(transactionsv1.NewAccount{Currency: currency, Kind: new(transactionsv1.AccountKindExternal)})
}

func (a *actor) post(key string, in transactionsv1.NewTransaction) *transactionsv1.CreateTransactionResponse {
	a.t.Helper()
	resp, err := a.CreateTransactionWithResponse(context.Background(), &transactionsv1.CreateTransactionParams{IdempotencyKey: &key}, in)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp
}

// pay moves money or fails the test.
func (a *actor) pay(from, to uuid.UUID, amount int64) transactionsv1.Transaction {
	a.t.Helper()
	resp := a.post(newID().String(), payment(from, to, amount))
	if resp.JSON201 == nil {
		a.t.Fatalf("pay %d: %s", amount, resp.Body)
	}
	return *resp.JSON201
}

// posted is an account's balance.
func (a *actor) posted(account uuid.UUID) int64 {
	a.t.Helper()
	resp, err := a.GetAccountWithResponse(context.Background(), account, nil)
	if err != nil || resp.JSON200 == nil {
		a.t.Fatalf("read an account: %v %s", err, resp.Body)
	}
	return resp.JSON200.Balance.Posted
}

func payment(from, to uuid.UUID, amount int64) transactionsv1.NewTransaction {
	return transactionsv1.NewTransaction{Postings: []transactionsv1.Posting{{From: from, To: to, Amount: amount, Currency: "EUR"}}}
}

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// codeOf is the code of a problem, or the body if it is none.
func codeOf(body []byte) string {
	var d problem.Document
	if json.Unmarshal(body, &d) != nil || d.Code == "" {
		return string(body)
	}
	return d.Code
}

func TestStory(t *testing.T) {
	w := newWorld(t)
	ctx, ann, bob, operator := t.Context(), w.person(), w.person(), w.operator()

	opened, err := ann.CreateAccountWithResponse(ctx, transactionsv1.NewAccount{
		Currency: "EUR", Name: new("Household"), Metadata: &transactionsv1.Metadata{"colour": "green"}})
	if err != nil || opened.JSON201 == nil {
		t.Fatalf("open: %v %s", err, opened.Body)
	}
	mine := opened.JSON201.Id
	if opened.Headers201.Location != "/v1/accounts/"+mine.String() || opened.Headers201.ETag != `"1.1"` {
		t.Errorf("headers of a new account: %+v", opened.Headers201)
	}
	read, _ := ann.GetAccountWithResponse(ctx, mine, nil)
	if string(read.Body) != string(opened.Body) {
		t.Errorf("a new account reads differently:\n%s%s", opened.Body, read.Body)
	}

	world, his := operator.outside("EUR"), bob.open("EUR")
	operator.pay(world, mine, 1000)
	in := payment(mine, his, 300)
	in.Reference, in.Description, in.Metadata = new("rent 7"), new("Rent for July"), &transactionsv1.Metadata{"month": "7"}
	paid := ann.post("rent-7", in)
	if paid.StatusCode() != 201 || paid.Headers201.Location != "/v1/transactions/"+paid.JSON201.Id.String() {
		t.Fatalf("pay: %d %s", paid.StatusCode(), paid.Body)
	}
	for who, a := range map[string]*actor{"the creator": ann, "the receiver": bob, "an operator": operator} {
		got, err := a.GetTransactionWithResponse(ctx, paid.JSON201.Id)
		if err != nil || string(got.Body) != string(paid.Body) {
			t.Errorf("%s reads it differently: %v\n%s%s", who, err, paid.Body, got.Body)
		}
	}
	if got, _ := w.person().GetTransactionWithResponse(ctx, paid.JSON201.Id); got.StatusCode() != 404 {
		t.Errorf("a stranger reads a transaction: %d", got.StatusCode())
	}
	if got := []int64{ann.posted(mine), bob.posted(his), operator.posted(world)}; got[0] != 700 || got[1] != 300 || got[2] != -1000 {
		t.Errorf("balances %v, want 700, 300, -1000", got)
	}

	statement, _ := ann.ListEntriesWithResponse(ctx, mine, nil)
	if e := statement.JSON200.Data; len(e) != 2 || e[0].Amount != -300 || e[0].BalanceAfter != 700 || e[0].AccountVersion != 2 || e[1].Amount != 1000 {
		t.Errorf("statement: %s", statement.Body)
	}
	history, _ := bob.ListTransactionsWithResponse(ctx, &transactionsv1.ListTransactionsParams{AccountId: his})
	if h := history.JSON200.Data; len(h) != 1 || h[0].Id != paid.JSON201.Id || *h[0].Description != "Rent for July" || len(h[0].Postings) != 1 {
		t.Errorf("history: %s", history.Body)
	}
}

func TestAccountsOfOperators(t *testing.T) {
	w := newWorld(t)
	operator := w.operator()
	for name, c := range map[string]struct {
		in   transactionsv1.NewAccount
		want string
	}{
		"for somebody we know": {transactionsv1.NewAccount{Currency: "EUR", OwnerId: &w.known}, ""},
		// only with users:
		"for nobody we know": {transactionsv1.NewAccount{Currency: "EUR", OwnerId: new(newID())}, "validation-failed"},
		"while users is ill": {transactionsv1.NewAccount{Currency: "EUR", OwnerId: &uuid.Nil}, "internal"},
		// end users
		"external":                    {transactionsv1.NewAccount{Currency: "EUR", Kind: new(transactionsv1.AccountKindExternal)}, ""},
		"revenue that somebody owns":  {transactionsv1.NewAccount{Currency: "EUR", Kind: new(transactionsv1.AccountKindRevenue), OwnerId: &w.known}, "validation-failed"},
		"in no currency":              {transactionsv1.NewAccount{Currency: "ZZZ"}, "validation-failed"},
		"with a long name in its map": {transactionsv1.NewAccount{Currency: "EUR", Metadata: &transactionsv1.Metadata{strings.Repeat("x", 101): ""}}, "validation-failed"},
	} {
		resp, err := operator.CreateAccountWithResponse(t.Context(), c.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := codeOf(resp.Body); c.want != "" && got != c.want || c.want == "" && resp.JSON201 == nil {
			t.Errorf("an account %s: got %s, want %q", name, got, c.want)
		}
	}
	for name, in := range map[string]transactionsv1.NewAccount{
		"of a kind": {Currency: "EUR", Kind: new(transactionsv1.AccountKindCustomer)}, "for another": {Currency: "EUR", OwnerId: &w.known},
	} {
		resp, _ := w.person().CreateAccountWithResponse(t.Context(), in)
		if codeOf(resp.Body) != "insufficient-scope" {
			t.Errorf("an account %s, asked for by a person: %s", name, resp.Body)
		}
	}
}

func TestForeignAccountsAreNotThere(t *testing.T) {
	w := newWorld(t)
	ctx, ann, bob, operator := t.Context(), w.person(), w.person(), w.operator()
	id := ann.open("EUR")
	patch := transactionsv1.AccountPatch{Name: nullable.NewNullableWithValue("Mine now")}
	update := func(a *actor) (*transactionsv1.UpdateAccountResponse, error) {
		return a.UpdateAccountWithApplicationMergePatchPlusJSONBodyWithResponse(ctx, id, &transactionsv1.UpdateAccountParams{IfMatch: "*"}, patch)
	}
	for name, status := range map[string]func(a *actor) int{
		"read":      func(a *actor) int { r, _ := a.GetAccountWithResponse(ctx, id, nil); return r.StatusCode() },
		"statement": func(a *actor) int { r, _ := a.ListEntriesWithResponse(ctx, id, nil); return r.StatusCode() },
		"change":    func(a *actor) int { r, _ := update(a); return r.StatusCode() },
		"transactions": func(a *actor) int {
			r, _ := a.ListTransactionsWithResponse(ctx, &transactionsv1.ListTransactionsParams{AccountId: id})
			return r.StatusCode()
		},
	} {
		if got := status(bob); got != 404 {
			t.Errorf("%s of a foreign account: %d, want 404", name, got)
		}
		if got := status(operator); got != 200 {
			t.Errorf("%s by an operator: %d, want 200", name, got)
		}
	}
	if list, _ := bob.ListAccountsWithResponse(ctx, nil); len(list.JSON200.Data) != 0 || !strings.Contains(string(list.Body), `"data":[]`) {
		t.Errorf("a list of nothing: %s", list.Body)
	}
}

func TestProfileChanges(t *testing.T) {
	w := newWorld(t)
	ctx, ann, operator := t.Context(), w.person(), w.operator()
	id := ann.openAs(transactionsv1.NewAccount{Currency: "EUR", Name: new("Old"), Metadata: &transactionsv1.Metadata{"a": "1"}})
	patch := func(ifMatch, body string) (int, string, *transactionsv1.Account) {
		t.Helper()
		r, err := ann.UpdateAccountWithBodyWithResponse(ctx, id, &transactionsv1.UpdateAccountParams{IfMatch: ifMatch}, "application/merge-patch+json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode(), r.HTTPResponse.Header.Get("ETag"), r.JSON200
	}

	operator.pay(operator.outside("EUR"), id, 5) // meanwhile
	status, tag, a := patch(`"1.1"`, `{"name":"New"}`)
	if status != 200 || tag != `"2.2"` || a.Name.MustGet() != "New" || a.Metadata["a"] != "1" {
		t.Errorf("a name alone: %d %s %+v", status, tag, a)
	}
	if status, _, _ := patch(`"1.1"`, `{"name":"Newer"}`); status != 412 {
		t.Errorf("a stale change: %d, want 412", status)
	}
	if status, _, _ := patch(`W/"2.2"`, `{"name":"Newer"}`); status != 412 {
		t.Errorf("a weak tag: %d, want 412", status)
	}
	if status, tag, a := patch(`"9.9", "2.0"`, `{"name":null,"metadata":{"b":"2"}}`); status != 200 || tag != `"3.2"` || !a.Name.IsNull() || len(a.Metadata) != 1 {
		t.Errorf("null and a value: %d %s %+v", status, tag, a)
	}
	if status, _, a := patch(`*`, `{"metadata":null}`); status != 200 || a.Metadata == nil || len(a.Metadata) != 0 {
		t.Errorf("no metadata: %d %+v", status, a)
	}

	got, _ := ann.GetAccountWithResponse(ctx, id, &transactionsv1.GetAccountParams{IfNoneMatch: new(`W/"4.2"`)})
	if got.StatusCode() != 304 || got.HTTPResponse.Header.Get("ETag") != `"4.2"` {
		t.Errorf("what one has is current: %d %v", got.StatusCode(), got.HTTPResponse.Header)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	ann, bob, operator := w.person(), w.person(), w.operator()
	mine, mine2, his, dollars, world := ann.open("EUR"), ann.open("EUR"), bob.open("EUR"), ann.open("USD"), operator.outside("EUR")
	operator.pay(world, mine, 100)
	operator.pay(world, his, 100)
	used := payment(mine, mine2, 1)
	used.Reference = new("used")
	ann.post("first", used)
	both := payment(mine, his, 60)
	both.Postings = append(both.Postings, both.Postings[0])
	inDollars := payment(mine, his, 1)
	inDollars.Postings[0].Currency = "USD"
	tooMuch := payment(mine, his, maxAmount)
	tooMuch.Postings = append(tooMuch.Postings, tooMuch.Postings[0])

	for name, c := range map[string]struct {
		who  *actor
		in   transactionsv1.NewTransaction
		want int
		code string
	}{
		"more than there is":              {ann, payment(mine, his, 100), 422, "insufficient-funds"},
		"two that are too much together":  {ann, both, 422, "insufficient-funds"},
		"somebody else's money":           {ann, payment(his, mine, 1), 404, "not-found"},
		"a customer's, by an operator":    {operator, payment(his, mine, 1), 404, "not-found"},
		"the world's money":               {ann, payment(world, mine, 1), 404, "not-found"},
		"from nowhere":                    {ann, payment(newID(), mine, 1), 404, "not-found"},
		"to nowhere":                      {ann, payment(mine, newID(), 1), 404, "not-found"},
		"to itself":                       {ann, payment(mine, mine, 1), 422, "same-account"},
		"to an account of other money":    {ann, payment(mine, dollars, 1), 422, "currency-mismatch"},
		"from an account of other money":  {ann, payment(dollars, mine, 1), 422, "currency-mismatch"},
		"money that neither account has":  {ann, inDollars, 422, "currency-mismatch"},
		"a reference that is used":        {ann, used, 409, "reference-already-used"},
		"amounts that cannot be summed":   {ann, tooMuch, 422, "validation-failed"},
		"a balance that cannot be kept":   {operator, payment(world, mine, maxAmount), 422, "validation-failed"},
		"nothing":                         {ann, payment(mine, his, 0), 422, "validation-failed"},
		"a negative amount":               {ann, payment(mine, his, -5), 422, "validation-failed"},
		"no postings":                     {ann, transactionsv1.NewTransaction{Postings: []transactionsv1.Posting{}}, 422, "validation-failed"},
		"an amount no JSON number can be": {ann, payment(mine, his, maxAmount+1), 422, "validation-failed"},
	} {
		resp := c.who.post("refusal "+name, c.in)
		if resp.StatusCode() != c.want || codeOf(resp.Body) != c.code {
			t.Errorf("%s: got %d %s, want %d %s", name, resp.StatusCode(), codeOf(resp.Body), c.want, c.code)
		}
	}
	if got := []int64{ann.posted(mine), ann.posted(mine2), bob.posted(his), operator.posted(world)}; got[0] != 99 || got[1] != 1 || got[2] != 100 || got[3] != -200 {
		t.Errorf("refusals moved money: %v", got)
	}

	// The reference is its creator's own, and a refused order does not use it up.
	his2 := bob.open("EUR")
	for _, amount := range []int64{101, 1} {
		in := payment(his, his2, amount)
		in.Reference = new("used")
		if resp := bob.post("his "+newID().String(), in); (resp.StatusCode() == 201) != (amount == 1) {
			t.Errorf("bob pays %d: %s", amount, resp.Body)
		}
	}
}

func TestFrozenAccountsTakeNoPart(t *testing.T) {
	w := newWorld(t)
	ann, operator := w.person(), w.operator()
	cold, warm, world := ann.open("EUR"), ann.open("EUR"), operator.outside("EUR")
	operator.pay(world, cold, 10)
	operator.pay(world, warm, 10)
	if resp, err := operator.FreezeAccountWithResponse(t.Context(), cold); err != nil || resp.JSON200 == nil || resp.JSON200.Status != "frozen" {
		t.Fatalf("freeze: %v %s", err, resp.Body)
	}
	for name, in := range map[string]transactionsv1.NewTransaction{"from": payment(cold, warm, 1), "to": payment(warm, cold, 1)} {
		if resp := ann.post(name, in); codeOf(resp.Body) != "account-not-active" || resp.StatusCode() != 409 {
			t.Errorf("%s a frozen account: %s", name, resp.Body)
		}
	}
}

func TestAccountsAreClosedWhenNothingIsLeftInThem(t *testing.T) {
	w := newWorld(t)
	ann, bob, operator := w.person(), w.person(), w.operator()
	mine, his, world := ann.open("EUR"), bob.open("EUR"), operator.outside("EUR")
	status := func(change func(ctx context.Context, id uuid.UUID, more ...transactionsv1.RequestEditorFn) (*http.Response, error), id uuid.UUID) string {
		t.Helper()
		resp, err := change(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body struct{ Status, Code string }
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
			return codeOf(text)
		} else if err := json.Unmarshal(text, &body); err != nil {
			t.Fatal(err)
		}
		return body.Status
	}
	by := func(a *actor) *transactionsv1.Client { return a.ClientInterface.(*transactionsv1.Client) }
	want := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	operator.pay(world, mine, 10)
	want("by its owner", status(by(ann).CloseAccount, mine), "insufficient-scope")
	want("with money in it", status(by(operator).CloseAccount, mine), "account-has-balance")
	id := ann.held(mine, his, 10)
	want("with a hold for it", status(by(operator).CloseAccount, his), "account-has-balance")
	bob.void(id)
	ann.pay(mine, his, 10)
	for range 2 {
		want("frozen", status(by(operator).FreezeAccount, mine), "frozen")
	}
	want("frozen and empty", status(by(operator).CloseAccount, mine), "closed")
	want("closed again", status(by(operator).CloseAccount, mine), "closed")
	want("unfrozen", status(by(operator).UnfreezeAccount, mine), "account-not-active")
	want("frozen when closed", status(by(operator).FreezeAccount, mine), "account-not-active")
	want("nobody's", status(by(operator).FreezeAccount, newID()), "not-found")
	if resp := bob.post("back", payment(his, mine, 1)); codeOf(resp.Body) != "account-not-active" {
		t.Errorf("a closed account is paid: %s", resp.Body)
	}
	if resp, err := ann.ListEntriesWithResponse(t.Context(), mine, nil); err != nil || resp.JSON200 == nil || len(resp.JSON200.Data) != 2 {
		t.Errorf("its statement: %v %s", err, resp.Body)
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	w := newWorld(t)
	ann, operator := w.person(), w.operator()
	mine, other, world := ann.open("EUR"), ann.open("EUR"), operator.outside("EUR")
	operator.pay(world, mine, 10)
	try := func(in transactionsv1.NewTransaction) *transactionsv1.CreateTransactionResponse {
		t.Helper()
		resp, err := ann.CreateTransactionWithResponse(t.Context(), &transactionsv1.CreateTransactionParams{DryRun: new(true)}, in)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	in := payment(mine, other, 10)
	in.Reference = new("r")
	for range 2 { // the reference stays free
		if resp := try(in); resp.JSON200 == nil || resp.JSON200.Postings[0].Amount != 10 || *resp.JSON200.Reference != "r" {
			t.Errorf("%s", resp.Body)
		}
	}
	if resp := try(payment(mine, other, 11)); codeOf(resp.Body) != "insufficient-funds" {
		t.Errorf("too much: %s", resp.Body)
	}
	ann.wantBalance(mine, 10, 0)
	if resp := ann.post("real", in); resp.JSON201 == nil {
		t.Errorf("in earnest: %s", resp.Body)
	}
	if resp := try(in); codeOf(resp.Body) != "insufficient-funds" {
		t.Errorf("again: %s", resp.Body)
	}
	for name, key := range map[string]*string{"without a key": nil, "with an empty one": new("")} {
		resp, err := ann.CreateTransactionWithResponse(t.Context(), &transactionsv1.CreateTransactionParams{IdempotencyKey: key}, in)
		if err != nil || resp.StatusCode() != 400 {
			t.Errorf("in earnest, %s: %v %s", name, err, resp.Body)
		}
	}
}

// Modules have no id of their own, and their keys and references are not each other's.
func TestModulesKeepTheirKeysApart(t *testing.T) {
	w := newWorld(t)
	operator := w.operator()
	from, to := operator.outside("EUR"), operator.outside("EUR")
	for _, name := range []string{"shop", "payroll"} {
		c, err := transactionsv1.NewClientWithResponses(w.URL, transactionsv1.WithHTTPClient(
			w.As(authn.Principal{Subject: name, ClientID: name, Scopes: []string{"transactions:write", "ledger:write"}})))
		if err != nil {
			t.Fatal(err)
		}
		in := payment(from, to, 1)
		in.Reference = new("same")
		resp, err := c.CreateTransactionWithResponse(t.Context(), &transactionsv1.CreateTransactionParams{IdempotencyKey: new("same")}, in)
		if err != nil || resp.JSON201 == nil || resp.HTTPResponse.Header.Get("Idempotent-Replayed") != "" {
			t.Errorf("%s: %v %s", name, err, resp.Body)
		}
	}
}

func TestExchange(t *testing.T) {
	w := newWorld(t)
	ann, operator := w.person(), w.operator()
	euros, dollars := ann.open("EUR"), ann.open("USD")
	desk := func(currency string) uuid.UUID {
		return operator.openAs(transactionsv1.NewAccount{Currency: currency, Kind: new(transactionsv1.AccountKindClearing)})
	}
	deskEUR, deskUSD := desk("EUR"), desk("USD")
	operator.pay(operator.outside("EUR"), euros, 100)
	in := transactionsv1.NewTransaction{Postings: []transactionsv1.Posting{
		{From: euros, To: deskEUR, Amount: 100, Currency: "EUR"}, {From: deskUSD, To: dollars, Amount: 110, Currency: "USD"}}}
	if resp := ann.post("a", in); resp.StatusCode() != 404 {
		t.Errorf("a person moves the desk's money: %s", resp.Body)
	}
	if resp := w.actor(ann.id, "ledger:write").post("b", in); resp.StatusCode() != 201 {
		t.Errorf("an exchange: %s", resp.Body)
	}
	if ann.posted(euros) != 0 || ann.posted(dollars) != 110 || operator.posted(deskUSD) != -110 {
		t.Error("an exchange balances in each currency")
	}
}

func TestPaging(t *testing.T) {
	w := newWorld(t)
	ctx, ann, operator := t.Context(), w.person(), w.operator()
	var accounts []uuid.UUID
	for range 5 {
		accounts = append(accounts, ann.open("EUR"))
	}
	world := operator.outside("EUR")
	for range 4 { // two entries of one transaction in the account, then one
		in := payment(world, accounts[0], 1)
		in.Postings = append(in.Postings, in.Postings[0])
		operator.post(newID().String(), in)
		operator.pay(world, accounts[0], 1)
	}

	walk := func(name, path string, want int) {
		t.Helper()
		seen, pages := 0, 0
		for next := path; next != ""; pages++ {
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, ann.url+next, nil)
			resp, err := ann.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			var body struct {
				Data []json.RawMessage `json:"data"`
				Page transactionsv1.Page
			}
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || resp.StatusCode != 200 {
				t.Fatalf("%s: %d %v", name, resp.StatusCode, err)
			}
			seen += len(body.Data)
			_, link, more := strings.Cut(resp.Header.Get("Link"), ", <")
			if more != body.Page.HasMore || more != (body.Page.NextCursor != nil) {
				t.Errorf("%s: Link %q beside %+v", name, resp.Header.Get("Link"), body.Page)
			}
			next, _, _ = strings.Cut(link, ">")
		}
		if seen != want || pages != (want+2)/3 {
			t.Errorf("%s: %d items on %d pages, want %d", name, seen, pages, want)
		}
	}
	walk("accounts", "/v1/accounts?limit=3", 5)
	walk("entries", "/v1/accounts/"+accounts[0].String()+"/entries?limit=3", 12)
	walk("transactions", "/v1/transactions?limit=3&account_id="+accounts[0].String(), 8)

	first, _ := ann.ListEntriesWithResponse(ctx, accounts[0], &transactionsv1.ListEntriesParams{Limit: new(3)})
	other, _ := ann.ListEntriesWithResponse(ctx, accounts[1], &transactionsv1.ListEntriesParams{Cursor: first.JSON200.Page.NextCursor})
	if other.StatusCode() != 400 || codeOf(other.Body) != "invalid-cursor" {
		t.Errorf("another list's cursor: %s", other.Body)
	}
}
