package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
)

func TestJudge(t *testing.T) {
	now := time.Date(2030, 1, 15, 12, 0, 0, 0, time.UTC)
	alive := session{Counter: 5, RotatedAt: now.Add(-time.Minute), ExpiresAt: now.Add(time.Hour), Active: true, Now: now}
	with := func(change func(*session)) session {
		s := alive
		change(&s)
		return s
	}
	rotated := func(ago time.Duration) session { return with(func(s *session) { s.RotatedAt = now.Add(-ago) }) }
	for _, c := range []struct {
		says      string
		s         session
		presented int64
		want      verdict
	}{
		{"the current one", alive, 5, rotate},
		{"the current one at the moment of the login", with(func(s *session) { s.Counter, s.RotatedAt = 0, now }), 0, rotate},
		{"the current one, a moment before it is idle too long", rotated(sessionIdle - 1), 5, rotate},
		{"the current one, idle too long", rotated(sessionIdle), 5, refuse},
		{"the current one, a moment before its end", with(func(s *session) { s.ExpiresAt = now.Add(1) }), 5, rotate},
		{"the current one, at its end", with(func(s *session) { s.ExpiresAt = now }), 5, refuse},
		{"the current one of an ended session", with(func(s *session) { s.RevokedAt = &now }), 5, refuse},
		{"the current one of somebody disabled", with(func(s *session) { s.Active = false }), 5, refuse},
		{"one behind, at once", rotated(0), 4, again},
		{"one behind, after 30 s", rotated(refreshGrace), 4, again},
		{"one behind, later", rotated(refreshGrace + 1), 4, end},
		{"two behind, at once", rotated(0), 3, end},
		{"the first one, much later", alive, 0, end},
		{"one ahead", alive, 6, end},
		{"one ahead, at once", rotated(0), 6, end},
		{"less than nothing", with(func(s *session) { s.Counter = 0 }), -1, end},
		{"an old one of an ended session", with(func(s *session) { s.RevokedAt = &now }), 0, refuse},
		{"one behind of an ended session, at once", with(func(s *session) { s.RevokedAt, s.RotatedAt = &now, now }), 4, refuse},
		{"an old one of somebody disabled", with(func(s *session) { s.Active = false }), 0, refuse},
		{"an old one, idle too long", rotated(sessionIdle), 0, refuse},
		{"one behind, at the end", with(func(s *session) { s.ExpiresAt, s.RotatedAt = now, now }), 4, refuse},
	} {
		if got := judge(c.s, c.presented); got != c.want {
			t.Errorf("%s: verdict %d, want %d", c.says, got, c.want)
		}
	}
}

func TestTicketsAreReadAsTheyAreWritten(t *testing.T) {
	id, mac := uuid.New(), make([]byte, 21)
	says := refreshSays(id, 1<<40)
	token := refreshTicket.format(says, mac)
	gotSays, gotMAC, err := refreshTicket.parse(token)
	if err != nil || string(gotSays) != string(says) || string(gotMAC) != string(mac) {
		t.Errorf("%x %x %v", gotSays, gotMAC, err)
	}
	if gotID, counter := refreshOf(gotSays); gotID != id || counter != 1<<40 {
		t.Errorf("%v %d", gotID, counter)
	}
	raw := func(b []byte) string { return refreshTicket.prefix + base64.RawURLEncoding.EncodeToString(b) }
	for says, bad := range map[string]string{
		"nothing": "", "the prefix": refreshTicket.prefix, "no prefix": token[3:], "another prefix": "at_" + token[3:], "another alphabet": refreshTicket.prefix + "+/+/",
		"no MAC": raw(refreshTicket.signed(says)), "another kind": raw(append([]byte{2}, make([]byte, 60)...)), "padding": token + "=", "something behind": token + "!",
	} {
		if _, _, err := refreshTicket.parse(bad); !errors.Is(err, errTicket) {
			t.Errorf("%s is read: %v", says, err)
		}
	}
	w := waiting{id, time.UnixMicro(1_800_000_000_123_456), time.Unix(1_800_000_300, 0)}
	if got := waitingOf(w.payload()); len(w.payload()) != waitingSize || got.identity != w.identity || !got.password.Equal(w.password) || !got.expires.Equal(w.expires) {
		t.Errorf("%+v is read as %+v", w, got)
	}
}

// Whatever happens between the check of a password and the session: it does not begin, and an old one is not proved.
func TestASessionDoesNotOvertakeWhatEndsIt(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	w.session("ada@example.com")
	there := one[uuid.UUID](w, `select id from auth.sessions`)
	for says, sql := range map[string]string{
		"too many wrong passwords": `update auth.passwords set blocked_at = now()`, "another password": `update auth.passwords set changed_at = clock_timestamp()`,
	} {
		c, err := w.store.credentialsOf(t.Context(), one[uuid.UUID](w, `select id from auth.identities`))
		if err != nil {
			t.Fatal(err)
		}
		w.exec(sql)
		if _, err := w.store.addSession(t.Context(), uuid.New(), c, acrPassword, []string{"pwd"}, nil); !errors.Is(err, errCredentials) {
			t.Errorf("%s: a session begins: %v", says, err)
		}
		if _, err := w.store.proved(t.Context(), there, c, acrPassword, []string{"pwd"}); !errors.Is(err, errCredentials) {
			t.Errorf("%s: a session is proved: %v", says, err)
		}
		w.exec(`update auth.passwords set blocked_at = null`)
	}
}

