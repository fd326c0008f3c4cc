package auth

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
)

// Whoever can register an address, but not read its mail, gets nothing of the account that its owner confirms: neither by so many
// registrations that the owner's has no mail, nor by one after the owner's, when the owner asks for the mail again.
func TestNobodyInheritsByRegisteringOftenOrLast(t *testing.T) {
	const strangers = "the stranger's own password"
	for says, mails := range map[string]func(w *world) string{
		"often": func(w *world) string {
			for range mailsPerHour {
				w.register("ada@example.com", strangers)
			}
			w.register("ada@example.com", password)
			return w.mailed("ada@example.com", mailsPerHour).Token
		},
		"last": func(w *world) string {
			w.register("ada@example.com", password)
			w.register("ada@example.com", strangers)
			w.mailed("ada@example.com", 2)
			again := w.mailedAfter("ada@example.com", func() {
				if r, err := w.public.ResendVerificationWithResponse(w.t.Context(), authv1.Address{Email: "ada@example.com"}); err != nil || r.StatusCode() != 202 {
					w.t.Fatalf("%v %s", err, r.Body)
				}
			})
			return again.Token
		},
		"right after": func(w *world) string {
			w.register("ada@example.com", password)
			w.register("ada@example.com", strangers)
			return w.mailed("ada@example.com", 2).Token
		},
	} {
		t.Run(says, func(t *testing.T) {
			w := working(t)
			token := mails(w)
			reset := w.mailedAfter("ada@example.com", func() {
				if status := w.verify(token); status != 204 {
					t.Fatalf("confirming: %d", status)
				}
			})
			if r := w.login("ada@example.com", strangers, "192.0.2.1"); r.StatusCode() != 401 {
				t.Errorf("the stranger is in: %d", r.StatusCode())
			}
			if r := w.reset(reset.Token, password); r.StatusCode() != 204 {
				t.Fatalf("the owner sets a password: %s", r.Body)
			}
			if r := w.login("ada@example.com", password, "192.0.2.2"); r.JSON200 == nil {
				t.Errorf("the owner: %s", r.Body)
			}
		})
	}
}

// What the mail about a change of address advises who has not asked for it, and what helpers do, ends the change.
func TestAChangeOfAddressEndsWithWhatKeepsAnIntruderOut(t *testing.T) {
	for says, keepOut := range map[string]func(w *world, access string) int{
		"a reset": func(w *world, _ string) int {
			return w.reset(w.resetToken("ada@example.com"), other).StatusCode()
		},
		"a new password": func(w *world, access string) int {
			r, _ := w.as(access).ChangePasswordWithResponse(w.t.Context(), authv1.PasswordChange{CurrentPassword: password, Password: other})
			return r.StatusCode()
		},
		"disabled": func(w *world, access string) int {
			r, _ := w.operating().DisableIdentityWithResponse(w.t.Context(), w.principal(access).UserID)
			return r.StatusCode()
		},
		"all sessions ended": func(w *world, access string) int {
			r, _ := w.operating().RevokeSessionsWithResponse(w.t.Context(), w.principal(access).UserID)
			return r.StatusCode()
		},
		"the others ended": func(w *world, _ string) int {
			r, _ := w.as(w.session("ada@example.com").AccessToken).EndOtherSessionsWithResponse(w.t.Context())
			return r.StatusCode()
		},
		"its session ended": func(w *world, access string) int {
			r, _ := w.as(w.session("ada@example.com").AccessToken).EndSessionWithResponse(w.t.Context(), w.principal(access).SessionID)
			return r.StatusCode()
		},
		"a second factor": func(w *world, _ string) int {
			w.addFactor(w.session("ada@example.com").AccessToken)
			return 0
		},
		"a stolen token": func(w *world, _ string) int {
			first := w.session("ada@example.com")
			next, _ := w.refresh(*first.RefreshToken)
			_, _ = w.refresh(*next.RefreshToken)
			if _, status := w.refresh(*first.RefreshToken); status != 400 {
				return 300
			}
			return 0
		},
		"replaced": func(w *world, _ string) int {
			return putV2(w.instance, w.consoleToken(), "ada@example.com", other, true, "user").status
		},
	} {
		t.Run(says, func(t *testing.T) {
			w := working(t)
			w.person("ada@example.com")
			access := w.session("ada@example.com").AccessToken
			if r, err := w.as(access).ChangeEmailWithResponse(w.t.Context(), authv1.Address{Email: "eve@example.com"}); err != nil || r.StatusCode() != 202 {
				t.Fatalf("%v %s", err, r.Body)
			}
			token := w.mailed("eve@example.com", 1).Token
			if status := keepOut(w, access); status >= 300 {
				t.Fatalf("%d", status)
			}
			if status := w.verify(token); status != 400 {
				t.Errorf("the address moves all the same: %d", status)
			}
		})
	}
}

