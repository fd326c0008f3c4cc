// Package page cuts lists into pages by the key of their last row (keyset), so that a page costs the same wherever it stands and rows
// that come or go do not shift it. There are no offsets and no totals.
package page

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"

	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// Default and Max are how many items a page has when nobody says, and at the most.
const (
	Default = 20
	Max     = 100
)

// Limit reads ?limit=, nil when absent.
func Limit(limit *int) int {
	if limit == nil {
		return Default
	}
	return min(max(*limit, 1), Max)
}

// cursor is what a caller carries from page to page. It tells nothing that the page before did not, and a forged one shows nothing
// that the query would not show anyway, so it is not signed.
type cursor[K any] struct {
	Filter []byte `json:"f"` // what the list was of
	Key    K      `json:"k"` // of the last row
}

// Encode makes a cursor that stands behind key in the list that filter names, such as "entries of <id>".
func Encode[K any](filter string, key K) string {
	text, err := json.Marshal(cursor[K]{digest(filter), key})
	if err != nil { // keys are ids, numbers and times
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// Decode reads ?cursor=, nil when absent: then the list begins at first. A cursor of another list is refused with invalid-cursor.
func Decode[K any](filter string, text *string, first K) (K, error) {
	if text == nil {
		return first, nil
	}
	var c cursor[K]
	raw, err := base64.RawURLEncoding.Strict().DecodeString(*text)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil || string(c.Filter) != string(digest(filter)) {
		return first, problem.Malformed.New("invalid-cursor", "This cursor does not belong to this list; begin again without one.").Because(err)
	}
	return c.Key, nil
}

// digest names a filter in a few bytes.
func digest(filter string) []byte {
	sum := sha256.Sum256([]byte(filter))
	return sum[:6]
}

// Page is one page in the words of the contract.
type Page[A any] struct {
	Data   []A // never nil: an empty list is [], not null
	More   bool
	Cursor *string // of the next page, nil on the last one
	Link   string  // RFC 8288: always the first page, and the next one when there is one
}

// Of makes a page of at most limit items out of rows, of which the query fetched limit+1. key is what the query goes on from.
func Of[R, K, A any](ctx context.Context, rows []R, limit int, filter string, key func(R) K, api func(R) A) Page[A] {
	p := Page[A]{Data: make([]A, 0, min(len(rows), limit)), More: len(rows) > limit}
	for _, row := range rows[:min(len(rows), limit)] {
		p.Data = append(p.Data, api(row))
	}
	info := request.From(ctx)
	p.Link = link(info, "", "first")
	if p.More {
		next := Encode(filter, key(rows[limit-1]))
		p.Cursor = &next
		p.Link += ", " + link(info, next, "next")
	}
	return p
}

// link is the request's own address with another cursor.
func link(info *request.Info, cursor, rel string) string {
	query, err := url.ParseQuery(info.RawQuery)
	if err != nil { // the router has read it before
		query = url.Values{}
	}
	query.Del("cursor")
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	target := info.Path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	return "<" + target + `>; rel="` + rel + `"`
}
