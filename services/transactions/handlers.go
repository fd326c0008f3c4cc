package transactions

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/google/uuid"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/etag"
	"example.com/groundwork/pkg/idempotency"
	"example.com/groundwork/pkg/page"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// CreateAccount opens an account.
func (m *Module) CreateAccount(ctx context.Context, r transactionsv1.CreateAccountRequestObject) (transactionsv1.CreateAccountResponseObject, error) {
	id, now, err := stamp()
	if err != nil {
		return nil, err
	}
	caller := authn.From(ctx)
	a, err := newAccount(id, now, caller.UserID, caller.Has("ledger:write"), *r.Body)
	if err != nil {
		return nil, err
	}
	// only with users:
	if r.Body.OwnerId != nil {
		if err := m.checkOwner(ctx, *r.Body.OwnerId); err != nil {
			return nil, err
		}
	}
	// end users
	if err := m.store.createAccount(ctx, a); err != nil {
		return nil, err
	}
	return transactionsv1.CreateAccount201JSONResponse{
		Body:    a.api(),
		Headers: transactionsv1.CreateAccount201ResponseHeaders{Location: "/v1/accounts/" + a.ID.String(), ETag: a.tag()},
	}, nil
}

// ListAccounts lists the caller's accounts.
func (m *Module) ListAccounts(ctx context.Context, r transactionsv1.ListAccountsRequestObject) (transactionsv1.ListAccountsResponseObject, error) {
	caller, limit := authn.From(ctx).UserID, page.Limit(r.Params.Limit)
	filter := "accounts of " + caller.String()
	before, err := page.Decode(filter, r.Params.Cursor, uuid.Max)
	if err != nil {
		return nil, err
	}
	rows, err := m.store.accounts(ctx, caller, before, limit+1)
	if err != nil {
		return nil, err
	}
	p := page.Of(ctx, rows, limit, filter, func(a account) uuid.UUID { return a.ID }, account.api)
	return transactionsv1.ListAccounts200JSONResponse{
		Body:    transactionsv1.AccountPage{Data: p.Data, Page: transactionsv1.Page{HasMore: p.More, NextCursor: p.Cursor}},
		Headers: transactionsv1.ListAccounts200ResponseHeaders{Link: p.Link},
	}, nil
}

// GetAccount reads an account and its balance.
func (m *Module) GetAccount(ctx context.Context, r transactionsv1.GetAccountRequestObject) (transactionsv1.GetAccountResponseObject, error) {
	a, err := m.store.account(ctx, r.Id, reader(ctx))
	if err != nil {
		return nil, err
	}
	if etag.None(r.Params.IfNoneMatch, a.tag()) {
		return transactionsv1.GetAccount304Response{Headers: transactionsv1.GetAccount304ResponseHeaders{ETag: a.tag()}}, nil
	}
	return transactionsv1.GetAccount200JSONResponse{AccountJSONResponse: a.response()}, nil
}

// UpdateAccount changes an account's name or metadata.
func (m *Module) UpdateAccount(ctx context.Context, r transactionsv1.UpdateAccountRequestObject) (transactionsv1.UpdateAccountResponseObject, error) {
	n, err := newNotes(*r.Body)
	if err != nil {
		return nil, err
	}
	caller := authn.From(ctx)
	a, err := m.store.updateNotes(ctx, r.Id, viewer{caller.UserID, caller.Has("ledger:write")}, profileVersions(r.Params.IfMatch), n)
	if err != nil {
		return nil, err
	}
	return transactionsv1.UpdateAccount200JSONResponse{AccountJSONResponse: a.response()}, nil
}

// ListEntries reads an account's statement.
func (m *Module) ListEntries(ctx context.Context, r transactionsv1.ListEntriesRequestObject) (transactionsv1.ListEntriesResponseObject, error) {
	limit, filter := page.Limit(r.Params.Limit), "entries of "+r.Id.String()
	before, err := page.Decode(filter, r.Params.Cursor, int64(math.MaxInt64))
	if err != nil {
		return nil, err
	}
	if _, err := m.store.account(ctx, r.Id, reader(ctx)); err != nil {
		return nil, err
	}
	rows, err := m.store.entries(ctx, r.Id, before, limit+1)
	if err != nil {
		return nil, err
	}
	p := page.Of(ctx, rows, limit, filter, func(e entry) int64 { return e.AccountVersion }, entry.api)
	return transactionsv1.ListEntries200JSONResponse{
		Body:    transactionsv1.EntryPage{Data: p.Data, Page: transactionsv1.Page{HasMore: p.More, NextCursor: p.Cursor}},
		Headers: transactionsv1.ListEntries200ResponseHeaders{Link: p.Link},
	}, nil
}

