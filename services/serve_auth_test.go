package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	authv1 "example.com/groundwork/api/auth/v1"
	transactionsv1 "example.com/groundwork/api/transactions/v1"
)

// TestEveryWayOfFailingIsAProblem asks the real modules wrongly in every way.
func TestEveryWayOfFailingIsAProblem(t *testing.T) {
	t.Parallel()
	env := world(t)
	p := start(t, env)
	s := &teller{t: t, url: p.url}
	_ = s.join("dora@example.com")
	tokens, err := s.as("").auth().LoginWithResponse(t.Context(), authv1.Login{Email: "dora@example.com", Password: "the long password of dora@example.com"})
	s.wants(200, tokens, err)
	token := tokens.JSON200.AccessToken
	const marker = "mArKeR"
	for _, c := range []struct {
		name, method, path, body string
		header                   map[string]string
		status                   int
		code                     string
	}{
		// only with transactions:
		{"bad JSON", "POST", "/v1/accounts", `{"currency":`, nil, 400, "malformed-json"},
		{"two values", "POST", "/v1/accounts", `{"currency":"EUR"}{}`, nil, 400, "malformed-json"},
		{"a name twice", "POST", "/v1/accounts", `{"currency":"EUR","currency":"USD"}`, nil, 400, "malformed-json"},
		{"a NUL in a text", "POST", "/v1/accounts", `{"currency":"EUR","name":"a\u0000b"}`, nil, 400, "malformed-json"},
		{"no body", "POST", "/v1/accounts", ``, nil, 400, "malformed-json"},
		{"wrong type", "POST", "/v1/accounts", `{"currency":7}`, nil, 422, "validation-failed"},
		{"missing field", "POST", "/v1/accounts", `{}`, nil, 422, "validation-failed"},
		{"unknown field", "POST", "/v1/accounts", `{"currency":"EUR","mArKeR":1}`, nil, 422, "validation-failed"},
		{"unknown currency", "POST", "/v1/accounts", `{"currency":"ZZZ"}`, nil, 422, "validation-failed"},
		{"bad id", "GET", "/v1/accounts/" + marker, ``, nil, 400, "invalid-parameter"},
		{"bad limit", "GET", "/v1/accounts?limit=" + marker, ``, nil, 400, "invalid-parameter"},
		{"limit too large", "GET", "/v1/accounts?limit=101", ``, nil, 400, "invalid-parameter"},
		{"unknown parameter", "GET", "/v1/accounts?offset=1", ``, nil, 400, "invalid-parameter"},
		{"bad cursor", "GET", "/v1/accounts?cursor=" + marker, ``, nil, 400, "invalid-cursor"},
		{"missing parameter", "GET", "/v1/transactions", ``, nil, 400, "invalid-parameter"},
		{"oversize", "POST", "/v1/accounts", `{"name":"` + strings.Repeat("x", 1<<20) + `"}`, nil, 413, "body-too-large"},
		{"wrong content type", "POST", "/v1/accounts", `{"currency":"EUR"}`, map[string]string{"Content-Type": "text/plain"}, 415, "unsupported-media-type"},
		{"not acceptable", "GET", "/v1/accounts", ``, map[string]string{"Accept": "text/html"}, 406, "not-acceptable"},
		{"no token", "GET", "/v1/accounts", ``, map[string]string{"Authorization": ""}, 401, "unauthenticated"},
		{"bad token", "GET", "/v1/accounts", ``, map[string]string{"Authorization": "Bearer " + marker}, 401, "unauthenticated"},
		// end transactions
		{"wrong scope", "POST", "/v1/auth/identities", `{}`, nil, 403, "insufficient-scope"},
		// only with users:
		{"internal operation", "PUT", "/v1/users/" + uuid.NewString(), `{}`, nil, 403, "insufficient-scope"},
		// end users
		{"unknown path", "GET", "/v1/nothing/" + marker, ``, nil, 404, "not-found"},
		// only with transactions:
		{"unknown thing", "GET", "/v1/accounts/" + uuid.NewString(), ``, nil, 404, "not-found"},
		{"wrong method", "DELETE", "/v1/accounts", ``, nil, 405, "method-not-allowed"},
		{"no key", "POST", "/v1/transactions", `{"postings":[{"from":"` + uuid.NewString() + `","to":"` + uuid.NewString() + `","amount":1,"currency":"EUR"}]}`, nil, 400, "idempotency-key-missing"},
		{"bad key", "POST", "/v1/transactions", `{"postings":[{"from":"` + uuid.NewString() + `","to":"` + uuid.NewString() + `","amount":1,"currency":"EUR"}]}`,
			map[string]string{"Idempotency-Key": "a\x7fb"}, 400, "idempotency-key-invalid"},
		{"too much money", "POST", "/v1/transactions", `{"postings":[{"from":"` + uuid.NewString() + `","to":"` + uuid.NewString() + `","amount":9007199254740992,"currency":"EUR"}]}`,
			map[string]string{"Idempotency-Key": "k"}, 422, "validation-failed"},
		// end transactions
		// only with users:
		{"no If-Match", "PATCH", "/v1/users/me", `{"name":"x"}`, map[string]string{"Content-Type": "application/merge-patch+json"}, 428, "precondition-required"},
		// end users
		{"weak password", "POST", "/v1/auth/register", `{"email":"e@example.com","password":"short"}`, nil, 422, "validation-failed"},
		{"bad address", "POST", "/v1/auth/register", `{"email":"mArKeR","password":"a long enough password"}`, nil, 422, "validation-failed"},
		{"wrong password", "POST", "/v1/auth/login", `{"email":"dora@example.com","password":"mArKeR"}`, nil, 401, "invalid-credentials"},
		{"wrong mail token", "POST", "/v1/auth/email/verify", `{"token":"mArKeR"}`, nil, 400, "token-invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequest(c.method, p.url+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			if c.body != "" || c.method == "POST" {
				req.Header.Set("Content-Type", "application/json")
			}
			for name, value := range c.header {
				req.Header.Set(name, value)
			}
			if strings.ContainsAny(req.Header.Get("Idempotency-Key"), "\x7f") { // net/http's client refuses it itself
				req.Header.Set("Idempotency-Key", "é")
			}
			status, d, body := fetch(t, req)
			if status != c.status || d.Code != c.code {
				t.Errorf("got %d %s, want %d %s: %s", status, d.Code, c.status, c.code, body)
			}
			d.Instance = "" // the path, which the caller knows
			for i := range d.Errors {
				d.Errors[i].Pointer = "" // and the names that the caller sent
			}
			shown, _ := json.Marshal(d)
			for _, inner := range []string{marker, "pgx", "SQL", "goroutine", "dora@", ".go"} {
				if bytes.Contains(shown, []byte(inner)) {
					t.Errorf("the answer shows %q: %s", inner, body)
				}
			}
		})
	}
}

