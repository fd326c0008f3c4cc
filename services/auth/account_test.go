package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
	authv2 "example.com/groundwork/api/auth/v2"
	"example.com/groundwork/pkg/mail"
	"example.com/groundwork/pkg/problem"
)

const other = "another password nobody guesses"

// answered checks the status of an answer, and the code of the problem where it is one.
func answered(t *testing.T, says string, resp *http.Response, body []byte, status int, code string) {
	t.Helper()
	if got := codeIn(resp, body); resp.StatusCode != status || got != code {
		t.Errorf("%s: %d %q, want %d %q", says, resp.StatusCode, got, status, code)
	}
}

// codeIn is the code of the problem that was answered, "" for none.
func codeIn(resp *http.Response, body []byte) string {
	var d problem.Document
	if resp.StatusCode >= 400 {
		_ = json.Unmarshal(body, &d)
	}
	return d.Code
}

func (i *instance) forgot(email string) {
	i.t.Helper()
	r, err := i.public.ForgotPasswordWithResponse(i.t.Context(), authv1.Address{Email: email})
	if err != nil || r.StatusCode() != 202 {
		i.t.Fatalf("%v %s", err, r.Body)
	}
}

func (i *instance) reset(token, password string) *authv1.ResetPasswordResponse {
	i.t.Helper()
	r, err := i.public.ResetPasswordWithResponse(i.t.Context(), authv1.PasswordReset{Token: token, Password: password})
	if err != nil {
		i.t.Fatal(err)
	}
	return r
}

func TestAPasswordIsForgotten(t *testing.T) {
	w := working(t)
	ada := w.person("ada@example.com")
	tokens := w.session("ada@example.com")
	w.forgot(" Ada@Example.com"[1:])
	w.forgot("nobody@example.com")
	mailed := w.mailed("ada@example.com", 1)
	if mailed.Subject != "Set a new password" || mailed.Token == "" || !strings.Contains(mailed.Text, mailed.Token) {
		t.Errorf("the mail is %+v", mailed)
	}
	if r := w.reset(mailed.Token, "short"); codeIn(r.HTTPResponse, r.Body) != "validation-failed" {
		t.Errorf("a weak one: %s", r.Body)
	}
	for _, bad := range []string{"x", mailed.Token + "x", strings.ToUpper(mailed.Token)} {
		r := w.reset(bad, other)
		answered(t, "another token", r.HTTPResponse, r.Body, 400, "token-invalid")
	}
	second := w.mailedAfter("ada@example.com", func() { w.forgot("ada@example.com") })
	if r := w.reset(mailed.Token, other); r.StatusCode() != 204 {
		t.Fatalf("%d %s", r.StatusCode(), r.Body)
	}
	for says, token := range map[string]string{"the same once more": mailed.Token, "another one of the same owner": second.Token} {
		r := w.reset(token, other)
		answered(t, says, r.HTTPResponse, r.Body, 400, "token-invalid")
	}
	if _, status := w.refresh(*tokens.RefreshToken); status != 400 {
		t.Errorf("a session from before goes on: %d", status)
	}
	if r := w.login("ada@example.com", password, "192.0.2.1"); r.StatusCode() != 401 {
		t.Errorf("the old password: %d", r.StatusCode())
	}
	if r := w.login("ada@example.com", other, "192.0.2.2"); r.JSON200 == nil {
		t.Errorf("the new one: %s", r.Body)
	}
	w.eventually("the owner is told", func() bool {
		return slices.ContainsFunc(w.post.to("ada@example.com"), func(m mail.Message) bool { return m.Subject == "Your password was changed" })
	})
	if len(w.post.to("nobody@example.com")) > 0 {
		t.Error("a stranger gets a mail")
	}
	if got := w.audited(ada.Id.String()); !strings.HasSuffix(got, "password.reset login.refused session.begun") {
		t.Errorf("audited: %s", got)
	}
}

func TestAResetThatComesTooLate(t *testing.T) {
	w := working(t)
	ada := w.person("ada@example.com")
	w.forgot("ada@example.com")
	token := w.mailed("ada@example.com", 1).Token
	w.exec(`update auth.one_time_tokens set expires_at = now()`)
	r := w.reset(token, other)
	answered(t, "after ten minutes", r.HTTPResponse, r.Body, 400, "token-invalid")
	w.exec(`update auth.one_time_tokens set expires_at = now() + interval '1 minute'`)
	w.exec(`update auth.identities set status = 'disabled' where id = $1`, ada.Id)
	r = w.reset(token, other)
	answered(t, "of somebody disabled", r.HTTPResponse, r.Body, 400, "token-invalid")
	w.exec(`update auth.identities set status = 'active' where id = $1`, ada.Id)
	if r := w.login("ada@example.com", password, "192.0.2.1"); r.JSON200 == nil {
		t.Errorf("a refused reset changes something: %s", r.Body)
	}
}

