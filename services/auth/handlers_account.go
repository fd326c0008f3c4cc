package auth

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/page"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/seal"
)

// ForgotPassword notes that somebody asks for a new password. As at registration, work and answer are the same whoever has the address.
func (m *Module) ForgotPassword(ctx context.Context, req authv1.ForgotPasswordRequestObject) (authv1.ForgotPasswordResponseObject, error) {
	return authv1.ForgotPassword202Response{}, m.ask(ctx, passwordReset, nil, req.Body.Email)
}

// ResendVerification notes that somebody waits for the mail of a registration.
func (m *Module) ResendVerification(ctx context.Context, req authv1.ResendVerificationRequestObject) (authv1.ResendVerificationResponseObject, error) {
	return authv1.ResendVerification202Response{}, m.ask(ctx, resend, nil, req.Body.Email)
}

// ChangeEmail notes that the caller wants another address. Nothing changes before somebody who reads its mail says so.
func (m *Module) ChangeEmail(ctx context.Context, req authv1.ChangeEmailRequestObject) (authv1.ChangeEmailResponseObject, error) {
	caller := authn.From(ctx)
	return authv1.ChangeEmail202Response{}, m.ask(ctx, emailChange, &caller.UserID, req.Body.Email)
}

// ask notes what somebody wants that needs a mail to an address.
func (m *Module) ask(ctx context.Context, kind string, identity *uuid.UUID, address string) error {
	t, err := m.newOneTimeToken(ctx, kind, identity, address)
	if err != nil {
		return err
	}
	return m.store.addOneTimeToken(ctx, t)
}

func (m *Module) newOneTimeToken(ctx context.Context, kind string, identity *uuid.UUID, address string) (t oneTimeToken, err error) {
	t = oneTimeToken{ID: uuid.Must(uuid.NewV7()), Kind: kind, IdentityID: identity}
	email := seal.NormalEmail(address)
	if t.EmailIndex, err = m.keys.Index(ctx, email); err != nil {
		return t, err
	}
	if t.EmailCT, err = m.keys.Seal(ctx, []byte(email), "one_time_tokens", "email_ct", t.ID); err != nil {
		return t, err
	}
	token, err := m.mailedToken(ctx, t.ID)
	t.Digest = digest(token)
	return t, err
}

// ResetPassword sets a new password for whoever reads the mail of the address.
func (m *Module) ResetPassword(ctx context.Context, req authv1.ResetPasswordRequestObject) (authv1.ResetPasswordResponseObject, error) {
	if err := checkPassword(req.Body.Password, m.config.PasswordMinLength); err != nil {
		return nil, err
	}
	t, err := m.store.oneTimeToken(ctx, passwordReset, digest(req.Body.Token))
	if err != nil {
		return nil, err
	}
	hash, err := m.hasher.hash(ctx, req.Body.Password)
	if err != nil {
		return nil, err
	}
	if err := m.store.resetPassword(ctx, t, hash); err != nil {
		return nil, err
	}
	m.throttle.clear(ctx, passwordsOf(t.EmailIndex))
	return authv1.ResetPassword204Response{}, nil
}

// ChangePassword replaces the caller's password.
func (m *Module) ChangePassword(ctx context.Context, req authv1.ChangePasswordRequestObject) (authv1.ChangePasswordResponseObject, error) {
	if err := checkPassword(req.Body.Password, m.config.PasswordMinLength); err != nil {
		return nil, err
	}
	caller := authn.From(ctx)
	c, err := m.prove(ctx, caller, req.Body.CurrentPassword)
	if problem.From(err).Code == errCredentials.Code {
		return nil, invalid("/current_password", "wrong", "is not your password")
	}
	if err != nil {
		return nil, err
	}
	hash, err := m.hasher.hash(ctx, req.Body.Password)
	if err != nil {
		return nil, err
	}
	return authv1.ChangePassword204Response{}, m.store.changePassword(ctx, c, hash, caller.SessionID)
}

// prove checks the password of the caller. Wrong ones count as they do at a login, but what strangers try is not in a session's way.
func (m *Module) prove(ctx context.Context, caller authn.Principal, password string) (credentials, error) {
	c, err := m.store.credentialsOf(ctx, caller.UserID)
	if err != nil {
		return c, err
	}
	succeeded, err := m.throttle.try(ctx, passwordsOf(c.EmailIndex), caller.SessionID.String())
	if err != nil {
		return c, err
	}
	if err := m.compare(ctx, c, password); err != nil {
		return c, err
	}
	succeeded()
	return c, nil
}

