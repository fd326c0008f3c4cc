package transactions

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestLedgerModel does random things to the ledger and to a model of it, a few maps in memory, and holds one against the other after each: what is
// answered, every balance, and all that must always hold. What fails is made as short as it can be. MODEL_CHECKS=1000 makes more beginnings than 25.
func TestLedgerModel(t *testing.T) {
	b := newBank(t, 0, 0)
	for name, value := range map[string]string{"rapid.checks": cmp.Or(os.Getenv("MODEL_CHECKS"), "25"), "rapid.steps": "80", "rapid.shrinktime": "20s"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		m := &model{
			T: t, bank: b, accounts: map[uuid.UUID]*modelAccount{}, transactions: map[uuid.UUID]*modelTransaction{}, holds: map[uuid.UUID]*modelHold{},
			references: map[string]bool{}, began: time.Now().Add(-time.Minute), people: []*modelPerson{{id: newID()}, {id: newID()}, {id: newID(), operator: true}},
		}
		for _, p := range m.people {
			p.actor = b.actor(p.id)
			if p.operator {
				p.actor = b.actor(p.id, "ledger:read", "ledger:write", "ledger:admin")
			}
		}
		m.open(m.people[2], "external", "EUR")
		for _, p := range m.people {
			for range 2 {
				m.open(p, customer, "EUR")
			}
		}
		m.fill()
		t.Repeat(map[string]func(*rapid.T){
			"open an account": m.Open, "pay": m.Pay, "pay more": m.Pay, "try to pay": m.Try, "take back": m.Reverse, "hold": m.Hold, "hold more": m.Hold, "capture": m.Capture, "void": m.Void,
			"expire": m.Expire, "freeze": m.change("freeze", frozen), "unfreeze": m.change("unfreeze", active), "unfreeze more": m.change("unfreeze", active), "close": m.change("close", closed),
			"say again": m.Again, "say something else": m.Other, "": m.check,
		})
	})
}

type model struct {
	*rapid.T
	bank         *bank
	people       []*modelPerson
	accounts     map[uuid.UUID]*modelAccount
	transactions map[uuid.UUID]*modelTransaction
	holds        map[uuid.UUID]*modelHold
	references   map[string]bool
	said         []said
	began        time.Time
}

type modelPerson struct {
	id       uuid.UUID
	operator bool
	actor    *actor
}

type modelAccount struct {
	owner                  uuid.UUID // nil for the house's
	currency, status       string
	posted, held, versions int64
}

type modelTransaction struct {
	kind     string
	postings []posting
	reversed bool
}

type modelHold struct {
	from, to uuid.UUID
	amount   int64
	status   string
	over     bool // its time
}

// said is a request under a key, and what was answered to it for good.
type said struct {
	by             *modelPerson
	path, key      string
	body, answered []byte
	status         int
}

func (m *model) person() *modelPerson { return m.people[m.any("by", len(m.people))] }

// any draws a number below n. (rapid's own ranges prefer what is small, and so what is old.)
func (m *model) any(label string, n int) int { return rapid.IntRange(0, 1<<20).Draw(m.T, label) % n }

// ownerOf draws somebody who has to do with an account, now and then anybody.
func (m *model) ownerOf(account uuid.UUID) *modelPerson {
	a := m.accounts[account]
	for _, p := range m.people {
		if a != nil && (a.owner == p.id || a.owner == uuid.Nil && p.operator) && m.any("by somebody else", 8) != 1 {
			return p
		}
	}
	return m.person()
}

func (m *model) account(label string) uuid.UUID { return pick(m, m.accounts, label) }

