package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
)

// A ticket is a text that only we can make: what it says, and a MAC over that. Nothing is kept of it. The kinds differ in the text's
// beginning, by which a scanner of leaked secrets finds them, and in the byte that the MAC covers, so that none passes for another.
type ticket struct {
	prefix string
	kind   byte
	size   int // of what it says, in bytes
}

var (
	refreshTicket = ticket{"rt_", 1, 16 + 8}      // session, counter
	waitingTicket = ticket{"mt_", 2, waitingSize} // a login that waits for its second factor
	deviceTicket  = ticket{"dt_", 3, 16 + 32 + 8} // device, index of the address, since when the password is
)

var errTicket = errors.New("not a ticket of this kind")

// signed is what the MAC is over.
func (t ticket) signed(says []byte) []byte { return append([]byte{t.kind}, says...) }

func (t ticket) format(says, mac []byte) string {
	return t.prefix + base64.RawURLEncoding.EncodeToString(append(t.signed(says), mac...))
}

// parse takes a ticket apart. It says nothing about the MAC.
func (t ticket) parse(text string) (says, mac []byte, err error) {
	encoded, ok := strings.CutPrefix(text, t.prefix)
	raw, decodeErr := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if !ok || decodeErr != nil || len(raw) <= 1+t.size || raw[0] != t.kind {
		return nil, nil, errTicket
	}
	return raw[1 : 1+t.size], raw[1+t.size:], nil
}

// issue makes a ticket.
func (m *Module) issue(ctx context.Context, t ticket, says []byte) (string, error) {
	mac, err := m.keys.MAC(ctx, t.signed(says))
	return t.format(says, mac), err
}

// open returns what a ticket of ours says; errTicket for any other.
func (m *Module) open(ctx context.Context, t ticket, text string) (says []byte, err error) {
	says, mac, err := t.parse(text)
	if err != nil {
		return nil, err
	}
	if _, err := m.keys.MAC(ctx, says); err != nil { // the keyset is away, which says nothing about the ticket
		return nil, err
	}
	if m.keys.VerifyMAC(ctx, mac, t.signed(says)) != nil {
		return nil, errTicket
	}
	return says, nil
}
