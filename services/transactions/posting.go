package transactions

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/pkg/problem"
)

// maxAmount is the most that an amount or a balance may be: what every JSON reader keeps exact.
const maxAmount = 1<<53 - 1

// transaction is money that moves, all postings or none.
type transaction struct {
	ID          uuid.UUID
	Kind        string
	Postings    []posting
	Reference   *string // the creator's own name for it, used once
	Description *string
	Metadata    map[string]string
	OccurredAt  time.Time // for information only
	CreatedAt   time.Time
	CreatedBy   uuid.UUID
	Reverses    *uuid.UUID // the transaction that this one takes back
	ReversedBy  *uuid.UUID // the one that takes this one back
}

// posting moves an amount from one account to another, so a transaction of postings always balances.
type posting struct {
	From, To uuid.UUID
	Amount   int64
	Currency string
}

// entry is one side of a posting, as the statement of an account has it.
type entry struct {
	TransactionID  uuid.UUID
	Seq            int
	AccountID      uuid.UUID
	Amount         int64 // negative when money leaves
	Currency       string
	BalanceAfter   int64
	AccountVersion int64 // 1, 2, 3 … per account
	CreatedAt      time.Time
}

// balance is the state of an account that posting decides on.
type balance struct {
	AccountID    uuid.UUID
	OwnerID      *uuid.UUID
	Kind         string
	Currency     string
	Status       string
	Posted       int64
	Held         int64
	Floor        *int64
	EntryVersion int64
}

// reference names a transaction in its creator's own words.
type reference struct {
	CreatedBy uuid.UUID
	Reference string
}

// newTransaction is the transfer that the caller asks for. Times are cut to what the database keeps, so that the answer to the request
// and a later read are the same.
func newTransaction(id uuid.UUID, now time.Time, caller uuid.UUID, in transactionsv1.NewTransaction) (transaction, error) {
	t := transaction{
		ID: id, Kind: "transfer", Reference: in.Reference, Description: in.Description, Metadata: map[string]string{},
		OccurredAt: now, CreatedAt: now, CreatedBy: caller,
	}
	if in.OccurredAt != nil {
		t.OccurredAt = in.OccurredAt.UTC().Truncate(time.Microsecond)
	}
	if year := t.OccurredAt.Year(); year < 1 || year > 9999 { // in UTC; RFC 3339 has no other years
		return transaction{}, invalid("/occurred_at", "year", "is too long ago, or too far away")
	}
	if in.Metadata != nil {
		t.Metadata = *in.Metadata
	}
	total := map[string]int64{}
	for i, p := range in.Postings {
		sum, ok := add(total[p.Currency], p.Amount)
		if !ok || p.Amount < 1 {
			return transaction{}, invalid(fmt.Sprintf("/postings/%d/amount", i), "sum", "is nothing, or makes the sum of the postings too large")
		}
		total[p.Currency] = sum
		t.Postings = append(t.Postings, posting{p.From, p.To, p.Amount, p.Currency})
	}
	return t, checkMetadata(t.Metadata)
}

// add is a + b, as long as that is an amount.
func add(a, b int64) (sum int64, ok bool) {
	sum = a + b
	wrapped := (b < 0) != (sum < a)
	return sum, !wrapped && -maxAmount <= sum && sum <= maxAmount
}

// reference returns the name that the transaction uses up, if any.
func (t transaction) reference() (r reference, ok bool) {
	if t.Reference == nil {
		return reference{}, false
	}
	return reference{t.CreatedBy, *t.Reference}, true
}

// accounts are those that the postings name.
func (t transaction) accounts() (ids []uuid.UUID) {
	for _, p := range t.Postings {
		ids = append(ids, p.From, p.To)
	}
	return ids
}

// books is what a batch of orders is decided on: how things stand under the locks, and after what was decided so far.
type books struct {
	balances map[uuid.UUID]balance
	holds    map[uuid.UUID]hold
	used     map[reference]bool
	reversed map[uuid.UUID]bool // transactions that were taken back
	moved    map[uuid.UUID]bool // accounts whose balance is another one now
	sat      map[int64]bool     // locks of references and reversals that somebody else has
	now      time.Time          // the database's; known where there are holds
}

// complete reports whether the books show all that is needed.
func (b books) complete(n needs) bool {
	for _, id := range n.accounts {
		if _, shown := b.balances[id]; !shown {
			return false
		}
	}
	for _, id := range n.holds {
		if _, shown := b.holds[id]; !shown {
			return false
		}
	}
	return !slices.ContainsFunc(n.locks(), func(lock int64) bool { return b.sat[lock] })
}

// draft are balances as a deed would leave them.
type draft map[uuid.UUID]balance

// keep makes the draft count.
func (b books) keep(d draft) {
	for id, after := range d {
		b.balances[id], b.moved[id] = after, true
	}
}

// terms are what a sort of transaction may do.
type terms struct {
	debit  func(from balance) bool // whose accounts it may take from
	frozen bool                    // it moves what was promised before the account was frozen
}

