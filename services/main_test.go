package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"
	"github.com/oapi-codegen/nullable"

	authv1 "example.com/groundwork/api/auth/v1"
	transactionsv1 "example.com/groundwork/api/transactions/v1"
	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/postgres/pgtest"
	"example.com/groundwork/pkg/servertest"
)

// TestMain lets this test binary be the program as well, so that a test can run it as real processes and kill them.
func TestMain(m *testing.M) {
	if os.Getenv("BE_GROUNDWORK") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program is one running process.
type program struct {
	url, admin string
	cmd        *exec.Cmd
	logs       *logs
}

// logs keeps what a process wrote; the test reads while it writes.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// world is what every process of one test shares: a database of its own, Redis, a key.
func world(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"BE_GROUNDWORK": "1", "ENVIRONMENT": "local", "RATE_LIMIT": "off", "DATABASE_MAX_CONNS": "4",
		"DATABASE_URL": pgtest.New(t).OwnerURL, "REDIS_URL": pgtest.RedisURL(t), "KEY_ENCRYPTION_KEY_FILE": filepath.Join(t.TempDir(), "kek"),
		"OPERATOR_EMAIL": "operator@example.com", "OPERATOR_PASSWORD": "an operator's long password",
	}
}

// with returns env with more in it.
func with(env map[string]string, pairs ...string) map[string]string {
	env = maps.Clone(env)
	for i := 0; i < len(pairs); i += 2 {
		env[pairs[i]] = pairs[i+1]
	}
	return env
}

func command(t *testing.T, env map[string]string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"), "HOME="+t.TempDir())
	return cmd
}

var given sync.Map // ports, so that no two tests get the same one

