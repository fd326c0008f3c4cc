package auth

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/servertest"
)

const formType = "application/x-www-form-urlencoded"

func form(pairs ...string) string {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return values.Encode()
}

func basic(name, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(name)+":"+url.QueryEscape(secret)))
}

func TestWhatTheTokenEndpointRefuses(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	tokens := w.session("ada@example.com")
	client := &http.Client{Transport: servertest.Checked(t, http.DefaultTransport, authv1.Spec)}
	const missing = 400
	const token, revoke = "/v1/auth/token", "/v1/auth/revoke"
	for _, c := range []struct {
		says          string
		path          string
		authorization string
		media         string
		body          string
		status        int
		err           string
	}{
		{"no grant", token, "", formType, form("scope", "internal"), missing, "invalid_request"},
		{"an empty grant", token, "", formType, form("grant_type", ""), 400, "invalid_request"},
		{"a grant that is not served", token, "", formType, form("grant_type", "password", "username", "ada", "password", "x"), 400, "unsupported_grant_type"},
		{"a grant twice", token, "", formType, form("grant_type", "refresh_token", "grant_type", "client_credentials"), 400, "invalid_request"},
		{"a secret in the query", token + "?client_secret=" + url.QueryEscape(clientSecret), "", formType, form("grant_type", "client_credentials", "client_id", "console"), 400, "invalid_request"},
		{"a refresh token in the query", token + "?refresh_token=" + *tokens.RefreshToken, "", formType, form("grant_type", "refresh_token"), 400, "invalid_request"},
		{"JSON", token, "", "application/json", `{"grant_type":"client_credentials"}`, 415, "invalid_request"},
		{"no media type", token, "", "", form("grant_type", "client_credentials"), 415, "invalid_request"},
		{"a form that is none", token, "", formType, "grant_type=%zz", 400, "invalid_request"},
		{"too much", token, "", formType, "grant_type=" + strings.Repeat("x", 1<<20), 413, "invalid_request"},
		{"no refresh token", token, "", formType, form("grant_type", "refresh_token"), 400, "invalid_request"},
		{"an empty refresh token", token, "", formType, form("grant_type", "refresh_token", "refresh_token", ""), 400, "invalid_request"},
		{"a refresh token that is none", token, "", formType, form("grant_type", "refresh_token", "refresh_token", "rt_x"), 400, "invalid_grant"},
		{"an access token to refresh with", token, "", formType, form("grant_type", "refresh_token", "refresh_token", tokens.AccessToken[:500]), 400, "invalid_grant"},
		{"more than was granted", token, "", formType, form("grant_type", "refresh_token", "refresh_token", *tokens.RefreshToken, "scope", "profile:read identities:write"), 400, "invalid_scope"},
		{"no client", token, "", formType, form("grant_type", "client_credentials"), 401, "invalid_client"},
		{"an unknown client", token, basic("nobody", clientSecret), formType, form("grant_type", "client_credentials"), 401, "invalid_client"},
		{"a wrong secret", token, basic("console", clientSecret+"x"), formType, form("grant_type", "client_credentials"), 401, "invalid_client"},
		{"a wrong secret in the form", token, "", formType, form("grant_type", "client_credentials", "client_id", "console", "client_secret", "x"), 401, "invalid_client"},
		{"no secret for a client that has none", token, basic("idle", ""), formType, form("grant_type", "client_credentials"), 401, "invalid_client"},
		{"a secret that is not encoded right", token, "Basic " + base64.StdEncoding.EncodeToString([]byte("idle:%zz")), formType, form("grant_type", "client_credentials"), 401, "invalid_client"},
		{"a secret in two places", token, basic("console", clientSecret), formType, form("grant_type", "client_credentials", "client_id", "console", "client_secret", clientSecret), 400, "invalid_request"},
		{"a scope it has not", token, basic("console", clientSecret), formType, form("grant_type", "client_credentials", "scope", "audit:read"), 400, "invalid_scope"},
		{"revoking nothing", revoke, "", formType, form("token_type_hint", "refresh_token"), missing, "invalid_request"},
		{"revoking twice at once", revoke, "", formType, form("token", "a", "token", "b"), 400, "invalid_request"},
		{"revoking in the query", revoke + "?token=x", "", formType, form("token", "x"), 400, "invalid_request"},
		{"revoking with JSON", revoke, "", "application/json", `{"token":"x"}`, 415, "invalid_request"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", w.url+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.media != "" {
			r.Header.Set("Content-Type", c.media)
		}
		if c.authorization != "" {
			r.Header.Set("Authorization", c.authorization)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		var answer authv1.OAuthError
		if err := json.Unmarshal(body, &answer); err != nil || resp.StatusCode != c.status || answer.Error != c.err {
			t.Errorf("%s: %d %s, want %d %s", c.says, resp.StatusCode, body, c.status, c.err)
		}
		if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: the headers are %v", c.says, resp.Header)
		}
		if got := resp.Header.Get("WWW-Authenticate"); (resp.StatusCode == 401) != (got == `Basic realm="token"`) {
			t.Errorf("%s: %d with WWW-Authenticate %q", c.says, resp.StatusCode, got)
		}
	}
	if n := one[int](w, `select sum(counter)::int from auth.sessions where revoked_at is null`); n != 0 {
		t.Errorf("a refusal used up a refresh token")
	}
	for _, leaked := range []string{*tokens.RefreshToken, url.QueryEscape(clientSecret), clientSecret} {
		if strings.Contains(w.logs.String(), leaked) {
			t.Errorf("the log holds %q", leaked)
		}
	}
}

