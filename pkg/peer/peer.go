// Package peer lets modules call each other by name. A generated client is given the address http://users and an HTTP client from here:
// a module that lives in this process is called in memory, one that lives elsewhere over the network, and both get the same request.
package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"golang.org/x/sync/singleflight"

	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
	"example.com/groundwork/pkg/secret"
)

// Network knows where every module lives. It is filled before the first call; names are looked up at call time, so modules may call each
// other in any direction without an order of construction.
type Network struct {
	here  map[string]http.Handler
	there map[string]*there
	wire  http.RoundTripper
}

// New makes a network without modules.
func New() *Network {
	wire := http.DefaultTransport.(*http.Transport).Clone()
	wire.MaxIdleConnsPerHost = 64
	wire.ResponseHeaderTimeout = answerTimeout
	return &Network{here: map[string]http.Handler{}, there: map[string]*there{}, wire: wire}
}

// Here says that the module is answered by h in this process.
func (n *Network) Here(module string, h http.Handler) { n.here[module] = h }

// There says that the module answers at an address elsewhere.
func (n *Network) There(module, address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("the address of %s is not an http:// or https:// one", module)
	}
	n.there[module] = newThere(module, u, n.wire)
	return nil
}

// Open is an HTTP client without credentials, for what is public.
func (n *Network) Open() *http.Client {
	return &http.Client{Transport: otelhttp.NewTransport(transport{n})}
}

// Client is an HTTP client that calls as the named module, with a token that it gets from auth for its secret.
func (n *Network) Client(module string, secret secret.Text) *http.Client {
	return &http.Client{Transport: otelhttp.NewTransport(&authorized{next: transport{n}, token: tokens{auth: n.Open(), id: module, secret: secret}})}
}

// transport carries a request to where its host lives.
type transport struct{ n *Network }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if id := request.From(r.Context()).ID; id != "" {
		r.Header.Set("X-Request-Id", id)
	}
	module := r.URL.Hostname()
	if h := t.n.here[module]; h != nil {
		return inMemory(h, r)
	}
	if there := t.n.there[module]; there != nil {
		return there.RoundTrip(r)
	}
	return nil, problem.Unavailable.New("dependency-unavailable", "The module "+module+" is not known here.")
}

// bare is a context with its parent's end and none of its values: chi keeps routing state there, and a caller's principal must not
// leak into the callee. Over the network it would not either.
type bare struct{ context.Context }

func (bare) Value(any) any { return nil }

// inMemory runs the handler on the caller's goroutine and hands over what it wrote. What would break a connection is an error here too:
// a caller whose time is up gets no answer, and a handler that hangs up gives none.
func inMemory(h http.Handler, r *http.Request) (resp *http.Response, err error) {
	in := r.Clone(bare{r.Context()})
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "127.0.0.1:0"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close() // as over the network: who measures the call waits for it
	w := &recorder{header: http.Header{}}
	defer func() {
		if v := recover(); v == http.ErrAbortHandler {
			resp, err = nil, away(r.URL.Hostname()).Because(http.ErrAbortHandler)
		} else if v != nil {
			panic(v)
		}
	}()
	h.ServeHTTP(w, in)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w.WriteHeader(http.StatusOK) // nothing when there was an answer
	if r.Method == http.MethodHead {
		w.body.Reset()
	}
	return &http.Response{
		Status: strconv.Itoa(w.status) + " " + http.StatusText(w.status), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

func away(module string) *problem.Error {
	return problem.Unavailable.New("dependency-unavailable", "The module "+module+" does not answer.")
}

type recorder struct {
	header, sent http.Header
	status       int
	body         bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// authorized adds the module's own token to each request.
type authorized struct {
	next  http.RoundTripper
	token tokens
}

func (a *authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := a.token.get(r.Context())
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token.Reveal())
	resp, err := a.next.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		a.token.forget(token) // the next call asks for a new one
	}
	return resp, err
}

// tokens keeps one access token per module and renews it in time (RFC 6749, section 4.4).
type tokens struct {
	auth   *http.Client
	id     string
	secret secret.Text
	asking singleflight.Group

	mu      sync.Mutex // of what follows; nobody asks for a token under it
	token   secret.Text
	expires time.Time
}

const (
	answerTimeout = 10 * time.Second // for a module elsewhere to begin its answer; what is left of the request's own time is mostly less
	askTimeout    = 5 * time.Second  // for a token to call it with
)

func (t *tokens) known() (token secret.Text, valid bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.token, time.Now().Before(t.expires)
}

func (t *tokens) get(ctx context.Context) (secret.Text, error) {
	token, valid := t.known()
	if valid {
		return token, nil
	}
	// One asks for all who wait, and goes on when the first of them leaves.
	asked := t.asking.DoChan("", func() (any, error) {
		if token, valid := t.known(); valid { // it came since we looked
			return token, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		return t.ask(ctx)
	})
	select {
	case <-ctx.Done():
		return token, ctx.Err()
	case answer := <-asked:
		token, _ := answer.Val.(secret.Text)
		return token, answer.Err
	}
}

func (t *tokens) ask(ctx context.Context) (token secret.Text, err error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://auth/v1/auth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return token, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(t.id), url.QueryEscape(t.secret.Reveal()))
	resp, err := t.auth.Do(req)
	if err != nil {
		return token, err
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
		Error       string `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil || answer.AccessToken == "" {
		cause := errors.Join(fmt.Errorf("token for %s: status %d %s", t.id, resp.StatusCode, answer.Error), err)
		return token, problem.Unavailable.New("dependency-unavailable", "The module auth gives no token.").Because(cause)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// A tenth of its life is left when it is renewed.
	t.token, t.expires = secret.New(answer.AccessToken), time.Now().Add(time.Duration(answer.ExpiresIn)*time.Second*9/10)
	return t.token, nil
}

func (t *tokens) forget(token secret.Text) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token.Reveal() == token.Reveal() {
		t.expires = time.Time{}
	}
}
