package migrations_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/postgres/pgtest"
)

// logins are the modules' own addresses on a test's server.
func logins(db *pgtest.DB) map[string]string {
	urls := map[string]string{}
	for _, m := range migrations.Modules() {
		urls[m] = db.URL(m)
	}
	return urls
}

// code is the SQLSTATE of an error, "" when it is none of Postgres'.
func code(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

func TestUpIsHarmlessTheSecondTime(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmpty(t)
	before, err := migrations.Status(t.Context(), db.OwnerURL)
	if err != nil || len(before) < len(migrations.Modules()) || slices.ContainsFunc(before, func(s migrations.State) bool { return s.Applied }) {
		t.Fatalf("the status of an empty database is %v, %v", before, err)
	}
	var first, second strings.Builder
	if err := migrations.Up(t.Context(), db.OwnerURL, logins(db), &first); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Up(t.Context(), db.OwnerURL, logins(db), &second); err != nil {
		t.Fatalf("the second time: %v", err)
	}
	if n := strings.Count(first.String(), "migrated "); n != len(before) || second.String() != "" {
		t.Errorf("the first time says %q, the second %q; want a line per file, then nothing", first.String(), second.String())
	}
	after, err := migrations.Status(t.Context(), db.OwnerURL)
	if err != nil || len(after) != len(before) || slices.ContainsFunc(after, func(s migrations.State) bool { return !s.Applied }) {
		t.Errorf("the status afterwards is %v, %v", after, err)
	}
	for _, m := range migrations.Modules() {
		conn := connect(t, db.URL(m)) // the login works, and may ask how far its schema is
		if applied, err := migrations.Applied(t.Context(), conn, m); err != nil || applied != migrations.Version(m) || applied == 0 {
			t.Errorf("%s is at %d, %v; want %d", m, applied, err, migrations.Version(m))
		}
	}
}

func TestTwoUpsAtOnce(t *testing.T) {
	t.Parallel()
	db, other := pgtest.NewEmpty(t), pgtest.NewEmpty(t) // logins belong to the server: another database must not be in the way
	var wg sync.WaitGroup
	for _, d := range []*pgtest.DB{db, db, other, other} {
		wg.Go(func() {
			if err := migrations.Up(t.Context(), d.OwnerURL, logins(d), io.Discard); err != nil {
				t.Errorf("one of several at once: %v", err)
			}
		})
	}
	wg.Wait()
	var rows, files int
	module := migrations.Modules()[0]
	states, err := migrations.Status(t.Context(), db.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		if s.Module == module {
			files++
		}
	}
	if err := db.Owner().QueryRow(t.Context(), `select count(*) from `+module+`.schema_version where version_id > 0`).Scan(&rows); err != nil || rows != files {
		t.Errorf("%s has %d rows of versions, %v; want %d", module, rows, err, files)
	}
}

func TestRiversTablesAreThoseOfThePinnedVersion(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pool, err := pgxpool.New(t.Context(), db.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	for _, m := range []string{"auth", "transactions", "users"} {
		river, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: m})
		if err != nil {
			t.Fatal(err)
		}
		// Without a target it asks for the newest: a newer River wants its tables, and grants on them in a file of ours.
		if result, err := river.Validate(t.Context(), nil); err != nil || !result.OK {
			t.Errorf("%s: %v %+v: raise riverVersion and grant what is new", m, err, result)
		}
		applied, err := river.ExistingVersions(t.Context())
		if err != nil || len(applied) == 0 || applied[len(applied)-1].Version != migrations.RiverVersion {
			t.Errorf("%s: River is at %+v, %v; want %d", m, applied, err, migrations.RiverVersion)
		}
	}
}

// imaginary is a module that exists in this test only, since logins are shared by all that test on this server.
type imaginary struct {
	name  string
	files fstest.MapFS
}

func newImaginary(t *testing.T) (*imaginary, *pgtest.DB) {
	t.Helper()
	m := &imaginary{name: "m" + strings.ToLower(rand.Text()[:10])}
	dropRole(t, "groundwork_"+m.name, "group_"+m.name, "poor_"+m.name)
	db := pgtest.NewEmpty(t) // before the files change: the first test on a server makes the template of the real ones
	m.files = fstest.MapFS{m.name + "/0001_first.sql": m.file("create table %[1]s.first (id int); grant usage on schema %[1]s to groundwork_%[1]s; grant select on %[1]s.first to groundwork_%[1]s;")}
	migrations.Use(t, m.files)
	return m, db
}

func (m *imaginary) file(sql string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte("-- +goose Up\n" + fmt.Sprintf(sql, m.name) + "\n")}
}

// login is the module's address with a password of its own.
func (m *imaginary) login(t *testing.T, db *pgtest.DB, password string) map[string]string {
	t.Helper()
	u, err := url.Parse(db.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("groundwork_"+m.name, password)
	return map[string]string{m.name: u.String()}
}

// dropRole removes roles when the databases of the test are gone. It has to be called before they are made.
func dropRole(t *testing.T, roles ...string) {
	t.Helper()
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), os.Getenv("DATABASE_URL"))
		if err == nil {
			_, err = conn.Exec(context.Background(), "drop role if exists "+strings.Join(roles, ", "))
			_ = conn.Close(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
	})
}

func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestUpMakesALoginWithItsPassword(t *testing.T) {
	m, db := newImaginary(t)
	for _, password := range []string{"it's \"quoted\" \\ and $odd$", "another"} { // the second time it is changed
		login := m.login(t, db, password)
		if err := migrations.Up(t.Context(), db.OwnerURL, login, io.Discard); err != nil {
			t.Fatal(err)
		}
		if _, err := connect(t, login[m.name]).Exec(t.Context(), "select id from first"); err != nil {
			t.Errorf("with the password %q: %v", password, err)
		}
	}
	if err := migrations.Up(t.Context(), db.OwnerURL, nil, io.Discard); err != nil {
		t.Errorf("without an address, when the login is there: %v", err)
	}
}

