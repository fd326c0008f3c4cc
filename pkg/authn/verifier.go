package authn

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"golang.org/x/sync/singleflight"

	"example.com/groundwork/pkg/problem"
)

const (
	// TokenType is the typ of an access token (RFC 9068, section 2.1): no other token of ours passes for one.
	TokenType = "at+jwt"

	leeway       = 30 * time.Second // clocks differ
	keysTimeout  = 2 * time.Second  // for the keys
	refreshEvery = 10 * time.Second // an unknown key id asks for new keys, at most this often
	keysFor      = 5 * time.Minute  // a set older than this is read again, since a key may have been taken back
	remembered   = 10_000           // verified tokens kept, twice at most
	longest      = 8 << 10          // bytes of a token; ours have less than one in eight of it
)

// Claims are what an access token says, in the shape of RFC 9068.
type Claims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience string   `json:"aud"`
	Expires  int64    `json:"exp"` // seconds since 1970, as all times here
	IssuedAt int64    `json:"iat"`
	ID       string   `json:"jti"`
	ClientID string   `json:"client_id"`
	Scope    string   `json:"scope"`
	Session  string   `json:"sid,omitempty"`
	AuthTime int64    `json:"auth_time,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
	Version  int64    `json:"ver,omitempty"` // of the identity, whose roles and status it goes by; not in RFC 9068
}

// Verifier checks access tokens with the public keys of their issuer. It fetches the keys when it meets one it does not know, and behind a
// request's back when they are old, and keeps the last good set while the issuer is away.
type Verifier struct {
	issuer string
	keys   func(context.Context) (jwk.Set, error)
	now    func() time.Time

	// Revoked are the tokens that count no more before their time is over.
	Revoked Revocations

	asking singleflight.Group

	mu     sync.Mutex // of what follows; nobody asks the issuer under it
	set    jwk.Set
	asked  time.Time                       // when the issuer was asked last
	read   time.Time                       // when it has answered
	tried  time.Time                       // when the set was last found to be old
	recent map[[sha256.Size]byte]Principal // verified: checking a signature costs more than the rest of a request
	older  map[[sha256.Size]byte]Principal
	most   int // how many each of the two holds
}

// NewVerifier makes a verifier of the issuer's tokens, whose audience is the issuer too. client reaches the keys at jwksURL.
func NewVerifier(issuer, jwksURL string, client *http.Client) *Verifier {
	return &Verifier{issuer: issuer, now: time.Now, most: remembered, keys: func(ctx context.Context) (jwk.Set, error) { return fetchKeys(ctx, client, jwksURL) }}
}

// Verify returns whom the token names. The error is Unauthenticated, or Unavailable when there are no keys to check it with.
func (v *Verifier) Verify(ctx context.Context, token string) (Principal, error) {
	if len(token) > longest {
		return Principal{}, Invalid(errors.New("too long"))
	}
	hash := sha256.Sum256([]byte(token))
	if p, ok := v.recall(hash); ok {
		return v.unlessRevoked(p)
	}
	header, err := parseHeader(token)
	if err != nil {
		return Principal{}, Invalid(err)
	}
	key, err := v.key(ctx, header.KeyID)
	if err != nil {
		return Principal{}, err
	}
	payload, err := jws.Verify([]byte(token), jws.WithKey(jwa.ES256(), key))
	if err != nil {
		return Principal{}, Invalid(err)
	}
	var c Claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return Principal{}, Invalid(err)
	}
	p, err := c.principal(v.issuer, v.now())
	if err != nil {
		return Principal{}, Invalid(err)
	}
	v.remember(hash, header.KeyID, p)
	return v.unlessRevoked(p)
}

func (v *Verifier) unlessRevoked(p Principal) (Principal, error) {
	if v.Revoked.covers(p) {
		return Principal{}, Invalid(errors.New("revoked"))
	}
	return p, nil
}

// Invalid is how a token is refused (RFC 6750, section 3.1). The cause is for the log.
func Invalid(cause error) error {
	e := problem.Unauthenticated.New("unauthenticated", "The access token is not valid.").Because(cause)
	e.Header = http.Header{"Www-Authenticate": {`Bearer error="invalid_token"`}}
	return e
}

// header is the part of a JWS header that decides which key to use. What a caller adds (jku, jwk, x5c) is never followed.
type header struct {
	Algorithm string   `json:"alg"`
	Type      string   `json:"typ"`
	KeyID     string   `json:"kid"`
	Critical  []string `json:"crit"`
}

func parseHeader(token string) (h header, err error) {
	message, err := jws.Parse([]byte(token), jws.WithCompact())
	if err != nil {
		return h, err
	}
	raw, err := json.Marshal(message.Signatures()[0].ProtectedHeaders())
	if err == nil {
		err = json.Unmarshal(raw, &h)
	}
	switch {
	case err != nil:
		return h, err
	case h.Algorithm != jwa.ES256().String():
		return h, errors.New("another algorithm than ES256")
	case !strings.EqualFold(h.Type, TokenType):
		return h, errors.New("not an access token")
	case len(h.Critical) > 0:
		return h, errors.New("critical extensions")
	}
	return h, nil
}

// principal checks the claims at a time and reads them.
func (c Claims) principal(issuer string, now time.Time) (Principal, error) {
	expires := time.Unix(c.Expires, 0)
	switch {
	case c.Issuer != issuer:
		return Principal{}, errors.New("another issuer")
	case c.Audience != issuer:
		return Principal{}, errors.New("another audience")
	case now.After(expires.Add(leeway)):
		return Principal{}, errors.New("expired")
	case now.Add(leeway).Before(time.Unix(c.IssuedAt, 0)):
		return Principal{}, errors.New("issued in the future")
	case c.Subject == "":
		return Principal{}, errors.New("no subject")
	}
	p := Principal{
		Subject: c.Subject, ClientID: c.ClientID, Scopes: strings.Fields(c.Scope), ACR: c.ACR, Expires: expires, AuthTime: time.Unix(c.AuthTime, 0),
		Version: c.Version,
	}
	var err error
	if p.TokenID, err = uuid.Parse(c.ID); err != nil {
		p.TokenID = uuid.Nil
	}
	if c.Session == "" {
		return p, nil // a module
	}
	if p.SessionID, err = uuid.Parse(c.Session); err != nil {
		return Principal{}, err
	}
	p.UserID, err = uuid.Parse(c.Subject)
	return p, err
}

// key finds a key by its id, asking the issuer once in a while for those that are new.
func (v *Verifier) key(ctx context.Context, id string) (jwk.Key, error) {
	if key, err := v.known(id); key != nil || err != nil {
		return key, err
	}
	// One asks for all who wait, and goes on when the first of them leaves. Whose key is known does not wait.
	asked := v.asking.DoChan("", func() (any, error) { return nil, v.refresh(context.WithoutCancel(ctx)) })
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case answer := <-asked:
		if answer.Err != nil {
			return nil, problem.Unavailable.New("dependency-unavailable", "The keys that verify tokens cannot be had.").Because(answer.Err)
		}
	}
	key, err := v.known(id)
	if key == nil && err == nil {
		err = Invalid(errUnknownKey)
	}
	return key, err
}

var errUnknownKey = errors.New("unknown key")

// known returns the key when the last good set has it, an error when it has not and it is too early to ask again, else neither.
func (v *Verifier) known(id string) (jwk.Key, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.set == nil {
		return nil, nil
	}
	if key, ok := v.set.LookupKeyID(id); ok {
		return key, nil
	}
	if v.now().Sub(v.asked) < refreshEvery {
		return nil, Invalid(errUnknownKey)
	}
	return nil, nil
}

// refresh fetches the keys. When they cannot be had, the last good set goes on; the error says that there is none.
func (v *Verifier) refresh(ctx context.Context) error {
	set, err := v.keys(ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil {
		if lacks(set, v.set) {
			v.recent, v.older = nil, nil // among what was verified may be what a stolen key has signed
		}
		v.set, v.read = set, v.now()
	}
	if v.set == nil {
		return err
	}
	v.asked = v.now()
	return nil
}

// lacks reports whether a key that was there before is gone.
func lacks(set, before jwk.Set) bool {
	for i := 0; before != nil && i < before.Len(); i++ {
		key, _ := before.Key(i)
		id, _ := key.KeyID()
		if _, there := set.LookupKeyID(id); !there {
			return true
		}
	}
	return false
}

func fetchKeys(ctx context.Context, client *http.Client, url string) (jwk.Set, error) {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("keys: status %d", resp.StatusCode)
	}
	set, err := jwk.Parse(body)
	if err == nil && set.Len() == 0 {
		err = errors.New("keys: an empty set")
	}
	return set, err
}

func (v *Verifier) recall(hash [sha256.Size]byte) (Principal, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now := v.now(); v.set != nil && now.Sub(v.read) >= keysFor && now.Sub(v.tried) >= refreshEvery {
		v.tried = now
		v.asking.DoChan("", func() (any, error) { return nil, v.refresh(context.Background()) })
	}
	p, ok := v.recent[hash]
	if !ok {
		p, ok = v.older[hash]
	}
	return p, ok && !v.now().After(p.Expires.Add(leeway))
}

// remember keeps two generations: when the young one is full, the old one goes as a whole. What a key has signed that was taken back in this very
// moment is not kept.
func (v *Verifier) remember(hash [sha256.Size]byte, key string, p Principal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.set.LookupKeyID(key); !ok {
		return
	}
	if v.recent == nil || len(v.recent) >= v.most {
		v.older, v.recent = v.recent, make(map[[sha256.Size]byte]Principal)
	}
	v.recent[hash] = p
}
