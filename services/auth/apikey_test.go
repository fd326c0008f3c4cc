package auth

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/authn"
)

// trade gets an access token for a key.
func (i *instance) trade(key string, more ...string) (authv1.Tokens, int) {
	i.t.Helper()
	return i.token(append([]string{"grant_type", "client_credentials", "client_secret", key}, more...)...)
}

// principal is whom an access token names.
func (i *instance) principal(access string) authn.Principal {
	i.t.Helper()
	p, err := i.verifier.Verify(i.t.Context(), access)
	if err != nil {
		i.t.Fatal(err)
	}
	return p
}

func TestAnAPIKey(t *testing.T) {
	w := working(t)
	ada := w.person("ada@example.com")
	w.person("bob@example.com")
	as, bob := w.as(w.session("ada@example.com").AccessToken), w.as(w.session("bob@example.com").AccessToken)
	made, err := as.CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "a script", Scopes: []string{scopesOf([]string{roleUser})[2]}})
	if err != nil || made.JSON201 == nil {
		t.Fatalf("%v %s", err, made.Body)
	}
	key := made.JSON201.Key
	if !strings.HasPrefix(key, "sk_test_") || time.Until(made.JSON201.ExpiresAt) > 91*24*time.Hour || !made.JSON201.LastUsedAt.IsNull() {
		t.Errorf("%+v", made.JSON201)
	}
	if kept := one[string](w, `select row_to_json(k)::text from auth.api_keys k`); strings.Contains(kept, key[len(key)-43:]) {
		t.Errorf("the key is kept: %s", kept)
	}
	tokens, status := w.trade(key)
	if status != 200 || tokens.RefreshToken != nil || tokens.Scope != made.JSON201.Scopes[0] {
		t.Fatalf("%d %+v", status, tokens)
	}
	if p := w.principal(tokens.AccessToken); p.UserID != ada.Id || p.SessionID != made.JSON201.Id || p.Kind() != "user" || p.AuthTime.Unix() != 0 {
		t.Errorf("it is a token of %+v", p)
	}
	wrong := key[:len(key)-1] + "x"
	if strings.HasSuffix(key, "x") {
		wrong = key[:len(key)-1] + "y"
	}
	for says, bad := range map[string]string{
		"another secret": wrong, "another id": strings.Replace(key, strings.ReplaceAll(made.JSON201.Id.String(), "-", ""), strings.ReplaceAll(uuid.NewString(), "-", ""), 1),
		"a part": key[:20], "the prefix": "sk_", "something behind": key + "x", "another label": strings.Replace(key, "_test_", "_live_", 1), "parts": "sk_test_zz_x",
	} {
		if _, status := w.trade(bad); status != 401 {
			t.Errorf("%s: %d", says, status)
		}
	}
	if _, status := w.trade(key, "scope", "account:read"); status != 400 {
		t.Errorf("a scope it has not: %d", status)
	}
	kept, _ := w.trade(key)
	if r, err := w.public.RevokeTokenWithFormdataBodyWithResponse(t.Context(), authv1.RevokeRequest{Token: tokens.AccessToken}); err != nil || r.StatusCode() != 200 {
		t.Errorf("%v %s", err, r.Body)
	}
	t.Logf("a token of it that is revoked is refused after %s", w.refused(tokens.AccessToken))
	tokens = kept
	w.principal(tokens.AccessToken) // the others go on
	list, err := as.ListApiKeysWithResponse(t.Context(), nil)
	if err != nil || list.JSON200 == nil || len(list.JSON200.Data) != 1 || list.JSON200.Data[0].LastUsedAt.IsNull() {
		t.Errorf("%v %s", err, list.Body)
	}
	rotated, err := as.RotateApiKeyWithResponse(t.Context(), made.JSON201.Id)
	if err != nil || rotated.JSON200 == nil || rotated.JSON200.Key == key {
		t.Fatalf("%v %s", err, rotated.Body)
	}
	for says, k := range map[string]string{"the new one": rotated.JSON200.Key, "the one before, for a day": key} {
		if _, status := w.trade(k); status != 200 {
			t.Errorf("%s: %d", says, status)
		}
	}
	w.exec(`update auth.api_keys set previous_until = now()`)
	if _, status := w.trade(key); status != 401 {
		t.Errorf("the one before, a day later: %d", status)
	}
	for says, answer := range map[string]func() int{
		"rotated": func() int { r, _ := bob.RotateApiKeyWithResponse(t.Context(), made.JSON201.Id); return r.StatusCode() },
		"deleted": func() int { r, _ := bob.DeleteApiKeyWithResponse(t.Context(), made.JSON201.Id); return r.StatusCode() },
	} {
		if status := answer(); status != 404 {
			t.Errorf("somebody else's is %s: %d", says, status)
		}
	}
	if gone, err := as.DeleteApiKeyWithResponse(t.Context(), made.JSON201.Id); err != nil || gone.StatusCode() != 204 {
		t.Errorf("%v %s", err, gone.Body)
	}
	if _, status := w.trade(rotated.JSON200.Key); status != 401 {
		t.Errorf("after it was deleted: %d", status)
	}
	t.Logf("its token is refused after %s", w.another().refused(tokens.AccessToken))
	if got := w.audited(ada.Id.String()); !strings.HasSuffix(got, "key.made key.used key.rotated key.deleted") {
		t.Errorf("audited: %s", got)
	}
	if strings.Contains(w.logs.String(), key) || strings.Contains(w.logs.String(), tokens.AccessToken) {
		t.Error("the log has a key or a token in it")
	}
}

