package transactions

import (
	"context"
	"math"
	"time"

	"github.com/google/uuid"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/etag"
	"example.com/groundwork/pkg/idempotency"
	"example.com/groundwork/pkg/page"
	"example.com/groundwork/pkg/request"
)

// postDeadline bounds posting where the request's own deadline does not. It goes on when the caller leaves: they will ask again with
// the same key.
const postDeadline = 10 * time.Second

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
	p := page.Of(ctx, rows, limit, filter, func(l line) int64 { return l.AccountVersion }, line.api)
	return transactionsv1.ListEntries200JSONResponse{
		Body:    transactionsv1.EntryPage{Data: p.Data, Page: transactionsv1.Page{HasMore: p.More, NextCursor: p.Cursor}},
		Headers: transactionsv1.ListEntries200ResponseHeaders{Link: p.Link},
	}, nil
}

// CreateTransaction moves money, once per key.
func (m *Module) CreateTransaction(ctx context.Context, r transactionsv1.CreateTransactionRequestObject) (transactionsv1.CreateTransactionResponseObject, error) {
	key, err := idempotency.Key(r.Params.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	id, now, err := stamp()
	if err != nil {
		return nil, err
	}
	caller, info := authn.From(ctx), request.From(ctx)
	t, err := newTransaction(id, now, caller.UserID, *r.Body)
	if err != nil {
		return nil, err
	}
	o, err := newOrder(t, caller.Has("ledger:write"), key, info)
	if err != nil {
		return nil, err
	}
	end := now.Add(postDeadline)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(end) {
		end = deadline
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), end)
	defer cancel()
	done := m.store.post(ctx, []*order{o})[0]
	info.Code = done.answer.code
	return done.answer, done.err
}

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

// reader is the caller as one who reads.
func reader(ctx context.Context) viewer {
	caller := authn.From(ctx)
	return viewer{caller.UserID, caller.Has("ledger:read")}
}

// stamp gives a new row its id and its time, in the precision that the database keeps.
func stamp() (uuid.UUID, time.Time, error) {
	id, err := uuid.NewV7()
	return id, time.Now().UTC().Truncate(time.Microsecond), err
}
