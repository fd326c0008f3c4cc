package auth

import (
	"context"
	"slices"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/page"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/seal"
)

// ListIdentities finds an account by its address.
func (m *Module) ListIdentities(ctx context.Context, req authv1.ListIdentitiesRequestObject) (authv1.ListIdentitiesResponseObject, error) {
	list := authv1.ListIdentities200JSONResponse{Data: []authv1.Account{}}
	index, err := m.keys.Index(ctx, seal.NormalEmail(req.Params.Email))
	if err != nil {
		return nil, err
	}
	a, err := m.store.accountByAddress(ctx, index)
	if problem.Is(err, problem.NotFound) {
		return list, m.store.audit(ctx, m.store.db, "identity.sought", uuid.Nil, uuid.Nil)
	}
	if err != nil {
		return nil, err
	}
	shown, err := m.show(ctx, a)
	list.Data = append(list.Data, shown)
	return list, err
}

// show is somebody's account in the clear. That it was looked at is noted first.
func (m *Module) show(ctx context.Context, a account) (authv1.Account, error) {
	if err := m.store.audit(ctx, m.store.db, "identity.read", a.ID, uuid.Nil); err != nil {
		return authv1.Account{}, err
	}
	email, err := m.keys.Open(ctx, a.EmailCT, "identities", "email_ct", a.ID)
	return a.api(string(email)), err
}

