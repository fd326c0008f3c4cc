package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	authv1 "example.com/groundwork/api/auth/v1"
	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/pkg/problem"
)

// public are the operations that need no token. Whoever adds one adds it here, on purpose.
var public = []string{
	"POST /v1/auth/register", "POST /v1/auth/email/verify", "POST /v1/auth/login", "POST /v1/auth/token", "POST /v1/auth/revoke",
	"GET /.well-known/jwks.json", "GET /.well-known/oauth-authorization-server",
}

// everySpec is every contract of every module.
func everySpec() (specs [][]byte) {
	for _, m := range modules {
		specs = slices.AppendSeq(specs, maps.Values(m.specs))
	}
	return specs
}

func TestEveryOperationNeedsATokenUnlessItIsPublic(t *testing.T) {
	t.Parallel()
	p := start(t, world(t))
	for _, spec := range everySpec() {
		doc, err := openapi3.NewLoader().LoadFromData(spec)
		if err != nil {
			t.Fatal(err)
		}
		for path, item := range doc.Paths.Map() {
			for method := range item.Operations() {
				req, _ := http.NewRequest(method, p.url+strings.ReplaceAll(path, "{id}", uuid.NewString()), strings.NewReader(`{"not":"checked"}`))
				status, d, _ := fetch(t, req)
				if open := slices.Contains(public, method+" "+path); open == (status == 401) || !open && d.Code != "unauthenticated" {
					t.Errorf("%s %s answers %d %s without a token; public: %v", method, path, status, d.Code, open)
				}
				if len(d.Errors) > 0 && status == 401 {
					t.Errorf("%s %s tells an anonymous caller what is wrong with the body", method, path)
				}
			}
		}
	}
}

// fetch returns an answer's status, and the problem when it is one.
func fetch(t *testing.T, req *http.Request) (status int, d problem.Document, body []byte) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Content-Type") == "application/problem+json" {
		if err := json.Unmarshal(body, &d); err != nil {
			t.Errorf("not a problem: %s", body)
		}
		if d.RequestID == "" || d.RequestID != resp.Header.Get("X-Request-Id") || d.Status != resp.StatusCode {
			t.Errorf("the problem does not name its request and status: %s", body)
		}
	}
	return resp.StatusCode, d, body
}

// TestEveryWayOfFailingIsAProblem asks the real modules wrongly in every way.
func TestEveryWayOfFailingIsAProblem(t *testing.T) {
	t.Parallel()
	env := world(t)
	p := start(t, env)
	s := &teller{t: t, url: p.url}
	_ = s.join("dora@example.com")
	tokens, err := s.as("").auth.LoginWithResponse(t.Context(), authv1.Login{Email: "dora@example.com", Password: "the long password of dora@example.com"})
	s.wants(200, tokens, err)
	token := tokens.JSON200.AccessToken
	const marker = "mArKeR"
	for _, c := range []struct {
		name, method, path, body string
		header                   map[string]string
		status                   int
		code                     string
	}{
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
		{"wrong scope", "POST", "/v1/auth/identities", `{}`, nil, 403, "insufficient-scope"},
		{"internal operation", "GET", "/v1/users/" + uuid.NewString(), ``, nil, 403, "insufficient-scope"},
		{"unknown path", "GET", "/v1/nothing/" + marker, ``, nil, 404, "not-found"},
		{"unknown thing", "GET", "/v1/accounts/" + uuid.NewString(), ``, nil, 404, "not-found"},
		{"wrong method", "DELETE", "/v1/accounts", ``, nil, 405, "method-not-allowed"},
		{"no key", "POST", "/v1/transactions", `{}`, nil, 400, "idempotency-key-missing"},
		{"bad key", "POST", "/v1/transactions", `{"postings":[{"from":"` + uuid.NewString() + `","to":"` + uuid.NewString() + `","amount":1,"currency":"EUR"}]}`,
			map[string]string{"Idempotency-Key": "a\x7fb"}, 400, "idempotency-key-invalid"},
		{"too much money", "POST", "/v1/transactions", `{"postings":[{"from":"` + uuid.NewString() + `","to":"` + uuid.NewString() + `","amount":9007199254740992,"currency":"EUR"}]}`,
			map[string]string{"Idempotency-Key": "k"}, 422, "validation-failed"},
		{"no If-Match", "PATCH", "/v1/users/me", `{"name":"x"}`, map[string]string{"Content-Type": "application/merge-patch+json"}, 428, "precondition-required"},
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

func get(address string) *http.Request {
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		panic(err)
	}
	return req
}

// TestAJobSurvivesACrash kills the process between the registration and its mail.
func TestAJobSurvivesACrash(t *testing.T) {
	t.Parallel()
	env := world(t)
	// A mail server that nobody answers: the job is tried, and fails.
	p := start(t, with(env, "SMTP_URL", "smtp://"+free(t)+"?tls=none"))
	s := &teller{t: t, url: p.url}
	registered, err := s.as("").auth.RegisterWithResponse(t.Context(), authv1.Credentials{Email: "eve@example.com", Password: "a password that is long enough"})
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
	verified, err := s.as("").auth.VerifyEmailWithResponse(t.Context(), authv1.VerifyEmail{Token: s.mail("eve@example.com")})
	s.wants(204, verified, err)
}

// TestDrain ends a server under load: it turns unready first, goes on answering, and no request is lost.
func TestDrain(t *testing.T) {
	t.Parallel()
	p := start(t, with(world(t), "DRAIN_DELAY", "1s"))
	var answered, lost, unready atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			for ctx.Err() == nil {
				resp, err := client.Post(p.url+"/v1/auth/login", "application/json", strings.NewReader(`{}`))
				if err != nil {
					lost.Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				answered.Add(1)
			}
		})
	}
	eventually(t, "there is load", func() bool { return answered.Load() > 100 })
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it turns unready", func() bool {
		resp, err := http.Get(p.url + "/readyz")
		if err != nil {
			t.Fatalf("it stopped listening before it was unready: %v", err)
		}
		resp.Body.Close()
		if resp.StatusCode == 503 {
			unready.Add(1)
		}
		return unready.Load() > 0
	})
	before := answered.Load()
	eventually(t, "it answers while it drains", func() bool { return answered.Load() > before })
	cancel() // a balancer sends nothing more
	load.Wait()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	if lost.Load() > 0 {
		t.Errorf("%d of %d requests were lost", lost.Load(), answered.Load())
	}
	if logs := p.logs.String(); !strings.Contains(logs, `"msg":"stopped"`) {
		t.Error("it did not end in good order")
	}
}

