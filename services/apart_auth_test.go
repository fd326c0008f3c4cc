package main

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/gatewaytest"
)

// fleet is every module in processes of its own behind the real gateway, as `make apart` has them.
type fleet struct {
	t       *testing.T
	url     string // the gateway
	modules map[string]string
	env     map[string]map[string]string
	running map[string]*program
}

// newFleet starts a process of each module, and two of transactions.
func newFleet(t *testing.T, env map[string]string) *fleet {
	t.Helper()
	gateway := free(t)
	f := &fleet{t: t, url: "http://" + gateway, modules: map[string]string{}, env: map[string]map[string]string{}, running: map[string]*program{}}
	env = with(env, "ISSUER", f.url, "TRUSTED_PROXIES", "127.0.0.1/32")
	upstreams := map[string][]string{}
	for _, m := range migrations.Modules() {
		names := []string{m}
		// only with transactions:
		if m == "transactions" {
			names = []string{m + " 1", m + " 2"}
		}
		// end transactions
		for _, name := range names {
			address := free(t)
			f.modules[name], f.env[name] = m, map[string]string{"HTTP_ADDR": address}
			upstreams[m] = append(upstreams[m], address)
		}
		env[strings.ToUpper(m)+"_URL"] = "http://" + upstreams[m][0]
		env[strings.ToUpper(m)+"_CLIENT_SECRET"] = "a secret of " + m + " that is long enough"
	}
	for name := range f.modules {
		f.env[name] = with(env, "HTTP_ADDR", f.env[name]["HTTP_ADDR"])
		f.start(name)
	}
	gatewaytest.Start(t, gateway, upstreams) // it sends nothing to who was away when it looked
	return f
}

func (f *fleet) start(name string) {
	f.t.Helper()
	f.running[name] = start(f.t, f.env[name], "--modules="+f.modules[name])
}

// kill ends a process as a machine does that loses its power.
func (f *fleet) kill(name string) {
	f.t.Helper()
	if err := f.running[name].cmd.Process.Kill(); err != nil {
		f.t.Fatal(err)
	}
	_ = f.running[name].cmd.Wait() // it was killed
}

// TestWhenAModuleIsAway is the table of docs/staying-up.md: what goes on and what is answered 503 while a process is away.
func TestWhenAModuleIsAway(t *testing.T) {
	if os.Getenv("NEED_APART") == "" {
		t.Skip("kills what it has started: `make away` runs it")
	}
	t.Parallel()
	env := world(t)
	f := newFleet(t, env)
	st := &teller{t: t, url: f.url, mailbox: f.running["auth"].url}
	c := st.gather(f.env["auth"])

	// only with users:
	profile := func(p *person) string {
		me, err := st.quiet(p).users().GetMeWithResponse(t.Context(), nil)
		st.must(err)
		return told(me.StatusCode(), me.HTTPResponse, me.GetBody())
	}
	eventually(t, "there are profiles", func() bool { return profile(c.alice) == "200" && profile(c.operator) == "200" })
	// end users
	ask := func() string {
		login, err := st.as("").auth().LoginWithResponse(t.Context(), authv1.Login{Email: "bob@example.com", Password: "the long password of bob@example.com"})
		st.must(err)
		answers := []string{"login " + told(login.StatusCode(), login.HTTPResponse, login.Body)}
		// only with users:
		answers = append(answers, "profile "+profile(c.alice))
		// end users
		// only with transactions:
		account := st.create(c.operator, transactionsv1.NewAccount{Currency: "EUR"})
		answers = append(answers, "account "+told(account.StatusCode(), account.HTTPResponse, account.Body))
		// only with users:
		account = st.create(c.operator, transactionsv1.NewAccount{Currency: "EUR", OwnerId: new(uuid.New())}) // transactions asks users whether there is such a person
		answers = append(answers, "owner "+told(account.StatusCode(), account.HTTPResponse, account.Body))
		// end users
		// end transactions
		alive, err := http.Get(f.url + "/livez")
		st.must(err)
		alive.Body.Close()
		return strings.Join(append(answers, fmt.Sprintf("gateway %d", alive.StatusCode)), ", ")
	}
	well := ask()
	if strings.Contains(well, " 5") {
		t.Fatalf("before anything is away: %s", well)
	}
	// only with transactions, users:
	for name, m := range f.modules { // each process gets a token to call others with, which lives for minutes
		if direct := *c.operator; m == "transactions" {
			direct.url = f.running[name].url
			st.wants(422, st.create(&direct, transactionsv1.NewAccount{Currency: "EUR", OwnerId: new(uuid.New())}), nil)
		}
	}
	// end transactions, users
	// only with transactions:
	p := newPayers(st, c.operator)
	p.again = true
	p.begin(4)
	// end transactions

	for _, row := range []struct {
		away []string
		want string
	}{
		{[]string{"auth"}, failing(well, "login")},
		// only with users:
		{[]string{"users"}, failing(well, "profile", "owner")},
		// end users
		// only with transactions:
		{[]string{"transactions 1"}, well},
		{[]string{"transactions 2"}, well},
		{[]string{"transactions 1", "transactions 2"}, failing(well, "account", "owner")},
		// end transactions
	} {
		for _, name := range row.away {
			f.kill(name)
		}
		eventually(t, fmt.Sprintf("%v is away, and answered is %s", row.away, row.want), func() bool { return ask() == row.want })
		// only with transactions:
		if before := p.made.Load(); row.want == well || !slices.Contains(row.away, "transactions 1") {
			eventually(t, fmt.Sprintf("payments go on without %v", row.away), func() bool { return p.made.Load() > before+20 })
		}
		// end transactions
		for range 5 {
			if got := ask(); got != row.want {
				t.Errorf("a moment later, while %v is away: %s, want %s", row.away, got, row.want)
			}
		}
		for _, name := range row.away {
			f.start(name)
		}
		eventually(t, fmt.Sprintf("%v is back, and all is well", row.away), func() bool { return ask() == well })
	}

	// only with users:
	// Who joins while users is away gets a profile when it is back: a job waits for it.
	f.kill("users")
	st.mailbox = f.running["auth"].url
	late := st.join("late@example.com")
	eventually(t, "there is no profile yet", func() bool { return profile(late) == "503 dependency-unavailable" })
	f.start("users")
	eventually(t, "the profile is made", func() bool { return profile(late) == "200" })
	// end users
	// only with transactions:
	answers := p.end()
	if booked := p.booked(st); booked != p.made.Load() || booked == 0 {
		t.Errorf("of %d payments that were answered as made, %d are booked", p.made.Load(), booked)
	}
	t.Attr("figure", fmt.Sprintf("every process was killed once, under %d payments, each booked once", p.made.Load()))
	t.Logf("%d payments, each booked once; all answers: %s", p.made.Load(), answers)
	// end transactions
}

// told is a status, and what is wrong when it is the server. Whoever is told 503 is told when to come back.
func told(status int, resp *http.Response, body []byte) string {
	if status < 500 {
		return fmt.Sprint(status)
	}
	if resp.Header.Get("Retry-After") == "" || resp.Header.Get("Content-Type") != "application/problem+json" {
		return fmt.Sprintf("%d without Retry-After, or no problem: %s", status, body)
	}
	_, code, _ := strings.Cut(string(body), `"code":"`)
	code, _, _ = strings.Cut(code, `"`)
	return fmt.Sprintf("%d %s", status, code)
}
