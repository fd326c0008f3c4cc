package main

import (
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"example.com/groundwork/migrations"
)

// sealers are the modules that have keys.
func sealers(t *testing.T) (list []string) {
	t.Helper()
	for _, m := range migrations.Modules() {
		if slices.Contains(needs[m], keySettings) {
			list = append(list, m)
		}
	}
	if len(list) == 0 {
		t.Skip("no module has keys")
	}
	return list
}

func TestKeysAreRotatedUnderARunningServer(t *testing.T) {
	t.Parallel()
	have, env := sealers(t), world(t)
	p := start(t, env)
	says := func(args ...string) string {
		t.Helper()
		out, err := command(t, env, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	first, second := says("keys", "rotate"), says("keys", "rotate")
	for _, m := range have {
		line := regexp.MustCompile(`(?m)^` + m + `: data key (\d+) is added; .*$`)
		a, b := line.FindStringSubmatch(first), line.FindStringSubmatch(second)
		if a == nil || b == nil || a[1] != b[1] {
			t.Errorf("%s: rotated at first to %q, then to %q: while one rotation goes on there is no second", m, a, b)
		}
		for _, state := range []string{`primary +\d+ rows`, `next +0 rows`} {
			if status := says("keys", "status"); !regexp.MustCompile(`(?m)^` + m + ` +\d+ +` + state + `$`).MatchString(status) {
				t.Errorf("%s has no key that is %s:\n%s", m, state, status)
			}
		}
		resp, err := http.Get(p.admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		metrics, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if !regexp.MustCompile(`seal_rows\{[^}]*key="` + a[1] + `"[^}]*module="` + m + `"[^}]*\} 0`).Match(metrics) {
			t.Errorf("the metrics do not tell of the new key of %s", m)
		}
	}
	noSecrets(t, p.logs.String())
}

func TestKeysSayWhatTheyNeed(t *testing.T) {
	t.Parallel()
	have, env := sealers(t), world(t)
	_ = command(t, env, "keys", "status").Run() // which makes the keysets
	owner, err := pgx.Connect(t.Context(), env["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close(t.Context())
	const address = "_DATABASE_URL"
	apart := with(env, "ENVIRONMENT", "production", "DATABASE_URL", "", "KEY_ENCRYPTION_KEY_FILE", "")
	for _, c := range []struct {
		says, want string
		env        map[string]string
		args       []string
	}{
		{"nothing to do", "keys rotate, or keys status", env, []string{}},
		{"what there is not", "keys rotate, or keys status", env, []string{"rotate", "auth"}},
		{"no settings", "settings: keys needs " + strings.ToUpper(have[0]) + address, apart, []string{"rotate"}},
		{"no key", keySettings, apart, []string{"rotate"}},
		{"another key", have[0] + ": keyset data: the keysets were made with another key-encryption key",
			with(env, "KEY_ENCRYPTION_KEY_FILE", filepath.Join(t.TempDir(), "another")), []string{"rotate"}},
	} {
		out, err := command(t, c.env, append([]string{"keys"}, c.args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v\n%s\nwant %s", c.says, err, out, c.want)
		}
	}
	// Away from home it gets by on these.
	for _, m := range have {
		var err error
		if apart[strings.ToUpper(m)+address], err = migrations.LocalURL(env["DATABASE_URL"], m); err != nil {
			t.Fatal(err)
		}
	}
	apart = with(apart, "KEY_ENCRYPTION_KEY_FILE", env["KEY_ENCRYPTION_KEY_FILE"], "REDIS_URL", "", "OPERATOR_EMAIL", "", "OPERATOR_PASSWORD", "")
	if out, err := command(t, apart, "keys", "status").CombinedOutput(); err != nil {
		t.Errorf("with databases and the key: %v\n%s", err, out)
	}
	for _, m := range have {
		var changed int
		if err := owner.QueryRow(t.Context(), `select count(*) from `+m+`.keysets where changed_at > created_at`).Scan(&changed); err != nil || changed > 0 {
			t.Errorf("%s: %d keysets have changed by commands that failed, %v", m, changed, err)
		}
	}
}
