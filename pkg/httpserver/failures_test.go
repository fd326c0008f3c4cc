package httpserver_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

const (
	reader = "Authorization: Bearer reader"
	writer = "Authorization: Bearer writer"
	isJSON = "Content-Type: application/json"
	key    = "Idempotency-Key: key-1"
	thing  = "/v1/things/0193a5f0-0000-7000-8000-000000000000"
)

// failure is one way of failing: what is sent, and what has to come back.
type failure struct {
	name    string
	line    string
	body    string
	headers []string
	status  int
	code    string
	fields  []string // pointer and code of each, in order
	answer  []string // headers, as "Name: value"
}

var failures = []failure{
	// The router.
	{name: "unknown path", line: "GET /v1/nothing", status: 404, code: "not-found"},
	{name: "unknown path and method", line: "BREW /v1/nothing", status: 404, code: "not-found"},
	{name: "wrong method", line: "DELETE /v1/things", headers: []string{writer}, status: 405, code: "method-not-allowed", answer: []string{"Allow: GET, POST"}},
	{name: "unknown method", line: "BREW /v1/things", status: 405, code: "method-not-allowed", answer: []string{"Allow: GET, POST"}},
	{name: "a method that tells what a proxy added", line: "TRACE /v1/things", status: 405, code: "method-not-allowed", answer: []string{"Allow: GET, POST"}},
	{name: "wrong method, escaped path", line: "DELETE /v1/fails/a%2Fb", status: 405, code: "method-not-allowed", answer: []string{"Allow: GET"}},
	{name: "wrong method, beside a path with a parameter", line: "DELETE /v1/things/mine", headers: []string{writer}, status: 405, code: "method-not-allowed", answer: []string{"Allow: GET"}},
	{name: "the method of a path with a parameter", line: "PATCH /v1/things/mine", body: `{"name":"a"}`, headers: []string{writer, "Content-Type: application/merge-patch+json"}, status: 405, code: "method-not-allowed", answer: []string{"Allow: GET"}},

	// Who is it?
	{name: "no token", line: "GET /v1/things", status: 401, code: "unauthenticated", answer: []string{"Www-Authenticate: Bearer"}},
	{name: "no token, bad parameter", line: "GET /v1/things?limit=" + marker, status: 401, code: "unauthenticated"},
	{name: "no token, bad body", line: "POST /v1/things", body: `{"` + marker, headers: []string{isJSON}, status: 401, code: "unauthenticated"},
	{name: "no token, not even JSON", line: "POST /v1/things", body: "x", headers: []string{"Content-Type: text/plain", "Accept: text/html"}, status: 401, code: "unauthenticated"},
	{name: "another scheme", line: "GET /v1/things", headers: []string{"Authorization: Basic cmVhZGVyOng="}, status: 401, code: "unauthenticated"},
	{name: "bad token", line: "GET /v1/things", headers: []string{"Authorization: Bearer " + marker}, status: 401, code: "unauthenticated"},
	{name: "no keys", line: "GET /v1/things", headers: []string{"Authorization: Bearer no-keys"}, status: 503, code: "dependency-unavailable", answer: []string{"Retry-After: 1"}},
	{name: "wrong scope", line: "POST /v1/things", body: "{", headers: []string{reader, isJSON}, status: 403, code: "insufficient-scope",
		answer: []string{`Www-Authenticate: Bearer error="insufficient_scope", scope="things:write"`}},

	// Parameters.
	{name: "not acceptable", line: "GET /v1/things", headers: []string{reader, "Accept: text/html, application/json;q=0.0"}, status: 406, code: "not-acceptable"},
	{name: "bad parameter", line: "GET /v1/things?limit=" + marker, headers: []string{reader}, status: 400, code: "invalid-parameter", fields: []string{"limit invalid"}},
	{name: "parameter out of range", line: "GET /v1/things?limit=101", headers: []string{reader}, status: 400, code: "invalid-parameter", fields: []string{"limit maximum"}},
	{name: "parameter of another format", line: "GET /v1/things?since=" + marker, headers: []string{reader}, status: 400, code: "invalid-parameter", fields: []string{"since format"}},
	{name: "unknown query parameter", line: "GET /v1/things?page=" + marker, headers: []string{reader}, status: 400, code: "invalid-parameter", fields: []string{"page unknown"}},
	{name: "duplicate query parameter", line: "GET /v1/things?limit=1&limit=2", headers: []string{reader}, status: 400, code: "invalid-parameter", fields: []string{"limit duplicate"}},
	{name: "query that cannot be read", line: "GET /v1/things?limit=%zz", headers: []string{reader}, status: 400, code: "invalid-parameter"},
	{name: "query with a semicolon", line: "GET /v1/things?limit=1;limit=2", headers: []string{reader}, status: 400, code: "invalid-parameter"},
	{name: "bad id", line: "GET /v1/things/7", headers: []string{reader}, status: 400, code: "invalid-parameter", fields: []string{"id format"}},
	{name: "no key", line: "POST /v1/things", body: `{"name":"a"}`, headers: []string{writer, isJSON}, status: 400, code: "idempotency-key-missing"},
	{name: "blank key", line: "POST /v1/things", body: `{"name":"a"}`, headers: []string{writer, isJSON, "Idempotency-Key:   "}, status: 400, code: "idempotency-key-missing"},
	{name: "long key", line: "POST /v1/things", body: `{"name":"a"}`, headers: []string{writer, isJSON, "Idempotency-Key: " + strings.Repeat("k", 256)}, status: 400, code: "idempotency-key-invalid"},
	{name: "no If-Match", line: "PATCH " + thing, body: `{"name":"a"}`, headers: []string{writer, "Content-Type: application/merge-patch+json"}, status: 428, code: "precondition-required"},

	// Bodies.
	{name: "no content type", line: "POST /v1/things", body: `{"name":"a"}`, headers: []string{writer, key}, status: 415, code: "unsupported-media-type"},
	{name: "wrong content type", line: "POST /v1/things", body: `{"name":"a"}`, headers: []string{writer, key, "Content-Type: text/plain"}, status: 415, code: "unsupported-media-type"},
	{name: "broken content type", line: "POST /v1/things", body: `{"name":"a"}`, headers: []string{writer, key, "Content-Type: ;;" + marker}, status: 415, code: "unsupported-media-type"},
	{name: "no body", line: "POST /v1/things", headers: []string{writer, key, isJSON}, status: 400, code: "malformed-json"},
	{name: "bad JSON", line: "POST /v1/things", body: `{"name":"` + marker + `"`, headers: []string{writer, key, isJSON}, status: 400, code: "malformed-json"},
	{name: "bad JSON in a value", line: "POST /v1/things", body: `{"name":` + marker + `}`, headers: []string{writer, key, isJSON}, status: 400, code: "malformed-json"},
	{name: "trailing data", line: "POST /v1/things", body: `{"name":"a"} {"name":"` + marker + `"}`, headers: []string{writer, key, isJSON}, status: 400, code: "malformed-json"},
	{name: "trailing bracket", line: "POST /v1/things", body: `{"name":"a"}]`, headers: []string{writer, key, isJSON}, status: 400, code: "malformed-json"},
	{name: "duplicate names", line: "POST /v1/things", body: `{"name":"a","name":"` + marker + `"}`, headers: []string{writer, key, isJSON}, status: 400, code: "malformed-json"},
	{name: "duplicate names, one escaped", line: "POST /v1/things", body: `{"name":"a","n\u0061me":"b"}`, headers: []string{writer, key, isJSON}, status: 400, code: "malformed-json"},
	{name: "duplicate names further in", line: "POST /v1/things", body: `{"name":"a","parts":[{"size":1,"size":2}]}`, headers: []string{writer, key, isJSON}, status: 400, code: "malformed-json"},
	{name: "bytes that are not UTF-8", line: "POST /v1/things", body: "{\"name\":\"\xff\xfe\"}", headers: []string{writer, key, isJSON}, status: 400, code: "malformed-json"},
	{name: "half of a character", line: "POST /v1/things", body: `{"name":"\ud800"}`, headers: []string{writer, key, isJSON}, status: 400, code: "malformed-json"},
	{name: "too deep", line: "POST /v1/things", body: strings.Repeat("[", 70) + strings.Repeat("]", 70), headers: []string{writer, key, isJSON}, status: 400, code: "malformed-json"},
	{name: "null", line: "POST /v1/things", body: `null`, headers: []string{writer, key, isJSON}, status: 422, code: "validation-failed", fields: []string{" nullable"}},
	{name: "a list", line: "POST /v1/things", body: `[]`, headers: []string{writer, key, isJSON}, status: 422, code: "validation-failed", fields: []string{" type"}},
	{name: "wrong type", line: "POST /v1/things", body: `{"name":7}`, headers: []string{writer, key, isJSON}, status: 422, code: "validation-failed", fields: []string{"/name type"}},
	{name: "missing field", line: "POST /v1/things", body: `{}`, headers: []string{writer, key, isJSON}, status: 422, code: "validation-failed", fields: []string{"/name required"}},
	{name: "unknown field", line: "POST /v1/things", body: `{"name":"a","Name":"` + marker + `"}`, headers: []string{writer, key, isJSON}, status: 422, code: "validation-failed", fields: []string{"/Name unknown"}},
	{name: "wrong values", line: "POST /v1/things",
		body:    `{"name":"","kind":"` + marker + `","code":"` + marker + `","email":"` + marker + `","id":"` + marker + `","count":0,"a/b~c":"` + marker + `","parts":[{"size":"` + marker + `"},{}]}`,
		headers: []string{writer, key, isJSON}, status: 422, code: "validation-failed",
		fields: []string{"/a~1b~0c type", "/code pattern", "/count minimum", "/email format", "/id format", "/kind enum", "/name minLength", "/parts/0/size type", "/parts/1/size required"}},
	{name: "a number no number can hold", line: "POST /v1/things", body: `{"name":"a","count":1e999}`, headers: []string{writer, key, isJSON}, status: 422, code: "validation-failed"},
	{name: "a number one too large", line: "POST /v1/things", body: `{"name":"a","count":9007199254740992}`, headers: []string{writer, key, isJSON}, status: 422, code: "validation-failed", fields: []string{"/count maximum"}},
	{name: "an address with a name", line: "POST /v1/things", body: `{"name":"a","email":"Ada <ada@example.com>"}`, headers: []string{writer, key, isJSON}, status: 422, code: "validation-failed", fields: []string{"/email format"}},
	{name: "an address of a number", line: "POST /v1/things", body: `{"name":"a","email":"ada@[127.0.0.1]"}`, headers: []string{writer, key, isJSON}, status: 422, code: "validation-failed", fields: []string{"/email format"}},
	{name: "an address longer than servers take", line: "POST /v1/things", body: `{"name":"a","email":"` + strings.Repeat("a", 65) + `@example.com"}`, headers: []string{writer, key, isJSON}, status: 422, code: "validation-failed", fields: []string{"/email format"}},
	{name: "oversize with Content-Length", line: "POST /v1/things", body: `{"name":"` + strings.Repeat("a", 1<<20) + `"}`, headers: []string{writer, key, isJSON}, status: 413, code: "body-too-large"},

	// The handler.
	{name: "decoding a parameter", line: "GET /v1/fails/decode-parameter", status: 400, code: "invalid-parameter"},
	{name: "decoding a body", line: "GET /v1/fails/decode-body", status: 400, code: "malformed-json"},
	{name: "decoding a type", line: "GET /v1/fails/decode-type", status: 422, code: "validation-failed", fields: []string{"/outer/count type"}},
	{name: "panic", line: "GET /v1/fails/panic", status: 500, code: "internal"},
	{name: "panic with an error", line: "GET /v1/fails/panic-error", status: 500, code: "internal"},
	{name: "an error nobody foresaw", line: "GET /v1/fails/unknown", status: 500, code: "internal"},
	{name: "wrong SQL", line: "GET /v1/fails/sql", status: 500, code: "internal"},
	{name: "a database that restarts", line: "GET /v1/fails/sql-transient", status: 503, code: "dependency-unavailable", answer: []string{"Retry-After: 1"}},
	{name: "a problem with a cause", line: "GET /v1/fails/ours", status: 409, code: "some-conflict"},
	{name: "a peer that is down", line: "GET /v1/fails/peer-down", status: 503, code: "dependency-unavailable", answer: []string{"Retry-After: 1"}},
	{name: "a peer that nobody knows", line: "GET /v1/fails/peer-unknown", status: 503, code: "dependency-unavailable", answer: []string{"Retry-After: 1"}},
	{name: "something called off inside", line: "GET /v1/fails/called-off", status: 503, code: "dependency-unavailable", answer: []string{"Retry-After: 1"}},
	{name: "past its deadline", line: "GET /v1/fails/deadline", status: 503, code: "dependency-unavailable", answer: []string{"Retry-After: 1"}},
}

