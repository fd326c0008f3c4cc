package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/seal"
)

const (
	accessLifetime = 5 * time.Minute
	keysReread     = time.Minute // another instance may have made a new one
	keysRetry      = 5 * time.Second
)

// signingKey is one key pair. It is published as soon as it stands in the table, and signs from ActiveAt until a newer one does.
type signingKey struct {
	ID        uuid.UUID // kid
	PrivateCT []byte
	PublicJWK authv1.Jwk
	ActiveAt  time.Time
	private   jwk.Key
}

// signer picks the key that signs at a time: the newest active one. Keys come newest first.
func signer(keys []signingKey, now time.Time) (signingKey, bool) {
	for _, k := range keys {
		if !k.ActiveAt.After(now) {
			return k, true
		}
	}
	return signingKey{}, false
}

// keyring keeps the signing keys in memory and makes new ones.
type keyring struct {
	store *store
	keys  *seal.Keys
	now   func() time.Time
	load  func(context.Context) ([]signingKey, error) // newest first

	mu   sync.Mutex
	all  []signingKey
	read time.Time
}

func newKeyring(store *store, keys *seal.Keys) *keyring {
	k := &keyring{store: store, keys: keys, now: time.Now}
	k.load = k.open
	return k
}

// published returns every key, newest first. While the database is away the ones that were read last go on.
func (k *keyring) published(ctx context.Context) ([]signingKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now().Sub(k.read) < keysReread {
		return k.all, nil
	}
	keys, err := k.load(ctx)
	switch {
	case err == nil:
		k.all, k.read = keys, k.now()
	case k.all == nil:
		return nil, err
	default:
		k.read = k.now().Add(keysRetry - keysReread) // or every request would wait here for its turn to fail
	}
	return k.all, nil
}

// open reads the keys from the database. If there is none it makes the first, unless another instance is faster.
func (k *keyring) open(ctx context.Context) ([]signingKey, error) {
	keys, err := k.store.signingKeys(ctx)
	if err == nil && len(keys) == 0 {
		if err = k.add(ctx, k.now(), time.Time{}); err == nil {
			keys, err = k.store.signingKeys(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	for i := range keys {
		raw, err := k.keys.Open(ctx, keys[i].PrivateCT, "signing_keys", "private_ct", keys[i].ID)
		if err != nil {
			return nil, fmt.Errorf("signing key: %w", err)
		}
		if keys[i].private, err = jwk.ParseKey(raw); err != nil {
			return nil, fmt.Errorf("signing key: %w", err)
		}
	}
	return keys, nil
}

// add makes a key that signs from a time on, unless there is one that does from a later time than the second.
func (k *keyring) add(ctx context.Context, activeAt, unlessAfter time.Time) error {
	id := uuid.Must(uuid.NewV7())
	private, public, err := newPair(id)
	if err != nil {
		return err
	}
	key := signingKey{ID: id, PublicJWK: public, ActiveAt: activeAt}
	if key.PrivateCT, err = k.keys.Seal(ctx, private, "signing_keys", "private_ct", id); err != nil {
		return err
	}
	return k.store.addSigningKey(ctx, key, unlessAfter)
}

// newPair makes a pair of keys as they are kept: the private one as JSON, to be sealed.
func newPair(id uuid.UUID) (privateJSON []byte, public authv1.Jwk, err error) {
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, public, err
	}
	private, err := jwk.Import(pair)
	if err != nil {
		return nil, public, err
	}
	for name, value := range map[string]any{jwk.KeyIDKey: id.String(), jwk.AlgorithmKey: jwa.ES256(), jwk.KeyUsageKey: jwk.ForSignature} {
		if err := private.Set(name, value); err != nil {
			return nil, public, err
		}
	}
	half, err := private.PublicKey()
	if err != nil {
		return nil, public, err
	}
	publicJSON, err := json.Marshal(half)
	if err == nil {
		err = json.Unmarshal(publicJSON, &public)
	}
	if err != nil {
		return nil, public, err
	}
	privateJSON, err = json.Marshal(private)
	return privateJSON, public, err
}

// sign makes an access token of the claims.
func (k *keyring) sign(ctx context.Context, claims authn.Claims) (string, error) {
	keys, err := k.published(ctx)
	if err != nil {
		return "", err
	}
	key, ok := signer(keys, k.now())
	if !ok {
		return "", fmt.Errorf("no signing key is active")
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	headers := jws.NewHeaders()
	if err := headers.Set(jws.TypeKey, authn.TokenType); err != nil {
		return "", err
	}
	token, err := jws.Sign(payload, jws.WithKey(jwa.ES256(), key.private, jws.WithProtectedHeaders(headers)))
	return string(token), err
}

// claims are what every access token says.
func (m *Module) claims(subject, clientID string, scopes []string, now time.Time) authn.Claims {
	return authn.Claims{
		Issuer: m.config.Issuer, Audience: m.config.Issuer, Subject: subject, ClientID: clientID, Scope: strings.Join(scopes, " "),
		ID: uuid.Must(uuid.NewV7()).String(), IssuedAt: now.Unix(), Expires: now.Add(accessLifetime).Unix(),
	}
}
