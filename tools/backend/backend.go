// only with auth, users, transactions: this file

// Package backend is what tools that start the program as a process have to do with it: find an address, wait until it answers, log in, call it.
package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

var taken atomic.Int64 // how many addresses were looked at: none is given twice

// FreeAddress is one on loopback that nobody listens at, below the ports that connections are given: nothing takes it while its owner is away.
func FreeAddress() (string, error) {
	for n := range 1000 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+(os.Getpid()+97*int(taken.Add(1))+n)%10_000))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", errors.New("there is no free port")
}

// Ready waits until a URL answers 200, for half a minute at the most.
func Ready(ctx context.Context, url string) error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(url) //nolint:noctx // ours
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(resp.Status)
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%s: %w", url, err)
		}
	}
}

// Login returns an access token of the program at an address. It lives five minutes.
func Login(ctx context.Context, address, email, password string) (token string, err error) {
	var out struct {
		AccessToken string `json:"access_token"`
	}
	err = Call(ctx, address, http.MethodPost, "/v1/auth/login", "", "", map[string]string{"email": email, "password": password}, &out)
	return out.AccessToken, err
}

// Call sends one request, with a token and an idempotency key unless they are "", and reads the answer into out. Any status of 300 or more is an
// error that tells the answer.
func Call(ctx context.Context, address, method, path, token, key string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s %s", method, path, resp.Status, text)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, out)
}
