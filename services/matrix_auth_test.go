package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"example.com/groundwork/pkg/authn"
)

// Who may do what (OWASP API1 and API5, 2023). A row for each operation, a letter for each caller: nobody, the owner of the thing that is
// named, somebody else, an operator, a key of the owner's that has another scope, a module, and a service account that has every scope of an
// operator's that it may have.
//
//   - let in    1 unauthenticated    2 step-up-required: only for people    3 insufficient-scope    4 not-found: it is somebody else's
const callers = "nobody, the owner, somebody else, an operator, a key without the scope, a module, a service account"

var matrix = map[string]string{
	"POST /v1/auth/register":                        "+++++++",
	"POST /v1/auth/email/verify":                    "+++++++",
	"POST /v1/auth/email/verify/resend":             "+++++++",
	"POST /v1/auth/email/change":                    "1+++333",
	"PUT /v1/auth/password":                         "1+++333",
	"POST /v1/auth/password/forgot":                 "+++++++",
	"POST /v1/auth/password/reset":                  "+++++++",
	"POST /v1/auth/login":                           "+++++++",
	"POST /v1/auth/mfa/verify":                      "+++++++",
	"POST /v1/auth/mfa/totp":                        "1+++333",
	"DELETE /v1/auth/mfa/totp":                      "1444333", // nobody here has one
	"POST /v1/auth/mfa/totp/confirm":                "1444333",
	"POST /v1/auth/mfa/recovery-codes":              "1444333",
	"POST /v1/auth/reauthenticate":                  "1+++333",
	"GET /v1/auth/sessions":                         "1+++333",
	"POST /v1/auth/sessions/revoke-others":          "1+++333",
	"DELETE /v1/auth/sessions/{id}":                 "1+44333",
	"GET /v1/auth/api-keys":                         "1+++333",
	"POST /v1/auth/api-keys":                        "1+++333",
	"DELETE /v1/auth/api-keys/{id}":                 "1+44333",
	"POST /v1/auth/api-keys/{id}/rotate":            "1+44333",
	"GET /v1/auth/service-accounts":                 "133+33+",
	"POST /v1/auth/service-accounts":                "133+332",
	"DELETE /v1/auth/service-accounts/{id}":         "133+332",
	"POST /v1/auth/service-accounts/{id}/rotate":    "133+332",
	"POST /v1/auth/logout":                          "1++++++",
	"POST /v1/auth/token":                           "+++++++",
	"POST /v1/auth/revoke":                          "+++++++",
	"GET /v1/auth/identities":                       "133+33+",
	"POST /v1/auth/identities":                      "133+332",
	"PUT /v2/auth/identities":                       "133+332",
	"GET /v1/auth/identities/{id}":                  "133+33+",
	"PUT /v1/auth/identities/{id}/roles":            "133+332",
	"GET /v1/auth/identities/{id}/sessions":         "133+33+",
	"POST /v1/auth/identities/{id}/disable":         "133+332",
	"POST /v1/auth/identities/{id}/enable":          "133+332",
	"POST /v1/auth/identities/{id}/unlock":          "133+332",
	"POST /v1/auth/identities/{id}/revoke-sessions": "133+332",
	"POST /v1/auth/identities/{id}/revoke-keys":     "133+332",
	"DELETE /v1/auth/identities/{id}/totp":          "1334332", // nobody here has one
	"POST /v1/auth/identities/{id}/password-reset":  "133+332",
	"GET /v1/auth/audit-events":                     "133+33+",
	"POST /v1/auth/audit-events":                    "13333+3",
	"GET /.well-known/jwks.json":                    "+++++++",
	"GET /.well-known/oauth-authorization-server":   "+++++++",
	// only with users:
	"GET /v1/users/me":   "1+++334",
	"PATCH /v1/users/me": "1+++33+",
	"GET /v1/users/{id}": "133+3++",
	"GET /v1/users":      "133+33+",
	"PUT /v1/users/{id}": "13333+3",
	// end users
	// only with transactions:
	"GET /v1/accounts":                    "1+++33+",
	"POST /v1/accounts":                   "1+++33+",
	"GET /v1/accounts/{id}":               "1+4+33+",
	"PATCH /v1/accounts/{id}":             "1+4+33+",
	"POST /v1/accounts/{id}/freeze":       "133+33+",
	"POST /v1/accounts/{id}/unfreeze":     "133+33+",
	"POST /v1/accounts/{id}/close":        "133+33+",
	"GET /v1/accounts/{id}/entries":       "1+4+33+",
	"GET /v1/transactions":                "1+4+33+",
	"POST /v1/transactions":               "1+44334",
	"GET /v1/transactions/{id}":           "1+4+33+",
	"POST /v1/transactions/{id}/reversal": "1+4+33+",
	"POST /v1/holds":                      "1+44334",
	"GET /v1/holds/{id}":                  "1+4+33+",
	"POST /v1/holds/{id}/capture":         "1+4+33+",
	"POST /v1/holds/{id}/void":            "1+4+33+",
	"GET /v1/ledger/integrity":            "1334334", // none was made yet
	"POST /v1/ledger/integrity":           "133+33+",
	// end transactions
}

