package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/oapi-codegen/nullable"

	authv1 "example.com/groundwork/api/auth/v1"
)

const (
	keyPrefix  = "sk_" // lets a scanner of leaked secrets find it
	keyOverlap = 24 * time.Hour
	keyDays    = 90
	keysOfOne  = 50                  // that count at a time
	keysKept   = 90 * 24 * time.Hour // after they have ended
)

// apiKey lets a program in, for its owner or for itself.
type apiKey struct {
	ID             uuid.UUID
	OwnerID        *uuid.UUID // nil: a service account
	Name           string
	Scopes         []string
	Digest         []byte
	PreviousDigest []byte
	PreviousUntil  *time.Time
	CreatedAt      time.Time
	ExpiresAt      time.Time
	LastUsedAt     *time.Time
	OwnerActive    bool
	OwnerRoles     []string
	OwnerVersion   int64
	Now            time.Time
}

// newSecret makes the text of a key: sk_<label>_<id>_<256 bits at random>.
func newSecret(label string, id uuid.UUID) (text string, digest []byte) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails since Go 1.24
	text = keyPrefix + label + "_" + hex.EncodeToString(id[:]) + "_" + base64.RawURLEncoding.EncodeToString(raw)
	return text, secretDigest(text)
}

func secretDigest(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// keyID finds which key a text says it is. Nothing else of it is believed.
func keyID(text string) (uuid.UUID, bool) {
	parts := strings.SplitN(text, "_", 4)
	if len(parts) != 4 || parts[0]+"_" != keyPrefix || len(parts[2]) != 32 {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(parts[2])
	return id, err == nil
}

// is reports whether a text is this key, or the one before while that counts.
func (k apiKey) is(text string) bool {
	digest := secretDigest(text)
	now := subtle.ConstantTimeCompare(digest, k.Digest) == 1
	before := subtle.ConstantTimeCompare(digest, k.PreviousDigest) == 1 && k.PreviousUntil != nil && k.Now.Before(*k.PreviousUntil)
	return now || before
}

// opens reports whether one comes in by a text.
func (k apiKey) opens(text string) bool {
	return k.is(text) && k.Now.Before(k.ExpiresAt) && (k.OwnerID == nil || k.OwnerActive)
}

// granted are the scopes that the key has now: those it was given, as far as its owner still has them.
func (k apiKey) granted() []string {
	if k.OwnerID == nil {
		return k.Scopes
	}
	theirs := scopesOf(k.OwnerRoles)
	return slices.DeleteFunc(slices.Clone(k.Scopes), func(scope string) bool { return !slices.Contains(theirs, scope) })
}

// subject is who acts by the key.
func (k apiKey) subject() uuid.UUID {
	if k.OwnerID == nil {
		return k.ID
	}
	return *k.OwnerID
}

// mayCarry reports whether a key may have a scope: what is about coming in is for people, who prove who they are.
func mayCarry(scope string) bool {
	return scope != scopeInternal && !strings.HasPrefix(scope, "account:")
}

func (k apiKey) api() authv1.Key {
	used := nullable.NewNullNullable[time.Time]()
	if k.LastUsedAt != nil {
		used = nullable.NewNullableWithValue(k.LastUsedAt.UTC())
	}
	return authv1.Key{Id: k.ID, Name: k.Name, Scopes: k.Scopes, CreatedAt: k.CreatedAt.UTC(), ExpiresAt: k.ExpiresAt.UTC(), LastUsedAt: used}
}

// shown is the key with its secret, once.
func (k apiKey) shown(secret string) authv1.KeyShownJSONResponse {
	a := k.api()
	return authv1.KeyShownJSONResponse{
		Id: a.Id, Name: a.Name, Scopes: a.Scopes, CreatedAt: a.CreatedAt, ExpiresAt: a.ExpiresAt, LastUsedAt: a.LastUsedAt, Key: secret,
	}
}