// A key is never more than its owner, and never a person who has just proved who they are.
func TestWhatAKeyMayNot(t *testing.T) {
	w := working(t)
	w.person("ada@example.com", "user", "operator")
	as := w.as(w.session("ada@example.com").AccessToken)
	for says, scopes := range map[string][]string{
		"somebody else's": {"none:such"}, "modules'": {scopeInternal}, "about coming in": {"account:write"}, "one of two": {"identities:read", "account:read"},
	} {
		r, err := as.CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: scopes})
		if err != nil {
			t.Fatal(err)
		}
		answered(t, says, r.HTTPResponse, r.Body, 422, "validation-failed")
	}
	w.person("bob@example.com")
	theirs, err := w.as(w.session("bob@example.com").AccessToken).CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: []string{"identities:read"}})
	if err != nil {
		t.Fatal(err)
	}
	answered(t, "an operator's, for somebody who is none", theirs.HTTPResponse, theirs.Body, 422, "validation-failed")
	made, err := as.CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: []string{"identities:read", "identities:write"}, ExpiresInDays: new(1)})
	if err != nil || made.JSON201 == nil {
		t.Fatalf("%v %s", err, made.Body)
	}
	tokens, _ := w.trade(made.JSON201.Key)
	r, err := w.as(tokens.AccessToken).DisableIdentityWithResponse(t.Context(), uuid.New())
	if err != nil {
		t.Fatal(err)
	}
	answered(t, "what asks for a fresh proof", r.HTTPResponse, r.Body, 401, "step-up-required")
	w.exec(`update auth.identities set roles = '{user}'`)
	if tokens, status := w.trade(made.JSON201.Key); status != 200 || tokens.Scope != "" {
		t.Errorf("when its owner lost the right: %d %q", status, tokens.Scope)
	}
	w.exec(`update auth.identities set status = 'disabled'`)
	if _, status := w.trade(made.JSON201.Key); status != 401 {
		t.Errorf("when its owner is disabled: %d", status)
	}
	w.exec(`update auth.identities set status = 'active'`)
	w.exec(`update auth.api_keys set expires_at = now()`)
	if _, status := w.trade(made.JSON201.Key); status != 401 {
		t.Errorf("after its time: %d", status)
	}
	if list, err := as.ListApiKeysWithResponse(t.Context(), nil); err == nil && list.StatusCode() == http.StatusOK && len(list.JSON200.Data) != 0 {
		t.Errorf("and it is listed: %s", list.Body)
	}
}

