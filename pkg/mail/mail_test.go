package mail

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	gomail "github.com/wneessen/go-mail"

	"example.com/groundwork/pkg/browsertest"
	"example.com/groundwork/pkg/secret"
)

// server is an SMTP server for tests: it answers what the test says and remembers what it is told.
type server struct {
	addr     string
	answers  map[string]string // by verb, instead of 250
	secure   *tls.Config       // offers STARTTLS
	implicit bool
	silent   bool // never greets

	mu      sync.Mutex
	lines   []string // the commands of all connections; what came under TLS has "tls " before it
	mails   []string
	session sync.WaitGroup
}

func (s *server) start(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	t.Cleanup(func() { _ = l.Close(); s.session.Wait() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.session.Go(func() { s.serve(conn) })
		}
	}()
	return s
}

func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	prefix := ""
	if s.implicit {
		conn, prefix = tls.Server(conn, s.secure), "tls "
	}
	if s.silent {
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	_, _ = io.WriteString(conn, "220 test\r\n")
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		s.mu.Lock()
		s.lines = append(s.lines, prefix+line)
		s.mu.Unlock()
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		answer, said := s.answers[verb]
		switch {
		case said:
		case verb == "EHLO":
			answer = "250-test\r\n"
			if s.secure != nil && prefix == "" {
				answer += "250-STARTTLS\r\n"
			}
			answer += "250 AUTH PLAIN"
		case verb == "AUTH":
			answer = "235 welcome"
		case verb == "STARTTLS":
			_, _ = io.WriteString(conn, "220 go\r\n")
			conn, prefix = tls.Server(conn, s.secure), "tls "
			in = bufio.NewReader(conn)
			continue
		case verb == "DATA":
			_, _ = io.WriteString(conn, "354 go on\r\n")
			answer = s.data(in)
		default:
			answer = "250 ok"
		}
		switch answer {
		case "hang up":
			return
		case "silence":
			continue
		}
		_, _ = io.WriteString(conn, answer+"\r\n")
	}
}

func (s *server) data(in *bufio.Reader) string {
	var body strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil || line == ".\r\n" {
			break
		}
		body.WriteString(line)
	}
	if refusal, ok := s.answers["."]; ok {
		return refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, body.String())
	return "250 taken"
}

func (s *server) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

func sender(t *testing.T, address string) *relay {
	t.Helper()
	made, err := SMTP(address, "Groundwork <no-reply@example.com>")
	if err != nil {
		t.Fatal(err)
	}
	return made.(*relay)
}

var hello = Message{To: "ann@example.com", Subject: "Grüße", Text: "A link: https://x.test/?t=1\n.\nYours, 東", Token: "s3cret-token"}

func TestAMessageArrivesWhole(t *testing.T) {
	t.Parallel()
	s := (&server{}).start(t)
	if err := sender(t, "smtp://"+s.addr).Send(t.Context(), hello); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mails) != 1 {
		t.Fatalf("%d mails arrived, want one", len(s.mails))
	}
	got, err := netmail.ReadMessage(strings.NewReader(s.mails[0]))
	if err != nil {
		t.Fatal(err)
	}
	subject, _ := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
	body, _ := io.ReadAll(quotedprintable.NewReader(got.Body))
	text := strings.ReplaceAll(strings.TrimSpace(string(body)), "\n..", "\n.") // the server undoes dot stuffing
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if subject != hello.Subject || text != hello.Text {
		t.Errorf("subject %q, text %q", subject, text)
	}
	for header, want := range map[string]string{
		"Content-Type": "text/plain; charset=UTF-8", "To": "<ann@example.com>", "From": `"Groundwork" <no-reply@example.com>`, "Auto-Submitted": "auto-generated", "User-Agent": "",
	} {
		if got := got.Header.Get(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	if id := got.Header.Get("Message-Id"); !strings.HasSuffix(id, "@example.com>") {
		t.Errorf("Message-ID %q names something else than the sender's domain", id)
	}
	if strings.Contains(s.mails[0], hello.Token) {
		t.Error("the token was sent")
	}
}

func TestHTMLTravelsBesideTheText(t *testing.T) {
	t.Parallel()
	s := (&server{}).start(t)
	m := hello
	m.HTML = `<p style="margin: 0">A long line, Grüße, 東: ` + strings.Repeat("=word ", 60) + "</p>"
	if err := sender(t, "smtp://"+s.addr).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	got, err := netmail.ReadMessage(strings.NewReader(strings.ReplaceAll(s.mails[0], "\r\n..", "\r\n.")))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("the mail is %q, %v", kind, err)
	}
	parts := multipart.NewReader(got.Body, params["boundary"])
	for _, want := range []struct{ kind, body string }{{"text/plain; charset=UTF-8", m.Text}, {"text/html; charset=UTF-8", m.HTML}} {
		part, err := parts.NextPart() // undoes quoted-printable
		if err != nil {
			t.Fatalf("no part %s: %v", want.kind, err)
		}
		body, err := io.ReadAll(part)
		text := strings.ReplaceAll(strings.TrimSpace(string(body)), "\r\n", "\n")
		if kind := part.Header.Get("Content-Type"); err != nil || kind != want.kind || text != want.body {
			t.Errorf("%s: %q, %v, want %s: %q", kind, text, err, want.kind, want.body)
		}
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		t.Errorf("after both parts: %v", err)
	}
}

func TestTheServerRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		verb, answer string
		permanent    bool
	}{
		{"RCPT", "550 5.1.1 nobody here", true},
		{"RCPT", "450 4.2.0 busy", false},
		{"RCPT", "421 4.3.2 going down", false},
		{"RCPT", "hang up", false},
		{".", "554 5.7.1 smells of spam", true},
		{".", "451 4.3.0 try later", false},
		{"MAIL", "550 5.7.1 not from you", false}, // our set-up, not this message
	} {
		t.Run(c.verb+" "+c.answer, func(t *testing.T) {
			t.Parallel()
			s := (&server{answers: map[string]string{c.verb: c.answer}}).start(t)
			err := sender(t, "smtp://"+s.addr).Send(t.Context(), hello)
			if err == nil {
				t.Fatal("the refusal is lost")
			}
			if got := Permanent(fmt.Errorf("job: %w", err)); got != c.permanent {
				t.Errorf("Permanent(%v) = %v", err, got)
			}
		})
	}
}

func TestABadGoodbyeIsNoReasonToSendTwice(t *testing.T) {
	t.Parallel()
	s := (&server{answers: map[string]string{"QUIT": "hang up"}}).start(t)
	if err := sender(t, "smtp://"+s.addr).Send(t.Context(), hello); err != nil {
		t.Errorf("delivered, and yet: %v", err)
	}
}

func TestTheDeadlineOfTheContextHolds(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*server{"never greets": {silent: true}, "falls silent": {answers: map[string]string{"RCPT": "silence"}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.start(t)
			ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
			defer cancel()
			began := time.Now()
			err := sender(t, "smtp://"+s.addr).Send(ctx, hello)
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 3*time.Second || Permanent(err) {
				t.Errorf("after %s: %v", took, err)
			}
		})
	}
	t.Run("cancelled under way", func(t *testing.T) {
		t.Parallel()
		s := (&server{silent: true}).start(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		if err := sender(t, "smtp://"+s.addr).Send(ctx, hello); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestThePasswordTravelsOnlyUnderTLS(t *testing.T) {
	t.Parallel()
	web := httptest.NewTLSServer(nil)
	t.Cleanup(web.Close)
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	login := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00ann\x00p@ss word"))
	secure := &tls.Config{Certificates: web.TLS.Certificates}
	for _, c := range []struct {
		name, scheme string
		server       *server
		trusted, ok  bool
	}{
		{"STARTTLS", "smtp", &server{secure: secure}, true, true},
		{"smtps", "smtps", &server{secure: secure, implicit: true}, true, true},
		{"no STARTTLS offered", "smtp", &server{}, true, false},
		{"a certificate of nobody", "smtp", &server{secure: secure}, false, false},
		{"smtps with a certificate of nobody", "smtps", &server{secure: secure, implicit: true}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.server.start(t)
			s := sender(t, c.scheme+"://ann:p%40ss%20word@"+c.server.addr)
			s.startTLS = gomail.TLSMandatory // as for a host that is not loopback
			s.roots = x509.NewCertPool()
			if c.trusted {
				s.roots = roots
			}
			err := s.Send(t.Context(), hello)
			if (err == nil) != c.ok || strings.Contains(fmt.Sprint(err), "p@ss") {
				t.Errorf("Send: %v", err)
			}
			if heard := c.server.heard(); strings.Contains(heard, "tls "+login) != c.ok || strings.HasPrefix(heard, "AUTH") || strings.Contains(heard, "\nAUTH") {
				t.Errorf("the server heard:\n%s", heard)
			}
		})
	}
}

func TestSMTPAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]relay{
		"smtp://mx.test":               {host: "mx.test", port: 587},
		"smtp://u:p@mx.test:2525":      {host: "mx.test", port: 2525, user: "u", password: secret.New("p")},
		"smtps://u:p%2F@mx.test":       {host: "mx.test", port: 465, user: "u", password: secret.New("p/"), implicit: true},
		"smtp://mailpit:1025?tls=none": {host: "mailpit", port: 1025, startTLS: gomail.NoTLS},
		"smtp://[::1]:1025/":           {host: "::1", port: 1025, startTLS: gomail.NoTLS},
		"smtp://u:p@localhost:1025":    {host: "localhost", port: 1025, user: "u", password: secret.New("p"), startTLS: gomail.NoTLS},
	} {
		got := *sender(t, address)
		got.from = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", address, got, want)
		}
	}
	for _, address := range []string{
		"", "mx.test:587", "http://u:hunter2@mx.test", "smtp://", "smtp://u:hunter2@", "smtp://u:hunter2/x@mx.test", "smtp://u:hunter2%zz@mx.test",
		"smtp://u:hunter2@mx.test:70000", "smtp://u:hunter2@mx.test:0", "smtp://u:hunter2@mx.test?tls=none", "smtps://mx.test?tls=none",
		"smtp://mx.test?tls=maybe", "smtp://hunter2@mx.test", "u:hunter2@mx.test", "smtp://u:hunter2@mx.test/#x",
	} {
		_, err := SMTP(address, "no-reply@example.com")
		if err == nil {
			t.Errorf("%q is accepted", address)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in the error: %v", err)
		}
	}
	if _, err := SMTP("smtp://mx.test", "nobody"); err == nil {
		t.Error("a sender without a domain is accepted")
	}
}

