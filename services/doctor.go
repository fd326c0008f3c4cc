package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/groundwork/pkg/mail"
	"example.com/groundwork/pkg/postgres"
)

const (
	examTimeout = 5 * time.Second // of one thing that the doctor looks at
	oldestKnown = 150000          // of Postgres: what the tests run on
	clocksApart = time.Second
	soonExpired = 14 * 24 * time.Hour
)

// diagnosis is what the doctor says of one thing: nothing wrong, or what to do about it. What is only worth knowing fails nobody.
type diagnosis struct {
	about, wrong, remedy string
	grave                bool
}

// doctor looks at everything that the modules need, and says what to do about what is wrong. Settings were read before.
func doctor(ctx context.Context, c *config, modules []string, stdout io.Writer) error {
	a, err := newApp(ctx, c, slog.New(slog.DiscardHandler), modules)
	if err != nil {
		return err
	}
	defer a.close()
	tw := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	failed := 0
	for _, exam := range a.exams() {
		once, cancel := context.WithTimeout(ctx, examTimeout)
		for _, d := range exam(once) {
			state := "ok"
			switch {
			case d.wrong != "" && d.grave:
				state = "WRONG"
				failed++
			case d.wrong != "":
				state = "note"
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\n", state, d.about, d.wrong)
			if d.wrong != "" && d.remedy != "" {
				fmt.Fprintf(tw, "\t\t→ %s\n", d.remedy)
			}
		}
		cancel()
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d things are wrong", failed)
	}
	return nil
}

// exams are what the doctor looks at, in the order of what depends on what.
func (a *app) exams() (list []func(context.Context) []diagnosis) {
	for _, m := range a.here {
		list = append(list, func(ctx context.Context) []diagnosis { return a.examineDatabase(ctx, m) })
	}
	for _, check := range a.checks() {
		if strings.HasPrefix(check.Name, "postgres ") {
			continue // looked at more closely
		}
		remedy := "the program goes on without it, and counts failed logins in each process alone: is REDIS_URL right, does it run?"
		if peer, is := strings.CutPrefix(check.Name, "peer "); is {
			remedy = "is " + strings.ToUpper(peer) + "_URL right, does it run?"
		}
		list = append(list, func(ctx context.Context) []diagnosis {
			return []diagnosis{{about: check.Name, wrong: complaint(check.Ask(ctx)), remedy: remedy, grave: strings.HasPrefix(check.Name, "peer ")}}
		})
	}
	list = append(list, a.examineIssuer)
	// only with auth:
	list = append(list, a.examineMail)
	// end auth
	return list
}

func complaint(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

const besides = 2 // connections of a module: readiness has one, and so has what listens for jobs

func (a *app) examineDatabase(ctx context.Context, module string) (found []diagnosis) {
	setting := strings.ToUpper(module) + "_DATABASE_URL"
	say := func(about, wrong, remedy string, grave bool) {
		found = append(found, diagnosis{module + ": " + about, wrong, remedy, grave})
	}
	s, err := postgres.Examine(ctx, a.pools[module])
	if err != nil {
		say("Postgres", err.Error(), "is "+setting+" right, does the server run, has `groundwork migrate up` made the login?", true)
		return found
	}
	if s.Version < oldestKnown {
		say("Postgres", fmt.Sprintf("is of version %d", s.Version/10000), fmt.Sprintf("take %d or newer", oldestKnown/10000), true)
	} else {
		say("Postgres", "", "", false)
	}
	for _, check := range a.checks() {
		if check.Name == "postgres "+module {
			say("schema", complaint(check.Ask(ctx)), "", true)
		}
	}
	if s.Superuser || s.Owns > 0 {
		say("login", fmt.Sprintf("is a superuser: %v; owns %d tables", s.Superuser, s.Owns), "take the login that `groundwork migrate up` makes in "+setting+": an owner can change its own rights, and history", true)
	} else {
		say("login", "", "", false)
	}
	if !s.Durable {
		say("durability", "a crash may lose what was committed", "turn fsync, full_page_writes and synchronous_commit on", !a.config.local())
	}
	if apart := time.Since(s.Now).Abs(); apart > clocksApart {
		say("clock", fmt.Sprintf("is %s from this machine's", apart.Round(time.Millisecond)), "let NTP set both", true)
	}
	if most := (a.config.databaseMaxConns + besides) * len(a.here); most > s.MaxConnections {
		say("connections", fmt.Sprintf("this process may want %d, and the server has %d for all", most, s.MaxConnections), "lower DATABASE_MAX_CONNS", true)
	}
	if k := a.keys[module]; k != nil {
		say("keys", complaint(k.KeysFit(ctx)), "give the key-encryption key that these keysets were made with: docs/keys.md", true)
	}
	return found
}

// examineIssuer looks whether those who verify tokens find the keys, and how long the certificate lasts. Before the first start nobody does.
func (a *app) examineIssuer(ctx context.Context) []diagnosis {
	about, address := "issuer", a.config.issuer
	resp, err := metadata(ctx, address, "/.well-known/oauth-authorization-server")
	if err == nil && resp.StatusCode == http.StatusNotFound { // as those do that know OpenID Connect only
		_ = resp.Body.Close()
		resp, err = metadata(ctx, address, "/.well-known/openid-configuration")
	}
	var invalid *tls.CertificateVerificationError
	switch {
	case errors.As(err, &invalid):
		return []diagnosis{{about, err.Error(), "renew the certificate, or give this machine its authority", true}}
	case err != nil:
		return []diagnosis{{about, err.Error(), "right before the first start; otherwise: is ISSUER the public address?", a.outside}}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return []diagnosis{{about, fmt.Sprintf("%s answers %d", address, resp.StatusCode), "is ISSUER the public address?", a.outside}}
	}
	found := []diagnosis{{about: about}}
	if resp.TLS != nil {
		if left := time.Until(resp.TLS.PeerCertificates[0].NotAfter); left < soonExpired {
			found = append(found, diagnosis{"certificate", fmt.Sprintf("of %s ends in %s", address, left.Round(time.Hour)), "renew it", true})
		}
	}
	return found
}

func metadata(ctx context.Context, issuer, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, issuer+path, nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(req)
}

// only with auth:
func (a *app) examineMail(ctx context.Context) []diagnosis {
	if a.config.smtpURL.Empty() {
		return []diagnosis{{about: "mail", wrong: "goes to the mailbox at /dev/mail", remedy: "set SMTP_URL to send it"}}
	}
	relay, err := mail.SMTP(a.config.smtpURL.Reveal(), a.config.mailFrom)
	if err == nil {
		err = relay.(interface{ Greet(context.Context) error }).Greet(ctx)
	}
	return []diagnosis{{"mail", complaint(err), "is SMTP_URL right, is the server there, does it know the user?", true}}
}

// end auth
