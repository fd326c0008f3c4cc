package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	// only with transactions:
	"github.com/google/uuid"
	// end transactions
	"github.com/jackc/pgx/v5"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/pkg/browsertest"
	"example.com/groundwork/pkg/gatewaytest"
)

// TestAWebFrontEndInABrowser tells the story of deploy/web in a real Chromium: from a listed origin everything works, from others nothing.
func TestAWebFrontEndInABrowser(t *testing.T) {
	t.Parallel()
	browsertest.Find(t)
	t.Run("together", func(t *testing.T) {
		t.Parallel()
		origin, env := listedOrigin(t)
		p := start(t, env)
		newFrontEnd(t, env, origin, p.url, p.url).story()
		noSecrets(t, p.logs.String())
	})
	t.Run("apart", func(t *testing.T) {
		t.Parallel()
		origin, env := listedOrigin(t)
		gatewaytest.Find(t)
		_, processes := apart(t, env)
		newFrontEnd(t, env, origin, gateway(t, processes), processes["auth"].url).story()
		for _, p := range processes {
			noSecrets(t, p.logs.String())
		}
	})
}

func listedOrigin(t *testing.T) (origin string, env map[string]string) {
	t.Helper()
	origin = local(free(t))
	return origin, with(world(t), "ALLOWED_ORIGINS", origin)
}

// local is an address of this machine by its name: to a browser 127.0.0.1 is another site.
func local(address string) string {
	return "http://" + strings.Replace(address, "127.0.0.1", "localhost", 1)
}

// gateway runs the real one before these processes.
func gateway(t *testing.T, processes map[string]*program) string {
	t.Helper()
	at, upstreams := free(t), map[string][]string{}
	for module, p := range processes {
		upstreams[module] = []string{strings.TrimPrefix(p.url, "http://")}
	}
	gatewaytest.Start(t, at, upstreams)
	return "http://" + at
}

// background runs a command until the test ends.
func background(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out := &logs{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("%s says:\n%s", filepath.Base(cmd.Path), out)
		}
	})
}

// frontEnd is a browser, a web front end on an origin of its own, and the API behind a wire that is listened to.
type frontEnd struct {
	t       *testing.T
	env     map[string]string
	origin  string // on the list
	api     string // as the page calls it
	site    string // the program that serves the page
	mails   *teller
	browser *browsertest.Browser
	page    *browsertest.Page
	db      *pgx.Conn

	mu    sync.Mutex
	heard []string // what the API was asked, and what it answered
	lose  string   // a request whose next answer gets lost
}

func newFrontEnd(t *testing.T, env map[string]string, origin, api, mailbox string) *frontEnd {
	t.Helper()
	f := &frontEnd{t: t, env: env, origin: origin, mails: &teller{t: t, url: mailbox}, browser: browsertest.Start(t), site: filepath.Join(t.TempDir(), "web")}
	target, err := url.Parse(api)
	f.mails.must(err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = f.listen
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	f.api = local(server.Listener.Addr().String())
	eventually(t, "the API answers", func() bool {
		resp, err := http.Get(f.api + "/livez")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == 200
	})
	if out, err := exec.Command("go", "build", "-o", f.site, "../deploy/web").CombinedOutput(); err != nil {
		t.Fatalf("build the front end: %v\n%s", err, out)
	}
	f.db, err = pgx.Connect(t.Context(), env["DATABASE_URL"])
	f.mails.must(err)
	t.Cleanup(func() { _ = f.db.Close(context.Background()) })
	f.page = f.open(origin)
	return f
}

// listen notes an answer on its way to the browser, or loses it.
func (f *frontEnd) listen(resp *http.Response) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := resp.Request
	line := r.Method + " " + shape(r.URL.Path)
	if f.lose == line {
		f.lose = ""
		return errors.New("lost")
	}
	f.heard = append(f.heard, fmt.Sprintf("%s %d cookie:%t", line, resp.StatusCode, r.Header.Get("Cookie") != ""))
	return nil
}

// asked returns what was heard since it was asked last.
func (f *frontEnd) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.heard = nil }()
	return f.heard
}