// What a key was traded for names no session of its owner's, and goes with the owner all the same.
func TestTokensOfAKeyGoWithItsOwner(t *testing.T) {
	w := working(t)
	op := w.operating()
	for says, change := range map[string]func(email string, id uuid.UUID) int{
		"disabled": func(_ string, id uuid.UUID) int {
			r, _ := op.DisableIdentityWithResponse(t.Context(), id)
			return r.StatusCode()
		},
		"replaced": func(email string, _ uuid.UUID) int {
			return putV2(w.instance, w.consoleToken(), email, other, true, "user").status
		},
	} {
		email := says + "@example.com"
		owner := w.person(email)
		made, err := w.as(w.session(email).AccessToken).CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: []string{scopesOf([]string{roleUser})[2]}})
		if err != nil || made.JSON201 == nil {
			t.Fatalf("%v %s", err, made.Body)
		}
		tokens, _ := w.trade(made.JSON201.Key)
		w.principal(tokens.AccessToken)
		if status := change(email, owner.Id); status >= 300 {
			t.Fatalf("%s: %d", says, status)
		}
		t.Logf("%s: refused after %s", says, w.refused(tokens.AccessToken))
	}
}

// When a key was used is noted once a minute, so that one in use is not a row that is written all the time.
func TestWhenAKeyWasUsed(t *testing.T) {
	w := newWorld(t)
	made, err := w.operating().CreateServiceAccountWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: []string{"identities:read"}})
	if err != nil || made.JSON201 == nil {
		t.Fatalf("%v %s", err, made.Body)
	}
	for _, c := range []struct {
		says, before string
		noted        bool
	}{{"for the first time", `null`, true}, {"half a minute later", `now() - interval '30 seconds'`, false}, {"a minute later", `now() - interval '61 seconds'`, true}} {
		w.exec(`update auth.api_keys set last_used_at = ` + c.before)
		if _, status := w.trade(made.JSON201.Key); status != 200 {
			t.Fatalf("%s: %d", c.says, status)
		}
		if noted := one[bool](w, `select last_used_at > now() - interval '20 seconds' from auth.api_keys`); noted != c.noted {
			t.Errorf("%s: noted is %t, want %t", c.says, noted, c.noted)
		}
	}
}

func TestAServiceAccount(t *testing.T) {
	w := working(t)
	op := w.operating()
	made, err := op.CreateServiceAccountWithResponse(t.Context(), authv1.NewKey{Name: "the warehouse", Scopes: []string{"identities:read"}})
	if err != nil || made.JSON201 == nil {
		t.Fatalf("%v %s", err, made.Body)
	}
	tokens, status := w.trade(made.JSON201.Key)
	if p := w.principal(tokens.AccessToken); status != 200 || p.Subject != made.JSON201.Id.String() || p.Kind() != "service" || !p.Has("identities:read") {
		t.Errorf("%d %+v", status, p)
	}
	if r, err := w.as(tokens.AccessToken).ListIdentitiesWithResponse(t.Context(), &authv1.ListIdentitiesParams{Email: "operator@example.com"}); err != nil || r.JSON200 == nil {
		t.Errorf("%v %s", err, r.Body)
	}
	for says, scopes := range map[string][]string{"modules'": {scopeInternal}, "nobody's": {"x:y"}, "about coming in": {"account:read"}} {
		r, err := op.CreateServiceAccountWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: scopes})
		if err != nil {
			t.Fatal(err)
		}
		answered(t, says, r.HTTPResponse, r.Body, 422, "validation-failed")
	}
	w.person("ada@example.com")
	r, err := w.as(w.session("ada@example.com").AccessToken).CreateServiceAccountWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: []string{"identities:read"}})
	if err != nil {
		t.Fatal(err)
	}
	answered(t, "by somebody", r.HTTPResponse, r.Body, 403, "insufficient-scope")
	again, err := op.RotateServiceAccountWithResponse(t.Context(), made.JSON201.Id)
	if err != nil || again.JSON200 == nil {
		t.Fatalf("%v %s", err, again.Body)
	}
	list, err := op.ListServiceAccountsWithResponse(t.Context(), nil)
	if err != nil || list.JSON200 == nil || len(list.JSON200.Data) != 1 || list.JSON200.Data[0].Name != "the warehouse" {
		t.Errorf("%v %s", err, list.Body)
	}
	if gone, err := op.DeleteServiceAccountWithResponse(t.Context(), made.JSON201.Id); err != nil || gone.StatusCode() != 204 {
		t.Errorf("%v %s", err, gone.Body)
	}
	if _, status := w.trade(again.JSON200.Key); status != 401 {
		t.Errorf("after it was deleted: %d", status)
	}
	t.Logf("its token is refused after %s", w.refused(tokens.AccessToken))
}

