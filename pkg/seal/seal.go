// Package seal keeps personal data and secrets as ciphertexts. Each module has keysets of its own (Tink), made at first use and kept in
// its table keysets, encrypted with the key-encryption key that the program is started with. Whoever has a copy of the database and
// not that key has nothing.
//
// A process reads its keysets again while it runs (keyset.go). Ciphertexts and tags begin with the id of their key, so the keysets "data"
// and "mac" may hold several. "data" is rotated by Keys.Rotate, and a Rotation brings what is sealed under the new key (rotation.go). What
// "index" and "derive" give follows the primary key: another one, and nothing is found or the same any more.
package seal

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/mac"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/tink"
	"golang.org/x/text/unicode/norm"
)

// Keys seals and opens with a module's keysets.
type Keys struct {
	kek           tink.AEAD
	store         Store
	now           func() time.Time
	data          lazy[tink.AEAD]
	index, derive lazy[*prf.Set]
	mac           lazy[tink.MAC]
}

// New does no I/O: a keyset is made or opened at its first use, so that a program starts while its database is away.
func New(kek tink.AEAD, store Store) *Keys {
	return &Keys{
		kek: kek, store: store, now: time.Now,
		data:   lazy[tink.AEAD]{name: "data", template: aead.AES256GCMKeyTemplate, from: aead.New},
		index:  lazy[*prf.Set]{name: "index", template: prf.HMACSHA256PRFKeyTemplate, from: prf.NewPRFSet},
		derive: lazy[*prf.Set]{name: "derive", template: prf.HMACSHA256PRFKeyTemplate, from: prf.NewPRFSet},
		mac:    lazy[tink.MAC]{name: "mac", template: mac.HMACSHA256Tag128KeyTemplate, from: mac.New},
	}
}

// Ready has the keys that seal data in memory, or says why they cannot be had. Whoever seals with a database connection in hand asks before,
// so as not to wait for one more with it.
func (k *Keys) Ready(ctx context.Context) error {
	_, err := k.data.get(ctx, k, nil)
	return err
}

// Fit reports whether the key-encryption key opens the keysets of this store, if there are any yet. It makes none.
func (k *Keys) Fit(ctx context.Context) error {
	encrypted, _, err := k.store.Keyset(ctx, k.data.name)
	if err == nil && encrypted != nil {
		_, err = k.decrypt(encrypted, k.data.name)
	}
	return err
}

// Seal encrypts what will stand in this column of this row, and opens there only: a ciphertext that was moved is refused.
func (k *Keys) Seal(ctx context.Context, plaintext []byte, table, column string, row uuid.UUID) ([]byte, error) {
	a, err := k.data.get(ctx, k, nil)
	if err != nil {
		return nil, err
	}
	return a.Encrypt(plaintext, place(table, column, row))
}

// Open decrypts what Seal made for the same place.
func (k *Keys) Open(ctx context.Context, ciphertext []byte, table, column string, row uuid.UUID) ([]byte, error) {
	a, err := k.data.get(ctx, k, ciphertext)
	if err != nil {
		return nil, err
	}
	plaintext, err := a.Decrypt(ciphertext, place(table, column, row))
	if err != nil {
		return nil, fmt.Errorf("open %s.%s of %s: %w", table, column, row, err)
	}
	return plaintext, nil
}

// Index is a blind index: 32 bytes by which a value is found without being kept. The caller normalises the value first.
func (k *Keys) Index(ctx context.Context, value string) ([]byte, error) {
	return k.compute(ctx, &k.index, value)
}

// Derive makes 32 secret bytes from a label, the same ones every time.
func (k *Keys) Derive(ctx context.Context, label string) ([]byte, error) {
	return k.compute(ctx, &k.derive, label)
}

func (k *Keys) compute(ctx context.Context, l *lazy[*prf.Set], input string) ([]byte, error) {
	p, err := l.get(ctx, k, nil)
	if err != nil {
		return nil, err
	}
	return p.ComputePrimaryPRF([]byte(input), 32)
}

// MAC makes a tag that only we can make: 5 bytes that name the key, 16 of HMAC-SHA256.
func (k *Keys) MAC(ctx context.Context, data []byte) ([]byte, error) {
	m, err := k.mac.get(ctx, k, nil)
	if err != nil {
		return nil, err
	}
	return m.ComputeMAC(data)
}

// VerifyMAC returns nil when MAC made the tag for data.
func (k *Keys) VerifyMAC(ctx context.Context, tag, data []byte) error {
	m, err := k.mac.get(ctx, k, tag)
	if err != nil {
		return err
	}
	return m.VerifyMAC(tag, data)
}

func place(table, column string, row uuid.UUID) []byte {
	return []byte(table + "|" + column + "|" + row.String())
}

// NormalEmail is the one spelling of an address by which it is looked up: NFC, trimmed, lower case.
func NormalEmail(s string) string { return norm.NFC.String(strings.ToLower(strings.TrimSpace(s))) }
