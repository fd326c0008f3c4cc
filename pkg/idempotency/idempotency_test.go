package idempotency

import (
	"strings"
	"testing"

	"example.com/groundwork/pkg/problem"
)

func TestKeys(t *testing.T) {
	for header, want := range map[string]string{
		`abc`:                                 "abc",
		`"abc"`:                               "abc",
		` "abc" `:                             "abc",
		`"a\"b\\c"`:                           `a"b\c`,
		`a b`:                                 "a b",
		`a"b`:                                 `a"b`,
		`a\b`:                                 `a\b`,
		strings.Repeat("k", 255):              strings.Repeat("k", 255),
		`"` + strings.Repeat(`\"`, 255) + `"`: strings.Repeat(`"`, 255),
		``:                                    "",
		` `:                                   "",
		`""`:                                  "",
		`"`:                                   "",
		`"abc`:                                "",
		`"abc"; a=1`:                          "",
		`"a\bc"`:                              "",
		`"abc\`:                               "",
		"tab\tbed":                            "",
		"ключ":                                "",
		strings.Repeat("k", 256):              "",
	} {
		got, err := Key(header)
		if got != want || (err == nil) != (want != "") || err != nil && problem.From(err).Code != "idempotency-key-invalid" {
			t.Errorf("%q: got %q, %v; want %q", header, got, err, want)
		}
	}
}

func FuzzKey(f *testing.F) {
	for _, seed := range []string{"abc", `"abc"`, `"a\"b"`, "\x00", `\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		key, err := Key(header)
		if err != nil {
			return
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, err := Key(quoted); err != nil || again != key {
			t.Errorf("%q reads as %q, which quoted reads as %q, %v", header, key, again, err)
		}
	})
}
