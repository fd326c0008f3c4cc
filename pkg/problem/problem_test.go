package problem_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

const marker = "xqmarkerqx"

// every lists the kinds with the statuses that a caller sees.
var every = map[problem.Kind]int{
	problem.Internal: 500, problem.Malformed: 400, problem.Unauthenticated: 401, problem.Forbidden: 403, problem.NotFound: 404,
	problem.MethodNotAllowed: 405, problem.NotAcceptable: 406, problem.Conflict: 409, problem.PreconditionFailed: 412, problem.TooLarge: 413,
	problem.UnsupportedMedia: 415, problem.Invalid: 422, problem.PreconditionRequired: 428, problem.RateLimited: 429, problem.ClientGone: 499,
	problem.Unavailable: 503,
}

func TestEachKindHasAStatusOfItsOwn(t *testing.T) {
	t.Parallel()
	seen := map[int]problem.Kind{}
	for kind, status := range every {
		if kind.Status() != status {
			t.Errorf("the kind %d has the status %d; want %d", kind, kind.Status(), status)
		}
		if other, twice := seen[status]; twice {
			t.Errorf("the kinds %d and %d have one status: the caller of a peer could not tell them apart", kind, other)
		}
		seen[status] = kind
	}
	if len(every) != int(problem.Unavailable)+1 {
		t.Errorf("there are %d kinds and %d in this table", int(problem.Unavailable)+1, len(every))
	}
}

// unsent is an error like pgconn's about a connection.
type unsent bool

func (unsent) Error() string       { return marker }
func (u unsent) SafeToRetry() bool { return bool(u) }

func TestFromAnyError(t *testing.T) {
	t.Parallel()
	pg := func(code string) error { return &pgconn.PgError{Code: code, Message: marker, Detail: marker} }
	ours := problem.Conflict.New("some-conflict", "Not now.")
	for name, c := range map[string]struct {
		err  error
		kind problem.Kind
		code string
	}{
		"ours":                                  {ours, problem.Conflict, "some-conflict"},
		"ours, wrapped":                         {fmt.Errorf("%s: %w", marker, ours), problem.Conflict, "some-conflict"},
		"ours, joined":                          {errors.Join(errors.New(marker), ours), problem.Conflict, "some-conflict"},
		"ours, because somebody left":           {problem.Invalid.New("validation-failed", "").Because(context.Canceled), problem.Invalid, "validation-failed"},
		"ours in an HTTP client's":              {&url.Error{Op: "Get", URL: "http://users/" + marker, Err: problem.Unavailable.New("dependency-unavailable", "")}, problem.Unavailable, "dependency-unavailable"},
		"anything":                              {errors.New(marker), problem.Internal, "internal"},
		"the client left":                       {fmt.Errorf("%s: %w", marker, context.Canceled), problem.ClientGone, "client-gone"},
		"the client left during a call":         {&url.Error{Op: "Get", URL: marker, Err: context.Canceled}, problem.ClientGone, "client-gone"},
		"our deadline":                          {fmt.Errorf("%s: %w", marker, context.DeadlineExceeded), problem.Unavailable, "dependency-unavailable"},
		"too large":                             {fmt.Errorf("%s: %w", marker, &http.MaxBytesError{Limit: 7}), problem.TooLarge, "body-too-large"},
		"a connection that is refused":          {&net.OpError{Op: "dial", Err: errors.New(marker)}, problem.Unavailable, "dependency-unavailable"},
		"a name that is not found":              {&net.DNSError{Name: marker}, problem.Unavailable, "dependency-unavailable"},
		"a connection that broke":               {io.ErrUnexpectedEOF, problem.Unavailable, "dependency-unavailable"},
		"a connection that was closed":          {net.ErrClosed, problem.Unavailable, "dependency-unavailable"},
		"no row":                                {pgx.ErrNoRows, problem.Internal, "internal"},
		"Postgres: a mistake in SQL":            {pg("42601"), problem.Internal, "internal"},
		"Postgres: a right is missing":          {pg("42501"), problem.Internal, "internal"},
		"Postgres: a constraint nobody named":   {pg("23505"), problem.Internal, "internal"},
		"Postgres: no code":                     {pg(""), problem.Internal, "internal"},
		"Postgres: serialization":               {pg("40001"), problem.Unavailable, "dependency-unavailable"},
		"Postgres: deadlock":                    {pg("40P01"), problem.Unavailable, "dependency-unavailable"},
		"Postgres: lock_timeout":                {pg("55P03"), problem.Unavailable, "dependency-unavailable"},
		"Postgres: a standby":                   {pg("25006"), problem.Unavailable, "dependency-unavailable"},
		"Postgres: too many connections":        {pg("53300"), problem.Unavailable, "dependency-unavailable"},
		"Postgres: statement_timeout":           {pg("57014"), problem.Unavailable, "dependency-unavailable"},
		"Postgres: an operator's shutdown":      {pg("57P01"), problem.Unavailable, "dependency-unavailable"},
		"Postgres: the connection":              {fmt.Errorf("%s: %w", marker, pg("08006")), problem.Unavailable, "dependency-unavailable"},
		"Postgres: nothing was sent":            {fmt.Errorf("%s: %w", marker, unsent(true)), problem.Unavailable, "dependency-unavailable"},
		"Postgres: something was sent":          {fmt.Errorf("%s: %w", marker, unsent(false)), problem.Internal, "internal"},
		"Postgres: a transaction gone for good": {pg("25P02"), problem.Internal, "internal"},
	} {
		e := problem.From(c.err)
		if e.Kind != c.kind || e.Code != c.code {
			t.Errorf("%s: kind %d, code %s; want %d, %s", name, e.Kind, e.Code, c.kind, c.code)
		}
		if strings.Contains(e.Detail, marker) {
			t.Errorf("%s: its detail tells the cause: %s", name, e.Detail)
		}
		if !errors.Is(c.err, ours) && !errors.Is(e, c.err) && e.Code != "some-conflict" && !errors.As(c.err, new(*problem.Error)) {
			t.Errorf("%s: the cause is lost to the log", name)
		}
		if (e.Kind == problem.Unavailable) != (e.RetryAfter > 0) {
			t.Errorf("%s: to be tried again after %s", name, e.RetryAfter)
		}
		if !problem.Is(c.err, c.kind) || problem.Is(nil, c.kind) {
			t.Errorf("%s: Is does not know it", name)
		}
	}
}

