package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestStackForTests(t *testing.T) {
	t.Parallel()
	h := hold(t, fake(t), []string{"LOCAL_REDIS=mini"}, "-test")
	database, redis := lookup(h.env, "DATABASE_URL"), host(t, h.env, "REDIS_URL")

	for question, want := range map[string]string{
		`select current_user`: "groundwork",
		`select rolsuper || ' ' || rolcreatedb || ' ' || rolcreaterole from pg_roles where rolname = current_user`: "false true true",
		`select pg_encoding_to_char(encoding) || ' ' || datcollate from pg_database where datname = 'groundwork'`:  "UTF8 C",
		`select current_setting('TimeZone') || ' ' || current_setting('fsync')`:                                    "UTC off",
		`select pg_get_userbyid(datdba) from pg_database where datname = current_database()`:                       "groundwork",
		`select (current_setting('server_version_num')::int / 10000 >= 15)::text`:                                  "true",
		`select current_setting('listen_addresses') || ' ' || host(inet_server_addr())`:                            "127.0.0.1 127.0.0.1",
	} {
		if got := ask(t, database, question); got != want {
			t.Errorf("%s\n  says %q, not %q", question, got, want)
		}
	}
	if _, err := pgx.Connect(context.Background(), strings.Replace(database, "groundwork:", "groundwork:wrong", 1)); err == nil {
		t.Errorf("a wrong password lets in: any user of this machine could read the data")
	}

	if got := say2redis(t, redis, "SET k v PX 50"); got != "+OK" {
		t.Fatalf("SET: %s", got)
	}
	time.Sleep(100 * time.Millisecond)
	if got := say2redis(t, redis, "GET k"); got != "$-1" {
		t.Errorf("a key of 50 ms is still there after 100 ms: %s", got)
	}

	key := lookup(h.env, "KEY_ENCRYPTION_KEY_FILE")
	if err := os.WriteFile(key, []byte("x"), 0o600); err != nil {
		t.Errorf("the command cannot write its key file: %v", err)
	}
	h.stdin.Close()
	if err := h.cmd.Wait(); err != nil {
		t.Errorf("-hold ends with %v when its stdin closes", err)
	}
	if !silent(host(t, h.env, "DATABASE_URL")) || !silent(redis) {
		t.Errorf("the servers outlive -hold")
	}
}

// names are the databases whose name begins with test or template_.
func names(t *testing.T, h *held) string {
	t.Helper()
	return ask(t, lookup(h.env, "DATABASE_URL"), `select coalesce(string_agg(datname, ' ' order by oid), '') from pg_database where datname ~ '^(test|template_)'`)
}

func TestStackForTestsRemembersFailuresAndLittleElse(t *testing.T) {
	t.Parallel()
	root := fake(t)
	first := hold(t, root, nil, "-test")
	if lookup(first.env, "KEEP_FAILED") == "" {
		t.Errorf("pgtest is not told that it may keep a database")
	}
	for n := range 12 {
		execute(t, lookup(first.env, "DATABASE_URL"), fmt.Sprintf(`create database test_%02d`, n))
		execute(t, lookup(first.env, "DATABASE_URL"), fmt.Sprintf(`comment on database test_%02d is 'kept: TestSomething'`, n))
	}
	for _, other := range []string{"test_left", "template_1", "template_2", "template_3", "template_4", "template_5_draft"} {
		execute(t, lookup(first.env, "DATABASE_URL"), `create database `+other)
	}
	joined := hold(t, filepath.Join(root, "services"), nil, "-test") // two runs at once share it, and a folder below will do
	if a, b := lookup(first.env, "DATABASE_URL"), lookup(joined.env, "DATABASE_URL"); a != b {
		t.Errorf("a second run has a stack of its own: %s, not %s", b, a)
	}
	for _, h := range []*held{joined, first} {
		h.stdin.Close()
		_ = h.cmd.Wait()
	}

	second := hold(t, root, nil, "-test")
	want := "test_02 test_03 test_04 test_05 test_06 test_07 test_08 test_09 test_10 test_11 template_2 template_3 template_4"
	if got := names(t, second); got != want {
		t.Errorf("the next run finds\n  %s, not\n  %s", got, want)
	}
	lasting := hold(t, root, nil)
	if got := names(t, lasting); got != "" {
		t.Errorf("the data of the checkout have the databases of tests: %s", got)
	}
	lasting.stdin.Close()
	_ = lasting.cmd.Wait()

	killKeeper(t, second)
	third := hold(t, root, nil, "-test")
	if got := names(t, third); got != "" {
		t.Errorf("a stack that nobody stopped in order, and that does not wait for its disk, is trusted: %s", got)
	}
	third.stdin.Close()
	_ = third.cmd.Wait()
}

// killKeeper kills what looks after the servers, and waits until they have gone.
func killKeeper(t *testing.T, h *held) {
	t.Helper()
	out, err := exec.Command("pgrep", "-P", strconv.Itoa(h.cmd.Process.Pid), "-f", "--", "-keep").Output()
	if err != nil {
		t.Skipf("pgrep: %v", err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Wait(); err == nil {
		t.Errorf("the launcher calls it a success")
	}
	eventually(t, "Postgres has gone", func() bool { return silent(host(t, h.env, "DATABASE_URL")) })
	eventually(t, "Redis has gone", func() bool { return silent(host(t, h.env, "REDIS_URL")) })
}

func say2redis(t *testing.T, address, command string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	words := strings.Fields(command)
	fmt.Fprintf(conn, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(word), word)
	}
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line)
}

func TestKilledLeavesNoServer(t *testing.T) {
	t.Parallel()
	t.Run("keeper", func(t *testing.T) {
		t.Parallel()
		killKeeper(t, hold(t, fake(t), nil, "-test"))
	})
	t.Run("launcher", func(t *testing.T) {
		t.Parallel()
		h := hold(t, fake(t), nil, "-test")
		_ = h.cmd.Process.Kill()
		if err := h.cmd.Wait(); err == nil {
			t.Errorf("the launcher calls it a success")
		}
		eventually(t, "Postgres has gone", func() bool { return silent(host(t, h.env, "DATABASE_URL")) })
		eventually(t, "Redis has gone", func() bool { return silent(host(t, h.env, "REDIS_URL")) })
	})
}
