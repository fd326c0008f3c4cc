package seal_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"example.com/groundwork/pkg/postgres"
	"example.com/groundwork/pkg/postgres/pgtest"
	"example.com/groundwork/pkg/seal"
)

var people = []seal.Column{{Table: "people", ID: "person", Name: "email_ct"}, {Table: "people", ID: "person", Name: "name_ct"}}

// registry is a module's database, with people whose addresses are sealed, and names where they have one.
type registry struct {
	t    *testing.T
	db   *pgxpool.Pool
	keys *seal.Keys
	*seal.Rotation
}

func newRegistry(t *testing.T) *registry {
	t.Helper()
	t.Parallel()
	db, err := postgres.Open(t.Context(), "test", pgtest.NewEmpty(t).OwnerURL, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	r := &registry{t: t, db: db}
	r.exec(`create table keysets (name text primary key, encrypted bytea not null, changed_at timestamptz not null default now())`)
	r.exec(`create table people (person uuid primary key, email_ct bytea not null, name_ct bytea)`)
	r.exec(`create index on people (substring(email_ct from 1 for 5))`)
	r.exec(`create index on people (substring(name_ct from 1 for 5))`)
	r.keys = r.process()
	r.Rotation = seal.NewRotation(r.keys, db, people...)
	return r
}

// process is one more that runs on this database.
func (r *registry) process() *seal.Keys { return seal.New(kek(r.t, 1), seal.Table(r.db)) }

func (r *registry) exec(sql string, args ...any) {
	r.t.Helper()
	if _, err := r.db.Exec(r.t.Context(), sql, args...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *registry) seal(text, column string, row uuid.UUID) []byte {
	r.t.Helper()
	return must[[]byte](r.t)(r.keys.Seal(r.t.Context(), []byte(text), "people", column, row))
}

// add adds a person without a name.
func (r *registry) add(email string) uuid.UUID {
	r.t.Helper()
	id := uuid.Must(uuid.NewV7())
	r.exec(`insert into people values ($1, $2)`, id, r.seal(email, "email_ct", id))
	return id
}

// email reads an address as another process does, with the key that sealed it.
func (r *registry) email(id uuid.UUID) (email string, key uint32, err error) {
	r.t.Helper()
	var ct []byte
	if err := r.db.QueryRow(r.t.Context(), `select email_ct from people where person = $1`, id).Scan(&ct); err != nil {
		r.t.Fatal(err)
	}
	key, _ = r.keys.KeyOf(ct)
	plain, err := r.process().Open(r.t.Context(), ct, "people", "email_ct", id)
	return string(plain), key, err
}

// another makes a new key primary, as if it had settled.
func (r *registry) another() (old, primary uint32) {
	r.t.Helper()
	id := must[uint32](r.t)
	old = id(r.keys.Primary(r.t.Context()))
	id(r.Begin(r.t.Context()))
	r.exec(`update keysets set changed_at = now() - interval '2 minutes' where name = 'data'`)
	if settled, err := r.keys.Settle(r.t.Context()); err != nil || !settled {
		r.t.Fatal(settled, err)
	}
	return old, id(r.keys.Primary(r.t.Context()))
}

func (r *registry) continues() {
	r.t.Helper()
	if err := r.Continue(r.t.Context()); err != nil {
		r.t.Error(err)
	}
}

func TestARotation(t *testing.T) {
	r := newRegistry(t)
	var ids []uuid.UUID
	for i := range 2*seal.StepSize + 10 {
		ids = append(ids, r.add(fmt.Sprintf("%d@example.com", i)))
	}
	named := ids[7]
	r.exec(`update people set name_ct = $2 where person = $1`, named, r.seal("Ada", "name_ct", named))
	elsewhere := r.process()
	opens := func(when string) (keys map[uint32]int) {
		t.Helper()
		keys = map[uint32]int{}
		rows, _ := r.db.Query(t.Context(), `select person, email_ct from people`)
		var id uuid.UUID
		var ct []byte
		if _, err := pgx.ForEachRow(rows, []any{&id, &ct}, func() error {
			key, _ := r.keys.KeyOf(ct)
			keys[key]++
			_, err := elsewhere.Open(t.Context(), ct, "people", "email_ct", id)
			return err
		}); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		return keys
	}
	opens("before")
	added := must[uint32](t)(r.Begin(t.Context()))
	elsewhere = r.process() // more than a few seconds have passed for it
	r.continues()
	if keys := opens("before it has settled"); keys[added] != 0 {
		t.Errorf("%v rows are sealed by a key that others may not know", keys)
	}
	r.exec(`update keysets set changed_at = now() - interval '2 minutes'`)
	r.continues()
	if keys := opens("when it has settled"); keys[added] != len(ids) {
		t.Errorf("the rows by key are %v, want all %d under %d", keys, len(ids), added)
	}
	if email, _, err := r.email(ids[3]); err != nil || email != "3@example.com" {
		t.Errorf("somebody's address has become %q, %v", email, err)
	}
	var ct []byte
	if err := r.db.QueryRow(t.Context(), `select name_ct from people where person = $1`, named).Scan(&ct); err != nil {
		t.Fatal(err)
	}
	if key, _ := r.keys.KeyOf(ct); key != added {
		t.Errorf("a name is still under %d", key)
	}
	if name, err := elsewhere.Open(t.Context(), ct, "people", "name_ct", named); err != nil || string(name) != "Ada" {
		t.Errorf("the name has become %q, %v", name, err)
	}
	var before, after string
	state := `select string_agg(xmin::text, ' ' order by person) from people`
	if err := r.db.QueryRow(t.Context(), state).Scan(&before); err != nil {
		t.Fatal(err)
	}
	r.continues()
	if err := r.db.QueryRow(t.Context(), state).Scan(&after); err != nil || before != after {
		t.Errorf("rows are written although nothing is to do, %v", err)
	}
}

func TestASwappedCiphertextStaysOne(t *testing.T) {
	r := newRegistry(t)
	ada, bob, eve := r.add("ada@example.com"), r.add("bob@example.com"), r.add("eve@example.com")
	r.exec(`update people p set email_ct = o.email_ct from people o where (p.person, o.person) in (($1, $2), ($2, $1))`, ada, bob)
	old, primary := r.another()
	if err := r.Continue(t.Context()); err == nil || !strings.Contains(err.Error(), "re-encrypt people.email_ct: open people.email_ct of ") || strings.Contains(err.Error(), "example.com") {
		t.Errorf("rows that do not open: %v", err)
	}
	for _, id := range []uuid.UUID{ada, bob} {
		if email, key, err := r.email(id); err == nil || key != old {
			t.Errorf("what was moved opens to %q, under %d", email, key)
		}
	}
	if email, key, err := r.email(eve); err != nil || key != primary || email != "eve@example.com" {
		t.Errorf("a row beside them: %q under %d, %v", email, key, err)
	}
	// And what is moved afterwards.
	r.exec(`update people p set email_ct = o.email_ct from people o where p.person = $1 and o.person = $2`, ada, eve)
	if email, _, err := r.email(ada); err == nil {
		t.Errorf("what was moved after it was re-encrypted opens to %q", email)
	}
}

func TestRowsThatDoNotOpenHoldUpNoOther(t *testing.T) {
	r := newRegistry(t)
	r.exec(`insert into people select gen_random_uuid(), 'not sealed' from generate_series(1, $1)`, 2*seal.StepSize)
	id := r.add("ada@example.com")
	_, primary := r.another()
	if err := r.Continue(t.Context()); err == nil {
		t.Error("it is not told")
	}
	if _, key, err := r.email(id); err != nil || key != primary {
		t.Errorf("the one that opens is under %d, %v", key, err)
	}
	r.exec(`insert into people select gen_random_uuid(), 'not sealed' from generate_series(1, $1)`, 2*seal.MostLeft)
	if err := r.Continue(t.Context()); err == nil { // and it ends
		t.Error("it is not told")
	}
}

func TestReencryptionLosesNoUpdate(t *testing.T) {
	r := newRegistry(t)
	const writers, writes = 4, 60
	ids := make([]uuid.UUID, writers)
	for i := range ids {
		ids[i] = r.add("begin@example.com")
	}
	var all sync.WaitGroup
	stop := make(chan struct{})
	for _, id := range ids {
		all.Go(func() {
			for i := range writes {
				ct, err := r.keys.Seal(t.Context(), []byte(strconv.Itoa(i)), "people", "email_ct", id)
				if err == nil {
					_, err = r.db.Exec(t.Context(), `update people set email_ct = $2 where person = $1`, id, ct)
				}
				if err != nil {
					t.Error(err)
				}
				if got, _, err := r.email(id); err != nil || got != strconv.Itoa(i) {
					t.Errorf("wrote %d, reads %q, %v", i, got, err)
				}
			}
		})
	}
	var rotations sync.WaitGroup
	rotations.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				r.another()
				r.continues()
			}
		}
	})
	all.Wait()
	close(stop)
	rotations.Wait()
	r.continues()
	primary := must[uint32](t)(r.keys.Primary(t.Context()))
	for _, id := range ids {
		if email, key, err := r.email(id); err != nil || email != strconv.Itoa(writes-1) || key != primary {
			t.Errorf("at the end %q under %d, %v", email, key, err)
		}
	}
	if keys, err := r.keys.Data(t.Context()); err != nil || len(keys) < 3 {
		t.Errorf("only %d keys, %v: nothing was re-encrypted under the writers", len(keys), err)
	}
}

