package pgtest_test

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"example.com/groundwork/pkg/postgres/pgtest"
)

// TestItsOwnFailure fails on purpose, when another test runs it in a process of its own.
func TestItsOwnFailure(t *testing.T) {
	if os.Getenv("FAIL_ON_PURPOSE") == "" {
		t.Skip("is run by TestAFailedTestKeepsItsDatabase")
	}
	t.Run("isn't kept", func(t *testing.T) { _ = pgtest.New(t) })
	t.Run("it's kept", func(t *testing.T) {
		if _, err := pgtest.New(t).Owner().Exec(t.Context(), `create table public.evidence as select 'found' as t`); err != nil {
			t.Fatal(err)
		}
		t.Error("on purpose")
	})
}

func TestAFailedTestKeepsItsDatabase(t *testing.T) {
	t.Parallel()
	mine := pgtest.New(t) // there is a server, and DATABASE_URL names it
	run := func(env ...string) []string {
		cmd := exec.Command(os.Args[0], "-test.run=^TestItsOwnFailure$", "-test.v")
		cmd.Env = append(append(os.Environ(), "FAIL_ON_PURPOSE=yes", "CI=", "KEEP_FAILED="), env...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "on purpose") {
			t.Fatalf("it should fail on purpose: %v\n%s", err, out)
		}
		var names []string
		for _, found := range regexp.MustCompile(`(.*) keeps its database.*make psql DB=(\S+)`).FindAllStringSubmatch(string(out), -1) {
			names = append(names, found[2])
		}
		return names
	}
	for reason, env := range map[string][]string{
		"on CI": {"KEEP_FAILED=yes", "CI=true"},
		"on a server that is not ours, where nobody would tidy up": nil,
	} {
		if kept := run(env...); len(kept) > 0 {
			t.Errorf("%s databases are kept: %v", reason, kept)
		}
	}
	kept := run("KEEP_FAILED=yes")
	if len(kept) != 1 || !strings.HasPrefix(kept[0], "test_itsownfailure_it_s_kept_") {
		t.Fatalf("one of two tests failed; kept are %v", kept)
	}
	owner := mine.Owner()
	t.Cleanup(func() {
		if _, err := owner.Exec(context.Background(), "drop database "+kept[0]); err != nil {
			t.Error(err)
		}
	})
	config := owner.Config().Copy()
	config.Database = kept[0]
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var evidence, comment string
	err = conn.QueryRow(t.Context(), `select t, (select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()) from public.evidence`).Scan(&evidence, &comment)
	if err != nil || evidence != "found" || comment != "kept: TestItsOwnFailure/it's_kept" {
		t.Errorf("the database has %q and says %q, %v", evidence, comment, err)
	}
}
