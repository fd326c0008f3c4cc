package auth

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	authv1 "example.com/groundwork/api/auth/v1"
)

const webApp = "https://app.example.com" // an origin on the list

// fromPage sends a request as a browser does for a page of this origin.
func fromPage(origin, site string) authv1.RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		r.Header.Set("Origin", origin)
		r.Header.Set("Sec-Fetch-Site", site)
		return nil
	}
}

// enter is a login that asks for a cookie.
func (i *instance) enter(email string) (authv1.Tokens, *http.Cookie) {
	i.t.Helper()
	r, err := i.public.LoginWithResponse(i.t.Context(), authv1.Login{Email: email, Password: password, RefreshTokenIn: new(authv1.LoginRefreshTokenInCookie)},
		fromPage(webApp, "same-site"))
	if err != nil || r.JSON200 == nil {
		i.t.Fatalf("login: %v %s", err, r.Body)
	}
	return *r.JSON200, i.kept(r.HTTPResponse)
}

// renew refreshes with these cookies, as a browser does for a page of ours.
func (i *instance) renew(cookies ...string) *authv1.IssueTokenResponse {
	i.t.Helper()
	return i.renewFrom(fromPage(webApp, "same-site"), form("grant_type", "refresh_token"), cookies...)
}

func (i *instance) renewFrom(origin authv1.RequestEditorFn, body string, cookies ...string) *authv1.IssueTokenResponse {
	i.t.Helper()
	r, err := i.public.IssueTokenWithBodyWithResponse(i.t.Context(), nil, formType, strings.NewReader(body), origin,
		func(_ context.Context, r *http.Request) error {
			for _, value := range cookies {
				r.AddCookie(&http.Cookie{Name: refreshCookie, Value: value})
			}
			return nil
		})
	if err != nil {
		i.t.Fatal(err)
	}
	return r
}

// kept is the answer's cookie, nil for none. However it looks, it is for one path of this host, and for no script.
func (i *instance) kept(resp *http.Response) *http.Cookie {
	i.t.Helper()
	lines := resp.Header.Values("Set-Cookie")
	if len(lines) == 0 {
		return nil
	}
	c, err := http.ParseSetCookie(lines[0])
	if err != nil || len(lines) > 1 || c.Name != "__Secure-refresh_token" || c.Path != "/v1/auth/token" || c.Domain != "" || !c.HttpOnly || !c.Secure ||
		c.SameSite != http.SameSiteStrictMode || (c.Value == "") != (c.MaxAge < 0) || c.MaxAge == 0 {
		i.t.Errorf("the cookie is %q: %v", lines, err)
	}
	return c
}

func TestAWebAppKeepsItsRefreshTokenInACookie(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	tokens, first := w.enter("ada@example.com")
	if tokens.RefreshToken != nil || tokens.AccessToken == "" || !strings.HasPrefix(first.Value, refreshTicket.prefix) || first.MaxAge != 14*24*60*60 {
		t.Errorf("the login gives %+v and %v", tokens, first)
	}
	renewed := w.renew(first.Value)
	second := w.kept(renewed.HTTPResponse)
	if renewed.JSON200 == nil || renewed.JSON200.RefreshToken != nil || second.Value == first.Value || second.MaxAge != first.MaxAge {
		t.Fatalf("the refresh gives %s and %v", renewed.Body, second)
	}
	if again := w.kept(w.renew(first.Value).HTTPResponse); again.Value != second.Value {
		t.Error("the last cookie again, at once, gets another successor")
	}
	w.exec(`update auth.sessions set expires_at = now() + interval '1 hour'`)
	last := w.kept(w.renew(second.Value).HTTPResponse)
	if last.MaxAge > 3600 || last.MaxAge < 3500 {
		t.Errorf("a session that has an hour left is kept for %d s", last.MaxAge)
	}
	r, err := w.as(renewed.JSON200.AccessToken).LogoutWithResponse(t.Context())
	if err != nil || r.StatusCode() != 204 || w.kept(r.HTTPResponse).Value != "" {
		t.Errorf("the logout leaves the cookie: %v", r.HTTPResponse.Header)
	}
	if refused := w.renew(last.Value); refused.StatusCode() != 400 || w.kept(refused.HTTPResponse).Value != "" {
		t.Errorf("after the logout: %d %v", refused.StatusCode(), refused.HTTPResponse.Header)
	}
	if strings.Contains(w.logs.String(), refreshTicket.prefix) || strings.Contains(w.logs.String(), refreshCookie) {
		t.Error("the log holds a cookie")
	}
}

