package auth

import (
	"errors"
	"testing"
)

func TestWhatHappensToAnAddress(t *testing.T) {
	plain, ifNoneMatch, ifMatch, both := wishOf(false, false), wishOf(false, true), wishOf(true, false), wishOf(true, true)
	flag := wish{make: true, keep: true, replace: true} // v1's
	for _, c := range []struct {
		says        string
		wish        wish
		there, same bool
		do          doing
		err         error
	}{
		{"nobody has it, plainly", plain, false, false, making, nil},
		{"nobody has it, for a new one", ifNoneMatch, false, false, making, nil},
		{"nobody has it, to replace", ifMatch, false, false, keeping, errNone},
		{"nobody has it, by both", both, false, false, keeping, errNone},
		{"nobody has it, by the flag", flag, false, false, making, nil},
		{"it stands as asked, plainly", plain, true, true, keeping, nil},
		{"it stands as asked, for a new one", ifNoneMatch, true, true, keeping, errThere},
		{"it stands as asked, to replace", ifMatch, true, true, keeping, nil},
		{"it stands as asked, by both", both, true, true, keeping, errThere},
		{"it stands as asked, by the flag", flag, true, true, keeping, nil},
		{"it differs, plainly", plain, true, false, keeping, errOther},
		{"it differs, for a new one", ifNoneMatch, true, false, keeping, errThere},
		{"it differs, to replace", ifMatch, true, false, replacing, nil},
		{"it differs, by both", both, true, false, keeping, errThere},
		{"it differs, by the flag", flag, true, false, replacing, nil},
	} {
		if do, err := c.wish.of(c.there, c.same); do != c.do || !errors.Is(err, c.err) {
			t.Errorf("%s: %d %v", c.says, do, err)
		}
	}
}
