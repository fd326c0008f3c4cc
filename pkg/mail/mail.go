// Package mail sends one message, as plain text and where there is some as HTML too, to one address: over SMTP, or into a mailbox in memory that a person and a script can
// read on a local run. It keeps no queue: a message that must not be lost is sent from a job, which tries again.
package mail

import (
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"strings"

	gomail "github.com/wneessen/go-mail"
)

// Message is one mail. HTML says what Text says, for programs that show it; empty, the mail is plain text. Token is what a script needs from
// the text (Mailbox shows it); it is never sent by itself.
type Message struct{ To, Subject, Text, HTML, Token string }

// Sender delivers a message, or hands it to a server that promises to.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

var errUnsendable = errors.New("mail: this message can never be sent")

// check refuses what would let a value write headers of its own, and what is no address.
func (m Message) check() error {
	if strings.ContainsAny(m.To+m.Subject, "\r\n\x00") {
		return fmt.Errorf("%w: a line break in the address or the subject", errUnsendable)
	}
	if _, err := netmail.ParseAddress(m.To); err != nil {
		return fmt.Errorf("%w: the recipient is not an address", errUnsendable)
	}
	return nil
}

// Permanent reports whether sending the same message again is of no use: it is malformed, or the server refuses the recipient or
// the content with a 5xx. A refused sender or login is our set-up, which somebody mends; those are worth another try.
func Permanent(err error) bool {
	var refused *gomail.SendError
	if errors.As(err, &refused) {
		aboutIt := refused.Reason == gomail.ErrSMTPRcptTo || refused.Reason == gomail.ErrSMTPDataClose
		return aboutIt && refused.ErrorCode()/100 == 5
	}
	return errors.Is(err, errUnsendable)
}