// FreezeAccount keeps an account from taking part.
func (m *Module) FreezeAccount(ctx context.Context, r transactionsv1.FreezeAccountRequestObject) (transactionsv1.FreezeAccountResponseObject, error) {
	a, err := m.store.setStatus(ctx, r.Id, frozen)
	return transactionsv1.FreezeAccount200JSONResponse{AccountJSONResponse: a.response()}, err
}

// UnfreezeAccount lets it take part again.
func (m *Module) UnfreezeAccount(ctx context.Context, r transactionsv1.UnfreezeAccountRequestObject) (transactionsv1.UnfreezeAccountResponseObject, error) {
	a, err := m.store.setStatus(ctx, r.Id, active)
	return transactionsv1.UnfreezeAccount200JSONResponse{AccountJSONResponse: a.response()}, err
}

// CloseAccount ends an account that is empty.
func (m *Module) CloseAccount(ctx context.Context, r transactionsv1.CloseAccountRequestObject) (transactionsv1.CloseAccountResponseObject, error) {
	a, err := m.store.setStatus(ctx, r.Id, closed)
	return transactionsv1.CloseAccount200JSONResponse{AccountJSONResponse: a.response()}, err
}

// CreateTransaction moves money, once per key.
func (m *Module) CreateTransaction(ctx context.Context, r transactionsv1.CreateTransactionRequestObject) (transactionsv1.CreateTransactionResponseObject, error) {
	id, now, err := stamp()
	if err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	t, err := newTransaction(id, now, c.id, *r.Body)
	if err != nil {
		return nil, err
	}
	d := transfer{t, c.operator}
	if r.Params.DryRun != nil && *r.Params.DryRun {
		return transactionsv1.CreateTransaction200JSONResponse(t.preview()), m.store.preview(ctx, d)
	}
	if r.Params.IdempotencyKey == nil {
		return nil, problem.Malformed.New("idempotency-key-missing", "Send an Idempotency-Key: what moves money is sent once, however often it is sent.")
	}
	return m.carryOut(ctx, d, c.id, *r.Params.IdempotencyKey, http.StatusCreated, at("/v1/transactions/", id), t.api())
}

// ReverseTransaction takes a transaction back.
func (m *Module) ReverseTransaction(ctx context.Context, r transactionsv1.ReverseTransactionRequestObject) (transactionsv1.ReverseTransactionResponseObject, error) {
	id, now, err := stamp()
	if err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	original, err := m.store.transaction(ctx, r.Id, viewer{c.id, c.operator})
	if err != nil {
		return nil, err
	}
	d := newReversal(id, now, c.id, c.operator, original)
	return m.carryOut(ctx, d, c.id, r.Params.IdempotencyKey, http.StatusCreated, at("/v1/transactions/", id), d.api())
}

// CreateHold sets money aside.
func (m *Module) CreateHold(ctx context.Context, r transactionsv1.CreateHoldRequestObject) (transactionsv1.CreateHoldResponseObject, error) {
	id, now, err := stamp()
	if err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	h := newHold(id, now, c.id, *r.Body)
	header := at("/v1/holds/", id)
	header.Set("ETag", h.tag())
	return m.carryOut(ctx, placing{h, c.operator}, c.id, r.Params.IdempotencyKey, http.StatusCreated, header, h.api())
}

// GetHold reads a hold.
func (m *Module) GetHold(ctx context.Context, r transactionsv1.GetHoldRequestObject) (transactionsv1.GetHoldResponseObject, error) {
	h, err := m.store.hold(ctx, r.Id, reader(ctx))
	if err != nil {
		return nil, err
	}
	if etag.None(r.Params.IfNoneMatch, h.tag()) {
		return transactionsv1.GetHold304Response{Headers: transactionsv1.GetHold304ResponseHeaders{ETag: h.tag()}}, nil
	}
	return transactionsv1.GetHold200JSONResponse{HoldJSONResponse: h.response()}, nil
}

