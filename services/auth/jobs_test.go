package auth

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/mail"
)

func TestTheMailSurvivesACrash(t *testing.T) {
	w := newWorld(t) // nobody works its jobs: it dies before it sends
	w.register("ada@example.com", password)
	if n := len(w.post.to("ada@example.com")); n != 0 {
		t.Fatalf("%d mails", n)
	}
	next := w.another()
	w.works(next)
	if status := next.verify(w.mailed("ada@example.com", 1).Token); status != 204 {
		t.Errorf("the token that another process mailed: %d", status)
	}
}

func TestAMailIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.post.fails = []error{errSMTP}
	w.works(w.instance)
	w.register("ada@example.com", password)
	w.mailed("ada@example.com", 1)
	if n := one[int](w, `select attempt from auth.river_job where kind = 'registration-mail'`); n != 2 {
		t.Errorf("%d tries", n)
	}
}

func TestAMailThatCannotBeSentIsNotTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.post.fails = []error{w.post.box.Send(t.Context(), mail.Message{To: "no address"})}
	w.works(w.instance)
	w.register("ada@example.com", password)
	w.eventually("the job ends", func() bool {
		return one[int](w, `select count(*) from auth.river_job where kind = 'registration-mail' and state = 'cancelled'`) == 1
	})
}

func TestNamesAreCutOutOfErrors(t *testing.T) {
	for in, want := range map[string]string{
		"550 5.1.1 <ada.king@example.org>: unknown":                        "550 5.1.1 … unknown",
		"550 ADA.KING@Example.ORG unknown, affected: ada.king@example.org": "550 … unknown, affected: …",
		"550 mailbox ada.king is full":                                     "550 mailbox … is full",
		"550 no such domain EXAMPLE.ORG.":                                  "550 no such domain …",
		"dial tcp 192.0.2.1:25: connection refused":                        "dial tcp 192.0.2.1:25: connection refused",
	} {
		if got := nameless(errors.New(in), "ada.king@example.org").Error(); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

var (
	codeBlock = regexp.MustCompile(`<p [^>]*><code [^>]*>([^<]*)</code></p>`)
	tag       = regexp.MustCompile(`<[^>]*>`)
	remote    = regexp.MustCompile(`(?i)https?:|//|src\s*=|href\s*=|url\(|@import|<link|<style`)
)

func TestEveryMailIsWrittenWhole(t *testing.T) {
	files, err := fs.Glob(mailFiles, "mails/*.txt")
	if err != nil || len(files) < 12 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		source, err := mailFiles.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		token, account := "", ""
		if strings.Contains(string(source), "{{.Token}}") {
			token = "the-token"
		}
		if strings.Contains(string(source), "{{.Account}}") {
			account = "old@example.com"
		}
		name := strings.TrimSuffix(path.Base(file), ".txt")
		m, err := write(name, "ada@example.com", says{token, account})
		if err != nil || m.Subject == "" || strings.Contains(m.Subject, "\n") || len(m.Text) < 80 || !strings.Contains(m.Text, token) || !strings.Contains(m.Text, account) {
			t.Errorf("%s: %+v %v", name, m, err)
		}
		_, body, _ := strings.Cut(m.HTML, "</h1>")
		if said := html.UnescapeString(tag.ReplaceAllString(body, "")); strings.Join(strings.Fields(said), " ") != strings.Join(strings.Fields(m.Text), " ") {
			t.Errorf("%s: the HTML says\n%s\nand the text\n%s", name, said, m.Text)
		}
		if p, want := strings.Count(body, "<p "), strings.Count(strings.TrimSpace(m.Text), "\n\n")+1; p != want {
			t.Errorf("%s: %d paragraphs of HTML, %d of text", name, p, want)
		}
		if shown := codeBlock.FindStringSubmatch(body); token != "" && (shown == nil || shown[1] != token) || token == "" && strings.Contains(body, "<code") {
			t.Errorf("%s: the token stands in a paragraph of its own in the text, and in a block of its own in the HTML: %q", name, shown)
		}
		if found := remote.FindString(m.HTML); found != "" {
			t.Errorf("%s: %q: a mail loads nothing and leads nowhere", name, found)
		}
		if strings.Count(m.HTML, `lang="en"`) != 2 || !strings.Contains(m.HTML, `name="color-scheme" content="light dark"`) {
			t.Errorf("%s: it names no language, or is made for bright screens only", name)
		}
	}
}

// named finds where the code names a mail.
var named = regexp.MustCompile(`noticeMailArgs\{[^{}]*"([a-z-]+)"\}|\.(?:send|notify)\(ctx, [^"\n]*"([a-z-]+)"|\bname(?:, about)? = "([a-z-]+)"`)

// A mail that is named has a template, or its job fails for ever; and a template without a name is sent by nobody.
func TestEveryMailThatIsNamedIsThere(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	names, there := map[string]bool{}, map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(source), -1) {
			names[cmp.Or(m[1], m[2], m[3])] = true
		}
	}
	templates, err := fs.Glob(mailFiles, "mails/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range templates {
		there[strings.TrimSuffix(path.Base(file), ".txt")] = true
	}
	if !maps.Equal(names, there) {
		t.Errorf("the code names %v\nthere are %v", slices.Sorted(maps.Keys(names)), slices.Sorted(maps.Keys(there)))
	}
}

