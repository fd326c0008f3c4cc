package auth

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/jackc/pgx/v5"

	authv1 "example.com/groundwork/api/auth/v1"
	authv2 "example.com/groundwork/api/auth/v2"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/cache"
	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/mail"
	"example.com/groundwork/pkg/peer"
	"example.com/groundwork/pkg/postgres/pgtest"
	"example.com/groundwork/pkg/seal"
	"example.com/groundwork/pkg/secret"
	"example.com/groundwork/pkg/servertest"
)

const (
	issuer       = "http://auth.test"
	password     = "a long password nobody guesses"
	clientSecret = "console's secret with + and % in it"
)

// world is a Postgres, a Redis and a mail server, with instances of auth among them.
type world struct {
	t     *testing.T
	db    *pgtest.DB
	redis *miniredis.Miniredis
	post  *post
	logs  *lines
	owner *pgx.Conn
	// only with users:
	users profiles
	// end users
	*instance
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, db: pgtest.New(t), redis: miniredis.RunT(t), post: &post{box: mail.NewMailbox()}, logs: &lines{}}
	w.owner = w.db.Owner()
	w.instance = w.another()
	return w
}

// working is a world whose instance works its jobs.
func working(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.works(w.instance)
	return w
}

func (w *world) works(i *instance) {
	w.t.Helper()
	if err := i.Jobs().Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := i.Jobs().Stop(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
}

// instance is one process that serves auth.
type instance struct {
	*Module
	t      *testing.T
	url    string
	public *authv1.ClientWithResponses // as anybody
}

// another starts one more process, as it were, wired as services/serve.go does it. It works no jobs.
func (w *world) another() *instance {
	w.t.Helper()
	log := slog.New(slog.NewJSONHandler(io.MultiWriter(w.logs, w.t.Output()), nil))
	redis, err := cache.Connect("redis://" + w.redis.Addr())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = redis.Close() })
	kek, err := seal.KeyEncryptionKey(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		w.t.Fatal(err)
	}
	network := peer.New()
	verifier := authn.NewVerifier(issuer, "http://auth/.well-known/jwks.json", network.Open())
	following, end := context.WithCancel(context.Background())
	w.t.Cleanup(end)
	go verifier.Revoked.Follow(following, redis, slog.New(slog.DiscardHandler))
	config := Config{Issuer: issuer, PasswordMinLength: 15, KeyLabel: "test", Clients: map[string]Client{
		"auth":    {Secret: secret.New("auth's secret"), Scopes: []string{"internal"}},
		"console": {Secret: secret.New(clientSecret), Scopes: []string{"identities:write", "internal", "ledger:read"}},
		"idle":    {},
	}}
	guard := httpserver.Guard{Verifier: verifier}
	m, err := New(config, w.db.Pool("auth"), redis, kek, verifier,
		// only with users:
		w.users.join(w.t, network, guard),
		// end users
		w.post, log)
	if err != nil {
		w.t.Fatal(err)
	}
	origins, err := httpserver.NewOrigins([]string{webApp})
	if err != nil {
		w.t.Fatal(err)
	}
	router := httpserver.NewRouter(httpserver.Options{Log: log, Timeout: 30 * time.Second, TrustedProxies: []string{"127.0.0.0/8"}, Origins: origins})
	if err := guard.Mount(router, m.Routes, authv1.Spec, authv2.Spec); err != nil {
		w.t.Fatal(err)
	}
	network.Here("auth", router)
	server := httptest.NewServer(router)
	w.t.Cleanup(server.Close)
	i := &instance{Module: m, t: w.t, url: server.URL}
	i.public = i.client(http.DefaultTransport)
	return i
}

func (i *instance) client(transport http.RoundTripper) *authv1.ClientWithResponses {
	i.t.Helper()
	c, err := authv1.NewClientWithResponses(i.url, authv1.WithHTTPClient(&http.Client{Transport: servertest.Checked(i.t, transport, authv1.Spec)}))
	if err != nil {
		i.t.Fatal(err)
	}
	return c
}

