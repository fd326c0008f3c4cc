package seal_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/tink"

	"example.com/groundwork/pkg/postgres"
	"example.com/groundwork/pkg/postgres/pgtest"
	"example.com/groundwork/pkg/seal"
)

func kek(t *testing.T, fill byte) tink.AEAD {
	t.Helper()
	k, err := seal.KeyEncryptionKey(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// shelf is a Store in memory that may be away.
type shelf struct {
	mu      sync.Mutex
	away    error
	keysets map[string][]byte
	age     time.Duration // of each of them
	reads   int
}

func (s *shelf) Keyset(_ context.Context, name string) ([]byte, time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	return s.keysets[name], s.age, s.away
}

func (s *shelf) ReplaceKeyset(_ context.Context, name string, old, encrypted []byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil || !bytes.Equal(s.keysets[name], old) {
		return false, s.away
	}
	s.keysets[name], s.age = encrypted, 0
	return true, nil
}

func (s *shelf) set(away error, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.age = away, age
}

func (s *shelf) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

func (s *shelf) AddKeyset(_ context.Context, name string, encrypted []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keysets[name] == nil {
		s.keysets[name] = encrypted
	}
	return s.away
}

func newShelf() *shelf { return &shelf{keysets: map[string][]byte{}} }

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestACiphertextOpensOnlyWhereItWasSealed(t *testing.T) {
	t.Parallel()
	ctx, row, got := t.Context(), uuid.New(), must[[]byte](t)
	keys := seal.New(kek(t, 1), newShelf())
	ct := got(keys.Seal(ctx, []byte("ada@example.com"), "users", "email_ct", row))
	if bytes.Contains(ct, []byte("ada")) {
		t.Error("the ciphertext holds the plaintext")
	}
	if plain := got(keys.Open(ctx, ct, "users", "email_ct", row)); string(plain) != "ada@example.com" {
		t.Errorf("opened %q", plain)
	}
	if again := got(keys.Seal(ctx, []byte("ada@example.com"), "users", "email_ct", row)); bytes.Equal(ct, again) {
		t.Error("the same plaintext gives the same ciphertext: equal values can be seen")
	}
	broken := bytes.Clone(ct)
	broken[len(broken)-1] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"another row":    func() ([]byte, error) { return keys.Open(ctx, ct, "users", "email_ct", uuid.New()) },
		"another column": func() ([]byte, error) { return keys.Open(ctx, ct, "users", "name_ct", row) },
		"another table":  func() ([]byte, error) { return keys.Open(ctx, ct, "identities", "email_ct", row) },
		"a flipped bit":  func() ([]byte, error) { return keys.Open(ctx, broken, "users", "email_ct", row) },
		"nothing":        func() ([]byte, error) { return keys.Open(ctx, nil, "users", "email_ct", row) },
		"another module's keys": func() ([]byte, error) {
			return seal.New(kek(t, 1), newShelf()).Open(ctx, ct, "users", "email_ct", row)
		},
	} {
		if plain, err := open(); err == nil {
			t.Errorf("%s: opened to %q", name, plain)
		}
	}
}

func TestIndexAndDeriveAreStableAndApart(t *testing.T) {
	t.Parallel()
	ctx, got, store := t.Context(), must[[]byte](t), newShelf()
	keys := seal.New(kek(t, 1), store)
	a := got(keys.Index(ctx, "ada@example.com"))
	if len(a) != 32 || !bytes.Equal(a, got(seal.New(kek(t, 1), store).Index(ctx, "ada@example.com"))) {
		t.Error("an index is 32 bytes and the same in every process")
	}
	if bytes.Equal(a, got(keys.Index(ctx, "bob@example.com"))) {
		t.Error("two values have one index")
	}
	if bytes.Equal(a, got(keys.Derive(ctx, "ada@example.com"))) {
		t.Error("Derive tells what Index says: they need keysets of their own")
	}
	if bytes.Equal(a, got(seal.New(kek(t, 1), newShelf()).Index(ctx, "ada@example.com"))) {
		t.Error("two modules have one index key")
	}
}

func TestMAC(t *testing.T) {
	t.Parallel()
	ctx, store := t.Context(), newShelf()
	tag := must[[]byte](t)(seal.New(kek(t, 1), store).MAC(ctx, []byte("session 7")))
	other := seal.New(kek(t, 1), store)
	if len(tag) != 21 {
		t.Errorf("the tag has %d bytes, want 5 of key id and 16 of tag", len(tag))
	}
	if err := other.VerifyMAC(ctx, tag, []byte("session 7")); err != nil {
		t.Error(err)
	}
	if other.VerifyMAC(ctx, tag, []byte("session 8")) == nil || other.VerifyMAC(ctx, nil, []byte("session 7")) == nil {
		t.Error("a tag that does not fit was accepted")
	}
}

func TestTheKeysetsOfAnotherKeyEncryptionKeyAreNamedSo(t *testing.T) {
	t.Parallel()
	store := newShelf()
	must[[]byte](t)(seal.New(kek(t, 1), store).Index(t.Context(), "x"))
	_, err := seal.New(kek(t, 2), store).Index(t.Context(), "x")
	if err == nil || !strings.Contains(err.Error(), "the keysets were made with another key-encryption key") {
		t.Errorf("got %v", err)
	}
	store.keysets["derive"] = store.keysets["index"]
	if _, err := seal.New(kek(t, 1), store).Derive(t.Context(), "x"); err == nil {
		t.Error("a keyset was taken for another")
	}
}

func TestAnErrorIsNotKept(t *testing.T) {
	t.Parallel()
	store := newShelf()
	store.away = errors.New("away")
	keys := seal.New(kek(t, 1), store)
	if _, err := keys.Index(t.Context(), "x"); !errors.Is(err, store.away) {
		t.Errorf("got %v, want the store's error", err)
	}
	store.away = nil
	must[[]byte](t)(keys.Index(t.Context(), "x"))
}

func TestTwoStartersEndWithOneKeyset(t *testing.T) {
	t.Parallel()
	pool, err := postgres.Open(t.Context(), "test", pgtest.NewEmpty(t).OwnerURL, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := pool.Exec(t.Context(), `create table keysets (name text primary key, encrypted bytea not null, changed_at timestamptz not null default now())`); err != nil {
		t.Fatal(err)
	}
	const starters = 8
	indexes := make([][]byte, starters)
	var all sync.WaitGroup
	for i := range starters {
		all.Go(func() {
			var err error
			if indexes[i], err = seal.New(kek(t, 1), seal.Table(pool)).Index(t.Context(), "x"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, index := range indexes {
		if !bytes.Equal(index, indexes[0]) {
			t.Error("two processes index with different keys: what one wrote, the other does not find")
		}
	}
	var rows int
	if err := pool.QueryRow(t.Context(), `select count(*) from keysets`).Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d keysets, %v; want 1", rows, err)
	}
}

func TestTheKeyFileIsMadeOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kek")
	if _, err := seal.KeyEncryptionKeyFile(path, false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without generate: %v", err)
	}
	const racers = 8
	keks := make([]tink.AEAD, racers)
	var all sync.WaitGroup
	for i := range racers {
		all.Go(func() {
			var err error
			if keks[i], err = seal.KeyEncryptionKeyFile(path, true); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	ct := must[[]byte](t)(keks[0].Encrypt([]byte("x"), nil))
	for _, k := range keks {
		if _, err := k.Decrypt(ct, nil); err != nil {
			t.Error("two racers have different keys")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("drafts were left behind: %v", entries)
	}
}

func TestWhatIsNoKeyIsRefusedWithoutBeingShown(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "c2hvcnQ=", "not base64 at all!", strings.Repeat("A", 100)} {
		_, err := seal.KeyEncryptionKey(text)
		if err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestNormalEmail(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		" Ada@Example.COM\n":      "ada@example.com",
		"jose\u0301@example.com":  "jos\u00e9@example.com",
		"JOSE\u0301@example.com ": "jos\u00e9@example.com",
	} {
		if got := seal.NormalEmail(in); got != want {
			t.Errorf("NormalEmail(%q) = %q, want %q", in, got, want)
		}
	}
}
