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

// keyring keeps the signing keys in memory and makes the first one.
type keyring struct {
	store *store
	keys  *seal.Keys

	mu   sync.Mutex
	all  []signingKey
	read time.Time
}

// published returns every key, newest first. While the database is away the ones that were read last go on.
func (k *keyring) published(ctx context.Context) ([]signingKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.read) < keysReread {
		return k.all, nil
	}
	keys, err := k.load(ctx)
	switch {
	case err == nil:
		k.all, k.read = keys, time.Now()
	case k.all == nil:
		return nil, err
	default:
		k.read = time.Now().Add(keysRetry - keysReread) // or every request would wait here for its turn to fail
	}
	return k.all, nil
}

func (k *keyring) load(ctx context.Context) ([]signingKey, error) {
	keys, err := k.store.signingKeys(ctx)
	if err == nil && len(keys) == 0 {
		keys, err = k.first(ctx)
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

// first makes the first key, unless another instance was faster.
func (k *keyring) first(ctx context.Context) ([]signingKey, error) {
	id := uuid.Must(uuid.NewV7())
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	private, err := jwk.Import(pair)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]any{jwk.KeyIDKey: id.String(), jwk.AlgorithmKey: jwa.ES256(), jwk.KeyUsageKey: jwk.ForSignature} {
		if err := private.Set(name, value); err != nil {
			return nil, err
		}
	}
	public, err := private.PublicKey()
	if err != nil {
		return nil, err
	}
	key := signingKey{ID: id}
	publicJSON, err := json.Marshal(public)
	if err == nil {
		err = json.Unmarshal(publicJSON, &key.PublicJWK)
	}
	if err != nil {
		return nil, err
	}
	secret, err := json.Marshal(private)
	if err != nil {
		return nil, err
	}
	if key.PrivateCT, err = k.keys.Seal(ctx, secret, "signing_keys", "private_ct", id); err != nil {
		return nil, err
	}
	if err := k.store.addFirstSigningKey(ctx, key); err != nil {
		return nil, err
	}
	return k.store.signingKeys(ctx)
}

// sign makes an access token of the claims.
func (k *keyring) sign(ctx context.Context, claims authn.Claims) (string, error) {
	keys, err := k.published(ctx)
	if err != nil {
		return "", err
	}
	key, ok := signer(keys, time.Now())
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