func TestTheOldAddressIsToldBeforeTheNewOneCanConfirm(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	if r, err := w.as(w.session("ada@example.com").AccessToken).ChangeEmailWithResponse(t.Context(), authv1.Address{Email: "new@example.com"}); err != nil || r.StatusCode() != 202 {
		t.Fatalf("%v %s", err, r.Body)
	}
	w.post.fails = []error{errSMTP}
	w.works(w.instance)
	w.mailed("new@example.com", 1)
	w.post.mu.Lock()
	defer w.post.mu.Unlock()
	if len(w.post.sent) != 2 || w.post.sent[0].To != "ada@example.com" || w.post.sent[1].To != "new@example.com" {
		t.Errorf("%+v", w.post.sent)
	}
}

// Asking for one kind of mail is not in the way of another kind.
func TestMailsAreCountedByWhatTheyAreFor(t *testing.T) {
	w := working(t)
	w.person("ada@example.com")
	for range mailsPerHour + 1 {
		if r, err := w.public.ResendVerificationWithResponse(t.Context(), authv1.Address{Email: "ada@example.com"}); err != nil || r.StatusCode() != 202 {
			t.Fatalf("%v %s", err, r.Body)
		}
	}
	if m := w.mailedAfter("ada@example.com", func() { w.forgot("ada@example.com") }); m.Token == "" {
		t.Errorf("%+v", m)
	}
}

// Whoever reads the mail, and has no second factor, gets no more guesses of it by a new password.
func TestANewPasswordForgetsNoWrongCodes(t *testing.T) {
	w := working(t)
	app, recovery := w.factored("ada@example.com")
	w.noWaitEnds()
	anew := func() {
		t.Helper()
		if r := w.reset(w.resetToken("ada@example.com"), password); r.StatusCode() != 204 {
			t.Fatalf("%s", r.Body)
		}
	}
	for range 5 {
		w.answer(w.question("ada@example.com"), "000000", "192.0.2.1")
	}
	anew()
	r := w.answer(w.question("ada@example.com"), "000000", "192.0.2.1")
	answered(t, "soon after a new password", r.HTTPResponse, r.Body, 429, "rate-limited")
	w.redis.FlushAll()

	w.exec(`update auth.totp set failed_count = $1`, failuresAllowed-1)
	w.answer(w.question("ada@example.com"), "000000", "198.51.100.1")
	id := one[string](w, `select identity_id::text from auth.totp`)
	if a := w.accountOf(w.operating(), w.principal(w.tokensBy(recovery[0])).UserID); a.IsLocked || a.Id.String() != id {
		t.Errorf("a recovery code opens it: %+v", a)
	}
	w.exec(`update auth.totp set failed_count = $1`, failuresAllowed-1)
	w.answer(w.question("ada@example.com"), "000000", "198.51.101.1")
	anew()
	r = w.answer(w.question("ada@example.com"), app.code(t, 1), "198.51.102.1")
	answered(t, "the right code after a hundred wrong ones and a new password", r.HTTPResponse, r.Body, 401, "invalid-credentials")
	if a := w.accountOf(w.operating(), w.principal(w.tokensBy(recovery[1])).UserID); a.IsLocked {
		t.Errorf("%+v", a)
	}
	if r := w.answer(w.question("ada@example.com"), app.code(t, 1), "198.51.103.1"); r.JSON200 == nil {
		t.Errorf("the right code by then: %s", r.Body)
	}
}

// tokensBy is an access token of ada's by a recovery code.
func (w *world) tokensBy(recovery string) string {
	w.t.Helper()
	r := w.answer(w.question("ada@example.com"), recovery, "203.0.113.1")
	if r.JSON200 == nil {
		w.t.Fatalf("a recovery code: %s", r.Body)
	}
	return r.JSON200.AccessToken
}

// A login that was checked before a second factor counts begins no session after that.
func TestALoginThatRacesASecondFactor(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	index, err := w.keys.Index(t.Context(), "ada@example.com")
	if err != nil {
		t.Fatal(err)
	}
	checked, err := w.store.credentials(t.Context(), index)
	if err != nil || checked.SecondFactor {
		t.Fatalf("%v %+v", err, checked)
	}
	as := w.as(w.session("ada@example.com").AccessToken)
	begun, err := as.BeginTotpWithResponse(t.Context())
	if err != nil || begun.JSON201 == nil {
		t.Fatalf("%v %s", err, begun.Body)
	}
	if r, err := as.ConfirmTotpWithResponse(t.Context(), authv1.TotpCode{Code: appOf(begun.JSON201.Secret).code(t, 0)}); err != nil || r.JSON200 == nil {
		t.Fatalf("%v %s", err, r.Body)
	}
	if _, _, err := w.begin(t.Context(), checked, acrPassword, []string{"pwd"}, "", false); !errors.Is(err, errCredentials) {
		t.Errorf("a session by the password alone: %v", err)
	}
}

