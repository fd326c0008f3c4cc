package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"example.com/groundwork/pkg/seal"
)

const (
	signingAge   = 90 * 24 * time.Hour // of the newest signing key, when the next one is made
	publishedFor = 24 * time.Hour      // before it signs: whoever keeps a copy of the public keys has read them again by then
	retiredFor   = time.Hour           // after the next one signs: an access token's life, and more than clocks differ and copies are old
)

// nextDue says that it is time for another signing key. Keys come newest first, here and below.
func nextDue(keys []signingKey, now time.Time) bool {
	return len(keys) > 0 && now.Sub(keys[0].ActiveAt) >= signingAge
}

// outlived are the keys of which nothing is valid that they signed: the next newer one has signed for long enough.
func outlived(keys []signingKey, now time.Time) (ids []uuid.UUID) {
	for i := 1; i < len(keys); i++ {
		if now.Sub(keys[i-1].ActiveAt) >= retiredFor {
			ids = append(ids, keys[i].ID)
		}
	}
	return ids
}

// rotate does what is due: it makes the next key, and deletes those that are outlived.
func (k *keyring) rotate(ctx context.Context) error {
	keys, err := k.store.signingKeys(ctx)
	if err != nil {
		return err
	}
	now := k.now()
	if nextDue(keys, now) {
		if err := k.add(ctx, now.Add(publishedFor), now.Add(-signingAge)); err != nil {
			return err
		}
	}
	if old := outlived(keys, now); len(old) > 0 {
		return k.store.deleteSigningKeys(ctx, old)
	}
	return nil
}

// begin makes the next key before its time, unless one is published already that does not sign yet. It returns that key.
func (k *keyring) begin(ctx context.Context) (signingKey, error) {
	if _, err := k.published(ctx); err != nil { // which makes the first one
		return signingKey{}, err
	}
	now := k.now()
	if err := k.add(ctx, now.Add(publishedFor), now); err != nil {
		return signingKey{}, err
	}
	keys, err := k.store.signingKeys(ctx)
	if err != nil {
		return signingKey{}, err
	}
	return keys[0], nil
}

// RotateKeys begins a rotation of the module's keys, and says what it did.
func (m *Module) RotateKeys(ctx context.Context) (did []string, err error) {
	id, err := m.rotation.Begin(ctx)
	if err == nil {
		err = m.store.audit(ctx, m.store.db, "keys.rotated", uuid.Nil, uuid.Nil)
	}
	if err != nil {
		return nil, err
	}
	did = append(did, fmt.Sprintf("data key %d is added; it seals when every process knows it", id))
	next, err := m.signing.begin(ctx)
	if err != nil {
		return did, err
	}
	return append(did, fmt.Sprintf("signing key %s is published; it signs from %s", next.ID, next.ActiveAt.UTC().Format(time.RFC3339))), nil
}

// KeysFit reports whether the key-encryption key opens the module's keys.
func (m *Module) KeysFit(ctx context.Context) error { return m.keys.Fit(ctx) }

// KeyStatus counts the rows that each data key of the module has sealed.
func (m *Module) KeyStatus(ctx context.Context) ([]seal.KeyUse, error) { return m.rotation.Status(ctx) }
