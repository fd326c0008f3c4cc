// Package secret is for texts that must not be seen: a password, a key, an address with a password in it. Whatever prints, logs or encodes one
// shows a mask; only Reveal has the text, so that a search for that word finds every place where a secret leaves its type.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// Text is a secret. It holds it behind a pointer, since package fmt does not ask what stands in a field that is not exported but prints it, and
// of a pointer in there it prints the address. Two of them are not compared with ==, which the compiler sees to.
type Text struct {
	_      [0]func()
	hidden *string
}

// Mask is what is seen of a secret; of one that is empty nothing is.
const Mask = "•••"

// New makes a secret of a text.
func New(text string) Text {
	if text == "" {
		return Text{}
	}
	return Text{hidden: &text}
}

// Reveal returns the text.
func (t Text) Reveal() string {
	if t.hidden == nil {
		return ""
	}
	return *t.hidden
}

// Empty reports whether there is none.
func (t Text) Empty() bool { return t.hidden == nil }

func (t Text) String() string {
	if t.Empty() {
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
