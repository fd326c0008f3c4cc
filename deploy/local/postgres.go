package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
	"github.com/jackc/pgx/v5"
)

// postgres runs Postgres on the data of the place, and makes the data the first time.
func (k *keeper) postgres() error {
	folder, superFile := filepath.Join(k.data, "postgres"), filepath.Join(k.data, "superuser-password")
	super, err := secret(superFile)
	password, err2 := secret(filepath.Join(k.data, "owner-password"))
	if err := errors.Join(err, err2, stopLeftover(folder)); err != nil {
		return err
	}
	if k.test {
		if err := k.trust(folder); err != nil {
			return err
		}
	}
	made := madeBy(folder)
	if k.test { // any will do
		made = 0
	}
	b, err := k.choose(k.ctx, made)
	if err == nil && k.test && b.major != madeBy(folder) {
		err = os.RemoveAll(folder)
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(folder); os.IsNotExist(err) {
		if err := k.initdb(b, folder, superFile); err != nil {
			return err
		}
	}

	url := "postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable"
	port, err := k.onPort(55432, func(port int) error {
		args := []string{"-D", folder, "-p", strconv.Itoa(port),
			"-c", "listen_addresses=127.0.0.1",
			"-c", "unix_socket_directories=", // the path of a socket holds 107 bytes, the path of a checkout more
			"-c", "max_connections=200", "-c", "timezone=UTC", "-c", "log_timezone=UTC", "-c", "logging_collector=off"}
		if k.test {
			args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
		}
		return k.run("Postgres", k.program(b.in("postgres"), args...), func(ctx context.Context) error {
			return createOwner(ctx, fmt.Sprintf(url, "postgres", super, port, "postgres"), password)
		})
	})
	if err == nil && k.test {
		k.env = append(k.env, "KEEP_FAILED=yes") // pgtest may leave a failed test's database: the next run finds it, and so does make psql
		err = tidy(k.ctx, fmt.Sprintf(url, "postgres", super, port, "postgres"))
	}
	k.env = append(k.env, "DATABASE_URL="+fmt.Sprintf(url, "groundwork", password, port, "groundwork"))
	if err == nil && !k.test {
		say("%s of %s on port %d, data in %s", b.version, b.folder, port, folder)
	}
	return err
}

// initdb makes the data folder under another name first: half a data folder is never taken for a whole one.
func (k *keeper) initdb(b binaries, folder, superFile string) error {
	fresh := folder + ".new"
	if err := errors.Join(os.RemoveAll(fresh), os.Mkdir(fresh, 0o700), k.give(fresh), k.give(superFile)); err != nil {
		return err
	}
	args := []string{"-D", fresh, "-U", "postgres", "--pwfile=" + superFile,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"}
	if k.test {
		args = append(args, "--no-sync")
	}
	if out, err := output(k.program(b.in("initdb"), args...)); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return os.Rename(fresh, folder)
}

// createOwner makes the role and the database of DATABASE_URL. The role may make roles and databases and is no superuser,
// as in a hosted Postgres.
func createOwner(ctx context.Context, admin, password string) error {
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, _ := conn.Query(ctx, `
		select format('create role "groundwork" login createdb createrole password %L', $1::text)
		where not exists (select from pg_roles where rolname = 'groundwork')
		union all
		select 'create database "groundwork" owner "groundwork"'
		where not exists (select from pg_database where datname = 'groundwork')`, password)
	missing, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, statement := range missing {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return err
}

// stopLeftover ends a Postgres on our data that outlived its keeper, and removes the pid file of one that did not: by now
// its number may be another process, and Postgres would refuse to start.
func stopLeftover(folder string) error {
	file := filepath.Join(folder, "postmaster.pid")
	content, _ := os.ReadFile(file)
	first, _, _ := strings.Cut(string(content), "\n")
	pid, _ := strconv.Atoi(first)
	for end := time.Now().Add(30 * time.Second); pid > 0 && worksIn(pid, folder); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("a Postgres that an earlier run left behind does not stop: process %d", pid)
		}
		_ = syscall.Kill(pid, syscall.SIGINT)
	}
	return os.RemoveAll(file)
}

const (
	oldest     = 15                   // the oldest major version the migrations are tested on
	downloaded = embeddedpostgres.V18 // what is fetched when none is installed
	fetched    = 18                   // its major version
)

// binaries are the programs of one Postgres.
type binaries struct {
	folder, version string
	major           int
}

func (b binaries) in(name string) string { return filepath.Join(b.folder, name) }

// madeBy is the major version of the Postgres that made the data; 0 when there are none.
func madeBy(folder string) int {
	content, _ := os.ReadFile(filepath.Join(folder, "PG_VERSION"))
	major, _ := strconv.Atoi(strings.TrimSpace(string(content)))
	return major
}

// choose takes the newest Postgres that is installed and can read data made by a version, else a download.
func (p place) choose(ctx context.Context, made int) (best binaries, err error) {
	for _, folder := range installed() {
		b, err := p.inspect(folder)
		if err == nil && b.major > best.major && b.major >= oldest && (made == 0 || made == b.major) {
			best = b
		}
	}
	if best.major > 0 {
		return best, nil
	}
	if made != 0 && made != fetched {
		return best, fmt.Errorf("the data in %s were made by Postgres %d, which is not here any more: install it, "+
			"or run `make reset`, which wipes the data and starts afresh", p.data, made)
	}
	if best, err = p.download(ctx); err != nil {
		err = fmt.Errorf("no installed Postgres is used, and none can be had: %w\n"+
			"install Postgres %d or later (postgresql.org/download), or set DATABASE_URL", err, oldest)
	}
	return best, err
}

// installed names the folders where people have a Postgres.
func installed() (folders []string) {
	if os.Getenv("LOCAL_POSTGRES") == "download" {
		return nil
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil { // a link may stand where initdb does not
			folders = append(folders, filepath.Dir(path))
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		matches, _ := filepath.Glob(pattern)
		folders = append(folders, matches...)
	}
	return folders
}

// inspect asks a Postgres for its version: one that its user may not run, or that has no initdb, is none.
func (p place) inspect(folder string) (b binaries, err error) {
	b.folder = folder
	if b.version, err = output(p.program(b.in("initdb"), "-V")); err == nil {
		b.version, err = output(p.program(b.in("postgres"), "-V")) // postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)
	}
	if err != nil {
		return b, fmt.Errorf("%w: %s", err, b.version)
	}
	_, err = fmt.Sscanf(b.version, "postgres (PostgreSQL) %d", &b.major)
	return b, err
}

// download brings Postgres from Maven Central, once for each user; later runs need no network.
//
// embedded-postgres compares the archive with the SHA-256 that lies beside it (remote_fetch.go). That finds broken
// downloads; against a forged repository there is only TLS, and when the .sha256 file is missing it does not complain.
//
// The library cannot only download. It starts what it has unpacked, so it is given a data folder with nothing in it but a
// version: after the last file is unpacked it fails there, without a server of its own that nobody would look after.
func (p place) download(ctx context.Context) (b binaries, err error) {
	if err := ownFolder(p.cache); err != nil {
		return b, err
	}
	only, err := lock(filepath.Join(p.cache, "lock"), syscall.LOCK_EX) // one download at a time
	if err != nil {
		return b, err
	}
	defer only.Close()
	folder := filepath.Join(p.cache, "postgres-"+string(downloaded))
	if b, err := p.inspect(filepath.Join(folder, "bin")); err == nil {
		return b, nil
	}

	temp := filepath.Join(p.cache, "unpack")
	in := func(name string) string { return filepath.Join(temp, name) }
	defer os.RemoveAll(temp)
	port, err := freePort(0)
	if err := errors.Join(err, os.RemoveAll(temp), os.RemoveAll(folder), os.MkdirAll(in("data"), 0o700), os.Chmod(temp, 0o711), // the servant goes through
		os.WriteFile(in("data/PG_VERSION"), []byte(strconv.Itoa(fetched)), 0o600)); err != nil {
		return b, err
	}
	say("downloading Postgres %s from Maven Central to %s, once", downloaded, p.cache)
	defer every(5*time.Second, "still downloading Postgres")()
	result := make(chan error, 1)
	go func() {
		result <- embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().Version(downloaded).Port(uint32(port)).
			CachePath(in("archive")).RuntimePath(in("run")).BinariesPath(in("postgres")).DataPath(in("data")).
			Logger(nil)).Start()
	}()
	select {
	case err = <-result:
	case <-ctx.Done():
		return b, ctx.Err()
	}
	if err == nil || !strings.HasPrefix(err.Error(), "could not start postgres") {
		return b, fmt.Errorf("download Postgres %s: %w", downloaded, err)
	}
	if _, err := p.inspect(in("postgres/bin")); err != nil {
		return b, fmt.Errorf("the downloaded Postgres does not run here: %w", err)
	}
	if err := os.Rename(in("postgres"), folder); err != nil {
		return b, err
	}
	return p.inspect(filepath.Join(folder, "bin"))
}

// output runs a helper of Postgres to its end and returns what it says.
func output(cmd *exec.Cmd) (string, error) {
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := start(cmd, syscall.SIGKILL)
	if err == nil {
		err = cmd.Wait()
	}
	return strings.TrimSpace(out.String()), err
}
