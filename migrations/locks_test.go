package migrations_test

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/postgres/pgtest"
)

// While a release is replaced by the next one, both run on the schema of the next one: docs/change-the-database.md. So no file may hold up who
// uses a table that was there before, nor take away what the release before uses. This runs every file and looks at what Postgres did.

// released are files of a fork that were released before this was looked at, and cannot be changed any more: "invoices/0002_more.sql".
var released = []string{}

func TestMigrationsLetTheReleaseBeforeGoOn(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmpty(t)
	for _, module := range migrations.Modules() {
		for _, fault := range faults(t, db, module, db.URL(module)) {
			if name, _, _ := strings.Cut(fault, ": "); !slices.Contains(released, name) {
				t.Error(fault)
			}
		}
	}
}

// faults applies a module's files one by one, and returns what is wrong with each.
func faults(t *testing.T, db *pgtest.DB, module, loginURL string) (list []string) {
	t.Helper()
	owner := db.Owner()
	err := migrations.Enter(t.Context(), owner, module, loginURL)
	if err == nil {
		err = migrations.Prepare(t.Context(), owner, db.OwnerURL, module)
	}
	if err != nil {
		t.Fatal(err)
	}
	goose, provider, err := migrations.Open(db.OwnerURL, module)
	if err != nil {
		t.Fatal(err)
	}
	defer goose.Close()
	if _, err := provider.GetDBVersion(t.Context()); err != nil { // makes the table of versions, on which the files grant rights
		t.Fatal(err)
	}
	for _, source := range provider.ListSources() {
		text, err := fs.ReadFile(migrations.Files(), path.Join(module, source.Path))
		if err != nil {
			t.Fatal(err)
		}
		f := &file{t: t, name: module + "/" + source.Path, text: string(text), login: migrations.Login(module), before: shape(t, owner, module)}
		alone := strings.Contains(f.text, "-- +goose NO TRANSACTION")
		if !alone {
			f.locks(db)
		}
		if _, err := provider.ApplyVersion(t.Context(), source.Version, true); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		if alone {
			f.alone()
			if _, err := owner.Exec(t.Context(), `delete from `+module+`.schema_version where version_id = $1`, source.Version); err != nil {
				t.Fatal(err)
			}
			// What fails in the middle is run again from its beginning.
			if _, err := provider.ApplyVersion(t.Context(), source.Version, true); err != nil {
				f.fault("it cannot be run again: %v", err)
			}
		}
		f.taken(shape(t, owner, module))
		list = append(list, f.faults...)
	}
	return list
}

// file is one migration, and what is wrong with it.
type file struct {
	t                 *testing.T
	name, text, login string
	before            map[uint32]table
	faults            []string
}

func (f *file) fault(format string, args ...any) {
	f.faults = append(f.faults, f.name+": "+fmt.Sprintf(format, args...))
}

// table is what programs see of a table, and what it is kept in.
type table struct {
	name   string
	node   uint32
	column map[int16]column
	rights map[string]bool // of the module's login
}

type column struct {
	name     string
	required bool // an insert has to name it
}

