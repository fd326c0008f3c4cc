package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/request"
	"example.com/groundwork/pkg/seal"
)

// Register notes that somebody asks for an account. The work and the answer are the same whether the address is known or not: a job
// decides which mail to send.
func (m *Module) Register(ctx context.Context, req authv1.RegisterRequestObject) (authv1.RegisterResponseObject, error) {
	if err := checkPassword(req.Body.Password, m.config.PasswordMinLength); err != nil {
		return nil, err
	}
	hash, err := m.hasher.hash(ctx, req.Body.Password)
	if err != nil {
		return nil, err
	}
	r := registration{ID: uuid.Must(uuid.NewV7()), Hash: hash}
	email := seal.NormalEmail(req.Body.Email)
	if r.EmailIndex, err = m.keys.Index(ctx, email); err != nil {
		return nil, err
	}
	if r.EmailCT, err = m.keys.Seal(ctx, []byte(email), "registrations", "email_ct", r.ID); err != nil {
		return nil, err
	}
	token, err := m.mailedToken(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	r.TokenDigest = digest(token)
	if err := m.store.addRegistration(ctx, r); err != nil {
		return nil, err
	}
	return authv1.Register202Response{}, nil
}

// mailedToken is derived from the id of what it is for, so that the job can mail it although only its digest is kept.
func (m *Module) mailedToken(ctx context.Context, id uuid.UUID) (string, error) {
	secret, err := m.keys.Derive(ctx, "registration|"+id.String())
	return base64.RawURLEncoding.EncodeToString(secret), err
}

func digest(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// VerifyEmail makes the account of a registration, or gives an account the address that was asked for. Everything is computed first; the
// transaction lets one of several requests win.
func (m *Module) VerifyEmail(ctx context.Context, req authv1.VerifyEmailRequestObject) (authv1.VerifyEmailResponseObject, error) {
	r, err := m.store.registrationByToken(ctx, digest(req.Body.Token))
	if errors.Is(err, errToken) {
		return authv1.VerifyEmail204Response{}, m.moveAddress(ctx, digest(req.Body.Token))
	}
	if err != nil {
		return nil, err
	}
	email, err := m.keys.Open(ctx, r.EmailCT, "registrations", "email_ct", r.ID)
	if err != nil {
		return nil, err
	}
	i, err := m.newIdentity(ctx, string(email), []string{roleUser})
	if err != nil {
		return nil, err
	}
	reset, err := m.newOneTimeToken(ctx, passwordReset, nil, string(email))
	if err != nil {
		return nil, err
	}
	return authv1.VerifyEmail204Response{}, m.store.confirm(ctx, r.ID, i, m.hasher.nobody, reset)
}

func (m *Module) moveAddress(ctx context.Context, digest []byte) error {
	t, err := m.store.oneTimeToken(ctx, emailChange, digest)
	if err != nil {
		return err
	}
	email, err := m.keys.Open(ctx, t.EmailCT, "one_time_tokens", "email_ct", t.ID)
	if err != nil {
		return err
	}
	sealed, err := m.keys.Seal(ctx, email, "identities", "email_ct", *t.IdentityID)
	if err != nil {
		return err
	}
	return m.store.moveAddress(ctx, t, sealed)
}

func (m *Module) newIdentity(ctx context.Context, email string, roles []string) (i identity, err error) {
	i = identity{ID: uuid.Must(uuid.NewV7()), Roles: roles}
	if i.EmailIndex, err = m.keys.Index(ctx, email); err != nil {
		return i, err
	}
	i.EmailCT, err = m.keys.Seal(ctx, []byte(email), "identities", "email_ct", i.ID)
	return i, err
}

// Login trades a password for a session, or for the question for a second factor. Every failure costs one hash and says the same.
func (m *Module) Login(ctx context.Context, req authv1.LoginRequestObject) (authv1.LoginResponseObject, error) {
	index, err := m.keys.Index(ctx, seal.NormalEmail(req.Body.Email))
	if err != nil {
		return nil, err
	}
	c, err := m.store.credentials(ctx, index)
	if err != nil {
		return nil, err
	}
	device := m.device(ctx, c, req.Body.DeviceToken)
	succeeded, err := m.throttle.try(ctx, passwordsOf(index), device)
	if err != nil {
		return nil, err
	}
	if err := m.compare(ctx, c, req.Body.Password); err != nil {
		return nil, err
	}
	succeeded()
	if c.SecondFactor {
		question, err := m.secondFactor(ctx, c)
		return authv1.Login202JSONResponse(question), err
	}
	inCookie := req.Body.RefreshTokenIn != nil && *req.Body.RefreshTokenIn == authv1.LoginRefreshTokenInCookie
	tokens, cookie, err := m.begin(ctx, c, acrPassword, []string{"pwd"}, device, inCookie)
	return authv1.Login200JSONResponse{Body: tokens, Headers: authv1.Login200ResponseHeaders{SetCookie: cookie}}, err
}

// compare checks a password at the cost of one hash, whoever it is, and counts wrong ones.
func (m *Module) compare(ctx context.Context, c credentials, password string) error {
	ok, stale, err := m.hasher.matches(ctx, password, c.Hash)
	switch {
	case err != nil:
		return err
	case !ok || !c.Active || c.Blocked:
		return cmp.Or(m.store.failed(ctx, c.IdentityID), error(errCredentials))
	case stale:
		return m.rehash(ctx, c.IdentityID, c.Hash, password)
	}
	return nil
}

// begin begins the session of somebody who has proved who they are.
func (m *Module) begin(ctx context.Context, c credentials, acr string, amr []string, device string, refreshInCookie bool) (tokens authv1.Tokens, cookie *string, err error) {
	id, info := uuid.Must(uuid.NewV7()), request.From(ctx)
	sealed, err := m.sealClient(ctx, client{cut(info.Header.Get("User-Agent"), 256), httpserver.Network(info)}, id)
	if err != nil {
		return tokens, nil, err
	}
	s, err := m.store.addSession(ctx, id, c, acr, amr, sealed)
	if err != nil {
		return tokens, nil, err
	}
	if tokens, err = m.tokens(ctx, s, scopesOf(s.Roles)); err != nil {
		return tokens, nil, err
	}
	known, err := m.issueDevice(ctx, c, device)
	if err != nil {
		return tokens, nil, err
	}
	if refreshInCookie {
		tokens, cookie = inCookie(tokens, s)
	}
	tokens.DeviceToken = &known
	return tokens, cookie, nil
}

func (m *Module) rehash(ctx context.Context, identity uuid.UUID, old, password string) error {
	hash, err := m.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	return m.store.replaceHash(ctx, identity, old, hash)
}

// Logout ends the caller's session. It sees no cookie, which goes to the token endpoint only, and takes one back in any case: a browser
// heeds that only when the page sent this request with cookies.
func (m *Module) Logout(ctx context.Context, _ authv1.LogoutRequestObject) (authv1.LogoutResponseObject, error) {
	caller := authn.From(ctx)
	if err := m.store.endSession(ctx, caller.SessionID, caller.TokenID); err != nil {
		return nil, err
	}
	return authv1.Logout204Response{Headers: authv1.Logout204ResponseHeaders{SetCookie: noCookie()}}, nil
}

// CreateIdentity is v1's word for PutIdentity: a flag in the body says whether an account that is there may be replaced.
func (m *Module) CreateIdentity(ctx context.Context, req authv1.CreateIdentityRequestObject) (authv1.CreateIdentityResponseObject, error) {
	w := wish{make: true, keep: true, replace: req.Body.Replace != nil && *req.Body.Replace}
	stands, _, err := m.putIdentity(ctx, req.Body.Email, req.Body.Password, texts(req.Body.Roles), w)
	if errors.Is(err, errOther) {
		err = errExists
	}
	if err != nil {
		return nil, err
	}
	return authv1.CreateIdentity200JSONResponse(stands.api()), nil
}

// GetJwks publishes the public keys.
func (m *Module) GetJwks(ctx context.Context, _ authv1.GetJwksRequestObject) (authv1.GetJwksResponseObject, error) {
	keys, err := m.signing.published(ctx)
	if err != nil {
		return nil, err
	}
	set := authv1.JwkSet{Keys: []authv1.Jwk{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.PublicJWK)
	}
	return authv1.GetJwks200JSONResponse{Body: set, Headers: authv1.GetJwks200ResponseHeaders{CacheControl: "public, max-age=60"}}, nil
}

// GetAuthorizationServer describes this server.
func (m *Module) GetAuthorizationServer(context.Context, authv1.GetAuthorizationServerRequestObject) (authv1.GetAuthorizationServerResponseObject, error) {
	issuer := m.config.Issuer
	return authv1.GetAuthorizationServer200JSONResponse{
		Body: authv1.AuthorizationServer{
			Issuer: issuer, TokenEndpoint: issuer + "/v1/auth/token", JwksUri: issuer + "/.well-known/jwks.json",
			RevocationEndpoint:                     issuer + "/v1/auth/revoke",
			GrantTypesSupported:                    []string{"refresh_token", "client_credentials"},
			ResponseTypesSupported:                 []string{},
			ScopesSupported:                        allScopes(),
			TokenEndpointAuthMethodsSupported:      []string{"client_secret_basic", "client_secret_post", "none"},
			RevocationEndpointAuthMethodsSupported: []string{"none"},
		},
		Headers: authv1.GetAuthorizationServer200ResponseHeaders{CacheControl: "public, max-age=300"},
	}, nil
}

// cut is the beginning of a text, of so many characters at most.
func cut(text string, most int) string {
	runes := []rune(text)
	return string(runes[:min(len(runes), most)])
}
