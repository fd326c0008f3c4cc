package main

import (
	"fmt"
	"strings"
	"testing"

	authv1 "example.com/groundwork/api/auth/v1"
)

// TestContractsOfAuthFromOutside asks the program what auth's contracts promise, with tokens that it has made itself.
func TestContractsOfAuthFromOutside(t *testing.T) {
	t.Parallel()
	o := newOutsider(t)
	env := with(world(t), "LOG_LEVEL", "error", "AUTH_CLIENT_SECRET", "a secret of auth that is long enough")
	p := start(t, env)
	s := &teller{t: t, url: p.url}
	s.gather(env)
	s.join("carol@example.com")
	waiting, err := s.as("").auth().RegisterWithResponse(t.Context(), authv1.Credentials{Email: "dave@example.com", Password: "the long password of dave"})
	s.wants(202, waiting, err)
	o.files["tokens.txt"] = fmt.Sprintf("%q\n", s.mail("dave@example.com"))
	o.callers = []caller{
		s.caller("alice", "alice@example.com", "the long password of alice@example.com"),
		s.caller("bob", "bob@example.com", "the long password of bob@example.com"),
		s.caller("operator", env["OPERATOR_EMAIL"], env["OPERATOR_PASSWORD"]),
		{"module", []string{"internal"}, func() (string, error) {
			id, secret := "auth", env["AUTH_CLIENT_SECRET"]
			got, err := s.as("").auth().IssueTokenWithFormdataBodyWithResponse(t.Context(), nil,
				authv1.TokenRequest{GrantType: "client_credentials", ClientId: &id, ClientSecret: &secret})
			if err == nil && got.JSON200 == nil {
				err = fmt.Errorf("no token for a module: %s", got.Body)
			}
			if err != nil {
				return "", err
			}
			return got.JSON200.AccessToken, nil
		}},
	}
	o.asksAbout(t, "auth", p.url)
}

// caller is somebody whose every token is of a new session: the one before may have been ended on purpose.
func (s *teller) caller(name, email, password string) caller {
	s.t.Helper()
	var device *string // so that the wrong passwords which are tried in their name are not in their way
	login := func() (*authv1.LoginResponse, error) {
		got, err := s.as("").auth().LoginWithResponse(s.t.Context(), authv1.Login{Email: email, Password: password, DeviceToken: device})
		if err == nil && got.JSON200 == nil {
			err = fmt.Errorf("%s cannot log in: %s", email, got.Body)
		}
		return got, err
	}
	first, err := login()
	s.must(err)
	device = first.JSON200.DeviceToken
	return caller{name, strings.Fields(first.JSON200.Scope), func() (string, error) {
		got, err := login()
		if err != nil {
			return "", err
		}
		return got.JSON200.AccessToken, nil
	}}
}
