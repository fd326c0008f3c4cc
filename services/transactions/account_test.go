package transactions

import (
	"slices"
	"testing"
)

func TestProfileVersions(t *testing.T) {
	for header, want := range map[string][]int64{
		`"3.17"`: {3}, `"3.17", "4.1"`: {3, 4}, `*`: nil, `"1.1", *`: nil, `W/"3.17"`: {}, `3.17`: {}, `"3"`: {}, `"x.1"`: {}, ``: {}, `,`: {},
	} {
		if got := profileVersions(header); !slices.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("If-Match: %s names %v, want %v", header, got, want)
		}
	}
}