// The commit of a second factor makes such a login wait.
func TestALoginWaitsForASecondFactor(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	change := `with locked as (select id from auth.identities for update)
		insert into auth.totp (identity_id, secret_ct, confirmed_at) select id, '', now() from locked`
	if status := w.waits(change, func() int { return w.login("ada@example.com", password, "192.0.2.1").StatusCode() }); status != 401 {
		t.Errorf("%d", status)
	}
}

// A device is known by the password that was typed there.
func TestANewPasswordForgetsDevices(t *testing.T) {
	w := working(t)
	w.person("ada@example.com")
	known := w.session("ada@example.com").DeviceToken
	if r := w.reset(w.resetToken("ada@example.com"), other); r.StatusCode() != 204 {
		t.Fatalf("%s", r.Body)
	}
	w.noWaitEnds()
	for range 6 {
		w.login("ada@example.com", password, "127.0.0.1")
	}
	r, err := w.public.LoginWithResponse(t.Context(), authv1.Login{Email: "ada@example.com", Password: other, DeviceToken: known})
	if err != nil {
		t.Fatal(err)
	}
	answered(t, "with a device from before", r.HTTPResponse, r.Body, 429, "rate-limited")
}

// Who is in already proves it again, whatever strangers beside them try.
func TestStrangersAreNotInTheWayOfAProof(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	as := w.as(w.session("ada@example.com").AccessToken)
	w.noWaitEnds()
	for range 10 {
		w.login("ada@example.com", other, "127.0.0.1")
	}
	if r := w.login("ada@example.com", password, "127.0.0.1"); r.StatusCode() != 429 {
		t.Fatalf("a stranger beside: %d", r.StatusCode())
	}
	if r, err := as.ReauthenticateWithResponse(t.Context(), authv1.Proof{Password: password}); err != nil || r.JSON200 == nil {
		t.Errorf("%v %s", err, r.Body)
	}
	for range 6 {
		if _, err := as.ReauthenticateWithResponse(t.Context(), authv1.Proof{Password: other}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := as.ReauthenticateWithResponse(t.Context(), authv1.Proof{Password: password})
	if err != nil {
		t.Fatal(err)
	}
	answered(t, "who guesses in a session", r.HTTPResponse, r.Body, 429, "rate-limited")
}

// An operator who asks again and again whether somebody's password is this one is slowed down and noted; and takes the own right to do so away
// by no operation.
func TestAnOperatorGuessesNoPasswords(t *testing.T) {
	w := working(t)
	ada := w.person("ada@example.com")
	console := w.consoleToken()
	w.noWaitEnds()
	var codes []string
	for range 7 {
		codes = append(codes, putV2(w.instance, console, "ada@example.com", other, false, "user").code)
	}
	if got := strings.Join(codes, " "); !strings.HasPrefix(got, "precondition-required ") || !strings.HasSuffix(got, " rate-limited") {
		t.Errorf("%s", got)
	}
	if got := w.audited(ada.Id.String()); !strings.Contains(got, "identity.compared identity.compared") {
		t.Errorf("audited: %s", got)
	}
	w.person("op@example.com", "user", "operator")
	if p := putV2(w.instance, w.session("op@example.com").AccessToken, "op@example.com", other, true, "user"); p.code != "validation-failed" {
		t.Errorf("an operator without the role: %d %s", p.status, p.code)
	}
}

// An intruder's key outlives a new password, so its making is told.
func TestTheOwnerHearsOfAKey(t *testing.T) {
	w := working(t)
	w.person("ada@example.com")
	told := w.mailedAfter("ada@example.com", func() {
		r, err := w.as(w.session("ada@example.com").AccessToken).CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "ci", Scopes: []string{scopesOf([]string{roleUser})[2]}})
		if err != nil || r.JSON201 == nil {
			t.Fatalf("%v %s", err, r.Body)
		}
	})
	if !strings.HasPrefix(told.Subject, "A key") {
		t.Errorf("%+v", told)
	}
}

// resetToken asks for a new password, and waits for the mail with the token among those that tell the owner something.
func (w *world) resetToken(email string) (token string) {
	w.t.Helper()
	before := len(w.post.to(email))
	w.forgot(email)
	w.eventually("the mail with a token", func() bool {
		for _, m := range w.post.to(email)[before:] {
			token = cmp.Or(token, m.Token)
		}
		return token != ""
	})
	return token
}

// A stranger who asks for mail after mail keeps nobody out: somebody has a mail that counts at any time.
func TestAFloodOfResetsKeepsNobodyOut(t *testing.T) {
	w := working(t)
	w.person("ada@example.com")
	w.flooded("ada@example.com")
	w.exec(`update auth.one_time_tokens set expires_at = now() - interval '1 minute'`) // ten minutes later
	if r := w.reset(w.resetToken("ada@example.com"), other); r.StatusCode() != 204 {
		t.Errorf("%s", r.Body)
	}
}

