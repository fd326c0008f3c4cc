package auth

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	authv1 "example.com/groundwork/api/auth/v1"
	authv2 "example.com/groundwork/api/auth/v2"
	"example.com/groundwork/pkg/servertest"
)

// outcome is what came of putting an account.
type outcome struct {
	status   int
	code     string
	identity *authv2.Identity
	header   http.Header
}

// puts are the ways to put an account, by the version of the contract. They are told with an access token, "" for nobody.
var puts = map[string]func(i *instance, access, email, password string, replace bool, roles ...string) outcome{"v1": putV1, "v2": putV2}

func putV1(i *instance, access, email, password string, replace bool, roles ...string) outcome {
	i.t.Helper()
	in := authv1.NewIdentity{Email: email, Password: password, Roles: values[authv1.NewIdentityRoles](roles), Replace: &replace}
	r, err := i.as(access).CreateIdentityWithResponse(i.t.Context(), in)
	if err != nil {
		i.t.Fatal(err)
	}
	p := outcome{status: r.StatusCode(), header: r.HTTPResponse.Header, identity: (*authv2.Identity)(r.JSON200)}
	if r.ApplicationproblemJSONDefault != nil {
		p.code = r.ApplicationproblemJSONDefault.Code
	}
	return p
}

// putV2 does as the command operator: it says that an account may be replaced when it hears that there is another one.
func putV2(i *instance, access, email, password string, replace bool, roles ...string) outcome {
	i.t.Helper()
	p := putIf(i, access, "", "", email, password, roles...)
	if p.status == 428 && replace {
		p = putIf(i, access, "*", "", email, password, roles...)
	}
	return p
}

// putIf is a PUT with preconditions, "" for none.
func putIf(i *instance, access, ifMatch, ifNoneMatch, email, password string, roles ...string) outcome {
	i.t.Helper()
	transport := http.DefaultTransport
	if access != "" {
		transport = servertest.Bearer(access)
	}
	client, err := authv2.NewClientWithResponses(i.url, authv2.WithHTTPClient(&http.Client{Transport: servertest.Checked(i.t, transport, authv2.Spec)}))
	if err != nil {
		i.t.Fatal(err)
	}
	var params authv2.PutIdentityParams
	if ifMatch != "" {
		params.IfMatch = new(authv2.PutIdentityParamsIfMatch(ifMatch))
	}
	if ifNoneMatch != "" {
		params.IfNoneMatch = new(authv2.PutIdentityParamsIfNoneMatch(ifNoneMatch))
	}
	r, err := client.PutIdentityWithResponse(i.t.Context(), &params, authv2.NewIdentity{
		Email: email, Password: password, Roles: values[authv2.NewIdentityRoles](roles),
	})
	if err != nil {
		i.t.Fatal(err)
	}
	p := outcome{status: r.StatusCode(), header: r.HTTPResponse.Header, identity: r.JSON200}
	if r.JSON201 != nil {
		p.identity = r.JSON201
	}
	if r.ApplicationproblemJSONDefault != nil {
		p.code = r.ApplicationproblemJSONDefault.Code
	}
	return p
}

// values are plain texts as the values of an enum.
func values[T ~string](list []string) []T {
	typed := []T{} // an empty list is sent as one
	for _, v := range list {
		typed = append(typed, T(v))
	}
	return typed
}

// The same story by both contracts: each says it in its own words, and what happens is the same.
func TestTheConsoleMakesAndMendsAccounts(t *testing.T) {
	for version, put := range puts {
		t.Run(version, func(t *testing.T) {
			w := working(t)
			made, other := 201, "428 precondition-required"
			if version == "v1" {
				made, other = 200, "409 account-exists"
			}
			console := w.consoleToken()
			first := put(w.instance, console, "ada@example.com", password, false, "user")
			if first.status != made {
				t.Fatalf("made: %d %s", first.status, first.code)
			}
			user := *first.identity
			tokens := w.session("ada@example.com")
			// only with users:
			w.told(user.Id.String())
			// end users

			for says, c := range map[string]struct {
				put  outcome
				want string
			}{
				"by a user":                  {put(w.instance, tokens.AccessToken, "eve@example.com", password, false, "operator"), "403 insufficient-scope"},
				"by nobody":                  {put(w.instance, "", "eve@example.com", password, false, "operator"), "401 unauthenticated"},
				"a short password":           {put(w.instance, console, "eve@example.com", "short", false, "operator"), "422 validation-failed"},
				"the same once more":         {put(w.instance, console, "Ada@example.com", password, false, "user"), "200 "},
				"the same, to replace":       {put(w.instance, console, "ada@example.com", password, true, "user"), "200 "},
				"another role, unasked":      {put(w.instance, console, "ada@example.com", password, false, "operator"), other},
				"another password, unasked":  {put(w.instance, console, "ada@example.com", password+"!", false, "user"), other},
				"an account without a role":  {put(w.instance, console, "zoe@example.com", password, false), "422 validation-failed"},
				"a role twice for one human": {put(w.instance, console, "zoe@example.com", password, false, "user", "user"), "422 validation-failed"},
			} {
				if got := fmt.Sprintf("%d %s", c.put.status, c.put.code); got != c.want {
					t.Errorf("%s: %s, want %s", says, got, c.want)
				}
			}
			tokens, status := w.refresh(*tokens.RefreshToken)
			if status != 200 {
				t.Errorf("what changed nothing ended a session: %d", status)
			}

			again := put(w.instance, console, "ADA@example.com", password, true, "user", "operator")
			if again.status != 200 || again.identity.Id != user.Id || !again.identity.CreatedAt.Equal(user.CreatedAt) || !slices.Equal(again.identity.Roles, []string{"user", "operator"}) {
				t.Errorf("first %+v, then %+v", user, again)
			}
			if _, status := w.refresh(*tokens.RefreshToken); status != 400 {
				t.Errorf("a session from before: %d", status)
			}
			if m := w.mailed("ada@example.com", 1); !strings.Contains(m.Subject, "changed by an operator") {
				t.Errorf("the owner reads %q", m.Subject)
			}
			fresh := w.session("ada@example.com")
			if !strings.Contains(fresh.Scope, "identities:write") {
				t.Errorf("the new session may do %q", fresh.Scope)
			}
			if r := put(w.instance, fresh.AccessToken, "bob@example.com", password, true, "user"); r.status != made {
				t.Errorf("an operator makes an account, and may replace one: %d %s", r.status, r.code)
			}
			once := func(list string) string { return strings.Join(slices.Compact(strings.Fields(list)), " ") } // each try compares
			if got := once(w.audited(user.Id.String())); got != "identity.made session.begun identity.compared identity.replaced roles.changed session.begun" {
				t.Errorf("audited: %s", got)
			}
			if actors := once(one[string](w, `select string_agg(actor, ' ' order by id) from auth.audit_events where kind like 'identity.%'`)); actors != "console "+user.Id.String() {
				t.Errorf("accounts were put by %s", actors)
			}
		})
	}
}

