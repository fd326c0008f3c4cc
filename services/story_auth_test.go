package main

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	authv1 "example.com/groundwork/api/auth/v1"
)

func (p *person) auth() *authv1.ClientWithResponses {
	c, err := authv1.NewClientWithResponses(p.url, authv1.WithHTTPClient(p.client))
	if err != nil {
		panic(err)
	}
	return c
}

// TestMainStory tells the same story to all modules in one process and to each in its own, and wants the same answers.
func TestMainStory(t *testing.T) {
	t.Parallel()
	var together, separate []string
	t.Run("together", func(t *testing.T) {
		t.Parallel()
		env := world(t)
		p := start(t, env)
		together = tell(t, env, p.url)
		t.Cleanup(func() { noSecrets(t, p.logs.String()) })
	})
	t.Run("apart", func(t *testing.T) {
		t.Parallel()
		env := world(t)
		gateway, modules := apart(t, env)
		separate = tell(t, env, gateway)
		t.Cleanup(func() {
			for _, p := range modules {
				noSecrets(t, p.logs.String())
			}
		})
	})
	t.Cleanup(func() {
		if !slices.Equal(together, separate) {
			t.Errorf("the modules behave differently together and apart:\ntogether:\n  %s\napart:\n  %s",
				strings.Join(together, "\n  "), strings.Join(separate, "\n  "))
		}
	})
}

func tell(t *testing.T, env map[string]string, address string) []string {
	s := &teller{t: t, url: address}
	c := s.gather(env)
	for _, chapter := range chapters {
		chapter.tell(s, c)
	}
	return s.answers
}

// gather registers the people of the story, and has the operator made.
func (s *teller) gather(env map[string]string) cast {
	s.t.Helper()
	c := cast{alice: s.join("alice@example.com"), bob: s.join("bob@example.com")}
	if out, err := command(s.t, env, "operator").CombinedOutput(); err != nil {
		s.t.Fatalf("operator: %v\n%s", err, out)
	}
	c.operator = s.login(env["OPERATOR_EMAIL"], env["OPERATOR_PASSWORD"])
	return c
}

// farewell is the chapter of auth: a session ends, and its tokens with it.
func (s *teller) farewell(c cast) {
	s.t.Helper()
	ctx := s.t.Context()
	fresh, err := c.alice.auth().IssueTokenWithFormdataBodyWithResponse(ctx, nil, authv1.TokenRequest{GrantType: "refresh_token", RefreshToken: &c.alice.refresh})
	s.wants(200, fresh, err)
	bye, err := c.alice.auth().LogoutWithResponse(ctx)
	s.wants(204, bye, err)
	refused, err := c.alice.auth().IssueTokenWithFormdataBodyWithResponse(ctx, nil, authv1.TokenRequest{GrantType: "refresh_token", RefreshToken: fresh.JSON200.RefreshToken})
	s.wants(400, refused, err)
}

// join registers somebody, reads the mail, confirms and logs in.
func (s *teller) join(email string) *person {
	s.t.Helper()
	ctx, nobody := s.t.Context(), s.as("")
	password := "the long password of " + email
	registered, err := nobody.auth().RegisterWithResponse(ctx, authv1.Credentials{Email: email, Password: password})
	s.wants(202, registered, err)
	early, err := nobody.auth().LoginWithResponse(ctx, authv1.Login{Email: email, Password: password})
	s.wants(401, early, err)
	verified, err := nobody.auth().VerifyEmailWithResponse(ctx, authv1.VerifyEmail{Token: s.mail(email)})
	s.wants(204, verified, err)
	return s.login(email, password)
}

func (s *teller) login(email, password string) *person {
	s.t.Helper()
	tokens, err := s.as("").auth().LoginWithResponse(s.t.Context(), authv1.Login{Email: strings.ToUpper(email), Password: password})
	s.wants(200, tokens, err)
	p := s.as(tokens.JSON200.AccessToken)
	p.refresh = *tokens.JSON200.RefreshToken
	return p
}

// mail waits for the newest mail to an address and returns its token.
func (s *teller) mail(to string) (token string) {
	s.t.Helper()
	eventually(s.t, "a mail comes", func() bool {
		resp, err := http.Get(cmp.Or(s.mailbox, s.url) + "/dev/mail.json?to=" + url.QueryEscape(to))
		s.must(err)
		defer resp.Body.Close()
		var mails []struct{ Token string }
		s.must(json.NewDecoder(resp.Body).Decode(&mails))
		if len(mails) > 0 {
			token = mails[0].Token
		}
		return token != ""
	})
	return token
}