// An intruder who was in once has a second factor and a key. Helpers take both away, and the owner comes in by the mail.
func TestHelpersTakeAnIntrudersFactorAndKeysAway(t *testing.T) {
	w := working(t)
	ada := w.person("ada@example.com")
	session := w.session("ada@example.com")
	w.addFactor(session.AccessToken)
	made, err := w.as(session.AccessToken).CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: []string{scopesOf([]string{roleUser})[2]}})
	if err != nil || made.JSON201 == nil {
		t.Fatalf("%v %s", err, made.Body)
	}
	byKey, _ := w.trade(made.JSON201.Key)
	w.reset(w.resetToken("ada@example.com"), other)
	if r := w.login("ada@example.com", other, "192.0.2.1"); r.JSON202 == nil {
		t.Fatalf("the factor is the intruder's: %s", r.Body)
	}
	op := w.operating()
	if r, err := op.RemoveSecondFactorWithResponse(t.Context(), ada.Id); err != nil || r.StatusCode() != 204 {
		t.Fatalf("%v %s", err, r.Body)
	}
	r, err := op.RemoveSecondFactorWithResponse(t.Context(), ada.Id)
	if err != nil {
		t.Fatal(err)
	}
	answered(t, "twice", r.HTTPResponse, r.Body, 404, "not-found")
	if r, err := op.RevokeKeysWithResponse(t.Context(), ada.Id); err != nil || r.StatusCode() != 204 {
		t.Errorf("%v %s", err, r.Body)
	}
	if r := w.login("ada@example.com", other, "192.0.2.2"); r.JSON200 == nil {
		t.Errorf("the owner: %s", r.Body)
	}
	if _, status := w.trade(made.JSON201.Key); status != 401 {
		t.Errorf("the key: %d", status)
	}
	w.refused(byKey.AccessToken)
	if got := w.audited(ada.Id.String()); !strings.Contains(got, "mfa.removed keys.ended") {
		t.Errorf("audited: %s", got)
	}
	w.eventually("the owner is told", func() bool {
		n := 0
		for _, m := range w.post.to("ada@example.com") {
			if strings.HasPrefix(m.Subject, "Your second factor") {
				n++
			}
		}
		return n == 2
	})
}

// A token whose session has ended is no place to prove oneself in, even where nobody has heard yet that it ended.
func TestAnEndedSessionIsNotProvedAgain(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	as := w.as(w.session("ada@example.com").AccessToken)
	w.exec(`update auth.sessions set revoked_at = now()`)
	r, err := as.ReauthenticateWithResponse(t.Context(), authv1.Proof{Password: password})
	if err != nil {
		t.Fatal(err)
	}
	answered(t, "a proof in it", r.HTTPResponse, r.Body, 401, "invalid-credentials")
}

// Who is unlocked comes in at once: what strangers everywhere have tried is forgotten, of passwords and of codes.
func TestUnlockingEndsTheWaits(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada@example.com")
	app, _ := w.addFactor(w.session("ada@example.com").AccessToken)
	question := w.question("ada@example.com")
	w.noWaitEnds()
	for n := range 25 {
		w.answer(question, "000000", fmt.Sprintf("198.51.%d.1", n))
		w.login("ada@example.com", other, fmt.Sprintf("198.51.%d.1", n))
	}
	if r := w.login("ada@example.com", password, "192.0.2.1"); r.StatusCode() != 429 {
		t.Fatalf("a password during the wait: %d", r.StatusCode())
	}
	r := w.answer(question, app.code(t, 1), "192.0.2.1")
	answered(t, "a code during the wait", r.HTTPResponse, r.Body, 429, "rate-limited")
	if r, err := w.operating().UnlockIdentityWithResponse(t.Context(), ada.Id); err != nil || r.StatusCode() != 204 {
		t.Fatalf("%v %s", err, r.Body)
	}
	if r := w.answer(w.question("ada@example.com"), app.code(t, 1), "192.0.2.1"); r.JSON200 == nil {
		t.Errorf("after it: %s", r.Body)
	}
}

