package migrations_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/postgres/pgtest"
)

// The walls between the modules hold in Postgres as well, whatever their programs do.

const (
	notAllowed = "42501" // insufficient_privilege
	notChanged = "23001" // restrict_violation: our trigger on history
)

// refused fails the test when a statement goes through, or fails for another reason than the wanted one.
func refused(t *testing.T, conn *pgx.Conn, want, sql string) {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(t.Context(), sql); err == nil || code(err) != want {
		t.Errorf("%s: %s: %v; want %s", conn.Config().User, sql, err, want)
	}
}

func TestALoginIsKeptInItsRoom(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := db.Owner()
	var ownerName string
	if err := owner.QueryRow(t.Context(), "select quote_ident(current_user)").Scan(&ownerName); err != nil {
		t.Fatal(err)
	}
	for _, module := range migrations.Modules() {
		conn := connect(t, db.URL(module))
		role := migrations.Login(module)

		// What belongs to others: every table of theirs, in every way; and becoming them.
		for _, other := range migrations.Modules() {
			if other == module {
				continue
			}
			tables := tablesOf(t, owner, other)
			if len(tables) < 2 { // its version, and what it keeps
				t.Fatalf("%s has the tables %v", other, tables)
			}
			for table, column := range tables {
				for _, sql := range []string{
					"select " + column + " from %s", "insert into %s default values", "update %s set " + column + " = " + column, "delete from %s",
					"truncate %s", "lock table %s in access share mode", "drop table %s", "alter table %s add column mine int",
					"copy %s to stdout", "create table mine (like %s)", "create view mine as select from %s", "grant select on %s to public",
				} {
					refused(t, conn, notAllowed, fmt.Sprintf(sql, table))
				}
			}
			refused(t, conn, notAllowed, "create table "+other+".mine (id int)")
			refused(t, conn, notAllowed, "set role "+migrations.Login(other))
			refused(t, conn, notAllowed, "set session authorization "+migrations.Login(other))
			refused(t, conn, notAllowed, "grant "+migrations.Login(other)+" to "+role)
			refused(t, conn, notAllowed, "alter role "+migrations.Login(other)+" password 'mine'")
			refused(t, conn, notAllowed, "alter role "+migrations.Login(other)+" set search_path = public")
		}

		// What is above it.
		for _, sql := range []string{
			"set role " + ownerName, "set session authorization " + ownerName, "grant " + ownerName + " to " + role,
			"alter role " + role + " createdb", "alter role " + role + " createrole", "alter role " + role + " superuser", "alter role " + role + " bypassrls",
			"create role mine", "create schema mine", "create table public.mine (id int)", "create extension pg_trgm",
			"select rolpassword from pg_authid", "select passwd from pg_shadow", "select pg_read_file('/etc/passwd')", "copy (select 1) to program 'id'",
			"set session_replication_role = replica", "select pg_reload_conf()", "drop owned by " + ownerName,
			"reassign owned by " + ownerName + " to " + role,
		} {
			refused(t, conn, notAllowed, sql)
		}

		for _, sql := range []string{"create database mine", "alter system set log_statement = 'all'"} { // these want no transaction
			if _, err := conn.Exec(t.Context(), sql); code(err) != notAllowed {
				t.Errorf("%s: %s: %v; want %s", role, sql, err, notAllowed)
			}
		}

		// The shape of its own room, and the record of how it came about.
		for _, sql := range []string{
			"create table %s.mine (id int)", "create function %s.mine() returns int language sql return 1", "drop schema %s cascade",
			"alter schema %s rename to mine", "drop table %s.schema_version",
			"insert into %s.schema_version (version_id, is_applied) values (99, true)", "update %s.schema_version set version_id = 99",
			"delete from %s.schema_version", "truncate %s.schema_version",
		} {
			refused(t, conn, notAllowed, fmt.Sprintf(sql, module))
		}
		var queue bool // it has background work
		if err := owner.QueryRow(t.Context(), `select to_regclass($1) is not null`, module+".river_job").Scan(&queue); err != nil {
			t.Fatal(err)
		}
		if queue {
			for _, sql := range []string{"insert into %s.river_migration (line, version) values ('mine', 99)", "update %s.river_migration set version = 99",
				"delete from %s.river_migration", "truncate %s.river_migration", "drop table %s.river_job", "truncate %s.river_job"} {
				refused(t, conn, notAllowed, fmt.Sprintf(sql, module))
			}
		}
		for table := range tablesOf(t, owner, module) {
			refused(t, conn, notAllowed, "alter table "+table+" disable trigger all")
			refused(t, conn, notAllowed, "alter table "+table+" owner to "+role)
			refused(t, conn, notAllowed, "drop table "+table)
		}
		before := rights(t, owner, role)
		for _, sql := range []string{
			"grant all on schema " + module + " to " + role, "grant all on all tables in schema " + module + " to " + role, "reset role", "reset session authorization",
		} {
			_, _ = conn.Exec(t.Context(), sql) // Postgres refuses, or warns only: either way nothing may change
		}
		if after := rights(t, owner, role); after != before || before == "" {
			t.Errorf("%s gave itself rights: it had %s and has %s", role, before, after)
		}
		var self, session string
		if err := conn.QueryRow(t.Context(), "select current_user, session_user").Scan(&self, &session); err != nil || self != role || session != role {
			t.Errorf("%s is %s and %s, %v", role, self, session, err)
		}
		var owned int
		if err := owner.QueryRow(t.Context(), `
			select (select count(*) from pg_class c join pg_roles r on r.oid = c.relowner where r.rolname = $1)
			     + (select count(*) from pg_namespace n join pg_roles r on r.oid = n.nspowner where r.rolname = $1)
			     + (select count(*) from pg_proc p join pg_roles r on r.oid = p.proowner where r.rolname = $1)`, role).Scan(&owned); err != nil || owned != 0 {
			t.Errorf("%s owns %d things, %v", role, owned, err)
		}
	}
}