func TestNoMarkupComesIntoAMailFromOutside(t *testing.T) {
	const evil = `"'></code></title><img src=x onerror=alert(1)>{{.Token}}&lt;`
	plain, err := dress("S", "An address\n\nK", "K")
	if err != nil {
		t.Fatal(err)
	}
	dressed, err := dress(evil, evil+"@example.com\n\n"+evil, evil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(dressed, "<"), strings.Count(plain, "<"); got != want {
		t.Errorf("%d tags, %d without a subject, an address and a token that are markup:\n%s", got, want, dressed)
	}
	if shown := codeBlock.FindStringSubmatch(dressed); shown == nil || html.UnescapeString(shown[1]) != evil {
		t.Errorf("the token is not what was sent: %q", shown)
	}
	label := regexp.MustCompile(`aria-label="([^"]*)" lang=`).FindStringSubmatch(dressed)
	if label == nil || html.UnescapeString(label[1]) != evil {
		t.Errorf("the subject gets out of its attribute: %q", label)
	}
	m, err := write("reset", evil+"@example.com", says{Token: evil})
	if err != nil || !strings.Contains(m.Text, evil) || strings.Contains(m.HTML, "<img") || m.To != evil+"@example.com" {
		t.Errorf("%+v %v", m, err)
	}
}

// hide does what a person and an operator do with what nobody else may see, and returns the secrets that came of it.
func (w *world) hide(address, typed, newAddress, newTyped string) (secrets []string) {
	w.t.Helper()
	ctx := w.t.Context()
	marked := func(_ context.Context, r *http.Request) error {
		r.Header.Set("User-Agent", "marker-agent")
		r.Header.Set("X-Forwarded-For", "203.0.113.77")
		return nil
	}
	must := func(resp interface{ StatusCode() int }, err error) {
		w.t.Helper()
		if err != nil || resp.StatusCode() >= 300 {
			w.t.Fatalf("%v %+v", err, resp)
		}
	}
	login, err := w.public.LoginWithResponse(ctx, authv1.Login{Email: address, Password: typed}, marked)
	must(login, err)
	as := w.as(login.JSON200.AccessToken)
	begun, err := as.BeginTotpWithResponse(ctx, marked)
	must(begun, err)
	confirmed, err := as.ConfirmTotpWithResponse(ctx, authv1.TotpCode{Code: appOf(begun.JSON201.Secret).code(w.t, 0)}, marked)
	must(confirmed, err)
	key, err := as.CreateApiKeyWithResponse(ctx, authv1.NewKey{Name: "x", Scopes: []string{scopesOf([]string{roleUser})[2]}}, marked)
	must(key, err)
	traded, _ := w.trade(key.JSON201.Key)
	change, err := as.ChangeEmailWithResponse(ctx, authv1.Address{Email: newAddress}, marked)
	must(change, err)
	moved := w.mailed(newAddress, 1).Token
	w.verify(moved)
	op := w.operating()
	found, err := op.ListIdentitiesWithResponse(ctx, &authv1.ListIdentitiesParams{Email: newAddress})
	must(found, err)
	seen, err := op.ListSessionsOfWithResponse(ctx, found.JSON200.Data[0].Id, nil)
	must(seen, err)
	events, err := op.ListAuditEventsWithResponse(ctx, nil)
	must(events, err)
	if !strings.Contains(string(seen.Body), "marker-agent") || !strings.Contains(string(events.Body), "203.0.113.77") {
		w.t.Errorf("an operator does not see from where: %s", events.Body)
	}
	reset := w.resetToken(newAddress)
	must(w.reset(reset, newTyped), nil)
	question, err := w.public.LoginWithResponse(ctx, authv1.Login{Email: newAddress, Password: newTyped}, marked)
	must(question, err)
	came := w.answer(question.JSON202.MfaToken, confirmed.JSON200.RecoveryCodes[0], "203.0.113.77")
	must(came, nil)
	w.register("third-"+address, newTyped)
	waits := w.mailed("third-"+address, 1).Token // nobody uses it, so that its row stays
	secrets = []string{
		"marker-agent", "203.0.113.77", begun.JSON201.Secret, key.JSON201.Key, traded.AccessToken, moved, reset, waits, question.JSON202.MfaToken, came.JSON200.AccessToken,
		*came.JSON200.RefreshToken, *came.JSON200.DeviceToken, *login.JSON200.DeviceToken,
	}
	for _, code := range confirmed.JSON200.RecoveryCodes {
		secrets = append(secrets, code, plainCode(code))
	}
	return secrets
}

// spellings are the ways to write a text down: as it is and in small letters, each in the clear, in hexadecimal, as a bytea is shown, and in base64.
func spellings(text string) (all []string) {
	for _, s := range []string{text, strings.ToLower(text)} {
		all = append(all, s, hex.EncodeToString([]byte(s)), base64.StdEncoding.EncodeToString([]byte(s)))
	}
	return all
}

func TestNothingThatIsKeptNamesAPerson(t *testing.T) {
	const address, typed = "marker-address@marker-domain.example", "marker-password-0123456789"
	spans, metrics := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(metrics)))
	w := newWorld(t)
	w.post.fails = []error{
		errors.New("mail: 451 greylisted <MARKER-address@marker-DOMAIN.example>, affected recipient(s): <" + address + ">"),
	}
	failures := len(w.post.fails)
	// only with users:
	w.users.ill = 1
	failures++
	// end users
	w.works(w.instance)
	w.register(address, typed)
	token := w.mailed(address, 1).Token
	w.verify(token)
	w.login(address, typed+"!", "192.0.2.1")
	tokens := w.login(address, typed, "192.0.2.1").JSON200
	next, _ := w.refresh(*tokens.RefreshToken)
	next, _ = w.refresh(*next.RefreshToken)
	w.refresh(*tokens.RefreshToken)
	w.mailed(address, 2)
	w.register(address, typed)
	w.mailed(address, 3)
	secrets := w.hide(address, typed, "other-marker-address@marker-domain.example", "other-marker-password-0123456789")
	w.eventually("no job left", func() bool { return one[int](w, `select count(*) from auth.river_job where finalized_at is null`) == 0 })
	if n := one[int](w, `select count(*) from auth.river_job where cardinality(errors) > 0`); n != failures {
		t.Fatalf("%d jobs failed once, want %d: nothing is shown", n, failures)
	}

	var measured metricdata.ResourceMetrics
	if err := metrics.Collect(t.Context(), &measured); err != nil {
		t.Fatal(err)
	}
	told, _ := json.Marshal(measured)
	kept := map[string]string{"the log": w.logs.String(), "Redis": w.redis.Dump(), "metrics": string(told), "spans": fmt.Sprintf("%+v", spans.GetSpans().Snapshots())}
	for _, table := range strings.Fields(one[string](w, `select string_agg(tablename, ' ') from pg_tables where schemaname = 'auth'`)) {
		kept[table] = one[string](w, `select coalesce(string_agg(r::text, e'\n'), '') from auth.`+table+` r`)
	}
	for where, s := range kept {
		s = strings.ToLower(s)
		for _, marker := range append(secrets, "marker-address", "marker-domain", "marker-password", token, tokens.AccessToken, *tokens.RefreshToken, *next.RefreshToken, clientSecret) {
			for _, written := range spellings(marker) {
				if strings.Contains(s, strings.ToLower(written)) {
					t.Errorf("%s holds %q", where, marker)
				}
			}
		}
	}
	if len(kept) < 20 || !strings.Contains(kept["spans"], "/v1/auth/login") || !strings.Contains(kept["metrics"], "auth.events") || !strings.Contains(kept["metrics"], "token.refused") || !strings.Contains(kept["river_job"], "greylisted") || !strings.Contains(kept["audit_events"], "session.refresh-reused") {
		t.Errorf("the search is in vain: %d places", len(kept))
	}
}

