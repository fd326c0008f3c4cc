package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"example.com/groundwork/pkg/postgres/pgtest"
)

// do runs a command in a world of its own.
func do(t *testing.T, env map[string]string, in string, args ...string) (out, said string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	err = run(t.Context(), args, world{func(name string) string { return env[name] }, strings.NewReader(in), &stdout, &stderr})
	return stdout.String(), stderr.String(), err
}

func TestSQL(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	env := func(sql string) map[string]string {
		return map[string]string{"DATABASE_URL": db.OwnerURL, "SQL": sql, "LOCAL_PSQL": "own"}
	}
	name := db.OwnerURL[strings.LastIndex(db.OwnerURL, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	for _, c := range []struct {
		sql, in string
		args    []string
		want    string
	}{
		{"select 1 as one, 'a\tb' as two, null as three; select true", "", nil, "one  two   three\n1    a\\tb  \n(SELECT 1)\n?column?\nt\n(SELECT 1)\n"},
		{"", "select 2 as two;\nselect 3 as three", nil, "two\n2\n(SELECT 1)\nthree\n3\n(SELECT 1)\n"},
		{"create table public.x (id int)", "", nil, "(CREATE TABLE)\n"},
		{"select current_database() as name", "", []string{"-db", name}, "name\n" + name + "\n(SELECT 1)\n"},
		// only with users:
		{"select current_user", "", []string{"-as", "users"}, "current_user\ngroundwork_users\n(SELECT 1)\n"},
		// end users
	} {
		out, _, err := do(t, env(c.sql), c.in, append([]string{"psql"}, c.args...)...)
		if out != c.want || err != nil {
			t.Errorf("%s%s %v: %q, %v; want %q", c.sql, c.in, c.args, out, err, c.want)
		}
	}
	for sql, want := range map[string]string{
		"select nope": `column "nope" does not exist`, "": "",
	} {
		if _, _, err := do(t, env(sql), "", "psql"); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", sql, err, want)
		}
	}
}

func TestWhatPsqlRefuses(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := db.Owner()
	kept := owner.Config().Database
	if _, err := owner.Exec(t.Context(), "comment on database "+kept+" is 'kept: TestOfSomething'"); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		`no module "nope"; there are `: {"-as", "nope"},
		`no database "nope"`:           {"-db", "nope"},
		kept:                           {"-db", "nope"}, // it names those that there are
	} {
		_, _, err := do(t, map[string]string{"DATABASE_URL": db.OwnerURL}, "", append([]string{"psql"}, args...)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("psql %v: %v; want %q", args, err, want)
		}
	}
	if _, _, err := do(t, nil, "", "psql"); err == nil || !strings.Contains(err.Error(), "make psql") {
		t.Errorf("without a database: %v", err)
	}
}

// TestRealPsql runs this program in a process of its own, because psql takes its place.
func TestRealPsql(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("psql is not installed")
	}
	program := filepath.Join(t.TempDir(), "dev")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	cmd := exec.Command(program, "psql")
	cmd.Env = append(os.Environ(), "DATABASE_URL="+pgtest.New(t).OwnerURL, "SQL=select 'it''s' || ' psql' as x", "LOCAL_PSQL=")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "it's psql") || !strings.Contains(string(out), "(1 row)") {
		t.Errorf("%v %s", err, out)
	}
}

func TestRedisWithoutItsProgram(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	env := func(cmd string) map[string]string {
		return map[string]string{"REDIS_URL": "redis://" + server.Addr() + "/0", "CMD": cmd, "LOCAL_REDIS": "mini"}
	}
	for _, c := range []struct{ cmd, in, want string }{
		{"ping", "", "PONG\n"},
		{"get nothing", "", "(nil)\n"},
		{"keys *", "", "(empty)\n"},
		{"", "set k v\n\nget k\nkeys *\nnonsense\nincr n\n", "OK\nv\n  k\nERR unknown command `nonsense`, with args beginning with: \n1\n"},
	} {
		if out, _, err := do(t, env(c.cmd), c.in, "redis"); out != c.want || err != nil {
			t.Errorf("%s%s: %q, %v; want %q", c.cmd, c.in, out, err, c.want)
		}
	}
	if _, _, err := do(t, env("nonsense"), "", "redis"); err == nil {
		t.Error("a command that fails is a success")
	}
	if _, _, err := do(t, nil, "", "redis"); err == nil || !strings.Contains(err.Error(), "make redis") {
		t.Errorf("without a Redis: %v", err)
	}
}

func TestWithoutAServer(t *testing.T) {
	t.Parallel()
	const closed = "http://127.0.0.1:1" // a port that no test is given
	bare := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(bare.Close)
	for _, c := range []struct{ base, want string }{
		{"", "no server is running here: `make dev` or `make run`"}, // there is no .local/run.env in this folder
		{closed, "nothing answers at " + closed},
		{bare.URL, "keeps no mailbox"},
	} {
		if _, _, err := do(t, map[string]string{"BASE_URL": c.base}, "", "mail"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v; want %q", c.base, err, c.want)
		}
	}
	if _, _, err := do(t, nil, "", "nonsense"); err == nil || !strings.Contains(err.Error(), "there are mail, psql, redis") {
		t.Errorf("a command that does not exist: %v", err)
	}
}

func TestTheFileOfTheRunningServer(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir(".local", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(".local/run.env", []byte("BASE_URL='http://from.the.file'\nOPERATOR_PASSWORD='it'\\''s = long'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := running(func(string) string { return "" })
	if err != nil || s.base != "http://from.the.file" || s.getenv("OPERATOR_PASSWORD") != "it's = long" {
		t.Errorf("the server is %q, the password %q, %v", s.base, s.getenv("OPERATOR_PASSWORD"), err)
	}
	s, err = running(func(name string) string { return map[string]string{"BASE_URL": "http://from.outside"}[name] })
	if err != nil || s.base != "http://from.outside" {
		t.Errorf("the environment is passed over: %q %v", s.base, err)
	}
}
