package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// letter is a mail as the local mailbox lists it, the newest first.
type letter struct {
	To      string    `json:"to"`
	Subject string    `json:"subject"`
	Text    string    `json:"text"`
	Token   string    `json:"token"`
	SentAt  time.Time `json:"sent_at"`
}

// mail prints the newest mails, the newest last: there the reader's eye is.
func mail(ctx context.Context, w world, args []string) error {
	f := flags("mail", w)
	to := f.String("to", "", "whose mail; everybody's when empty")
	count := f.Int("n", 5, "how many")
	if err := f.Parse(args); err != nil {
		return err
	}
	s, err := running(w.getenv)
	if err != nil {
		return err
	}
	letters, err := s.mails(ctx, *to)
	if err != nil {
		return err
	}
	for _, one := range slices.Backward(letters[:min(*count, len(letters))]) {
		fmt.Fprintf(w.out, "── %s  to %s  %s\n\n%s\n\n", one.SentAt.Local().Format("15:04:05"), one.To, one.Subject, strings.TrimSpace(one.Text))
		if one.Token != "" {
			fmt.Fprintf(w.out, "token %s\n\n", one.Token)
		}
	}
	fmt.Fprintf(w.errors, "%d of %d mails; in a browser %s/dev/mail (the server keeps them in memory: a restart empties it)\n",
		min(*count, len(letters)), len(letters), s.mail)
	return nil
}

func (s site) mails(ctx context.Context, to string) ([]letter, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.mail+"/dev/mail.json?to="+url.QueryEscape(to), nil)
	if err != nil {
		return nil, err
	}
	var letters []letter
	status, err := s.send(req, &letters)
	if err == nil && status == http.StatusNotFound {
		err = fmt.Errorf("the server at %s keeps no mailbox: it has one in local runs without SMTP_URL only", s.mail)
	} else if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the mailbox answers %d", status)
	}
	return letters, err
}