func TestOnlyTheOldContractSaysThatItGoes(t *testing.T) {
	w := newWorld(t)
	for version, put := range puts {
		h := put(w.instance, w.consoleToken(), version+"@example.com", password, false, "user").header
		if old := version == "v1"; old != (h.Get("Deprecation") != "") || old != (h.Get("Sunset") != "") || old != (h.Get("Link") == `</v2/auth/identities>; rel="successor-version"`) {
			t.Errorf("%s: %v", version, h)
		}
	}
}

func TestAPutHappensAsItsPreconditionsSay(t *testing.T) {
	w := newWorld(t)
	console := w.consoleToken()
	other := password + "!"
	for _, c := range []struct {
		says, ifMatch, ifNoneMatch, email, password string
		status                                      int
		code                                        string
		valid                                       string // the password of the account afterwards
	}{
		{"replacing nobody", "*", "", "ada@example.com", password, 412, "precondition-failed", ""},
		{"both at once, nobody there", "*", "*", "ada@example.com", password, 412, "precondition-failed", ""},
		{"a new one", "", "*", "ada@example.com", password, 201, "", password},
		{"a new one, again", "", "*", "ada@example.com", password, 412, "precondition-failed", password},
		{"plainly, again", "", "", "ada@example.com", password, 200, "", password},
		{"plainly, with another password", "", "", "ada@example.com", other, 428, "precondition-required", password},
		{"both at once", "*", "*", "ada@example.com", other, 412, "precondition-failed", password},
		{"a version that nobody gave out", `"1"`, "", "ada@example.com", other, 400, "invalid-parameter", password},
		{"replacing", "*", "", "ada@example.com", other, 200, "", other},
		{"replacing, again", "*", "", "ada@example.com", other, 200, "", other},
	} {
		r := putIf(w.instance, console, c.ifMatch, c.ifNoneMatch, c.email, c.password, "user")
		if r.status != c.status || r.code != c.code {
			t.Errorf("%s: %d %s", c.says, r.status, r.code)
		}
		for _, p := range []string{password, other} {
			if got := w.login(c.email, p, "192.0.2.1").StatusCode() == 200; got != (p == c.valid) {
				t.Errorf("%s: the password %q is good: %t", c.says, p, got)
			}
		}
		w.redis.FlushAll() // the logins that failed
	}
	id := one[string](w, `select id::text from auth.identities`)
	if got := w.audited(id); strings.Count(got, "identity.made") != 1 || strings.Count(got, "identity.replaced") != 1 {
		t.Errorf("audited: %s", got)
	}
}

func TestOneAccountIsMadeBySeveralAtOnce(t *testing.T) {
	w := newWorld(t)
	console := w.consoleToken()
	ways := map[string]func(email string) outcome{
		"v1":        func(email string) outcome { return putV1(w.instance, console, email, password, false, "user") },
		"plain":     func(email string) outcome { return putIf(w.instance, console, "", "", email, password, "user") },
		"for a new": func(email string) outcome { return putIf(w.instance, console, "", "*", email, password, "user") },
	}
	for way, put := range ways {
		email := strings.ReplaceAll(way, " ", "-") + "@example.com"
		var all sync.WaitGroup
		var mu sync.Mutex
		seen := map[int]int{}
		for range 6 {
			all.Go(func() {
				r := put(email)
				mu.Lock()
				defer mu.Unlock()
				seen[r.status]++
			})
		}
		all.Wait()
		want := map[string]map[int]int{"v1": {200: 6}, "plain": {201: 1, 200: 5}, "for a new": {201: 1, 412: 5}}[way]
		for status, n := range want {
			if seen[status] != n {
				t.Errorf("%s: the answers are %v, want %v", way, seen, want)
			}
		}
		w.session(email)
	}
	if n := one[int](w, `select count(*) from auth.identities`); n != len(ways) {
		t.Errorf("%d identities", n)
	}
}
