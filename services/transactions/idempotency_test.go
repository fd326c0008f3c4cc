package transactions

import (
	"slices"
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
		got, err := parseKey(header)
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
		key, err := parseKey(header)
		if err != nil {
			return
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, err := parseKey(quoted); err != nil || again != key {
			t.Errorf("%q reads as %q, which quoted reads as %q, %v", header, key, again, err)
		}
	})
}

func TestProfileVersions(t *testing.T) {
	for header, want := range map[string][]int64{
		`"3.17"`: {3}, `"3.17", "4.1"`: {3, 4}, `*`: nil, `"1.1", *`: nil, `W/"3.17"`: {}, `3.17`: {}, `"3"`: {}, `"x.1"`: {}, ``: {}, `,`: {},
	} {
		if got := profileVersions(header); !slices.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("If-Match: %s names %v, want %v", header, got, want)
		}
	}
}
