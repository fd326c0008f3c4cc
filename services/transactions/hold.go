package transactions

import (
	"strconv"
	"time"

	"github.com/google/uuid"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/pkg/etag"
	"example.com/groundwork/pkg/problem"
)

// The states of a hold: it is open once, and ends in one of the others.
const (
	open     = "open"
	captured = "captured"
	voided   = "voided"
	expired  = "expired"
)

// hold is money that is set aside for an account of somebody else. While it is open it is part of what its account holds.
type hold struct {
	ID                   uuid.UUID
	AccountID            uuid.UUID
	DestinationAccountID uuid.UUID
	Amount               int64
	Currency             string
	CapturedAmount       *int64
	Status               string
	ExpiresAt            time.Time
	TransactionID        *uuid.UUID // that captured it
	Version              int64
	CreatedAt            time.Time
	CreatedBy            uuid.UUID
}

// newHold is the hold that the caller asks for.
func newHold(id uuid.UUID, now time.Time, caller uuid.UUID, in transactionsv1.NewHold) hold {
	return hold{
		ID: id, AccountID: in.AccountId, DestinationAccountID: in.DestinationAccountId, Amount: in.Amount, Currency: in.Currency, Status: open,
		ExpiresAt: now.Add(time.Duration(in.ExpiresIn) * time.Second), Version: 1, CreatedAt: now, CreatedBy: caller,
	}
}

// placing is the deed of setting money aside.
type placing struct {
	hold
	operator bool
}

func (h placing) needs() needs {
	return needs{accounts: []uuid.UUID{h.AccountID, h.DestinationAccountID}}
}

func (h placing) do(b books) (done, *problem.Error) {
	from, known := b.balances[h.AccountID]
	to, there := b.balances[h.DestinationAccountID]
	held, ok := add(from.Held, h.Amount)
	_, shown := add(from.Posted, -held)
	switch {
	case h.AccountID == h.DestinationAccountID:
		return done{}, refuseAt(problem.Invalid, "same-account", "is where the money is", "/destination_account_id")
	case !known || !mayDebit(from, h.CreatedBy, h.operator):
		return done{}, refuseAt(problem.NotFound, "not-found", "is not there, or not yours to debit", "/account_id")
	case !there:
		return done{}, refuseAt(problem.NotFound, "not-found", "is not there", "/destination_account_id")
	case from.Currency != h.Currency:
		return done{}, refuseAt(problem.Invalid, "currency-mismatch", "is an account of another currency", "/account_id")
	case to.Currency != h.Currency:
		return done{}, refuseAt(problem.Invalid, "currency-mismatch", "is an account of another currency", "/destination_account_id")
	case from.Status != active:
		return done{}, refuseAt(problem.Conflict, "account-not-active", "is frozen or closed", "/account_id")
	case to.Status != active:
		return done{}, refuseAt(problem.Conflict, "account-not-active", "is frozen or closed", "/destination_account_id")
	case from.Floor != nil && from.Posted-h.Amount-from.Held < *from.Floor: // of amounts, so it cannot wrap
		return done{}, refuseAt(problem.Invalid, "insufficient-funds", "is more than is available", "/amount")
	case !ok || !shown:
		return done{}, invalid("/amount", "balance", "makes more be held than can be kept")
	}
	from.Held = held
	b.keep(draft{h.AccountID: from})
	return done{placed: &h.hold}, nil
}

// ending is the deed of capturing a hold, or of voiding it.
type ending struct {
	hold                     // as it is afterwards
	transaction *transaction // that captures it; nil to void it
}

// capture takes amount, or all that is held when that is nil.
func (h hold) capture(id uuid.UUID, now time.Time, caller uuid.UUID, amount *int64) ending {
	if amount == nil {
		amount = &h.Amount
	}
	t := &transaction{
		ID: id, Kind: "capture", Metadata: map[string]string{}, OccurredAt: now, CreatedAt: now, CreatedBy: caller,
		Postings: []posting{{h.AccountID, h.DestinationAccountID, *amount, h.Currency}},
	}
	h.Status, h.CapturedAmount, h.TransactionID, h.Version = captured, amount, &id, 2
	return ending{h, t}
}

// void lets go of what is held.
func (h hold) void() ending {
	h.Status, h.Version = voided, 2
	return ending{h, nil}
}

func (h ending) needs() needs {
	return needs{accounts: []uuid.UUID{h.AccountID, h.DestinationAccountID}, holds: []uuid.UUID{h.ID}}
}

func (h ending) do(b books) (done, *problem.Error) {
	before := b.holds[h.ID]
	switch {
	case before.Status != open || h.Status == captured && !before.ExpiresAt.After(b.now):
		return done{}, problem.Conflict.New("hold-not-open", "This hold has ended already: it was captured or voided, or its time is over.")
	case h.CapturedAmount != nil && *h.CapturedAmount > h.Amount:
		return done{}, refuseAt(problem.Invalid, "amount-exceeds-hold", "is more than is held", "/amount")
	}
	from := b.balances[h.AccountID]
	from.Held -= h.Amount
	d := draft{h.AccountID: from}
	var entries []entry
	if h.transaction != nil {
		var e *problem.Error
		if entries, e = b.post(*h.transaction, d, terms{debit: func(balance) bool { return true }, frozen: true}); e != nil {
			return done{}, unplaced(e)
		}
	}
	b.holds[h.ID] = h.hold
	b.keep(d)
	return done{transaction: h.transaction, entries: entries, ended: &h.hold}, nil
}

// tag is the hold's ETag.
func (h hold) tag() string { return etag.Of(strconv.FormatInt(h.Version, 10)) }

// api is the hold as the contract has it.
func (h hold) api() transactionsv1.Hold {
	return transactionsv1.Hold{
		Id: h.ID, AccountId: h.AccountID, DestinationAccountId: h.DestinationAccountID, Amount: h.Amount, Currency: h.Currency,
		Status: transactionsv1.HoldStatus(h.Status), CapturedAmount: h.CapturedAmount, TransactionId: h.TransactionID,
		CreatedAt: h.CreatedAt.UTC(), CreatedBy: h.CreatedBy, ExpiresAt: h.ExpiresAt.UTC(),
	}
}

// response is the hold with its ETag.
func (h hold) response() transactionsv1.HoldJSONResponse {
	return transactionsv1.HoldJSONResponse{Body: h.api(), Headers: transactionsv1.HoldResponseHeaders{ETag: h.tag()}}
}
