package seal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tink-crypto/tink-go/v2/keyset"
)

// settling is how long a new key only opens before it seals. By then each process that uses its keysets has read it (rereadEvery); one that
// has not may ask for it again (rereadAgain).
const settling = 2 * time.Minute

// next returns the key that was added and is not primary yet. Keys are in the order of their age, and the primary one is the newest unless
// a rotation is under way: so nothing else has to be remembered of it.
func next(keys []Key) (Key, bool) {
	if len(keys) == 0 || keys[len(keys)-1].Primary {
		return Key{}, false
	}
	return keys[len(keys)-1], true
}

// Rotate begins a rotation of the keyset "data": it adds a key, with which nothing is sealed before Settle has made it primary. While a
// rotation is under way there is no second one. It returns the new key's id.
func (k *Keys) Rotate(ctx context.Context) (id uint32, err error) {
	err = k.change(ctx, func(m *keyset.Manager, keys []Key, _ time.Duration) (changed bool, err error) {
		if waiting, ok := next(keys); ok {
			id = waiting.ID
			return false, nil
		}
		id, err = m.Add(k.data.template())
		return true, err
	})
	return id, err
}

// Settle makes the key of a rotation primary when it has been there for long enough; else it does nothing. The old keys stay: what they
// sealed is in the database until it is re-encrypted, and in caches and backups after that.
func (k *Keys) Settle(ctx context.Context) (settled bool, err error) {
	err = k.change(ctx, func(m *keyset.Manager, keys []Key, age time.Duration) (bool, error) {
		waiting, ok := next(keys)
		settled = ok && age >= settling
		if !settled {
			return false, nil
		}
		return true, m.SetPrimary(waiting.ID)
	})
	return settled && err == nil, err
}

// Primary returns the id of the key that seals, as the store has it now; this process goes on with that.
func (k *Keys) Primary(ctx context.Context) (uint32, error) {
	keys, err := k.Data(ctx)
	for _, key := range keys {
		if key.Primary {
			return key.ID, err
		}
	}
	return 0, err
}

// Data returns the keys of the keyset "data" as the store has them now, oldest first.
func (k *Keys) Data(ctx context.Context) ([]Key, error) {
	o, err := k.data.load(ctx, k)
	if err != nil {
		return nil, err
	}
	return o.keys, nil
}

// change puts another keyset "data" in the place of the one that is there. If somebody else was faster it looks again.
func (k *Keys) change(ctx context.Context, decide func(m *keyset.Manager, keys []Key, age time.Duration) (changed bool, err error)) error {
	name := k.data.name
	for range 3 {
		handle, old, age, err := k.keyset(ctx, name, k.data.template)
		if err != nil {
			return fmt.Errorf("keyset %s: %w", name, err)
		}
		manager := keyset.NewManagerFromHandle(handle)
		changed, err := decide(manager, keysOf(handle), age)
		if !changed || err != nil {
			return err
		}
		if handle, err = manager.Handle(); err != nil {
			return err
		}
		encrypted, err := k.encrypt(handle, name)
		if err != nil {
			return err
		}
		if replaced, err := k.store.ReplaceKeyset(ctx, name, old, encrypted); replaced || err != nil {
			return err
		}
	}
	return errors.New("keyset " + name + ": others change it at the same time")
}