// spans is a collector: it keeps the names of the spans of each trace.
type spans struct {
	mu     sync.Mutex
	traces map[string][]string
}

func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		zipped, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		body = zipped
	}
	raw, err := io.ReadAll(body)
	var export collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(raw, &export) != nil {
		http.Error(w, "not spans", 400)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range export.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				id := fmt.Sprintf("%x", span.TraceId)
				s.traces[id] = append(s.traces[id], span.Name)
				for _, a := range span.Attributes {
					s.traces["attributes"] = append(s.traces["attributes"], a.String())
				}
			}
		}
	}
}

// trace returns the names in the first trace that has the named span.
func (s *spans) trace(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, names := range s.traces {
		if slices.Contains(names, name) {
			return slices.Clone(names)
		}
	}
	return nil
}

// TestOneTrace follows a registration from the router through Postgres, the job, the peer and Redis, across three processes.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	seen := &spans{traces: map[string][]string{}}
	sink := http.NewServeMux()
	sink.Handle("/v1/traces", seen)
	server := httptest.NewServer(sink)
	t.Cleanup(server.Close)
	env := with(world(t), "OTEL_EXPORTER_OTLP_ENDPOINT", server.URL, "OTEL_METRICS_EXPORTER", "none", "OTEL_BSP_SCHEDULE_DELAY", "100")
	gateway, _ := apart(t, env)
	s := &teller{t: t, url: gateway}
	fred := s.join("fred@example.com")
	eventually(t, "fred has a profile", func() bool {
		me, err := fred.users.GetMeWithResponse(t.Context(), nil)
		s.must(err)
		return me.JSON200 != nil
	})
	for root, parts := range map[string][]string{
		"POST /v1/auth/register":     {"insert registrations", "job registration-mail"},
		"POST /v1/auth/email/verify": {"insert identities", "job provision-profile", "PUT /v1/users/{id}", "insert users"},
		"GET /v1/users/me":           {"select users", "evalsha"},
	} {
		var names []string
		eventually(t, "the trace of "+root+" is whole", func() bool {
			names = seen.trace(root)
			return !slices.ContainsFunc(parts, func(part string) bool {
				return !slices.ContainsFunc(names, func(name string) bool { return strings.Contains(strings.ToLower(name), strings.ToLower(part)) })
			})
		})
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for _, a := range seen.traces["attributes"] {
		if strings.Contains(a, "fred@") || strings.Contains(a, "eyJ") || strings.Contains(a, "rt_") {
			t.Errorf("a span holds a secret: %s", a)
		}
	}
}