// How long each thing is good for, in seconds: its row says so, in its own time.
func TestHowLongThingsAreGood(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	w.register("new@example.com", password)
	w.forgot("ada@example.com")
	as := w.as(w.session("ada@example.com").AccessToken)
	scopes := []string{scopesOf([]string{roleUser})[2]}
	resent, err := w.public.ResendVerificationWithResponse(t.Context(), authv1.Address{Email: "new@example.com"})
	change, err2 := as.ChangeEmailWithResponse(t.Context(), authv1.Address{Email: "other@example.com"})
	long, err3 := as.CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: scopes})
	short, err4 := as.CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "one day", Scopes: scopes, ExpiresInDays: new(1)})
	if err := errors.Join(err, err2, err3, err4); err != nil || resent.StatusCode() != 202 || change.StatusCode() != 202 || long.JSON201 == nil || short.JSON201 == nil {
		t.Fatalf("%v %s %s %s %s", err, resent.Body, change.Body, long.Body, short.Body)
	}
	const minute, day = 60, 24 * 60 * 60
	for rows, want := range map[string]int{
		`registrations`: day, `sessions`: 90 * day,
		`one_time_tokens where kind = 'password-reset'`: 10 * minute, `one_time_tokens where kind = 'email-change'`: 60 * minute,
		`one_time_tokens where kind = 'resend'`: 10 * minute,
		`api_keys where name = 'x'`:             90 * day, `api_keys where name = 'one day'`: day,
	} {
		if got := one[int](w, `select extract(epoch from expires_at - created_at)::int from auth.`+rows); got != want {
			t.Errorf("%s: %d s, want %d", rows, got, want)
		}
	}
	if r, err := as.RotateApiKeyWithResponse(t.Context(), long.JSON201.Id); err != nil || r.JSON200 == nil {
		t.Fatalf("%v %s", err, r.Body)
	}
	if left := one[int](w, `select extract(epoch from previous_until - now())::int from auth.api_keys where name = 'x'`); left > day || left < day-minute {
		t.Errorf("the key before counts for %d s more, want a day", left)
	}
	w.addFactor(w.session("ada@example.com").AccessToken)
	says, err := w.open(t.Context(), waitingTicket, w.question("ada@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(waitingOf(says).expires); left > 5*time.Minute || left < 4*time.Minute {
		t.Errorf("a login waits %s for its second factor, want five minutes", left)
	}
}

// Who reads the mail has one factor, and is asked for the other one all the same.
func TestAResetLeavesTheSecondFactor(t *testing.T) {
	w := working(t)
	_, recovery := w.factored("ada@example.com")
	w.mailed("ada@example.com", 1) // the notice that there is one
	token := w.mailedAfter("ada@example.com", func() { w.forgot("ada@example.com") }).Token
	if r := w.reset(token, other); r.StatusCode() != 204 {
		t.Fatalf("%d %s", r.StatusCode(), r.Body)
	}
	asked := w.login("ada@example.com", other, "192.0.2.1")
	if asked.JSON200 != nil || asked.JSON202 == nil {
		t.Fatalf("a second factor is not asked for: %d %s", asked.StatusCode(), asked.Body)
	}
	if r := w.answer(asked.JSON202.MfaToken, recovery[0], "192.0.2.1"); r.JSON200 == nil {
		t.Errorf("and is not taken: %s", r.Body)
	}
}

func TestResetsRace(t *testing.T) {
	w := working(t)
	w.person("ada@example.com")
	w.forgot("ada@example.com")
	token := w.mailed("ada@example.com", 1).Token
	won := make([]bool, 5)
	var all sync.WaitGroup
	for n := range won {
		all.Go(func() { won[n] = w.reset(token, other+strings.Repeat("!", n)).StatusCode() == 204 })
	}
	all.Wait()
	winners := 0
	for n, one := range won {
		if one {
			winners++
			if r := w.login("ada@example.com", other+strings.Repeat("!", n), "192.0.2.7"); r.JSON200 == nil {
				t.Errorf("the winner's password is not the one: %s", r.Body)
			}
		}
	}
	if winners != 1 {
		t.Errorf("%d resets with one token", winners)
	}
}

// Whatever is asked for by mail, and whoever has the address: the same answer, the same row, the same job.
func TestNobodyLearnsWhoHasAnAccount(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	w.register("waiting@example.com", password)
	for says, ask := range map[string]func(email string) (*http.Response, []byte, error){
		"forgot": func(email string) (*http.Response, []byte, error) {
			r, err := w.public.ForgotPasswordWithResponse(t.Context(), authv1.Address{Email: email})
			return r.HTTPResponse, r.Body, err
		},
		"resend": func(email string) (*http.Response, []byte, error) {
			r, err := w.public.ResendVerificationWithResponse(t.Context(), authv1.Address{Email: email})
			return r.HTTPResponse, r.Body, err
		},
	} {
		var looks []string
		for _, email := range []string{"ada@example.com", "waiting@example.com", "nobody@example.com"} {
			jobs, rows := one[int](w, `select count(*) from auth.river_job`), one[int](w, `select count(*) from auth.one_time_tokens`)
			resp, body, err := ask(email)
			if err != nil {
				t.Fatal(err)
			}
			looks = append(looks, look(resp.StatusCode, resp.Header, body))
			if one[int](w, `select count(*) from auth.river_job`) != jobs+1 || one[int](w, `select count(*) from auth.one_time_tokens`) != rows+1 {
				t.Errorf("%s of %s: another amount of work", says, email)
			}
		}
		if len(slices.Compact(looks)) != 1 {
			t.Errorf("%s tells them apart: %q", says, looks)
		}
	}
}

