package mail

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/url"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"example.com/groundwork/pkg/secret"
)

// patience bounds one delivery, dial to goodbye. It is less than a job has, so that the job says what went wrong and is tried again.
const patience = 15 * time.Second

type relay struct {
	host, user string
	password   secret.Text
	port       int
	implicit   bool // TLS from the first byte (smtps)
	startTLS   gomail.TLSPolicy
	from       *netmail.Address
	roots      *x509.CertPool // nil: the system's; tests bring their own
}

// SMTP makes a Sender from an address: smtp://user:password@host:587 insists on STARTTLS, unless the host is loopback or the address
// ends in ?tls=none; smtps://host:465 is TLS from the start. An error repeats no part of the address, as it may hold the password.
func SMTP(rawURL, from string) (Sender, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Hostname() == "" || strings.Trim(u.Path, "/")+u.Fragment != "" {
		return nil, errors.New("mail: not an address like smtp://user:password@host:587 (percent-encode the password)")
	}
	s := &relay{host: u.Hostname(), user: u.User.Username(), port: 587, implicit: u.Scheme == "smtps"}
	password, _ := u.User.Password()
	s.password = secret.New(password)
	if s.implicit {
		s.port = 465
	}
	if u.Port() != "" {
		s.port, _ = strconv.Atoi(u.Port()) // digits, or Parse would have refused
	}
	ip, none := net.ParseIP(s.host), u.RawQuery == "tls=none"
	loopback := s.host == "localhost" || ip != nil && ip.IsLoopback()
	if none || loopback {
		s.startTLS = gomail.NoTLS
	}
	s.from, err = netmail.ParseAddress(from)
	switch {
	case err != nil || strings.ContainsAny(from, "\r\n"):
		return nil, errors.New("mail: the sender is not an address like no-reply@example.com")
	case u.Scheme != "smtp" && u.Scheme != "smtps":
		return nil, errors.New("mail: the address begins with smtp:// or smtps://")
	case u.RawQuery != "" && (!none || s.implicit):
		return nil, errors.New("mail: the address knows one option, smtp://…?tls=none")
	case (s.user == "") != s.password.Empty():
		return nil, errors.New("mail: the address has a user without a password, or the reverse")
	case none && !loopback && !s.password.Empty():
		return nil, errors.New("mail: a password does not travel without TLS; drop ?tls=none or the password")
	case s.port < 1 || s.port > 65535:
		return nil, errors.New("mail: the port of the address is not between 1 and 65535")
	}
	return s, nil
}

// Send delivers over a connection of its own. The error is go-mail's and may name the recipient; see Permanent.
func (s *relay) Send(ctx context.Context, m Message) error {
	msg, err := s.compose(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := s.client(ctx)
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err == nil {
		err = client.SendWithSMTPClient(session, msg)
	}
	if err == nil || msg.IsDelivered() {
		_ = client.CloseWithSMTPClient(session) // the server has the mail: a bad goodbye must not send it twice
		return nil
	}
	if gone := ctx.Err(); gone != nil {
		return fmt.Errorf("mail: %w: %w", gone, err)
	}
	return fmt.Errorf("mail: %w", err)
}

// Greet makes a connection and logs in, and sends nothing.
func (s *relay) Greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := s.client(ctx)
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	return client.CloseWithSMTPClient(session)
}

// client is made per message, because go-mail knows no cancelling once it has dialled, and leaves the connection open when the
// greeting or the login fails. Here the connection closes when the context ends, however Send ends.
func (s *relay) client(ctx context.Context) (*gomail.Client, error) {
	secure := &tls.Config{ServerName: s.host, MinVersion: tls.VersionTLS12, RootCAs: s.roots}
	dial := func(dialing context.Context, network, _ string) (conn net.Conn, err error) {
		address := net.JoinHostPort(s.host, strconv.Itoa(s.port))
		if s.implicit {
			conn, err = (&tls.Dialer{Config: secure}).DialContext(dialing, network, address)
		} else {
			conn, err = (&net.Dialer{}).DialContext(dialing, network, address)
		}
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() })
		}
		return conn, err
	}
	options := []gomail.Option{
		gomail.WithPort(s.port), gomail.WithTimeout(patience), gomail.WithDialContextFunc(dial),
		gomail.WithTLSConfig(secure), gomail.WithTLSPolicy(s.startTLS), gomail.WithoutNoop(), gomail.WithoutRset(),
	}
	if s.implicit {
		options = append(options, gomail.WithSSL())
	}
	if s.user != "" {
		options = append(options, gomail.WithUsername(s.user), gomail.WithPassword(s.password.Reveal()), gomail.WithOpportunisticSMTPAuth(
			gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin))
	}
	return gomail.NewClient(s.host, options...)
}

func (s *relay) compose(m Message) (*gomail.Msg, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(s.from)
	if err := msg.To(m.To); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnsendable, err)
	}
	msg.Subject(m.Subject)
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML) // after the text: the last is the one to prefer (RFC 2046, 5.1.4)
	}
	_, domain, _ := strings.Cut(s.from.Address, "@")
	msg.SetMessageIDWithValue(rand.Text() + "@" + domain) // go-mail's own would tell the name of this machine
	msg.SetGenHeader("Auto-Submitted", "auto-generated")  // RFC 3834: no out-of-office answers, please
	return msg, nil
}