func TestWhatCanNeverBeSentIsRefused(t *testing.T) {
	t.Parallel()
	s := (&server{}).start(t)
	for _, m := range []Message{
		{To: "ann@example.com\r\nBcc: all@example.com"},
		{To: "ann@example.com", Subject: "Hi\nBcc: all@example.com"},
		{To: "ann"}, {To: ""}, {To: "a@x.test, b@x.test"},
	} {
		for _, to := range []Sender{sender(t, "smtp://"+s.addr), NewMailbox()} {
			if err := to.Send(t.Context(), m); !Permanent(err) {
				t.Errorf("%T of %q: %v, want a permanent refusal", to, m, err)
			}
		}
	}
	if heard := s.heard(); heard != "" {
		t.Errorf("the server was asked all the same:\n%s", heard)
	}
}

func get(t *testing.T, m *Mailbox, target string) *httptest.ResponseRecorder {
	t.Helper()
	r, w := chi.NewRouter(), httptest.NewRecorder()
	m.Routes(r)
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d", target, w.Code)
	}
	return w
}

func TestTheMailboxForAScript(t *testing.T) {
	t.Parallel()
	m := NewMailbox()
	if body := get(t, m, "/dev/mail.json").Body.String(); body != "[]\n" {
		t.Errorf("empty: %q", body)
	}
	for _, one := range []Message{{To: "Ann@Example.com", Subject: "1", Text: "a", HTML: "<p>a", Token: "k"}, {To: "bob@example.com", Subject: "2"}, {To: "ann@example.com", Subject: "3"}} {
		if err := m.Send(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	for target, want := range map[string]string{
		"/dev/mail.json": "321", "/dev/mail.json?to=%20ANN%40example.com%20": "31", "/dev/mail.json?to=eve@example.com": "",
	} {
		w := get(t, m, target)
		var got []map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Header().Get("Content-Type") != "application/json" {
			t.Fatal(w.Header(), err)
		}
		subjects := ""
		for _, one := range got {
			subjects += one["subject"]
			at, err := time.Parse(time.RFC3339, one["sent_at"])
			if err != nil || !strings.HasSuffix(one["sent_at"], "Z") || time.Since(at) > time.Minute || len(one) != 5 {
				t.Errorf("%v: %v", one, err)
			}
		}
		if subjects != want {
			t.Errorf("%s: %q, want %q", target, subjects, want)
		}
	}
	if body := get(t, m, "/dev/mail.json").Body.String(); !strings.Contains(body, `{"to":"Ann@Example.com","subject":"1","text":"a","token":"k","sent_at":"`) {
		t.Error(body)
	}
}

func TestTheMailboxForAPerson(t *testing.T) {
	t.Parallel()
	m := NewMailbox()
	if body := get(t, m, "/dev/mail").Body.String(); !strings.Contains(body, "No mail yet") {
		t.Error("an empty mailbox says nothing")
	}
	evil := `"><script>alert(1)</script>`
	if err := m.Send(t.Context(), Message{To: "ann@example.com", Subject: evil, Text: evil, Token: evil}); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/dev/mail", "/dev/mail?to=ann@example.com", "/dev/mail?to=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"} {
		w := get(t, m, target)
		if strings.Contains(strings.ToLower(w.Body.String()), "<script") {
			t.Errorf("%s: a script of somebody else in the page", target)
		}
		if policy := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") {
			t.Errorf("%s: policy %q", target, policy)
		}
	}
	if kind := get(t, m, "/dev/mail.css").Header().Get("Content-Type"); !strings.HasPrefix(kind, "text/css") {
		t.Error(kind)
	}
}