func TestWhoAsksForNoCookieGetsNone(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	for _, in := range []*authv1.LoginRefreshTokenIn{nil, new(authv1.LoginRefreshTokenInBody)} {
		r, err := w.public.LoginWithResponse(t.Context(), authv1.Login{Email: "ada@example.com", Password: password, RefreshTokenIn: in})
		if err != nil || r.JSON200 == nil || r.JSON200.RefreshToken == nil || w.kept(r.HTTPResponse) != nil {
			t.Fatalf("login: %s %v", r.Body, r.HTTPResponse.Header)
		}
		fresh := w.renewFrom(fromPage(webApp, "same-site"), form("grant_type", "refresh_token", "refresh_token", *r.JSON200.RefreshToken))
		if fresh.JSON200 == nil || fresh.JSON200.RefreshToken == nil || w.kept(fresh.HTTPResponse) != nil {
			t.Errorf("refresh: %s %v", fresh.Body, fresh.HTTPResponse.Header)
		}
	}
	r, err := w.public.LoginWithResponse(t.Context(), authv1.Login{Email: "ada@example.com", Password: password, RefreshTokenIn: new(authv1.LoginRefreshTokenIn("pocket"))})
	if err != nil || r.StatusCode() != 422 {
		t.Errorf("a place that is none: %d %s", r.StatusCode(), r.Body)
	}
	module := w.renewFrom(fromPage(webApp, "same-origin"), form("grant_type", "client_credentials", "client_id", "console", "client_secret", clientSecret), "rt_whatever")
	if module.StatusCode() != 200 || w.kept(module.HTTPResponse) != nil {
		t.Errorf("a module's token beside a cookie: %s %v", module.Body, module.HTTPResponse.Header)
	}
}

func TestWhatIsRefusedIsTakenBackAndWhatIsUnclearIsNot(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	for _, c := range []struct {
		says    string
		change  string // behind the session's back
		body    []string
		cookies []string // TOKEN stands for the session's
		status  int
		err     string
		cleared bool
	}{
		{"nothing at all", "", nil, nil, 400, "invalid_request", false},
		{"an empty cookie", "", nil, []string{""}, 400, "invalid_request", false},
		{"a cookie and a form", "", []string{"refresh_token", "TOKEN"}, []string{"TOKEN"}, 400, "invalid_request", false},
		{"two cookies", "", nil, []string{"TOKEN", "TOKEN"}, 400, "invalid_request", false},
		{"a neighbour's cookie first", "", nil, []string{"rt_theirs", "TOKEN"}, 400, "invalid_request", false},
		{"a cookie that is much too long", "", nil, []string{strings.Repeat("x", 513)}, 400, "invalid_request", false},
		{"more than was granted", "", []string{"scope", "identities:write"}, []string{"TOKEN"}, 400, "invalid_scope", false},
		{"a cookie that is no token", "", nil, []string{"rt_x"}, 400, "invalid_grant", true},
		{"a token that is used up", `update auth.sessions set counter = counter + 2`, nil, []string{"TOKEN"}, 400, "invalid_grant", true},
		{"a session at its end", `update auth.sessions set expires_at = now()`, nil, []string{"TOKEN"}, 400, "invalid_grant", true},
		{"a session that is idle too long", `update auth.sessions set rotated_at = now() - interval '15 days'`, nil, []string{"TOKEN"}, 400, "invalid_grant", true},
		{"a session that is gone", `delete from auth.sessions`, nil, []string{"TOKEN"}, 400, "invalid_grant", true},
		{"a form with a token that is none", "", []string{"refresh_token", "rt_x"}, nil, 400, "invalid_grant", false},
	} {
		_, cookie := w.enter("ada@example.com")
		if c.change != "" {
			w.exec(c.change)
		}
		put := func(list []string) []string {
			return strings.Split(strings.ReplaceAll(strings.Join(list, "\n"), "TOKEN", cookie.Value), "\n")
		}
		body := form("grant_type", "refresh_token")
		if c.body != nil {
			body += "&" + form(put(c.body)...)
		}
		var cookies []string
		if c.cookies != nil {
			cookies = put(c.cookies)
		}
		r := w.renewFrom(fromPage(webApp, "same-site"), body, cookies...)
		back := w.kept(r.HTTPResponse)
		if r.StatusCode() != c.status || r.JSONDefault == nil || r.JSONDefault.Error != c.err || (back != nil) != c.cleared || back != nil && back.Value != "" {
			t.Errorf("%s: %d %s %v", c.says, r.StatusCode(), r.Body, r.HTTPResponse.Header.Values("Set-Cookie"))
		}
		if c.change == "" {
			if r := w.renew(cookie.Value); r.StatusCode() != 200 {
				t.Errorf("%s: it used up the session: %d %s", c.says, r.StatusCode(), r.Body)
			}
		}
	}
	_, cookie := w.enter("ada@example.com")
	young := w.another()
	young.store.db.Close()
	if r := young.renew(cookie.Value); r.StatusCode() < 500 || w.kept(r.HTTPResponse) != nil {
		t.Errorf("with the database away: %d %v", r.StatusCode(), r.HTTPResponse.Header)
	}
}