// stage is where the matrix is tried.
type stage struct {
	t      *testing.T
	url    string
	tokens map[string]func() string // of a caller, of a new session each time
	held   map[string]string        // tokens that are used again
	victim string                   // somebody that operators may do anything to
	// only with transactions:
	purse, till string // accounts of the owner's
	// end transactions
}

// send sends a request and returns the problem's code, "" for none, and what was answered.
func (s *stage) send(method, path, token, contentType string, body []byte, header ...string) (code string, answer []byte) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	status, problem, answer := fetch(s.t, req)
	if status == http.StatusTooManyRequests || status >= 500 { // which says nothing of who may
		s.t.Errorf("%s %s: %d %s", method, path, status, answer)
	}
	return problem.Code, answer
}

// made is the id of what a POST makes.
func (s *stage) made(token, path string, body map[string]any) string {
	s.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	code, answer := s.send(http.MethodPost, path, token, "application/json", text, "Idempotency-Key", uuid.NewString())
	var out struct{ ID string }
	if err := json.Unmarshal(answer, &out); code != "" || err != nil || out.ID == "" {
		s.t.Fatalf("%s: %s", path, answer)
	}
	return out.ID
}

// thing is a new one of the owner's that an operation is about.
func (s *stage) thing(path string) string {
	s.t.Helper()
	key := map[string]any{"name": "x", "scopes": []string{"identities:read"}}
	switch {
	case strings.HasPrefix(path, "/v1/auth/identities/"):
		return s.victim
	case strings.HasPrefix(path, "/v1/auth/service-accounts/"):
		return s.made(s.tokens["an operator"](), "/v1/auth/service-accounts", key)
	case strings.HasPrefix(path, "/v1/auth/api-keys/"):
		key["scopes"] = []string{s.scope()}
		return s.made(s.tokens["the owner"](), "/v1/auth/api-keys", key)
	case strings.HasPrefix(path, "/v1/auth/sessions/"):
		return s.claims(s.tokens["the owner"]()).Session
	}
	// only with transactions:
	owner := s.held["the owner"]
	if owner == "" {
		owner = s.tokens["the owner"]()
	}
	switch {
	case strings.HasPrefix(path, "/v1/accounts/"):
		return s.made(owner, "/v1/accounts", map[string]any{"currency": "EUR"})
	case strings.HasPrefix(path, "/v1/transactions/"):
		return s.made(owner, "/v1/transactions", s.payment())
	case strings.HasPrefix(path, "/v1/holds/"):
		return s.made(owner, "/v1/holds", s.holding())
	}
	// end transactions
	return s.victim
}

// only with transactions:
func (s *stage) payment() map[string]any {
	return map[string]any{"postings": []map[string]any{{"from": s.purse, "to": s.till, "amount": 1, "currency": "EUR"}}}
}

func (s *stage) holding() map[string]any {
	return map[string]any{"account_id": s.purse, "destination_account_id": s.till, "amount": 1, "currency": "EUR", "expires_in": 600}
}

// end transactions