func TestEveryWayOfFailing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *httpserver.Options, _ *httpserver.Guard) { o.Timeout = 500 * time.Millisecond })
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			resp, body := w.send(t, f.line, f.body, f.headers...)
			d := isProblem(t, resp, body, f.status, f.code)
			if path, _, _ := strings.Cut(strings.Split(f.line, " ")[1], "?"); d.Instance != path {
				t.Errorf("its instance is %q; want %q", d.Instance, path)
			}
			var fields []string
			for _, e := range d.Errors {
				fields = append(fields, e.Pointer+" "+e.Code)
				if e.Detail == "" || strings.Contains(e.Detail, "regular expression") {
					t.Errorf("of %s it says %q", e.Pointer, e.Detail)
				}
			}
			slices.Sort(fields)
			if f.fields != nil && !slices.Equal(fields, f.fields) || f.status == 401 && fields != nil {
				t.Errorf("the fields are %q; want %q", fields, f.fields)
			}
			for _, h := range f.answer {
				if name, value, _ := strings.Cut(h, ": "); resp.Header.Get(name) != value {
					t.Errorf("%s is %q; want %q", name, resp.Header.Get(name), value)
				}
			}
			line := w.log.lines(t, d.RequestID)[0]
			if line["code"] != f.code || line["status"] != float64(f.status) {
				t.Errorf("the log says %v", line)
			}
			if level := line["level"]; (level == "ERROR") != (f.status >= 500) {
				t.Errorf("the log's level is %v", level)
			}
		})
	}
}