// CaptureHold takes what is held.
func (m *Module) CaptureHold(ctx context.Context, r transactionsv1.CaptureHoldRequestObject) (transactionsv1.CaptureHoldResponseObject, error) {
	id, now, err := stamp()
	if err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	h, err := m.store.holdToEnd(ctx, r.Id, viewer{c.id, c.operator})
	if err != nil {
		return nil, err
	}
	return m.end(ctx, h.capture(id, now, c.id, r.Body.Amount), c.id, r.Params.IdempotencyKey)
}

// VoidHold lets go of what is held.
func (m *Module) VoidHold(ctx context.Context, r transactionsv1.VoidHoldRequestObject) (transactionsv1.VoidHoldResponseObject, error) {
	c := callerOf(ctx)
	h, err := m.store.holdToEnd(ctx, r.Id, viewer{c.id, c.operator})
	if err != nil {
		return nil, err
	}
	return m.end(ctx, h.void(), c.id, r.Params.IdempotencyKey)
}

func (m *Module) end(ctx context.Context, d ending, by uuid.UUID, key string) (answer, error) {
	return m.carryOut(ctx, d, by, key, http.StatusOK, http.Header{"Etag": {d.tag()}}, d.api())
}

// carryOut has a deed done once per key. It goes on when the caller leaves: they will ask again with the same key.
func (m *Module) carryOut(ctx context.Context, d deed, by uuid.UUID, key string, status int, header http.Header, body any) (answer, error) {
	key, err := idempotency.Key(key)
	if err != nil {
		return answer{}, err
	}
	info := request.From(ctx)
	o, err := newOrder(d, by, key, info, status, header, body)
	if err != nil {
		return answer{}, err
	}
	out := m.orders.do(ctx, o)
	info.Code = out.answer.code
	return out.answer, out.err
}

func at(path string, id uuid.UUID) http.Header { return http.Header{"Location": {path + id.String()}} }

// GetTransaction reads a transaction.
func (m *Module) GetTransaction(ctx context.Context, r transactionsv1.GetTransactionRequestObject) (transactionsv1.GetTransactionResponseObject, error) {
	t, err := m.store.transaction(ctx, r.Id, reader(ctx))
	if err != nil {
		return nil, err
	}
	return transactionsv1.GetTransaction200JSONResponse(t.api()), nil
}

// ListTransactions lists the transactions of one account.
func (m *Module) ListTransactions(ctx context.Context, r transactionsv1.ListTransactionsRequestObject) (transactionsv1.ListTransactionsResponseObject, error) {
	id, limit := r.Params.AccountId, page.Limit(r.Params.Limit)
	filter := "transactions of " + id.String()
	before, err := page.Decode(filter, r.Params.Cursor, int64(math.MaxInt64))
	if err != nil {
		return nil, err
	}
	if _, err := m.store.account(ctx, id, reader(ctx)); err != nil {
		return nil, err
	}
	rows, err := m.store.transactions(ctx, id, before, limit+1)
	if err != nil {
		return nil, err
	}
	p := page.Of(ctx, rows, limit, filter, func(l listed) int64 { return l.AccountVersion }, listed.api)
	return transactionsv1.ListTransactions200JSONResponse{
		Body:    transactionsv1.TransactionPage{Data: p.Data, Page: transactionsv1.Page{HasMore: p.More, NextCursor: p.Cursor}},
		Headers: transactionsv1.ListTransactions200ResponseHeaders{Link: p.Link},
	}, nil
}

// caller is who wants something done. Keys, references and transactions are theirs.
type caller struct {
	id       uuid.UUID
	operator bool // has ledger:write
}

// callerOf names a person by their id, and a module by one that is made of its name (RFC 9562, version 5).
func callerOf(ctx context.Context) caller {
	p := authn.From(ctx)
	id := p.UserID
	if id == uuid.Nil {
		id = uuid.NewSHA1(uuid.NameSpaceOID, []byte("module "+p.Subject))
	}
	return caller{id, p.Has("ledger:write")}
}

// reader is the caller as one who reads.
func reader(ctx context.Context) viewer {
	return viewer{callerOf(ctx).id, authn.From(ctx).Has("ledger:read")}
}

// stamp gives a new row its id and its time, in the precision that the database keeps.
func stamp() (uuid.UUID, time.Time, error) {
	id, err := uuid.NewV7()
	return id, time.Now().UTC().Truncate(time.Microsecond), err
}
