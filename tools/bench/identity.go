// only with auth, users, transactions: this file

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"example.com/groundwork/tools/backend"
)

func personEmail(client int) string { return fmt.Sprintf("person-%d@example.com", client) }

// people makes an account for each client: two logins of one account at a time would slow each other down.
func (w *world) people(ctx context.Context) error {
	var made any
	for client := range clients {
		in := map[string]any{"email": personEmail(client), "password": w.password, "roles": []string{"user"}}
		if err := backend.Call(ctx, w.api, http.MethodPut, "/v2/auth/identities", w.token, "", in, &made); err != nil {
			return err
		}
	}
	return nil
}

var refreshToken = regexp.MustCompile(`"refresh_token":"([^"]+)"`)

// identityRows are held against nothing: what they cost is the hash of a password on purpose, and a signature.
func (w *world) identityRows(each time.Duration) []row {
	logins := load{address: w.api, clients: clients, want: "200", request: func(client, _ int, buf []byte) []byte {
		return request(buf, "/v1/auth/login", "application/json", `{"email":"`+personEmail(client)+`","password":"`+w.password+`"}`)
	}}
	renewals := func() (result, error) {
		tokens := make([]string, clients)
		for client := range tokens {
			var session struct {
				RefreshToken string `json:"refresh_token"`
			}
			in := map[string]string{"email": personEmail(client), "password": w.password}
			if err := backend.Call(context.Background(), w.api, http.MethodPost, "/v1/auth/login", "", "", in, &session); err != nil {
				return result{}, err
			}
			tokens[client] = session.RefreshToken
		}
		return load{address: w.api, clients: clients, want: "200", request: func(client, _ int, buf []byte) []byte {
			return request(buf, "/v1/auth/token", "application/x-www-form-urlencoded", "grant_type=refresh_token&refresh_token="+url.QueryEscape(tokens[client]))
		}, body: func(client int, body []byte) {
			if next := refreshToken.FindSubmatch(body); next != nil {
				tokens[client] = string(next[1])
			}
		}}.run(each)
	}
	return []row{
		{name: "logins", own: true, measure: func() (result, error) { return logins.run(each) }},
		{name: "renewals of sessions", own: true, measure: renewals},
	}
}

func request(buf []byte, path, media, body string) []byte {
	buf = append(append(append(append(buf, "POST "...), path...), " HTTP/1.1\r\nHost: bench\r\nContent-Type: "...), media...)
	buf = append(strconv.AppendInt(append(buf, "\r\nContent-Length: "...), int64(len(body)), 10), "\r\n\r\n"...)
	return append(buf, body...)
}
