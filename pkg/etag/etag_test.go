package etag_test

import (
	"testing"

	"example.com/groundwork/pkg/etag"
	"example.com/groundwork/pkg/problem"
)

func TestETags(t *testing.T) {
	t.Parallel()
	tag := etag.Of("7")
	if tag != `"7"` {
		t.Fatalf("the tag of 7 is %s", tag)
	}
	const fresh, stale, missing = "", "precondition-failed", "precondition-required"
	for _, c := range []struct {
		header string
		match  string // what If-Match leads to
		none   bool   // whether If-None-Match leads to 304
	}{
		{`"7"`, fresh, true},
		{`*`, fresh, true},
		{` "7" `, fresh, true},
		{`"6", "7"`, fresh, true},
		{`"6","7","8"`, fresh, true},
		{`W/"7"`, stale, true}, // weak tags compare weakly only (RFC 9110, section 8.8.3.2)
		{`W/"6", W/"7"`, stale, true},
		{`"6"`, stale, false},
		{`"77"`, stale, false},
		{`7`, stale, false},
		{`"7`, stale, false},
		{`w/"7"`, stale, false},
		{`"*"`, stale, false},
		{`,`, stale, false},
		{``, missing, false},
		{`  `, missing, false},
	} {
		err := etag.Check(c.header, tag)
		switch {
		case c.match == "" && err != nil, c.match != "" && (err == nil || problem.From(err).Code != c.match):
			t.Errorf("If-Match: %s leads to %v; want %q", c.header, err, c.match)
		}
		if got := etag.None(&c.header, tag); got != c.none {
			t.Errorf("If-None-Match: %s leads to 304: %v", c.header, got)
		}
	}
	if etag.None(nil, tag) {
		t.Error("without If-None-Match it is 304")
	}
}
