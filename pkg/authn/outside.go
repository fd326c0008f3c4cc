package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"example.com/groundwork/pkg/problem"
)

const (
	metadataFor  = 10 * time.Minute // how long what an issuer says of itself is believed
	metadataSize = 1 << 20          // bytes of an answer
)

// Outside answers in auth's place when tokens come from somebody else's issuer: the two paths at which modules ask auth, the keys and the
// token of a module, lead to where the issuer's metadata says these are (RFC 8414, or OpenID Connect Discovery 1.0). The metadata must
// name the issuer as it was configured, as RFC 8414, section 3.3 demands. Nobody is followed elsewhere: a module's secret is for the issuer.
func Outside(issuer string, client *http.Client) http.Handler {
	stays := *client
	stays.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	o := &outside{issuer: issuer, client: &stays}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, r *http.Request) {
		o.pass(w, r, func(m metadata) string { return m.Keys })
	})
	mux.HandleFunc("POST /v1/auth/token", func(w http.ResponseWriter, r *http.Request) {
		o.pass(w, r, func(m metadata) string { return m.Token })
	})
	return mux
}

type metadata struct {
	Issuer string `json:"issuer"`
	Keys   string `json:"jwks_uri"`
	Token  string `json:"token_endpoint"`
}

type outside struct {
	issuer string
	client *http.Client

	mu    sync.Mutex
	known metadata
	until time.Time
}

// pass sends a request on to one of the issuer's endpoints.
func (o *outside) pass(w http.ResponseWriter, r *http.Request, endpoint func(metadata) string) {
	m, err := o.metadata(r.Context())
	target := endpoint(m)
	if err == nil && target == "" {
		err = errors.New("its metadata does not say where")
	}
	var resp *http.Response
	if err == nil {
		resp, err = o.send(r, target)
	}
	if err != nil {
		problem.Write(w, r, problem.Unavailable.New("dependency-unavailable", "The issuer of the tokens does not answer.").Because(fmt.Errorf("issuer %s: %w", o.issuer, err)))
		return
	}
	defer resp.Body.Close()
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(resp.Body, metadataSize)) // whoever asks sees that it is cut
}

func (o *outside) send(r *http.Request, target string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, target, r.Body)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"Accept", "Authorization", "Content-Type"} {
		if v := r.Header.Get(name); v != "" {
			req.Header.Set(name, v)
		}
	}
	resp, err := o.client.Do(req)
	if err == nil && resp.StatusCode/100 == 3 {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s sends us to %q", target, resp.Header.Get("Location"))
	}
	return resp, err
}

// metadata returns what the issuer says of itself. A failure is not remembered: the next request asks again.
func (o *outside) metadata(ctx context.Context) (metadata, error) {
	o.mu.Lock()
	known, fresh := o.known, time.Now().Before(o.until)
	o.mu.Unlock()
	if fresh {
		return known, nil
	}
	u, err := url.Parse(o.issuer)
	if err != nil {
		return metadata{}, err
	}
	// RFC 8414 puts the well-known part before the issuer's own path, OpenID Connect after it.
	places := []string{
		u.Scheme + "://" + u.Host + "/.well-known/oauth-authorization-server" + strings.TrimSuffix(u.EscapedPath(), "/"),
		strings.TrimSuffix(o.issuer, "/") + "/.well-known/openid-configuration",
	}
	var errs []error
	for _, place := range places {
		m, err := o.fetch(ctx, place)
		if err == nil {
			o.mu.Lock()
			o.known, o.until = m, time.Now().Add(metadataFor)
			o.mu.Unlock()
			return m, nil
		}
		errs = append(errs, err)
	}
	return metadata{}, errors.Join(errs...)
}

func (o *outside) fetch(ctx context.Context, place string) (m metadata, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return m, err
	}
	resp, err := o.client.Do(req)
	if err != nil {
		return m, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return m, fmt.Errorf("%s answers %d", place, resp.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, metadataSize)).Decode(&m); err != nil {
		return m, fmt.Errorf("%s: %w", place, err)
	}
	if m.Issuer != o.issuer {
		return m, fmt.Errorf("%s is the metadata of another issuer", place)
	}
	return m, nil
}
