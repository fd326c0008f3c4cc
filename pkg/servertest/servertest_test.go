package servertest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/servertest"
)

const contract = `
openapi: 3.0.3
info: {title: lists, version: 1.0.0}
security: [{oauth2: []}]
paths:
  /v1/lists/{what}:
    get:
      security: [{oauth2: ['lists:read']}]
      parameters: [{name: what, in: path, required: true, schema: {type: string}}]
      responses:
        '200':
          description: A list.
          headers: {ETag: {required: true, schema: {type: string}}}
          content:
            application/json:
              schema: {type: object, additionalProperties: false, required: [data], properties: {data: {type: array, items: {type: string}}}}
        '204': {description: Nothing.}
        default:
          description: What went wrong.
          content:
            application/problem+json: {schema: {type: object, required: [code], properties: {code: {type: string}}}}
components:
  securitySchemes:
    oauth2: {type: oauth2, flows: {clientCredentials: {tokenUrl: /t, scopes: {'lists:read': read}}}}
`

// listener is a test that only notes its failures.
type listener struct {
	testing.TB
	heard []string
}

func (l *listener) Errorf(format string, args ...any) {
	l.heard = append(l.heard, fmt.Sprintf(format, args...))
}

func TestEveryAnswerIsHeldAgainstItsContract(t *testing.T) {
	t.Parallel()
	answers := map[string]struct {
		status      int
		contentType string
		etag, body  string
		wrong       string // what the test is told; "" for nothing
	}{
		"good":           {200, "application/json", `"1"`, `{"data":["a"]}`, ""},
		"empty":          {200, "application/json", `"1"`, `{"data":[]}`, ""},
		"null":           {200, "application/json", `"1"`, `{"data":null}`, "nullable"},
		"missing":        {200, "application/json", `"1"`, `{}`, `property "data" is missing`},
		"more":           {200, "application/json", `"1"`, `{"data":[],"more":1}`, `property "more" is unsupported`},
		"another-type":   {200, "application/json", `"1"`, `{"data":"a"}`, "must be an array"},
		"no-etag":        {200, "application/json", "", `{"data":[]}`, "ETag"},
		"no-json":        {200, "text/plain", `"1"`, `{"data":[]}`, "text/plain"},
		"no-body":        {200, "application/json", `"1"`, ``, "answers 200, and not as the contract says"},
		"nothing":        {204, "", "", "", ""},
		"a-problem":      {409, "application/problem+json", "", `{"code":"x"}`, ""},
		"an-odd-error":   {500, "text/plain", "", "oh", "text/plain"},
		"half-a-problem": {409, "application/problem+json", "", `{"title":"x"}`, `property "code" is missing`},
	}
	for what, a := range answers {
		test := &listener{TB: t}
		server := servertest.New(test, servertest.Module{Specs: [][]byte{[]byte(contract)}, Routes: func(r chi.Router) {
			r.Get("/v1/lists/{what}", func(w http.ResponseWriter, r *http.Request) {
				if a.contentType != "" {
					w.Header().Set("Content-Type", a.contentType)
				}
				if a.etag != "" {
					w.Header().Set("ETag", a.etag)
				}
				w.WriteHeader(a.status)
				_, _ = io.WriteString(w, a.body)
			})
		}})
		client := server.As(authn.Principal{UserID: uuid.New(), Scopes: []string{"lists:read"}})
		resp, err := client.Get(server.URL + "/v1/lists/" + what)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != a.status || string(body) != a.body {
			t.Errorf("%s: the test gets %d %s", what, resp.StatusCode, body)
		}
		if heard := strings.Join(test.heard, "\n"); (heard == "") != (a.wrong == "") || !strings.Contains(heard, a.wrong) {
			t.Errorf("%s: the test is told %q; want %q", what, heard, a.wrong)
		}
	}
}

func TestCallersAreWhoTheySay(t *testing.T) {
	t.Parallel()
	seen := make(chan authn.Principal, 1)
	server := servertest.New(t, servertest.Module{Specs: [][]byte{[]byte(contract)}, Routes: func(r chi.Router) {
		r.Get("/v1/lists/{what}", func(w http.ResponseWriter, r *http.Request) {
			seen <- authn.From(r.Context())
			w.WriteHeader(http.StatusNoContent)
		})
	}})
	id := uuid.New()
	for _, c := range []struct {
		client *http.Client
		status int
		kind   string
	}{
		{server.As(authn.Principal{UserID: id, Scopes: []string{"lists:read"}}), 204, "user"},
		{server.As(authn.Principal{Subject: "users", Scopes: []string{"lists:read", "internal"}}), 204, "module"},
		{server.As(authn.Principal{UserID: id, Scopes: []string{"others:read"}}), 403, ""},
		{server.Anonymous(), 401, ""},
	} {
		resp, err := c.client.Get(server.URL + "/v1/lists/x")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("it answers %d; want %d", resp.StatusCode, c.status)
		}
		if c.status == 204 {
			if p := <-seen; p.Kind() != c.kind || c.kind == "user" && (p.UserID != id || p.SessionID == uuid.Nil) {
				t.Errorf("the caller is %+v", p)
			}
		}
	}
}
