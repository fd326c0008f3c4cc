package httpserver_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/problem"
)

// leaving has operations that go and one that stays.
const leaving = `
openapi: 3.0.3
info: {title: shops, version: 1.0.0}
security: [{oauth2: ['shops:read']}]
paths:
  /v1/shops/{shop}/goods:
    get:
      deprecated: true
      x-deprecated-since: '2026-01-31'
      x-sunset: '2026-12-31'
      x-successor: /v2/shops/{shop}/things
      parameters:
        - {name: shop, in: path, required: true, schema: {type: string}}
        - {name: end, in: query, schema: {type: string}}
      responses: {default: {description: whatever}}
    put:
      parameters: [{name: shop, in: path, required: true, schema: {type: string}}]
      responses: {default: {description: whatever}}
  /v1/shops:
    get:
      deprecated: true
      x-deprecated-since: '2026-01-31'
      x-sunset: '2026-12-31'
      responses: {default: {description: whatever}}
components:
  securitySchemes:
    oauth2: {type: oauth2, flows: {clientCredentials: {tokenUrl: /v1/token, scopes: {'shops:read': read}}}}
`

const next = `</v1/shops/a%20b/goods?cursor=x>; rel="next"`

func shops(r chi.Router) {
	r.Get("/v1/shops/{shop}/goods", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("end") {
		case "":
			w.Header().Set("Link", next) // a link of its own, and no WriteHeader
			_, _ = w.Write([]byte("{}"))
		case "quietly":
			w.WriteHeader(http.StatusNoContent)
		case "problem":
			problem.Write(w, r, problem.Conflict.New("some-conflict", "Not now."))
		case "panic":
			panic(marker)
		}
	})
	ok := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	r.Put("/v1/shops/{shop}/goods", ok)
	r.Get("/v1/shops", ok)
}

func newShops(t *testing.T, limiter httpserver.Limiter) *world {
	t.Helper()
	w := &world{log: &book{}}
	router := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.NewJSONHandler(w.log, nil)), Timeout: 5 * time.Second})
	guard := httpserver.Guard{Limiter: limiter, Verifier: verifier{
		"reader":  {Subject: "reader", ClientID: "till", Scopes: []string{"shops:read"}},
		"visitor": {Subject: "visitor"},
	}}
	if err := guard.Mount(router, shops, []byte(leaving)); err != nil {
		t.Fatal(err)
	}
	w.Server = httptest.NewServer(router)
	t.Cleanup(w.Close)
	return w
}

func TestEveryAnswerOfADeprecatedOperationSaysWhenItGoes(t *testing.T) {
	t.Parallel()
	w, busy := newShops(t, nil), newShops(t, spent{})
	const successor = `</v2/shops/a%20b/things>; rel="successor-version"`
	for _, c := range []struct {
		says   string
		in     *world
		line   string
		header string
		status int
		links  []string
	}{
		{"a success", w, "GET /v1/shops/a%20b/goods", reader, 200, []string{next, successor}},
		{"a head", w, "HEAD /v1/shops/a%20b/goods", reader, 200, []string{next, successor}},
		{"a success without a body", w, "GET /v1/shops/a%20b/goods?end=quietly", reader, 204, []string{successor}},
		{"a refusal", w, "GET /v1/shops/a%20b/goods?end=problem", reader, 409, []string{successor}},
		{"a panic", w, "GET /v1/shops/a%20b/goods?end=panic", reader, 500, []string{successor}},
		{"a wrong parameter", w, "GET /v1/shops/a%20b/goods?offset=1", reader, 400, []string{successor}},
		{"no token", w, "GET /v1/shops/a%20b/goods", "X-Nobody: yes", 401, []string{successor}},
		{"a token for something else", w, "GET /v1/shops/a%20b/goods", "Authorization: Bearer visitor", 403, []string{successor}},
		{"too many requests", busy, "GET /v1/shops/a%20b/goods", "X-Nobody: yes", 429, []string{successor}},
		{"one without a successor", w, "GET /v1/shops", reader, 204, nil},
	} {
		resp, _ := c.in.send(t, c.line, "", c.header)
		h := resp.Header
		if resp.StatusCode != c.status || h.Get("Deprecation") != "@1769817600" || h.Get("Sunset") != "Thu, 31 Dec 2026 00:00:00 GMT" || !slices.Equal(h.Values("Link"), c.links) {
			t.Errorf("%s: %d, Deprecation %q, Sunset %q, Link %q", c.says, resp.StatusCode, h.Get("Deprecation"), h.Get("Sunset"), h.Values("Link"))
		}
	}
	for line, status := range map[string]int{"PUT /v1/shops/a/goods": 204, "DELETE /v1/shops/a/goods": 405, "GET /v1/nothing": 404} {
		if resp, _ := w.send(t, line, "", reader); resp.StatusCode != status || resp.Header.Get("Deprecation")+resp.Header.Get("Sunset")+resp.Header.Get("Link") != "" {
			t.Errorf("%s stays: %d %v", line, resp.StatusCode, resp.Header)
		}
	}
}

func TestTheLogSaysWhoStillCallsADeprecatedOperation(t *testing.T) {
	t.Parallel()
	w := newShops(t, nil)
	_, _ = w.send(t, "GET /v1/shops", "", reader, "X-Request-Id: the-old-one")
	if line := w.log.lines(t, "the-old-one")[0]; line["deprecated"] != true || line["client"] != "till" || line["route"] != "/v1/shops" {
		t.Errorf("the log says %v", line)
	}
	_, _ = w.send(t, "PUT /v1/shops/a/goods", "", reader, "X-Request-Id: one-that-stays")
	if line := w.log.lines(t, "one-that-stays")[0]; line["deprecated"] != nil || line["client"] != nil {
		t.Errorf("the log says %v", line)
	}
}

func TestADeprecatedOperationHasDates(t *testing.T) {
	t.Parallel()
	for _, date := range []string{"x-deprecated-since: '2026-01-31'", "x-sunset: '2026-12-31'"} {
		for _, instead := range []string{"x-other: ''", strings.Replace(date, "'2026", "'in 2026", 1)} {
			err := httpserver.Guard{}.Mount(chi.NewRouter(), func(chi.Router) {}, []byte(strings.ReplaceAll(leaving, date, instead)))
			name, _, _ := strings.Cut(date, ":")
			if err == nil || !strings.Contains(err.Error(), "a deprecated operation has "+name) {
				t.Errorf("%s for %s: %v", instead, date, err)
			}
		}
	}
}
