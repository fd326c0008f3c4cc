package main

import (
	"bytes"
	"cmp"
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
	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/authn"
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
	disk sync.Mutex // held: nothing can be written
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.disk.Lock()
	defer l.disk.Unlock()
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

// free returns an address that nobody listens on. It is below the ports that the system gives to connections by itself, and above those of local
// stacks (deploy/local), so that none of them takes it before the program does.
func free(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 30_000+rand.N(2700))
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
	return startOf(t, os.Args[0], env, args...)
}

// startOf is the same with another program.
func startOf(t *testing.T, binary string, env map[string]string, args ...string) *program {
	t.Helper()
	env = with(env, "HTTP_ADDR", cmp.Or(env["HTTP_ADDR"], free(t)), "ADMIN_ADDR", free(t))
	p := &program{url: "http://" + env["HTTP_ADDR"], admin: "http://" + env["ADMIN_ADDR"], logs: &logs{}}
	p.cmd = command(t, env, append([]string{"serve"}, args...)...)
	p.cmd.Path = binary
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

// apart runs modules, all when none is named, as a process each and returns the address of a gateway before them. With auth among them it
// is whose tokens they believe.
func apart(t *testing.T, env map[string]string, here ...string) (gateway string, running map[string]*program) {
	t.Helper()
	if len(here) == 0 {
		here = migrations.Modules()
	}
	running = map[string]*program{}
	targets := map[string]*httputil.ReverseProxy{}
	owner := owners(t)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if target := targets[owner(r.URL.Path)]; target != nil {
			target.ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(proxy.Close)
	env = maps.Clone(env)
	if slices.Contains(here, "auth") {
		env["ISSUER"] = proxy.URL
	}
	addresses := map[string]string{}
	for _, m := range here {
		addresses[m] = free(t)
		u := &url.URL{Scheme: "http", Host: addresses[m]}
		targets[m] = httputil.NewSingleHostReverseProxy(u)
		env[strings.ToUpper(m)+"_URL"] = u.String()
		env[strings.ToUpper(m)+"_CLIENT_SECRET"] = cmp.Or(env[strings.ToUpper(m)+"_CLIENT_SECRET"], "a secret of "+m+" that is long enough")
	}
	for _, m := range here {
		running[m] = start(t, with(env, "HTTP_ADDR", addresses[m]), "--modules="+m)
	}
	return proxy.URL, running
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

// cast is who the story is about. Each has a token.
type cast struct{ alice, bob, operator *person }

// chapters are the story, in the order in which it is told: each module has one.
var chapters = []struct {
	module string
	tell   func(*teller, cast)
}{
	{"users", (*teller).profiles},
	{"transactions", (*teller).payments},
	{"auth", (*teller).farewell},
}

// elsewhere is an issuer that somebody else runs, the modules that take its tokens, and the settings of one telling of theirs.
func elsewhere(t *testing.T) (issuer *servertest.Issuer, here []string, settings func() map[string]string) {
	t.Helper()
	for _, m := range migrations.Modules() {
		if m != "auth" {
			here = append(here, m)
		}
	}
	const secret = "the secret of a module, which its issuer knows"
	issuer = servertest.NewIssuer(t)
	keys := chi.NewRouter()
	server := httptest.NewServer(keys)
	t.Cleanup(server.Close)
	issuer.Name = server.URL
	issuer.Provider(keys, secret)
	return issuer, here, func() map[string]string {
		env := with(world(t), "ISSUER", issuer.Name)
		for _, m := range here {
			env[strings.ToUpper(m)+"_CLIENT_SECRET"] = secret
		}
		return env
	}
}

// TestTokensOfAnotherIssuer tells the story without auth: somebody else's issuer signs the tokens, and modules get theirs from it.
func TestTokensOfAnotherIssuer(t *testing.T) {
	t.Parallel()
	issuer, here, settings := elsewhere(t)
	p := start(t, settings(), "--modules="+strings.Join(here, ","))
	gateway, running := apart(t, settings(), here...)
	together, separate := tellOf(t, issuer, p.url), tellOf(t, issuer, gateway)
	if !slices.Equal(together, separate) {
		t.Errorf("the modules behave differently together and apart:\ntogether:\n  %s\napart:\n  %s", strings.Join(together, "\n  "), strings.Join(separate, "\n  "))
	}
	noSecrets(t, p.logs.String())
	for _, p := range running {
		noSecrets(t, p.logs.String())
	}
}

// tellOf tells the story with people whose tokens are from this issuer.
func tellOf(t *testing.T, issuer *servertest.Issuer, address string) []string {
	t.Helper()
	s := &teller{t: t, url: address}
	somebody := func(more ...string) *person { return s.as(issuer.Token(s.somebody(issuer, more...))) }
	c := cast{somebody(), somebody(), somebody(operators...)}
	for _, chapter := range chapters {
		if chapter.module != "auth" {
			chapter.tell(s, c)
		}
	}
	nowhere, err := http.Get(address + "/v1/nothing")
	s.must(err)
	nowhere.Body.Close()
	if nowhere.StatusCode != 404 {
		t.Errorf("what is nowhere answers %d", nowhere.StatusCode)
	}
	return s.answers
}

// operators are the scopes that operators have and nobody else.
var operators = []string{
	"identities:read", "identities:write", "audit:read",
	// only with users:
	"users:read",
	// end users
	// only with transactions:
	"ledger:read", "ledger:write", "ledger:admin",
	// end transactions
}

// somebody is a person of this issuer, with the scopes that everybody has and more.
func (s *teller) somebody(issuer *servertest.Issuer, more ...string) authn.Principal {
	s.t.Helper()
	id := uuid.New()
	for _, o := range theHouse(s.t).contracts(new([]string)) {
		for _, scope := range o.scopes {
			if scope != "internal" && !slices.Contains(operators, scope) {
				more = append(more, scope)
			}
		}
	}
	// only with users:
	s.provision(issuer.Token(module), id)
	// end users
	return authn.Principal{UserID: id, Scopes: more}
}

// module is a caller of internal operations.
var module = authn.Principal{Subject: "directory", ClientID: "directory", Scopes: []string{"internal"}}

// noSecrets looks for what must never be logged.
func noSecrets(t *testing.T, logs string) {
	t.Helper()
	for _, marker := range []string{"alice@example.com", "bob@example.com", "password of", "rt_", "eyJ", "Alice"} {
		if strings.Contains(logs, marker) {
			t.Errorf("the logs hold %q", marker)
		}
	}
}

// teller tells stories to a running backend. What it is answered is noted, so that two tellings can be compared.
type teller struct {
	t       *testing.T
	url     string
	answers []string
	// only with auth:
	mailbox string // of the process that keeps it, when a gateway is before that
	// end auth
}

func (s *teller) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := servertest.Checked(s.t, http.DefaultTransport, everySpec()...).RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var problem struct{ Code, Error string }
	if resp.StatusCode >= 400 { // what went well may have a field of that name
		_ = json.Unmarshal(body, &problem)
	}
	s.answers = append(s.answers, strings.TrimSpace(fmt.Sprintf("%s %s %d %s%s", r.Method, shape(r.URL.Path), resp.StatusCode, problem.Code, problem.Error)))
	return resp, err
}

// only with users:

// quiet is the same person, whose answers are not noted: for what is asked until a job is done, or by many at once, and so is not the same in
// two tellings.
func (s *teller) quiet(p *person) *person {
	same := *p
	same.client = &http.Client{Transport: bearer{p.token, servertest.Checked(s.t, http.DefaultTransport, everySpec()...)}}
	return &same
}

// end users

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

// person is somebody with an access token, or nobody.
type person struct {
	url    string
	token  string
	client *http.Client
	// only with auth:
	refresh string
	// end auth
}

// as is somebody with this access token, "" for nobody.
func (s *teller) as(token string) *person {
	return &person{url: s.url, token: token, client: &http.Client{Transport: bearer{token, s}}}
}

type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
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