func TestMetricsAreByRoute(t *testing.T) {
	t.Parallel()
	p := start(t, world(t))
	for i := range 50 {
		fetch(t, get(fmt.Sprintf("%s/v1/hostile/%d", p.url, i)))
	}
	fetch(t, get(p.url+"/v1/accounts/"+uuid.NewString()))
	_, _, body := fetch(t, get(p.admin+"/metrics"))
	if !bytes.Contains(body, []byte(`http_route="/v1/accounts/{id}"`)) {
		t.Error("there is no series for the route")
	}
	if bytes.Contains(body, []byte("hostile")) {
		t.Error("a path became a label")
	}
	for _, name := range []string{"http_server_request_duration_seconds", "pgxpool", "go_goroutines"} {
		if !bytes.Contains(body, []byte(name)) {
			t.Errorf("there is no metric %s", name)
		}
	}
	for _, path := range []string{"/metrics", "/debug/pprof/"} {
		if status, _, _ := fetch(t, get(p.url+path)); status != 404 {
			t.Errorf("%s is on the public listener", path)
		}
	}
	if status, _, _ := fetch(t, get(p.admin+"/debug/pprof/")); status != 200 {
		t.Error("there is no pprof on the admin listener")
	}
}

// production is a complete set of settings of a production run.
func production(t *testing.T) map[string]string {
	env := map[string]string{
		"BE_GROUNDWORK": "1", "ISSUER": "https://api.example.com", "REDIS_URL": "redis://127.0.0.1:1", "SMTP_URL": "smtps://mail.example.com:465",
		"KEY_ENCRYPTION_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "HTTP_ADDR": free(t), "ADMIN_ADDR": free(t),
		"AUTH_DATABASE_URL":         "postgres://groundwork_auth:x@127.0.0.1:1/x",
		"USERS_DATABASE_URL":        "postgres://groundwork_users:x@127.0.0.1:1/x",
		"TRANSACTIONS_DATABASE_URL": "postgres://groundwork_transactions:x@127.0.0.1:1/x",
	}
	return env
}

func TestProduction(t *testing.T) {
	t.Parallel()
	t.Run("starts while its database is away, alive and unready, and has no mailbox", func(t *testing.T) {
		t.Parallel()
		env := with(production(t), "DRAIN_DELAY", "0s")
		cmd := command(t, env, "serve")
		out := &logs{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		base := "http://" + env["HTTP_ADDR"]
		eventually(t, "it is alive", func() bool {
			resp, err := http.Get(base + "/livez")
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode == 200
		})
		for path, want := range map[string]int{"/readyz": 503, "/dev/mail": 404, "/dev/mail.json": 404} {
			if status, _, _ := fetch(t, get(base+path)); status != want {
				t.Errorf("%s answers %d, want %d", path, status, want)
			}
		}
		if err := command(t, env, "healthcheck").Run(); err == nil {
			t.Error("healthcheck is content with a server that is not ready")
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ended with %v\n%s", err, out)
		}
	})
	for name, c := range map[string]struct{ env, says []string }{
		"a development secret": {[]string{"USERS_DATABASE_URL", "postgres://groundwork_users:local-only-users@db/x"}, []string{"USERS_DATABASE_URL", "local runs"}},
		"a short secret":       {[]string{"USERS_CLIENT_SECRET", "short"}, []string{"USERS_CLIENT_SECRET", "32 characters"}},
		"no key":               {[]string{"KEY_ENCRYPTION_KEY", ""}, []string{"KEY_ENCRYPTION_KEY"}},
		"several mistakes":     {[]string{"RATE_LIMIT", "much", "PASSWORD_MIN_LENGTH", "4", "TRUSTED_PROXIES", "nginx"}, []string{"RATE_LIMIT", "PASSWORD_MIN_LENGTH", "TRUSTED_PROXIES"}},
		"an unknown place":     {[]string{"ENVIRONMENT", "staging"}, []string{"ENVIRONMENT"}},
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, with(production(t), c.env...), "serve")
			time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("it should refuse to start: %v", err)
			}
			for _, want := range c.says {
				if !bytes.Contains(out, []byte(want)) {
					t.Errorf("it should name %s:\n%s", want, out)
				}
			}
			if bytes.Contains(out, []byte("local-only-users")) {
				t.Errorf("it shows the secret:\n%s", out)
			}
		})
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	env := world(t)
	for _, c := range []struct {
		args []string
		ok   bool
		says string
	}{
		{[]string{"help"}, true, "groundwork serve"},
		{[]string{"version"}, true, ""},
		{[]string{"config"}, true, "`DATABASE_MAX_CONNS`"},
		{[]string{"migrate", "status"}, true, "applied"},
		{[]string{"migrate", "up"}, true, ""},
		{[]string{"migrate", "down"}, false, "migrate up"},
		{[]string{"serve", "--modules=billing"}, false, `"billing"`},
		{[]string{"serve", "--modules=users"}, false, "AUTH_URL"},
		{[]string{"dance"}, false, "dance"},
		{[]string{"healthcheck"}, false, "refused"},
	} {
		out, err := command(t, with(env, "HTTP_ADDR", "127.0.0.1:1"), c.args...).CombinedOutput()
		if (err == nil) != c.ok || !bytes.Contains(out, []byte(c.says)) {
			t.Errorf("groundwork %s: %v, want ok %v and %q in:\n%s", strings.Join(c.args, " "), err, c.ok, c.says, out)
		}
	}
}