// free returns an address that nobody listens on. It is below the ports that the system gives to connections by itself, so that none of
// them takes it before the program does.
func free(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 12000+rand.N(18000))
		if _, taken := given.LoadOrStore(address, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// start runs the program until it is ready; it ends with the test, in good order.
func start(t *testing.T, env map[string]string, args ...string) *program {
	t.Helper()
	env = with(env, "HTTP_ADDR", cmp.Or(env["HTTP_ADDR"], free(t)), "ADMIN_ADDR", free(t))
	p := &program{url: "http://" + env["HTTP_ADDR"], admin: "http://" + env["ADMIN_ADDR"], logs: &logs{}}
	p.cmd = command(t, env, append([]string{"serve"}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = p.logs, p.logs
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.stop(t)
		}
		if t.Failed() {
			t.Logf("the logs of %s:\n%s", p.url, p.logs)
		}
	})
	eventually(t, "the server is ready", func() bool {
		resp, err := http.Get(p.url + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

// stop ends the process as an orchestrator does and wants it to end well.
func (p *program) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 600 {
		if ok() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("it never happened that %s", what)
}

// apart runs each module as a process of its own and returns the address of a gateway before them.
func apart(t *testing.T, env map[string]string) (gateway string, modules map[string]*program) {
	t.Helper()
	modules = map[string]*program{}
	targets := map[string]*httputil.ReverseProxy{}
	owner := owners(t)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { targets[owner(r.URL.Path)].ServeHTTP(w, r) }))
	t.Cleanup(proxy.Close)
	env = with(env, "ISSUER", proxy.URL)
	addresses := map[string]string{}
	for _, m := range migrations.Modules() {
		addresses[m] = free(t)
		u := &url.URL{Scheme: "http", Host: addresses[m]}
		targets[m] = httputil.NewSingleHostReverseProxy(u)
		env[strings.ToUpper(m)+"_URL"] = u.String()
		env[strings.ToUpper(m)+"_CLIENT_SECRET"] = "a secret of " + m + " that is long enough"
	}
	for _, m := range migrations.Modules() {
		modules[m] = start(t, with(env, "HTTP_ADDR", addresses[m]), "--modules="+m)
	}
	return proxy.URL, modules
}

// owners returns which module answers a path: the one whose contract has it, and auth when none has.
func owners(t *testing.T) func(path string) string {
	t.Helper()
	paths := map[*regexp.Regexp]string{}
	for name, m := range modules {
		for _, spec := range m.specs {
			doc, err := openapi3.NewLoader().LoadFromData(spec)
			if err != nil {
				t.Fatal(err)
			}
			for path := range doc.Paths.Map() {
				paths[regexp.MustCompile("^"+placeholder.ReplaceAllString(path, "[^/]+")+"$")] = name
			}
		}
	}
	return func(path string) string {
		for pattern, name := range paths {
			if pattern.MatchString(path) {
				return name
			}
		}
		return "auth"
	}
}

// TestMainStory tells the same story to all modules in one process and to each in its own, and wants the same answers.
func TestMainStory(t *testing.T) {
	t.Parallel()
	var together, separate []string
	t.Run("together", func(t *testing.T) {
		t.Parallel()
		env := world(t)
		p := start(t, env)
		together = tell(t, env, p.url)
		t.Cleanup(func() { noSecrets(t, p.logs.String()) })
	})
	t.Run("apart", func(t *testing.T) {
		t.Parallel()
		env := world(t)
		gateway, modules := apart(t, env)
		separate = tell(t, env, gateway)
		t.Cleanup(func() {
			for _, p := range modules {
				noSecrets(t, p.logs.String())
			}
		})
	})
	t.Cleanup(func() {
		if !slices.Equal(together, separate) {
			t.Errorf("the modules behave differently together and apart:\ntogether:\n  %s\napart:\n  %s",
				strings.Join(together, "\n  "), strings.Join(separate, "\n  "))
		}
	})
}

// noSecrets looks for what must never be logged.
func noSecrets(t *testing.T, logs string) {
	t.Helper()
	for _, marker := range []string{"alice@example.com", "bob@example.com", "password of", "rt_", "eyJ", "Alice"} {
		if strings.Contains(logs, marker) {
			t.Errorf("the logs hold %q", marker)
		}
	}
}

// person calls the modules with a token of their own. What they are answered is noted, so that two tellings can be compared.
type person struct {
	auth         *authv1.ClientWithResponses
	users        *usersv1.ClientWithResponses
	transactions *transactionsv1.ClientWithResponses
	refresh      string
}

type teller struct {
	t       *testing.T
	url     string
	answers []string
}

func (s *teller) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := servertest.Checked(s.t, http.DefaultTransport, everySpec()...).RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var problem struct{ Code, Error string }
	_ = json.Unmarshal(body, &problem)
	if r.URL.Path != "/v1/users/me" || r.Method != http.MethodGet { // which is asked until it is there
		s.answers = append(s.answers, strings.TrimSpace(fmt.Sprintf("%s %s %d %s%s", r.Method, shape(r.URL.Path), resp.StatusCode, problem.Code, problem.Error)))
	}
	return resp, err
}

// shape is a path without the ids in it.
func shape(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if uuid.Validate(p) == nil {
			parts[i] = "{id}"
		}
	}
	return strings.Join(parts, "/")
}

// as makes the clients of somebody with this access token, "" for nobody.
func (s *teller) as(token string) *person {
	s.t.Helper()
	bearer := func(_ context.Context, r *http.Request) error {
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return nil
	}
	client := &http.Client{Transport: s}
	p := &person{}
	var errs [3]error
	p.auth, errs[0] = authv1.NewClientWithResponses(s.url, authv1.WithHTTPClient(client), authv1.WithRequestEditorFn(bearer))
	p.users, errs[1] = usersv1.NewClientWithResponses(s.url, usersv1.WithHTTPClient(client), usersv1.WithRequestEditorFn(bearer))
	p.transactions, errs[2] = transactionsv1.NewClientWithResponses(s.url, transactionsv1.WithHTTPClient(client), transactionsv1.WithRequestEditorFn(bearer))
	for _, err := range errs {
		s.must(err)
	}
	return p
}

