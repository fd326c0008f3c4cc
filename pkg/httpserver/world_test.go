package httpserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/peer"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// contract is a small one with everything that the real ones use.
const contract = `
openapi: 3.0.3
info: {title: things, version: 1.0.0}
security: [{oauth2: []}]
paths:
  /v1/things:
    get:
      security: [{oauth2: ['things:read']}]
      parameters:
        - {name: limit, in: query, schema: {type: integer, minimum: 1, maximum: 100}}
        - {name: since, in: query, schema: {type: string, format: date-time}}
      responses: {default: {description: whatever}}
    post:
      security: [{oauth2: ['things:write']}]
      parameters:
        - {name: Idempotency-Key, in: header, required: true, schema: {type: string, minLength: 1, maxLength: 255, pattern: '^[ -~]+$'}}
      requestBody: {required: true, content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}}}
      responses: {default: {description: whatever}}
  /v1/things/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string, format: uuid}}]
    get:
      security: [{oauth2: ['things:read']}]
      responses: {default: {description: whatever}}
    patch:
      security: [{oauth2: ['things:write']}]
      parameters: [{name: If-Match, in: header, required: true, schema: {type: string}}]
      requestBody: {required: true, content: {application/merge-patch+json: {schema: {$ref: '#/components/schemas/Thing'}}}}
      responses: {default: {description: whatever}}
  /v1/things/mine:
    get:
      security: [{oauth2: ['things:read']}]
      responses: {default: {description: whatever}}
  /v1/fails/{how}:
    get:
      security: []
      parameters: [{name: how, in: path, required: true, schema: {type: string}}]
      responses: {default: {description: whatever}}
  /v1/pages/{size}:
    get:
      security: []
      parameters: [{name: size, in: path, required: true, schema: {type: integer}}]
      responses: {default: {description: whatever}}
  /v1/token:
    post:
      security: []
      x-errors: oauth
      requestBody:
        required: true
        content:
          application/x-www-form-urlencoded:
            schema: {type: object, required: [grant_type], properties: {grant_type: {type: string, maxLength: 20}}}
      responses: {default: {description: whatever}}
components:
  securitySchemes:
    oauth2: {type: oauth2, flows: {clientCredentials: {tokenUrl: /v1/token, scopes: {'things:read': read, 'things:write': write}}}}
  schemas:
    Thing:
      type: object
      additionalProperties: false
      required: [name]
      properties:
        name: {type: string, minLength: 1, maxLength: 20}
        kind: {type: string, enum: [red, blue]}
        code: {type: string, pattern: '^[A-Z]{3}$'}
        email: {type: string, format: email}
        id: {type: string, format: uuid}
        count: {type: integer, minimum: 1, maximum: 9007199254740991}
        a/b~c: {type: boolean}
        parts: {type: array, maxItems: 2, uniqueItems: true, items: {type: object, additionalProperties: false, required: [size], properties: {size: {type: integer}}}}
`

// marker stands in everything that must not get out: causes, panics, offending values.
const marker = "xqmarkerqx"

