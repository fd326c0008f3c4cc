// Package idempotency reads the header Idempotency-Key (draft-ietf-httpapi-idempotency-key-header), by which a request that is sent twice is
// carried out once. What was answered to a key is kept by the module whose request it was, in the transaction that carries it out, beside
// request.Info.Fingerprint of the request.
package idempotency

import (
	"strings"

	"example.com/groundwork/pkg/problem"
)

// Key reads the header: 1 to 255 printable ASCII characters, bare or as a string of RFC 9651, section 4.2.5. Both forms of a key are the
// same key. Anything else is Malformed, with the code idempotency-key-invalid.
func Key(header string) (string, error) {
	key, quoted := strings.CutPrefix(strings.Trim(header, " "), `"`)
	ok := true
	if quoted {
		key, ok = unquote(key)
	}
	if !ok || key == "" || len(key) > 255 || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", problem.Malformed.New("idempotency-key-invalid", "An Idempotency-Key has 1 to 255 printable ASCII characters.")
	}
	return key, nil
}

// unquote reads a string behind its opening quote up to the closing one, which has to be the end.
func unquote(text string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			return b.String(), i == len(text)-1
		case '\\':
			i++
			if i == len(text) || text[i] != '"' && text[i] != '\\' {
				return "", false
			}
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}