func (s *teller) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// wants checks a status, and says what came instead.
func (s *teller) wants(status int, got interface {
	StatusCode() int
	GetBody() []byte
}, err error) {
	s.t.Helper()
	s.must(err)
	if got.StatusCode() != status {
		s.t.Fatalf("got %d, want %d: %s", got.StatusCode(), status, got.GetBody())
	}
}

// join registers somebody, reads the mail, confirms and logs in.
func (s *teller) join(email string) *person {
	s.t.Helper()
	ctx, nobody := s.t.Context(), s.as("")
	password := "the long password of " + email
	registered, err := nobody.auth.RegisterWithResponse(ctx, authv1.Credentials{Email: email, Password: password})
	s.wants(202, registered, err)
	early, err := nobody.auth.LoginWithResponse(ctx, authv1.Login{Email: email, Password: password})
	s.wants(401, early, err)
	verified, err := nobody.auth.VerifyEmailWithResponse(ctx, authv1.VerifyEmail{Token: s.mail(email)})
	s.wants(204, verified, err)
	return s.login(email, password)
}

func (s *teller) login(email, password string) *person {
	s.t.Helper()
	tokens, err := s.as("").auth.LoginWithResponse(s.t.Context(), authv1.Login{Email: strings.ToUpper(email), Password: password})
	s.wants(200, tokens, err)
	p := s.as(tokens.JSON200.AccessToken)
	p.refresh = *tokens.JSON200.RefreshToken
	return p
}

// mail waits for the newest mail to an address and returns its token.
func (s *teller) mail(to string) (token string) {
	s.t.Helper()
	eventually(s.t, "a mail comes", func() bool {
		resp, err := http.Get(s.url + "/dev/mail.json?to=" + url.QueryEscape(to))
		s.must(err)
		defer resp.Body.Close()
		var mails []struct{ Token string }
		s.must(json.NewDecoder(resp.Body).Decode(&mails))
		if len(mails) > 0 {
			token = mails[0].Token
		}
		return token != ""
	})
	return token
}

