package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// tokens makes the pair that a session's owner gets.
func (m *Module) tokens(ctx context.Context, s session, scopes []string) (authv1.Tokens, error) {
	claims := m.claims(s.IdentityID.String(), "web", scopes, time.Now())
	claims.Session, claims.AuthTime, claims.ACR, claims.AMR = s.ID.String(), s.CreatedAt.Unix(), s.ACR, s.AMR
	access, err := m.signing.sign(ctx, claims)
	if err != nil {
		return authv1.Tokens{}, err
	}
	payload := refreshPayload(s.ID, s.Counter)
	mac, err := m.keys.MAC(ctx, payload)
	if err != nil {
		return authv1.Tokens{}, err
	}
	refresh := formatRefresh(payload, mac)
	return authv1.Tokens{
		AccessToken: access, TokenType: authv1.TokensTokenTypeBearer, ExpiresIn: int(accessLifetime.Seconds()),
		RefreshToken: &refresh, Scope: claims.Scope,
	}, nil
}

// IssueToken is OAuth's token endpoint.
func (m *Module) IssueToken(ctx context.Context, req authv1.IssueTokenRequestObject) (authv1.IssueTokenResponseObject, error) {
	var tokens authv1.Tokens
	var err error
	switch req.Body.GrantType {
	case "refresh_token":
		tokens, err = m.refresh(ctx, req.Body)
	case "client_credentials":
		tokens, err = m.clientCredentials(ctx, req.Body)
	case "": // a parameter without a value counts as left out (RFC 6749, section 3.2)
		err = problem.Malformed.New("invalid_request", "grant_type is missing.")
	default:
		err = problem.Malformed.New("unsupported_grant_type", "The grant types are refresh_token and client_credentials.")
	}
	if err != nil {
		return nil, err
	}
	return authv1.IssueToken200JSONResponse(tokens), nil
}

// refresh trades a session's token for the next one. Nothing is used up before it is clear that there will be an answer.
func (m *Module) refresh(ctx context.Context, form *authv1.TokenRequest) (none authv1.Tokens, err error) {
	invalid := problem.Malformed.New("invalid_grant", "The refresh token is not valid.")
	if form.RefreshToken == nil || *form.RefreshToken == "" {
		return none, problem.Malformed.New("invalid_request", "refresh_token is missing.")
	}
	id, counter, err := m.openRefresh(ctx, *form.RefreshToken)
	if errors.Is(err, errRefreshToken) {
		return none, invalid
	}
	if err != nil {
		return none, err
	}
	for {
		s, err := m.store.session(ctx, id)
		if problem.Is(err, problem.NotFound) {
			return none, invalid
		}
		if err != nil {
			return none, err
		}
		verdict := judge(s, counter)
		scopes, granted := narrow(scopesOf(s.Roles), form.Scope)
		switch {
		case verdict == refuse:
			return none, invalid
		case verdict == end:
			return none, cmp.Or(m.store.endStolen(ctx, s), error(invalid))
		case !granted:
			return none, errScope
		case verdict == again:
			return m.tokens(ctx, s, scopes)
		}
		rotated, err := m.store.rotate(ctx, id, counter)
		if err != nil {
			return none, err
		}
		if rotated {
			s.Counter++
			return m.tokens(ctx, s, scopes)
		} // somebody with the same token was faster, or the session has just ended: judge again
	}
}

var errScope = problem.Malformed.New("invalid_scope", "A scope is asked for that was not granted.")

// openRefresh returns what a refresh token of ours names; errRefreshToken for any other.
func (m *Module) openRefresh(ctx context.Context, token string) (session uuid.UUID, counter int64, err error) {
	session, counter, payload, mac, err := parseRefresh(token)
	if err != nil {
		return uuid.Nil, 0, err
	}
	if _, err := m.keys.MAC(ctx, payload); err != nil { // the keyset is away, which says nothing about the token
		return uuid.Nil, 0, err
	}
	if m.keys.VerifyMAC(ctx, mac, payload) != nil {
		return uuid.Nil, 0, errRefreshToken
	}
	return session, counter, nil
}

// clientCredentials gives a module its token, for its secret in the Authorization header or in the form.
func (m *Module) clientCredentials(ctx context.Context, form *authv1.TokenRequest) (none authv1.Tokens, err error) {
	name, secret, basic := request.From(ctx).BasicAuth()
	if basic && form.ClientSecret != nil {
		return none, problem.Malformed.New("invalid_request", "Send the client's secret one way, not two.")
	}
	if basic { // RFC 6749, section 2.3.1: both are form-encoded first
		name, _ = url.QueryUnescape(name)
		secret, _ = url.QueryUnescape(secret)
	} else if form.ClientId != nil && form.ClientSecret != nil {
		name, secret = *form.ClientId, *form.ClientSecret
	}
	client := m.config.Clients[name]
	want, got := sha256.Sum256([]byte(client.Secret)), sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 || client.Secret == "" {
		e := problem.Unauthenticated.New("invalid_client", "The client or its secret is wrong.")
		e.Header = map[string][]string{"Www-Authenticate": {`Basic realm="token"`}}
		return none, e
	}
	scopes, ok := narrow(client.Scopes, form.Scope)
	if !ok {
		return none, errScope
	}
	claims := m.claims(name, name, scopes, time.Now())
	access, err := m.signing.sign(ctx, claims)
	return authv1.Tokens{
		AccessToken: access, TokenType: authv1.TokensTokenTypeBearer, ExpiresIn: int(accessLifetime.Seconds()), Scope: claims.Scope,
	}, err
}

// RevokeToken ends the session that a refresh or access token belongs to. A token that means nothing is no error (RFC 7009, 2.2).
func (m *Module) RevokeToken(ctx context.Context, req authv1.RevokeTokenRequestObject) (authv1.RevokeTokenResponseObject, error) {
	var session uuid.UUID
	if strings.HasPrefix(req.Body.Token, refreshPrefix) {
		var err error
		if session, _, err = m.openRefresh(ctx, req.Body.Token); err != nil && !errors.Is(err, errRefreshToken) {
			return nil, err
		}
	} else if p, err := m.verifier.Verify(ctx, req.Body.Token); err == nil {
		session = p.SessionID
	} else if !problem.Is(err, problem.Unauthenticated) {
		return nil, err
	}
	if session != uuid.Nil {
		if err := m.store.endSession(ctx, session); err != nil {
			return nil, err
		}
	}
	return authv1.RevokeToken200Response{}, nil
}
