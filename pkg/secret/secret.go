// Package secret is for texts that must not be seen: a password, a key, an address with a password in it. Whatever prints, logs or encodes one
// shows a mask; only Reveal has the text, so that a search for that word finds every place where a secret leaves its type.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// Text is a secret. Untyped constants are assigned to it as to a string, and it is compared as one. In a field that is not exported package fmt
// cannot ask it: a struct that has such a one, and may be printed, has a Format of its own.
type Text string

// Mask is what is seen of a secret; of one that is empty nothing is.
const Mask = "•••"

// Reveal returns the text.
func (t Text) Reveal() string { return string(t) }

func (t Text) String() string {
	if t == "" {
		return ""
	}
	return Mask
}

// Format is for package fmt, whatever the verb.
func (t Text) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, t.String()) }

// LogValue is for package slog.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText is for package encoding/json and others.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