func tell(t *testing.T, env map[string]string, address string) []string {
	ctx := t.Context()
	s := &teller{t: t, url: address}
	alice, bob := s.join("alice@example.com"), s.join("bob@example.com")

	// The profile is provisioned by a job.
	eventually(t, "alice has a profile", func() bool {
		me, err := alice.users.GetMeWithResponse(ctx, nil)
		s.must(err)
		return me.JSON200 != nil && me.JSON200.Email == "alice@example.com"
	})
	me, err := alice.users.GetMeWithResponse(ctx, nil)
	s.wants(200, me, err)
	tag := me.HTTPResponse.Header.Get("ETag")
	patched, err := alice.users.UpdateMeWithApplicationMergePatchPlusJSONBodyWithResponse(ctx, &usersv1.UpdateMeParams{IfMatch: tag},
		usersv1.UserPatch{Name: nullable.NewNullableWithValue("Alice")})
	s.wants(200, patched, err)
	stale, err := alice.users.UpdateMeWithApplicationMergePatchPlusJSONBodyWithResponse(ctx, &usersv1.UpdateMeParams{IfMatch: tag},
		usersv1.UserPatch{Name: nullable.NewNullNullable[string]()})
	s.wants(412, stale, err)

	// An operator brings money in through an external account.
	out, err := command(t, env, "operator").CombinedOutput()
	if err != nil {
		t.Fatalf("operator: %v\n%s", err, out)
	}
	operator := s.login(env["OPERATOR_EMAIL"], env["OPERATOR_PASSWORD"])
	external := s.open(operator, transactionsv1.NewAccount{Currency: "EUR", Kind: new(transactionsv1.AccountKindExternal)})
	hers, his := s.open(alice, transactionsv1.NewAccount{Currency: "EUR"}), s.open(bob, transactionsv1.NewAccount{Currency: "EUR"})
	s.wants(403, s.create(alice, transactionsv1.NewAccount{Currency: "EUR", Kind: new(transactionsv1.AccountKindExternal)}), nil)
	s.wants(422, s.create(operator, transactionsv1.NewAccount{Currency: "EUR", OwnerId: new(uuid.New())}), nil) // transactions asks users
	s.wants(201, s.pay(operator, "in-1", external, hers, 10_000), nil)

	// Alice pays Bob; her retry does no harm, whatever else is sent under the same key is refused.
	first := s.pay(alice, "rent", hers, his, 2_500)
	s.wants(201, first, nil)
	again := s.pay(alice, "rent", hers, his, 2_500)
	s.wants(201, again, nil)
	if !bytes.Equal(first.Body, again.Body) || again.HTTPResponse.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the replay differs:\n%s\n%s", first.Body, again.Body)
	}
	s.wants(422, s.pay(alice, "rent", hers, his, 2_501), nil)
	s.wants(422, s.pay(alice, "too much", hers, his, 7_501), nil)
	s.wants(404, s.pay(bob, "theft", hers, his, 1), nil)

	s.statement(alice, hers, []int64{-2_500, 10_000}, 7_500)
	s.statement(bob, his, []int64{2_500}, 2_500)
	foreign, err := bob.transactions.GetAccountWithResponse(ctx, hers, nil)
	s.wants(404, foreign, err)
	seen, err := bob.transactions.GetTransactionWithResponse(ctx, first.JSON201.Id)
	s.wants(200, seen, err)
	list, err := bob.transactions.ListTransactionsWithResponse(ctx, &transactionsv1.ListTransactionsParams{AccountId: his})
	s.wants(200, list, err)

	// A session ends.
	fresh, err := alice.auth.IssueTokenWithFormdataBodyWithResponse(ctx, nil, authv1.TokenRequest{GrantType: "refresh_token", RefreshToken: &alice.refresh})
	s.wants(200, fresh, err)
	bye, err := alice.auth.LogoutWithResponse(ctx)
	s.wants(204, bye, err)
	refused, err := alice.auth.IssueTokenWithFormdataBodyWithResponse(ctx, nil, authv1.TokenRequest{GrantType: "refresh_token", RefreshToken: fresh.JSON200.RefreshToken})
	s.wants(400, refused, err)
	anonymous, err := s.as("").transactions.ListAccountsWithResponse(ctx, nil)
	s.wants(401, anonymous, err)
	return s.answers
}

func (s *teller) create(p *person, a transactionsv1.NewAccount) *transactionsv1.CreateAccountResponse {
	s.t.Helper()
	resp, err := p.transactions.CreateAccountWithResponse(s.t.Context(), a)
	s.must(err)
	return resp
}

func (s *teller) open(p *person, a transactionsv1.NewAccount) uuid.UUID {
	s.t.Helper()
	resp := s.create(p, a)
	s.wants(201, resp, nil)
	return resp.JSON201.Id
}

func (s *teller) pay(p *person, key string, from, to uuid.UUID, amount int64) *transactionsv1.CreateTransactionResponse {
	s.t.Helper()
	resp, err := p.transactions.CreateTransactionWithResponse(s.t.Context(), &transactionsv1.CreateTransactionParams{IdempotencyKey: key},
		transactionsv1.NewTransaction{Postings: []transactionsv1.Posting{{From: from, To: to, Amount: amount, Currency: "EUR"}}})
	s.must(err)
	return resp
}

// statement checks an account's entries, newest first, and its balance.
func (s *teller) statement(p *person, account uuid.UUID, amounts []int64, posted int64) {
	s.t.Helper()
	entries, err := p.transactions.ListEntriesWithResponse(s.t.Context(), account, nil)
	s.wants(200, entries, err)
	var got []int64
	for _, e := range entries.JSON200.Data {
		got = append(got, e.Amount)
	}
	if !slices.Equal(got, amounts) {
		s.t.Errorf("the statement has %v, want %v", got, amounts)
	}
	a, err := p.transactions.GetAccountWithResponse(s.t.Context(), account, nil)
	s.wants(200, a, err)
	if a.JSON200.Balance.Posted != posted {
		s.t.Errorf("the balance is %d, want %d", a.JSON200.Balance.Posted, posted)
	}
}