func TestAMistakeOfOursIsAnOAuthErrorToo(t *testing.T) {
	w := newWorld(t)
	w.signing = nil
	r, err := w.public.IssueTokenWithBodyWithResponse(t.Context(), nil, formType,
		strings.NewReader(form("grant_type", "client_credentials", "client_id", "console", "client_secret", clientSecret)))
	if err != nil || r.StatusCode() != 500 || r.JSONDefault == nil || r.JSONDefault.Error != "server_error" || strings.Contains(string(r.Body), "nil pointer") {
		t.Errorf("a panic is answered with %d %s", r.StatusCode(), r.Body)
	}
}

func TestScopesCanBeNarrowed(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com", "user", "operator")
	tokens := w.session("ada@example.com")
	narrow, status := w.token("grant_type", "refresh_token", "refresh_token", *tokens.RefreshToken, "scope", "identities:write identities:write")
	if status != 200 || narrow.Scope != "identities:write" {
		t.Errorf("%d %q", status, narrow.Scope)
	}
	if wide, status := w.token("grant_type", "refresh_token", "refresh_token", *narrow.RefreshToken, "scope", ""); status != 200 || wide.Scope != tokens.Scope {
		t.Errorf("the next one, without a scope: %d %q", status, wide.Scope)
	}
	console := w.form(200, "grant_type", "client_credentials", "client_id", "console", "client_secret", clientSecret, "scope", "ledger:read")
	if console.Scope != "ledger:read" || console.RefreshToken != nil {
		t.Errorf("the console gets %+v", console)
	}
}

func TestAnAccessTokenHasTheShapeOfRFC9068(t *testing.T) {
	w := newWorld(t)
	id := w.person("ada@example.com").Id.String()
	tokens := w.session("ada@example.com")
	header, claims := open(t, tokens.AccessToken)
	keys, err := w.public.GetJwksWithResponse(t.Context())
	if err != nil || keys.JSON200 == nil || len(keys.JSON200.Keys) != 1 {
		t.Fatalf("the keys: %s", keys.Body)
	}
	if header["typ"] != "at+jwt" || header["alg"] != "ES256" || header["kid"] != keys.JSON200.Keys[0].Kid || len(header) != 3 {
		t.Errorf("the header is %v", header)
	}
	if strings.Contains(string(keys.Body), `"d"`) {
		t.Error("the private key is published")
	}
	var c authn.Claims
	if err := json.Unmarshal(claims, &c); err != nil {
		t.Fatal(err)
	}
	session := one[string](w, `select id::text from auth.sessions`)
	if c.Issuer != issuer || c.Audience != issuer || c.Subject != id || c.ClientID != "web" || c.Session != session || c.Scope != tokens.Scope ||
		c.Expires-c.IssuedAt != 300 || c.ACR != "1" || !slices.Equal(c.AMR, []string{"pwd"}) || c.ID == "" || time.Since(time.Unix(c.AuthTime, 0)) > time.Minute {
		t.Errorf("the claims are %s", claims)
	}
	w.exec(`update auth.sessions set created_at = now() - interval '3 hours', authenticated_at = now() - interval '3 hours'`)
	next, _ := w.refresh(*tokens.RefreshToken)
	_, claims = open(t, next.AccessToken)
	if err := json.Unmarshal(claims, &c); err != nil || time.Since(time.Unix(c.AuthTime, 0)) < 2*time.Hour {
		t.Errorf("a refresh moved the time of authentication: %s", claims)
	}
	_, claims = open(t, w.form(200, "grant_type", "client_credentials", "client_id", "console", "client_secret", clientSecret).AccessToken)
	var module authn.Claims
	if err := json.Unmarshal(claims, &module); err != nil || module.Subject != "console" || module.ClientID != "console" || module.Session != "" || module.AuthTime != 0 {
		t.Errorf("a module's claims are %s", claims)
	}
}

