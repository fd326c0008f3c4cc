package auth

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
)

// operating is a client of somebody who runs this.
func (i *instance) operating() *authv1.ClientWithResponses {
	i.t.Helper()
	i.person("operator@example.com", "user", "operator")
	return i.as(i.session("operator@example.com").AccessToken)
}

// refused waits until an access token is refused, and says how long that took.
func (i *instance) refused(access string) time.Duration {
	i.t.Helper()
	began := time.Now()
	for {
		_, err := i.verifier.Verify(i.t.Context(), access)
		took := time.Since(began)
		if err != nil {
			return took
		}
		if took > patience {
			i.t.Fatal("the token is taken for ever")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// patience is far from the two seconds that it takes, as machines are busy, and farther from the five minutes of a token.
const patience = time.Minute

// The other second is every reader's (TestRevocationsAreReadEverySecond in pkg/authn).
func TestRevocationsAreToldEverySecond(t *testing.T) {
	if tellEvery > time.Second {
		t.Errorf("they are told every %s", tellEvery)
	}
}

// What was revoked in one process is refused in the others, and in those that start later.
func TestRevokedTokensAreRefusedEverywhere(t *testing.T) {
	w := working(t)
	elsewhere, revoked := w.another(), map[string]string{}
	for says, revoke := range map[string]func(email string, id uuid.UUID, tokens authv1.Tokens) (resp *http.Response, body []byte){
		"logged out": func(_ string, _ uuid.UUID, tokens authv1.Tokens) (*http.Response, []byte) {
			r, _ := w.as(tokens.AccessToken).LogoutWithResponse(t.Context())
			return r.HTTPResponse, r.Body
		},
		"the password is changed": func(email string, _ uuid.UUID, _ authv1.Tokens) (*http.Response, []byte) {
			r, _ := w.as(w.session(email).AccessToken).ChangePasswordWithResponse(t.Context(), authv1.PasswordChange{CurrentPassword: password, Password: other})
			return r.HTTPResponse, r.Body
		},
		"disabled": func(_ string, id uuid.UUID, _ authv1.Tokens) (*http.Response, []byte) {
			r, _ := w.operating().DisableIdentityWithResponse(t.Context(), id)
			return r.HTTPResponse, r.Body
		},
		"a role is taken away": func(_ string, id uuid.UUID, _ authv1.Tokens) (*http.Response, []byte) {
			r, _ := w.operating().SetRolesWithResponse(t.Context(), id, authv1.Roles{Roles: []authv1.RolesRoles{"user"}})
			return r.HTTPResponse, r.Body
		},
		"all sessions are ended": func(_ string, id uuid.UUID, _ authv1.Tokens) (*http.Response, []byte) {
			r, _ := w.operating().RevokeSessionsWithResponse(t.Context(), id)
			return r.HTTPResponse, r.Body
		},
		"an old refresh token is used": func(_ string, _ uuid.UUID, tokens authv1.Tokens) (*http.Response, []byte) {
			w.refresh(*tokens.RefreshToken)
			w.exec(`update auth.sessions set rotated_at = now() - interval '1 minute'`)
			_, status := w.refresh(*tokens.RefreshToken)
			return &http.Response{StatusCode: status - 200}, nil // 400: it is refused
		},
	} {
		email := strings.ReplaceAll(says, " ", "-") + "@example.com"
		person := w.person(email, "user", "operator")
		tokens := w.session(email)
		if _, err := elsewhere.verifier.Verify(t.Context(), tokens.AccessToken); err != nil { // and it is remembered there
			t.Fatal(err)
		}
		if resp, body := revoke(email, person.Id, tokens); resp.StatusCode >= 300 {
			t.Fatalf("%s: %d %s", says, resp.StatusCode, body)
		}
		revoked[says] = tokens.AccessToken
	}
	later := w.another()
	for says, access := range revoked {
		t.Logf("%s: refused elsewhere after %s", says, elsewhere.refused(access))
		t.Logf("%s: refused here after %s", says, w.refused(access))
		t.Logf("%s: refused by a process that starts later after %s", says, later.refused(access))
	}
}

// A flushed Redis makes nobody forget, and one that is away lets a token live no longer than it says.
func TestRevocationsOutliveRedis(t *testing.T) {
	w := working(t)
	elsewhere := w.another()
	w.person("ada@example.com")
	tokens, later := w.session("ada@example.com"), w.session("ada@example.com")
	if r, err := w.as(tokens.AccessToken).LogoutWithResponse(t.Context()); err != nil || r.StatusCode() != 204 {
		t.Fatalf("%v", err)
	}
	elsewhere.refused(tokens.AccessToken)
	w.redis.FlushAll()
	time.Sleep(50 * time.Millisecond)
	if _, err := elsewhere.verifier.Verify(t.Context(), tokens.AccessToken); err == nil {
		t.Error("who knew it has forgotten it")
	}
	t.Logf("who starts after that knows it after %s", w.another().refused(tokens.AccessToken))
	w.redis.SetError("away")
	next, _ := w.refresh(*later.RefreshToken)
	w.exec(`update auth.sessions set rotated_at = now() - interval '1 minute'`)
	if _, status := w.refresh(*later.RefreshToken); status != 400 {
		t.Errorf("a stolen token is taken while Redis is away: %d", status)
	}
	if _, status := w.refresh(*next.RefreshToken); status != 400 {
		t.Errorf("its session goes on: %d", status)
	}
	if _, err := elsewhere.verifier.Verify(t.Context(), later.AccessToken); err != nil {
		t.Errorf("an access token goes on until its time is over, as long as nobody can tell: %v", err)
	}
	w.redis.SetError("")
	t.Logf("when Redis is back it is known after %s", elsewhere.refused(later.AccessToken))
}

// Somebody whose role was taken away goes on with what is left.
func TestATokenAfterAChangeOfRolesIsTaken(t *testing.T) {
	w := working(t)
	ada := w.person("ada@example.com", "user", "operator")
	tokens := w.session("ada@example.com")
	r, err := w.operating().SetRolesWithResponse(t.Context(), ada.Id, authv1.Roles{Roles: []authv1.RolesRoles{"user"}})
	if err != nil || r.JSON200 == nil || strings.Join(r.JSON200.Roles, " ") != "user" {
		t.Fatalf("%v %s", err, r.Body)
	}
	renewed, status := w.refresh(*tokens.RefreshToken)
	if status != 200 {
		t.Fatalf("renewing it: %d", status)
	}
	fresh := w.session("ada@example.com")
	w.refused(tokens.AccessToken)
	for says, access := range map[string]string{"what was renewed right afterwards": renewed.AccessToken, "who signed in right afterwards": fresh.AccessToken} {
		if _, err := w.verifier.Verify(t.Context(), access); err != nil {
			t.Errorf("%s: %v", says, err)
		}
	}
	if strings.Contains(renewed.Scope, "identities") {
		t.Errorf("it may still %s", renewed.Scope)
	}
}

func TestAnOperatorLooksAfterAccounts(t *testing.T) {
	w := working(t)
	ada := w.person("ada@example.com")
	w.session("ada@example.com")
	op := w.operating()
	found, err := op.ListIdentitiesWithResponse(t.Context(), &authv1.ListIdentitiesParams{Email: "Ada@Example.com"})
	if err != nil || found.JSON200 == nil || len(found.JSON200.Data) != 1 {
		t.Fatalf("%v %s", err, found.Body)
	}
	if a := found.JSON200.Data[0]; a.Id != ada.Id || a.Email != "ada@example.com" || a.Status != "active" || a.IsLocked || a.HasSecondFactor {
		t.Errorf("%+v", a)
	}
	if none, err := op.ListIdentitiesWithResponse(t.Context(), &authv1.ListIdentitiesParams{Email: "nobody@example.com"}); err != nil || none.JSON200 == nil || len(none.JSON200.Data) != 0 {
		t.Errorf("nobody: %v %s", err, none.Body)
	}
	sessions, err := op.ListSessionsOfWithResponse(t.Context(), ada.Id, nil)
	if err != nil || sessions.JSON200 == nil || len(sessions.JSON200.Data) != 1 || sessions.JSON200.Data[0].IsCurrent {
		t.Errorf("%v %s", err, sessions.Body)
	}
	w.exec(`update auth.passwords set failed_count = $1 where identity_id = $2`, failuresAllowed-1, ada.Id)
	w.login("ada@example.com", other, "192.0.2.77")
	if a := w.accountOf(op, ada.Id); !a.IsLocked {
		t.Errorf("after a hundred wrong ones: %+v", a)
	}
	if r, err := op.UnlockIdentityWithResponse(t.Context(), ada.Id); err != nil || r.StatusCode() != 204 {
		t.Errorf("%v %s", err, r.Body)
	}
	if r := w.login("ada@example.com", password, "192.0.2.78"); r.JSON200 == nil {
		t.Errorf("after it was unlocked: %s", r.Body)
	}
	for range 2 {
		if r, err := op.DisableIdentityWithResponse(t.Context(), ada.Id); err != nil || r.StatusCode() != 204 {
			t.Errorf("%v %s", err, r.Body)
		}
	}
	if r := w.login("ada@example.com", password, "192.0.2.79"); r.StatusCode() != 401 {
		t.Errorf("disabled: %d", r.StatusCode())
	}
	if r, err := op.EnableIdentityWithResponse(t.Context(), ada.Id); err != nil || r.StatusCode() != 204 {
		t.Errorf("%v %s", err, r.Body)
	}
	if r := w.login("ada@example.com", password, "192.0.2.80"); r.JSON200 == nil {
		t.Errorf("enabled again: %s", r.Body)
	}
	before := len(w.post.to("ada@example.com"))
	if r, err := op.StartPasswordResetWithResponse(t.Context(), ada.Id); err != nil || r.StatusCode() != 204 {
		t.Errorf("%v %s", err, r.Body)
	}
	w.eventually("its owner is asked", func() bool { return len(w.post.to("ada@example.com")) > before })
	want := "identity.made session.begun identity.read sessions.read login.refused password.blocked identity.read password.unlocked session.begun " +
		"identity.disabled login.refused identity.enabled session.begun password.reset-asked"
	if got := w.audited(ada.Id.String()); got != want {
		t.Errorf("audited: %s\nwant:    %s", got, want)
	}
}

func (w *world) accountOf(by *authv1.ClientWithResponses, id uuid.UUID) authv1.Account {
	w.t.Helper()
	r, err := by.GetIdentityWithResponse(w.t.Context(), id)
	if err != nil || r.JSON200 == nil {
		w.t.Fatalf("%v %s", err, r.Body)
	}
	return *r.JSON200
}

func TestWhatAnOperatorMayNot(t *testing.T) {
	w := working(t)
	ada := w.person("ada@example.com")
	op := w.operating()
	me := one[uuid.UUID](w, `select id from auth.identities where 'operator' = any(roles)`)
	nobody := uuid.New()
	for _, c := range []struct {
		says string
		do   func() (*http.Response, []byte, error)
		code string
	}{
		{"disable oneself", func() (*http.Response, []byte, error) {
			r, err := op.DisableIdentityWithResponse(t.Context(), me)
			return r.HTTPResponse, r.Body, err
		}, "own-account"},
		{"take one's own right away", func() (*http.Response, []byte, error) {
			r, err := op.SetRolesWithResponse(t.Context(), me, authv1.Roles{Roles: []authv1.RolesRoles{"user"}})
			return r.HTTPResponse, r.Body, err
		}, "validation-failed"},
		{"disable nobody", func() (*http.Response, []byte, error) {
			r, err := op.DisableIdentityWithResponse(t.Context(), nobody)
			return r.HTTPResponse, r.Body, err
		}, "not-found"},
		{"give nobody a role", func() (*http.Response, []byte, error) {
			r, err := op.SetRolesWithResponse(t.Context(), nobody, authv1.Roles{Roles: []authv1.RolesRoles{"user"}})
			return r.HTTPResponse, r.Body, err
		}, "not-found"},
		{"look at nobody", func() (*http.Response, []byte, error) {
			r, err := op.GetIdentityWithResponse(t.Context(), nobody)
			return r.HTTPResponse, r.Body, err
		}, "not-found"},
		{"as somebody without the scope", func() (*http.Response, []byte, error) {
			r, err := w.as(w.session("ada@example.com").AccessToken).DisableIdentityWithResponse(t.Context(), ada.Id)
			return r.HTTPResponse, r.Body, err
		}, "insufficient-scope"},
	} {
		resp, body, err := c.do()
		if err != nil {
			t.Fatal(err)
		}
		if got := codeIn(resp, body); got != c.code {
			t.Errorf("%s: %d %q, want %q", c.says, resp.StatusCode, got, c.code)
		}
	}
	tokens := w.session("operator@example.com")
	w.exec(`update auth.sessions set authenticated_at = now() - interval '11 minutes'`)
	old, _ := w.refresh(*tokens.RefreshToken)
	r, err := w.as(old.AccessToken).DisableIdentityWithResponse(t.Context(), ada.Id)
	if err != nil || codeIn(r.HTTPResponse, r.Body) != "step-up-required" {
		t.Errorf("with a proof that is old: %v %s", err, r.Body)
	}
	if a := w.accountOf(op, ada.Id); a.Status != "active" {
		t.Errorf("after all that: %+v", a)
	}
}

func TestTheAuditTrail(t *testing.T) {
	w := working(t)
	ada := w.person("ada@example.com")
	w.login("ada@example.com", other, "203.0.113.9")
	op := w.operating()
	list := func(params authv1.ListAuditEventsParams) *authv1.AuditEventPage {
		t.Helper()
		r, err := op.ListAuditEventsWithResponse(t.Context(), &params)
		if err != nil || r.JSON200 == nil {
			t.Fatalf("%v %s", err, r.Body)
		}
		return r.JSON200
	}
	refused := list(authv1.ListAuditEventsParams{IdentityId: &ada.Id, Kind: new("login.refused")})
	if len(refused.Data) != 1 {
		t.Fatalf("%+v", refused)
	}
	if e := refused.Data[0]; e.Address.MustGet() != "203.0.113.9" || e.RequestId == "" || e.Actor != "" || e.IdentityId.MustGet() != ada.Id {
		t.Errorf("%+v", e)
	}
	var kinds []string
	for cursor, pages := (*string)(nil), 0; pages < 50; pages++ {
		page := list(authv1.ListAuditEventsParams{IdentityId: &ada.Id, Cursor: cursor, Limit: new(1)})
		for _, e := range page.Data {
			kinds = append(kinds, e.Kind)
		}
		if cursor = page.Page.NextCursor; cursor == nil {
			break
		}
		if pages > 2 {
			break // each look adds one, at the front
		}
	}
	if got := strings.Join(kinds, " "); !strings.HasPrefix(got, "audit.read login.refused identity.made") {
		t.Errorf("page by page: %s", got)
	}
	w.exec(`update auth.audit_addresses set created_at = now() - interval '91 days'`)
	if _, err := w.store.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused = list(authv1.ListAuditEventsParams{IdentityId: &ada.Id, Kind: new("login.refused")})
	if len(refused.Data) != 1 || !refused.Data[0].Address.IsNull() {
		t.Errorf("after 90 days: %+v", refused)
	}
	for _, sql := range []string{
		`update auth.audit_events set kind = 'x'`, `delete from auth.audit_events`, `truncate auth.audit_events cascade`,
	} {
		if _, err := w.owner.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s: the owner of the tables may", sql)
		}
		if _, err := w.store.db.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s: the module may", sql)
		}
	}
}
