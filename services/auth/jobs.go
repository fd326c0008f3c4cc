package auth

import (
	"context"
	"embed"
	"errors"
	"html/template"
	"regexp"
	"strings"
	texttemplate "text/template"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"example.com/groundwork/pkg/jobs"
	"example.com/groundwork/pkg/mail"
	"example.com/groundwork/pkg/problem"
)

// mailsPerHour bounds what one address gets, so that nobody fills a stranger's mailbox through us.
const mailsPerHour = 5

var (
	//go:embed mails
	mailFiles embed.FS
	mails     = texttemplate.Must(texttemplate.ParseFS(mailFiles, "mails/*.txt"))
	layout    = template.Must(template.ParseFS(mailFiles, "mails/layout.html"))
	blank     = regexp.MustCompile(`\n\s*\n`)
)

// says is what a mail has in it beyond its template.
type says struct {
	Token   string
	Account string // the address of the account it is about, where that is not the one it goes to
}

// write renders a mail: its first line is the subject, and its HTML is made of its text.
func write(name, to string, what says) (mail.Message, error) {
	var b strings.Builder
	if err := mails.ExecuteTemplate(&b, name+".txt", what); err != nil {
		return mail.Message{}, err
	}
	subject, text, _ := strings.Cut(b.String(), "\n")
	text = strings.TrimSpace(text)
	html, err := dress(subject, text, what.Token)
	return mail.Message{To: to, Subject: subject, Text: text + "\n", HTML: html, Token: what.Token}, err
}

// dress renders a text as HTML, so that a mail is written once. A paragraph that is the token alone stands out.
func dress(subject, text, token string) (string, error) {
	var b strings.Builder
	err := layout.Execute(&b, map[string]any{"Subject": subject, "Paragraphs": blank.Split(text, -1), "Token": token})
	return b.String(), err
}

// send hands a mail over. What no repetition can mend ends the job.
func (m *Module) send(ctx context.Context, name, to string, what says) error {
	message, err := write(name, to, what)
	if err != nil {
		return err
	}
	err = m.mail.Send(ctx, message)
	if err == nil {
		return nil
	}
	if mail.Permanent(err) {
		return jobs.Refuse(nameless(err, to))
	}
	return nameless(err, to)
}

// nameless cuts every word out of an error that has a part of the address in it: a job's errors are kept and shown, and a mail server
// repeats the address as it likes.
func nameless(err error, address string) error {
	local, domain, _ := strings.Cut(address, "@")
	names := regexp.MustCompile(`(?i)\S*(` + regexp.QuoteMeta(local) + "|" + regexp.QuoteMeta(domain) + `)\S*`)
	return errors.New(names.ReplaceAllString(err.Error(), "…"))
}

// registrationMailArgs: no token and no address, since arguments are kept and shown.
type registrationMailArgs struct {
	Registration uuid.UUID `json:"registration"`
}

// Kind names the job in the queue.
func (registrationMailArgs) Kind() string { return "registration-mail" }

// registrationMail answers a registration: confirm, or "you have an account already".
type registrationMail struct {
	river.WorkerDefaults[registrationMailArgs]
	m *Module
}

// Work sends the mail.
func (w *registrationMail) Work(ctx context.Context, job *river.Job[registrationMailArgs]) error {
	id := job.Args.Registration
	sealed, known, lastHour, err := w.m.store.registrationToMail(ctx, id)
	if problem.Is(err, problem.NotFound) {
		return nil // confirmed meanwhile
	}
	if err != nil || lastHour > mailsPerHour {
		return err
	}
	email, err := w.m.keys.Open(ctx, sealed, "registrations", "email_ct", id)
	if err != nil {
		return err
	}
	if known {
		return w.m.send(ctx, "known", string(email), says{})
	}
	token, err := w.m.mailedToken(ctx, id)
	if err != nil {
		return err
	}
	return w.m.send(ctx, "confirm", string(email), says{Token: token})
}

type oneTimeMailArgs struct {
	Token uuid.UUID `json:"token"` // the id of its row, not itself
}

