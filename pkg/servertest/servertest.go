// Package servertest serves a module in a test as the program does: the same router, the same guard, real signed tokens. Every answer is
// held against the contract, so a field that is missing or a null list fails the test that received it.
package servertest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/peer"
)

// Issuer signs tokens in auth's place.
type Issuer struct {
	Name string
	key  jwk.Key
	t    testing.TB
}

// NewIssuer makes an issuer with a key of its own.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	raw, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwk.Import(raw)
	if err == nil {
		err = jwk.AssignKeyID(key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &Issuer{Name: "http://issuer.test", key: key, t: t}
}

// Routes serves the issuer's public keys where auth does.
func (i *Issuer) Routes(r chi.Router) {
	r.Get("/.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		public, err := i.key.PublicKey()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []jwk.Key{public}})
	})
}

// Provider makes the issuer one that somebody else runs: with metadata (RFC 8414), and tokens under the scope internal for whoever knows the
// secret. Its Name has to be the address of r.
func (i *Issuer) Provider(r chi.Router, secret string) {
	i.Routes(r)
	r.Get("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.Name, "jwks_uri": i.Name + "/.well-known/jwks.json", "token_endpoint": i.Name + "/token"})
	})
	r.Post("/token", func(w http.ResponseWriter, r *http.Request) {
		id, given, _ := r.BasicAuth()
		if unescaped, err := url.QueryUnescape(given); err != nil || unescaped != secret {
			http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
			return
		}
		token := i.Token(authn.Principal{Subject: id, ClientID: id, Scopes: []string{"internal"}})
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 300})
	})
}

// Token signs a token for p that is valid for five minutes. A principal with a UserID is a person in a session.
func (i *Issuer) Token(p authn.Principal) string {
	now := time.Now()
	c := authn.Claims{
		Issuer: i.Name, Audience: i.Name, Subject: p.Subject, ClientID: p.ClientID, Scope: strings.Join(p.Scopes, " "),
		IssuedAt: now.Unix(), Expires: now.Add(5 * time.Minute).Unix(), ID: uuid.NewString(), ACR: p.ACR,
	}
	if p.UserID != uuid.Nil {
		c.Subject, c.Session, c.AuthTime = p.UserID.String(), uuid.NewString(), now.Unix()
	}
	return i.Sign(c, map[string]any{"typ": authn.TokenType})
}

// Sign signs any claims under any header, for tests of what must be refused.
func (i *Issuer) Sign(claims any, header map[string]any) string {
	i.t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		i.t.Fatal(err)
	}
	h := jws.NewHeaders()
	for name, value := range header {
		if err := h.Set(name, value); err != nil {
			i.t.Fatal(err)
		}
	}
	token, err := jws.Sign(payload, jws.WithKey(jwa.ES256(), i.key, jws.WithProtectedHeaders(h)))
	if err != nil {
		i.t.Fatal(err)
	}
	return string(token)
}

// Module is what a test serves: contracts and the routes behind them.
type Module struct {
	Specs  [][]byte
	Routes func(chi.Router)
}

// Server is a running server with its issuer.
type Server struct {
	URL    string
	Issuer *Issuer
	check  func(http.RoundTripper) http.RoundTripper
}

// New serves the modules until the test ends.
func New(t testing.TB, modules ...Module) *Server {
	t.Helper()
	issuer := NewIssuer(t)
	keys := chi.NewRouter()
	issuer.Routes(keys)
	network := peer.New()
	network.Here("auth", keys)
	guard := httpserver.Guard{Verifier: authn.NewVerifier(issuer.Name, "http://auth/.well-known/jwks.json", network.Open())}
	r := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.NewJSONHandler(t.Output(), nil)), Timeout: 30 * time.Second})
	var specs [][]byte
	for _, m := range modules {
		if err := guard.Mount(r, m.Routes, m.Specs...); err != nil {
			t.Fatal(err)
		}
		specs = append(specs, m.Specs...)
	}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return &Server{URL: server.URL, Issuer: issuer, check: func(next http.RoundTripper) http.RoundTripper { return Checked(t, next, specs...) }}
}

// As is an HTTP client that calls as p.
func (s *Server) As(p authn.Principal) *http.Client {
	return &http.Client{Transport: s.check(Bearer(s.Issuer.Token(p)))}
}

// Anonymous is an HTTP client without a token.
func (s *Server) Anonymous() *http.Client {
	return &http.Client{Transport: s.check(http.DefaultTransport)}
}

// Bearer is a transport that sends a token with each request.
func Bearer(token string) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+token)
		return http.DefaultTransport.RoundTrip(r)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var read sync.Map // of contracts: reading one takes longer than most tests

// routes finds the operation of a contract that a request is for.
func routes(spec []byte) (routers.Router, error) {
	if known, ok := read.Load(string(spec)); ok {
		return known.(routers.Router), nil
	}
	doc, err := openapi3.NewLoader().LoadFromData(spec)
	if err != nil {
		return nil, err
	}
	doc.Servers = nil // any host will do
	made, err := gorillamux.NewRouter(doc)
	if err == nil {
		read.Store(string(spec), made)
	}
	return made, err
}

// Checked fails the test when an answer is not as its contract says. Paths that no contract has pass.
func Checked(t testing.TB, next http.RoundTripper, specs ...[]byte) http.RoundTripper {
	t.Helper()
	var contracts []routers.Router
	for _, spec := range specs {
		contract, err := routes(spec)
		if err != nil {
			t.Fatal(err)
		}
		contracts = append(contracts, contract)
	}
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		for _, contract := range contracts {
			route, params, err := contract.FindRoute(r)
			if err != nil {
				continue
			}
			input := &openapi3filter.ResponseValidationInput{
				RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
				Status:                 resp.StatusCode, Header: resp.Header,
				Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
			}
			if len(body) > 0 || resp.StatusCode == http.StatusOK {
				input.SetBodyBytes(body)
			}
			if err := openapi3filter.ValidateResponse(context.WithoutCancel(r.Context()), input); err != nil {
				t.Errorf("%s %s answers %d, and not as the contract says: %v\n%s", r.Method, r.URL.Path, resp.StatusCode, err, body)
			}
		}
		return resp, nil
	})
}