// post puts the postings of t into the draft, or says why not. The draft is worth nothing then.
func (b books) post(t transaction, d draft, allowed terms) ([]entry, *problem.Error) {
	find := func(id uuid.UUID) (balance, bool) {
		if found, ok := d[id]; ok {
			return found, true
		}
		found, ok := b.balances[id]
		return found, ok
	}
	entries := make([]entry, 0, 2*len(t.Postings))
	for i, p := range t.Postings {
		if p.From == p.To {
			return nil, refuse(problem.Invalid, "same-account", "is where the money comes from", i, "to")
		}
		from, known := find(p.From)
		if !known || !allowed.debit(from) {
			return nil, refuse(problem.NotFound, "not-found", "is not there, or not yours to debit", i, "from")
		}
		to, known := find(p.To)
		if !known {
			return nil, refuse(problem.NotFound, "not-found", "is not there", i, "to")
		}
		if e := p.move(&from, &to, i, allowed.frozen); e != nil {
			return nil, e
		}
		d[p.From], d[p.To] = from, to
		entries = append(entries,
			entry{t.ID, 2*i + 1, p.From, -p.Amount, p.Currency, from.Posted, from.EntryVersion, t.CreatedAt},
			entry{t.ID, 2*i + 2, p.To, p.Amount, p.Currency, to.Posted, to.EntryVersion, t.CreatedAt})
	}
	return entries, nil
}

// transfer is the deed of moving money as somebody says.
type transfer struct {
	transaction
	operator bool // the caller may move the house's money
}

func (t transfer) needs() needs {
	n := needs{accounts: t.accounts()}
	if name, ok := t.reference(); ok {
		n.reference = &name
	}
	return n
}

func (t transfer) do(b books) (done, *problem.Error) {
	d := draft{}
	entries, e := b.post(t.transaction, d, terms{debit: func(from balance) bool { return mayDebit(from, t.CreatedBy, t.operator) }})
	if e != nil {
		return done{}, e
	}
	if name, ok := t.reference(); ok {
		if b.used[name] {
			return done{}, problem.Conflict.New("reference-already-used", "You have used this reference before; it is used once, for ever.")
		}
		b.used[name] = true
	}
	b.keep(d)
	return done{transaction: &t.transaction, entries: entries}, nil
}

// mayDebit: customers move their own money and nobody else's; the house's accounts are moved by operators.
func mayDebit(from balance, caller uuid.UUID, operator bool) bool {
	if from.Kind == customer {
		return from.OwnerID != nil && *from.OwnerID == caller
	}
	return operator
}

// move takes the i-th posting from one balance to the other.
func (p posting) move(from, to *balance, i int, frozen bool) *problem.Error {
	switch {
	case from.Currency != p.Currency:
		return refuse(problem.Invalid, "currency-mismatch", "is an account of another currency", i, "from")
	case to.Currency != p.Currency:
		return refuse(problem.Invalid, "currency-mismatch", "is an account of another currency", i, "to")
	case from.Status != active && !frozen:
		return refuse(problem.Conflict, "account-not-active", "is frozen or closed", i, "from")
	case to.Status != active && !frozen:
		return refuse(problem.Conflict, "account-not-active", "is frozen or closed", i, "to")
	}
	left, ok := add(from.Posted, -p.Amount)
	if from.Floor != nil && left-from.Held < *from.Floor {
		return refuse(problem.Invalid, "insufficient-funds", "is more than is available", i, "amount")
	}
	arrived, fits := add(to.Posted, p.Amount)
	_, shown := add(left, -from.Held) // what is available is an amount, too
	if !ok || !fits || !shown {
		return invalid(fmt.Sprintf("/postings/%d/amount", i), "balance", "takes a balance beyond what can be kept")
	}
	from.Posted, to.Posted = left, arrived
	from.EntryVersion++
	to.EntryVersion++
	return nil
}

var refusals = map[string]string{
	"not-found":           "An account that is named is not there.",
	"same-account":        "Money cannot move from an account to itself.",
	"currency-mismatch":   "Both accounts have the currency of what moves.",
	"account-not-active":  "An account that is named takes no part at the moment.",
	"insufficient-funds":  "There is not enough money in an account.",
	"amount-exceeds-hold": "No more can be taken than is held.",
}

// refuse says what is wrong with one part of the i-th posting.
func refuse(kind problem.Kind, code, detail string, i int, part string) *problem.Error {
	return refuseAt(kind, code, detail, fmt.Sprintf("/postings/%d/%s", i, part))
}

// refuseAt says what is wrong with one part of the body.
func refuseAt(kind problem.Kind, code, detail, pointer string) *problem.Error {
	return kind.New(code, refusals[code]).With(problem.Field{Pointer: pointer, Code: code, Detail: detail})
}

// api is the transaction as the contract has it.
func (t transaction) api() transactionsv1.Transaction {
	postings := make([]transactionsv1.Posting, 0, len(t.Postings))
	for _, p := range t.Postings {
		postings = append(postings, transactionsv1.Posting{From: p.From, To: p.To, Amount: p.Amount, Currency: p.Currency})
	}
	return transactionsv1.Transaction{
		Id: t.ID, Kind: transactionsv1.TransactionKind(t.Kind), Postings: postings, Reference: t.Reference, Description: t.Description,
		Metadata: t.Metadata, OccurredAt: t.OccurredAt.UTC(), CreatedAt: t.CreatedAt.UTC(), CreatedBy: t.CreatedBy,
		Reverses: t.Reverses, ReversedBy: t.ReversedBy,
	}
}

// preview is the transaction as it would be posted.
func (t transaction) preview() transactionsv1.TransactionPreview {
	a := t.api()
	return transactionsv1.TransactionPreview{
		Kind: transactionsv1.TransactionPreviewKind(a.Kind), Postings: a.Postings, Reference: a.Reference, Description: a.Description,
		Metadata: a.Metadata, OccurredAt: a.OccurredAt,
	}
}
