// only with auth: this file

package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The story itself is told to the real server by .ci/check. Here it meets servers that break their promises.
func TestABrokenPromiseIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		says  string
	}{
		"another status": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }, "POST /v1/auth/register should be answered with 202"},
		"a problem":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "register"},
		"hanging up":     {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		server := httptest.NewServer(c.serve)
		var out bytes.Buffer
		err := run(func(name string) string { return map[string]string{"BASE_URL": server.URL}[name] }, &out)
		server.Close()
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: the demo ends with %v", name, err)
		}
		if strings.Contains(out.String(), "correct horse") || strings.Contains(out.String(), "as promised") {
			t.Errorf("%s: the demo shows %s", name, &out)
		}
	}
}

func TestWithoutAServerItSaysHowToStartOne(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := run(func(string) string { return "" }, new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "make run") {
		t.Errorf("got %v", err)
	}
}