// open serves the page at an origin and opens it.
func (f *frontEnd) open(origin string) *browsertest.Page {
	f.t.Helper()
	background(f.t, exec.Command(f.site, "-listen", strings.TrimPrefix(origin, "http://"), "-api", f.api))
	eventually(f.t, "the page is served", func() bool {
		resp, err := http.Get(origin)
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	return f.browser.Open(origin)
}

// submit fills a form in, sends it as a person does, and returns what the page says in the end.
func (f *frontEnd) submit(form string, fields ...string) string {
	f.t.Helper()
	values := map[string]string{}
	for i := 0; i < len(fields); i += 2 {
		values[fields[i]] = fields[i+1]
	}
	filled, _ := json.Marshal(values)
	return f.page.Run(`(async () => {
		const form = document.getElementById('` + form + `');
		for (const [name, value] of Object.entries(` + string(filled) + `)) form.elements[name].value = value;
		form.requestSubmit();
		while (form.ariaBusy === 'true') await new Promise((done) => setTimeout(done, 20));
		return document.querySelector('[role=status]').textContent;
	})()`)
}

// says fails the test when the page says something else.
func (f *frontEnd) says(want, got string) {
	f.t.Helper()
	if got != want {
		f.t.Fatalf("the page says %q; want %q; the API heard %q", got, want, f.asked())
	}
}

// signedIn waits until the page knows, and tells.
func (f *frontEnd) signedIn() bool { return signedIn(f.page) }

func signedIn(page *browsertest.Page) bool {
	return page.Run(`(async () => {
		const [inside, outside] = ['in', 'out'].map((id) => document.getElementById(id));
		while (inside.hidden === outside.hidden) await new Promise((done) => setTimeout(done, 20));
		return inside.hidden ? 'out' : 'in';
	})()`) == "in"
}

// cookie is the only one that the browser keeps, with its value, nil for none.
func (f *frontEnd) cookie() *browsertest.Cookie {
	f.t.Helper()
	kept := f.browser.Cookies()
	if len(kept) == 0 {
		return nil
	}
	c := kept[0]
	days := time.Until(time.Unix(int64(c.Expires), 0)).Hours() / 24
	if len(kept) > 1 || c.Name != "__Secure-refresh_token" || !c.HTTPOnly || !c.Secure || c.SameSite != "Strict" || c.Path != "/v1/auth/token" ||
		c.Domain != "localhost" || days < 13.9 || days > 14.1 {
		f.t.Errorf("the browser keeps %+v", kept)
	}
	return &c
}

func (f *frontEnd) story() {
	f.signUp()
	f.staysSignedIn()
	if complaints := f.browser.Complaints(); complaints != "" { // what follows gives it reasons
		f.t.Errorf("the browser complains:\n%s", complaints)
	}
	// only with transactions:
	f.pays()
	// end transactions
	f.foreigners()
	f.logOut()
}

func (f *frontEnd) signUp() {
	if f.signedIn() {
		f.t.Error("a newcomer is signed in")
	}
	const email, password = "alice@example.com", "the long password of alice"
	f.says("A mail is on its way.", f.submit("sign-up", "email", email, "password", password))
	f.says("Confirmed. Now log in.", f.submit("confirm", "token", f.mails.mail(email)))
	f.says("The address or the password is wrong.", f.submit("log-in", "email", email, "password", "another long password"))
	f.says("Welcome.", f.submit("log-in", "email", email, "password", password))
	if !f.signedIn() || f.cookie() == nil {
		f.t.Fatal("who logged in is not signed in")
	}
}

func (f *frontEnd) staysSignedIn() {
	// No script sees the refresh token, on no page, and nothing is kept where one could.
	if seen := f.browser.Open(f.api + "/v1/auth/token").Run(`document.cookie`); seen != "" {
		f.t.Errorf("a script reads the cookie: %s", seen)
	}
	if kept := f.page.Run(`JSON.stringify([document.cookie, localStorage, sessionStorage])`); kept != `["",{},{}]` {
		f.t.Errorf("a script reads %s", kept)
	}
	first := f.cookie().Value
	// only with users:
	eventually(f.t, "a job has made the profile", func() bool {
		return f.page.Run(`call('GET', '/v1/users/me').then(() => 'there', () => 'not yet')`) == "there"
	})
	f.asked()
	f.says("alice@example.com alice@example.com alice@example.com", f.page.Run(`(async () => {
		access = 'expired';
		const answers = await Promise.all([1, 2, 3].map(() => call('GET', '/v1/users/me')));
		return answers.map((me) => me.email).join(' ');
	})()`))
	heard := f.asked()
	if refused, fresh := count(heard, "GET /v1/users/me 401 cookie:false"), count(heard, "POST /v1/auth/token 200 cookie:true"); refused != 3 || fresh != 1 {
		f.t.Errorf("three calls with an expired token: %q; want three refusals and one refresh", heard)
	}
	// end users
	f.asked()
	f.page.Run(`Promise.all([1, 2, 3].map(() => refresh()))`)
	if n := count(f.asked(), "POST /v1/auth/token 200 cookie:true"); n != 1 {
		f.t.Errorf("three refreshes at once are %d", n)
	}
	// The page is loaded again: the access token is gone, the cookie brings another one and is another one.
	second := f.cookie().Value
	f.page.Reload()
	if !f.signedIn() || first == second || f.cookie().Value == second {
		f.t.Error("a page that is loaded again is not signed in by a new token")
	}
	// Another tab shares the cookie, and takes it from nobody.
	if tab := f.browser.Open(f.origin); !signedIn(tab) {
		f.t.Error("another tab is not signed in")
	}
	f.page.Run(`refresh()`)
}

func count(list []string, wanted string) (n int) {
	for _, one := range list {
		if one == wanted {
			n++
		}
	}
	return n
}

// only with transactions:
func (f *frontEnd) pays() {
	for range 2 {
		if said := f.submit("open"); !strings.HasPrefix(said, "Opened ") {
			f.t.Fatalf("the page says %q", said)
		}
	}
	accounts := strings.Fields(f.page.Run(`(async () => (await call('GET', '/v1/accounts')).data.map((account) => account.id).join(' '))()`))
	from, to := accounts[0], accounts[1]
	f.topUp(from)
	f.asked()
	f.mu.Lock()
	f.lose = "POST /v1/transactions"
	f.mu.Unlock()
	f.says("Paid.", f.submit("pay", "from", from, "to", to, "amount", "25.00"))
	if n := count(f.asked(), "POST /v1/transactions 201 cookie:false"); n != 1 {
		f.t.Errorf("after an answer got lost the page asks %d times more", n)
	}
	f.says("There is not enough money in an account.", f.submit("pay", "from", from, "to", to, "amount", "75.01"))
	f.says("Read.", f.submit("read", "id", from))
	if got := f.page.Run(`[...document.querySelectorAll('#statement li')].map((line) => line.textContent).join('; ')`); got != "-€25.00, then €75.00; €100.00, then €100.00" {
		f.t.Errorf("the statement is %q", got)
	}
}

// topUp brings 100.00 in from outside, as an operator.
func (f *frontEnd) topUp(account string) {
	f.t.Helper()
	if out, err := command(f.t, f.env, "operator").CombinedOutput(); err != nil {
		f.t.Fatalf("operator: %v\n%s", err, out)
	}
	s := &teller{t: f.t, url: f.api}
	operator := s.login(f.env["OPERATOR_EMAIL"], f.env["OPERATOR_PASSWORD"])
	outside := s.open(operator, transactionsv1.NewAccount{Currency: "EUR", Kind: new(transactionsv1.AccountKindExternal)})
	s.wants(201, s.pay(operator, "top-up", outside, uuid.MustParse(account), 10_000), nil)
}

// end transactions

// foreigners opens the same page from origins that are not on the list, in the browser that keeps the cookie. Nothing is read, and nothing
// is done.
func (f *frontEnd) foreigners() {
	before := f.state()
	for says, c := range map[string]struct{ origin, refresh string }{
		// A neighbour of the same site is sent the cookie by the browser; it is the server that refuses.
		"a neighbour":    {local(free(f.t)), "POST /v1/auth/token 403 cookie:true"},
		"a foreign site": {"http://" + free(f.t), "POST /v1/auth/token 403 cookie:false"},
	} {
		f.asked()
		page := f.open(c.origin)
		for _, act := range []string{
			`refresh()`, `logIn('alice@example.com', 'the long password of alice')`, `signUp('eve@example.com', 'a long password of eve')`,
			`fetch(api + '/.well-known/jwks.json')`, `fetch(api + '/v1/users/me', { headers: { Authorization: 'Bearer x' } })`,
		} {
			if got := page.Run(act + `.then(() => 'done', (failed) => failed.name)`); got != "TypeError" {
				f.t.Errorf("%s: %s: %s", says, act, got)
			}
		}
		// This needs no leave: it is sent, blind, and must be refused.
		page.Run(`fetch(api + '/v1/auth/token', { method: 'POST', mode: 'no-cors', credentials: 'include', body: new URLSearchParams({ grant_type: 'refresh_token' }) }).then(() => '')`)
		heard := f.asked()
		if count(heard, c.refresh) < 2 || slices.ContainsFunc(heard, func(line string) bool {
			return strings.HasPrefix(line, "POST") && !strings.Contains(line, " 403 ")
		}) {
			f.t.Errorf("%s: the API hears %q; want %s", says, heard, c.refresh)
		}
	}
	if after := f.state(); after != before {
		f.t.Errorf("foreign pages changed %s to %s", before, after)
	}
}

// state is all that a foreign page could have changed.
func (f *frontEnd) state() (state string) {
	f.t.Helper()
	f.mails.must(f.db.QueryRow(f.t.Context(), `
		select json_build_array((select json_agg(json_build_array(id, counter, revoked_at) order by id) from auth.sessions),
		                        (select count(*) from auth.registrations), (select count(*) from auth.identities))::text`).Scan(&state))
	return state + " " + f.cookie().Value
}

func (f *frontEnd) logOut() {
	if f.page.Reload(); !f.signedIn() {
		f.t.Error("after the visits of others the page is not signed in")
	}
	f.says("Goodbye.", f.submit("log-out"))
	if c := f.cookie(); c != nil || f.signedIn() {
		f.t.Errorf("after the logout the browser keeps %v", c)
	}
	f.asked()
	if f.page.Reload(); f.signedIn() {
		f.t.Error("a page that is loaded again after the logout is signed in")
	}
	if heard := f.asked(); count(heard, "POST /v1/auth/token 400 cookie:false") != 1 {
		f.t.Errorf("after the logout the API hears %q", heard)
	}
}