// as is a client with an access token.
func (i *instance) as(access string) *authv1.ClientWithResponses {
	return i.client(servertest.Bearer(access))
}

// consoleToken gets a token as the command line does.
func (i *instance) consoleToken() string {
	i.t.Helper()
	return i.form(200, "grant_type", "client_credentials", "client_id", "console", "client_secret", clientSecret).AccessToken
}

// form sends a form to the token endpoint and expects a status.
func (i *instance) form(status int, pairs ...string) authv1.Tokens {
	i.t.Helper()
	tokens, code := i.token(pairs...)
	if code != status {
		i.t.Fatalf("the token endpoint answers %d, want %d", code, status)
	}
	return tokens
}

func (i *instance) token(pairs ...string) (tokens authv1.Tokens, status int) {
	i.t.Helper()
	r, err := i.public.IssueTokenWithBodyWithResponse(i.t.Context(), nil, formType, strings.NewReader(form(pairs...)))
	if err != nil {
		i.t.Fatal(err)
	}
	if r.JSON200 != nil {
		tokens = *r.JSON200
	}
	return tokens, r.StatusCode()
}

func (i *instance) refresh(token string) (authv1.Tokens, int) {
	i.t.Helper()
	return i.token("grant_type", "refresh_token", "refresh_token", token)
}

func (i *instance) register(email, password string) *authv1.RegisterResponse {
	i.t.Helper()
	r, err := i.public.RegisterWithResponse(i.t.Context(), authv1.Credentials{Email: email, Password: password})
	if err != nil {
		i.t.Fatal(err)
	}
	return r
}

func (i *instance) verify(token string) int {
	i.t.Helper()
	r, err := i.public.VerifyEmailWithResponse(i.t.Context(), authv1.VerifyEmail{Token: token})
	if err != nil {
		i.t.Fatal(err)
	}
	return r.StatusCode()
}

// login logs in from a network of the caller's choice.
func (i *instance) login(email, password, from string) *authv1.LoginResponse {
	i.t.Helper()
	r, err := i.public.LoginWithResponse(i.t.Context(), authv1.Login{Email: email, Password: password},
		func(_ context.Context, r *http.Request) error { r.Header.Set("X-Forwarded-For", from); return nil })
	if err != nil {
		i.t.Fatal(err)
	}
	return r
}

// person is somebody with an account, made by the console.
func (i *instance) person(email string, roles ...string) authv2.Identity {
	i.t.Helper()
	if roles == nil {
		roles = []string{"user"}
	}
	r := putV2(i, i.consoleToken(), email, password, true, roles...)
	if r.identity == nil {
		i.t.Fatalf("making an account: %d %s", r.status, r.code)
	}
	return *r.identity
}

// session is a login that succeeds.
func (i *instance) session(email string) authv1.Tokens {
	i.t.Helper()
	r := i.login(email, password, "192.0.2.1")
	if r.JSON200 == nil || r.JSON200.RefreshToken == nil {
		i.t.Fatalf("login: %d %s", r.StatusCode(), r.Body)
	}
	return *r.JSON200
}

// exec changes the database behind the module's back; one gets one value from it.
func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.owner.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatal(err)
	}
}

func one[T any](w *world, sql string, args ...any) T {
	w.t.Helper()
	rows, err := w.owner.Query(w.t.Context(), sql, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// audited are the kinds of the audit events about an identity, in order.
func (w *world) audited(identity string) string {
	w.t.Helper()
	return one[string](w, `select coalesce(string_agg(kind, ' ' order by id), '') from auth.audit_events where identity_id = $1`, identity)
}

// eventually waits for what a job does.
func (w *world) eventually(what string, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("in vain: %s; the jobs are %s", what,
				one[string](w, `select coalesce(json_agg(json_build_array(kind, state, attempt, errors))::text, '') from auth.river_job`))
		}
	}
}

