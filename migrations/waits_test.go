package migrations_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"example.com/groundwork/migrations"
)

// TestAnIndexIsMadeConcurrentlyBesideAnotherUp makes an index without a lock while somebody writes to the table, and somebody else migrates too:
// whoever waits for its turn must not be waited for.
func TestAnIndexIsMadeConcurrentlyBesideAnotherUp(t *testing.T) {
	m, db := newImaginary(t)
	login := m.login(t, db, "x")
	if err := migrations.Up(t.Context(), db.OwnerURL, login, io.Discard); err != nil {
		t.Fatal(err)
	}
	m.files[m.name+"/0002_index.sql"] = m.file("-- +goose NO TRANSACTION\nset lock_timeout = 0;\ndrop index concurrently if exists %[1]s.first_id;\n" +
		"create index concurrently first_id on %[1]s.first (id);\nreset lock_timeout;")
	owner := db.Owner()
	writer, err := db.Owner().Begin(t.Context())
	if err == nil {
		_, err = writer.Exec(t.Context(), "lock table "+m.name+".first in row exclusive mode")
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var ups sync.WaitGroup
	up := func() {
		if err := migrations.Up(ctx, db.OwnerURL, login, io.Discard); err != nil {
			t.Errorf("one of two at once: %v", err)
		}
	}
	ups.Go(up)
	until(t, "the index waits for the writer", func() (yes bool, err error) {
		err = owner.QueryRow(t.Context(), `select exists (select from pg_stat_activity where datname = current_database() and query like 'create index%' and wait_event_type = 'Lock')`).Scan(&yes)
		return yes, err
	})
	ups.Go(up)
	until(t, "the other one waits for its turn", func() (yes bool, err error) {
		err = owner.QueryRow(t.Context(), `select exists (select from pg_stat_activity where datname = current_database() and query like '%advisory_lock%' and pid <> pg_backend_pid())`).Scan(&yes)
		return yes, err
	})
	time.Sleep(1500 * time.Millisecond) // longer than a migration waits for a lock
	if err := writer.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	ups.Wait()
	var valid bool
	if err := owner.QueryRow(t.Context(), `select indisvalid from pg_index where indexrelid = $1::regclass`, m.name+".first_id").Scan(&valid); err != nil || !valid {
		t.Errorf("the index is valid: %v, %v", valid, err)
	}
}

// TestAMigrationThatWaitsHoldsUpNobody lets a migration wait for a lock that is held for long, and a request behind it.
func TestAMigrationThatWaitsHoldsUpNobody(t *testing.T) {
	m, db := newImaginary(t)
	login := m.login(t, db, "x")
	if err := migrations.Up(t.Context(), db.OwnerURL, login, io.Discard); err != nil {
		t.Fatal(err)
	}
	m.files[m.name+"/0002_column.sql"] = m.file("alter table %[1]s.first add column c int;")
	holder, err := db.Owner().Begin(t.Context())
	if err == nil {
		_, err = holder.Exec(t.Context(), "lock table "+m.name+".first in access share mode")
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- migrations.Up(t.Context(), db.OwnerURL, login, io.Discard) }()
	owner, user := db.Owner(), connect(t, login[m.name]) // whose lock_timeout is that of every request
	waits := func() (yes bool, err error) {
		err = owner.QueryRow(t.Context(), `select exists (select from pg_locks l join pg_stat_activity using (pid) where datname = current_database() and not granted and mode = 'AccessExclusiveLock')`).Scan(&yes)
		return yes, err
	}
	for range 2 { // it comes back
		until(t, "the migration waits", waits)
		if _, err := user.Exec(t.Context(), "select from first"); err != nil {
			t.Errorf("a request behind it: %v", err)
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("it gives up: %v", err)
	default:
	}
	if err := holder.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("when the lock is free: %v", err)
	}
	if _, err := user.Exec(t.Context(), "select c from first"); code(err) != "" && code(err) != "42501" {
		t.Errorf("the column: %v", err)
	}
}

func until(t *testing.T, what string, is func() (bool, error)) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		yes, err := is()
		if err != nil {
			t.Fatal(err)
		}
		if yes {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it never happened that %s", what)
		}
	}
}