func TestWriteTellsTheDocumentAndNotesItForTheLog(t *testing.T) {
	t.Parallel()
	info := &request.Info{ID: "an-id-of-it", Path: "/v1/things/7"}
	r := httptest.NewRequest("GET", "/v1/things/7", nil)
	r = r.WithContext(request.With(r.Context(), info))
	err := problem.RateLimited.New("rate-limited", "Wait.").After(1200 * time.Millisecond).Because(errors.New(marker)).With(problem.Field{Pointer: "/a", Code: "b", Detail: "c"})
	w := httptest.NewRecorder()
	problem.Write(w, r, err)
	var got problem.Document
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := problem.Document{
		Type: "urn:problem:rate-limited", Title: "Too many requests", Status: 429, Detail: "Wait.", Instance: "/v1/things/7", Code: "rate-limited",
		RequestID: "an-id-of-it", Errors: []problem.Field{{Pointer: "/a", Code: "b", Detail: "c"}},
	}
	if !reflect.DeepEqual(got, want) || w.Code != 429 || w.Header().Get("Retry-After") != "2" || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("it writes %d %v %s", w.Code, w.Header(), w.Body)
	}
	if info.Code != "rate-limited" || !strings.Contains(info.Err.Error(), marker) || strings.Contains(w.Body.String(), marker) {
		t.Errorf("the log gets %s and %v, the caller %s", info.Code, info.Err, w.Body)
	}
}

func TestCalledOffIsTheClientsOnlyWhenTheClientLeft(t *testing.T) {
	t.Parallel()
	for left, want := range map[bool]int{true: 499, false: 503} {
		ctx, leave := context.WithCancel(t.Context())
		if left {
			leave()
		}
		w := httptest.NewRecorder()
		problem.Write(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx), fmt.Errorf("x: %w", context.Canceled))
		leave()
		if w.Code != want {
			t.Errorf("the client left: %v; it answers %d; want %d", left, w.Code, want)
		}
	}
}

func TestOAuthWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    *problem.Error
		status int
		want   string
	}{
		{problem.Malformed.New("invalid_grant", "No."), 400, `{"error":"invalid_grant","error_description":"No."}`},
		{problem.Unauthenticated.New("invalid_client", "No."), 401, `{"error":"invalid_client","error_description":"No."}`},
		{problem.Unauthenticated.New("unauthenticated", ""), 401, `{"error":"invalid_client"}`},
		{problem.Invalid.New("validation-failed", "x"), 400, `{"error":"invalid_request","error_description":"x"}`},
		{problem.Unavailable.New("dependency-unavailable", "x"), 503, `{"error":"temporarily_unavailable","error_description":"x"}`},
		{problem.Internal.New("internal", "x").Because(errors.New(marker)), 500, `{"error":"server_error","error_description":"x"}`},
	} {
		status, header, body := problem.Render(&request.Info{OAuthErrors: true}, c.err)
		if status != c.status || strings.TrimSpace(string(body)) != c.want || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v %s; want %d %s", c.err.Code, status, header, body, c.status, c.want)
		}
	}
}

// peerAnswer is what another module answered.
func peerAnswer(status int, contentType string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {contentType}},
		Request: &http.Request{Method: "GET", URL: &url.URL{Scheme: "http", Host: "users", Path: "/v1/users/7"}},
	}
}

func TestAPeersProblemIsReadBack(t *testing.T) {
	t.Parallel()
	back := map[problem.Kind]problem.Kind{} // what is between the modules stays between them
	for kind := range every {
		back[kind] = kind
	}
	for _, kind := range []problem.Kind{problem.Unauthenticated, problem.Forbidden, problem.Internal} {
		back[kind] = problem.Internal
	}
	for _, kind := range []problem.Kind{problem.Unavailable, problem.RateLimited, problem.ClientGone} {
		back[kind] = problem.Unavailable
	}
	for kind, want := range back {
		field := problem.Field{Pointer: "/a", Code: "b", Detail: "c"}
		status, header, body := problem.Render(&request.Info{}, kind.New("a-code", "In words.").With(field))
		e := problem.FromPeer(peerAnswer(status, header.Get("Content-Type")+"; charset=utf-8"), body)
		if e.Kind != want {
			t.Errorf("%d becomes the kind %d; want %d", status, e.Kind, want)
		}
		if passed := e.Code == "a-code" && e.Detail == "In words." && len(e.Fields) == 1; passed != (want == kind && kind != problem.Internal && kind != problem.Unavailable) {
			t.Errorf("%d is passed on as %s %q %v", status, e.Code, e.Detail, e.Fields)
		}
		if !strings.Contains(e.Error(), "users answered GET /v1/users/7 with "+fmt.Sprint(status)) {
			t.Errorf("%d: the log is not told who said so: %v", status, e)
		}
	}
	for name, c := range map[string]struct{ contentType, body string }{
		"a proxy's page":      {"text/html", "<html>" + marker},
		"a problem no JSON":   {"application/problem+json", marker},
		"a problem, no code":  {"application/problem+json", `{"title":"` + marker + `"}`},
		"another JSON":        {"application/json", `{"code":"` + marker + `"}`},
		"nothing at all":      {"", ""},
		"an unknown status":   {"application/problem+json", `{"code":"teapot"}`},
		"a very long message": {"text/plain", strings.Repeat(marker, 1000)},
	} {
		e := problem.FromPeer(peerAnswer(418, c.contentType), []byte(c.body))
		if e.Kind != problem.Unavailable || strings.Contains(e.Detail, marker) || e.Detail != "The module users does not answer." || len(e.Error()) > 500 {
			t.Errorf("%s: %v", name, e)
		}
	}
	for status, good := range map[int]bool{200: true, 202: true, 204: true, 299: true, 304: false, 404: false, 500: false} {
		if err := problem.NoContent(peerAnswer(status, ""), nil, nil); (err == nil) != good {
			t.Errorf("%d without a body: %v", status, err)
		}
	}
	if err := problem.NoContent(nil, nil, io.EOF); !errors.Is(err, io.EOF) {
		t.Errorf("an error instead of an answer: %v", err)
	}
}
