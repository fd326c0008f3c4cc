// only with auth, users: this file changes users and asks for tokens.

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// project is a copy of this repository under `make dev`.
func project(t *testing.T) *developed {
	t.Helper()
	d := &developed{t: t, root: copied(t), said: &said{}}
	d.start()
	return d
}

// edit replaces text in a file, and says how long it takes until what was to come has come.
func (d *developed) edit(name, old, text, then string) time.Duration {
	d.t.Helper()
	content, err := os.ReadFile(filepath.Join(d.root, name))
	if err != nil || !strings.Contains(string(content), old) {
		d.t.Fatalf("%s has no %q: %v", name, old, err)
	}
	begin := time.Now()
	d.save(name, strings.Replace(string(content), old, text, 1), then)
	return time.Since(begin)
}

// make runs a target beside it, and returns what it says on stdout.
func (d *developed) make(args ...string) string {
	d.t.Helper()
	cmd := launcher(d.root, []string{"CI="}, args...)
	cmd.Path, _ = exec.LookPath("make")
	cmd.Args[0] = "make"
	var why bytes.Buffer
	cmd.Stderr = &why
	out, err := cmd.Output()
	if err != nil {
		d.t.Fatalf("make %v: %v\n%s%s", args, err, out, &why)
	}
	return string(out)
}

func p50(durations []time.Duration) string {
	slices.Sort(durations)
	return fmt.Sprintf("%.1f s (%v)", durations[len(durations)/2].Seconds(), durations)
}

// TestTheInnerLoop takes a minute and is for CI, where .ci/check asks for it. It measures, and fails on what is wrong, not on what is slow.
func TestTheInnerLoop(t *testing.T) {
	if os.Getenv("INNER_LOOP") == "" {
		t.Skip("is run by .ci/check, with INNER_LOOP=yes")
	}
	d := project(t)
	var code, contract, migration []time.Duration
	word := "users"
	for i := range 3 {
		code = append(code, d.edit("services/users/user.go", "has nothing that can be seen", "has nothing that can be seen"+strings.Repeat("!", i+1), ready))
		next := fmt.Sprintf("%s %d", word, i)
		contract = append(contract, d.edit("api/users/v1/openapi.yaml", "title: "+word, "title: "+next, ready))
		if word = next; !strings.Contains(fetch(d.base+"/docs/users-v1.yaml"), "title: "+word) {
			t.Errorf("the server has not the contract that was saved")
		}
		files, _ := filepath.Glob(filepath.Join(d.root, "migrations/users/*.sql"))
		begin := time.Now()
		d.save(fmt.Sprintf("migrations/users/%04d_more.sql", len(files)+1), fmt.Sprintf("-- +goose Up\ncreate table users.more_%d (id int);\n", i), ready)
		migration = append(migration, time.Since(begin))
		d.make("psql", fmt.Sprintf("SQL=select count(*) from users.more_%d", i))
	}
	t.Logf("from a save to a server that is ready, the median of three: Go %s, contract %s, migration %s", p50(code), p50(contract), p50(migration))

	for _, c := range []struct{ name, text, mistake, why string }{
		{"services/users/user.go", "package users", "package users mistake", "user.go:"},
		{"services/users/handlers.go", "m.response(ctx, u)", "m.respond(ctx, u)", "m.respond undefined"},
		{"api/users/v1/openapi.yaml", "paths:", "paths: mistake", "openapi.yaml"},
	} {
		n := len(d.said.since(0))
		d.edit(c.name, c.text, c.mistake, stays)
		if said := d.said.since(n); !strings.Contains(said, c.why) || !answers(d.base+"/readyz") {
			t.Errorf("%s: make dev does not say %q, or does not serve:\n%s", c.name, c.why, said)
		}
		d.edit(c.name, c.mistake, c.text, "the program is the same")
	}
	files, _ := filepath.Glob(filepath.Join(d.root, "migrations/users/*.sql"))
	wrong := fmt.Sprintf("migrations/users/%04d_wrong.sql", len(files)+1)
	d.save(wrong, "-- +goose Up\ncreate mistake;\n", stays)
	if said := d.said.since(0); !strings.Contains(said, `syntax error at or near "mistake"`) || !answers(d.base+"/readyz") {
		t.Errorf("a migration that fails is not explained, or ends the server:\n%s", said)
	}
	d.save(wrong, "-- +goose Up\ncreate table users.mended (id int);\n", ready)
	d.edit("migrations/users/0001_users.sql", "-- +goose Up", "-- a remark, too late\n-- +goose Up", "0001_users.sql is not what was applied")
	d.edit("services/users/user.go", "package users", "package users\n\n// A remark.", "0001_users.sql is not what was applied") // as long as it is so

	d.commands()
	d.make("demo")
	d.end(syscall.SIGINT)
}

// commands tries what stands beside a server that runs.
func (d *developed) commands() {
	t := d.t
	t.Helper()
	for want, args := range map[string][]string{
		"groundwork_users": {"psql", "AS=users", "SQL=select current_user"},
		"groundwork\n":     {"psql", "SQL=select current_user", "LOCAL_PSQL=own"},
		"PONG":             {"redis", "CMD=ping"},
	} {
		if out := d.make(args...); !strings.Contains(out, want) {
			t.Errorf("make %v says %q, not %q", args, out, want)
		}
	}
	if token := d.make("-s", "token", "AS=new-user"); !regexp.MustCompile(`^[\w-]+\.[\w-]+\.[\w-]+\n$`).MatchString(token) {
		t.Errorf("make -s token prints more than a token: %q", token)
	}
	if out := d.make("mail"); !strings.Contains(out, "token ") {
		t.Errorf("make mail shows %q", out)
	}

	d.write("services/purpose_test.go", `package main

import (
	"testing"

	"example.com/groundwork/pkg/postgres/pgtest"
)

func TestPurpose(t *testing.T) {
	if _, err := pgtest.New(t).Owner().Exec(t.Context(), "create table evidence as select 'found' as t"); err != nil {
		t.Fatal(err)
	}
	t.Error("on purpose")
}
`)
	test := launcher(d.root, []string{"CI="}, "test", "PKG=./services", "RUN=TestPurpose")
	test.Path, _ = exec.LookPath("make")
	out, err := test.Output()
	kept := regexp.MustCompile(`make psql (DB=\S+)`).FindStringSubmatch(string(out))
	if err == nil || kept == nil {
		t.Fatalf("a test that fails does not say how to open its database: %v\n%s", err, out)
	}
	for range 2 { // the command that it prints, and again
		if out := d.make("psql", kept[1], "SQL=table evidence"); !strings.Contains(out, "found") {
			t.Errorf("make psql %s finds %q", kept[1], out)
		}
	}
}
