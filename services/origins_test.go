package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"example.com/groundwork/pkg/httpserver"
)

// TestAPageMaySendAndReadWhatTheContractsSay holds what pkg/httpserver lets a page do (cors.go) against every contract: a new method or
// header that is missing there would work everywhere but in a browser.
func TestAPageMaySendAndReadWhatTheContractsSay(t *testing.T) {
	t.Parallel()
	const origin = "https://app.example.com"
	origins, err := httpserver.NewOrigins([]string{origin})
	if err != nil {
		t.Fatal(err)
	}
	router := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.DiscardHandler), Timeout: time.Second, Origins: origins})
	httpserver.NewHealth(slog.New(slog.DiscardHandler)).Routes(router) // a router without a route has no middleware either
	ask := func(method, path string, headers ...string) *http.Response {
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Origin", origin)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		router.ServeHTTP(w, r)
		return w.Result()
	}
	readable := []string{"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma", // by the standard
		"set-cookie"} // the browser's own
	for name := range strings.SplitSeq(ask("GET", "/").Header.Get("Access-Control-Expose-Headers"), ",") {
		readable = append(readable, strings.ToLower(strings.TrimSpace(name)))
	}
	for _, spec := range everySpec() {
		doc, err := openapi3.NewLoader().LoadFromData(spec)
		if err != nil {
			t.Fatal(err)
		}
		for path, item := range doc.Paths.Map() {
			for method, op := range item.Operations() {
				sent := []string{"authorization", "content-type", "traceparent", "x-request-id"}
				for _, p := range append(slices.Clone(item.Parameters), op.Parameters...) {
					if p.Value.In == openapi3.ParameterInHeader {
						sent = append(sent, strings.ToLower(p.Value.Name))
					}
				}
				slices.Sort(sent) // as browsers send them
				resp := ask("OPTIONS", path, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", strings.Join(sent, ","))
				if resp.StatusCode != http.StatusNoContent {
					t.Errorf("a page may not send %s %s with %v: add what is missing to grants in pkg/httpserver/cors.go", method, path, sent)
				}
				for status, answer := range op.Responses.Map() {
					for name := range answer.Value.Headers {
						if !slices.Contains(readable, strings.ToLower(name)) {
							t.Errorf("a page cannot read %s of %s %s (%s): add it to grants in pkg/httpserver/cors.go", name, method, path, status)
						}
					}
				}
			}
		}
	}
}

func TestOriginsAreASetting(t *testing.T) {
	t.Parallel()
	complete := func(value string) func(string) string {
		return func(name string) string { return map[string]string{"ALLOWED_ORIGINS": value}[name] }
	}
	for value, ok := range map[string]bool{
		"": true, "https://app.example.com": true, "https://app.example.com, https://admin.example.com,http://localhost:3000": true,
		"*": false, "https://app.example.com,*": false, "null": false, "https://*.example.com": false, "http://app.example.com": false, "app.example.com": false,
	} {
		_, _, err := load(complete(value), nil)
		if (err == nil) != ok || err != nil && (!strings.Contains(err.Error(), "ALLOWED_ORIGINS: origins such as") || strings.Contains(err.Error(), "admin")) {
			t.Errorf("ALLOWED_ORIGINS=%s: %v; taken: %t", value, err, ok)
		}
	}
}
