package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"
)

// hostile are texts that have broken programs: each goes into every field of every contract. They are written as JSON has them.
var hostile = map[string]string{
	"a character that Postgres has no room for": `"a\u0000b"`,
	"half a character":                          `"a\ud800b"`,
	"what is no UTF-8":                          "\"a\xff\xfeb\"",
	"lines, SQL, a format and a page":           `"'; drop schema auth cascade; --\r\nSet-Cookie: a=b\r\n\r\n%s%n$1 \u202e\ud835\udd4f <script>../../../etc/passwd"`,
	"a number":                                  `1e999`,
	"an object":                                 `{"$ne": null}`,
	"deep":                                      strings.Repeat("[", 5_000) + strings.Repeat("]", 5_000),
	"a mebibyte and more":                       `"` + strings.Repeat("a", 1<<20) + `"`,
}

// allowed is a body that a contract allows, with everything in it that there may be.
func allowed(s *openapi3.Schema) any {
	switch {
	case s.Example != nil:
		return s.Example
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Type.Is("object"):
		made := map[string]any{}
		for name, p := range s.Properties {
			made[name] = allowed(p.Value)
		}
		return made
	case s.Type.Is("array"):
		return []any{allowed(s.Items.Value)}
	case s.Type.Is("boolean"):
		return true
	case s.Type.Is("integer"):
		return int64(max(1, deref(s.Min)))
	case s.Format == "uuid":
		return uuid.NewString()
	case s.Format == "email":
		return "somebody@example.com"
	case s.Format == "date-time":
		return "2026-01-02T03:04:05Z"
	}
	return strings.Repeat("x", int(max(1, s.MinLength)))
}

func deref(f *float64) float64 {
	if f == nil {
		return 0
	}
	return *f
}

// spoiled is a body with something else at one place, such as postings/*/amount.
func spoiled(body any, place, with string) any {
	if place == "" {
		return json.RawMessage(with)
	}
	name, rest, _ := strings.Cut(place, "/")
	switch b := body.(type) {
	case []any:
		return []any{spoiled(b[0], rest, with)}
	case map[string]any:
		b = maps.Clone(b)
		b[name] = spoiled(b[name], rest, with)
		return b
	}
	return body
}

// TestHostileInput sends what breaks programs in every field of every body, and in every parameter. Nothing of it may be the program's failure,
// nor end up in a header or as a line of its log.
func TestHostileInput(t *testing.T) {
	t.Parallel()
	env := with(world(t), "AUTH_CLIENT_SECRET", "a secret of auth that is long enough")
	p := start(t, env)
	st := &teller{t: t, url: p.url}
	st.gather(env)
	s := newStage(t, st, env)
	var contracts []contract
	house := theHouse(t)
	for _, name := range house.match("api/*/*/openapi.yaml") {
		c, err := house.contract(name)
		if err != nil {
			t.Fatal(err)
		}
		contracts = append(contracts, c)
	}
	sent := map[int]int{}
	send := func(says string, o described, target, contentType string, body []byte, header ...string) int {
		req, err := http.NewRequest(o.method, p.url+target, bytes.NewReader(body))
		if err != nil {
			t.Fatalf("%s: %v", says, err)
		}
		caller := "an operator"
		if o.Security != nil && slices.ContainsFunc(*o.Security, func(r openapi3.SecurityRequirement) bool { return slices.Contains(r["oauth2"], "internal") }) {
			caller = "a module"
		}
		if s.held[caller] == "" {
			s.held[caller] = s.tokens[caller]()
		}
		req.Header.Set("Authorization", "Bearer "+s.held[caller])
		req.Header.Set("Content-Type", contentType)
		req.Header.Set("Idempotency-Key", uuid.NewString())
		req.Header.Set("If-Match", "*")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", says, err)
		}
		defer resp.Body.Close()
		if resp.StatusCode >= 500 || strings.Contains(fmt.Sprint(resp.Header), "a=b") {
			t.Errorf("%s: %d %v", says, resp.StatusCode, resp.Header)
		}
		sent[resp.StatusCode]++
		return resp.StatusCode
	}
	for _, c := range contracts {
		for _, o := range c.operations {
			delete(s.held, "an operator") // a session that the operation before may have ended
			target := strings.ReplaceAll(o.path, "{id}", s.victim)
			for _, param := range o.parameters {
				for what, text := range hostile {
					var value string
					if json.Unmarshal([]byte(text), &value) != nil || len(value) > 10_000 {
						continue
					}
					says := fmt.Sprintf("%s %s: %s", o, param.Value.Name, what)
					switch param.Value.In {
					case "query":
						send(says, o, target+"?"+url.Values{param.Value.Name: {value}}.Encode(), "application/json", nil)
					case "path":
						send(says, o, strings.ReplaceAll(o.path, "{"+param.Value.Name+"}", url.PathEscape(value)), "application/json", nil)
					case "header":
						send(says, o, target, "application/json", nil, param.Value.Name, strings.Map(func(r rune) rune {
							if r < ' ' { // no client sends these
								return '?'
							}
							return r
						}, value))
					}
				}
			}
			if o.RequestBody == nil {
				continue
			}
			for contentType, media := range o.RequestBody.Value.Content {
				whole := allowed(media.Schema.Value)
				if fields, is := whole.(map[string]any); is && fields["scopes"] != nil {
					fields["scopes"] = []any{s.scope()}
				}
				for _, f := range walk(field{"", media.Schema.Value, nil}) {
					values := maps.Clone(hostile)
					if f.schema.MaxLength != nil {
						values["too long"] = `"` + strings.Repeat("x", int(*f.schema.MaxLength)+1) + `"`
					}
					for what, text := range values {
						says := fmt.Sprintf("%s %s: %s", o, path.Join("/", f.place), what)
						body := encoded(contentType, spoiled(whole, f.place, text))
						if status := send(says, o, target, contentType, body); what == "too long" && status < 400 {
							t.Errorf("%s: %d", says, status)
						}
					}
				}
			}
		}
	}
	t.Logf("answers by status: %v", sent)
	if sent[http.StatusUnprocessableEntity] < 100 {
		t.Errorf("hardly anything came as far as the fields: %v", sent)
	}
	if status, _, _ := fetch(t, get(p.admin+"/readyz")); status != http.StatusOK {
		t.Errorf("ready: %d", status)
	}
	for line := range strings.Lines(p.logs.String()) {
		if !json.Valid([]byte(line)) && strings.Contains(line, "Set-Cookie") {
			t.Errorf("a line of its own in the log: %s", line)
		}
	}
}

// encoded is a body as it is sent.
func encoded(contentType string, body any) []byte {
	form := contentType == "application/x-www-form-urlencoded"
	fields, isObject := body.(map[string]any)
	if form && isObject {
		values := url.Values{}
		for name, v := range fields {
			text := fmt.Sprint(v)
			if raw, is := v.(json.RawMessage); is && json.Unmarshal(raw, &text) != nil {
				text = string(raw)
			}
			values.Set(name, text)
		}
		return []byte(values.Encode())
	}
	out, _ := json.Marshal(body) // which leaves what is raw as it is
	return out
}