func TestTheMailOfARegistrationIsAskedForAgain(t *testing.T) {
	w := working(t)
	w.register("ada@example.com", password)
	first := w.mailed("ada@example.com", 1)
	again := w.mailedAfter("ada@example.com", func() {
		if r, err := w.public.ResendVerificationWithResponse(t.Context(), authv1.Address{Email: "ada@example.com"}); err != nil || r.StatusCode() != 202 {
			t.Fatalf("%v %s", err, r.Body)
		}
	})
	if again.Subject != first.Subject || again.Token != first.Token {
		t.Errorf("another mail: %+v, then %+v", first, again)
	}
	if status := w.verify(again.Token); status != 204 {
		t.Errorf("its token: %d", status)
	}
}

// flooded has somebody asked for more mails than there are in an hour.
func (w *world) flooded(email string) {
	w.t.Helper()
	for range mailsPerHour + 3 {
		w.forgot(email)
	}
	w.eventually("all jobs are done", func() bool {
		return one[int](w, `select count(*) from auth.river_job where kind = 'one-time-mail' and state = 'completed'`) == mailsPerHour+3
	})
}

func TestNobodysMailboxIsFilledThroughUs(t *testing.T) {
	w := working(t)
	w.person("ada@example.com")
	w.flooded("ada@example.com")
	if n := len(w.post.to("ada@example.com")); n != mailsPerHour {
		t.Errorf("%d mails in an hour", n)
	}
}

func TestAnAddressIsChanged(t *testing.T) {
	w := working(t)
	ada := w.person("ada@example.com")
	w.person("bob@example.com")
	access := w.session("ada@example.com").AccessToken
	ask := func(email string) {
		t.Helper()
		if r, err := w.as(access).ChangeEmailWithResponse(t.Context(), authv1.Address{Email: email}); err != nil || r.StatusCode() != 202 {
			t.Fatalf("%v %s", err, r.Body)
		}
	}
	ask("countess@example.com")
	mailed := w.mailed("countess@example.com", 1)
	if told := w.mailed("ada@example.com", 1); !strings.HasPrefix(told.Subject, "Your account may move") || strings.Contains(told.Text, mailed.Token) {
		t.Errorf("the old address is told %+v", told)
	}
	if r := w.login("countess@example.com", password, "192.0.2.1"); r.StatusCode() != 401 {
		t.Errorf("before it is confirmed: %d", r.StatusCode())
	}
	if status := w.verify(mailed.Token); status != 204 {
		t.Fatalf("confirming: %d", status)
	}
	if status := w.verify(mailed.Token); status != 400 {
		t.Errorf("twice: %d", status)
	}
	if old, new := w.login("ada@example.com", password, "192.0.2.2"), w.login("countess@example.com", password, "192.0.2.3"); old.StatusCode() != 401 || new.JSON200 == nil {
		t.Errorf("the old address: %d, the new one: %d", old.StatusCode(), new.StatusCode())
	}
	if got := w.audited(ada.Id.String()); !strings.Contains(got, "email.change-asked email.changed") {
		t.Errorf("audited: %s", got)
	}
	// only with users:
	w.eventually("users learns of it", func() bool { return w.users.email(ada.Id) == "countess@example.com" })
	// end users
	ask("bob@example.com")
	if taken := w.mailed("bob@example.com", 1); taken.Token != "" || !strings.Contains(taken.Subject, "has an account already") {
		t.Errorf("somebody else's address is told %+v", taken)
	}
}

func TestAnAddressThatIsTakenMeanwhile(t *testing.T) {
	w := working(t)
	w.person("ada@example.com")
	access := w.session("ada@example.com").AccessToken
	if r, err := w.as(access).ChangeEmailWithResponse(t.Context(), authv1.Address{Email: "new@example.com"}); err != nil || r.StatusCode() != 202 {
		t.Fatalf("%v %s", err, r.Body)
	}
	token := w.mailed("new@example.com", 1).Token
	w.person("new@example.com")
	if status := w.verify(token); status != 400 {
		t.Errorf("confirming what somebody else has by now: %d", status)
	}
	if r := w.login("ada@example.com", password, "192.0.2.1"); r.JSON200 == nil {
		t.Errorf("the old address: %s", r.Body)
	}
}

