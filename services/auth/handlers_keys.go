package auth

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/page"
	"example.com/groundwork/pkg/problem"
)

// makeKey makes a key for somebody (nil: a service account) out of the scopes that may be given.
func (m *Module) makeKey(ctx context.Context, of *uuid.UUID, in authv1.NewKey, allowed []string) (shown authv1.KeyShownJSONResponse, err error) {
	for i, scope := range in.Scopes {
		if !slices.Contains(allowed, scope) || !mayCarry(scope) {
			return shown, invalid(fmt.Sprintf("/scopes/%d", i), "unknown", "is not yours to give to a key")
		}
	}
	days := keyDays
	if in.ExpiresInDays != nil {
		days = *in.ExpiresInDays
	}
	k := apiKey{ID: uuid.Must(uuid.NewV7()), OwnerID: of, Name: in.Name, Scopes: in.Scopes}
	secret, digest := newSecret(m.config.KeyLabel, k.ID)
	k.Digest = digest
	made, err := m.store.addKey(ctx, k, time.Duration(days)*24*time.Hour)
	return made.shown(secret), err
}

func (m *Module) keyPage(ctx context.Context, of *uuid.UUID, max *int, cursor *string) (answer authv1.KeyPageJSONResponse, err error) {
	limit, filter := page.Limit(max), "service accounts"
	if of != nil {
		filter = "keys of " + of.String()
	}
	before, err := page.Decode(filter, cursor, uuid.Max)
	if err != nil {
		return answer, err
	}
	rows, err := m.store.apiKeys(ctx, of, before, limit+1)
	if err != nil {
		return answer, err
	}
	p := page.Of(ctx, rows, limit, filter, func(k apiKey) uuid.UUID { return k.ID }, apiKey.api)
	return authv1.KeyPageJSONResponse{
		Body:    authv1.KeyPage{Data: p.Data, Page: authv1.Page{HasMore: p.More, NextCursor: p.Cursor}},
		Headers: authv1.KeyPageResponseHeaders{Link: p.Link},
	}, nil
}

func (m *Module) rotateKey(ctx context.Context, id uuid.UUID, of *uuid.UUID) (authv1.KeyShownJSONResponse, error) {
	secret, digest := newSecret(m.config.KeyLabel, id)
	k, err := m.store.rotateKey(ctx, id, of, digest, authn.From(ctx).Scopes)
	return k.shown(secret), err
}

// owner is who asks, as the owner of keys.
func owner(ctx context.Context) *uuid.UUID {
	p := authn.From(ctx)
	return &p.UserID
}

// CreateApiKey makes a key with some of the caller's scopes.
func (m *Module) CreateApiKey(ctx context.Context, req authv1.CreateApiKeyRequestObject) (authv1.CreateApiKeyResponseObject, error) {
	shown, err := m.makeKey(ctx, owner(ctx), *req.Body, authn.From(ctx).Scopes)
	return authv1.CreateApiKey201JSONResponse{KeyShownJSONResponse: shown}, err
}

// ListApiKeys lists the caller's keys.
func (m *Module) ListApiKeys(ctx context.Context, req authv1.ListApiKeysRequestObject) (authv1.ListApiKeysResponseObject, error) {
	answer, err := m.keyPage(ctx, owner(ctx), req.Params.Limit, req.Params.Cursor)
	return authv1.ListApiKeys200JSONResponse{KeyPageJSONResponse: answer}, err
}

// RotateApiKey replaces one of the caller's keys.
func (m *Module) RotateApiKey(ctx context.Context, req authv1.RotateApiKeyRequestObject) (authv1.RotateApiKeyResponseObject, error) {
	shown, err := m.rotateKey(ctx, req.Id, owner(ctx))
	return authv1.RotateApiKey200JSONResponse{KeyShownJSONResponse: shown}, err
}

// DeleteApiKey has one of the caller's keys count no more.
func (m *Module) DeleteApiKey(ctx context.Context, req authv1.DeleteApiKeyRequestObject) (authv1.DeleteApiKeyResponseObject, error) {
	return authv1.DeleteApiKey204Response{}, m.store.deleteKey(ctx, req.Id, owner(ctx))
}

// CreateServiceAccount makes a service account with some of the caller's scopes.
func (m *Module) CreateServiceAccount(ctx context.Context, req authv1.CreateServiceAccountRequestObject) (authv1.CreateServiceAccountResponseObject, error) {
	shown, err := m.makeKey(ctx, nil, *req.Body, authn.From(ctx).Scopes)
	return authv1.CreateServiceAccount201JSONResponse{KeyShownJSONResponse: shown}, err
}

// ListServiceAccounts lists them.
func (m *Module) ListServiceAccounts(ctx context.Context, req authv1.ListServiceAccountsRequestObject) (authv1.ListServiceAccountsResponseObject, error) {
	answer, err := m.keyPage(ctx, nil, req.Params.Limit, req.Params.Cursor)
	return authv1.ListServiceAccounts200JSONResponse{KeyPageJSONResponse: answer}, err
}

// RotateServiceAccount replaces a service account's key.
func (m *Module) RotateServiceAccount(ctx context.Context, req authv1.RotateServiceAccountRequestObject) (authv1.RotateServiceAccountResponseObject, error) {
	shown, err := m.rotateKey(ctx, req.Id, nil)
	return authv1.RotateServiceAccount200JSONResponse{KeyShownJSONResponse: shown}, err
}

// DeleteServiceAccount has a service account count no more.
func (m *Module) DeleteServiceAccount(ctx context.Context, req authv1.DeleteServiceAccountRequestObject) (authv1.DeleteServiceAccountResponseObject, error) {
	return authv1.DeleteServiceAccount204Response{}, m.store.deleteKey(ctx, req.Id, nil)
}

// byKey trades a key for an access token of whoever acts by it. It carries no proof of a person.
func (m *Module) byKey(ctx context.Context, secret string, asked *string) (none authv1.Tokens, err error) {
	id, ok := keyID(secret)
	if !ok {
		return none, errClient()
	}
	k, err := m.store.apiKey(ctx, id)
	if problem.Is(err, problem.NotFound) || err == nil && !k.opens(secret) {
		return none, errClient()
	}
	if err != nil {
		return none, err
	}
	scopes, ok := narrow(k.granted(), asked)
	if !ok {
		return none, errScope
	}
	if err := m.store.keyUsed(ctx, k); err != nil {
		return none, err
	}
	claims := m.claims(k.subject().String(), id.String(), scopes, time.Now())
	claims.Session, claims.Version = id.String(), k.OwnerVersion
	return m.accessOnly(ctx, claims)
}

// revokeKey has a key count no more for whoever has it.
func (m *Module) revokeKey(ctx context.Context, id uuid.UUID, secret string) error {
	k, err := m.store.apiKey(ctx, id)
	if err == nil && k.is(secret) {
		err = m.store.deleteKey(ctx, id, k.OwnerID)
	}
	if problem.Is(err, problem.NotFound) { // or another one has just done it
		return nil
	}
	return err
}

// accessOnly is the answer with an access token alone.
func (m *Module) accessOnly(ctx context.Context, claims authn.Claims) (authv1.Tokens, error) {
	access, err := m.signing.sign(ctx, claims)
	return authv1.Tokens{
		AccessToken: access, TokenType: authv1.TokensTokenTypeBearer, ExpiresIn: int(accessLifetime.Seconds()), Scope: claims.Scope,
	}, err
}
