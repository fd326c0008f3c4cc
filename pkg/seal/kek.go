package seal

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"
)

const kekBytes = 32 // AES-256

// KeyEncryptionKey reads the key from text: base64 of 32 bytes, as `openssl rand -base64 32` makes. Errors never hold the text.
func KeyEncryptionKey(text string) (tink.AEAD, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != kekBytes {
		return nil, fmt.Errorf("a key-encryption key is the base64 of %d bytes", kekBytes)
	}
	return subtle.NewAESGCM(key)
}

// KeyEncryptionKeyFile reads the key from a file. generate makes the file when it is missing, for local runs only: a key that is made
// where nobody keeps it is lost with the machine, and with it all that it sealed.
func KeyEncryptionKeyFile(path string, generate bool) (tink.AEAD, error) {
	text, err := os.ReadFile(path)
	if generate && errors.Is(err, fs.ErrNotExist) {
		if err := newKeyFile(path); err != nil {
			return nil, fmt.Errorf("make a key-encryption key: %w", err)
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key-encryption key: %w", err)
	}
	kek, err := KeyEncryptionKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return kek, nil
}

// newKeyFile gives a finished file its name in one step. Of two processes one wins, and the other never reads half a key.
func newKeyFile(path string) error {
	key := make([]byte, kekBytes)
	_, _ = rand.Read(key)                                         // never fails since Go 1.24
	draft, err := os.CreateTemp(filepath.Dir(path), ".new-key-*") // exclusive, 0600
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	_, err = draft.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err := errors.Join(err, draft.Sync(), draft.Close()); err != nil {
		return err
	}
	if err := os.Link(draft.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