func TestSweeping(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	w.register("new@example.com", password)
	w.session("ada@example.com")
	w.exec(`insert into auth.registrations (id, email_ct, email_index, hash, token_digest, expires_at)
		select gen_random_uuid(), '', '', '', decode(md5(n::text), 'hex'), now() - interval '25 hours' from generate_series(1, 1500) n`)
	w.exec(`insert into auth.registrations (id, email_ct, email_index, hash, token_digest, expires_at) values ($1, '', '', '', 'x', now() - interval '23 hours')`, uuid.New())
	w.exec(`insert into auth.sessions (id, identity_id, expires_at, acr, amr)
		select gen_random_uuid(), i.id, now() - n * interval '20 hours', '1', '{}' from auth.identities i, generate_series(1, 2) n`)
	w.exec(`insert into auth.api_keys (id, owner_id, name, scopes, digest, expires_at, revoked_at)
		select gen_random_uuid(), i.id, k.name, '{}', '', now() + k.expires * interval '1 day', now() + k.revoked * interval '1 day' from auth.identities i,
		(values ('counts', 1, null), ('ended lately', -89, null), ('ended', -91, null), ('deleted lately', 1, -89), ('deleted', 1, -91), ('deleted, then ended', -1, -91)) k (name, expires, revoked)`)
	if done, err := w.store.sweep(t.Context()); done || err != nil {
		t.Errorf("the first step: %t %v", done, err)
	}
	if n := one[int](w, `select count(*) from auth.registrations`); n != 502 {
		t.Errorf("%d registrations after the first step", n)
	}
	if err := (&sweep{m: w.Module}).Work(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if n := one[int](w, `select count(*) from auth.registrations`); n != 2 {
		t.Errorf("%d registrations are left, want the open one and the one that ended today", n)
	}
	if n := one[int](w, `select count(*) from auth.sessions`); n != 2 {
		t.Errorf("%d sessions are left, want the open one and the one that ended today", n)
	}
	if left := one[string](w, `select string_agg(name, ', ' order by name) from auth.api_keys`); left != "counts, deleted lately, ended lately" {
		t.Errorf("the keys %s are left", left)
	}
}