// isProblem holds an answer against what every problem has.
func isProblem(t *testing.T, resp *http.Response, body []byte, status int, code string) (d problem.Document) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("it is no problem: %d %s %v %.200s", resp.StatusCode, resp.Header.Get("Content-Type"), err, body)
	}
	if resp.StatusCode != status || d.Status != status || d.Code != code || d.Type != "urn:problem:"+code || d.Title == "" {
		t.Errorf("it is %d %s; want %d %s: %s", resp.StatusCode, d.Code, status, code, body)
	}
	saysNothingInternal(t, resp, body)
	if d.RequestID == "" || d.RequestID != resp.Header.Get("X-Request-Id") {
		t.Errorf("its request is %q, the header's is %q", d.RequestID, resp.Header.Get("X-Request-Id"))
	}
	return d
}

func saysNothingInternal(t *testing.T, resp *http.Response, body []byte) {
	t.Helper()
	for _, secret := range []string{marker, "SQLSTATE", "goroutine", ".go:", "127.0.0.1:1"} {
		if strings.Contains(string(body)+fmt.Sprint(resp.Header), secret) {
			t.Errorf("it says %q: %s %v", secret, body, resp.Header)
		}
	}
}

func TestWhatIsRightPasses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, f := range []failure{
		{line: "GET /v1/things?limit=100&since=2026-01-02T03:04:05Z", headers: []string{reader}},
		{line: "GET /v1/things", headers: []string{reader, "Accept: text/html", "Accept: application/*;q=0.1"}},
		{line: "GET /v1/things", headers: []string{reader, "Accept: */*"}},
		{line: "GET /v1/things", headers: []string{"Authorization: bearer  reader"}},
		{line: "GET " + thing, headers: []string{reader}},
		{line: "POST /v1/things", body: `{"name":"a","count":9007199254740991,"email":"a@example.com","id":"0193a5f0-0000-7000-8000-000000000000","parts":[]}`, headers: []string{writer, key, "Content-Type: application/json; charset=utf-8"}},
		{line: "PATCH " + thing, body: `{"name":"a"}`, headers: []string{writer, `If-Match: "1"`, "Content-Type: application/merge-patch+json"}},
		{line: "POST /v1/token", body: "grant_type=x&more=y", headers: []string{"Content-Type: application/x-www-form-urlencoded"}},
	} {
		resp, body := w.send(t, f.line, f.body, f.headers...)
		if resp.StatusCode != 200 {
			t.Errorf("%s %v answers %d %s", f.line, f.headers, resp.StatusCode, body)
			continue
		}
		if info := <-w.reached; string(info.Body) != f.body {
			t.Errorf("%s: the raw body is %q; want %q", f.line, info.Body, f.body)
		}
	}
}