// Who takes an account back does so at once: what outlives a token is not had for one that was revoked, even where nobody has heard of it yet.
func TestARevokedTokenGetsNothingThatOutlivesIt(t *testing.T) {
	w := newWorld(t) // nobody works its jobs, so nobody hears what is revoked
	op := w.operating()
	for says, takeBack := range map[string]func(email string, id uuid.UUID) int{
		"a reset": func(email string, _ uuid.UUID) int {
			w.forgot(email)
			token, err := w.mailedToken(t.Context(), one[uuid.UUID](w, `select id from auth.one_time_tokens where kind = 'password-reset' order by id desc limit 1`))
			if err != nil {
				t.Fatal(err)
			}
			return w.reset(token, other).StatusCode()
		},
		"disabled": func(_ string, id uuid.UUID) int {
			r, _ := op.DisableIdentityWithResponse(t.Context(), id)
			return r.StatusCode()
		},
		"a role taken away": func(_ string, id uuid.UUID) int {
			r, _ := op.SetRolesWithResponse(t.Context(), id, authv1.Roles{Roles: []authv1.RolesRoles{"user"}})
			return r.StatusCode() - 200
		},
		"all sessions ended": func(_ string, id uuid.UUID) int {
			r, _ := op.RevokeSessionsWithResponse(t.Context(), id)
			return r.StatusCode()
		},
	} {
		email := strings.ReplaceAll(says, " ", "-") + "@example.com"
		id := w.person(email, "user", "operator").Id
		session := w.session(email)
		as, scopes := w.as(session.AccessToken), []string{"identities:read"}
		key, err := as.CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: scopes})
		service, err2 := as.CreateServiceAccountWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: scopes})
		begun, err3 := as.BeginTotpWithResponse(t.Context())
		if err := errors.Join(err, err2, err3); err != nil || key.JSON201 == nil || service.JSON201 == nil || begun.JSON201 == nil {
			t.Fatalf("%v %s %s %s", err, key.Body, service.Body, begun.Body)
		}
		if status := takeBack(email, id); status >= 300 {
			t.Fatalf("%s: %d", says, status)
		}
		if w.principal(session.AccessToken).UserID != id {
			t.Fatalf("%s: it is heard of", says)
		}
		for _, c := range []struct {
			what string
			do   func() (*http.Response, []byte, error)
		}{
			{"another address", func() (*http.Response, []byte, error) {
				r, err := as.ChangeEmailWithResponse(t.Context(), authv1.Address{Email: "eve@example.com"})
				return r.HTTPResponse, r.Body, err
			}},
			{"a key", func() (*http.Response, []byte, error) {
				r, err := as.CreateApiKeyWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: scopes})
				return r.HTTPResponse, r.Body, err
			}},
			{"a key anew", func() (*http.Response, []byte, error) {
				r, err := as.RotateApiKeyWithResponse(t.Context(), key.JSON201.Id)
				return r.HTTPResponse, r.Body, err
			}},
			{"a service account", func() (*http.Response, []byte, error) {
				r, err := as.CreateServiceAccountWithResponse(t.Context(), authv1.NewKey{Name: "x", Scopes: scopes})
				return r.HTTPResponse, r.Body, err
			}},
			{"a service account anew", func() (*http.Response, []byte, error) {
				r, err := as.RotateServiceAccountWithResponse(t.Context(), service.JSON201.Id)
				return r.HTTPResponse, r.Body, err
			}},
			{"a second factor", func() (*http.Response, []byte, error) {
				r, err := as.ConfirmTotpWithResponse(t.Context(), authv1.TotpCode{Code: appOf(begun.JSON201.Secret).code(t, 0)})
				return r.HTTPResponse, r.Body, err
			}},
			{"recovery codes", func() (*http.Response, []byte, error) {
				w.exec(`update auth.totp set confirmed_at = now() where identity_id = $1`, id)
				r, err := as.ReplaceRecoveryCodesWithResponse(t.Context())
				return r.HTTPResponse, r.Body, err
			}},
			{"no second factor", func() (*http.Response, []byte, error) {
				r, err := as.DeleteTotpWithResponse(t.Context())
				return r.HTTPResponse, r.Body, err
			}},
			{"the owner's sessions ended", func() (*http.Response, []byte, error) {
				r, err := as.EndOtherSessionsWithResponse(t.Context())
				return r.HTTPResponse, r.Body, err
			}},
			{"a role", func() (*http.Response, []byte, error) {
				r, err := as.SetRolesWithResponse(t.Context(), id, authv1.Roles{Roles: []authv1.RolesRoles{"user", "operator"}})
				return r.HTTPResponse, r.Body, err
			}},
			{"an account for an operator", func() (*http.Response, []byte, error) {
				p := putV2(w.instance, session.AccessToken, "eve@example.com", other, false, "user", "operator")
				return &http.Response{StatusCode: p.status}, []byte(`{"code":"` + p.code + `"}`), nil
			}},
			{"an account replaced", func() (*http.Response, []byte, error) {
				p := putV2(w.instance, session.AccessToken, "operator@example.com", other, true, "user", "operator")
				return &http.Response{StatusCode: p.status}, []byte(`{"code":"` + p.code + `"}`), nil
			}},
		} {
			resp, body, err := c.do()
			if err != nil {
				t.Fatal(err)
			}
			answered(t, says+", and then "+c.what, resp, body, 401, "unauthenticated")
		}
	}
}

