package users

import (
	"context"
	"encoding/hex"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/etag"
	"example.com/groundwork/pkg/page"
	"example.com/groundwork/pkg/seal"
)

// GetMe answers the caller's profile. A module has none.
func (m *Module) GetMe(ctx context.Context, request usersv1.GetMeRequestObject) (usersv1.GetMeResponseObject, error) {
	u, err := m.store.get(ctx, authn.From(ctx).UserID)
	if err != nil {
		return nil, err
	}
	if etag.None(request.Params.IfNoneMatch, u.etag()) {
		return usersv1.GetMe304Response{Headers: usersv1.NotModifiedResponseHeaders{ETag: u.etag()}}, nil
	}
	response, err := m.response(ctx, u)
	return usersv1.GetMe200JSONResponse{UserJSONResponse: response}, err
}

// UpdateMe changes the caller's profile. What it is compared with is read past the cache, which may be a moment behind.
func (m *Module) UpdateMe(ctx context.Context, request usersv1.UpdateMeRequestObject) (usersv1.UpdateMeResponseObject, error) {
	p, err := newPatch(*request.Body)
	if err != nil {
		return nil, err
	}
	u, err := m.store.read(ctx, authn.From(ctx).UserID)
	if err != nil {
		return nil, err
	}
	if err := etag.Check(request.Params.IfMatch, u.etag()); err != nil {
		return nil, err
	}
	if u, err = m.store.update(ctx, u.ID, u.Version, p); err != nil {
		return nil, err
	}
	response, err := m.response(ctx, u)
	return usersv1.UpdateMe200JSONResponse{UserJSONResponse: response}, err
}

// ListUsers answers profiles to those who look after people.
func (m *Module) ListUsers(ctx context.Context, req usersv1.ListUsersRequestObject) (usersv1.ListUsersResponseObject, error) {
	limit, f, name := page.Limit(req.Params.Limit), filter{}, "users"
	if req.Params.Email != nil {
		index, err := m.keys.Index(ctx, seal.NormalEmail(*req.Params.Email))
		if err != nil {
			return nil, err
		}
		f.emailIndex, name = index, name+" with "+hex.EncodeToString(index)
	}
	if req.Params.Status != nil {
		f.status, name = string(*req.Params.Status), name+" that are "+string(*req.Params.Status)
	}
	before, err := page.Decode(name, req.Params.Cursor, uuid.Max)
	if err != nil {
		return nil, err
	}
	rows, err := m.store.list(ctx, before, f, limit+1)
	if err != nil {
		return nil, err
	}
	// only with auth:
	kind, about := authv1.NewAuditEventKindUsersListed, uuid.Nil
	if f.emailIndex != nil && len(rows) == 1 { // somebody was looked up
		kind, about = authv1.NewAuditEventKindUserRead, rows[0].ID
	}
	if err := m.noted(ctx, kind, about); err != nil {
		return nil, err
	}
	// end auth
	opened := map[uuid.UUID]usersv1.User{}
	for _, u := range rows[:min(len(rows), limit)] {
		if opened[u.ID], err = u.api(ctx, m.keys); err != nil {
			return nil, err
		}
	}
	p := page.Of(ctx, rows, limit, name, func(u user) uuid.UUID { return u.ID }, func(u user) usersv1.User { return opened[u.ID] })
	return usersv1.ListUsers200JSONResponse{
		Body:    usersv1.UserPage{Data: p.Data, Page: usersv1.Page{HasMore: p.More, NextCursor: p.Cursor}},
		Headers: usersv1.ListUsers200ResponseHeaders{Link: p.Link},
	}, nil
}

// GetUser answers anybody's profile to a module, and to those who look after people.
func (m *Module) GetUser(ctx context.Context, request usersv1.GetUserRequestObject) (usersv1.GetUserResponseObject, error) {
	u, err := m.store.get(ctx, request.Id)
	if err != nil {
		return nil, err
	}
	// only with auth:
	if err := m.noted(ctx, authv1.NewAuditEventKindUserRead, u.ID); err != nil {
		return nil, err
	}
	// end auth
	response, err := m.response(ctx, u)
	return usersv1.GetUser200JSONResponse{UserJSONResponse: response}, err
}

// ProvisionUser makes a profile or brings it up to date with its account.
func (m *Module) ProvisionUser(ctx context.Context, request usersv1.ProvisionUserRequestObject) (usersv1.ProvisionUserResponseObject, error) {
	if err := m.store.provision(ctx, request.Id, request.Body.Email, request.Body.AuthVersion, (*string)(request.Body.Status)); err != nil {
		return nil, err
	}
	return usersv1.ProvisionUser204Response{}, nil
}

func (m *Module) response(ctx context.Context, u user) (usersv1.UserJSONResponse, error) {
	body, err := u.api(ctx, m.keys)
	return usersv1.UserJSONResponse{Body: body, Headers: usersv1.UserResponseHeaders{ETag: u.etag()}}, err
}