// pick draws the id of something that is there, now and then of nothing.
func pick[V any](m *model, of map[uuid.UUID]V, label string) uuid.UUID {
	ids := slices.SortedFunc(maps.Keys(of), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	if len(ids) == 0 {
		m.Skip("there is nothing yet")
	}
	if m.any("nothing", 40) == 1 {
		return newID()
	}
	return ids[m.any(label, len(ids))]
}

// ask sends a request and returns the answer; a key makes it one that is kept.
func (m *model) ask(by *modelPerson, method, path, key string, in any) (int, []byte, http.Header) {
	body, err := json.Marshal(in)
	if err != nil {
		m.Fatal(err)
	}
	return m.send(by, method, path, key, body)
}

func (m *model) send(by *modelPerson, method, path, key string, body []byte) (int, []byte, http.Header) {
	req, err := http.NewRequestWithContext(context.Background(), method, by.actor.url+path, bytes.NewReader(body))
	if err != nil {
		m.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := by.actor.http.Do(req)
	if err != nil {
		m.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		m.Fatal(err)
	}
	return resp.StatusCode, text, resp.Header
}

// do sends something that is kept under a new key, and holds the answer against the refusal that the model gives, "" for none.
func (m *model) do(by *modelPerson, path string, in any, want string) map[string]any {
	key := newID().String()
	body, _ := json.Marshal(in)
	status, answered, _ := m.send(by, http.MethodPost, path, key, body)
	if kept := status < 300 || status == 404 || status == 409 || status == 422; kept && !(status == 404 && strings.Contains(string(answered), "no such")) {
		m.said = append(m.said, said{by, path, key, body, answered, status})
	}
	got := ""
	if status >= 300 {
		got = codeOf(answered)
	}
	if got != want {
		m.Fatalf("POST %s %s: %d %s; the model says %q", path, body, status, answered, want)
	}
	if want != "" {
		return nil
	}
	var out map[string]any
	if err := json.Unmarshal(answered, &out); err != nil {
		m.Fatal(err)
	}
	return out
}

func idOf(out map[string]any, name string) uuid.UUID { return uuid.MustParse(out[name].(string)) }

func (m *model) open(by *modelPerson, kind, currency string) {
	in := map[string]any{"currency": currency}
	a := &modelAccount{currency: currency, status: active}
	if kind == customer {
		a.owner = by.id
	} else {
		in["kind"] = kind
	}
	status, body, _ := m.ask(by, http.MethodPost, "/v1/accounts", "", in)
	var out map[string]any
	if err := json.Unmarshal(body, &out); err != nil || status != 201 {
		m.Fatalf("%d %s", status, body)
	}
	m.accounts[idOf(out, "id")] = a
}

// fill gives every customer something to begin with.
func (m *model) fill() {
	var outside uuid.UUID
	for id, a := range m.accounts {
		if a.owner == uuid.Nil {
			outside = id
		}
	}
	for id, a := range m.accounts {
		if a.owner != uuid.Nil {
			m.pay(m.people[2], []posting{{outside, id, 200, "EUR"}}, "")
		}
	}
}

func (m *model) Open(*rapid.T) {
	if len(m.accounts) > 9 {
		m.Skip("there are enough")
	} else {
		m.open(m.people[2], rapid.SampledFrom([]string{"clearing", "revenue", "external", customer}).Draw(m.T, "kind"), rapid.SampledFrom([]string{"EUR", "USD"}).Draw(m.T, "currency"))
	}
}

// decide is what the ledger should say to postings: its rules, in other words.
func (m *model) decide(postings []posting, mine func(*modelAccount) bool, frozenToo bool) string {
	now := map[uuid.UUID]int64{}
	for _, p := range postings {
		from, to := m.accounts[p.From], m.accounts[p.To]
		switch {
		case p.From == p.To:
			return "same-account"
		case from == nil || !mine(from) || to == nil:
			return "not-found"
		case from.currency != p.Currency || to.currency != p.Currency:
			return "currency-mismatch"
		case !frozenToo && (from.status != active || to.status != active):
			return "account-not-active"
		case from.owner != uuid.Nil && from.posted+now[p.From]-from.held < p.Amount:
			return "insufficient-funds"
		}
		now[p.From] -= p.Amount
		now[p.To] += p.Amount
	}
	return ""
}

func (m *model) move(postings []posting) {
	for _, p := range postings {
		m.accounts[p.From].posted -= p.Amount
		m.accounts[p.To].posted += p.Amount
		m.accounts[p.From].versions++
		m.accounts[p.To].versions++
	}
}

func (p *modelPerson) mayDebit(a *modelAccount) bool {
	return a.owner == p.id || a.owner == uuid.Nil && p.operator
}

func (m *model) postings() (list []posting) {
	for range rapid.IntRange(1, 3).Draw(m.T, "postings") {
		list = append(list, m.posting())
	}
	return list
}

func (m *model) posting() posting {
	p := posting{From: m.account("from"), To: m.account("to"), Amount: m.amount(), Currency: "EUR"}
	if a := m.accounts[p.From]; a != nil && m.any("other money", 30) != 1 {
		p.Currency = a.currency
	}
	return p
}

func (m *model) amount() int64 {
	return 1 + int64(m.any("amount", 250))
}

func payload(postings []posting, reference string) map[string]any {
	var list []map[string]any
	for _, p := range postings {
		list = append(list, map[string]any{"from": p.From, "to": p.To, "amount": p.Amount, "currency": p.Currency})
	}
	in := map[string]any{"postings": list}
	if reference != "" {
		in["reference"] = reference
	}
	return in
}

func (m *model) pay(by *modelPerson, postings []posting, reference string) {
	want, name := m.decide(postings, by.mayDebit, false), by.id.String()+reference
	if want == "" && reference != "" && m.references[name] {
		want = "reference-already-used"
	}
	if out := m.do(by, "/v1/transactions", payload(postings, reference), want); out != nil {
		m.move(postings)
		m.transactions[idOf(out, "id")] = &modelTransaction{"transfer", postings, false}
		m.references[name] = true
	}
}

func (m *model) Pay(*rapid.T) {
	postings := m.postings()
	m.pay(m.ownerOf(postings[0].From), postings, rapid.SampledFrom([]string{"", "", "", "a", "b"}).Draw(m.T, "reference"))
}

func (m *model) Try(*rapid.T) {
	postings := m.postings()
	by := m.ownerOf(postings[0].From)
	status, body, _ := m.ask(by, http.MethodPost, "/v1/transactions?dry_run=true", "", payload(postings, ""))
	if want := m.decide(postings, by.mayDebit, false); want == "" && status != 200 || want != "" && codeOf(body) != want {
		m.Fatalf("a dry run: %d %s; the model says %q", status, body, want)
	}
}

func (m *model) Reverse(*rapid.T) {
	id := pick(m, m.transactions, "transaction")
	by, t := m.person(), m.transactions[id]
	if t != nil && m.any("by its receiver", 3) != 1 {
		by = m.ownerOf(t.postings[0].To)
	}
	mine := func(a *modelAccount) bool { return a != nil && (a.owner == by.id || by.operator) }
	want, back := "not-found", []posting(nil)
	if t != nil {
		all := true
		for _, p := range slices.Backward(t.postings) {
			back = append(back, posting{p.To, p.From, p.Amount, p.Currency})
			all = all && mine(m.accounts[p.To])
		}
		switch {
		case !all:
		case t.kind == "reversal":
			want = "not-reversible"
		case t.reversed:
			want = "already-reversed"
		default:
			want = m.decide(back, mine, false)
		}
	}
	if out := m.do(by, "/v1/transactions/"+id.String()+"/reversal", nil, want); out != nil {
		m.move(back)
		t.reversed = true
		m.transactions[idOf(out, "id")] = &modelTransaction{"reversal", back, false}
	}
}

func (m *model) Hold(*rapid.T) {
	p := m.posting()
	by := m.ownerOf(p.From)
	h := &modelHold{from: p.From, to: p.To, amount: p.Amount, status: open}
	out := m.do(by, "/v1/holds", map[string]any{
		"account_id": h.from, "destination_account_id": h.to, "amount": h.amount, "currency": p.Currency, "expires_in": 3600,
	}, m.decide([]posting{p}, by.mayDebit, false))
	if out != nil {
		m.holds[idOf(out, "id")] = h
		m.accounts[h.from].held += h.amount
	}
}

// aHold draws a hold, more often one that is open, and who ends it.
func (m *model) aHold() (uuid.UUID, *modelPerson) {
	standing := maps.Clone(m.holds)
	maps.DeleteFunc(standing, func(_ uuid.UUID, h *modelHold) bool { return h.status != open })
	from := standing
	if m.any("an old one", 4) == 1 {
		from = m.holds
	}
	id := pick(m, from, "hold")
	if h := m.holds[id]; h != nil {
		return id, m.ownerOf(h.to)
	}
	return id, m.person()
}

// mayEnd is a hold that somebody may end, nil for none.
func (m *model) mayEnd(by *modelPerson, id uuid.UUID) *modelHold {
	if h := m.holds[id]; h != nil && (by.operator || m.accounts[h.to].owner == by.id) {
		return h
	}
	return nil
}

func (m *model) Capture(*rapid.T) {
	id, by := m.aHold()
	in, want := map[string]any{}, "not-found"
	h := m.mayEnd(by, id)
	var amount int64
	if h != nil {
		amount, want = h.amount, ""
		if rapid.Bool().Draw(m.T, "a part") {
			amount = m.amount()
			in["amount"] = amount
		}
		switch {
		case h.status != open || h.over:
			want = "hold-not-open"
		case amount > h.amount:
			want = "amount-exceeds-hold"
		}
	}
	if out := m.do(by, "/v1/holds/"+id.String()+"/capture", in, want); out != nil {
		h.status = captured
		m.accounts[h.from].held -= h.amount
		moved := []posting{{h.from, h.to, amount, m.accounts[h.from].currency}}
		m.move(moved)
		m.transactions[idOf(out, "transaction_id")] = &modelTransaction{"capture", moved, false}
	}
}

func (m *model) Void(*rapid.T) {
	id, by := m.aHold()
	h, want := m.mayEnd(by, id), "not-found"
	if h != nil {
		if want = ""; h.status != open {
			want = "hold-not-open"
		}
	}
	if out := m.do(by, "/v1/holds/"+id.String()+"/void", nil, want); out != nil {
		h.status = voided
		m.accounts[h.from].held -= h.amount
	}
}

// Expire lets time pass for one hold; the job comes now, or later.
func (m *model) Expire(*rapid.T) {
	id, _ := m.aHold()
	if h := m.holds[id]; h != nil && h.status == open {
		h.over = true
		if _, err := m.bank.db.Owner().Exec(context.Background(), `alter table transactions.holds disable trigger holds_end_once;
			update transactions.holds set expires_at = now() - interval '1 second' where id = '`+id.String()+`';
			alter table transactions.holds enable trigger holds_end_once`); err != nil {
			m.Fatal(err)
		}
	}
	if rapid.Bool().Draw(m.T, "the job comes") {
		if _, err := m.bank.store.expireHolds(context.Background(), 100); err != nil {
			m.Fatal(err)
		}
		for _, h := range m.holds {
			if h.status == open && h.over {
				h.status = expired
				m.accounts[h.from].held -= h.amount
			}
		}
	}
}

// change is one of the transitions of an account.
func (m *model) change(name, status string) func(*rapid.T) {
	return func(*rapid.T) {
		if status != active && m.any("not yet", 4) != 1 {
			m.Skip("most accounts are active")
		}
		id := m.account("account")
		a, want := m.accounts[id], "not-found"
		if a != nil {
			want = ""
			holds := slices.ContainsFunc(slices.Collect(maps.Values(m.holds)), func(h *modelHold) bool { return h.status == open && (h.from == id || h.to == id) })
			switch {
			case a.status == closed && status != closed:
				want = "account-not-active"
			case a.status != closed && status == closed && (a.posted != 0 || holds):
				want = "account-has-balance"
			}
		}
		code, body, _ := m.ask(m.people[2], http.MethodPost, "/v1/accounts/"+id.String()+"/"+name, "", nil)
		if want == "" && code != 200 || want != "" && codeOf(body) != want {
			m.Fatalf("%s: %d %s; the model says %q", name, code, body, want)
		}
		if want == "" {
			a.status = status
		}
	}
}

// Again repeats something that was said, however long ago: the answer is the same, byte for byte, and nothing happens.
func (m *model) Again(*rapid.T) {
	if len(m.said) == 0 {
		m.Skip("nothing was said yet")
	}
	s := m.said[m.any("said", len(m.said))]
	status, body, header := m.send(s.by, http.MethodPost, s.path, s.key, s.body)
	if status != s.status || !bytes.Equal(body, s.answered) || header.Get("Idempotent-Replayed") != "true" {
		m.Fatalf("again: POST %s %s: %d %s; was %d %s", s.path, s.body, status, body, s.status, s.answered)
	}
}

// Other says something else under a key that was used.
func (m *model) Other(*rapid.T) {
	if len(m.said) == 0 {
		m.Skip("nothing was said yet")
	}
	s := m.said[m.any("said", len(m.said))]
	in := payload([]posting{{m.account("from"), m.account("to"), 9_999_999, "EUR"}}, "")
	if status, body, _ := m.ask(s.by, http.MethodPost, "/v1/transactions", s.key, in); status != 422 || codeOf(body) != "idempotency-key-reused" {
		m.Fatalf("another request under a key: %d %s", status, body)
	}
}

// check holds the whole ledger against the model, and against what must always hold.
func (m *model) check(*rapid.T) {
	ctx := context.Background()
	rows, _ := m.bank.store.db.Query(ctx, `select account_id, status, posted, held, entry_version from balances where account_id = any($1)`, slices.Collect(maps.Keys(m.accounts)))
	for rows.Next() {
		var id uuid.UUID
		var is modelAccount
		if err := rows.Scan(&id, &is.status, &is.posted, &is.held, &is.versions); err != nil {
			m.Fatal(err)
		}
		a := m.accounts[id]
		if is.owner, is.currency = a.owner, a.currency; is != *a {
			m.Errorf("account %s is %+v, and in the model %+v", id, is, *a)
		}
	}
	if rows.Err() != nil {
		m.Fatal(rows.Err())
	}
	for _, i := range invariants {
		found, examples, err := m.bank.store.broken(ctx, i.sql, m.began)
		if err != nil || found > 0 {
			m.Errorf("%s, %s: %d %q %v", i.name, i.rule, found, examples, err)
		}
	}
	if m.Failed() {
		m.Fatal(fmt.Sprintf("after %d requests", len(m.said)))
	}
}