// What is sealed is sealed again with a new key, which takes an index to find it by its old one, and the right to change it.
func TestWhatIsSealedCanBeSealedAgain(t *testing.T) {
	t.Parallel()
	rows, err := pgtest.New(t).Owner().Query(t.Context(), `
		select table_schema, table_name, column_name,
		       exists (select from pg_indexes i where i.schemaname = table_schema and i.tablename = table_name
		               and i.indexdef ilike '%(substring(' || column_name || ' from 1 for 5))') as found,
		       has_column_privilege($1 || table_schema, table_schema || '.' || table_name, column_name, 'update') as writable
		from information_schema.columns where column_name like '%\_ct' and data_type = 'bytea' order by 1, 2, 3`, migrations.Login(""))
	if err != nil {
		t.Fatal(err)
	}
	columns := 0
	var schema, table, column string
	var found, writable bool
	if _, err := pgx.ForEachRow(rows, []any{&schema, &table, &column, &found, &writable}, func() error {
		columns++
		if !found {
			t.Errorf("%[1]s.%[2]s.%[3]s has no index to find old keys by: create index %[2]s_%[3]s_key on %[1]s.%[2]s (substring(%[3]s from 1 for 5))", schema, table, column)
		}
		if !writable {
			t.Errorf("%[1]s.%[2]s.%[3]s cannot be sealed again: grant update (%[3]s) on %[1]s.%[2]s to its login", schema, table, column)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if columns == 0 {
		t.Skip("nothing is sealed here")
	}
}

func TestHistoryIsNeverChanged(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := db.Owner()
	for _, h := range []struct{ module, table, column string }{
		{"auth", "auth.audit_events", "kind"},
		{"transactions", "transactions.transactions", "request_id"},
		{"transactions", "transactions.entries", "amount"},
	} {
		conn := connect(t, db.URL(h.module))
		for _, sql := range []string{
			"update " + h.table + " set " + h.column + " = " + h.column, "update " + h.table + " set " + h.column + " = " + h.column + " where false",
			"delete from " + h.table, "truncate " + h.table + " cascade",
		} {
			refused(t, conn, notAllowed, sql)
			refused(t, owner, notChanged, sql) // the owner has the right, and the trigger
		}
		refused(t, conn, notAllowed, "alter table "+h.table+" disable trigger all")
		refused(t, conn, notAllowed, "drop trigger "+h.table[len(h.module)+1:]+"_append_only on "+h.table)
	}
	// only with transactions:
	ledger := connect(t, db.URL("transactions"))
	for _, sql := range []string{
		"alter table transactions.entries disable trigger entries_check",
		"insert into transactions.transactions (id, kind, occurred_at, created_at, created_by, request_id, created_xid) values (gen_random_uuid(), 'transfer', now(), now(), gen_random_uuid(), '', '1')",
		"update transactions.accounts set owner_id = gen_random_uuid()", "update transactions.accounts set currency = 'EUR'",
		"update transactions.balances set currency = 'EUR'", "update transactions.balances set floor = null", "delete from transactions.accounts",
		"delete from transactions.balances", "update transactions.idempotency_keys set body = ''", "delete from transactions.transaction_references",
		"insert into transactions.currencies values ('XXX', 2)",
	} {
		refused(t, ledger, notAllowed, sql)
	}
	// end transactions
}

func TestAFreshConnectionHasItsLoginsSettings(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for _, module := range migrations.Modules() {
		conn := connect(t, db.URL(module))
		for name, want := range map[string]string{
			"search_path": module, "statement_timeout": "5s", "lock_timeout": "2s", "idle_in_transaction_session_timeout": "10s", "timezone": "UTC",
			"enable_seqscan": "off", "jit": "off",
		} {
			var got string
			if err := conn.QueryRow(t.Context(), "select current_setting($1)", name).Scan(&got); err != nil || got != want {
				t.Errorf("%s: %s is %q, %v; want %q", module, name, got, err, want)
			}
		}
	}
}

// tablesOf lists the tables of a schema, each with one of its columns.
func tablesOf(t *testing.T, owner *pgx.Conn, schema string) map[string]string {
	t.Helper()
	rows, err := owner.Query(t.Context(), `
		select table_schema || '.' || table_name, min(column_name)
		from information_schema.columns where table_schema = $1 and is_generated = 'NEVER' group by 1`, schema)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]string{}
	var table, column string
	if _, err := pgx.ForEachRow(rows, []any{&table, &column}, func() error { tables[table] = column; return nil }); err != nil {
		t.Fatal(err)
	}
	return tables
}

// rights lists what a role may do, as text.
func rights(t *testing.T, owner *pgx.Conn, role string) (list string) {
	t.Helper()
	err := owner.QueryRow(t.Context(), `
		select concat(
			(select string_agg(c.oid || ':' || a.privilege_type || a.is_grantable, ',' order by c.oid, a.privilege_type)
			 from pg_class c, aclexplode(c.relacl) a, pg_roles r where r.oid = a.grantee and r.rolname = $1), ' ',
			(select string_agg(n.oid || ':' || a.privilege_type || a.is_grantable, ',' order by n.oid, a.privilege_type)
			 from pg_namespace n, aclexplode(n.nspacl) a, pg_roles r where r.oid = a.grantee and r.rolname = $1))`, role).Scan(&list)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
