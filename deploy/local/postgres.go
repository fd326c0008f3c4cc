package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
	"github.com/jackc/pgx/v5"
)

const (
	oldest     = 15                   // the oldest major version the migrations are tested on
	downloaded = embeddedpostgres.V18 // what is fetched when none is installed
)

// startPostgres runs Postgres on the data of the order and returns the lines of the environment that name it.
func startPostgres(ctx context.Context, o order, died chan<- error) (env []string, stop func(), err error) {
	data := filepath.Join(o.Data, "postgres")
	b, err := choose(ctx, o, data)
	if err != nil {
		return nil, nil, err
	}
	if err := stopLeftover(ctx, b, data); err != nil {
		return nil, nil, err
	}
	super, err := secret(filepath.Join(o.Data, "superuser-password"))
	if err != nil {
		return nil, nil, err
	}
	password, err := secret(filepath.Join(o.Data, "owner-password"))
	if err != nil {
		return nil, nil, err
	}
	if _, err := os.Stat(data); os.IsNotExist(err) {
		if err := initdb(ctx, o, b, data); err != nil {
			return nil, nil, err
		}
	}

	favourite := 55432
	if o.Test {
		favourite = 0
	}
	err = onPort(favourite, func(port int) error {
		args := []string{"-D", data, "-p", strconv.Itoa(port)}
		for _, setting := range []string{
			"listen_addresses=127.0.0.1",
			"unix_socket_directories=", // the path of a socket holds 107 bytes, the path of a checkout more
			"max_connections=200", "timezone=UTC", "log_timezone=UTC", "logging_collector=off",
		} {
			args = append(args, "-c", setting)
		}
		if o.Test {
			args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
		}
		s, err := launch("Postgres", filepath.Join(o.Data, "postgres.log"), b.program("postgres"), args...)
		if err != nil {
			return err
		}
		admin := connURL("postgres", super, port, "postgres")
		if err := s.ready(ctx, func(ctx context.Context) error { return createOwner(ctx, admin, password) }); err != nil {
			return err
		}
		stop = s.stop
		go s.watch(ctx, died)
		env = []string{"DATABASE_URL=" + connURL("groundwork", password, port, "groundwork")}
		if o.Test { // for tests that plant corruption; nobody else is to have it
			env = append(env, "SUPERUSER_DATABASE_URL="+connURL("postgres", super, port, "groundwork"))
		} else {
			say("Postgres %s of %s on 127.0.0.1:%d, data in %s", b.version, b.folder, port, data)
		}
		return nil
	})
	return env, stop, err
}

func connURL(name, password string, port int, database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", name, password, port, database)
}

// createOwner makes the role and the database of DATABASE_URL. The role may make roles and databases and is no superuser,
// as in a hosted Postgres.
func createOwner(ctx context.Context, admin, password string) error {
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var role, database bool
	if err := conn.QueryRow(ctx, `
		select exists (select from pg_roles where rolname = 'groundwork'),
		       exists (select from pg_database where datname = 'groundwork')`).Scan(&role, &database); err != nil {
		return err
	}
	if !role { // the password is letters and digits: it needs no quoting
		if _, err := conn.Exec(ctx, "create role groundwork login createdb createrole password '"+password+"'"); err != nil {
			return err
		}
	}
	if !database {
		_, err = conn.Exec(ctx, "create database groundwork owner groundwork")
	}
	return err
}

