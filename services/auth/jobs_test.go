package auth

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

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

func TestEveryMailIsWrittenWhole(t *testing.T) {
	for name, token := range map[string]string{"confirm": "the-token", "known": "", "reuse": ""} {
		m, err := write(name, "ada@example.com", token)
		if err != nil || m.Subject == "" || strings.Contains(m.Subject, "\n") || len(m.Text) < 80 || !strings.Contains(m.Text, token) || strings.Contains(m.Text, "<no value>") {
			t.Errorf("%s: %+v %v", name, m, err)
		}
	}
}

func TestNothingThatIsKeptNamesAPerson(t *testing.T) {
	const address, typed = "marker-address@marker-domain.example", "marker-password-0123456789"
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
	w.person(address)
	w.eventually("no job left", func() bool { return one[int](w, `select count(*) from auth.river_job where finalized_at is null`) == 0 })
	if n := one[int](w, `select count(*) from auth.river_job where cardinality(errors) > 0`); n != failures {
		t.Fatalf("%d jobs failed once, want %d: nothing is shown", n, failures)
	}

	kept := map[string]string{"the log": w.logs.String(), "Redis": w.redis.Dump()}
	for _, table := range strings.Fields(one[string](w, `select string_agg(tablename, ' ') from pg_tables where schemaname = 'auth'`)) {
		kept[table] = one[string](w, `select coalesce(string_agg(r::text, e'\n'), '') from auth.`+table+` r`)
	}
	for where, s := range kept {
		s = strings.ToLower(s)
		for _, marker := range []string{"marker-address", "marker-domain", "marker-password", token, tokens.AccessToken, *tokens.RefreshToken, *next.RefreshToken, secret} {
			marker = strings.ToLower(marker)
			for _, written := range []string{marker, hex.EncodeToString([]byte(marker)), base64.StdEncoding.EncodeToString([]byte(marker))} {
				if strings.Contains(s, strings.ToLower(written)) {
					t.Errorf("%s holds %q", where, marker)
				}
			}
		}
	}
	if len(kept) < 12 || !strings.Contains(kept["river_job"], "greylisted") || !strings.Contains(kept["audit_events"], "session.refresh-reused") {
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
}
