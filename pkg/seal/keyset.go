package seal

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"golang.org/x/sync/singleflight"
)

const (
	rereadEvery = time.Minute     // a keyset in use is read again: somebody may have added a key
	rereadAgain = 5 * time.Second // at the earliest, when a ciphertext names a key that is not in it, or when it could not be read
	readTimeout = 5 * time.Second
)

// Key is one key of a keyset: what may be shown of it.
type Key struct {
	ID      uint32
	Primary bool // it seals; the others open
}

// KeyOf returns the id of the key that made a ciphertext or a tag: Tink puts a 1 before it, and four bytes of the id.
func (*Keys) KeyOf(ciphertext []byte) (id uint32, ok bool) { return keyOf(ciphertext) }

func keyOf(ciphertext []byte) (id uint32, ok bool) {
	if len(ciphertext) < prefixSize || ciphertext[0] != 1 {
		return 0, false
	}
	return binary.BigEndian.Uint32(ciphertext[1:]), true
}

const prefixSize = 5

// prefixOf is how everything begins that the key made.
func prefixOf(id uint32) []byte { return binary.BigEndian.AppendUint32([]byte{1}, id) }

// lazy is one keyset. Several processes may open it at once: whoever comes first to the store wins, and all end with the same keys. While
// it is not open an error is not kept, so the next call tries again; once it is, the last good keys go on.
type lazy[P any] struct {
	name     string
	template func() *tinkpb.KeyTemplate
	from     func(*keyset.Handle) (P, error)
	reading  singleflight.Group
	opened   atomic.Pointer[opened[P]]
}

// opened is a keyset as the store had it.
type opened[P any] struct {
	primitive P
	keys      []Key     // in the order in which they were added
	read      time.Time // when the store had these
	tried     time.Time // when it was asked last
	err       error     // what came of that
}

// lacks says whether another key than these made the ciphertext.
func (o *opened[P]) lacks(ciphertext []byte) bool {
	id, ok := keyOf(ciphertext)
	for _, k := range o.keys {
		if k.ID == id {
			return false
		}
	}
	return ok
}

// get returns the keys, such that they can open the ciphertext if there is one. Who wants to open what an unknown key has sealed waits for
// the keyset to be read again; nobody waits only because it was read a while ago.
func (l *lazy[P]) get(ctx context.Context, k *Keys, ciphertext []byte) (none P, err error) {
	o, now := l.opened.Load(), k.now()
	if o != nil {
		lacks, early := o.lacks(ciphertext), now.Sub(o.tried) < rereadAgain
		switch {
		case lacks && early && o.err != nil:
			return none, o.err // the key may well be there: this is not the ciphertext's fault
		case !lacks && !early && now.Sub(o.read) >= rereadEvery:
			l.reread(ctx, k)
			return o.primitive, nil
		case !lacks || early:
			return o.primitive, nil
		}
	}
	select {
	case <-ctx.Done():
		return none, ctx.Err()
	case result := <-l.reread(ctx, k):
		if result.Err != nil {
			return none, result.Err
		}
		return result.Val.(*opened[P]).primitive, nil
	}
}

// reread reads the keyset once for all who want it at the same time, whoever of them goes away.
func (l *lazy[P]) reread(ctx context.Context, k *Keys) <-chan singleflight.Result {
	ctx = context.WithoutCancel(ctx)
	return l.reading.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		return l.load(ctx, k)
	})
}

// load reads the keyset and keeps it.
func (l *lazy[P]) load(ctx context.Context, k *Keys) (*opened[P], error) {
	began, before := k.now(), l.opened.Load()
	handle, _, _, err := k.keyset(ctx, l.name, l.template)
	o := &opened[P]{read: began, tried: began}
	if err == nil {
		o.keys = keysOf(handle)
		o.primitive, err = l.from(handle)
	}
	if err != nil {
		err = fmt.Errorf("keyset %s: %w", l.name, err)
		if before != nil {
			failed := *before
			failed.tried, failed.err = began, err
			l.opened.CompareAndSwap(before, &failed)
		}
		return nil, err
	}
	for kept := l.opened.Load(); kept == nil || !kept.read.After(o.read); kept = l.opened.Load() { // a slow one must not put back old keys
		if l.opened.CompareAndSwap(kept, o) {
			break
		}
	}
	return o, nil
}

func keysOf(handle *keyset.Handle) (keys []Key) {
	info := handle.KeysetInfo()
	for _, k := range info.GetKeyInfo() {
		keys = append(keys, Key{ID: k.GetKeyId(), Primary: k.GetKeyId() == info.GetPrimaryKeyId()})
	}
	return keys
}

// keyset reads the keyset from the store; when there is none it adds a new one, and reads again what the store has then.
func (k *Keys) keyset(ctx context.Context, name string, template func() *tinkpb.KeyTemplate) (*keyset.Handle, []byte, time.Duration, error) {
	encrypted, age, err := k.store.Keyset(ctx, name)
	if err != nil {
		return nil, nil, 0, err
	}
	if encrypted == nil {
		handle, err := keyset.NewHandle(template())
		if err != nil {
			return nil, nil, 0, err
		}
		made, err := k.encrypt(handle, name)
		if err != nil {
			return nil, nil, 0, err
		}
		if err := k.store.AddKeyset(ctx, name, made); err != nil {
			return nil, nil, 0, err
		}
		if encrypted, age, err = k.store.Keyset(ctx, name); err != nil {
			return nil, nil, 0, err
		}
	}
	handle, err := k.decrypt(encrypted, name)
	return handle, encrypted, age, err
}

func (k *Keys) decrypt(encrypted []byte, name string) (*keyset.Handle, error) {
	handle, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(encrypted)), k.kek, []byte(name))
	if err != nil {
		err = fmt.Errorf("the keysets were made with another key-encryption key: %w", err)
	}
	return handle, err
}

// encrypt is how a keyset is kept: under the key-encryption key, and bound to its name.
func (k *Keys) encrypt(handle *keyset.Handle, name string) ([]byte, error) {
	var b bytes.Buffer
	err := handle.WriteWithAssociatedData(keyset.NewBinaryWriter(&b), k.kek, []byte(name))
	return b.Bytes(), err
}
