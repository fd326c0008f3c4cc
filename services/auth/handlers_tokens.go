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
	claims.Session, claims.Version = s.ID.String(), s.Version
	claims.AuthTime, claims.ACR, claims.AMR = s.AuthenticatedAt.Unix(), s.ACR, s.AMR
	access, err := m.signing.sign(ctx, claims)
	if err != nil {
		return authv1.Tokens{}, err
	}
	refresh, err := m.issue(ctx, refreshTicket, refreshSays(s.ID, s.Counter))
	if err != nil {
		return authv1.Tokens{}, err
	}
	return authv1.Tokens{
		AccessToken: access, TokenType: authv1.TokensTokenTypeBearer, ExpiresIn: int(accessLifetime.Seconds()),
		RefreshToken: &refresh, Scope: claims.Scope,
	}, nil
}

// IssueToken is OAuth's token endpoint.
func (m *Module) IssueToken(ctx context.Context, req authv1.IssueTokenRequestObject) (authv1.IssueTokenResponseObject, error) {
	var tokens authv1.Tokens
	var cookie *string
	var err error
	switch req.Body.GrantType {
	case "refresh_token":
		tokens, cookie, err = m.refresh(ctx, req.Body)
	case "client_credentials":
		tokens, err = m.clientCredentials(ctx, req.Body)
	case "": // a parameter without a value counts as left out (RFC 6749, section 3.2)
		err = problem.Malformed.New("invalid_request", "grant_type is missing.")
	default:
		err = problem.Malformed.New("unsupported_grant_type", "The grant types are refresh_token and client_credentials.")
	}
	if err != nil {
		m.store.refused(ctx, err)
		return nil, err
	}
	return authv1.IssueToken200JSONResponse{Body: tokens, Headers: authv1.IssueToken200ResponseHeaders{SetCookie: cookie}}, nil
}

// refresh trades a session's token for the next one, which goes where the token came from: the form or the cookie.
func (m *Module) refresh(ctx context.Context, form *authv1.TokenRequest) (tokens authv1.Tokens, cookie *string, err error) {
	token, fromCookie, err := presented(request.From(ctx), form)
	if err != nil {
		return tokens, nil, err
	}
	s, scopes, err := m.next(ctx, token, form.Scope)
	if fromCookie && errors.Is(err, errGrant) {
		err = forgetting(errGrant)
	}
	if err != nil {
		return tokens, nil, err
	}
	tokens, err = m.tokens(ctx, s, scopes)
	if fromCookie && err == nil {
		tokens, cookie = inCookie(tokens, s)
	}
	return tokens, cookie, err
}

var errGrant = problem.Malformed.New("invalid_grant", "The refresh token is not valid.")

// next uses up a refresh token and returns its session as the successor is for. Nothing is used up before it is clear that there will be
// an answer.
func (m *Module) next(ctx context.Context, token string, scope *string) (none session, scopes []string, err error) {
	says, err := m.open(ctx, refreshTicket, token)
	if errors.Is(err, errTicket) {
		return none, nil, errGrant
	}
	if err != nil {
		return none, nil, err
	}
	id, counter := refreshOf(says)
	for {
		s, err := m.store.session(ctx, id)
		if problem.Is(err, problem.NotFound) {
			return none, nil, errGrant
		}
		if err != nil {
			return none, nil, err
		}
		verdict := judge(s, counter)
		scopes, granted := narrow(scopesOf(s.Roles), scope)
		switch {
		case verdict == refuse:
			return none, nil, errGrant
		case verdict == end:
			return none, nil, cmp.Or(m.store.endStolen(ctx, s), error(errGrant))
		case !granted:
			return none, nil, errScope
		case verdict == again:
			return s, scopes, nil
		}
		rotated, err := m.store.rotate(ctx, id, counter)
		if err != nil {
			return none, nil, err
		}
		if rotated {
			s.Counter++
			return s, scopes, nil
		} // somebody with the same token was faster, or the session has just ended: judge again
	}
}

var errScope = problem.Malformed.New("invalid_scope", "A scope is asked for that was not granted.")

// clientCredentials gives a module, or the holder of a key, a token for the secret in the Authorization header or in the form.
func (m *Module) clientCredentials(ctx context.Context, form *authv1.TokenRequest) (none authv1.Tokens, err error) {
	name, secret, basic := request.From(ctx).BasicAuth()
	if basic && form.ClientSecret != nil {
		return none, problem.Malformed.New("invalid_request", "Send the client's secret one way, not two.")
	}
	if basic { // RFC 6749, section 2.3.1: both are form-encoded first
		name, _ = url.QueryUnescape(name)
		secret, _ = url.QueryUnescape(secret)
	} else if form.ClientSecret != nil {
		secret = *form.ClientSecret
		if form.ClientId != nil {
			name = *form.ClientId
		}
	}
	if strings.HasPrefix(secret, keyPrefix) {
		return m.byKey(ctx, secret, form.Scope)
	}
	client := m.config.Clients[name]
	want, got := sha256.Sum256([]byte(client.Secret.Reveal())), sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 || client.Secret.Empty() {
		return none, errClient()
	}
	scopes, ok := narrow(client.Scopes, form.Scope)
	if !ok {
		return none, errScope
	}
	return m.accessOnly(ctx, m.claims(name, name, scopes, time.Now()))
}

func errClient() error {
	e := problem.Unauthenticated.New("invalid_client", "The client or its secret is wrong.")
	e.Header = map[string][]string{"Www-Authenticate": {`Basic realm="token"`}}
	return e
}

// RevokeToken ends the session that a refresh or access token belongs to; of a token without a session, itself; and a key. A token that means nothing is no error (RFC 7009, 2.2). As the
// logout does, it takes a cookie back in any case.
func (m *Module) RevokeToken(ctx context.Context, req authv1.RevokeTokenRequestObject) (authv1.RevokeTokenResponseObject, error) {
	var session, token uuid.UUID
	if id, is := keyID(req.Body.Token); is {
		if err := m.revokeKey(ctx, id, req.Body.Token); err != nil {
			return nil, err
		}
	} else if strings.HasPrefix(req.Body.Token, refreshTicket.prefix) {
		says, err := m.open(ctx, refreshTicket, req.Body.Token)
		if err != nil && !errors.Is(err, errTicket) {
			return nil, err
		}
		if err == nil {
			session, _ = refreshOf(says)
		}
	} else if p, err := m.verifier.Verify(ctx, req.Body.Token); err == nil {
		session, token = p.SessionID, p.TokenID
	} else if !problem.Is(err, problem.Unauthenticated) {
		return nil, err
	}
	if session != uuid.Nil || token != uuid.Nil {
		if err := m.store.endSession(ctx, session, token); err != nil {
			return nil, err
		}
	}
	return authv1.RevokeToken200Response{Headers: authv1.RevokeToken200ResponseHeaders{SetCookie: noCookie()}}, nil
}
