package auth

import (
	"cmp"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
)

// A module notes what somebody did there; nobody else does.
func TestAModuleNotesWhatSomebodyDidThere(t *testing.T) {
	w := newWorld(t)
	op, about, actor := w.operating(), uuid.New(), uuid.NewString()
	module := w.as(w.form(200, "grant_type", "client_credentials", "client_id", "auth", "client_secret", "auth's secret").AccessToken)
	read := authv1.NewAuditEvent{Kind: "user.read", Actor: actor, UserId: &about, RequestId: "the caller's", Address: new("192.0.2.7")}
	for _, event := range []authv1.NewAuditEvent{read, {Kind: "users.listed", Actor: actor, RequestId: "the next"}} {
		if r, err := module.NoteAuditEventWithResponse(t.Context(), event); err != nil || r.StatusCode() != 204 {
			t.Fatalf("%v %s", err, r.Body)
		}
	}
	if r, err := op.NoteAuditEventWithResponse(t.Context(), read); err != nil || r.StatusCode() != 403 {
		t.Errorf("an operator notes: %v %s", err, r.Body)
	}
	odd, nowhere := read, read
	odd.Kind, nowhere.Address = "roles.changed", new("the moon")
	for says, event := range map[string]authv1.NewAuditEvent{"a kind that is auth's own": odd, "no address": nowhere} {
		if r, err := module.NoteAuditEventWithResponse(t.Context(), event); err != nil || r.StatusCode() != 422 {
			t.Errorf("%s: %v %s", says, err, r.Body)
		}
	}

	for kind, who := range map[string]bool{"user.read": true, "users.listed": false} {
		r, err := op.ListAuditEventsWithResponse(t.Context(), &authv1.ListAuditEventsParams{Kind: &kind})
		if err != nil || r.JSON200 == nil || len(r.JSON200.Data) != 1 {
			t.Fatalf("%s: %v %s", kind, err, r.Body)
		}
		e := r.JSON200.Data[0]
		if e.Actor != actor || e.RequestId == "" || e.IdentityId.IsNull() == who || who && e.IdentityId.MustGet() != about {
			t.Errorf("%s: %+v", kind, e)
		}
		if who && (e.Address.IsNull() || e.Address.MustGet() != "192.0.2.7") || !who && !e.Address.IsNull() {
			t.Errorf("%s: from %v; the module's own address is nobody's", kind, e.Address)
		}
	}
}

