package users

import (
	"context"

	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/etag"
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

// GetUser answers anybody's profile to a module.
func (m *Module) GetUser(ctx context.Context, request usersv1.GetUserRequestObject) (usersv1.GetUserResponseObject, error) {
	u, err := m.store.get(ctx, request.Id)
	if err != nil {
		return nil, err
	}
	response, err := m.response(ctx, u)
	return usersv1.GetUser200JSONResponse{UserJSONResponse: response}, err
}

// ProvisionUser makes a profile or brings it up to date with its account.
func (m *Module) ProvisionUser(ctx context.Context, request usersv1.ProvisionUserRequestObject) (usersv1.ProvisionUserResponseObject, error) {
	if err := m.store.provision(ctx, request.Id, request.Body.Email, request.Body.AuthVersion); err != nil {
		return nil, err
	}
	return usersv1.ProvisionUser204Response{}, nil
}

func (m *Module) response(ctx context.Context, u user) (usersv1.UserJSONResponse, error) {
	body, err := u.api(ctx, m.keys)
	return usersv1.UserJSONResponse{Body: body, Headers: usersv1.UserResponseHeaders{ETag: u.etag()}}, err
}