// Each row changes somebody's session behind its back and presents the current token, or the one before.
func TestRefreshMatrix(t *testing.T) {
	w := newWorld(t)
	for n, c := range []struct {
		says   string
		change string
		behind bool
		status int
		stolen bool
	}{
		{"the current one", `select $1::uuid`, false, 200, false},
		{"one behind in time", `select $1::uuid`, true, 200, false},
		{"one behind, after 29 s", `update auth.sessions set rotated_at = now() - interval '29 seconds' where identity_id = $1`, true, 200, false},
		{"one behind, after 31 s", `update auth.sessions set rotated_at = now() - interval '31 seconds' where identity_id = $1`, true, 400, true},
		{"two behind", `update auth.sessions set counter = counter + 1 where identity_id = $1`, true, 400, true},
		{"ahead, after a restore", `update auth.sessions set counter = 0 where identity_id = $1`, false, 400, true},
		{"of an ended session", `update auth.sessions set revoked_at = now() where identity_id = $1`, false, 400, false},
		{"idle for almost a fortnight", `update auth.sessions set rotated_at = now() - interval '335 hours' where identity_id = $1`, false, 200, false},
		{"idle for a fortnight", `update auth.sessions set rotated_at = now() - interval '336 hours' where identity_id = $1`, false, 400, false},
		{"too old", `update auth.sessions set expires_at = now() where identity_id = $1`, false, 400, false},
		{"of somebody disabled", `update auth.identities set status = 'disabled' where id = $1`, false, 400, false},
		{"one behind of somebody disabled", `update auth.identities set status = 'disabled' where id = $1`, true, 400, false},
		{"of a session that is gone", `delete from auth.sessions where identity_id = $1`, false, 400, false},
	} {
		for in, refresh := range map[string]func(string) int{
			"form":   func(token string) int { _, status := w.refresh(token); return status },
			"cookie": func(token string) int { return w.renew(token).StatusCode() },
		} {
			email := fmt.Sprintf("p%d-%s@example.com", n, in)
			id := w.person(email).Id
			first := w.session(email)
			second, _ := w.refresh(*first.RefreshToken)
			w.exec(c.change, id)
			token := *second.RefreshToken
			if c.behind {
				token = *first.RefreshToken
			}
			if status := refresh(token); status != c.status {
				t.Errorf("%s, in a %s: %d, want %d", c.says, in, status, c.status)
			}
			if stolen := strings.Contains(w.audited(id.String()), "session.refresh-reused"); stolen != c.stolen {
				t.Errorf("%s, in a %s: the session ended as stolen is %t", c.says, in, stolen)
			}
			if status := refresh(*second.RefreshToken); status != c.status {
				t.Errorf("%s, in a %s: afterwards the current token gets %d", c.says, in, status)
			}
		}
	}
}

func TestForgedRefreshTokensAreRefused(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	token := *w.session("ada@example.com").RefreshToken
	raw, err := base64.RawURLEncoding.DecodeString(token[len(refreshTicket.prefix):])
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) != 1+refreshTicket.size+21 {
		t.Fatalf("a refresh token has %d bytes", len(raw))
	}
	for i := range raw {
		raw[i] ^= 1
		if _, err := w.open(t.Context(), refreshTicket, refreshTicket.prefix+base64.RawURLEncoding.EncodeToString(raw)); !errors.Is(err, errTicket) {
			t.Errorf("with byte %d changed: %v", i, err)
		}
		raw[i] ^= 1
	}
	mac, err := w.keys.MAC(t.Context(), []byte("something else"))
	if err != nil {
		t.Fatal(err)
	}
	if _, status := w.refresh(refreshTicket.format(refreshSays(uuid.New(), 0), mac)); status != 400 {
		t.Errorf("with a MAC over something else: %d", status)
	}
	if _, status := w.refresh(token); status != 200 {
		t.Errorf("the true one, after all that: %d", status)
	}
}

func TestFiftyTabsRefreshAtOnce(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	first := w.session("ada@example.com")
	other := w.another()
	tokens := make(chan string, 50)
	var all sync.WaitGroup
	for n := range 50 {
		all.Go(func() {
			i := w.instance
			if n%2 == 1 {
				i = other
			}
			if got, status := i.refresh(*first.RefreshToken); status != 200 {
				t.Errorf("a tab gets %d", status)
			} else {
				tokens <- *got.RefreshToken
			}
		})
	}
	all.Wait()
	close(tokens)
	next := <-tokens
	for token := range tokens {
		if token != next {
			t.Error("two tabs got different tokens")
		}
	}
	if counter := one[int](w, `select counter::int from auth.sessions`); counter != 1 {
		t.Errorf("%d rotations, want 1", counter)
	}
	if _, status := w.refresh(next); status != 200 {
		t.Errorf("the session is not alive: %d", status)
	}
}

