// Package migrations holds the schema of every module and brings a database up to it. A folder is a module: its files run in the order
// of their numbers, in a schema and under a version table of its own, forward only. A module's login owns nothing and has the rights
// that the files grant it, table by table.
package migrations

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed */*.sql
var embedded embed.FS

// files are the migrations, a folder per module. Tests put others in their place.
var files fs.FS = embedded

// jobs names the modules that have background work, and so River's tables in their schema.
var jobs = []string{"auth", "transactions", "users"}

// riverVersion is pinned: a newer River brings new tables, and those want grants in a file of ours.
const riverVersion = 8

// oldest is the first major version of Postgres whose schema public is closed to everybody, on which the walls rest.
const oldest = 15

const (
	// lockWait is how long a migration waits for a lock, and so how long all that comes behind it waits for nothing: less than a request does.
	lockWait = 1 * time.Second
	// lockTries is how often it comes back for it.
	lockTries = 30
)

// lockKey is the advisory lock under which a database is migrated, whoever starts it first.
const lockKey = 0x67776d69 // any number, and always the same

// Modules returns the names of the modules, in alphabetical order.
func Modules() []string {
	entries, err := fs.ReadDir(files, ".")
	if err != nil { // it is embedded
		panic(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Login returns the name of a module's login role.
func Login(module string) string { return "groundwork_" + module }

// LocalURL derives the connection string of a module's login from the owner's, for local runs and tests only. Its password comes from
// the owner's, so no password stands in the code.
func LocalURL(ownerURL, module string) (string, error) {
	u, err := url.Parse(ownerURL)
	if err != nil || u.Host == "" {
		return "", errors.New("not a postgres:// address")
	}
	secret, _ := u.User.Password()
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(module))
	u.User = url.UserPassword(Login(module), hex.EncodeToString(mac.Sum(nil))[:32])
	return u.String(), nil
}

// Version returns the newest version that this program knows of a module's schema.
func Version(module string) int64 {
	entries, err := fs.ReadDir(files, module)
	if err != nil || len(entries) == 0 {
		return 0
	}
	number, _, _ := strings.Cut(entries[len(entries)-1].Name(), "_")
	version, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		panic("migrations/" + module + ": a file's name begins with its number: " + err.Error())
	}
	return version
}

// Applied returns the version a module's schema is at, asked through any connection that may read its version table.
func Applied(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, module string) (version int64, err error) {
	err = db.QueryRow(ctx, `select coalesce(max(version_id), 0) from `+pgx.Identifier{module, "schema_version"}.Sanitize()+` where is_applied`).Scan(&version)
	return version, err
}

// Up makes the modules' logins and schemas and brings each to its newest version. ownerURL is the login that owns everything; loginURLs
// are the modules' own connection strings, whose passwords the logins get (a module without one must have its login already).
// It may be run by several processes at once and again at any time. Progress goes to out, a line each.
func Up(ctx context.Context, ownerURL string, loginURLs map[string]string, out io.Writer) error {
	conn, err := pgx.Connect(ctx, ownerURL)
	if err != nil {
		return fmt.Errorf("connect as the owner: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var major int
	if err := conn.QueryRow(ctx, `select current_setting('server_version_num')::int / 10000`).Scan(&major); err != nil || major < oldest {
		return errors.Join(fmt.Errorf("this is Postgres %d; %d or later is needed", major, oldest), err)
	}
	// Whoever waits in pg_advisory_lock has a snapshot, for whose end `create index concurrently` waits: it and we would wait for each other.
	for ours := false; !ours; {
		if err := conn.QueryRow(ctx, `select pg_try_advisory_lock($1)`, lockKey).Scan(&ours); err != nil {
			return fmt.Errorf("wait for other migrations to end: %w", err)
		}
		if !ours {
			time.Sleep(100 * time.Millisecond)
		}
	}
	// Temporary tables are the one thing that a login may make without owning anything. An owner that may not say so goes on.
	var name string
	if err := conn.QueryRow(ctx, `select quote_ident(current_database())`).Scan(&name); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "revoke temporary on database "+name+" from public"); err != nil && !denied(err) {
		return err
	}
	for _, module := range Modules() {
		err := login(ctx, conn, module, loginURLs[module])
		for tries := 1; raced(err) && tries < 5; tries++ {
			time.Sleep(100 * time.Millisecond)
			err = login(ctx, conn, module, loginURLs[module])
		}
		if err != nil {
			return fmt.Errorf("%s: login: %w", module, err)
		}
		if err := schema(ctx, conn, ownerURL, module, out); err != nil {
			return fmt.Errorf("%s: %w", module, err)
		}
	}
	return nil
}

// denied reports whether we lack a right (insufficient_privilege).
func denied(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "42501"
}

// raced reports whether somebody changed the same login meanwhile: logins belong to the whole server, and the lock to one database.
func raced(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && (pgErr.Code == "42710" || pgErr.Code == "23505" || pgErr.Message == "tuple concurrently updated")
}

// login makes a module's role, or checks the one that is there: a wall holds only while the login is nobody special.
func login(ctx context.Context, conn *pgx.Conn, module, loginURL string) error {
	role, password := Login(module), ""
	if loginURL != "" {
		u, err := url.Parse(loginURL)
		if err != nil {
			return errors.New("its address cannot be read") // without err: it holds the password
		}
		if u.User.Username() != role {
			return fmt.Errorf("the module logs in as %s, its address says %q", role, u.User.Username())
		}
		password, _ = u.User.Password()
	}
	var exists, special bool
	err := conn.QueryRow(ctx, `
		select count(*) > 0,
		       coalesce(bool_or(rolsuper or rolcreaterole or rolcreatedb or rolbypassrls or rolreplication
		                or exists (select from pg_auth_members m where m.member = r.oid)), false)
		from pg_roles r where rolname = $1`, role).Scan(&exists, &special)
	if err != nil {
		return err
	}
	if special {
		return fmt.Errorf("%s has attributes or memberships; it must be a plain login", role)
	}
	name := pgx.Identifier{role}.Sanitize()
	var statements []string
	switch {
	case !exists:
		statements = append(statements, fmt.Sprintf("create role %s login password %s", name, quote(password)))
	case password != "":
		statements = append(statements, fmt.Sprintf("alter role %s password %s", name, quote(password)))
	}
	// Timeouts are the login's: they hold for every connection, whoever opens it (pgbouncer refuses them as start-up parameters). They
	// guard against mistakes: Postgres lets every login change its own settings, and the next Up puts them right.
	statements = append(statements,
		fmt.Sprintf("alter role %s set search_path = %s", name, pgx.Identifier{module}.Sanitize()),
		fmt.Sprintf("alter role %s set statement_timeout = '5s'", name),
		fmt.Sprintf("alter role %s set lock_timeout = '2s'", name),
		fmt.Sprintf("alter role %s set idle_in_transaction_session_timeout = '10s'", name),
		fmt.Sprintf("alter role %s set timezone = 'UTC'", name),
		// Every question of a module has an index. Postgres keeps the plan of a prepared statement, and one that was made while a table was
		// empty would go on reading all of it when it has grown.
		fmt.Sprintf("alter role %s set enable_seqscan = off", name),
		// What has no index is small, and counts as dear with that: compiling it would take longer than answering it.
		fmt.Sprintf("alter role %s set jit = off", name))
	if !exists && password == "" {
		return needsLogin(role, statements)
	}
	for i, s := range statements {
		_, err := conn.Exec(ctx, s)
		if denied(err) {
			if exists {
				return nil // somebody who may has made it; its password and settings are theirs
			}
			return needsLogin(role, statements)
		}
		if err != nil {
			return fmt.Errorf("statement %d: %w", i+1, err)
		}
	}
	return nil
}

// NeedsLogin says that the owner may not make a module's login, and what somebody who may has to run. It holds no password.
type NeedsLogin struct {
	Role string
	SQL  []string
}

func needsLogin(role string, statements []string) *NeedsLogin {
	e := &NeedsLogin{Role: role}
	for _, s := range statements {
		if before, _, ok := strings.Cut(s, " password "); ok {
			s = before + " password '…'"
		}
		e.SQL = append(e.SQL, s)
	}
	return e
}

func (e *NeedsLogin) Error() string {
	return fmt.Sprintf("the owner may not make the login %s, or does not know its password; let an administrator run:\n  %s;\n", e.Role, strings.Join(e.SQL, ";\n  "))
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// schema brings one module's schema to its newest version.
func schema(ctx context.Context, conn *pgx.Conn, ownerURL, module string, out io.Writer) error {
	if err := prepare(ctx, conn, ownerURL, module); err != nil {
		return err
	}
	db, provider, err := open(ownerURL, module)
	if err != nil {
		return err
	}
	defer db.Close()
	for try := 1; ; try++ {
		results, err := provider.Up(ctx)
		var partial *goose.PartialError
		if errors.As(err, &partial) { // say which file it was, and what went well before it
			results, err = partial.Applied, fmt.Errorf("%s: %w", partial.Failed.Source.Path, partial.Err)
		}
		for _, r := range results {
			fmt.Fprintf(out, "migrated %s to %s (%d ms)\n", module, r.Source.Path, r.Duration.Milliseconds())
		}
		if !locked(err) || try == lockTries || ctx.Err() != nil {
			return err
		}
		time.Sleep(lockWait) // in which those who waited behind it go on
	}
}

// prepare makes one module's schema with River's tables, on which the module's files grant rights.
func prepare(ctx context.Context, conn *pgx.Conn, ownerURL, module string) error {
	if _, err := conn.Exec(ctx, "create schema if not exists "+pgx.Identifier{module}.Sanitize()); err != nil {
		return err
	}
	if slices.Contains(jobs, module) {
		pool, err := pgxpool.New(ctx, ownerURL)
		if err != nil {
			return err
		}
		defer pool.Close()
		river, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: module})
		if err != nil {
			return err
		}
		if _, err := river.Migrate(ctx, rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{TargetVersion: riverVersion}); err != nil {
			return fmt.Errorf("river: %w", err)
		}
	}
	return nil
}

// locked reports whether somebody had a lock for too long (lock_not_available).
func locked(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "55P03"
}

func open(ownerURL, module string) (*sql.DB, *goose.Provider, error) {
	config, err := pgx.ParseConfig(ownerURL)
	if err != nil {
		return nil, nil, err
	}
	config.RuntimeParams["lock_timeout"] = strconv.FormatInt(lockWait.Milliseconds(), 10)
	sub, err := fs.Sub(files, module)
	if err != nil {
		return nil, nil, err
	}
	db := stdlib.OpenDB(*config)
	provider, err := goose.NewProvider(goose.DialectPostgres, db, sub, goose.WithTableName(module+".schema_version"))
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, provider, nil
}

// State is how far one file of a module is.
type State struct {
	Module, File string
	Applied      bool
}

// Status lists every file of every module.
func Status(ctx context.Context, ownerURL string) ([]State, error) {
	var states []State
	for _, module := range Modules() {
		conn, err := pgx.Connect(ctx, ownerURL)
		if err != nil {
			return nil, fmt.Errorf("connect as the owner: %w", err)
		}
		var known bool
		err = conn.QueryRow(ctx, `select to_regclass($1) is not null`, module+".schema_version").Scan(&known)
		conn.Close(ctx)
		if err != nil {
			return nil, err
		}
		var applied int64
		db, provider, err := open(ownerURL, module)
		if err != nil {
			return nil, err
		}
		if known {
			applied, err = provider.GetDBVersion(ctx)
		}
		if err = errors.Join(err, db.Close()); err != nil {
			return nil, err
		}
		for _, source := range provider.ListSources() {
			states = append(states, State{module, source.Path, source.Version <= applied})
		}
	}
	return states, nil
}

// Fingerprint names this set of migrations: another set, another name.
func Fingerprint() string {
	h := sha256.New()
	fmt.Fprintln(h, jobs, riverVersion)
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, path)
		fmt.Fprintln(h, path, len(content))
		h.Write(content)
		return err
	})
	if err != nil { // it is embedded
		panic(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
