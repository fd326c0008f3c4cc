package authn_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/groundwork/pkg/authn"
)

func TestAnotherIssuerIsAskedWhereItsMetadataSay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, document string               // where the metadata are
		change         func(map[string]any) // from what they should say
		keys, token    int                  // what the two paths answer
	}{
		"as an authorization server":      {"", "/.well-known/oauth-authorization-server", nil, 200, 200},
		"with a path":                     {"/tenant", "/.well-known/oauth-authorization-server/tenant", nil, 200, 200},
		"as an OpenID provider":           {"/tenant", "/tenant/.well-known/openid-configuration", nil, 200, 200},
		"that sends on who has a secret":  {"", "/.well-known/oauth-authorization-server", func(m map[string]any) { m["token_endpoint"] = moved(m["token_endpoint"]) }, 200, 503},
		"that sends on who wants keys":    {"", "/.well-known/oauth-authorization-server", func(m map[string]any) { m["jwks_uri"] = moved(m["jwks_uri"]) }, 503, 200},
		"that says nothing of itself":     {"", "/elsewhere", nil, 503, 503},
		"that names another":              {"", "/.well-known/oauth-authorization-server", func(m map[string]any) { m["issuer"] = "https://evil.example" }, 503, 503},
		"that gives modules no tokens":    {"", "/.well-known/oauth-authorization-server", func(m map[string]any) { delete(m, "token_endpoint") }, 200, 503},
		"whose keys are where nobody is":  {"", "/.well-known/oauth-authorization-server", func(m map[string]any) { m["jwks_uri"] = "http://127.0.0.1:1/" }, 503, 200},
		"whose metadata are not metadata": {"", "/.well-known/oauth-authorization-server", func(m map[string]any) { m["jwks_uri"] = 7 }, 503, 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mux := http.NewServeMux()
			server := httptest.NewServer(mux)
			t.Cleanup(server.Close)
			said := map[string]any{"issuer": server.URL + c.path, "jwks_uri": server.URL + "/keys", "token_endpoint": server.URL + "/token"}
			if c.change != nil {
				c.change(said)
			}
			mux.Handle("/moved/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, strings.TrimPrefix(r.URL.Path, "/moved"), http.StatusTemporaryRedirect)
			}))
			mux.HandleFunc(c.document, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(said) })
			mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the keys") })
			mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
				id, secret, _ := r.BasicAuth()
				_, _ = io.WriteString(w, id+" "+secret+" "+r.PostFormValue("grant_type"))
			})

			h := authn.Outside(server.URL+c.path, server.Client())
			keys := httptest.NewRecorder()
			h.ServeHTTP(keys, httptest.NewRequest(http.MethodGet, "/.well-known/jwks.json", nil))
			if keys.Code != c.keys || c.keys == 200 && keys.Body.String() != "the keys" {
				t.Errorf("the keys: %d %s", keys.Code, keys.Body)
			}
			ask := httptest.NewRequest(http.MethodPost, "/v1/auth/token", strings.NewReader("grant_type=client_credentials"))
			ask.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			ask.SetBasicAuth("users", "a secret")
			token := httptest.NewRecorder()
			h.ServeHTTP(token, ask)
			if token.Code != c.token || c.token == 200 && token.Body.String() != "users a secret client_credentials" {
				t.Errorf("the token: %d %s", token.Code, token.Body)
			}
		})
	}
}

// moved is an address of the same server that sends on to another one.
func moved(address any) string {
	i := strings.LastIndex(address.(string), "/")
	return address.(string)[:i] + "/moved" + address.(string)[i:]
}
