// only with auth: this file

// Command demo tells the main story to a running server, as requests and answers that a person can read, and ends with an error at the
// first answer that is not as promised. `make demo` runs it; it knows the API by its paths only, as any client would.
package main

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

func main() {
	if err := run(os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo talks to one server. A step that fails panics with its reason, so that the story reads without interruptions.
type demo struct {
	base, mailbox, mailpit string
	setting                func(string) string // a setting: of the environment, or of what `make run` wrote
	out                    io.Writer
}

type failure struct{ error }

func run(getenv func(string) string, out io.Writer) (err error) {
	began := time.Now()
	local := readEnv(".local/run.env") // what `make run` wrote
	get := func(name string) string { return cmp.Or(getenv(name), local[name]) }
	d := &demo{base: get("BASE_URL"), mailpit: getenv("MAILPIT_URL"), setting: get, out: out}
	d.mailbox = cmp.Or(getenv("MAIL_URL"), getenv("BASE_URL"), local["MAIL_URL"], local["BASE_URL"]) // elsewhere than the API when modules run apart
	if d.base == "" {
		return fmt.Errorf("no server: start one with `make run`, or set BASE_URL, OPERATOR_EMAIL and OPERATOR_PASSWORD")
	}
	defer func() {
		if f, ok := recover().(failure); ok {
			err = f.error
		}
	}()
	d.story()
	fmt.Fprintf(out, "\nThe story is as promised (%.1f s).\n", time.Since(began).Seconds())
	return nil
}

func (d *demo) story() {
	run := strings.ToLower(rand.Text()[:6]) // another run, other people
	d.title("Alice asks for an account and confirms her address")
	alice := d.join("alice-" + run + "@example.com")

	// only with users:
	d.profile(alice)
	// end users
	// only with transactions:
	d.title("So does Bob")
	bob := d.join("bob-" + run + "@example.com")
	d.payments(alice, bob, d.login(d.setting("OPERATOR_EMAIL"), d.setting("OPERATOR_PASSWORD")), run)
	// end transactions
	d.title("She logs out; her refresh token is worth nothing now")
	d.want(d.call(alice, "POST", "/v1/auth/logout", nil, nil), 204)
	refused := d.form("/v1/auth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {alice.refresh}})
	d.check(refused.status == 400 && refused.text("error") == "invalid_grant", "the refresh token should be refused")
}

// person is somebody with tokens; nil is nobody.
type person struct{ name, access, refresh string }

func (d *demo) join(email string) *person {
	password := "correct horse battery " + email
	d.want(d.call(nil, "POST", "/v1/auth/register", object{"email": email, "password": password}, nil), 202)
	token := d.mail(email)
	d.want(d.call(nil, "POST", "/v1/auth/email/verify", object{"token": token}, nil), 204)
	return d.login(email, password)
}

func (d *demo) login(email, password string) *person {
	a := d.want(d.call(nil, "POST", "/v1/auth/login", object{"email": email, "password": password}, nil), 200)
	name, _, _ := strings.Cut(email, "@")
	return &person{name: name, access: a.text("access_token"), refresh: a.text("refresh_token")}
}

// mail waits for the token that was mailed to an address: in the server's own mailbox, or in Mailpit when MAILPIT_URL is set.
func (d *demo) mail(to string) string {
	for range 100 {
		if token := d.newest(to); token != "" {
			fmt.Fprintf(d.out, "  ✉ %s: your token is %s…\n", to, token[:8])
			return token
		}
		time.Sleep(100 * time.Millisecond)
	}
	panic(failure{fmt.Errorf("no mail came to %s", to)})
}

func (d *demo) newest(to string) string {
	if d.mailpit == "" {
		var mails []struct{ Token string }
		if d.get(d.mailbox+"/dev/mail.json?to="+url.QueryEscape(to), &mails) && len(mails) > 0 {
			return mails[0].Token
		}
		return ""
	}
	var found struct{ Messages []struct{ ID string } }
	var message struct{ Text string }
	if !d.get(d.mailpit+"/api/v1/search?query="+url.QueryEscape("to:"+to), &found) || len(found.Messages) == 0 ||
		!d.get(d.mailpit+"/api/v1/message/"+found.Messages[0].ID, &message) {
		return ""
	}
	return strings.TrimSpace(regexp.MustCompile(`(?m)^[A-Za-z0-9_-]{43}\s*$`).FindString(message.Text))
}

func (d *demo) get(address string, into any) bool {
	resp, err := http.Get(address)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK && json.NewDecoder(resp.Body).Decode(into) == nil
}

type (
	object map[string]any
	header map[string]string
)

type answer struct {
	request string
	status  int
	header  http.Header
	body    []byte
}

// text is a field of the answer.
func (a answer) text(name string) string {
	var fields map[string]any
	_ = json.Unmarshal(a.body, &fields)
	text, _ := fields[name].(string)
	return text
}

// call sends a request and shows it with its answer.
func (d *demo) call(p *person, method, path string, body object, h header) answer {
	var payload []byte
	if body != nil {
		payload, _ = json.Marshal(body) // strings and numbers
	}
	req, err := http.NewRequest(method, d.base+path, bytes.NewReader(payload))
	if err != nil {
		panic(failure{err})
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		if method == "PATCH" {
			req.Header.Set("Content-Type", "application/merge-patch+json")
		}
	}
	who := "somebody"
	if p != nil {
		who = p.name
		req.Header.Set("Authorization", "Bearer "+p.access)
	}
	fmt.Fprintf(d.out, "  → %s: %s %s", who, method, path)
	for name, value := range h {
		req.Header.Set(name, value)
		fmt.Fprintf(d.out, "  %s: %s", name, value)
	}
	fmt.Fprintf(d.out, "  %s\n", hide(payload))
	return d.send(req)
}

func (d *demo) form(path string, values url.Values) answer {
	req, err := http.NewRequest("POST", d.base+path, strings.NewReader(values.Encode()))
	if err != nil {
		panic(failure{err})
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	fmt.Fprintf(d.out, "  → somebody: POST %s  grant_type=%s\n", path, values.Get("grant_type"))
	return d.send(req)
}

func (d *demo) send(req *http.Request) answer {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(failure{fmt.Errorf("%w (is the server up? `make run` starts one)", err)})
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(failure{err})
	}
	fmt.Fprintf(d.out, "  ← %d  %s\n", resp.StatusCode, hide(bytes.TrimSpace(body)))
	return answer{req.Method + " " + req.URL.Path, resp.StatusCode, resp.Header, body}
}

var secrets = regexp.MustCompile(`"(access_token|refresh_token|token|password)":"[^"]*"`)

// hide keeps secrets out of what is shown.
func hide(body []byte) string { return secrets.ReplaceAllString(string(body), `"$1":"…"`) }

func (d *demo) title(text string) { fmt.Fprintf(d.out, "\n%s\n", text) }

func (d *demo) want(a answer, status int) answer {
	d.check(a.status == status, fmt.Sprintf("%s should be answered with %d", a.request, status))
	return a
}

func (d *demo) check(ok bool, promise string) {
	if !ok {
		panic(failure{fmt.Errorf("not as promised: %s", promise)})
	}
}

// readEnv reads shell variables as `make run` writes them; nothing when there is no such file.
func readEnv(path string) map[string]string {
	values := map[string]string{}
	text, err := os.ReadFile(path)
	if err != nil {
		return values
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(value, "'"), "'"), `'\''`, "'")
		values[strings.TrimPrefix(name, "export ")] = value
	}
	return values
}