// RFC 6749 has words of its own, and everything that goes wrong at the token endpoint has to use them.
func TestOAuthErrorsHaveTheirOwnForm(t *testing.T) {
	t.Parallel()
	const form = "Content-Type: application/x-www-form-urlencoded"
	limited := newWorld(t, func(_ *httpserver.Options, g *httpserver.Guard) { g.Limiter = spent{} })
	w := newWorld(t)
	for _, f := range []struct {
		name    string
		world   *world
		body    string
		header  string
		status  int
		err     string
		details string
	}{
		{"JSON", w, `{"grant_type":"x"}`, isJSON, 415, "invalid_request", ""},
		{"nothing", w, "", form, 400, "invalid_request", "grant_type: "},
		{"too long", w, "grant_type=" + strings.Repeat(marker, 10), form, 400, "invalid_request", "grant_type: "},
		{"twice", w, "grant_type=a&grant_type=" + marker, form, 400, "invalid_request", ""},
		{"broken", w, "grant_type=%zz" + marker, form, 400, "invalid_request", ""},
		{"too large", w, "grant_type=" + strings.Repeat("a", 1<<20), form, 413, "invalid_request", ""},
		{"too often", limited, "grant_type=a", form, 429, "temporarily_unavailable", ""},
	} {
		resp, body := f.world.send(t, "POST /v1/token", f.body, f.header)
		var d map[string]string
		if err := json.Unmarshal(body, &d); err != nil || resp.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %v %s %s", f.name, err, resp.Header.Get("Content-Type"), body)
		}
		for name := range maps.Keys(d) {
			if name != "error" && name != "error_description" {
				t.Errorf("%s: RFC 6749 has no %s", f.name, name)
			}
		}
		if resp.StatusCode != f.status || d["error"] != f.err || !strings.HasPrefix(d["error_description"], f.details) {
			t.Errorf("%s: %d %s; want %d %s", f.name, resp.StatusCode, body, f.status, f.err)
		}
		saysNothingInternal(t, resp, body)
	}
}