// What is asked for while the account is being taken back waits, and then is refused as well.
func TestWhatRacesATakingBackIsRefused(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	as := w.as(w.session("ada@example.com").AccessToken)
	change := `with locked as (select id from auth.identities for update), ended as (update auth.sessions set revoked_at = now() where identity_id in (select id from locked) returning id)
		insert into auth.revocations (id, below, created_at) select id, 9223372036854775807, now() from ended`
	if status := w.waits(change, func() int {
		r, err := as.ChangeEmailWithResponse(t.Context(), authv1.Address{Email: "eve@example.com"})
		if err != nil {
			return 0
		}
		return r.StatusCode()
	}); status != 401 {
		t.Errorf("%d", status)
	}
}

// Who asks for an address, ends it and asks again fills nobody's mailbox that way.
func TestWhatIsDroppedWasMailedAllTheSame(t *testing.T) {
	w := working(t)
	w.person("eve@example.com")
	as := w.as(w.session("eve@example.com").AccessToken)
	for n := range mailsPerHour + 3 {
		if r, err := as.ChangeEmailWithResponse(t.Context(), authv1.Address{Email: "stranger@example.com"}); err != nil || r.StatusCode() != 202 {
			t.Fatalf("%v %s", err, r.Body)
		}
		w.eventually("the job is done", func() bool {
			return one[int](w, `select count(*) from auth.river_job where kind = 'one-time-mail' and state = 'completed'`) == n+1
		})
		if r, err := as.EndOtherSessionsWithResponse(t.Context()); err != nil || r.StatusCode() != 204 {
			t.Fatalf("%v %s", err, r.Body)
		}
	}
	if n := len(w.post.to("stranger@example.com")); n != mailsPerHour {
		t.Errorf("%d mails in an hour", n)
	}
	if late, err := w.store.oneTimeTokenToMail(t.Context(), one[uuid.UUID](w, `select id from auth.one_time_tokens limit 1`)); late != nil || err != nil {
		t.Errorf("a job that is late mails what was dropped: %+v %v", late, err)
	}
}

// changes asks for another address with somebody's session, and returns the token that the mail there has.
func (w *world) changes(from, to string) (token string) {
	w.t.Helper()
	m := w.mailedAfter(to, func() {
		if r, err := w.as(w.session(from).AccessToken).ChangeEmailWithResponse(w.t.Context(), authv1.Address{Email: to}); err != nil || r.StatusCode() != 202 {
			w.t.Fatalf("%v %s", err, r.Body)
		}
	})
	if !strings.Contains(m.Text, from) {
		w.t.Errorf("the mail does not say whose account moves: %s", m.Text)
	}
	return m.Token
}

// Who asks for an address that somebody else is about to have gets nothing by the owner's confirming the wrong mail.
func TestAnAddressThatSeveralAskFor(t *testing.T) {
	const strangers = "the stranger's own password"
	for says, c := range map[string]struct {
		asks func(w *world) (confirmed, other string)
		want int
	}{
		"the stranger's change is confirmed": {func(w *world) (string, string) {
			mine := w.changes("ada@example.com", "new@example.com")
			return w.changes("eve@example.com", "new@example.com"), mine
		}, 409},
		"the owner's change is confirmed": {func(w *world) (string, string) {
			mine := w.changes("ada@example.com", "new@example.com")
			return mine, w.changes("eve@example.com", "new@example.com")
		}, 409},
		"the owner's change is confirmed, and a stranger has registered": {func(w *world) (string, string) {
			w.register("new@example.com", strangers)
			theirs := w.mailed("new@example.com", 1).Token
			return w.changes("ada@example.com", "new@example.com"), theirs
		}, 409},
		"the stranger's registration is confirmed": {func(w *world) (string, string) {
			mine := w.changes("ada@example.com", "new@example.com")
			w.register("new@example.com", strangers)
			return w.mailed("new@example.com", 2).Token, mine
		}, 204},
	} {
		t.Run(says, func(t *testing.T) {
			w := working(t)
			w.person("ada@example.com")
			w.person("eve@example.com")
			confirmed, rest := c.asks(w)
			if status := w.verify(confirmed); status != c.want {
				t.Errorf("confirming: %d, want %d", status, c.want)
			}
			if status := w.verify(rest); status != 400 {
				t.Errorf("the other mail counts: %d", status)
			}
			for _, password := range []string{strangers, password} {
				if r := w.login("new@example.com", password, "192.0.2.1"); r.StatusCode() != 401 {
					t.Errorf("somebody is in: %d", r.StatusCode())
				}
			}
			if c.want == 204 {
				if r := w.reset(w.mailed("new@example.com", 3).Token, other); r.StatusCode() != 204 {
					t.Errorf("the owner sets a password: %s", r.Body)
				}
			} else if status := w.verify(w.changes("ada@example.com", "new@example.com")); status != 204 {
				t.Errorf("the owner asks once more: %d", status)
			}
		})
	}
}