// Each row is what somebody does, and what the trail then says of it: what, to whom, and by whom ("nobody" has no token yet).
func TestTheAuditTrailSaysWhatWasDone(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada@example.com").Id
	op := w.operating()
	operators := w.session("operator@example.com").AccessToken
	names := []string{ada.String(), "ada", one[string](w, `select id::text from auth.identities where 'operator' = any(roles)`), "an operator"}
	access := w.session("ada@example.com").AccessToken
	as := w.as(access)
	var recovery []string
	for _, c := range []struct {
		want string
		do   func() (*http.Response, []byte, error)
	}{
		{"mfa.begun of ada by ada", func() (*http.Response, []byte, error) {
			w.addFactor(access)
			return nil, nil, nil
		}},
		{"mfa.codes-replaced of ada by ada", func() (*http.Response, []byte, error) {
			r, err := as.ReplaceRecoveryCodesWithResponse(t.Context())
			if err == nil && r.JSON200 != nil {
				recovery = r.JSON200.RecoveryCodes
			}
			return r.HTTPResponse, r.Body, err
		}},
		{"mfa.recovery-code-used of ada by ada, session.proved of ada by ada", func() (*http.Response, []byte, error) {
			r, err := as.ReauthenticateWithResponse(t.Context(), authv1.Proof{Password: password, Code: &recovery[0]})
			return r.HTTPResponse, r.Body, err
		}},
		{"mfa.asked of ada by nobody, mfa.recovery-code-used of ada by nobody, session.begun of ada by nobody", func() (*http.Response, []byte, error) {
			r := w.answer(w.question("ada@example.com"), recovery[1], "192.0.2.1")
			return r.HTTPResponse, r.Body, nil
		}},
		{"mfa.ended of ada by ada", func() (*http.Response, []byte, error) {
			r, err := as.DeleteTotpWithResponse(t.Context())
			return r.HTTPResponse, r.Body, err
		}},
		{"sessions.ended of ada by ada", func() (*http.Response, []byte, error) {
			r, err := as.EndOtherSessionsWithResponse(t.Context())
			return r.HTTPResponse, r.Body, err
		}},
		{"password.changed of ada by ada", func() (*http.Response, []byte, error) {
			r, err := as.ChangePasswordWithResponse(t.Context(), authv1.PasswordChange{CurrentPassword: password, Password: other})
			return r.HTTPResponse, r.Body, err
		}},
		{"password.reset of ada by nobody", func() (*http.Response, []byte, error) {
			w.forgot("ada@example.com")
			token, err := w.mailedToken(t.Context(), one[uuid.UUID](w, `select id from auth.one_time_tokens`))
			r := w.reset(token, password)
			return r.HTTPResponse, r.Body, err
		}},
		{"roles.changed of ada by an operator: user", func() (*http.Response, []byte, error) {
			r, err := op.SetRolesWithResponse(t.Context(), ada, authv1.Roles{Roles: []authv1.RolesRoles{"user"}})
			return r.HTTPResponse, r.Body, err
		}},
		{"identity.compared of ada by an operator, identity.compared of ada by an operator, identity.replaced of ada by an operator: user operator, roles.changed of ada by an operator: user operator", func() (*http.Response, []byte, error) {
			r := putV2(w.instance, operators, "ada@example.com", password, true, "user", "operator")
			return &http.Response{StatusCode: r.status}, []byte(r.code), nil
		}},
		{"identity.compared of ada by an operator, identity.compared of ada by an operator, identity.replaced of ada by an operator: user operator", func() (*http.Response, []byte, error) {
			r := putV2(w.instance, operators, "ada@example.com", other, true, "user", "operator")
			return &http.Response{StatusCode: r.status}, []byte(r.code), nil
		}},
		{"identity.made of another by an operator: user operator", func() (*http.Response, []byte, error) {
			r := putV2(w.instance, operators, "another@example.com", password, false, "user", "operator")
			if r.identity != nil {
				names = append(names, r.identity.Id.String(), "another")
			}
			return &http.Response{StatusCode: r.status}, []byte(r.code), nil
		}},
		{"sessions.ended of ada by an operator", func() (*http.Response, []byte, error) {
			r, err := op.RevokeSessionsWithResponse(t.Context(), ada)
			return r.HTTPResponse, r.Body, err
		}},
		{"identity.sought of nobody by an operator", func() (*http.Response, []byte, error) {
			r, err := op.ListIdentitiesWithResponse(t.Context(), &authv1.ListIdentitiesParams{Email: "nobody@example.com"})
			return r.HTTPResponse, r.Body, err
		}},
	} {
		before := one[int](w, `select count(*) from auth.audit_events`)
		if resp, body, err := c.do(); err != nil || resp != nil && resp.StatusCode >= 300 {
			t.Fatalf("%s: %v %s", c.want, err, body)
		}
		got := one[string](w, `
			select coalesce(string_agg(kind || ' of ' || coalesce(identity_id::text, 'nobody') || ' by ' || coalesce(nullif(actor, ''), 'nobody') || coalesce(': ' || nullif(detail, ''), ''), ', ' order by id), '')
			from (select * from auth.audit_events order by id offset $1) e`, before)
		if got = cmp.Or(strings.NewReplacer(names...).Replace(got), "nothing"); got != c.want {
			t.Errorf("audited: %s\nwant:    %s", got, c.want)
		}
	}
}
