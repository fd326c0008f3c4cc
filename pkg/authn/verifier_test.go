package authn_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/problem"
)

const us = "https://api.example.com"

// key is a signing key. Tokens are put together by hand here: a library would not let us make the bad ones.
type key struct {
	id      string
	private *ecdsa.PrivateKey
}

func newKey(t testing.TB, id string) key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key{id, private}
}

func (k key) jwk(t testing.TB) map[string]any {
	t.Helper()
	point, err := k.private.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": k.id, "x": b64(point[1:33]), "y": b64(point[33:])}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

type object = map[string]any

func part(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b64(raw)
}

// sign makes a token as the issuer does.
func (k key) sign(header, claims object) string {
	signed := part(header) + "." + part(claims)
	hash := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, hash[:])
	if err != nil {
		panic(err)
	}
	return signed + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// hmacked signs with a secret that everybody knows.
func hmacked(header, claims object, secret []byte) string {
	signed := part(header) + "." + part(claims)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + b64(mac.Sum(nil))
}

func (k key) header(more ...any) object {
	return with(object{"alg": "ES256", "typ": "at+jwt", "kid": k.id}, more...)
}

var (
	now    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	person = uuid.MustParse("0193a5f0-0000-7000-8000-00000000000a")
	sid    = uuid.MustParse("0193a5f0-0000-7000-8000-00000000000b")
)

func claims(more ...any) object {
	return with(object{
		"iss": us, "aud": us, "sub": person.String(), "sid": sid.String(), "client_id": "app", "scope": "a:read a:write", "jti": uuid.NewString(),
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "auth_time": now.Add(-time.Hour).Unix(), "acr": "aal1",
	}, more...)
}

// with changes names of an object; nil takes one away.
func with(o object, more ...any) object {
	o = maps.Clone(o)
	for i := 0; i < len(more); i += 2 {
		if o[more[i].(string)] = more[i+1]; more[i+1] == nil {
			delete(o, more[i].(string))
		}
	}
	return o
}

// issuer answers for the keys.
type issuer struct {
	t     testing.TB
	mu    sync.Mutex
	keys  []key
	down  bool
	hold  chan struct{} // when set, an answer waits for it
	asked atomic.Int32
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.asked.Add(1)
	i.mu.Lock()
	down, hold := i.down, i.hold
	set := []object{}
	for _, k := range i.keys {
		set = append(set, k.jwk(i.t))
	}
	i.mu.Unlock()
	if r.URL.String() != "http://auth/.well-known/jwks.json" {
		i.t.Errorf("it asks %s", r.URL)
	}
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if down {
		return nil, errors.New("connection refused")
	}
	raw, err := json.Marshal(object{"keys": set})
	return &http.Response{StatusCode: 200, Body: io.NopCloser(bytes.NewReader(raw)), Header: http.Header{}, Request: r}, err
}

func (i *issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

// newVerifier is a verifier whose clock stands at now and moves with the test's.
func newVerifier(t testing.TB, keys ...key) (*authn.Verifier, *issuer, *clock) {
	t.Helper()
	i := &issuer{t: t, keys: keys}
	c := &clock{}
	c.at.Store(now.UnixNano())
	v := authn.NewVerifier(us, "http://auth/.well-known/jwks.json", &http.Client{Transport: i})
	v.SetNow(c.now)
	return v, i, c
}

type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) forward(d time.Duration) { c.at.Add(int64(d)) }

func TestAGoodTokenNamesItsCaller(t *testing.T) {
	t.Parallel()
	k := newKey(t, "one")
	v, _, _ := newVerifier(t, k)
	p, err := v.Verify(t.Context(), k.sign(k.header(), claims()))
	if err != nil {
		t.Fatal(err)
	}
	if p.UserID != person || p.SessionID != sid || p.Subject != person.String() || p.ClientID != "app" || p.Kind() != "user" || p.ACR != "aal1" ||
		!p.AuthTime.Equal(now.Add(-time.Hour)) || !p.Expires.Equal(now.Add(5*time.Minute)) || !p.Has("a:read") || !p.Has("a:write") || p.Has("a") || p.Has("") {
		t.Errorf("it names %+v", p)
	}
	p, err = v.Verify(t.Context(), k.sign(k.header("typ", "AT+JWT"), claims("sid", nil, "sub", "users", "scope", "internal")))
	if err != nil || p.UserID != uuid.Nil || p.Subject != "users" || p.Kind() != "module" || !p.Has("internal") {
		t.Errorf("a module's names %+v, %v", p, err)
	}
}

func TestAttacks(t *testing.T) {
	t.Parallel()
	k, stranger := newKey(t, "one"), newKey(t, "one")
	other := newKey(t, "two")
	der, err := x509.MarshalPKIXPublicKey(&k.private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	publicJWK, err := json.Marshal(k.jwk(t))
	if err != nil {
		t.Fatal(err)
	}
	good := k.sign(k.header(), claims())
	parts := strings.Split(good, ".")
	serialized, err := json.Marshal(object{"payload": parts[1], "protected": parts[0], "signature": parts[2]})
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"nothing":                            "",
		"garbage":                            "garbage",
		"dots":                               "..",
		"four parts":                         good + ".x",
		"a huge one":                         strings.Repeat("a", 10<<20),
		"a huge header":                      k.sign(k.header("x", strings.Repeat("a", 10_000)), claims()),
		"no signature":                       parts[0] + "." + parts[1] + ".",
		"alg none":                           part(k.header("alg", "none")) + "." + part(claims()) + ".",
		"alg None":                           part(k.header("alg", "None")) + "." + part(claims()) + "." + parts[2],
		"alg none, typ kept, signature kept": part(k.header("alg", "none")) + "." + parts[1] + "." + parts[2],
		"HS256 with the public key in PEM":   hmacked(k.header("alg", "HS256"), claims(), publicPEM),
		"HS256 with the public key in DER":   hmacked(k.header("alg", "HS256"), claims(), der),
		"HS256 with the public key as a JWK": hmacked(k.header("alg", "HS256"), claims(), publicJWK),
		"HS256 under ES256's name":           hmacked(k.header(), claims(), publicPEM),
		"ES384's name":                       k.sign(k.header("alg", "ES384"), claims()),
		"signed by a stranger under our kid": stranger.sign(stranger.header(), claims()),
		"signed by a stranger with his jwk":  stranger.sign(stranger.header("jwk", stranger.jwk(t)), claims()),
		"signed by a stranger with his jku":  stranger.sign(stranger.header("jku", "https://evil.example/jwks.json"), claims()),
		"signed by a stranger, no kid, jwk":  stranger.sign(stranger.header("kid", nil, "jwk", stranger.jwk(t)), claims()),
		"signed by a stranger with x5u":      stranger.sign(stranger.header("x5u", "https://evil.example/cert"), claims()),
		"another kid":                        other.sign(other.header(), claims()),
		"no kid":                             k.sign(k.header("kid", nil), claims()),
		"a kid that is a path":               hmacked(object{"alg": "HS256", "typ": "at+jwt", "kid": "../../../dev/null"}, claims(), nil),
		"claims changed":                     parts[0] + "." + part(claims("scope", "internal")) + "." + parts[2],
		"header changed":                     part(k.header("x", "y")) + "." + parts[1] + "." + parts[2],
		"signature of zeros":                 parts[0] + "." + parts[1] + "." + b64(make([]byte, 64)),
		"typ JWT, as an id token has":        k.sign(k.header("typ", "JWT"), claims()),
		"no typ":                             k.sign(k.header("typ", nil), claims()),
		"an id token":                        k.sign(k.header("typ", "JWT"), object{"iss": us, "aud": "app", "sub": person.String(), "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "nonce": "n", "email": "a@example.com"}),
		"crit":                               k.sign(k.header("crit", []string{"exp"}), claims()),
		"crit with what it names":            k.sign(k.header("crit", []string{"b64"}, "b64", false), claims()),
		"another issuer":                     k.sign(k.header(), claims("iss", "https://evil.example")),
		"the issuer and more":                k.sign(k.header(), claims("iss", us+"/")),
		"no issuer":                          k.sign(k.header(), claims("iss", nil)),
		"another audience":                   k.sign(k.header(), claims("aud", "https://other.example")),
		"a list of audiences":                k.sign(k.header(), claims("aud", []string{us, "https://other.example"})),
		"no audience":                        k.sign(k.header(), claims("aud", nil)),
		"no subject":                         k.sign(k.header(), claims("sub", "")),
		"expired":                            k.sign(k.header(), claims("exp", now.Add(-31*time.Second).Unix())),
		"never expires":                      k.sign(k.header(), claims("exp", nil)),
		"expires in words":                   k.sign(k.header(), claims("exp", "tomorrow")),
		"from the future":                    k.sign(k.header(), claims("iat", now.Add(31*time.Second).Unix())),
		"a person without an id":             k.sign(k.header(), claims("sub", "ada")),
		"a session without an id":            k.sign(k.header(), claims("sid", "mine")),
		"claims that are a list":             k.sign(k.header(), object{}) + "x",
		"JSON serialization":                 string(serialized),
		"two in one":                         good + "," + good,
	} {
		v, i, _ := newVerifier(t, k)
		p, err := v.Verify(t.Context(), token)
		if !problem.Is(err, problem.Unauthenticated) || p.Kind() != "" {
			t.Errorf("%s: %+v, %v", name, p, err)
			continue
		}
		e := problem.From(err)
		if e.Header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` || e.Code != "unauthenticated" || e.Detail != "The access token is not valid." {
			t.Errorf("%s: it is told more than that: %+v", name, e)
		}
		if i.asked.Load() > 1 || v.Remembered() != 0 {
			t.Errorf("%s: it asks %d times and remembers %d", name, i.asked.Load(), v.Remembered())
		}
	}
}

func TestClocksMayDifferALittle(t *testing.T) {
	t.Parallel()
	k := newKey(t, "one")
	for name, c := range map[string]struct {
		claims object
		good   bool
	}{
		"expired 30 s ago": {claims("exp", now.Add(-30*time.Second).Unix()), true},
		"expired 31 s ago": {claims("exp", now.Add(-31*time.Second).Unix()), false},
		"issued in 30 s":   {claims("iat", now.Add(30*time.Second).Unix()), true},
		"issued in 31 s":   {claims("iat", now.Add(31*time.Second).Unix()), false},
	} {
		v, _, _ := newVerifier(t, k)
		if _, err := v.Verify(t.Context(), k.sign(k.header(), c.claims)); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnUnknownKeyAsksForNewOnesOnceInAWhile(t *testing.T) {
	t.Parallel()
	old, young := newKey(t, "old"), newKey(t, "young")
	v, i, c := newVerifier(t, old)
	verify := func(k key) error {
		_, err := v.Verify(t.Context(), k.sign(k.header(), claims("exp", now.Add(time.Hour).Unix())))
		return err
	}
	if err := verify(old); err != nil || i.asked.Load() != 1 {
		t.Fatalf("%v, asked %d times", err, i.asked.Load())
	}
	i.set(func() { i.keys = []key{old, young} })
	for range 20 {
		if err := verify(young); !problem.Is(err, problem.Unauthenticated) {
			t.Errorf("a new key within ten seconds: %v", err)
		}
	}
	if i.asked.Load() != 1 {
		t.Errorf("strangers make it ask %d times", i.asked.Load())
	}
	c.forward(10 * time.Second)
	if err := verify(young); err != nil || i.asked.Load() != 2 {
		t.Errorf("a new key after ten seconds: %v, asked %d times", err, i.asked.Load())
	}

	// The issuer is away: what is known goes on, and it is left alone for a while.
	i.set(func() { i.down = true })
	c.forward(10 * time.Second)
	v.Forget()
	for range 5 {
		if err := verify(newKey(t, "stranger")); !problem.Is(err, problem.Unauthenticated) {
			t.Errorf("a stranger while the issuer is away: %v", err)
		}
		if err := errors.Join(verify(old), verify(young)); err != nil {
			t.Errorf("known keys while the issuer is away: %v", err)
		}
	}
	if i.asked.Load() != 3 {
		t.Errorf("while the issuer is away it is asked %d times; want once more", i.asked.Load()-2)
	}

	// A key that the issuer takes back is not taken any more.
	i.set(func() { i.down, i.keys = false, []key{young} })
	c.forward(10 * time.Second)
	_ = verify(newKey(t, "stranger"))
	if err := verify(old); !problem.Is(err, problem.Unauthenticated) {
		t.Errorf("a key that is gone: %v", err)
	}
}

// A key that was taken back is forgotten, with what it has signed, though nobody comes with an unknown one; and nobody waits for that.
func TestAKeyThatWasTakenBackIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stolen, young := newKey(t, "stolen"), newKey(t, "young")
		v, i, c := newVerifier(t, stolen, young)
		token := func(k key) string { return k.sign(k.header(), claims("exp", now.Add(24*time.Hour).Unix())) }
		remembered, good := token(stolen), token(young)
		verify := func(says string, asked int32, tokens ...string) {
			t.Helper()
			for _, token := range tokens {
				if _, err := v.Verify(t.Context(), token); err != nil {
					t.Errorf("%s: %v", says, err)
				}
			}
			synctest.Wait()
			if got := i.asked.Load(); got != asked {
				t.Errorf("%s: it has asked %d times, want %d", says, got, asked)
			}
		}
		verify("at first", 1, remembered, good)
		hold := make(chan struct{})
		i.set(func() { i.keys, i.hold = []key{young}, hold })
		c.forward(5*time.Minute - 1)
		verify("a young set", 1, remembered, token(stolen))
		c.forward(1)
		verify("while the issuer is asked", 2, remembered, token(stolen), good)
		close(hold)
		synctest.Wait()
		for says, token := range map[string]string{"what was verified": remembered, "another": token(stolen)} {
			if _, err := v.Verify(t.Context(), token); !problem.Is(err, problem.Unauthenticated) {
				t.Errorf("%s, when the key is gone: %v", says, err)
			}
		}
		verify("another key", 2, good)

		i.set(func() { i.down, i.hold = true, nil })
		c.forward(5 * time.Minute)
		verify("the issuer is away", 3, good, good, token(young))
		c.forward(10*time.Second - 1)
		verify("and left alone for a while", 3, good, good, token(young))
		c.forward(1)
		verify("and asked again", 4, good, good, token(young))
	})
}

func TestWithoutKeysNobodyIsRefusedForGood(t *testing.T) {
	t.Parallel()
	k := newKey(t, "one")
	v, i, _ := newVerifier(t, k)
	i.set(func() { i.down = true })
	token := k.sign(k.header(), claims())
	if _, err := v.Verify(t.Context(), token); !problem.Is(err, problem.Unavailable) || problem.From(err).RetryAfter == 0 {
		t.Errorf("no keys at all: %v", err)
	}
	i.set(func() { i.down, i.keys = false, nil })
	if _, err := v.Verify(t.Context(), token); !problem.Is(err, problem.Unavailable) {
		t.Errorf("an empty set: %v", err)
	}
	i.set(func() { i.keys = []key{k} })
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("when the issuer is back, at once: %v", err)
	}
}

func TestRememberedTokensExpireAndStayBounded(t *testing.T) {
	t.Parallel()
	k := newKey(t, "one")
	v, _, c := newVerifier(t, k)
	token := k.sign(k.header(), claims())
	verify := func() error { _, err := v.Verify(t.Context(), token); return err }
	if err := errors.Join(verify(), verify()); err != nil || v.Remembered() != 1 {
		t.Fatalf("%v, %d remembered", err, v.Remembered())
	}
	c.forward(5*time.Minute + 30*time.Second)
	if err := verify(); err != nil {
		t.Errorf("at the edge: %v", err)
	}
	c.forward(time.Second)
	if err := verify(); !problem.Is(err, problem.Unauthenticated) {
		t.Errorf("a remembered token that expired: %v", err)
	}

	v, _, _ = newVerifier(t, k)
	v.SetMost(100) // the real number would be 25,000 signatures here
	most := 0
	for n := range 250 {
		if _, err := v.Verify(t.Context(), k.sign(k.header(), claims("jti", fmt.Sprint(n)))); err != nil {
			t.Fatal(err)
		}
		most = max(most, v.Remembered())
	}
	if most > 200 || most < 100 || authn.Most > 50_000 {
		t.Errorf("of 250 tokens %d are remembered; want 200 at most", most)
	}
}

// A flood of tokens with made-up key ids makes the verifier ask; nobody with a good token may wait for that.
func TestASlowIssuerHoldsUpNobodyWhoIsKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, "one")
		v, i, c := newVerifier(t, k)
		remembered := k.sign(k.header(), claims())
		if _, err := v.Verify(t.Context(), remembered); err != nil {
			t.Fatal(err)
		}
		c.forward(time.Minute)
		i.set(func() { i.hold = make(chan struct{}) })
		var strangers sync.WaitGroup
		for n := range 50 {
			stranger := key{fmt.Sprintf("stranger-%d", n), k.private}
			strangers.Go(func() {
				if _, err := v.Verify(t.Context(), stranger.sign(stranger.header(), claims())); !problem.Is(err, problem.Unauthenticated) {
					t.Errorf("a stranger: %v", err)
				}
			})
		}
		synctest.Wait() // they all hang on the issuer now
		began := time.Now()
		if _, err := v.Verify(t.Context(), remembered); err != nil {
			t.Errorf("a remembered token: %v", err)
		}
		if _, err := v.Verify(t.Context(), k.sign(k.header(), claims())); err != nil {
			t.Errorf("a new token with a known key: %v", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the known wait %s for strangers", took)
		}
		gone, leave := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer leave()
		late := key{"stranger-too", k.private}
		if _, err := v.Verify(gone, late.sign(late.header(), claims())); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 100*time.Millisecond {
			t.Errorf("who has less time than the issuer takes waits %s: %v", time.Since(began), err)
		}
		strangers.Wait()
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("the strangers wait %s; want the 2 s that the issuer gets", took)
		}
		if i.asked.Load() != 2 {
			t.Errorf("51 strangers at once make it ask %d times", i.asked.Load()-1)
		}
	})
}

func TestWhoAsksFirstMayLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, "one")
		v, i, _ := newVerifier(t, k)
		i.hold = make(chan struct{})
		first, leave := context.WithCancel(t.Context())
		go func() { _, _ = v.Verify(first, k.sign(k.header(), claims())) }()
		synctest.Wait()
		second := make(chan error, 1)
		go func() {
			_, err := v.Verify(t.Context(), k.sign(k.header(), claims()))
			second <- err
		}()
		synctest.Wait()
		leave()
		synctest.Wait()
		close(i.hold)
		if err := <-second; err != nil {
			t.Errorf("the second is refused because the first left: %v", err)
		}
	})
}

func TestTheContextNamesTheCaller(t *testing.T) {
	t.Parallel()
	if p := authn.From(t.Context()); p.Kind() != "" || p.Has("") {
		t.Errorf("nobody is %+v", p)
	}
	if p := authn.From(authn.With(t.Context(), authn.Principal{Subject: "users", Scopes: []string{"internal"}})); p.Kind() != "module" {
		t.Errorf("a module is %+v", p)
	}
	internal := []string{"internal"}
	if p := (authn.Principal{Subject: person.String(), UserID: person, SessionID: sid, Scopes: internal}); p.Kind() != "user" {
		t.Errorf("a person is a %s by a scope", p.Kind())
	}
	if p := (authn.Principal{Subject: person.String(), UserID: person, SessionID: person, Scopes: internal}); p.Kind() != "service" {
		t.Errorf("a service account is a %s by a scope", p.Kind())
	}
	if p := authn.From(authn.With(t.Context(), authn.Principal{Subject: "somebody of another issuer"})); p.Kind() != "service" {
		t.Errorf("whoever is not said to be a person is %+v", p)
	}
}
