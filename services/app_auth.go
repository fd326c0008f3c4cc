package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"

	authv1 "example.com/groundwork/api/auth/v1"
	authv2 "example.com/groundwork/api/auth/v2"
	"example.com/groundwork/pkg/mail"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/services/auth"
)

func (a *app) auth() (mounted, error) {
	kek, err := a.config.kek()
	if err != nil {
		return mounted{}, err
	}
	sender, err := a.sender()
	if err != nil {
		return mounted{}, err
	}
	clients := map[string]auth.Client{"console": {Secret: a.console, Scopes: []string{"identities:read", "identities:write", "audit:read", "internal"}}}
	for m, secret := range a.config.clientSecrets {
		clients[m] = auth.Client{Secret: secret, Scopes: []string{"internal"}}
	}
	config := auth.Config{Issuer: a.config.issuer, Clients: clients, PasswordMinLength: a.config.passwordMinLength, KeyLabel: "live"}
	if a.config.local() {
		config.KeyLabel = "local"
	}
	module, err := auth.New(config, a.pools["auth"], a.redis, kek, a.verifier,
		// only with users:
		a.usersClient("auth"),
		// end users
		sender, a.log)
	if err != nil {
		return mounted{}, err
	}
	return mounted{module.Routes, module.Jobs(), module}, nil
}

// only with users:

// authClient is how the named module calls auth; nil when somebody else's issuer is in its place.
func (a *app) authClient(caller string) authv1.ClientWithResponsesInterface {
	if a.outside {
		return nil
	}
	client, err := authv1.NewClientWithResponses("http://auth", authv1.WithHTTPClient(a.network.Client(caller, a.config.clientSecrets[caller])))
	if err != nil { // a constant address
		panic(err)
	}
	return client
}

// end users

// sender sends mails, or keeps them in a mailbox that exists in local runs only.
func (a *app) sender() (mail.Sender, error) {
	if !a.config.smtpURL.Empty() || !a.config.local() {
		sender, err := mail.SMTP(a.config.smtpURL.Reveal(), a.config.mailFrom)
		if err != nil {
			return nil, fmt.Errorf("SMTP_URL: %w", err)
		}
		return sender, nil
	}
	mailbox := mail.NewMailbox()
	mailbox.Routes(a.router)
	return mailbox, nil
}

// operator makes the first operator through auth's contract, as a client that exists in this process only.
func operator(ctx context.Context, c *config, args []string, log *slog.Logger, stdout io.Writer) error {
	replace := slices.Equal(args, []string{"--replace"})
	if len(args) > 0 && !replace {
		return errors.New("operator, or operator --replace")
	}
	if c.operatorEmail == "" || c.operatorPassword.Empty() {
		return errors.New("settings: operator needs OPERATOR_EMAIL and OPERATOR_PASSWORD")
	}
	_, client, end, err := console(ctx, c)
	if err != nil {
		return err
	}
	defer end()
	put := func(params authv2.PutIdentityParams) (*authv2.PutIdentityResponse, error) {
		return client.PutIdentityWithResponse(ctx, &params, authv2.NewIdentity{
			Email: c.operatorEmail, Password: c.operatorPassword.Reveal(), Roles: []authv2.NewIdentityRoles{"user", "operator"},
		})
	}
	resp, err := put(authv2.PutIdentityParams{})
	if err == nil && replace && resp.StatusCode() == http.StatusPreconditionRequired {
		resp, err = put(authv2.PutIdentityParams{IfMatch: new(authv2.PutIdentityParamsIfMatchAsterisk)})
	}
	if err != nil {
		return err
	}
	stands := cmp.Or(resp.JSON200, resp.JSON201)
	switch {
	case resp.StatusCode() == http.StatusPreconditionRequired:
		return fmt.Errorf("%s has an account already, with another password or without the role; operator --replace changes that", c.operatorEmail)
	case stands == nil:
		return problem.FromPeer(resp.HTTPResponse, resp.Body)
	}
	log.Info("operator", "id", stands.Id)
	_, err = fmt.Fprintf(stdout, "%s is an operator\n", c.operatorEmail)
	return err
}