// book is a log to read in.
type book struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// lines returns the request's own lines, waiting for the first: the log is written after the answer.
func (b *book) lines(t *testing.T, requestID string) (list []map[string]any) {
	t.Helper()
	for range 200 {
		b.mu.Lock()
		text := b.b.String()
		b.mu.Unlock()
		for line := range strings.Lines(text) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			if m["request_id"] == requestID {
				list = append(list, m)
			}
		}
		if list != nil {
			return list
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the log says nothing of %s", requestID)
	return nil
}

// verifier knows its callers by heart.
type verifier map[string]authn.Principal

func (v verifier) Verify(_ context.Context, token string) (authn.Principal, error) {
	if token == "no-keys" {
		return authn.Principal{}, problem.Unavailable.New("dependency-unavailable", "The keys that verify tokens cannot be had.").Because(errors.New(marker))
	}
	p, ok := v[token]
	if !ok {
		return p, problem.Unauthenticated.New("unauthenticated", "The access token is not valid.").Because(errors.New(marker))
	}
	return p, nil
}

// sqlError looks like *pgconn.PgError.
type sqlError string

func (e sqlError) Error() string    { return "ERROR: select " + marker + " (SQLSTATE " + string(e) + ")" }
func (e sqlError) SQLState() string { return string(e) }

// world is a served contract.
type world struct {
	*httptest.Server
	log     *book
	gone    chan error         // what the context of a handler said whose client left
	reached chan *request.Info // a handler was reached
}

func newWorld(t *testing.T, change ...func(*httpserver.Options, *httpserver.Guard)) *world {
	t.Helper()
	w := &world{log: &book{}, gone: make(chan error, 1), reached: make(chan *request.Info, 100)}
	options := httpserver.Options{Log: slog.New(slog.NewJSONHandler(w.log, nil)), Timeout: 5 * time.Second}
	guard := httpserver.Guard{Verifier: verifier{
		"reader": {Subject: "reader", Scopes: []string{"things:read"}},
		"writer": {Subject: "writer", Scopes: []string{"things:read", "things:write"}},
	}}
	for _, f := range change {
		f(&options, &guard)
	}
	router := httpserver.NewRouter(options)
	if err := guard.Mount(router, w.routes, []byte(contract)); err != nil {
		t.Fatal(err)
	}
	w.Server = httptest.NewServer(router)
	t.Cleanup(w.Close)
	return w
}

func (w *world) routes(r chi.Router) {
	ok := func(rw http.ResponseWriter, r *http.Request) {
		w.reached <- request.From(r.Context())
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, "{}")
	}
	r.Get("/v1/things", ok)
	r.Post("/v1/things", ok)
	r.Get("/v1/things/mine", ok)
	r.Get("/v1/things/{id}", ok)
	r.Patch("/v1/things/{id}", ok)
	r.Post("/v1/token", ok)
	r.Get("/v1/fails/{how}", w.fail)
	r.Get("/v1/pages/{size}", func(rw http.ResponseWriter, r *http.Request) {
		var size int
		_, _ = fmt.Sscan(chi.URLParam(r, "size"), &size)
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("ETag", `"7"`)
		_, _ = io.WriteString(rw, `"`+strings.Repeat("a", size-2)+`"`)
	})
}

func (w *world) fail(rw http.ResponseWriter, r *http.Request) {
	down := peer.New()
	_ = down.There("users", "http://127.0.0.1:1")
	call := func(module string) error {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+module+"/v1/"+marker, nil)
		if err != nil {
			return err
		}
		resp, err := down.Open().Do(req)
		if err == nil {
			err = fmt.Errorf("answered %d", resp.StatusCode)
		}
		return err
	}
	var err error
	switch chi.URLParam(r, "how") {
	case "panic":
		panic(marker)
	case "panic-error":
		panic(fmt.Errorf("%s", marker))
	case "panic-halfway":
		_, _ = io.WriteString(rw, `{"half":`)
		panic(marker)
	case "panic-halfway-far":
		_, _ = io.WriteString(rw, `{"half":"`+strings.Repeat("a", 100_000))
		panic(marker)
	case "sql":
		err = fmt.Errorf("select %s: %w", marker, sqlError("42601"))
	case "sql-transient":
		err = fmt.Errorf("select %s: %w", marker, sqlError("57P01"))
	case "unknown":
		err = errors.New(marker)
	case "ours":
		err = fmt.Errorf("%s: %w", marker, problem.Conflict.New("some-conflict", "Not now.").Because(errors.New(marker)))
	case "peer-down":
		err = call("users")
	case "peer-unknown":
		err = call("nobody")
	case "called-off":
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		err = fmt.Errorf("%s: %w", marker, ctx.Err())
	case "deadline":
		<-r.Context().Done()
		err = r.Context().Err()
	case "gone":
		w.reached <- request.From(r.Context())
		<-r.Context().Done()
		w.gone <- r.Context().Err()
		err = r.Context().Err()
	case "decode-parameter":
		httpserver.BadParameter(rw, r, errors.New(marker))
		return
	case "decode-body":
		httpserver.BadBody(rw, r, errors.New(marker))
		return
	case "decode-type":
		var v struct {
			Outer struct {
				Count int `json:"count"`
			} `json:"outer"`
		}
		httpserver.BadBody(rw, r, json.Unmarshal([]byte(`{"outer":{"count":"`+marker+`"}}`), &v))
		return
	}
	problem.Write(rw, r, err)
}

// send sends a request as "POST /v1/things", with headers as "Name: value".
func (w *world) send(t *testing.T, line, body string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	method, path, _ := strings.Cut(line, " ")
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, w.URL+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
		}
		req.Header.Add(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, content
}
