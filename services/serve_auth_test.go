package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

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

// TestTheEndLosesNothing ends a process that is in the middle of everything: a request whose body is still to come, a connection that is kept, a
// job, spans that were not pushed yet, sessions of Postgres.
func TestTheEndLosesNothing(t *testing.T) {
	t.Parallel()
	smtp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer smtp.Close()
	mailing, hangUp := make(chan struct{}), make(chan struct{})
	go func() { // a mail server that takes its time and then gives up
		if conn, err := smtp.Accept(); err == nil {
			close(mailing)
			<-hangUp
			conn.Close()
		}
	}()
	env := with(world(t), "DRAIN_DELAY", "4s", "SMTP_URL", "smtp://"+smtp.Addr().String()+"?tls=none")
	seen, env := collecting(t, env)
	p := start(t, with(env, "OTEL_BSP_SCHEDULE_DELAY", "600000"))
	s := &teller{t: t, url: p.url}
	registered, err := s.as("").auth().RegisterWithResponse(t.Context(), authv1.Credentials{Email: "gina@example.com", Password: "a password that is long enough"})
	s.wants(202, registered, err)
	<-mailing
	address := strings.TrimPrefix(p.url, "http://")
	body := `{"email":"gina@example.com","password":"another password"}`
	slow := dial(t, address)
	fmt.Fprintf(slow, "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:10])
	kept := dial(t, address)
	ask := func() *http.Response {
		t.Helper()
		fmt.Fprint(kept, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(kept), nil)
		s.must(err)
		_, err = io.Copy(io.Discard, resp.Body)
		s.must(err)
		return resp
	}
	if ask().Close {
		t.Error("a connection is not kept before the end")
	}
	if seen.whole("POST /v1/auth/register", nil) {
		t.Error("spans are pushed before the end: this cannot show that they are at it")
	}

	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it drains", func() bool { return strings.Contains(p.logs.String(), "draining") })
	if !ask().Close {
		t.Error("while it drains it keeps connections, and their next request would meet its end")
	}
	eventually(t, "it takes no connections any more", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	if _, err := io.WriteString(slow, body[10:]); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(slow), nil)
	if err != nil || resp.StatusCode != 401 {
		t.Errorf("the request in flight: %v %v", resp, err)
	}
	time.Sleep(200 * time.Millisecond) // a process that does not wait for its job would end in this time
	if strings.Contains(p.logs.String(), `"msg":"stopped"`) {
		t.Error("it ends while a job runs")
	}
	close(hangUp)
	if err := p.cmd.Wait(); err != nil || !strings.Contains(p.logs.String(), `"msg":"stopped"`) {
		t.Errorf("it ended with %v", err)
	}
	if !seen.whole("POST /v1/auth/register", nil) || !seen.whole("POST /v1/auth/login", nil) {
		t.Error("the last spans are lost")
	}
	db, err := pgx.Connect(t.Context(), env["DATABASE_URL"])
	s.must(err)
	defer db.Close(context.Background())
	var state string
	s.must(db.QueryRow(t.Context(), `select state from auth.river_job where kind = 'registration-mail'`).Scan(&state))
	if state == "running" {
		t.Error("the job is left as running: another process would wait until it counts as dead")
	}
	eventually(t, "Postgres knows how its sessions ended", func() bool { // soon after they did
		var sessions, abandoned int
		s.must(db.QueryRow(t.Context(), `select sessions, sessions_abandoned from pg_stat_database where datname = current_database()`).Scan(&sessions, &abandoned))
		if abandoned > 0 {
			t.Fatalf("%d of %d sessions were left without a word", abandoned, sessions)
		}
		return sessions > 1
	})
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}