// What was asked for and is over, or was dropped, is in nobody's way, nor is what one asks for twice.
func TestWhatIsOverContestsNothing(t *testing.T) {
	w := working(t)
	w.person("ada@example.com")
	w.person("eve@example.com")
	w.register("new@example.com", other)
	w.mailed("new@example.com", 1)
	w.exec(`update auth.registrations set expires_at = now()`)
	w.changes("eve@example.com", "new@example.com")
	w.exec(`update auth.one_time_tokens set expires_at = now()`)
	w.changes("eve@example.com", "new@example.com")
	if r, err := w.as(w.session("eve@example.com").AccessToken).EndOtherSessionsWithResponse(t.Context()); err != nil || r.StatusCode() != 204 {
		t.Fatalf("%v %s", err, r.Body)
	}
	w.changes("ada@example.com", "new@example.com")
	if status := w.verify(w.changes("ada@example.com", "new@example.com")); status != 204 {
		t.Errorf("%d", status)
	}
}

// A contested registration has its account and the mail by which a password is chosen, or neither.
func TestAContestedRegistrationDoesNotLoseItsReset(t *testing.T) {
	w := working(t)
	for n := range 2 {
		w.register("ada@example.com", other)
		w.mailed("ada@example.com", n+1)
	}
	token := w.mailed("ada@example.com", 2).Token
	w.exec(`alter table auth.one_time_tokens add constraint broken check (kind <> 'password-reset')`)
	if status := w.verify(token); status != 500 {
		t.Errorf("without the mail: %d", status)
	}
	w.exec(`alter table auth.one_time_tokens drop constraint broken`)
	if status := w.verify(token); status != 204 {
		t.Errorf("tried again: %d", status)
	}
	if r := w.reset(w.mailed("ada@example.com", 3).Token, password); r.StatusCode() != 204 {
		t.Errorf("%s", r.Body)
	}
}

// What somebody does in a session leaves the owner's reset as it is, or an intruder would keep the owner out; what takes the account back ends
// one that an intruder may have asked for.
func TestWhatEndsAReset(t *testing.T) {
	for says, c := range map[string]struct {
		do   func(w *world, id uuid.UUID) int
		want int
	}{
		"the others are ended": {func(w *world, _ uuid.UUID) int {
			r, _ := w.as(w.session("ada@example.com").AccessToken).EndOtherSessionsWithResponse(w.t.Context())
			return r.StatusCode()
		}, 204},
		"a session is ended": {func(w *world, _ uuid.UUID) int {
			access := w.session("ada@example.com").AccessToken
			r, _ := w.as(access).EndSessionWithResponse(w.t.Context(), w.principal(access).SessionID)
			return r.StatusCode()
		}, 204},
		"a refresh token is used twice": {func(w *world, _ uuid.UUID) int {
			first := w.session("ada@example.com")
			next, _ := w.refresh(*first.RefreshToken)
			_, _ = w.refresh(*next.RefreshToken)
			_, status := w.refresh(*first.RefreshToken)
			return status - 200
		}, 204},
		"there is a second factor": {func(w *world, _ uuid.UUID) int {
			w.addFactor(w.session("ada@example.com").AccessToken)
			return 0
		}, 204},
		"a new password": {func(w *world, _ uuid.UUID) int {
			r, _ := w.as(w.session("ada@example.com").AccessToken).ChangePasswordWithResponse(w.t.Context(), authv1.PasswordChange{CurrentPassword: password, Password: other})
			return r.StatusCode()
		}, 400},
		"disabled for a while": {func(w *world, id uuid.UUID) int {
			op := w.operating()
			r, _ := op.DisableIdentityWithResponse(w.t.Context(), id)
			again, _ := op.EnableIdentityWithResponse(w.t.Context(), id)
			return max(r.StatusCode(), again.StatusCode())
		}, 400},
		"all sessions are ended": {func(w *world, id uuid.UUID) int {
			r, _ := w.operating().RevokeSessionsWithResponse(w.t.Context(), id)
			return r.StatusCode()
		}, 400},
		"the second factor is taken away": {func(w *world, id uuid.UUID) int {
			w.addFactor(w.session("ada@example.com").AccessToken)
			r, _ := w.operating().RemoveSecondFactorWithResponse(w.t.Context(), id)
			return r.StatusCode()
		}, 400},
		"replaced": {func(w *world, _ uuid.UUID) int {
			return putV2(w.instance, w.consoleToken(), "ada@example.com", other, true, "user").status
		}, 400},
	} {
		t.Run(says, func(t *testing.T) {
			w := working(t)
			id := w.person("ada@example.com").Id
			token := w.resetToken("ada@example.com")
			if status := c.do(w, id); status >= 300 {
				t.Fatalf("%d", status)
			}
			if r := w.reset(token, "a third password nobody guesses"); r.StatusCode() != c.want {
				t.Errorf("the reset: %d, want %d", r.StatusCode(), c.want)
			}
		})
	}
}