// spent is a limiter that has had enough.
type spent struct{}

func (spent) Take(string) (http.Header, time.Duration) {
	return http.Header{"Ratelimit": {`"default";r=0;t=2`}, "Ratelimit-Policy": {`"default";q=100;w=2`}}, 1500 * time.Millisecond
}

// counting allows everything and notes who was counted.
type counting chan string

func (c counting) Take(caller string) (http.Header, time.Duration) {
	c <- caller
	return http.Header{"Ratelimit": {`"default";r=9;t=1`}}, 0
}

func TestTooOften(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *httpserver.Options, g *httpserver.Guard) { g.Limiter = spent{} })
	resp, body := w.send(t, "POST /v1/things", "{", isJSON) // even the unknown are counted, and told nothing else
	isProblem(t, resp, body, 429, "rate-limited")
	if h := resp.Header; h.Get("Retry-After") != "2" || h.Get("RateLimit") != `"default";r=0;t=2` || h.Get("RateLimit-Policy") != `"default";q=100;w=2` {
		t.Errorf("the headers are %v", h)
	}

	counted := make(counting, 10)
	w = newWorld(t, func(_ *httpserver.Options, g *httpserver.Guard) { g.Limiter = counted })
	if resp, _ := w.send(t, "GET /v1/things", "", "Authorization: Bearer forged"); resp.StatusCode != 401 || resp.Header.Get("RateLimit") == "" {
		t.Errorf("a forged token: %d %v", resp.StatusCode, resp.Header)
	}
	if who := <-counted; who != "127.0.0.0/24" {
		t.Errorf("a forged token counts for %q; want the network it comes from", who)
	}
}