// Kind names the job in the queue.
func (oneTimeMailArgs) Kind() string { return "one-time-mail" }

// oneTimeMail sends what somebody has asked for, if there is anybody to send it to.
type oneTimeMail struct {
	river.WorkerDefaults[oneTimeMailArgs]
	m *Module
}

// Work sends the mail.
func (w *oneTimeMail) Work(ctx context.Context, job *river.Job[oneTimeMailArgs]) error {
	t, err := w.m.store.oneTimeTokenToMail(ctx, job.Args.Token)
	if err != nil || t == nil {
		return err
	}
	var name string // of the mail
	about := t.ID   // the row whose token stands in it
	switch {
	case t.Kind == passwordReset && t.Known:
		name = "reset"
	case t.Kind == resend && !t.Known && t.Registration != nil:
		name, about = "confirm", *t.Registration
	case t.Kind == emailChange && t.Known:
		name = "taken"
	case t.Kind == emailChange:
		name = "confirm-change"
	default:
		return nil
	}
	if may, err := w.m.store.mayBeMailed(ctx, t.oneTimeToken); err != nil || !may {
		return err
	}
	if t.Kind == emailChange { // the old address is told first, or it might be told when it is not theirs any more
		if err := w.m.notify(ctx, *t.IdentityID, "change-asked"); err != nil && !errors.Is(err, &river.JobCancelError{}) {
			return err
		}
	}
	email, err := w.m.keys.Open(ctx, t.EmailCT, "one_time_tokens", "email_ct", t.ID)
	if err != nil {
		return err
	}
	var what says
	if name == "confirm-change" { // who reads it tells one's own account from a stranger's by the address it has now
		if what.Account, err = w.m.addressOf(ctx, *t.IdentityID); err != nil {
			return err
		}
	}
	if name != "taken" {
		if what.Token, err = w.m.mailedToken(ctx, about); err != nil {
			return err
		}
	}
	return w.m.send(ctx, name, string(email), what)
}

type noticeMailArgs struct {
	Identity uuid.UUID `json:"identity"`
	Notice   string    `json:"notice"` // which mail: the name of its template
}

// Kind names the job in the queue.
func (noticeMailArgs) Kind() string { return "notice-mail" }

// noticeMail tells an owner what happened to the account.
type noticeMail struct {
	river.WorkerDefaults[noticeMailArgs]
	m *Module
}

// Work sends the mail.
func (w *noticeMail) Work(ctx context.Context, job *river.Job[noticeMailArgs]) error {
	return w.m.notify(ctx, job.Args.Identity, job.Args.Notice)
}

func (m *Module) notify(ctx context.Context, identity uuid.UUID, notice string) error {
	email, err := m.addressOf(ctx, identity)
	if err != nil {
		return err
	}
	return m.send(ctx, notice, email, says{})
}

// addressOf returns somebody's address in the clear.
func (m *Module) addressOf(ctx context.Context, id uuid.UUID) (string, error) {
	i, err := m.store.identity(ctx, id)
	if err != nil {
		return "", err
	}
	return m.openAddress(ctx, i)
}

func (m *Module) openAddress(ctx context.Context, i identity) (string, error) {
	email, err := m.keys.Open(ctx, i.EmailCT, "identities", "email_ct", i.ID)
	return string(email), err
}

type sweepArgs struct{}

// Kind names the job in the queue.
func (sweepArgs) Kind() string { return "sweep" }

// sweep deletes what has ended: registrations, sessions, one-time tokens, keys and the like, in small steps.
type sweep struct {
	river.WorkerDefaults[sweepArgs]
	m *Module
}

// Work sweeps until nothing is left or its time is up; the next one goes on.
func (w *sweep) Work(ctx context.Context, _ *river.Job[sweepArgs]) error {
	for {
		done, err := w.m.store.sweep(ctx)
		if done || err != nil {
			return err
		}
	}
}

func hourly(args river.JobArgs) *river.PeriodicJob {
	return river.NewPeriodicJob(river.PeriodicInterval(time.Hour), func() (river.JobArgs, *river.InsertOpts) { return args, nil }, nil)
}