func TestALockedRowIsNotWaitedFor(t *testing.T) {
	r := newRegistry(t)
	busy, idle := r.add("busy@example.com"), r.add("idle@example.com")
	old, primary := r.another()
	tx, err := r.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	if _, err := tx.Exec(t.Context(), `select from people where person = $1 for update`, busy); err != nil {
		t.Fatal(err)
	}
	r.continues()
	if _, key, _ := r.email(busy); key != old {
		t.Errorf("the locked row is under %d", key)
	}
	if _, key, _ := r.email(idle); key != primary {
		t.Errorf("the other row is under %d", key)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.continues()
	if _, key, _ := r.email(busy); key != primary {
		t.Errorf("later it is under %d", key)
	}
}

func TestTheMetricAndTheStatusCountRowsOfEachKey(t *testing.T) {
	r := newRegistry(t)
	reader := sdkmetric.NewManualReader()
	if err := r.Watch(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test"), "registry"); err != nil {
		t.Fatal(err)
	}
	read := func() map[string]int64 {
		t.Helper()
		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		found := map[string]int64{}
		for _, scope := range all.ScopeMetrics {
			for _, m := range scope.Metrics {
				for _, p := range m.Data.(metricdata.Gauge[int64]).DataPoints {
					var name []string
					for _, a := range []string{"module", "table", "column", "key"} {
						v, _ := p.Attributes.Value(attribute.Key(a))
						name = append(name, v.AsString())
					}
					found[m.Name+" "+strings.Join(name, " ")] = p.Value
				}
			}
		}
		return found
	}
	status := func() (said string) {
		t.Helper()
		list, err := r.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range list {
			said += fmt.Sprintf("%s %s %d; ", u.Key, u.State, u.Rows)
		}
		return said
	}
	for i := range 3 {
		id := r.add("somebody@example.com")
		if i == 0 {
			r.exec(`update people set name_ct = $2 where person = $1`, id, r.seal("Ada", "name_ct", id))
		}
	}
	old, primary := r.another()
	r.add("new@example.com")
	r.exec(`insert into people values (gen_random_uuid(), 'not sealed'), (gen_random_uuid(), '\x00'), (gen_random_uuid(), '\xffffffffffff')`)
	want := map[string]int64{
		fmt.Sprintf("seal.rows registry people email_ct %d", old): 3, fmt.Sprintf("seal.rows registry people email_ct %d", primary): 1,
		fmt.Sprintf("seal.rows registry people name_ct %d", old): 1, fmt.Sprintf("seal.rows registry people name_ct %d", primary): 0,
		"seal.rows registry people email_ct other": 3, "seal.rows registry people name_ct other": 0,
	}
	if got := read(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the metric says %v, want %v", got, want)
	}
	if got, want := status(), fmt.Sprintf("%d old 4; %d primary 1; other unknown 3; ", old, primary); got != want {
		t.Errorf("the status is %s; want %s", got, want)
	}
	r.exec(`delete from people where substring(email_ct from 1 for 1) <> '\x01'`)
	r.continues()
	if got := read(); got[fmt.Sprintf("seal.rows registry people email_ct %d", old)] != 0 || got[fmt.Sprintf("seal.rows registry people email_ct %d", primary)] != 4 {
		t.Errorf("at the end the metric says %v", got)
	}
	waiting := must[uint32](t)(r.Begin(t.Context()))
	if got, want := status(), fmt.Sprintf("%d old 0; %d primary 5; %d next 0; ", old, primary, waiting); got != want {
		t.Errorf("the status is %s; want %s", got, want)
	}
	r.exec(`insert into people select gen_random_uuid(), $1 from generate_series(1, $2)`, append([]byte{1, 0, 0, 0, 0}, "broken"...), seal.Watched+1)
	if got := read()["seal.rows registry people email_ct other"]; got != seal.Watched {
		t.Errorf("of %d rows the metric says %d", seal.Watched+1, got)
	}
}
