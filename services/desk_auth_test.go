package main

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// The people who help users need no SQL, and what they did is known.
func TestTheSupportDesk(t *testing.T) {
	t.Parallel()
	env := world(t)
	s := &teller{t: t, url: start(t, env).url}
	_ = s.join("ada@example.com")
	_ = s.login("ada@example.com", "the long password of ada@example.com")
	desk := func(args ...string) (string, error) {
		out, err := command(t, env, append([]string{"user"}, args...)...).CombinedOutput()
		return string(out), err
	}
	for _, c := range []struct{ what, address, want string }{
		{"show", "ada@example.com", "status                     active"},
		{"show", "nobody@example.com", "nobody@example.com has no account"},
		{"sessions", "ada@example.com", "pwd"},
		{"unlock", "ada@example.com", "ada@example.com: it is open again"},
		{"disable", "ada@example.com", "ada@example.com: nobody comes in by it any more"},
		{"show", "ada@example.com", "status                     disabled"},
		{"enable", "ADA@example.com", "ada@example.com: it is active again"},
		{"end-sessions", "ada@example.com", "ada@example.com: every session has ended"},
		{"end-keys", "ada@example.com", "ada@example.com: every key to it has ended"},
		{"remove-factor", "ada@example.com", "There is no second factor."},
		{"reset", "ada@example.com", "ada@example.com: its owner is asked"},
		{"resend", "new@example.com", "new@example.com: if a registration waits"},
		{"dance", "ada@example.com", "user resend, disable, enable, end-keys, end-sessions, remove-factor, reset, sessions, show, unlock, and then an address"},
	} {
		out, err := desk(c.what, c.address)
		if good := c.what != "dance" && c.what != "remove-factor" && c.address != "nobody@example.com"; !strings.Contains(out, c.want) || good != (err == nil) {
			t.Errorf("user %s %s: %v\n%s\nwant %s", c.what, c.address, err, out, c.want)
		}
	}
	if out, err := desk("show"); err == nil {
		t.Errorf("without an address: %s", out)
	}
	if out, err := command(t, env, "keys", "rotate").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	db, err := pgx.Connect(t.Context(), env["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(t.Context()))
	rows, _ := db.Query(t.Context(), `select distinct kind from auth.audit_events where actor = 'console' order by kind`)
	kinds, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if want := "identity.disabled identity.enabled identity.read identity.sought keys.ended keys.rotated password.reset-asked password.unlocked registration.resent sessions.ended sessions.read"; err != nil || strings.Join(kinds, " ") != want {
		t.Errorf("what the desk did is known as %v %q, want %q", err, strings.Join(kinds, " "), want)
	}
	_ = s.login("ada@example.com", "the long password of ada@example.com")
	if mailed := s.mail("ada@example.com"); mailed == "" {
		t.Error("the mail of the reset is not there")
	}
}