// shape looks at every table of a module, but those that others than its files make.
func shape(t *testing.T, conn *pgx.Conn, module string) map[uint32]table {
	t.Helper()
	tables := map[uint32]table{}
	rows, _ := conn.Query(t.Context(), `
		select c.oid, c.relname, c.relfilenode, a.attnum, a.attname, a.attnotnull and not a.atthasdef and a.attidentity = '',
		       array(select p.privilege_type from aclexplode(c.relacl) p where p.grantee = $2::regrole),
		       array(select p.privilege_type from aclexplode(a.attacl) p where p.grantee = $2::regrole)
		from pg_class c join pg_attribute a on a.attrelid = c.oid
		where c.relnamespace = $1::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
		  and c.relname <> 'schema_version' and c.relname not like 'river\_%'`, module, migrations.Login(module))
	var oid, node uint32
	var name string
	var number int16
	var c column
	var whole, one []string
	_, err := pgx.ForEachRow(rows, []any{&oid, &name, &node, &number, &c.name, &c.required, &whole, &one}, func() error {
		if _, known := tables[oid]; !known {
			tables[oid] = table{module + "." + name, node, map[int16]column{}, map[string]bool{}}
		}
		of := tables[oid]
		of.column[number] = c
		for _, right := range whole {
			of.rights[right+" on "+of.name] = true
		}
		for _, right := range one {
			of.rights[right+" on "+of.name+"."+c.name] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// locks runs the file and takes it back: the tables that it keeps others from writing while it reads all of them.
func (f *file) locks(db *pgtest.DB) {
	f.t.Helper()
	conn, err := pgx.Connect(f.t.Context(), db.OwnerURL) // a new one: the counts of a transaction begin with those of the last one of its session
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	tx, err := conn.Begin(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := conn.PgConn().Exec(f.t.Context(), f.text).ReadAll(); err != nil {
		f.t.Fatalf("%s: %v", f.name, err)
	}
	rows, _ := tx.Query(f.t.Context(), `
		select l.relation, c.relname, string_agg(l.mode, ' and ' order by l.mode)
		from pg_locks l join pg_class c on c.oid = l.relation join pg_stat_xact_all_tables s on s.relid = l.relation
		where l.pid = pg_backend_pid() and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
		  and s.seq_scan + coalesce(s.idx_scan, 0) > 0 and l.relation = any ($1)
		group by 1, 2 order by 2`, slices.Collect(maps.Keys(f.before)))
	var oid uint32
	var name, mode string
	if _, err := pgx.ForEachRow(rows, []any{&oid, &name, &mode}, func() error {
		f.fault("reads all of %s under %s, while nobody may write to it", f.before[oid].name, mode)
		return nil
	}); err != nil {
		f.t.Fatal(err)
	}
}

var statement = regexp.MustCompile(`(?is)^((create|drop|reindex)\b.*\bconcurrently\b|(set|reset) lock_timeout\b)`)

// alone looks at a file without a transaction: it is for what needs to be outside of one, which holds nobody up, and for nothing else, as what
// fails in the middle leaves the rest undone.
func (f *file) alone() {
	text := regexp.MustCompile(`(?m)--.*$`).ReplaceAllString(f.text, "")
	for one := range strings.SplitSeq(text, ";") {
		if one = strings.TrimSpace(one); one != "" && !statement.MatchString(one) {
			f.fault("without a transaction it may do things concurrently, and nothing else: %s", one)
		}
	}
}

// contract is how a file says that nobody uses any more what it takes away.
var contract = regexp.MustCompile(`(?m)^-- contract: (.+?) (?:is|are) not used since (v\d+\.\d+\.\d+)$`)

// taken compares the tables with those before.
func (f *file) taken(after map[uint32]table) {
	said := map[string]bool{}
	for _, m := range contract.FindAllStringSubmatch(f.text, -1) {
		said[m[1]] = true
	}
	takes := func(what string) {
		if !said[what] {
			f.fault("takes %s away, which the release before may use; if it does not: -- contract: %[1]s is not used since v1.2.3", what)
		}
	}
	for _, oid := range slices.Sorted(maps.Keys(f.before)) {
		old, now := f.before[oid], after[oid]
		if now.name != old.name {
			takes(old.name)
			continue
		}
		if now.node != old.node {
			f.fault("writes all of %s anew, while nobody may read it", old.name)
		}
		gone := map[string]bool{}
		for number, was := range old.column {
			if name := old.name + "." + was.name; now.column[number].name != was.name {
				gone[name] = true
				takes(name)
			}
		}
		for number, is := range now.column {
			if is.required && !old.column[number].required {
				takes("leaving out " + old.name + "." + is.name)
			}
		}
		for _, right := range slices.Sorted(maps.Keys(old.rights)) {
			if _, on, _ := strings.Cut(right, " on "); !now.rights[right] && !gone[on] {
				takes(right)
			}
		}
	}
}

// TestTheExampleOfThePage runs the files of docs/change-the-database.md one after the other.
func TestTheExampleOfThePage(t *testing.T) {
	m, db := newImaginary(t)
	page, err := os.ReadFile("../docs/change-the-database.md")
	if err != nil {
		t.Fatal(err)
	}
	m.files[m.name+"/0002_invoices.sql"] = m.file("create table %[1]s.invoices (id uuid primary key, note text not null default '');")
	blocks := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	for i, block := range blocks {
		sql := strings.NewReplacer("invoices.invoices", m.name+".invoices", "groundwork_invoices", "groundwork_"+m.name).Replace(block[1])
		m.files[fmt.Sprintf("%s/%04d_next.sql", m.name, i+3)] = &fstest.MapFile{Data: []byte(sql)}
	}
	for _, fault := range faults(t, db, m.name, m.login(t, db, "x")[m.name]) {
		t.Error(fault)
	}
	var columns string
	err = db.Owner().QueryRow(t.Context(), `select string_agg(column_name, ' ' order by column_name) from information_schema.columns where table_schema = $1 and table_name = 'invoices'`, m.name).Scan(&columns)
	if err != nil || len(blocks) != 5 || columns != "id reason" {
		t.Errorf("after %d files there are the columns %s, %v", len(blocks), columns, err)
	}
}

func TestWhatHoldsUpTheReleaseBeforeIsFound(t *testing.T) {
	const alone = "-- +goose NO TRANSACTION\n"
	for _, c := range []struct{ what, sql, want string }{
		{"a column with a default", "alter table %[1]s.old add column c text not null default 'x'", ""},
		{"a column that may be empty", "alter table %[1]s.old add column c text", ""},
		{"a column with a default that differs by row", "alter table %[1]s.old add column c uuid not null default gen_random_uuid()", "writes all of %[1]s.old"},
		{"a column without a default", "alter table %[1]s.old add column c text not null", "takes leaving out %[1]s.old.c away"},
		{"a type of other bytes", "alter table %[1]s.old alter column id type bigint", "writes all of %[1]s.old"},
		{"a type of the same bytes", "alter table %[1]s.old alter column name type text", ""},
		{"an index", "create index on %[1]s.old (name)", "reads all of %[1]s.old under ShareLock"},
		{"a unique constraint", "alter table %[1]s.old add unique (name)", "reads all of %[1]s.old"},
		{"a unique constraint of an index that is there", "alter table %[1]s.old add constraint u unique using index %[1]s_ready", ""},
		{"a check", "alter table %[1]s.old add constraint c check (id > 0)", "reads all of %[1]s.old under AccessExclusiveLock"},
		{"a check of what comes from now on", "alter table %[1]s.old add constraint c check (id > 0) not valid", ""},
		{"the check of what was there", "alter table %[1]s.old validate constraint later", ""},
		{"both in one file", "alter table %[1]s.old add constraint c check (id > 0) not valid; alter table %[1]s.old validate constraint c", "reads all of %[1]s.old under AccessExclusiveLock"},
		{"not null", "alter table %[1]s.old alter column name set not null", "reads all of %[1]s.old under AccessExclusiveLock"},
		{"not null, as a check knows already", "-- contract: leaving out %[1]s.old.known is not used since v0.3.0\nalter table %[1]s.old alter column known set not null", ""},
		{"a reference", "alter table %[1]s.old add foreign key (id) references %[1]s.other", "reads all of %[1]s.old"},
		{"a new table that refers to it", "create table %[1]s.new (id int primary key references %[1]s.old); create index on %[1]s.new (id)", ""},
		{"a change of every row under a lock", "alter table %[1]s.old add column c text; update %[1]s.old set c = name", "reads all of %[1]s.old under AccessExclusiveLock"},
		{"a column taken away", "alter table %[1]s.old drop column name", "takes %[1]s.old.name away"},
		{"a column taken away that nobody uses", "-- contract: %[1]s.old.name is not used since v0.3.0\nalter table %[1]s.old drop column name", ""},
		{"another column taken away than it says", "-- contract: %[1]s.old.id is not used since v0.3.0\nalter table %[1]s.old drop column name", "takes %[1]s.old.name away"},
		{"a column taken away that once was used", "-- contract: %[1]s.old.name is not used\nalter table %[1]s.old drop column name", "takes %[1]s.old.name away"},
		{"another name for a column", "alter table %[1]s.old rename column name to title", "takes %[1]s.old.name away"},
		{"another name for a table", "alter table %[1]s.old rename to older", "takes %[1]s.old away"},
		{"a table taken away", "drop table %[1]s.old", "takes %[1]s.old away"},
		{"a right taken away", "revoke select on %[1]s.old from groundwork_%[1]s", "takes SELECT on %[1]s.old away"},
		{"a right on a column taken away", "revoke update (name) on %[1]s.old from groundwork_%[1]s", "takes UPDATE on %[1]s.old.name away"},
		{"an index beside the others", alone + "drop index concurrently if exists %[1]s.i;\ncreate index concurrently i on %[1]s.old (name)", ""},
		{"the same that cannot be tried again", alone + "create index concurrently i on %[1]s.old (name)", "cannot be run again"},
		{"another thing without a transaction", alone + "create index if not exists i on %[1]s.old (name)", "may do things concurrently, and nothing else"},
	} {
		t.Run(c.what, func(t *testing.T) {
			m, db := newImaginary(t)
			m.files[m.name+"/0002_old.sql"] = m.file(`create table %[1]s.old (id int primary key, name varchar(10), known text check (known is not null), constraint later check (id < 9) not valid);
				create table %[1]s.other (id int primary key); create unique index %[1]s_ready on %[1]s.old (name); grant select, update (name) on %[1]s.old to groundwork_%[1]s;`)
			m.files[m.name+"/0003_next.sql"] = m.file(c.sql + ";")
			found := strings.Join(faults(t, db, m.name, m.login(t, db, "x")[m.name]), "\n")
			if want := strings.ReplaceAll(c.want, "%[1]s", m.name); (want == "") != (found == "") || !strings.Contains(found, want) {
				t.Errorf("found is %q, want %q", found, want)
			}
		})
	}
}