func TestAForgedRefreshRotatesNothing(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	_, cookie := w.enter("ada@example.com")
	for says, origin := range map[string]authv1.RequestEditorFn{
		"a foreign site":               fromPage("https://evil.example", "cross-site"),
		"a neighbour on the same site": fromPage("https://blog.example.com", "same-site"),
		"a frame without an origin":    fromPage("null", "cross-site"),
		"an old browser":               fromPage("https://evil.example", ""),
	} {
		r := w.renewFrom(origin, form("grant_type", "refresh_token"), cookie.Value)
		if r.StatusCode() != 403 || r.ApplicationproblemJSON403 == nil || r.ApplicationproblemJSON403.Code != "cross-origin-refused" || w.kept(r.HTTPResponse) != nil ||
			r.HTTPResponse.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d %s %v", says, r.StatusCode(), r.Body, r.HTTPResponse.Header)
		}
		revoked, err := w.public.RevokeTokenWithFormdataBodyWithResponse(t.Context(), authv1.RevokeRequest{Token: cookie.Value}, origin)
		if err != nil || revoked.ApplicationproblemJSON403 == nil || w.kept(revoked.HTTPResponse) != nil {
			t.Errorf("%s revokes: %d %s", says, revoked.StatusCode(), revoked.Body)
		}
		in := authv1.Login{Email: "ada@example.com", Password: password, RefreshTokenIn: new(authv1.LoginRefreshTokenInCookie)}
		if login, err := w.public.LoginWithResponse(t.Context(), in, origin); err != nil || login.StatusCode() != 403 || w.kept(login.HTTPResponse) != nil {
			t.Errorf("%s logs its visitor in: %d", says, login.StatusCode())
		}
	}
	if got := one[string](w, `select string_agg(counter || ' ' || (revoked_at is null), ', ') from auth.sessions`); got != "0 true" {
		t.Errorf("the sessions are %s; want one, as it was", got)
	}
	for says, origin := range map[string]authv1.RequestEditorFn{
		"a listed page": fromPage(webApp, "same-site"), "a page of the API itself": fromPage(w.url, "same-origin"), "a program": fromPage("", ""),
	} {
		r := w.renewFrom(origin, form("grant_type", "refresh_token"), cookie.Value)
		if r.StatusCode() != 200 {
			t.Fatalf("%s: %d %s", says, r.StatusCode(), r.Body)
		}
		cookie = w.kept(r.HTTPResponse)
	}
}

func TestRevokingTakesTheCookieBack(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	tokens, cookie := w.enter("ada@example.com")
	r, err := w.public.RevokeTokenWithFormdataBodyWithResponse(t.Context(), authv1.RevokeRequest{Token: tokens.AccessToken}, fromPage(webApp, "same-site"))
	if err != nil || r.StatusCode() != 200 || w.kept(r.HTTPResponse).Value != "" {
		t.Errorf("revoking: %d %v", r.StatusCode(), r.HTTPResponse.Header)
	}
	if status := w.renew(cookie.Value).StatusCode(); status != 400 {
		t.Errorf("afterwards: %d", status)
	}
}

func TestTheLifeOfACookieIsNeverNothing(t *testing.T) {
	now := time.Now()
	token := "rt_x"
	_, header := inCookie(authv1.Tokens{RefreshToken: &token}, session{Now: now, ExpiresAt: now.Add(300 * time.Millisecond)})
	if !strings.Contains(*header, "Max-Age=1;") {
		t.Errorf("a session's last moment is kept by %s", *header)
	}
}