func TestTheMailboxShowsAMailAsItsReaderSeesIt(t *testing.T) {
	t.Parallel()
	m := NewMailbox()
	const dressed = `<p style="margin: 0" title='"'>A &amp; B</p>"></iframe><script>alert(1)</script>`
	for _, one := range []Message{{To: "ann@example.com", Subject: "plain", Text: "words"}, {To: "ann@example.com", Subject: "both", Text: "A & B", HTML: dressed}} {
		if err := m.Send(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	w := get(t, m, "/dev/mail")
	body := w.Body.String()
	frames := regexp.MustCompile(`<iframe ([^>]*)srcdoc="([^"]*)"`).FindAllStringSubmatch(body, -1)
	if len(frames) != 1 || frames[0][1] != "sandbox " || html.UnescapeString(frames[0][2]) != dressed {
		t.Errorf("want one frame, which may do nothing and holds the mail as it is: %q", frames)
	}
	if strings.Count(body, "</iframe>") != 1 || strings.Contains(body, "<script") {
		t.Error("the mail gets out of its frame")
	}
	if strings.Index(body, ">both<") > strings.Index(body, ">plain<") || !strings.Contains(body, "<pre>A &amp; B</pre>") || !strings.Contains(body, "<pre>words</pre>") {
		t.Errorf("want the newest first, and each with its text:\n%s", body)
	}
	for one := range strings.SplitSeq(w.Header().Get("Content-Security-Policy"), "; ") {
		directive, allowed, _ := strings.Cut(one, " ")
		if allowed != "'none'" && allowed != "'self'" && one != "style-src-attr 'unsafe-inline'" || strings.HasPrefix(directive, "script") {
			t.Errorf("the policy lets a mail do more than look like something: %s", one)
		}
	}
}

// TestAMailIsShownInABrowser: the policy of the page, which the frame inherits, must let a mail have its looks and nothing else.
func TestAMailIsShownInABrowser(t *testing.T) {
	b, m, r := browsertest.Start(t), NewMailbox(), chi.NewRouter()
	var loaded atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { loaded.Add(1) }))
	defer elsewhere.Close()
	m.Routes(r)
	site := httptest.NewServer(r)
	defer site.Close()
	nosy := strings.ReplaceAll(`<p style="background: url(U)"><style>p { background: url(U) }</style><link rel="stylesheet" href="U"><img src="U"><iframe src="U"></iframe>
		<script>fetch("U"); top.document.title = "taken"</script>`, "U", elsewhere.URL)
	if err := m.Send(t.Context(), Message{To: "ann@example.com", Subject: "Hello", Text: "words", HTML: nosy}); err != nil {
		t.Fatal(err)
	}
	page := b.Open(site.URL + "/dev/mail")
	if said := b.Complaints(); said != "" { // what happens in the frame is not told here
		t.Errorf("the page itself breaks its policy: %s", said)
	}
	for expression, want := range map[string]string{
		// A copy of the frame, whose load can be waited for.
		`new Promise(done => {
			const frame = document.querySelector("iframe").cloneNode()
			frame.loading = "eager"
			frame.onload = () => done(document.title + ", " + String(frame.clientHeight > 300))
			document.body.prepend(frame)
		})`: "Mail, true",
		`document.body.insertAdjacentHTML("beforeend", '<p id="looks" style="color: rgb(1, 2, 3)">'); getComputedStyle(document.getElementById("looks")).color`: "rgb(1, 2, 3)",
	} {
		if said := page.Run(expression); said != want {
			t.Errorf("%s\n%q, want %q", expression, said, want)
		}
	}
	if n := loaded.Load(); n != 0 {
		t.Errorf("a mail loaded %d things", n)
	}
}

func TestTheMailboxIsBounded(t *testing.T) {
	t.Parallel()
	m := NewMailbox()
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range capacity / 2 {
				_ = m.Send(t.Context(), Message{To: "ann@example.com", Subject: fmt.Sprint(worker, i)})
			}
		})
	}
	all.Wait()
	_ = m.Send(t.Context(), Message{To: "ann@example.com", Subject: "last"})
	if kept := m.list(""); len(kept) != capacity || kept[0].Subject != "last" {
		t.Errorf("%d kept, %q first", len(kept), kept[0].Subject)
	}
}