func TestOversizeIsRefusedBeforeTheRestIsRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct{ name, header, first string }{
		{"with Content-Length", "Content-Length: 1073741824\r\n\r\n", `{"name":"`},
		{"without", "Transfer-Encoding: chunked\r\n\r\n", "100001\r\n" + strings.Repeat("a", 0x100001) + "\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", w.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(3 * time.Second)) // the rest is never sent: who waits for it fails here
			_, err = io.WriteString(conn, "POST /v1/things HTTP/1.1\r\nHost: x\r\n"+isJSON+"\r\n"+writer+"\r\n"+key+"\r\n"+c.header+c.first)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if d := isProblem(t, resp, body, 413, "body-too-large"); !strings.Contains(d.Detail, strconv.Itoa(1<<20)) {
				t.Errorf("it does not say how much is allowed: %s", d.Detail)
			}
			if !resp.Close {
				t.Error("the connection stays open under a body that nobody reads")
			}
		})
	}
}

func TestABodyThatEndsEarlyIsMalformed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conn, err := net.Dial("tcp", w.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "POST /v1/things HTTP/1.1\r\nHost: x\r\nX-Request-Id: ends-early\r\n"+isJSON+"\r\n"+writer+"\r\n"+key+"\r\nContent-Length: 100\r\n\r\n{")
	_ = conn.(*net.TCPConn).CloseWrite()
	if line := w.log.lines(t, "ends-early")[0]; line["status"] != 400.0 || line["code"] != "malformed-json" {
		t.Errorf("the log says %v", line)
	}
}

func TestAPanicAfterHalfAnAnswerHangsUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, how := range []string{"panic-halfway", "panic-halfway-far"} {
		for _, encoding := range []string{"identity", "gzip"} {
			id := "half-" + how + "-" + encoding
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL+"/v1/fails/"+how, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Request-Id", id)
			req.Header.Set("Accept-Encoding", encoding)
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err == nil {
				var body []byte
				body, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if strings.Contains(string(body), "urn:problem") || strings.Contains(string(body), marker) {
					t.Errorf("%s: something was added to half of an answer: %.100s", id, body)
				}
			}
			if err == nil {
				t.Errorf("%s: half of an answer looks like a whole one", id)
			}
			line := w.log.lines(t, id)[0]
			if line["level"] != "ERROR" || line["code"] != "internal" || !strings.Contains(fmt.Sprint(line["error"]), marker) {
				t.Errorf("%s: the log says %v", id, line)
			}
		}
	}
}

func TestAClientThatLeavesIsNoErrorOfOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+"/v1/fails/gone", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Request-Id", "gone-request")
	go func() {
		<-w.reached
		leave()
	}()
	if resp, err := http.DefaultTransport.RoundTrip(req); !errors.Is(err, context.Canceled) {
		t.Errorf("it answers %v, %v", resp, err)
	}
	if err := <-w.gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler's context says %v", err)
	}
	if line := w.log.lines(t, "gone-request")[0]; line["status"] != 499.0 || line["code"] != "client-gone" || line["level"] != "INFO" {
		t.Errorf("the log says %v", line)
	}
}

func TestTheLogTellsEachRequestOnceAndTheCauseToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _ = w.send(t, "GET /v1/fails/sql", "", "X-Request-Id: once-and-only")
	lines := w.log.lines(t, "once-and-only")
	if len(lines) != 1 || !strings.Contains(fmt.Sprint(lines[0]["error"]), "SQLSTATE 42601") || lines[0]["route"] != "/v1/fails/{how}" {
		t.Errorf("the log says %v", lines)
	}
	_, _ = w.send(t, "GET /v1/things", "", reader, "X-Request-Id: a-good-one")
	if line := w.log.lines(t, "a-good-one")[0]; line["caller"] != "service" || line["status"] != 200.0 || line["code"] != nil {
		t.Errorf("the log says %v", line)
	}
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	if strings.Contains(w.log.b.String(), "Bearer") {
		t.Error("a header is in the log")
	}
}

func TestNetworkIsWhatOneCustomerHas(t *testing.T) {
	t.Parallel()
	for client, want := range map[string]string{"192.0.2.77": "192.0.2.0/24", "::ffff:192.0.2.77": "192.0.2.0/24", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "": "unknown"} {
		info := &request.Info{}
		if client != "" {
			if err := info.Client.UnmarshalText([]byte(client)); err != nil {
				t.Fatal(err)
			}
		}
		if got := httpserver.Network(info); got != want {
			t.Errorf("%q is of %s; want %s", client, got, want)
		}
	}
}