// post is a mail server that can fail.
type post struct {
	box   *mail.Mailbox // refuses what SMTP would
	mu    sync.Mutex
	fails []error // the next answers
	sent  []mail.Message
}

func (p *post) Send(ctx context.Context, m mail.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.fails) > 0 {
		err := p.fails[0]
		p.fails = p.fails[1:]
		return err
	}
	p.sent = append(p.sent, m)
	return p.box.Send(ctx, m)
}

func (p *post) to(address string) (found []mail.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.sent {
		if m.To == address {
			found = append(found, m)
		}
	}
	return found
}

// mailed waits for the n-th mail to an address.
func (w *world) mailed(address string, n int) mail.Message {
	w.t.Helper()
	w.eventually("mail to "+address, func() bool { return len(w.post.to(address)) >= n })
	return w.post.to(address)[n-1]
}

// noWaitEnds makes the clock stand by which failures are counted: the first wait is a second, which a busy machine takes for a login.
func (w *world) noWaitEnds() { w.redis.SetTime(time.Now()) }

// mailedAfter is the next mail to an address after something is done.
func (w *world) mailedAfter(address string, do func()) mail.Message {
	w.t.Helper()
	before := len(w.post.to(address))
	do()
	return w.mailed(address, before+1)
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// look is all of an answer that somebody could tell apart.
func look(status int, h http.Header, body []byte) string {
	var d map[string]any
	if json.Unmarshal(body, &d) == nil {
		delete(d, "request_id")
		body, _ = json.Marshal(d)
	}
	h = h.Clone()
	h.Del("X-Request-Id")
	h.Del("Date")
	h.Del("Content-Length") // of the body, which is compared
	names, _ := json.Marshal(h)
	return http.StatusText(status) + "\n" + string(names) + "\n" + string(body)
}

func TestTheStoryOfAnAccount(t *testing.T) {
	w := working(t)
	if r := w.register("Ada@Example.com", password); r.StatusCode() != 202 {
		t.Fatalf("registering: %d %s", r.StatusCode(), r.Body)
	}
	confirm := w.mailed("ada@example.com", 1)
	if confirm.Subject != "Confirm your address" || !strings.Contains(confirm.Text, confirm.Token) || len(confirm.Token) != 43 {
		t.Fatalf("the mail is %+v", confirm)
	}
	if r := w.login("ada@example.com", password, "192.0.2.1"); r.StatusCode() != 401 {
		t.Errorf("login before the address is confirmed: %d", r.StatusCode())
	}
	if status := w.verify(confirm.Token); status != 204 {
		t.Fatalf("verifying: %d", status)
	}
	if status := w.verify(confirm.Token); status != 400 {
		t.Errorf("verifying twice: %d", status)
	}
	id := one[string](w, `select id::text from auth.identities`)
	// only with users:
	if told := w.told(id); told.Email != "ada@example.com" || told.AuthVersion != 1 {
		t.Errorf("users was told %+v", told)
	}
	// end users

	first := w.session("ADA@example.com")
	if first.TokenType != "Bearer" || first.ExpiresIn != 300 || first.Scope != strings.Join(permissions[roleUser], " ") {
		t.Errorf("the tokens are %+v", first)
	}
	second, status := w.refresh(*first.RefreshToken)
	if status != 200 || *second.RefreshToken == *first.RefreshToken || second.AccessToken == first.AccessToken {
		t.Fatalf("refreshing: %d", status)
	}
	if again, status := w.refresh(*first.RefreshToken); status != 200 || *again.RefreshToken != *second.RefreshToken {
		t.Errorf("the last token again, at once: %d, and the same successor is %t", status, *again.RefreshToken == *second.RefreshToken)
	}
	if r, err := w.as(second.AccessToken).LogoutWithResponse(t.Context()); err != nil || r.StatusCode() != 204 {
		t.Fatalf("logout: %v %s", err, r.Body)
	}
	for name, token := range map[string]string{"the current": *second.RefreshToken, "the last": *first.RefreshToken} {
		if _, status := w.refresh(token); status != 400 {
			t.Errorf("%s token after the logout: %d", name, status)
		}
	}
	if got := w.audited(id); got != "identity.confirmed session.begun session.ended" {
		t.Errorf("audited: %s", got)
	}
	if actor := one[string](w, `select actor from auth.audit_events where kind = 'session.ended'`); actor != id {
		t.Errorf("the session was ended by %q, want the owner", actor)
	}
}

func TestAKnownAddressLooksLikeAnUnknownOne(t *testing.T) {
	w := working(t)
	w.person("ada@example.com")
	before := w.hasher.runs.Load()
	known, unknown := w.register("ada@example.com", "another long password"), w.register("bob@example.com", "another long password")
	if runs := w.hasher.runs.Load() - before; runs != 2 {
		t.Errorf("%d hashes for two registrations", runs)
	}
	if a, b := look(known.StatusCode(), known.HTTPResponse.Header, known.Body), look(unknown.StatusCode(), unknown.HTTPResponse.Header, unknown.Body); a != b || known.StatusCode() != 202 {
		t.Errorf("known: %s\nunknown: %s", a, b)
	}
	if m := w.mailed("ada@example.com", 1); m.Subject != "You have an account already" || m.Token != "" {
		t.Errorf("the owner gets %+v", m)
	}
	if m := w.mailed("bob@example.com", 1); m.Subject != "Confirm your address" {
		t.Errorf("the stranger gets %+v", m)
	}
	if r := w.login("ada@example.com", "another long password", "192.0.2.1"); r.StatusCode() != 401 {
		t.Errorf("the password of a registration for a known address: %d", r.StatusCode())
	}
	w.session("ada@example.com")
}

func TestWhoRegistersAnAddressFirstDoesNotInheritIt(t *testing.T) {
	w := working(t)
	w.register("ada@example.com", "the stranger's password")
	theirs := w.mailed("ada@example.com", 1)
	w.register("ada@example.com", password)
	mine := w.mailed("ada@example.com", 2)
	if status := w.verify(mine.Token); status != 204 {
		t.Fatalf("verifying: %d", status)
	}
	if status := w.verify(theirs.Token); status != 400 {
		t.Errorf("the other registration's token: %d", status)
	}
	if n := one[int](w, `select count(*) from auth.registrations`); n != 0 {
		t.Errorf("%d registrations are kept for nothing", n)
	}
	if r := w.login("ada@example.com", "the stranger's password", "192.0.2.1"); r.StatusCode() != 401 {
		t.Errorf("the stranger's password: %d", r.StatusCode())
	}
	if r := w.reset(w.mailed("ada@example.com", 3).Token, password); r.StatusCode() != 204 {
		t.Errorf("who reads the mail sets the password: %s", r.Body)
	}
	w.session("ada@example.com")
}

func TestAMailboxIsNotFilled(t *testing.T) {
	w := working(t)
	for range mailsPerHour + 2 {
		w.register("ada@example.com", password)
	}
	w.eventually("all jobs done", func() bool {
		return one[int](w, `select count(*) from auth.river_job where kind = 'registration-mail' and state = 'completed'`) == mailsPerHour+2
	})
	if n := len(w.post.to("ada@example.com")); n != mailsPerHour {
		t.Errorf("%d mails to one address within an hour, want %d", n, mailsPerHour)
	}
}

func TestOfSeveralConfirmationsOneWins(t *testing.T) {
	w := working(t)
	const registrations = 4
	passwords, tokens := map[string]string{}, []string{}
	for i := range registrations {
		p := strings.Repeat("password number ", 2) + string(rune('0'+i))
		w.register("ada@example.com", p)
		token := w.mailed("ada@example.com", i+1).Token
		passwords[token], tokens = p, append(tokens, token)
	}
	winners := make(chan string, 3*registrations)
	var all sync.WaitGroup
	for _, token := range slices.Repeat(tokens, 3) {
		all.Go(func() {
			switch status := w.verify(token); status {
			case 204:
				winners <- token
			case 400:
			default:
				t.Errorf("verifying: %d", status)
			}
		})
	}
	all.Wait()
	if len(winners) != 1 {
		t.Fatalf("%d confirmations won", len(winners))
	}
	if n := one[int](w, `select count(*) from auth.identities`); n != 1 {
		t.Errorf("%d identities", n)
	}
	for _, p := range passwords {
		if r := w.login("ada@example.com", p, "198.51.100.1"); r.StatusCode() != 401 {
			t.Errorf("a password of several: %d", r.StatusCode())
		}
	}
}

func TestATokenFromAMailIsGoodForADay(t *testing.T) {
	w := working(t)
	w.register("ada@example.com", password)
	token := w.mailed("ada@example.com", 1).Token
	w.exec(`update auth.registrations set expires_at = now()`)
	for says, token := range map[string]string{"a day later": token, "one that never was": strings.Repeat("A", 43)} {
		r, err := w.public.VerifyEmailWithResponse(t.Context(), authv1.VerifyEmail{Token: token})
		if err != nil || r.StatusCode() != 400 || r.ApplicationproblemJSONDefault.Code != "token-invalid" {
			t.Errorf("%s: %s", says, r.Body)
		}
	}
}

func TestInstancesThatStartAtOnceShareTheirKeys(t *testing.T) {
	w := newWorld(t)
	instances := []*instance{w.instance, w.another(), w.another(), w.another()}
	var all sync.WaitGroup
	for n, i := range instances {
		all.Go(func() { // each makes its signing key and every keyset, if it has to
			i.form(200, "grant_type", "client_credentials", "client_id", "console", "client_secret", clientSecret)
			i.register(string(rune('a'+n))+"@example.com", password)
			i.refresh(refreshTicket.format(refreshSays([16]byte{}, 0), make([]byte, 21)))
		})
	}
	all.Wait()
	if n := one[int](w, `select count(*) from auth.signing_keys`); n != 1 {
		t.Errorf("%d signing keys", n)
	}
	if names := one[string](w, `select string_agg(name, ' ' order by name) from auth.keysets`); names != "data derive index mac" {
		t.Errorf("the keysets are %s", names)
	}
	w.person("ada@example.com")
	tokens := w.session("ada@example.com")
	for _, i := range instances {
		next, status := i.refresh(*tokens.RefreshToken)
		if status != 200 {
			t.Fatalf("one instance's token in another: %d", status)
		}
		if r := putV2(instances[0], next.AccessToken, "x@example.com", password, false, "user"); r.status != 403 {
			t.Errorf("one instance's access token in another: %d", r.status)
		}
		tokens = next
	}
}

func TestWithTheDatabaseAway(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	tokens := w.session("ada@example.com")
	w.store.db.Close()
	w.signing.read = time.Time{} // a minute later
	if r, err := w.public.GetJwksWithResponse(t.Context()); err != nil || r.JSON200 == nil || len(r.JSON200.Keys) != 1 {
		t.Errorf("the public keys: %s", r.Body)
	}
	w.form(200, "grant_type", "client_credentials", "client_id", "console", "client_secret", clientSecret)

	// A client that is told invalid_grant forgets its session; so nobody is while it cannot be known.
	young := w.another()
	young.store.db.Close()
	if _, status := young.refresh(*tokens.RefreshToken); status < 500 {
		t.Errorf("refreshing while the keys are away: %d", status)
	}
	if r, err := young.public.RevokeTokenWithFormdataBodyWithResponse(t.Context(), authv1.RevokeRequest{Token: *tokens.RefreshToken}); err != nil || r.StatusCode() < 500 {
		t.Errorf("revoking while the keys are away: %d", r.StatusCode())
	}
}

var errSMTP = errors.New("mail: sending SMTP DATA command: 451 4.3.0 try again")