func TestAPasswordIsChanged(t *testing.T) {
	w := working(t)
	w.person("ada@example.com")
	here, there := w.session("ada@example.com"), w.session("ada@example.com")
	change := func(current, next string) *authv1.ChangePasswordResponse {
		t.Helper()
		r, err := w.as(here.AccessToken).ChangePasswordWithResponse(t.Context(), authv1.PasswordChange{CurrentPassword: current, Password: next})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := change(other, other)
	answered(t, "with a wrong one", r.HTTPResponse, r.Body, 422, "validation-failed")
	r = change(password, "short")
	answered(t, "to a weak one", r.HTTPResponse, r.Body, 422, "validation-failed")
	if r := change(password, other); r.StatusCode() != 204 {
		t.Fatalf("%d %s", r.StatusCode(), r.Body)
	}
	if _, status := w.refresh(*here.RefreshToken); status != 200 {
		t.Errorf("the session that changed it has ended: %d", status)
	}
	if _, status := w.refresh(*there.RefreshToken); status != 400 {
		t.Errorf("another session goes on: %d", status)
	}
	if r := w.login("ada@example.com", other, "192.0.2.9"); r.JSON200 == nil {
		t.Errorf("the new password: %s", r.Body)
	}
}

// What changes how one comes in asks for a proof that is fresh, which is given again for the password (and a code).
func TestStepUp(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com", "user", "operator")
	tokens := w.session("ada@example.com")
	w.exec(`update auth.sessions set authenticated_at = now() - interval '11 minutes'`)
	old, _ := w.refresh(*tokens.RefreshToken)
	as := w.as(old.AccessToken)
	check := func(says string, resp *http.Response, body []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		answered(t, says, resp, body, 401, "step-up-required")
		if h := resp.Header.Get("WWW-Authenticate"); !strings.Contains(h, `error="insufficient_user_authentication"`) || !strings.Contains(h, `max_age="600"`) {
			t.Errorf("%s: WWW-Authenticate is %s", says, h)
		}
	}
	r1, err := as.ChangePasswordWithResponse(t.Context(), authv1.PasswordChange{CurrentPassword: password, Password: other})
	check("a password", r1.HTTPResponse, r1.Body, err)
	r2, err := as.ChangeEmailWithResponse(t.Context(), authv1.Address{Email: "new@example.com"})
	check("an address", r2.HTTPResponse, r2.Body, err)
	r3, err := as.BeginTotpWithResponse(t.Context())
	check("a second factor", r3.HTTPResponse, r3.Body, err)
	if list, err := as.ListSessionsWithResponse(t.Context(), nil); err != nil || list.JSON200 == nil {
		t.Errorf("what asks for none: %v %s", err, list.Body)
	}
	wrong, err := as.ReauthenticateWithResponse(t.Context(), authv1.Proof{Password: other})
	if err != nil {
		t.Fatal(err)
	}
	answered(t, "a wrong proof", wrong.HTTPResponse, wrong.Body, 401, "invalid-credentials")
	w.exec(`update auth.identities set roles = '{user}'`)
	right, err := as.ReauthenticateWithResponse(t.Context(), authv1.Proof{Password: password})
	if err != nil || right.JSON200 == nil || right.JSON200.RefreshToken != nil {
		t.Fatalf("a right one: %v %s", err, right.Body)
	}
	if !strings.Contains(old.Scope, "identities:write") || strings.Contains(right.JSON200.Scope, "identities:write") {
		t.Errorf("a proof gives back what was taken away: %s", right.JSON200.Scope)
	}
	if r, err := w.as(right.JSON200.AccessToken).ChangePasswordWithResponse(t.Context(), authv1.PasswordChange{CurrentPassword: password, Password: other}); err != nil || r.StatusCode() != 204 {
		t.Errorf("with it: %v %s", err, r.Body)
	}
}

// withoutProof is what changes something and asks for no fresh proof, and why.
var withoutProof = map[string]string{
	"POST /v1/auth/register":               "public",
	"POST /v1/auth/email/verify":           "public: a token of a mail is the proof",
	"POST /v1/auth/email/verify/resend":    "public",
	"POST /v1/auth/password/forgot":        "public",
	"POST /v1/auth/password/reset":         "public: a token of a mail is the proof",
	"POST /v1/auth/login":                  "public: it is a proof",
	"POST /v1/auth/mfa/verify":             "public: it is a proof",
	"POST /v1/auth/reauthenticate":         "it is the proof",
	"POST /v1/auth/token":                  "public: a token or a secret is the proof",
	"POST /v1/auth/revoke":                 "public: it takes away only",
	"POST /v1/auth/logout":                 "it takes away only",
	"POST /v1/auth/sessions/revoke-others": "it takes away only, and in a hurry",
	"DELETE /v1/auth/sessions/{id}":        "it takes away only, and in a hurry",
	"DELETE /v1/auth/api-keys/{id}":        "it takes away only, and in a hurry",
	"POST /v1/auth/audit-events":           "for modules, which are nobody who could prove it",
}

func TestWhatChangesSomethingAsksForAFreshProof(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, spec := range [][]byte{authv1.Spec, authv2.Spec} {
		doc, err := openapi3.NewLoader().LoadFromData(spec)
		if err != nil {
			t.Fatal(err)
		}
		for path, item := range doc.Paths.Map() {
			for method, o := range item.Operations() {
				if method == http.MethodGet {
					continue
				}
				name := method + " " + path
				seen[name] = true
				asks := o.Extensions["x-step-up"] == true
				if why, is := withoutProof[name]; is == asks {
					t.Errorf("%s: x-step-up is %t, and the reason to do without is %q: one of the two, not both", name, asks, why)
				}
			}
		}
	}
	for name := range withoutProof {
		if !seen[name] {
			t.Errorf("%s is in no contract", name)
		}
	}
}

func TestSessionsAreSeenAndEnded(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	w.person("bob@example.com")
	here, there, third := w.session("ada@example.com"), w.session("ada@example.com"), w.session("ada@example.com")
	bob := w.session("bob@example.com")
	as := w.as(here.AccessToken)
	list := func(limit int) *authv1.SessionPage {
		t.Helper()
		r, err := as.ListSessionsWithResponse(t.Context(), &authv1.ListSessionsParams{Limit: &limit})
		if err != nil || r.JSON200 == nil {
			t.Fatalf("%v %s", err, r.Body)
		}
		return r.JSON200
	}
	page := list(2)
	if len(page.Data) != 2 || !page.Page.HasMore || page.Data[0].IsCurrent || page.Data[0].Network.MustGet() != "192.0.2.0/24" || !strings.HasPrefix(page.Data[0].UserAgent.MustGet(), "Go-http-client") {
		t.Errorf("the first page: %+v", page)
	}
	next, err := as.ListSessionsWithResponse(t.Context(), &authv1.ListSessionsParams{Cursor: page.Page.NextCursor})
	if err != nil || next.JSON200 == nil || len(next.JSON200.Data) != 1 || !next.JSON200.Data[0].IsCurrent {
		t.Errorf("the last page: %v %s", err, next.Body)
	}
	if stolen, err := w.as(bob.AccessToken).ListSessionsWithResponse(t.Context(), &authv1.ListSessionsParams{Cursor: page.Page.NextCursor}); err != nil || codeIn(stolen.HTTPResponse, stolen.Body) != "invalid-cursor" {
		t.Errorf("with somebody else's cursor: %v %s", err, stolen.Body)
	}
	end := func(by *authv1.ClientWithResponses, id uuid.UUID) int {
		t.Helper()
		r, err := by.EndSessionWithResponse(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode()
	}
	newest := page.Data[0].Id
	if status := end(w.as(bob.AccessToken), newest); status != 404 {
		t.Errorf("somebody else's is ended: %d", status)
	}
	if _, status := w.refresh(*third.RefreshToken); status != 200 {
		t.Errorf("and it has ended: %d", status)
	}
	if first, twice := end(as, newest), end(as, newest); first != 204 || twice != 404 {
		t.Errorf("ended: %d, and again: %d", first, twice)
	}
	if len(list(100).Data) != 2 {
		t.Errorf("after one is ended: %+v", list(100))
	}
	if r, err := as.EndOtherSessionsWithResponse(t.Context()); err != nil || r.StatusCode() != 204 {
		t.Errorf("%v %s", err, r.Body)
	}
	if _, status := w.refresh(*there.RefreshToken); status != 400 {
		t.Errorf("another goes on: %d", status)
	}
	for says, token := range map[string]string{"the one that asked": *here.RefreshToken, "somebody else's": *bob.RefreshToken} {
		if _, status := w.refresh(token); status != 200 {
			t.Errorf("%s has ended: %d", says, status)
		}
	}
	for says, sql := range map[string]string{
		"one that is idle": `update auth.sessions set rotated_at = now() - interval '15 days'`, "one that is over": `update auth.sessions set expires_at = now(), rotated_at = now()`,
	} {
		w.exec(sql)
		if got := list(100); len(got.Data) != 0 {
			t.Errorf("%s is listed: %+v", says, got)
		}
	}
}

// app is where somebody reads the codes of the second factor.
type app struct {
	secret string
	begun  int64 // the step whose code confirmed it
}

// code is the one some steps after that which is used up. The next one is taken at once, and for a minute at least: what a test says of
// it holds when a step of time ends in the middle, as it would not of "the code of now".
func (a app) code(t *testing.T, after int64) string {
	t.Helper()
	code, err := totpCode(a.secret, a.begun+after)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// factored is somebody with a second factor, and the codes to come in with.
func (w *world) factored(email string) (of app, recovery []string) {
	w.t.Helper()
	w.person(email)
	return w.addFactor(w.session(email).AccessToken)
}

// addFactor gives a second factor to whoever has the token.
func (w *world) addFactor(access string) (of app, recovery []string) {
	w.t.Helper()
	as := w.as(access)
	begun, err := as.BeginTotpWithResponse(w.t.Context())
	if err != nil || begun.JSON201 == nil {
		w.t.Fatalf("%v %s", err, begun.Body)
	}
	of = appOf(begun.JSON201.Secret)
	confirmed, err := as.ConfirmTotpWithResponse(w.t.Context(), authv1.TotpCode{Code: of.code(w.t, 0)})
	if err != nil || confirmed.JSON200 == nil {
		w.t.Fatalf("%v %s", err, confirmed.Body)
	}
	return of, confirmed.JSON200.RecoveryCodes
}

func appOf(secret string) app { return app{secret, time.Now().Unix() / totpPeriod} }

// question is a login that waits for the second factor.
func (i *instance) question(email string) string {
	i.t.Helper()
	r := i.login(email, password, "192.0.2.1")
	if r.JSON202 == nil || r.JSON202.Status != "mfa_required" || len(r.JSON202.Methods) != 2 {
		i.t.Fatalf("login: %d %s", r.StatusCode(), r.Body)
	}
	return r.JSON202.MfaToken
}

func (i *instance) answer(mfaToken, code, from string) *authv1.VerifySecondFactorResponse {
	i.t.Helper()
	r, err := i.public.VerifySecondFactorWithResponse(i.t.Context(), authv1.SecondFactorProof{MfaToken: mfaToken, Code: code},
		func(_ context.Context, r *http.Request) error { r.Header.Set("X-Forwarded-For", from); return nil })
	if err != nil {
		i.t.Fatal(err)
	}
	return r
}

func TestASecondFactor(t *testing.T) {
	w := working(t)
	app, recovery := w.factored("ada@example.com")
	w.mailed("ada@example.com", 1)
	if len(recovery) != recoveryCodes || len(plainCode(recovery[0])) != 32 {
		t.Errorf("recovery codes: %q", recovery)
	}
	question := w.question("ada@example.com")
	r := w.answer(question, "000000", "192.0.2.1")
	answered(t, "a wrong code", r.HTTPResponse, r.Body, 401, "invalid-credentials")
	r = w.answer(question, app.code(t, 0), "192.0.2.1")
	answered(t, "the code that was used to begin", r.HTTPResponse, r.Body, 401, "invalid-credentials")
	code := app.code(t, 1)
	came := w.answer(question, code, "192.0.2.1")
	if came.JSON200 == nil || came.JSON200.RefreshToken == nil {
		t.Fatalf("the right code: %s", came.Body)
	}
	r = w.answer(question, code, "192.0.2.2")
	answered(t, "the same code again", r.HTTPResponse, r.Body, 401, "invalid-credentials")
	typed := strings.ToUpper(strings.ReplaceAll(recovery[3], "-", " "))
	if r := w.answer(question, typed, "192.0.2.3"); r.JSON200 == nil {
		t.Errorf("a recovery code: %s", r.Body)
	}
	r = w.answer(question, recovery[3], "192.0.2.4")
	answered(t, "the same recovery code again", r.HTTPResponse, r.Body, 401, "invalid-credentials")

	as := w.as(came.JSON200.AccessToken)
	without, err := as.ReauthenticateWithResponse(t.Context(), authv1.Proof{Password: password})
	if err != nil {
		t.Fatal(err)
	}
	answered(t, "a proof without a code", without.HTTPResponse, without.Body, 422, "validation-failed")
	if with, err := as.ReauthenticateWithResponse(t.Context(), authv1.Proof{Password: password, Code: &recovery[4]}); err != nil || with.JSON200 == nil {
		t.Errorf("with one: %v %s", err, with.Body)
	}
	if again, err := as.BeginTotpWithResponse(t.Context()); err != nil || codeIn(again.HTTPResponse, again.Body) != "totp-exists" {
		t.Errorf("a second one: %v %s", err, again.Body)
	}
	fresh, err := as.ReplaceRecoveryCodesWithResponse(t.Context())
	if err != nil || fresh.JSON200 == nil {
		t.Fatalf("%v %s", err, fresh.Body)
	}
	r = w.answer(question, recovery[0], "192.0.2.5")
	answered(t, "a recovery code that was replaced", r.HTTPResponse, r.Body, 401, "invalid-credentials")
	if gone, err := as.DeleteTotpWithResponse(t.Context()); err != nil || gone.StatusCode() != 204 {
		t.Errorf("%v %s", err, gone.Body)
	}
	if r := w.login("ada@example.com", password, "192.0.2.6"); r.JSON200 == nil {
		t.Errorf("without it again: %s", r.Body)
	}
	r = w.answer(question, fresh.JSON200.RecoveryCodes[0], "192.0.2.7")
	answered(t, "a code after it is gone", r.HTTPResponse, r.Body, 401, "invalid-credentials")
}

func TestALoginThatWaitsForItsSecondFactorEnds(t *testing.T) {
	w := newWorld(t)
	_, recovery := w.factored("ada@example.com")
	tokens := w.question("ada@example.com")
	for says, bad := range map[string]string{"nothing": "mt_", "changed": flipped(tokens), "a refresh token": "rt_" + tokens[3:], "another kind": "dt_" + tokens[3:]} {
		r := w.answer(bad, recovery[0], "192.0.2.1")
		answered(t, says, r.HTTPResponse, r.Body, 400, "token-invalid")
	}
	late := waiting{one[uuid.UUID](w, `select identity_id from auth.totp`), one[time.Time](w, `select changed_at from auth.passwords`), time.Now()}
	token, err := w.issue(t.Context(), waitingTicket, late.payload())
	if err != nil {
		t.Fatal(err)
	}
	r := w.answer(token, recovery[0], "192.0.2.1")
	answered(t, "after five minutes", r.HTTPResponse, r.Body, 400, "token-invalid")
	w.exec(`update auth.passwords set changed_at = now()`)
	r = w.answer(tokens, recovery[0], "192.0.2.1")
	answered(t, "when the password was changed meanwhile", r.HTTPResponse, r.Body, 400, "token-invalid")
}

// The sessions that began without it end, but for the one that it began in.
func TestASecondFactorEndsTheOtherSessions(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	here, there := w.session("ada@example.com"), w.session("ada@example.com")
	w.addFactor(here.AccessToken)
	if _, status := w.refresh(*there.RefreshToken); status != 400 {
		t.Errorf("another goes on without it: %d", status)
	}
	if _, status := w.refresh(*here.RefreshToken); status != 200 {
		t.Errorf("its own has ended: %d", status)
	}
}

// Who knows the password guesses codes no faster than passwords: a right password does not make the wait shorter.
func TestWhoGuessesCodesWaits(t *testing.T) {
	w := working(t)
	_, recovery := w.factored("ada@example.com")
	w.noWaitEnds()
	const free = 5
	question := w.question("ada@example.com")
	for n := range free {
		r := w.answer(question, "000000", "198.51.100.1")
		answered(t, fmt.Sprintf("wrong code %d", n+1), r.HTTPResponse, r.Body, 401, "invalid-credentials")
	}
	r := w.answer(question, recovery[0], "198.51.100.1")
	answered(t, "the right one during the wait", r.HTTPResponse, r.Body, 429, "rate-limited")
	w.eventually("the owner is told", func() bool {
		return slices.ContainsFunc(w.post.to("ada@example.com"), func(m mail.Message) bool { return m.Subject == "Somebody knows your password" })
	})
	tries := 0
	for ; tries <= free; tries++ {
		if w.login("ada@example.com", password, "203.0.113.1").StatusCode() == 429 || w.answer(question, "000000", "203.0.113.1").StatusCode() == 429 {
			break
		}
	}
	if tries > free {
		t.Error("a right password between them makes wrong codes free")
	}
}

// Somebody who knows the password and has all the networks there are gets a bounded number of codes.
func TestWrongCodesCloseTheSecondFactor(t *testing.T) {
	w := newWorld(t)
	_, recovery := w.factored("ada@example.com")
	question := w.question("ada@example.com")
	for n := range failuresAllowed {
		w.redis.FlushAll()
		if n%10 == 0 {
			w.login("ada@example.com", password, "192.0.2.1")
		}
		if r := w.answer(question, "000000", "192.0.2.1"); r.JSON200 != nil {
			t.Fatalf("%d: a wrong code is right: %s", n, r.Body)
		}
	}
	w.redis.FlushAll()
	if r := w.answer(question, recovery[0], "192.0.2.1"); r.JSON200 != nil {
		t.Error("a right code is taken after a hundred wrong ones")
	}
	w.redis.FlushAll()
	if again := w.login("ada@example.com", password, "192.0.2.1"); again.JSON202 != nil {
		if r := w.answer(again.JSON202.MfaToken, recovery[0], "192.0.2.1"); r.JSON200 != nil {
			t.Error("and a login from the start makes them forgotten")
		}
	}
}

// A code is good once, however many send it at the same moment.
func TestCodesAreUsedOnce(t *testing.T) {
	w := newWorld(t)
	app, recovery := w.factored("ada@example.com")
	question := w.question("ada@example.com")
	for says, code := range map[string]string{"of the app": app.code(t, 1), "to recover": recovery[0]} {
		var mu sync.Mutex
		var won int
		var all sync.WaitGroup
		for n := range 20 {
			all.Go(func() {
				r := w.answer(question, code, fmt.Sprintf("198.51.%d.7", n))
				mu.Lock()
				defer mu.Unlock()
				if r.JSON200 != nil {
					won++
				}
			})
		}
		all.Wait()
		if won != 1 {
			t.Errorf("%d came in with one code %s", won, says)
		}
		w.redis.FlushAll()
	}
}

// The vectors of RFC 6238, appendix B, of which the last six digits are ours.
func TestTOTPCodes(t *testing.T) {
	for at, want := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		if got, err := totpCode("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", at/totpPeriod); err != nil || got != want {
			t.Errorf("at %d: %s, %v; want %s", at, got, err, want)
		}
	}
	secret, address := newTOTP("https://api.acme.test:8443", "ada@example.com")
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/api.acme.test:ada@example.com" || u.Query().Get("secret") != secret || len(secret) != 32 {
		t.Errorf("%s, %v", address, err)
	}
}

func TestTOTPSteps(t *testing.T) {
	const secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" // of RFC 6238, appendix B
	at := time.Unix(1111111109, 0)
	step := at.Unix() / totpPeriod
	for _, c := range []struct {
		code string
		last int64
		now  time.Time
		want int64 // 0: refused
	}{
		{"081804", 0, at, step}, // the appendix has 07081804
		{"081804", step - 1, at, step},
		{"081804", step, at, 0}, // used
		{"081804", step + 1, at, 0},
		{"081804", 0, at.Add(30 * time.Second), step}, // a clock that is behind
		{"081804", 0, at.Add(-30 * time.Second), step},
		{"081804", 0, at.Add(61 * time.Second), 0},
		{"081804", 0, at.Add(-61 * time.Second), 0},
		{"050471", 0, time.Unix(1111111111, 0), 1111111111 / totpPeriod},
		{"081805", 0, at, 0}, {"08180", 0, at, 0}, {"0818040", 0, at, 0}, {"", 0, at, 0}, {"abcdef", 0, at, 0},
	} {
		if got, ok := totpStep(secret, c.code, c.last, c.now); got != c.want || ok != (c.want != 0) {
			t.Errorf("%q after %d at %s: step %d, %v; want %d", c.code, c.last, c.now, got, ok, c.want)
		}
	}
}

// A hundred wrong ones in a row close the account, whoever sends them and from where; the owner opens it by mail.
func TestAHundredFailures(t *testing.T) {
	w := working(t)
	ada := w.person("ada@example.com")
	tokens := w.session("ada@example.com")
	w.exec(`update auth.passwords set failed_count = $1`, failuresAllowed-2)
	if r := w.login("ada@example.com", other, "192.0.2.1"); r.StatusCode() != 401 {
		t.Fatalf("%d", r.StatusCode())
	}
	if r := w.login("ada@example.com", password, "192.0.2.2"); r.JSON200 == nil {
		t.Fatalf("one less than a hundred: %s", r.Body)
	}
	if n := one[int](w, `select failed_count from auth.passwords`); n != 0 {
		t.Errorf("a right one leaves %d", n)
	}
	w.exec(`update auth.passwords set failed_count = $1`, failuresAllowed-1)
	w.login("ada@example.com", other, "192.0.2.3")
	r := w.login("ada@example.com", password, "192.0.2.4")
	answered(t, "the right one by then", r.HTTPResponse, r.Body, 401, "invalid-credentials")
	if _, status := w.refresh(*tokens.RefreshToken); status != 200 {
		t.Errorf("a session that was there: %d", status)
	}
	w.eventually("the owner is told", func() bool {
		return slices.ContainsFunc(w.post.to("ada@example.com"), func(m mail.Message) bool { return m.Subject == "Your account is closed to passwords" })
	})
	if got := w.audited(ada.Id.String()); strings.Count(got, "password.blocked") != 1 {
		t.Errorf("audited: %s", got)
	}
	reset := w.mailedAfter("ada@example.com", func() { w.forgot("ada@example.com") })
	if r := w.reset(reset.Token, other); r.StatusCode() != 204 {
		t.Fatalf("%s", r.Body)
	}
	if r := w.login("ada@example.com", other, "192.0.2.5"); r.JSON200 == nil {
		t.Errorf("after a reset: %s", r.Body)
	}
}

// Strangers who guess slow down each other and whoever is new; a device that its owner has come in from is not in their way.
func TestAVictimComesIn(t *testing.T) {
	w := working(t)
	w.person("ada@example.com")
	w.person("eve@example.com")
	known := w.session("ada@example.com").DeviceToken
	foreign := w.session("eve@example.com").DeviceToken
	enter := func(device *string) *authv1.LoginResponse {
		t.Helper()
		r, err := w.public.LoginWithResponse(t.Context(), authv1.Login{Email: "ada@example.com", Password: password, DeviceToken: device})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	w.noWaitEnds()
	for n := range 30 {
		w.login("ada@example.com", other, fmt.Sprintf("198.51.%d.1", n))
	}
	for says, device := range map[string]*string{"no device": nil, "somebody else's": foreign, "a made-up one": new("dt_AAAA")} {
		r := enter(device)
		answered(t, says, r.HTTPResponse, r.Body, 429, "rate-limited")
	}
	if r := enter(known); r.JSON200 == nil || *r.JSON200.DeviceToken != *known {
		t.Errorf("the owner's device: %d %s", r.StatusCode(), r.Body)
	}
	for range 8 {
		_, err := w.public.LoginWithResponse(t.Context(), authv1.Login{Email: "ada@example.com", Password: other, DeviceToken: known})
		if err != nil {
			t.Fatal(err)
		}
	}
	r := enter(known)
	answered(t, "a device from which somebody guesses", r.HTTPResponse, r.Body, 429, "rate-limited")
	reset := w.mailedAfter("ada@example.com", func() { w.forgot("ada@example.com") })
	if r := w.reset(reset.Token, other); r.StatusCode() != 204 {
		t.Errorf("a reset is slowed down: %s", r.Body)
	}
	if r := w.login("ada@example.com", other, "127.0.0.9"); r.JSON200 == nil {
		t.Errorf("after a reset: %s", r.Body)
	}
}