// newStage gathers the callers.
func newStage(t *testing.T, st *teller, env map[string]string) *stage {
	t.Helper()
	s := &stage{t: t, url: st.url, held: map[string]string{}}
	login := func(email, password string) func() string {
		return func() string {
			code, answer := s.send(http.MethodPost, "/v1/auth/login", "", "application/json", fmt.Appendf(nil, `{"email":%q,"password":%q}`, email, password))
			return s.access(code, answer)
		}
	}
	client := func(form string) func() string {
		return func() string {
			code, answer := s.send(http.MethodPost, "/v1/auth/token", "", "application/x-www-form-urlencoded", []byte("grant_type=client_credentials&"+form))
			return s.access(code, answer)
		}
	}
	s.tokens = map[string]func() string{
		"nobody":        func() string { return "" },
		"the owner":     login("alice@example.com", "the long password of alice@example.com"),
		"somebody else": login("bob@example.com", "the long password of bob@example.com"),
		"an operator":   login(env["OPERATOR_EMAIL"], env["OPERATOR_PASSWORD"]),
		"a module":      client("client_id=auth&client_secret=" + url.QueryEscape(env["AUTH_CLIENT_SECRET"])),
	}
	st.join("victim@example.com")
	_, answer := s.send(http.MethodGet, "/v1/auth/identities?email=victim@example.com", s.tokens["an operator"](), "", nil)
	var found struct{ Data []struct{ ID string } }
	if err := json.Unmarshal(answer, &found); err != nil || len(found.Data) != 1 {
		t.Fatalf("%s", answer)
	}
	s.victim = found.Data[0].ID

	_, answer = s.send(http.MethodPost, "/v1/auth/api-keys", s.tokens["the owner"](), "application/json", fmt.Appendf(nil, `{"name":"x","scopes":[%q]}`, s.scope()))
	var made struct{ Key string }
	if err := json.Unmarshal(answer, &made); err != nil || made.Key == "" {
		t.Fatalf("%s", answer)
	}
	execIn(t, env["DATABASE_URL"], `update auth.api_keys set scopes = '{}'`)
	s.tokens["a key without the scope"] = client("client_secret=" + made.Key)

	operates := s.tokens["an operator"]()
	scopes := slices.DeleteFunc(strings.Fields(s.claims(operates).Scope), func(scope string) bool { return strings.HasPrefix(scope, "account:") })
	_, answer = s.send(http.MethodPost, "/v1/auth/service-accounts", operates, "application/json", fmt.Appendf(nil, `{"name":"x","scopes":["%s"]}`, strings.Join(scopes, `","`)))
	if err := json.Unmarshal(answer, &made); err != nil || made.Key == "" {
		t.Fatalf("%s", answer)
	}
	s.tokens["a service account"] = client("client_secret=" + made.Key)
	// only with transactions:
	owner, operator := s.tokens["the owner"](), s.tokens["an operator"]()
	s.purse, s.till = s.made(owner, "/v1/accounts", map[string]any{"currency": "EUR"}), s.made(owner, "/v1/accounts", map[string]any{"currency": "EUR"})
	s.made(operator, "/v1/transactions", map[string]any{"postings": []map[string]any{{
		"from": s.made(operator, "/v1/accounts", map[string]any{"currency": "EUR", "kind": "external"}), "to": s.purse, "amount": 1000, "currency": "EUR",
	}}})
	// end transactions
	return s
}

func (s *stage) access(code string, answer []byte) string {
	s.t.Helper()
	var tokens struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal(answer, &tokens); code != "" || err != nil || tokens.Access == "" {
		s.t.Fatalf("no token: %s", answer)
	}
	return tokens.Access
}

// claims are what a token says.
func (s *stage) claims(token string) (claims authn.Claims) {
	s.t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return claims
}

// scope is one that everybody has and that a key may have.
func (s *stage) scope() string {
	s.t.Helper()
	for _, scope := range strings.Fields(s.claims(s.tokens["the owner"]()).Scope) {
		if !strings.HasPrefix(scope, "account:") {
			return scope
		}
	}
	s.t.Fatal("everybody has nothing that a key may have")
	return ""
}