// only with transactions, users:
func TestAPeerThatIsDownIsTold(t *testing.T) {
	t.Parallel()
	env := world(t)
	gateway, modules := apart(t, env)
	s := &teller{t: t, url: gateway}
	if out, err := command(t, env, "operator").CombinedOutput(); err != nil {
		t.Fatalf("operator: %v\n%s", err, out)
	}
	operator := s.login(env["OPERATOR_EMAIL"], env["OPERATOR_PASSWORD"])
	s.open(operator, transactionsv1.NewAccount{Currency: "EUR"}) // transactions has auth's keys now
	modules["users"].stop(t)
	modules["auth"].stop(t)

	s.open(operator, transactionsv1.NewAccount{Currency: "EUR"}) // what needs no peer goes on
	asks := s.create(operator, transactionsv1.NewAccount{Currency: "EUR", OwnerId: new(uuid.New())})
	s.wants(503, asks, nil)
	if d := asks.ApplicationproblemJSONDefault; d.Code != "dependency-unavailable" || asks.HTTPResponse.Header.Get("Retry-After") == "" {
		t.Errorf("want dependency-unavailable with Retry-After, got %s", asks.Body)
	}
	eventually(t, "a peer that is away degrades the process, which stays ready", func() bool {
		status, _, body := fetch(t, get(modules["transactions"].url+"/readyz?verbose"))
		return status == 200 && bytes.Contains(body, []byte(`"peer users":"degraded"`))
	})
}

// end transactions, users

// TestAJobSurvivesACrash kills the process between the registration and its mail.
func TestAJobSurvivesACrash(t *testing.T) {
	t.Parallel()
	env := world(t)
	// A mail server that nobody answers: the job is tried, and fails.
	p := start(t, with(env, "SMTP_URL", "smtp://"+free(t)+"?tls=none"))
	s := &teller{t: t, url: p.url}
	registered, err := s.as("").auth().RegisterWithResponse(t.Context(), authv1.Credentials{Email: "eve@example.com", Password: "a password that is long enough"})
	s.wants(202, registered, err)
	// Killed in the middle of a try it would be tried again as well, but only when that try's time is over, after two minutes.
	db, err := pgx.Connect(t.Context(), env["DATABASE_URL"])
	s.must(err)
	defer db.Close(context.Background())
	eventually(t, "the mail was tried and failed", func() bool {
		var failed bool
		s.must(db.QueryRow(t.Context(), `select exists (select from auth.river_job where kind = 'registration-mail' and cardinality(errors) > 0 and state <> 'running')`).Scan(&failed))
		return failed
	})
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // it was killed
	p = start(t, env)
	s.url = p.url
	verified, err := s.as("").auth().VerifyEmailWithResponse(t.Context(), authv1.VerifyEmail{Token: s.mail("eve@example.com")})
	s.wants(204, verified, err)
}

// TestOneTrace follows a registration from the router through Postgres, the job, the peer and Redis, across three processes.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	seen, env := collecting(t, world(t))
	gateway, _ := apart(t, env)
	s := &teller{t: t, url: gateway}
	fred := s.join("fred@example.com")
	traces := map[string][]string{"POST /v1/auth/register": {"insert registrations", "job registration-mail"}}
	// only with users:
	eventually(t, "fred has a profile", func() bool {
		me, err := fred.users().GetMeWithResponse(t.Context(), nil)
		s.must(err)
		return me.JSON200 != nil
	})
	traces["POST /v1/auth/email/verify"] = []string{"insert identities", "job provision-profile", "PUT /v1/users/{id}", "insert users"}
	traces["GET /v1/users/me"] = []string{"select users", "evalsha"}
	// end users
	if fred.refresh == "" {
		t.Error("fred has no session")
	}
	for root, parts := range traces {
		eventually(t, "the trace of "+root+" is whole", func() bool { return seen.whole(root, parts) })
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for _, a := range seen.traces["attributes"] {
		if strings.Contains(a, "fred@") || strings.Contains(a, "eyJ") || strings.Contains(a, "rt_") {
			t.Errorf("a span holds a secret: %s", a)
		}
	}
}