// What a hundred wrong passwords have closed stays closed, whatever is counted after that.
func TestWhatIsClosedStaysClosed(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	w.exec(`update auth.passwords set failed_count = 0, blocked_at = now()`)
	w.login("ada@example.com", other, "192.0.2.1")
	r := w.login("ada@example.com", password, "192.0.2.2")
	answered(t, "the right one after another wrong one", r.HTTPResponse, r.Body, 401, "invalid-credentials")
}

// A proof that races the hundredth failure comes before it or is refused.
func TestAProofWaitsForTheHundredthFailure(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	as := w.as(w.session("ada@example.com").AccessToken)
	if status := w.waits(`update auth.passwords set failed_count = 100, blocked_at = now()`, func() int {
		r, err := as.ReauthenticateWithResponse(t.Context(), authv1.Proof{Password: password})
		if err != nil {
			return 0
		}
		return r.StatusCode()
	}); status != 401 {
		t.Errorf("%d", status)
	}
	if n := one[int](w, `select failed_count from auth.passwords`); n != 100 {
		t.Errorf("%d failures are counted", n)
	}
}

// Who takes a second factor away ends the sessions that an intruder has with it.
func TestAFactorThatIsTakenAwayEndsTheSessions(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada@example.com")
	tokens := w.session("ada@example.com")
	w.addFactor(tokens.AccessToken)
	if r, err := w.operating().RemoveSecondFactorWithResponse(t.Context(), ada.Id); err != nil || r.StatusCode() != 204 {
		t.Fatalf("%v %s", err, r.Body)
	}
	if _, status := w.refresh(*tokens.RefreshToken); status != 400 {
		t.Errorf("a session goes on: %d", status)
	}
}

// What was revoked is revoked further: a second change within the minutes that a revocation counts has tokens refused that the first one gave.
func TestASecondChangeOfRolesRevokesAgain(t *testing.T) {
	w := working(t)
	ada, op := w.person("ada@example.com", "user", "operator"), w.operating()
	set := func(roles ...authv1.RolesRoles) {
		t.Helper()
		if r, err := op.SetRolesWithResponse(t.Context(), ada.Id, authv1.Roles{Roles: roles}); err != nil || r.JSON200 == nil {
			t.Fatalf("%v %s", err, r.Body)
		}
	}
	first := w.session("ada@example.com")
	set("user", "operator")
	w.refused(first.AccessToken)
	second := w.session("ada@example.com")
	w.principal(second.AccessToken)
	set("user")
	w.refused(second.AccessToken)
}

// An account that has moved goes nowhere else by what was asked for before.
func TestAMoveEndsTheOtherChanges(t *testing.T) {
	w := working(t)
	w.person("ada@example.com")
	first := w.changes("ada@example.com", "one@example.com")
	second := w.changes("ada@example.com", "two@example.com")
	if status := w.verify(second); status != 204 {
		t.Fatalf("%d", status)
	}
	if status := w.verify(first); status != 400 {
		t.Errorf("another change counts: %d", status)
	}
}

// Unlocking opens the second factor as well.
func TestUnlockingForgetsWrongCodes(t *testing.T) {
	w := newWorld(t)
	app, _ := w.factored("ada@example.com")
	w.exec(`update auth.totp set failed_count = $1`, failuresAllowed)
	r := w.answer(w.question("ada@example.com"), app.code(t, 1), "192.0.2.1")
	answered(t, "the right code after a hundred wrong ones", r.HTTPResponse, r.Body, 401, "invalid-credentials")
	op := w.operating()
	id := one[uuid.UUID](w, `select identity_id from auth.totp`)
	if a := w.accountOf(op, id); !a.IsLocked {
		t.Errorf("%+v", a)
	}
	if r, err := op.UnlockIdentityWithResponse(t.Context(), id); err != nil || r.StatusCode() != 204 {
		t.Fatalf("%v %s", err, r.Body)
	}
	if r := w.answer(w.question("ada@example.com"), app.code(t, 1), "192.0.2.1"); r.JSON200 == nil {
		t.Errorf("after it: %s", r.Body)
	}
	if a := w.accountOf(op, id); a.IsLocked {
		t.Errorf("%+v", a)
	}
}

// A password that was proved and then replaced by somebody else is no ground for another one.
func TestAChangeOfThePasswordThatRacesAnother(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada@example.com")
	session := w.principal(w.session("ada@example.com").AccessToken).SessionID
	proved, err := w.store.credentialsOf(t.Context(), ada.Id)
	if err != nil {
		t.Fatal(err)
	}
	w.exec(`update auth.passwords set changed_at = clock_timestamp()`)
	if err := w.store.changePassword(t.Context(), proved, "the loser's", session); !errors.Is(err, errCredentials) {
		t.Errorf("%v", err)
	}
	w.session("ada@example.com")
}