// initdb makes the data folder under another name first: half a data folder is never taken for a whole one.
func initdb(ctx context.Context, o order, b binaries, data string) error {
	fresh := data + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	args := []string{"-D", fresh, "-U", "postgres", "--pwfile=" + filepath.Join(o.Data, "superuser-password"),
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"}
	if o.Test {
		args = append(args, "--no-sync")
	}
	if out, err := output(ctx, b.program("initdb"), args...); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return os.Rename(fresh, data)
}

// stopLeftover ends a Postgres on our data that outlived its keeper, and removes the pid file of one that did not: by now
// its number may be another process, and Postgres would refuse to start.
func stopLeftover(ctx context.Context, b binaries, data string) error {
	file := filepath.Join(data, "postmaster.pid")
	content, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 0 || !worksIn(pid, data) {
		return os.Remove(file)
	}
	say("stopping a Postgres that an earlier run left behind (process %d)", pid)
	out, err := output(ctx, b.program("pg_ctl"), "stop", "-D", data, "-m", "fast", "-w", "-t", "30")
	if err != nil && worksIn(pid, data) {
		return fmt.Errorf("pg_ctl stop: %w\n%s", err, out)
	}
	return nil
}

// binaries are the programs of one Postgres.
type binaries struct {
	folder, version string
	major           int
}

func (b binaries) program(name string) string { return filepath.Join(b.folder, name) }

// choose takes the Postgres that made the data, else the first in the order of where people look, else a download.
func choose(ctx context.Context, o order, data string) (binaries, error) {
	made := 0
	if content, err := os.ReadFile(filepath.Join(data, "PG_VERSION")); err == nil {
		made, _ = strconv.Atoi(strings.TrimSpace(string(content)))
	}
	var found []binaries
	if os.Getenv("LOCAL_POSTGRES") != "download" {
		found = installed(ctx)
	}
	fits := func(b binaries) bool { return made == 0 || made == b.major }
	if i := slices.IndexFunc(found, fits); i >= 0 {
		return found[i], nil
	}
	fetch, _ := strconv.Atoi(strings.Split(string(downloaded), ".")[0])
	if made != 0 && made != fetch {
		return binaries{}, fmt.Errorf("the data in %s were made by Postgres %d, which is not here any more: install it, "+
			"or run `make reset`, which wipes the data and starts afresh", data, made)
	}
	b, err := download(ctx, o.Cache)
	if err != nil {
		return b, fmt.Errorf("no installed Postgres is used, and none can be had: %w\n"+
			"install Postgres %d or later (postgresql.org/download), or set DATABASE_URL", err, oldest)
	}
	return b, nil
}

// installed finds the Postgres servers of this machine, in order of preference.
func installed(ctx context.Context) []binaries {
	var folders []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil { // a link may stand where initdb does not
			folders = append(folders, filepath.Dir(path))
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
		"/usr/pgsql-*/bin",
	} {
		matches, _ := filepath.Glob(pattern)
		slices.SortStableFunc(matches, func(a, b string) int { return cmp.Compare(number(b), number(a)) })
		folders = append(folders, matches...)
	}
	var found []binaries
	for _, folder := range folders {
		if b, err := inspect(ctx, folder); err == nil && b.major >= oldest {
			found = append(found, b)
		}
	}
	return found
}

var digits = regexp.MustCompile(`\d+`)

func number(path string) int {
	n, _ := strconv.Atoi(digits.FindString(path))
	return n
}

// inspect asks a Postgres for its version: one that we may not run, or that has no initdb, is none.
func inspect(ctx context.Context, folder string) (binaries, error) {
	for _, name := range []string{"initdb", "pg_ctl"} {
		if _, err := exec.LookPath(filepath.Join(folder, name)); err != nil {
			return binaries{}, err
		}
	}
	out, err := output(ctx, filepath.Join(folder, "postgres"), "-V") // postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)
	if err != nil {
		return binaries{}, fmt.Errorf("%w: %s", err, out)
	}
	_, version, _ := strings.Cut(out, "(PostgreSQL) ")
	version, _, _ = strings.Cut(strings.TrimSpace(version), " ")
	return binaries{folder: folder, version: version, major: number(version)}, nil
}

// download brings Postgres from Maven Central, once for each user; later runs need no network.
//
// embedded-postgres compares the archive with the SHA-256 that lies beside it (remote_fetch.go). That finds broken
// downloads; against a forged repository there is only TLS, and when the .sha256 file is missing it does not complain.
//
// The library cannot only download. It starts what it has unpacked, so it is given a data folder with nothing in it but a
// version: after the last file is unpacked it fails there, without a server of its own that nobody would look after.
func download(ctx context.Context, cache string) (binaries, error) {
	if err := os.MkdirAll(filepath.Dir(cache), 0o700); err != nil {
		return binaries{}, err
	}
	if err := ownFolder(cache); err != nil {
		return binaries{}, err
	}
	folder := filepath.Join(cache, "postgres-"+string(downloaded))
	lock, err := os.Open(cache)
	if err != nil {
		return binaries{}, err
	}
	defer lock.Close() // one download at a time
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return binaries{}, err
	}
	if b, err := inspect(ctx, filepath.Join(folder, "bin")); err == nil {
		return b, nil
	}

	left, _ := filepath.Glob(filepath.Join(cache, "unpack-*")) // by an interrupted download
	for _, folder := range left {
		_ = os.RemoveAll(folder)
	}
	temp, err := os.MkdirTemp(cache, "unpack-")
	if err != nil {
		return binaries{}, err
	}
	defer os.RemoveAll(temp)
	in := func(name string) string { return filepath.Join(temp, name) }
	if err := os.Mkdir(in("data"), 0o700); err != nil {
		return binaries{}, err
	}
	if err := os.WriteFile(in("data/PG_VERSION"), []byte("18"), 0o600); err != nil {
		return binaries{}, err
	}
	port, err := freePort()
	if err != nil {
		return binaries{}, err
	}
	say("downloading Postgres %s from Maven Central to %s, once", downloaded, cache)
	defer every(5*time.Second, "still downloading Postgres")()
	fetched := make(chan error, 1)
	go func() {
		fetched <- embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().Version(downloaded).Port(uint32(port)).
			CachePath(in("archive")).RuntimePath(in("run")).BinariesPath(in("postgres")).DataPath(in("data")).
			Logger(nil)).Start()
	}()
	select {
	case err = <-fetched:
	case <-ctx.Done():
		return binaries{}, errors.New("interrupted")
	}
	if err == nil || !strings.HasPrefix(err.Error(), "could not start postgres") {
		return binaries{}, fmt.Errorf("download Postgres %s: %v", downloaded, err)
	}
	if _, err := inspect(ctx, in("postgres/bin")); err != nil {
		return binaries{}, fmt.Errorf("the downloaded Postgres does not run here: %w", err)
	}
	if err := os.RemoveAll(folder); err != nil {
		return binaries{}, err
	}
	if err := os.Rename(in("postgres"), folder); err != nil {
		return binaries{}, err
	}
	return inspect(ctx, filepath.Join(folder, "bin"))
}

// output runs a helper of Postgres to its end and returns what it says.
func output(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	if err := start(cmd, syscall.SIGKILL); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return strings.TrimSpace(out.String()), err
}
