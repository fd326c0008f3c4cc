package mail

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
)

// policy holds for the page and for the mails in it, which inherit it: no script runs and nothing comes from elsewhere. A mail has its
// styles in attributes, hence style-src-attr.
const policy = "default-src 'none'; style-src 'self'; style-src-attr 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// capacity is how many messages a Mailbox keeps; the oldest go first.
const capacity = 1000

var (
	//go:embed mailbox.css
	style []byte
	//go:embed mailbox.html
	markup string
	page   = template.Must(template.New("mailbox").Parse(markup))
)

// Mailbox keeps what would have been sent, in memory. It is for local runs: whoever can reach it reads every mail.
type Mailbox struct {
	mu   sync.Mutex
	kept []kept // oldest first
}

type kept struct {
	To      string    `json:"to"`
	Subject string    `json:"subject"`
	Text    string    `json:"text"`
	HTML    string    `json:"-"` // a script reads the text
	Token   string    `json:"token"`
	SentAt  time.Time `json:"sent_at"`
}

// NewMailbox makes an empty one.
func NewMailbox() *Mailbox { return &Mailbox{} }

// Send keeps the message, and refuses what SMTP would refuse before it dials.
func (m *Mailbox) Send(_ context.Context, msg Message) error {
	if err := msg.check(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.kept) == capacity {
		m.kept = slices.Delete(m.kept, 0, 1)
	}
	m.kept = append(m.kept, kept{msg.To, msg.Subject, msg.Text, msg.HTML, msg.Token, time.Now().UTC()})
	return nil
}

// list returns the mail of one address, or all of it for an empty one; the newest first, never nil.
func (m *Mailbox) list(to string) []kept {
	to = strings.TrimSpace(to)
	found := []kept{}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, one := range slices.Backward(m.kept) {
		if to == "" || strings.EqualFold(strings.TrimSpace(one.To), to) {
			found = append(found, one)
		}
	}
	return found
}

// Routes shows the mail to a person at /dev/mail and to a script at /dev/mail.json; both take ?to=ADDRESS.
func (m *Mailbox) Routes(r chi.Router) {
	r.Get("/dev/mail", m.html)
	r.Get("/dev/mail.json", m.json)
	r.Get("/dev/mail.css", func(w http.ResponseWriter, _ *http.Request) { answer(w, "text/css; charset=utf-8", style) })
}

func (m *Mailbox) html(w http.ResponseWriter, r *http.Request) {
	var out bytes.Buffer
	to := strings.TrimSpace(r.URL.Query().Get("to"))
	if err := page.Execute(&out, map[string]any{"To": to, "Mails": m.list(to)}); err != nil {
		panic(err) // the template and its data are ours
	}
	w.Header().Set("Content-Security-Policy", policy)
	answer(w, "text/html; charset=utf-8", out.Bytes())
}

func (m *Mailbox) json(w http.ResponseWriter, r *http.Request) {
	body, err := json.Marshal(m.list(r.URL.Query().Get("to")))
	if err != nil {
		panic(err) // strings and times always encode
	}
	answer(w, "application/json", append(body, '\n'))
}

func answer(w http.ResponseWriter, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body)
}
