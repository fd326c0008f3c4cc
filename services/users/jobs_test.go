package users

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"slices"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"

	"example.com/groundwork/pkg/cache"
	"example.com/groundwork/pkg/postgres/pgtest"
	"example.com/groundwork/pkg/seal"
)

// process is one more that serves the module on this database and this Redis.
func process(t *testing.T, db *pgtest.DB, address string) *Module {
	t.Helper()
	redis, err := cache.Connect("redis://" + address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = redis.Close() })
	kek, err := seal.KeyEncryptionKey(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(db.Pool("users"), redis, kek,
		// only with auth:
		nil,
		// end auth
		slog.New(slog.NewJSONHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAProfileOpensThroughARotation(t *testing.T) {
	t.Parallel()
	ctx, db, redis, id := t.Context(), pgtest.New(t), miniredis.RunT(t), uuid.Must(uuid.NewV7())
	m := process(t, db, redis.Addr())
	if err := m.store.provision(ctx, id, "ada@example.com", 1, nil); err != nil {
		t.Fatal(err)
	}
	name := "Ada"
	if _, err := m.store.update(ctx, id, 1, patch{name: change{set: true, value: &name}}); err != nil {
		t.Fatal(err)
	}
	// opens reads a profile from wherever a process finds it, and says what is under the key.
	opens := func(when string, m *Module, read func() (user, error), key uint32) (u user) {
		t.Helper()
		u, err := read()
		if err != nil {
			t.Fatal(err)
		}
		if a, err := u.api(ctx, m.keys); err != nil || a.Email != "ada@example.com" || a.Name.MustGet() != "Ada" {
			t.Errorf("%s: %+v, %v", when, a, err)
		}
		for _, ct := range [][]byte{u.EmailCT, u.NameCT} {
			if by, _ := m.keys.KeyOf(ct); by != key {
				t.Errorf("%s: sealed by %d, want %d", when, by, key)
			}
		}
		return u
	}
	cached := func(m *Module) func() (user, error) {
		return func() (user, error) { return m.store.get(ctx, id) }
	}
	stored := func() (user, error) { return m.store.read(ctx, id) }
	works := func() {
		t.Helper()
		if err := (&rotateKeys{rotation: m.rotation}).Work(ctx, nil); err != nil {
			t.Error(err)
		}
	}

	old, err := m.keys.Primary(ctx)
	if err != nil {
		t.Fatal(err)
	}
	before := opens("before", m, cached(m), old)
	if did, err := m.RotateKeys(ctx); err != nil || len(did) != 1 {
		t.Fatal(did, err)
	}
	works()
	opens("before it has settled", m, stored, old)
	if _, err := db.Owner().Exec(ctx, `update users.keysets set changed_at = now() - interval '2 minutes'`); err != nil {
		t.Fatal(err)
	}
	works()
	primary, err := m.keys.Primary(ctx)
	if err != nil || primary == old {
		t.Fatal(primary, err)
	}
	after := opens("in the table", m, stored, primary)
	opens("from the cache, which has it from before", m, cached(m), old)
	young := process(t, db, redis.Addr())
	opens("from the cache, in a process that just started", young, cached(young), old)
	redis.FlushAll()
	opens("from the cache, filled anew", young, cached(young), primary)
	if before.etag() != after.etag() {
		t.Error("a profile that nobody changed has another ETag")
	}
	list, err := m.KeyStatus(ctx)
	if err != nil || len(list) != 2 || list[0].State != "old" || list[0].Rows != 0 || list[1].State != "primary" || list[1].Rows != 2 {
		t.Errorf("the status is %v, %v", list, err)
	}
}

// Who forgets a column here leaves its rows under the old key for ever.
func TestEverySealedColumnIsSealedAgain(t *testing.T) {
	t.Parallel()
	var listed, want []string
	for _, c := range sealed {
		listed = append(listed, c.Table+"."+c.Name)
	}
	slices.Sort(listed)
	if err := pgtest.New(t).Owner().QueryRow(t.Context(), `
		select array_agg(table_name || '.' || column_name order by table_name, column_name) from information_schema.columns
		where table_schema = 'users' and column_name like '%\_ct'`).Scan(&want); err != nil || !slices.Equal(listed, want) {
		t.Errorf("sealed lists %v, the schema has %v, %v", listed, want, err)
	}
}
