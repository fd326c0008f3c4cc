// only with auth: this file

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// token prints an access token: of the operator, or of somebody who has just asked for an account, confirmed the address and logged in.
func token(ctx context.Context, w world, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return errors.New("whose token? make token AS=operator, or AS=new-user")
	}
	s, err := running(w.getenv)
	if err != nil {
		return err
	}
	var access string
	switch args[0] {
	case "operator":
		access, err = s.login(ctx, s.getenv("OPERATOR_EMAIL"), s.getenv("OPERATOR_PASSWORD"))
	case "new-user":
		email, password := "new-user-"+strings.ToLower(rand.Text()[:8])+"@example.com", "correct horse battery staple"
		if access, err = s.join(ctx, email, password); err == nil {
			fmt.Fprintf(w.errors, "%s, with the password %q\n", email, password)
		}
	default:
		return fmt.Errorf("AS=%s: there are operator and new-user", args[0])
	}
	if err == nil {
		_, err = fmt.Fprintln(w.out, access)
	}
	return err
}

func (s site) login(ctx context.Context, email, password string) (string, error) {
	var session struct {
		Access string `json:"access_token"`
	}
	status, err := s.call(ctx, "POST", "/v1/auth/login", "", map[string]any{"email": email, "password": password}, &session)
	return session.Access, expect("login as "+email, status, http.StatusOK, err)
}

// join makes an account and waits until everything of it is there.
func (s site) join(ctx context.Context, email, password string) (string, error) {
	status, err := s.call(ctx, "POST", "/v1/auth/register", "", map[string]any{"email": email, "password": password}, nil)
	if err := expect("register", status, http.StatusAccepted, err); err != nil {
		return "", err
	}
	var secret string
	err = eventually(ctx, "a mail to "+email, func() (bool, error) {
		letters, err := s.mails(ctx, email)
		if err == nil && len(letters) > 0 {
			secret = letters[0].Token
		}
		return secret != "", err
	})
	if err != nil {
		return "", err
	}
	status, err = s.call(ctx, "POST", "/v1/auth/email/verify", "", map[string]any{"token": secret}, nil)
	if err := expect("verify", status, http.StatusNoContent, err); err != nil {
		return "", err
	}
	access, err := s.login(ctx, email, password)
	// only with users:
	if err == nil { // a job makes the profile
		err = eventually(ctx, "the profile of "+email, func() (bool, error) {
			status, err := s.call(ctx, "GET", "/v1/users/me", access, nil, nil)
			return status == http.StatusOK, err
		})
	}
	// end users
	return access, err
}

// call sends a request, as somebody when there is a token.
func (s site) call(ctx context.Context, method, path, token string, body map[string]any, into any) (status int, err error) {
	payload, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(payload))
	if err != nil {
		return 0, err
	}
	if body == nil {
		req.Body, req.ContentLength = http.NoBody, 0
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return s.send(req, into)
}

func expect(what string, status, want int, err error) error {
	if err == nil && status != want {
		err = fmt.Errorf("%s: the server answers %d, not %d", what, status, want)
	}
	return err
}

func eventually(ctx context.Context, what string, is func() (bool, error)) error {
	for range 200 {
		if done, err := is(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s did not come within 10 s; what the server says: make logs", what)
}