func open(t *testing.T, token string) (header map[string]any, claims []byte) {
	t.Helper()
	parts := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err == nil {
		err = json.Unmarshal(raw, &header)
	}
	if err == nil {
		claims, err = base64.RawURLEncoding.DecodeString(parts[1])
	}
	if err != nil {
		t.Fatal(err)
	}
	return header, claims
}

func TestRevoking(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	console := w.form(200, "grant_type", "client_credentials", "client_id", "console", "client_secret", clientSecret).AccessToken
	revoke := func(token string) {
		t.Helper()
		r, err := w.public.RevokeTokenWithFormdataBodyWithResponse(t.Context(), authv1.RevokeRequest{Token: token, TokenTypeHint: new("pin")})
		if err != nil || r.StatusCode() != 200 || len(r.Body) != 0 {
			t.Errorf("revoking: %v %d %s", err, r.StatusCode(), r.Body)
		}
	}
	for name, token := range map[string]func(authv1.Tokens) string{
		"a refresh token": func(t authv1.Tokens) string { return *t.RefreshToken },
		"an access token": func(t authv1.Tokens) string { return t.AccessToken },
	} {
		mine, other := w.session("ada@example.com"), w.session("ada@example.com")
		revoke(token(mine))
		revoke(token(mine))
		if _, status := w.refresh(*mine.RefreshToken); status != 400 {
			t.Errorf("after revoking %s its session refreshes: %d", name, status)
		}
		if _, status := w.refresh(*other.RefreshToken); status != 200 {
			t.Errorf("after revoking %s another session does not refresh: %d", name, status)
		}
	}
	alive := w.session("ada@example.com")
	for _, token := range []string{"", "rt_", "rt_" + strings.Repeat("A", 80), "x.y.z", console, (*alive.RefreshToken)[:40], flipped(*alive.RefreshToken), flipped(alive.AccessToken)} {
		if token != "" {
			revoke(token)
		}
	}
	if _, status := w.refresh(*alive.RefreshToken); status != 200 {
		t.Errorf("what is no token of ours ended a session: %d", status)
	}
	if n := one[int](w, `select count(*) from auth.audit_events where kind = 'session.ended'`); n != 2 {
		t.Errorf("%d sessions were ended, each once, want 2", n)
	}
}

// flipped is the token with another letter before its last.
func flipped(token string) string {
	i := len(token) - 3
	c := byte('A')
	if token[i] == c {
		c = 'B'
	}
	return token[:i] + string(c) + token[i+1:]
}

func TestWhatTheServerSaysOfItself(t *testing.T) {
	w := newWorld(t)
	r, err := w.public.GetAuthorizationServerWithResponse(t.Context())
	if err != nil || r.JSON200 == nil {
		t.Fatal(err)
	}
	is := r.JSON200
	if is.Issuer != issuer || !slices.Equal(is.GrantTypesSupported, []string{"refresh_token", "client_credentials"}) || is.ResponseTypesSupported == nil {
		t.Errorf("%s", r.Body)
	}
	for _, address := range []string{is.TokenEndpoint, is.RevocationEndpoint, is.JwksUri} {
		path, ours := strings.CutPrefix(address, issuer)
		resp, err := http.Post(w.url+path, formType, nil)
		if err != nil || !ours || resp.StatusCode == 404 {
			t.Errorf("%s is not served", address)
		}
	}
	if !slices.Contains(is.ScopesSupported, "identities:write") || slices.Contains(is.ScopesSupported, "internal") {
		t.Errorf("the scopes are %v", is.ScopesSupported)
	}
}
