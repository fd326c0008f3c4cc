// only with auth: this file

package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// What the page does is tried in a real browser by services/browser_auth_test.go. Here it is served.

func TestThePageCallsTheAPIAndNobodyElse(t *testing.T) {
	served, err := pages("https://api.example.com")
	if err != nil {
		t.Fatal(err)
	}
	for path, status := range map[string]int{"/": 200, "/app.js": 200, "/style.css": 200, "/main.go": 404, "/nothing": 404} {
		w := httptest.NewRecorder()
		served.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost:3000"+path, nil))
		policy := w.Header().Get("Content-Security-Policy")
		if w.Code != status || strings.Contains(policy, "unsafe") ||
			!strings.Contains(policy, "connect-src https://api.example.com;") {
			t.Errorf("%s: %d under %q", path, w.Code, policy)
		}
		if body := w.Body.String(); path == "/" && (!strings.Contains(body, `content="https://api.example.com"`) || strings.Contains(body, "8080")) {
			t.Errorf("the page calls somebody else:\n%s", body)
		}
	}
}

func TestTheServerOfMakeRunIsFoundByItsName(t *testing.T) {
	t.Chdir(t.TempDir())
	if got := running(); got != "" {
		t.Errorf("without a server it is %q", got)
	}
	if err := os.Mkdir(".local", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(".local/run.env", []byte("ADMIN_URL='http://127.0.0.1:9090'\nBASE_URL='http://127.0.0.1:18080'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := running(); got != "http://localhost:18080" {
		t.Errorf("it is at %q", got)
	}
}

func TestAnOriginThatIsNotListedIsTold(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions && r.Header.Get("Origin") == "http://localhost:3000" {
			w.Header().Set("Access-Control-Allow-Origin", "http://localhost:3000")
		}
	}))
	if err := welcome(api.URL, "http://localhost:3000"); err != nil {
		t.Errorf("a listed one: %v", err)
	}
	if err := welcome(api.URL, "http://localhost:3001"); err == nil || !strings.Contains(err.Error(), "ALLOWED_ORIGINS=http://localhost:3001") {
		t.Errorf("another one: %v", err)
	}
	api.Close()
	if err := welcome(api.URL, "http://localhost:3000"); err == nil || !strings.Contains(err.Error(), "make run") {
		t.Errorf("without a server: %v", err)
	}
}
