package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	authv1 "example.com/groundwork/api/auth/v1"
)

// A process without jobs answers and leaves the work; what is given up is seen at the desk, and done by another process once somebody says so.
func TestJobsThatNobodyTriesAreSeenAndTriedAgain(t *testing.T) {
	t.Parallel()
	env := world(t)
	p := start(t, with(env, "WORK_JOBS", "false"))
	s := &teller{t: t, url: p.url}
	registered, err := s.as("").auth().RegisterWithResponse(t.Context(), authv1.Credentials{Email: "eve@example.com", Password: "a password that is long enough"})
	s.wants(202, registered, err)
	db, err := pgx.Connect(t.Context(), env["DATABASE_URL"])
	s.must(err)
	defer db.Close(context.Background())
	var id int64
	var attempt int
	var state string
	look := func() {
		t.Helper()
		s.must(db.QueryRow(t.Context(), `select id, attempt, state from auth.river_job where kind = 'registration-mail'`).Scan(&id, &attempt, &state))
	}
	desk := func(args ...string) (string, bool) {
		t.Helper()
		out, err := command(t, env, append([]string{"jobs"}, args...)...).CombinedOutput()
		return string(out), err == nil
	}
	if out, ok := desk(); !ok || strings.TrimSpace(out) != "" {
		t.Errorf("nothing has failed: %s", out)
	}
	_, err = db.Exec(t.Context(), `update auth.river_job set state = 'discarded', finalized_at = now() - interval '1 year', attempt = max_attempts,
		errors = array['{"at": "2026-01-02T03:04:05Z", "attempt": 25, "error": "no mail today", "trace": ""}']::jsonb[] where kind = 'registration-mail'`)
	s.must(err)
	look()
	if out, ok := desk(); !ok || !strings.Contains(out, "registration-mail") || !strings.Contains(out, "given-up") || !strings.Contains(out, "no mail today") || strings.Contains(out, "eve@") {
		t.Errorf("what was given up: %s", out)
	}
	for _, args := range [][]string{{"retry"}, {"retry", "auth", "x"}, {"retry", "nobody", "1"}, {"retry", "auth", fmt.Sprint(id + 1)}, {"drop", "auth", "all"}, {"burn", "auth", "1"}} {
		if out, ok := desk(args...); ok {
			t.Errorf("jobs %q: %s", args, out)
		}
	}
	// One that is refused beside it, and more than the desk reads at once.
	_, err = db.Exec(t.Context(), `insert into auth.river_job (state, kind, args, max_attempts, attempt, finalized_at, errors)
		select 'cancelled', 'notice-mail', '{}', 25, 1, now(), array['{"at": "2026-01-02T03:04:05Z", "attempt": 1, "error": "550 no such mailbox", "trace": ""}']::jsonb[] from generate_series(1, 1001)`)
	s.must(err)
	if out, ok := desk(); !ok || strings.Count(out, "550 no such mailbox") != 1001 || strings.Count(out, "refused") != 1001 {
		t.Errorf("what was refused: %.1000s", out)
	}
	if out, ok := desk("retry", "auth", "all"); !ok || strings.Count(out, "is tried again") != 1 || !strings.Contains(out, "is tried again") {
		t.Errorf("%s", out)
	}
	if look(); state != "available" {
		t.Errorf("it is %s", state)
	}
	p = start(t, env) // one that works jobs; the other one has left it alone
	s.url = p.url
	verified, err := s.as("").auth().VerifyEmailWithResponse(t.Context(), authv1.VerifyEmail{Token: s.mail("eve@example.com")})
	s.wants(204, verified, err)
}
