package page

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

func TestCursorFindsItsPlaceAgain(t *testing.T) {
	id := uuid.Must(uuid.NewV7())
	text := Encode("accounts", id)
	if got, err := Decode("accounts", &text, uuid.Max); err != nil || got != id {
		t.Errorf("got %v, %v; want %v", got, err, id)
	}
	if got, err := Decode("accounts", nil, uuid.Max); err != nil || got != uuid.Max {
		t.Errorf("without a cursor: got %v, %v; want the beginning", got, err)
	}
}

func TestForeignCursorsAreRefused(t *testing.T) {
	number, word := Encode("a", int64(7)), Encode("a", "seven")
	for name, text := range map[string]string{
		"of another list":     Encode("b", int64(7)),
		"of another key":      word,
		"cut off":             number[:len(number)-2],
		"with something more": number + "AAAA",
		"padded":              number + "=",
		"empty":               "",
		"no base64":           "§",
		"base64 of something": "aGVsbG8",
		"JSON null":           "bnVsbA",
	} {
		_, err := Decode("a", &text, int64(0))
		if !problem.Is(err, problem.Malformed) || problem.From(err).Code != "invalid-cursor" {
			t.Errorf("a cursor %s: got %v, want invalid-cursor", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode("a", int64(7)))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := Decode("a", &text, int64(math.MaxInt64))
		if err != nil && problem.From(err).Code != "invalid-cursor" {
			t.Errorf("%q: %v", text, err)
		}
		if again := Encode("a", key); err == nil {
			if got, err := Decode("a", &again, int64(0)); err != nil || got != key {
				t.Errorf("%q reads as %d, which reads as %d, %v", text, key, got, err)
			}
		}
	})
}

func TestPages(t *testing.T) {
	ctx := request.With(context.Background(), &request.Info{Path: "/v1/things", RawQuery: "kind=a%26b&cursor=old&limit=2"})
	self := func(n int) int { return n }
	const first = `</v1/things?kind=a%26b&limit=2>; rel="first"`

	p := Of(ctx, []int{9, 8, 7}, 2, "things", self, strconv.Itoa)
	if !slices.Equal(p.Data, []string{"9", "8"}) || !p.More || p.Cursor == nil || *p.Cursor != Encode("things", 8) {
		t.Errorf("a page with more behind it: %+v", p)
	}
	if want := first + `, </v1/things?cursor=` + Encode("things", 8) + `&kind=a%26b&limit=2>; rel="next"`; p.Link != want {
		t.Errorf("Link\n got %s\nwant %s", p.Link, want)
	}
	p = Of(ctx, []int{9, 8}, 2, "things", self, strconv.Itoa)
	if len(p.Data) != 2 || p.More || p.Cursor != nil || p.Link != first {
		t.Errorf("the last page: %+v", p)
	}
	if p = Of(ctx, nil, 2, "things", self, strconv.Itoa); p.Data == nil {
		t.Error("an empty page is [], not null")
	}
	if strings.Contains(Of(context.Background(), []int{1}, 1, "", self, strconv.Itoa).Link, "?") {
		t.Error("no query, no question mark")
	}
}

func TestLimits(t *testing.T) {
	for in, want := range map[int]int{-1: 1, 0: 1, 1: 1, 50: 50, 100: 100, 101: 100} {
		if got := Limit(&in); got != want {
			t.Errorf("limit %d: got %d, want %d", in, got, want)
		}
	}
	if got := Limit(nil); got != Default {
		t.Errorf("no limit: got %d, want %d", got, Default)
	}
}