func TestAStolenTokenEndsTheSessionAndTellsTheOwner(t *testing.T) {
	w := working(t)
	id := w.person("ada@example.com").Id.String()
	stolen := w.session("ada@example.com")
	other := w.session("ada@example.com")
	mine, _ := w.refresh(*stolen.RefreshToken)
	mine, _ = w.refresh(*mine.RefreshToken)
	var all sync.WaitGroup
	for range 5 { // also at once: one event, one mail
		all.Go(func() {
			if _, status := w.refresh(*stolen.RefreshToken); status != 400 {
				t.Errorf("the stolen token: %d", status)
			}
		})
	}
	all.Wait()
	if _, status := w.refresh(*mine.RefreshToken); status != 400 {
		t.Errorf("the session goes on: %d", status)
	}
	if _, status := w.refresh(*other.RefreshToken); status != 200 {
		t.Errorf("another session of the owner: %d", status)
	}
	if got := w.audited(id); got != "identity.made session.begun session.begun session.refresh-reused" {
		t.Errorf("audited: %s", got)
	}
	if m := w.mailed("ada@example.com", 1); m.Subject != "We ended one of your sessions" || m.Token != "" || strings.Contains(m.Text, "http") {
		t.Errorf("the mail is %+v", m)
	}
	w.eventually("no job left", func() bool { return one[int](w, `select count(*) from auth.river_job where finalized_at is null`) == 0 })
	if n := len(w.post.to("ada@example.com")); n != 1 {
		t.Errorf("%d mails", n)
	}
}

// Whoever can write to the table cannot have Ada's mail sent to Bob.
func TestSwappedCiphertextsDoNotOpen(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada@example.com"), w.person("bob@example.com")
	w.exec(`update auth.identities i set email_ct = o.email_ct from auth.identities o where i.id <> o.id`)
	for _, id := range []uuid.UUID{ada.Id, bob.Id} {
		if err := (&noticeMail{m: w.Module}).Work(t.Context(), &river.Job[noticeMailArgs]{Args: noticeMailArgs{id, "reuse"}}); err == nil {
			t.Error("a mail goes to another's address")
		}
		// only with users:
		if err := (&provision{m: w.Module}).Work(t.Context(), &river.Job[provisionArgs]{Args: provisionArgs{id}}); err == nil {
			t.Error("users is told another's address")
		}
		// end users
	}
	w.exec(`update auth.identities i set email_ct = o.email_ct from auth.identities o where i.id <> o.id`)
	if err := (&noticeMail{m: w.Module}).Work(t.Context(), &river.Job[noticeMailArgs]{Args: noticeMailArgs{bob.Id, "reuse"}}); err != nil || len(w.post.to("bob@example.com")) != 1 {
		t.Errorf("in its own row it opens: %v", err)
	}
}

// waits opens a transaction that changes something, lets a request come to the point where it waits for it, commits, and returns the
// request's answer.
func (w *world) waits(change string, request func() int) int {
	w.t.Helper()
	tx, err := w.db.Owner().Begin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := tx.Exec(w.t.Context(), change); err != nil {
		w.t.Fatal(err)
	}
	answered := make(chan int)
	go func() { answered <- request() }()
	w.eventually("the request waits", func() (waits bool) {
		err := tx.QueryRow(w.t.Context(), `select exists (select from pg_locks where not granted and transactionid = pg_current_xact_id()::xid)`).Scan(&waits)
		if err != nil {
			w.t.Error(err)
		}
		return waits
	})
	if err := tx.Commit(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	return <-answered
}

func TestALoginThatRacesAChangeOfThePassword(t *testing.T) {
	for says, change := range map[string]string{
		"the password is changed": `update auth.passwords set changed_at = clock_timestamp()`,
		"the account is disabled": `update auth.identities set status = 'disabled'`,
	} {
		t.Run(says, func(t *testing.T) {
			w := newWorld(t)
			w.person("ada@example.com")
			if status := w.waits(change, func() int { return w.login("ada@example.com", password, "192.0.2.1").StatusCode() }); status != 401 {
				t.Errorf("the login that was checked with the old state: %d", status)
			}
			if n := one[int](w, `select count(*) from auth.sessions`); n != 0 {
				t.Errorf("%d sessions outlive the change", n)
			}
		})
	}
}

func TestARefreshThatRacesTheEndOfItsSession(t *testing.T) {
	w := newWorld(t)
	w.person("ada@example.com")
	for says, change := range map[string]string{
		"the owner logs out":        `revoked_at = now()`,
		"it comes to its end":       `expires_at = now()`,
		"it has been idle too long": `rotated_at = now() - interval '14 days'`,
	} {
		token := *w.session("ada@example.com").RefreshToken
		status := w.waits(`update auth.sessions set `+change, func() int { _, status := w.refresh(token); return status })
		if n := one[int](w, `select max(counter)::int from auth.sessions`); status != 400 || n != 0 {
			t.Errorf("%s while the session is refreshed: %d, %d rotations", says, status, n)
		}
	}
}