func TestAnOwnerWhoMayNotMakeLoginsIsToldWhatToRun(t *testing.T) {
	m, db := newImaginary(t)
	poor := "poor_" + m.name
	u, err := url.Parse(db.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	owner := db.Owner()
	for _, sql := range []string{"create role " + poor + " login password 'of-the-poor'", "grant create on database " + strings.TrimPrefix(u.Path, "/") + " to " + poor} {
		if _, err := owner.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	u.User = url.UserPassword(poor, "of-the-poor")

	for what, login := range map[string]map[string]string{"with an address": m.login(t, db, "marker-of-the-module"), "without one": nil} {
		err := migrations.Up(t.Context(), u.String(), login, io.Discard)
		var needs *migrations.NeedsLogin
		if !errors.As(err, &needs) {
			t.Fatalf("%s: %v; want to be told what to run", what, err)
		}
		said := err.Error() + strings.Join(needs.SQL, "\n")
		if needs.Role != "groundwork_"+m.name || !strings.Contains(said, "create role") || strings.Contains(said, "marker") {
			t.Errorf("%s it says %s", what, said)
		}
	}

	// An administrator runs what was said, with a password; then the poor owner can go on.
	var needs *migrations.NeedsLogin
	if !errors.As(migrations.Up(t.Context(), u.String(), m.login(t, db, "x"), io.Discard), &needs) {
		t.Fatal("it is not told any more")
	}
	for _, sql := range needs.SQL {
		if _, err := owner.Exec(t.Context(), strings.Replace(sql, "…", "by-the-admin", 1)); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	login := m.login(t, db, "by-the-admin")
	if err := migrations.Up(t.Context(), u.String(), login, io.Discard); err != nil {
		t.Fatalf("when the login is there: %v", err)
	}
	if _, err := connect(t, login[m.name]).Exec(t.Context(), "select id from first"); err != nil {
		t.Error(err)
	}
}

func TestASpecialLoginIsRefused(t *testing.T) {
	m, db := newImaginary(t)
	role, group := "groundwork_"+m.name, "group_"+m.name
	owner := db.Owner()
	for _, c := range []struct{ what, special, plain string }{
		{"may make databases", "create role " + role + " login createdb", "alter role " + role + " nocreatedb"},
		{"is a member of another role", "create role " + group + "; grant " + group + " to " + role, "revoke " + group + " from " + role},
	} {
		if _, err := owner.Exec(t.Context(), c.special); err != nil {
			t.Fatal(err)
		}
		err := migrations.Up(t.Context(), db.OwnerURL, m.login(t, db, "x"), io.Discard)
		if err == nil || !strings.Contains(err.Error(), role+" has attributes or memberships; it must be a plain login") {
			t.Errorf("a login that %s: %v", c.what, err)
		}
		if _, err := owner.Exec(t.Context(), c.plain); err != nil {
			t.Fatal(err)
		}
	}
	if err := migrations.Up(t.Context(), db.OwnerURL, m.login(t, db, "x"), io.Discard); err != nil {
		t.Errorf("when it is plain again: %v", err)
	}
	other := m.login(t, db, "x")
	other[m.name] = strings.Replace(other[m.name], role, "postgres", 1)
	if err := migrations.Up(t.Context(), db.OwnerURL, other, io.Discard); err == nil || !strings.Contains(err.Error(), "the module logs in as "+role) {
		t.Errorf("an address with another login: %v", err)
	}
}

func TestAFileThatFailsLeavesNothingHalfDone(t *testing.T) {
	m, db := newImaginary(t)
	m.files[m.name+"/0002_second.sql"] = m.file("create table %[1]s.second (id int); insert into %[1]s.first values (1); select 1 / 0;")
	err := migrations.Up(t.Context(), db.OwnerURL, m.login(t, db, "x"), io.Discard)
	if code(err) != "22012" {
		t.Fatalf("a file that divides by zero: %v", err)
	}
	if !strings.Contains(err.Error(), "0002_second.sql") {
		t.Errorf("the error does not name the file: %v", err)
	}
	states, err := migrations.Status(t.Context(), db.OwnerURL)
	if err != nil || len(states) != 2 || !states[0].Applied || states[1].Applied {
		t.Errorf("the status is %v, %v; want the first file applied and the second not", states, err)
	}
	var table *string
	var rows int
	if err := db.Owner().QueryRow(t.Context(), "select to_regclass('"+m.name+".second')::text, (select count(*) from "+m.name+".first)").Scan(&table, &rows); err != nil || table != nil || rows != 0 {
		t.Errorf("of the file that failed there is the table %v and %d rows, %v", table, rows, err)
	}

	m.files[m.name+"/0002_second.sql"] = m.file("create table %[1]s.second (id int);")
	if err := migrations.Up(t.Context(), db.OwnerURL, m.login(t, db, "x"), io.Discard); err != nil {
		t.Errorf("when the file is mended: %v", err)
	}
	if migrations.Version(m.name) != 2 {
		t.Errorf("the newest version is %d", migrations.Version(m.name))
	}
}

func TestTheFingerprintFollowsTheFiles(t *testing.T) {
	m, _ := newImaginary(t)
	one := migrations.Fingerprint()
	m.files[m.name+"/0001_first.sql"].Data = append(m.files[m.name+"/0001_first.sql"].Data, "-- more\n"...)
	if migrations.Fingerprint() == one {
		t.Error("another file has the same fingerprint: tests would go on with an old template")
	}
}
