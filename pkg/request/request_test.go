package request_test

import (
	"net/http"
	"strings"
	"testing"

	"example.com/groundwork/pkg/request"
)

func TestTwoDifferentRequestsNeverReadAlike(t *testing.T) {
	t.Parallel()
	list := []request.Info{
		{},
		{Method: "POST", Pattern: "/v1/a", Path: "/v1/a", RawQuery: "x=1", Body: []byte(`{}`)},
		{Method: "PUT", Pattern: "/v1/a", Path: "/v1/a", RawQuery: "x=1", Body: []byte(`{}`)},
		{Method: "POST", Pattern: "/v1/{id}", Path: "/v1/a", RawQuery: "x=1", Body: []byte(`{}`)},
		{Method: "POST", Pattern: "/v1/a", Path: "/v1/b", RawQuery: "x=1", Body: []byte(`{}`)},
		{Method: "POST", Pattern: "/v1/a", Path: "/v1/a", RawQuery: "x=2", Body: []byte(`{}`)},
		{Method: "POST", Pattern: "/v1/a", Path: "/v1/a", RawQuery: "x=1", Body: []byte(`{ }`)},
		// What ends one part and begins the next.
		{Method: "POST", Pattern: "/v1/a", Path: "/v1/ax", RawQuery: "=1", Body: []byte(`{}`)},
		{Method: "POST", Pattern: "/v1/a", Path: "/v1/a", RawQuery: "x=1{", Body: []byte(`}`)},
		{Method: "POST", Pattern: "/v1/a", Path: "/v1/a", RawQuery: "x=1{}"},
		{Method: "POST", Pattern: "/v1/a", Path: "/v1/ax=1", Body: []byte(`{}`)},
		{Method: "POST/v1/a", Path: "/v1/a", RawQuery: "x=1", Body: []byte(`{}`)},
		{Body: []byte("\x00\x00\x00\x00\x00\x00\x00\x00")}, {RawQuery: "\x00\x00\x00\x00\x00\x00\x00\x00"},
		{RawQuery: "a", Body: []byte("\x00\x00\x00\x00\x00\x00\x00\x01a")}, {RawQuery: "a\x00\x00\x00\x00\x00\x00\x00\x01a"},
	}
	seen := map[[32]byte]int{}
	for i, info := range list {
		f := info.Fingerprint()
		if other, alike := seen[f]; alike {
			t.Errorf("%+v and %+v have one fingerprint", list[other], info)
		}
		seen[f] = i
	}
	// What does not make another request of it: the same thing sent again.
	one, again := list[1], list[1]
	again.ID, again.Header, again.Caller, again.Code = "another", http.Header{"Traceparent": {"another"}}, "user", "x"
	if one.Fingerprint() != again.Fingerprint() {
		t.Error("the same request sent again has another fingerprint")
	}
}

func FuzzFingerprint(f *testing.F) {
	f.Add("POST", "/v1/a", "x=1", []byte("{}"), "POST", "/v1/a", "x=1", []byte("{}"))
	f.Fuzz(func(t *testing.T, m1, p1, q1 string, b1 []byte, m2, p2, q2 string, b2 []byte) {
		one, two := request.Info{Method: m1, Path: p1, RawQuery: q1, Body: b1}, request.Info{Method: m2, Path: p2, RawQuery: q2, Body: b2}
		if same := m1 == m2 && p1 == p2 && q1 == q2 && string(b1) == string(b2); (one.Fingerprint() == two.Fingerprint()) != same {
			t.Errorf("%+v %+v", one, two)
		}
	})
}

func TestBearer(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"Bearer abc": "abc", "bearer abc": "abc", "BEARER   abc ": "abc", "": "", "Bearer": "", "Bearer ": "", "Basic abc": "", "abc": "", "Bearerabc": "",
	} {
		info := request.Info{Header: http.Header{"Authorization": {header}}}
		if got := info.Bearer(); got != want {
			t.Errorf("%q holds the token %q; want %q", header, got, want)
		}
	}
	info := request.Info{Header: http.Header{"Authorization": {"Basic dXNlcnM6czpj"}}}
	if name, secret, ok := info.BasicAuth(); !ok || name != "users" || secret != "s:c" {
		t.Errorf("Basic is %q %q %v", name, secret, ok)
	}
}

func TestOutsideOfARequestThereIsAnEmptyInfo(t *testing.T) {
	t.Parallel()
	info := request.From(t.Context())
	if info == nil || info.ID != "" || info.Bearer() != "" {
		t.Errorf("it is %+v", info)
	}
	info.Code = strings.Repeat("x", 3) // writing into it harms nobody
	if request.From(t.Context()).Code != "" {
		t.Error("two who are outside of a request share one")
	}
	mine := &request.Info{ID: "mine"}
	if request.From(request.With(t.Context(), mine)) != mine {
		t.Error("it is lost")
	}
}
