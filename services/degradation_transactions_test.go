// only with auth, users: this file
package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestWhenAPeerFails is the rows of docs/staying-up.md about a module elsewhere: transactions run apart, and users, whom they ask when an account is
// made for somebody, fail in each way that a gateway or a process can.
func TestWhenAPeerFails(t *testing.T) {
	if os.Getenv("NEED_FAILURES") == "" {
		t.Skip("waits for what fails: `make failures` runs it")
	}
	t.Parallel()
	env := with(world(t), "AUTH_CLIENT_SECRET", "a secret of auth that is long enough", "TRANSACTIONS_CLIENT_SECRET", "a secret of transactions that is long enough",
		"USERS_CLIENT_SECRET", "a secret of users that is long enough", "REQUEST_TIMEOUT", "3s", "ISSUER", "http://"+free(t))
	all := start(t, with(env, "HTTP_ADDR", strings.TrimPrefix(env["ISSUER"], "http://")))
	target, err := url.Parse(all.url)
	if err != nil {
		t.Fatal(err)
	}
	well := http.Handler(httputil.NewSingleHostReverseProxy(target))
	var how atomic.Pointer[http.Handler]
	set := func(h http.Handler) { how.Store(&h) }
	set(well)
	users := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*how.Load()).ServeHTTP(w, r) }))
	defer users.Close()
	p := start(t, with(env, "AUTH_URL", all.url, "USERS_URL", users.URL), "--modules=transactions")
	st := &teller{t: t, url: all.url}
	st.gather(env)
	s := newStage(t, st, env)
	operator, owner := s.tokens["an operator"](), s.tokens["the owner"]()
	somebody := s.claims(owner).Subject
	send := func(token, path string, body any) string {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodPost, p.url+path, strings.NewReader(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", uuid.NewString())
		status, d, _ := fetch(t, req)
		return strings.TrimSpace(http.StatusText(status) + " " + d.Code)
	}
	ask := func() string {
		return "account: " + send(operator, "/v1/accounts", map[string]any{"currency": "EUR", "owner_id": somebody}) +
			", payment: " + send(owner, "/v1/transactions", s.payment())
	}
	const fine, degraded = "account: Created, payment: Created", "account: Service Unavailable dependency-unavailable, payment: Created"
	if got := ask(); got != fine {
		t.Fatalf("before anything fails: %s", got)
	}
	answer := func(status int, media, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for _, c := range []struct {
		what string
		how  http.HandlerFunc
	}{
		{"it hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"it is slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"its gateway says that it is away", answer(http.StatusBadGateway, "text/html", "<h1>Bad Gateway</h1>")},
		{"it has a mistake", answer(http.StatusInternalServerError, "text/plain", "oops")},
		{"it answers with a page", answer(http.StatusOK, "text/html", "<!doctype html>")},
		{"it hangs up in the middle of an answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"id":`)
		}},
	} {
		set(c.how)
		began := time.Now()
		eventually(t, c.what+": "+degraded, func() bool { return ask() == degraded })
		after := time.Since(began)
		began = time.Now()
		if got := ask(); got != degraded {
			t.Errorf("%s: %s", c.what, got)
		}
		slowest := time.Since(began)
		if status, _, _ := fetch(t, get(p.admin+"/readyz")); status != http.StatusOK {
			t.Errorf("%s: not ready", c.what)
		}
		set(well)
		began = time.Now()
		eventually(t, c.what+", and is mended", func() bool { return ask() == fine })
		t.Logf("%s: answered like that after %s (then in %s), well again after %s", c.what, after.Round(time.Millisecond), slowest.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	}
}