// Reauthenticate gives the caller's session a fresh proof, and an access token that carries it.
func (m *Module) Reauthenticate(ctx context.Context, req authv1.ReauthenticateRequestObject) (authv1.ReauthenticateResponseObject, error) {
	caller := authn.From(ctx)
	c, err := m.prove(ctx, caller, req.Body.Password)
	if err != nil {
		return nil, err
	}
	acr, amr := acrPassword, []string{"pwd"}
	if c.SecondFactor {
		if req.Body.Code == nil {
			return nil, invalid("/code", "required", "is asked for: you have a second factor")
		}
		if err := m.useFactor(ctx, c, *req.Body.Code, caller.SessionID.String()); err != nil {
			return nil, err
		}
		acr, amr = acrFactor, byFactor
	}
	s, err := m.store.proved(ctx, caller.SessionID, c, acr, amr)
	if err != nil {
		return nil, err
	}
	granted := scopesOf(s.Roles) // a role that was taken away is not given back by a proof
	scopes := slices.DeleteFunc(slices.Clone(caller.Scopes), func(scope string) bool { return !slices.Contains(granted, scope) })
	tokens, err := m.tokens(ctx, s, scopes)
	tokens.RefreshToken = nil // it goes on as it was
	return authv1.Reauthenticate200JSONResponse(tokens), err
}

// ListSessions lists the caller's sessions.
func (m *Module) ListSessions(ctx context.Context, req authv1.ListSessionsRequestObject) (authv1.ListSessionsResponseObject, error) {
	body, link, err := m.sessionPage(ctx, authn.From(ctx).UserID, req.Params.Limit, req.Params.Cursor)
	return authv1.ListSessions200JSONResponse{Body: body, Headers: authv1.ListSessions200ResponseHeaders{Link: link}}, err
}

// sessionPage is a page of somebody's sessions.
func (m *Module) sessionPage(ctx context.Context, of uuid.UUID, max *int, cursor *string) (body authv1.SessionPage, link string, err error) {
	limit, filter := page.Limit(max), "sessions of "+of.String()
	before, err := page.Decode(filter, cursor, uuid.Max)
	if err != nil {
		return body, "", err
	}
	rows, err := m.store.sessions(ctx, of, before, limit+1)
	if err != nil {
		return body, "", err
	}
	clients := map[uuid.UUID]client{}
	for _, s := range rows {
		if clients[s.ID], err = m.openClient(ctx, s); err != nil {
			return body, "", err
		}
	}
	current := authn.From(ctx).SessionID
	p := page.Of(ctx, rows, limit, filter, func(s session) uuid.UUID { return s.ID }, func(s session) authv1.Session { return s.api(current, clients[s.ID]) })
	return authv1.SessionPage{Data: p.Data, Page: authv1.Page{HasMore: p.More, NextCursor: p.Cursor}}, p.Link, nil
}

// EndSession ends one of the caller's sessions.
func (m *Module) EndSession(ctx context.Context, req authv1.EndSessionRequestObject) (authv1.EndSessionResponseObject, error) {
	return authv1.EndSession204Response{}, m.store.endSessionOf(ctx, authn.From(ctx).UserID, req.Id)
}

// EndOtherSessions ends all of the caller's sessions but the one that asks.
func (m *Module) EndOtherSessions(ctx context.Context, _ authv1.EndOtherSessionsRequestObject) (authv1.EndOtherSessionsResponseObject, error) {
	caller := authn.From(ctx)
	return authv1.EndOtherSessions204Response{}, m.store.endOtherSessions(ctx, caller.UserID, caller.SessionID)
}

// client is who began a session, for its owner to recognise. It is kept sealed.
type client struct {
	UserAgent string `json:"user_agent"`
	Network   string `json:"network"`
}

func (m *Module) sealClient(ctx context.Context, c client, session uuid.UUID) ([]byte, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return m.keys.Seal(ctx, text, "sessions", "client_ct", session)
}

func (m *Module) openClient(ctx context.Context, s session) (c client, err error) {
	if s.ClientCT == nil { // begun before it was kept
		return c, nil
	}
	text, err := m.keys.Open(ctx, s.ClientCT, "sessions", "client_ct", s.ID)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(text, &c)
}