// GetIdentity reads an account.
func (m *Module) GetIdentity(ctx context.Context, req authv1.GetIdentityRequestObject) (authv1.GetIdentityResponseObject, error) {
	a, err := m.store.account(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	shown, err := m.show(ctx, a)
	return authv1.GetIdentity200JSONResponse{AccountJSONResponse: authv1.AccountJSONResponse(shown)}, err
}

// SetRoles says what somebody may do.
func (m *Module) SetRoles(ctx context.Context, req authv1.SetRolesRequestObject) (authv1.SetRolesResponseObject, error) {
	roles := texts(req.Body.Roles)
	if err := keepsOwnRole(ctx, req.Id, roles); err != nil {
		return nil, err
	}
	a, err := m.store.setRoles(ctx, req.Id, roles)
	if err != nil {
		return nil, err
	}
	email, err := m.keys.Open(ctx, a.EmailCT, "identities", "email_ct", a.ID)
	return authv1.SetRoles200JSONResponse{AccountJSONResponse: authv1.AccountJSONResponse(a.api(string(email)))}, err
}

func keepsOwnRole(ctx context.Context, id uuid.UUID, roles []string) error {
	if authn.From(ctx).UserID == id && !slices.Contains(roles, roleOperator) {
		return invalid("/roles", "own", "takes your own right to do this away; another operator can")
	}
	return nil
}

// DisableIdentity keeps somebody out.
func (m *Module) DisableIdentity(ctx context.Context, req authv1.DisableIdentityRequestObject) (authv1.DisableIdentityResponseObject, error) {
	if authn.From(ctx).UserID == req.Id {
		return nil, problem.Conflict.New("own-account", "This is your own account; another operator can disable it.")
	}
	return authv1.DisableIdentity204Response{}, m.store.disable(ctx, req.Id)
}

// EnableIdentity lets somebody in again.
func (m *Module) EnableIdentity(ctx context.Context, req authv1.EnableIdentityRequestObject) (authv1.EnableIdentityResponseObject, error) {
	return authv1.EnableIdentity204Response{}, m.store.enable(ctx, req.Id)
}

// UnlockIdentity opens an account that too many wrong passwords have closed.
func (m *Module) UnlockIdentity(ctx context.Context, req authv1.UnlockIdentityRequestObject) (authv1.UnlockIdentityResponseObject, error) {
	index, err := m.store.unlock(ctx, req.Id)
	if err == nil {
		m.throttle.clear(ctx, passwordsOf(index))
		m.throttle.clear(ctx, codesOf(index))
	}
	return authv1.UnlockIdentity204Response{}, err
}

// RevokeSessions ends all of somebody's sessions.
func (m *Module) RevokeSessions(ctx context.Context, req authv1.RevokeSessionsRequestObject) (authv1.RevokeSessionsResponseObject, error) {
	return authv1.RevokeSessions204Response{}, m.store.endSessionsOf(ctx, req.Id)
}

// RevokeKeys has all of somebody's keys count no more.
func (m *Module) RevokeKeys(ctx context.Context, req authv1.RevokeKeysRequestObject) (authv1.RevokeKeysResponseObject, error) {
	return authv1.RevokeKeys204Response{}, m.store.endKeysOf(ctx, req.Id)
}

// RemoveSecondFactor takes somebody's second factor away.
func (m *Module) RemoveSecondFactor(ctx context.Context, req authv1.RemoveSecondFactorRequestObject) (authv1.RemoveSecondFactorResponseObject, error) {
	index, err := m.store.removeFactor(ctx, req.Id)
	if err == nil {
		m.throttle.clear(ctx, codesOf(index))
	}
	return authv1.RemoveSecondFactor204Response{}, err
}

// StartPasswordReset mails somebody what they would get if they asked for it themselves.
func (m *Module) StartPasswordReset(ctx context.Context, req authv1.StartPasswordResetRequestObject) (authv1.StartPasswordResetResponseObject, error) {
	email, err := m.addressOf(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	if err := m.store.audit(ctx, m.store.db, "password.reset-asked", req.Id, uuid.Nil); err != nil {
		return nil, err
	}
	return authv1.StartPasswordReset204Response{}, m.ask(ctx, passwordReset, nil, email)
}

// ListSessionsOf lists somebody's sessions.
func (m *Module) ListSessionsOf(ctx context.Context, req authv1.ListSessionsOfRequestObject) (authv1.ListSessionsOfResponseObject, error) {
	if _, err := m.store.account(ctx, req.Id); err != nil {
		return nil, err
	}
	if err := m.store.audit(ctx, m.store.db, "sessions.read", req.Id, uuid.Nil); err != nil {
		return nil, err
	}
	body, link, err := m.sessionPage(ctx, req.Id, req.Params.Limit, req.Params.Cursor)
	return authv1.ListSessionsOf200JSONResponse{Body: body, Headers: authv1.ListSessionsOf200ResponseHeaders{Link: link}}, err
}

// ListAuditEvents lists what was done. That somebody has looked is noted as well.
func (m *Module) ListAuditEvents(ctx context.Context, req authv1.ListAuditEventsRequestObject) (authv1.ListAuditEventsResponseObject, error) {
	limit, filter := page.Limit(req.Params.Limit), "audit events"
	if req.Params.IdentityId != nil {
		filter += " of " + req.Params.IdentityId.String()
	}
	if req.Params.Kind != nil {
		filter += " that are " + *req.Params.Kind
	}
	before, err := page.Decode(filter, req.Params.Cursor, uuid.Max)
	if err != nil {
		return nil, err
	}
	about := uuid.Nil
	if req.Params.IdentityId != nil {
		about = *req.Params.IdentityId
	}
	rows, err := m.store.auditEvents(ctx, before, req.Params.IdentityId, req.Params.Kind, limit+1)
	if err != nil {
		return nil, err
	}
	if err := m.store.audit(ctx, m.store.db, "audit.read", about, uuid.Nil); err != nil {
		return nil, err
	}
	addresses := map[uuid.UUID]string{}
	for _, e := range rows {
		if e.AddressCT != nil {
			address, err := m.keys.Open(ctx, e.AddressCT, "audit_addresses", "address_ct", e.ID)
			if err != nil {
				return nil, err
			}
			addresses[e.ID] = string(address)
		}
	}
	p := page.Of(ctx, rows, limit, filter, func(e auditEvent) uuid.UUID { return e.ID }, func(e auditEvent) authv1.AuditEvent { return e.api(addresses[e.ID]) })
	return authv1.ListAuditEvents200JSONResponse{
		Body:    authv1.AuditEventPage{Data: p.Data, Page: authv1.Page{HasMore: p.More, NextCursor: p.Cursor}},
		Headers: authv1.ListAuditEvents200ResponseHeaders{Link: p.Link},
	}, nil
}