// Whoever finds a key puts it out of use: no more than having it is needed for that, and no less.
func TestAFoundKeyIsPutOutOfUse(t *testing.T) {
	w := working(t)
	w.person("ada@example.com")
	as := w.as(w.session("ada@example.com").AccessToken)
	made, err := as.CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "lost", Scopes: []string{scopesOf([]string{roleUser})[2]}})
	if err != nil || made.JSON201 == nil {
		t.Fatalf("%v %s", err, made.Body)
	}
	key := made.JSON201.Key
	tokens, _ := w.trade(key)
	revoke := func(token string) {
		t.Helper()
		if r, err := w.public.RevokeTokenWithFormdataBodyWithResponse(t.Context(), authv1.RevokeRequest{Token: token}); err != nil || r.StatusCode() != 200 {
			t.Fatalf("%v %s", err, r.Body)
		}
	}
	forged := key[:len(key)-43] + strings.Repeat("A", 43)
	for _, other := range []string{forged, "sk_test_zz_x", strings.Replace(key, strings.ReplaceAll(made.JSON201.Id.String(), "-", ""), strings.ReplaceAll(uuid.NewString(), "-", ""), 1)} {
		revoke(other)
		if _, status := w.trade(key); status != 200 {
			t.Fatalf("%s ends it: %d", other, status)
		}
	}
	revoke(key)
	if _, status := w.trade(key); status != 401 {
		t.Errorf("it still opens: %d", status)
	}
	w.refused(tokens.AccessToken)
	revoke(key) // twice is no error
	if n := one[int](w, `select count(*)::int from auth.audit_events where kind = 'key.deleted'`); n != 1 {
		t.Errorf("audited %d times", n)
	}
}

// Nobody fills the table: fifty keys that count are enough, and several that are asked for at once are counted one after the other.
func TestKeysAreCounted(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada@example.com")
	w.exec(`insert into auth.api_keys (id, owner_id, name, scopes, digest, expires_at, revoked_at)
		select gen_random_uuid(), $1, 'x', '{}', '', now() + n.expires, n.revoked
		from (select interval '1 day' expires, null::timestamptz revoked from generate_series(1, 48) union all values (interval '-1 day', null), (interval '1 day', now())) n`, ada.Id)
	as := w.as(w.session("ada@example.com").AccessToken)
	another := func() (code string) {
		r, err := as.CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "another", Scopes: []string{scopesOf([]string{roleUser})[2]}})
		if err != nil {
			t.Error(err)
			return ""
		}
		return codeIn(r.HTTPResponse, r.Body)
	}
	var many atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if another() == "too-many-keys" {
				many.Add(1)
			}
		})
	}
	all.Wait()
	if many.Load() != 6 {
		t.Errorf("of eight at once beside 48 that count, %d are too many", many.Load())
	}
	w.exec(`update auth.api_keys set revoked_at = now() where id in (select id from auth.api_keys where name = 'another' limit 1)`)
	if code := another(); code != "" {
		t.Errorf("after one is deleted: %s", code)
	}
}