// request is what an operation is asked with: as the contract has it where a thing is named, so that it is about the thing and not about
// the form.
func (s *stage) request(method, path string) (target, contentType string, body []byte, header []string) {
	s.t.Helper()
	target, contentType = strings.ReplaceAll(path, "{id}", s.thing(path)), "application/json"
	header = []string{"Idempotency-Key", uuid.NewString()}
	var in any
	switch method + " " + path {
	case "GET /v1/auth/identities":
		target += "?email=" + url.QueryEscape("victim@example.com")
	case "PUT /v1/auth/identities/{id}/roles":
		in = map[string]any{"roles": []string{"user"}}
	case "POST /v1/auth/mfa/totp/confirm":
		in = map[string]any{"code": "123456"}
	// only with transactions:
	case "GET /v1/transactions":
		target += "?account_id=" + s.purse
	case "PATCH /v1/accounts/{id}":
		in, contentType, header = map[string]any{"name": "x"}, "application/merge-patch+json", []string{"If-Match", "*"}
	case "POST /v1/transactions":
		in = s.payment()
	case "POST /v1/holds":
		in = s.holding()
	case "POST /v1/holds/{id}/capture":
		in = map[string]any{}
	// end transactions
	default:
		if slices.Contains([]string{http.MethodPut, http.MethodPatch}, method) || method == http.MethodPost && !strings.HasSuffix(path, "}") {
			in = map[string]any{"not": "as it has to be"}
		}
	}
	if in != nil {
		body, _ = json.Marshal(in)
	}
	return target, contentType, body, header
}

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	env := with(world(t), "AUTH_CLIENT_SECRET", "a secret of auth that is long enough")
	st := &teller{t: t, url: start(t, env).url}
	st.gather(env)
	s := newStage(t, st, env)
	names := strings.Split(callers, ", ")
	letters := map[string]string{"unauthenticated": "1", "step-up-required": "2", "insufficient-scope": "3", "not-found": "4"}
	seen, told := map[string]bool{}, map[string]bool{} // told: the modules that have rows
	for _, o := range theHouse(t).contracts(new([]string)) {
		if _, is := matrix[o.method+" "+o.path]; is {
			told[o.module()] = true
		}
	}
	for _, o := range theHouse(t).contracts(new([]string)) {
		name := o.method + " " + o.path
		seen[name] = true
		want, is := matrix[name]
		if !is && told[o.module()] {
			t.Errorf("%s has no row in the matrix: say who may do it", name)
		}
		var got strings.Builder
		for _, caller := range names {
			target, contentType, body, header := s.request(o.method, o.path)
			if s.held[caller] == "" {
				s.held[caller] = s.tokens[caller]()
			}
			var scopes []string
			if caller != "nobody" {
				scopes = strings.Fields(s.claims(s.held[caller]).Scope)
			}
			code, answer := s.send(o.method, target, s.held[caller], contentType, body, header...)
			if strings.Contains(name, "session") || strings.Contains(name, "logout") { // which it has ended
				s.held = map[string]string{}
			}
			letter := letters[code]
			if letter == "" {
				letter = "+"
			}
			if code == "step-up-required" && caller != "a service account" {
				t.Errorf("%s by %s: %s", name, caller, answer)
			}
			got.WriteString(letter)
			// A module of a fork's own has no rows until somebody writes them, and its story tells whose a thing is. What its contract says of
			// scopes holds for everybody all the same.
			if expected := byContract(o, caller, scopes); !is && !told[o.module()] && expected != strings.Trim(letter, "+24") {
				t.Errorf("%s by %s: %s, and its contract says %q", name, caller, letter, expected)
			}
		}
		if is && got.String() != want {
			t.Errorf("%s: %s for %s; want %s", name, got.String(), callers, want)
		}
	}
	for name := range matrix {
		if !seen[name] {
			t.Errorf("%s is in the matrix and in no contract", name)
		}
	}
}

// byContract is the letter of somebody who is kept out by what a contract says of scopes, "" for who is let in.
func byContract(o operation, caller string, scopes []string) string {
	switch {
	case o.public || caller != "nobody" && o.lets(scopes):
		return ""
	case caller == "nobody":
		return "1"
	}
	return "3"
}

// execIn changes a database behind the program's back.
func execIn(t *testing.T, address, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}
