package transactions

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"example.com/groundwork/pkg/problem"
)

// reversal is the deed of taking a transaction back, as a whole and once.
type reversal struct {
	transaction // the new one
	original    transaction
	operator    bool
}

// newReversal is a transaction that moves everything the other way, the last first: what came in by one posting and left by the next is
// there again when it is needed.
func newReversal(id uuid.UUID, now time.Time, caller uuid.UUID, operator bool, original transaction) reversal {
	t := transaction{
		ID: id, Kind: "reversal", Metadata: map[string]string{}, OccurredAt: now, CreatedAt: now, CreatedBy: caller, Reverses: &original.ID,
	}
	for _, p := range slices.Backward(original.Postings) {
		t.Postings = append(t.Postings, posting{p.To, p.From, p.Amount, p.Currency})
	}
	return reversal{t, original, operator}
}

func (r reversal) needs() needs { return needs{accounts: r.accounts(), original: &r.original.ID} }

func (r reversal) do(b books) (done, *problem.Error) {
	mine := func(from balance) bool { return r.operator || from.OwnerID != nil && *from.OwnerID == r.CreatedBy }
	for _, p := range r.Postings {
		if !mine(b.balances[p.From]) { // a transaction that is somebody else's to take back
			return done{}, errNoTransaction
		}
	}
	switch {
	case r.original.Kind == "reversal":
		return done{}, problem.Conflict.New("not-reversible", "What takes another transaction back cannot be taken back itself.")
	case b.reversed[r.original.ID]:
		return done{}, problem.Conflict.New("already-reversed", "This transaction was taken back already; that happens once.")
	}
	d := draft{}
	entries, e := b.post(r.transaction, d, terms{debit: mine})
	if e != nil {
		return done{}, unplaced(e)
	}
	b.reversed[r.original.ID] = true
	b.keep(d)
	return done{transaction: &r.transaction, entries: entries}, nil
}

var errNoTransaction = problem.NotFound.New("not-found", "There is no such transaction.")

// unplaced is a refusal without its pointer into a body, where the postings are not what the caller sent.
func unplaced(e *problem.Error) *problem.Error {
	bare := *e
	bare.Fields = nil
	return &bare
}