// A key is made anew by who might make it: nobody gets scopes by it that they have not. Its owner hears of it, and the trail says what it may do.
func TestAKeyIsRotatedByWhoMightMakeIt(t *testing.T) {
	w := working(t)
	ada := w.person("ada@example.com", "user", "operator")
	tokens := w.session("ada@example.com")
	as, scopes := w.as(tokens.AccessToken), []string{"identities:read", "audit:read"}
	key, err := as.CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: scopes})
	service, err2 := as.CreateServiceAccountWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: scopes})
	if err := errors.Join(err, err2); err != nil || key.JSON201 == nil || service.JSON201 == nil {
		t.Fatalf("%v %s %s", err, key.Body, service.Body)
	}
	less, _ := w.token("grant_type", "refresh_token", "refresh_token", *tokens.RefreshToken, "scope", "account:write identities:write identities:read")
	narrow := w.as(less.AccessToken)
	made, err := narrow.CreateServiceAccountWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	answered(t, "a service account with more than its maker has", made.HTTPResponse, made.Body, 422, "validation-failed")
	rotated, err := narrow.RotateApiKeyWithResponse(t.Context(), key.JSON201.Id)
	again, err2 := narrow.RotateServiceAccountWithResponse(t.Context(), service.JSON201.Id)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	answered(t, "a key with more", rotated.HTTPResponse, rotated.Body, 403, "insufficient-scope")
	answered(t, "a service account with more", again.HTTPResponse, again.Body, 403, "insufficient-scope")
	w.mailed("ada@example.com", 1) // that the key was made
	told := w.mailedAfter("ada@example.com", func() {
		if r, err := as.RotateApiKeyWithResponse(t.Context(), key.JSON201.Id); err != nil || r.JSON200 == nil {
			t.Errorf("%v %s", err, r.Body)
		}
	})
	if !strings.HasPrefix(told.Subject, "A key") {
		t.Errorf("its owner is told %+v", told)
	}
	if r, err := as.RotateServiceAccountWithResponse(t.Context(), service.JSON201.Id); err != nil || r.JSON200 == nil {
		t.Errorf("%v %s", err, r.Body)
	}
	for _, subject := range []uuid.UUID{ada.Id, service.JSON201.Id} {
		if got := one[string](w, `select detail from auth.audit_events where kind = 'key.rotated' and identity_id = $1`, subject); got != "identities:read audit:read" {
			t.Errorf("the trail says that it may %q", got)
		}
	}
}

// A service account is nobody's, and a key of somebody's goes with the owner's standing, back and forth.
func TestWhoseEndIsAKeysEnd(t *testing.T) {
	w := newWorld(t)
	ada, op := w.person("ada@example.com", "user", "operator"), w.operating()
	as := w.as(w.session("ada@example.com").AccessToken)
	key, err := as.CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: []string{"audit:read"}})
	service, err2 := as.CreateServiceAccountWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: []string{"audit:read"}})
	if err := errors.Join(err, err2); err != nil || key.JSON201 == nil || service.JSON201 == nil {
		t.Fatalf("%v %s %s", err, key.Body, service.Body)
	}
	for _, c := range []struct {
		says string
		do   func() int
		want int
	}{
		{"disabled", func() int { r, _ := op.DisableIdentityWithResponse(t.Context(), ada.Id); return r.StatusCode() }, 401},
		{"enabled", func() int { r, _ := op.EnableIdentityWithResponse(t.Context(), ada.Id); return r.StatusCode() }, 200},
		{"an operator no more", func() int {
			r, _ := op.SetRolesWithResponse(t.Context(), ada.Id, authv1.Roles{Roles: []authv1.RolesRoles{"user"}})
			return r.StatusCode()
		}, 200},
		{"without keys", func() int { r, _ := op.RevokeKeysWithResponse(t.Context(), ada.Id); return r.StatusCode() }, 401},
	} {
		if status := c.do(); status >= 300 {
			t.Fatalf("%s: %d", c.says, status)
		}
		if _, status := w.trade(key.JSON201.Key); status != c.want {
			t.Errorf("its owner is %s: %d, want %d", c.says, status, c.want)
		}
		if tokens, status := w.trade(service.JSON201.Key); status != 200 || tokens.Scope != "audit:read" {
			t.Errorf("who made the service account is %s: %d %q", c.says, status, tokens.Scope)
		}
	}
}
