package httpserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"

	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// maxBody is the most a request's body may hold, in bytes.
const maxBody = 1 << 20

// maxDepth is how deep JSON may nest. The contracts nest four deep.
const maxDepth = 64

// body reads the request's body once, keeps the raw bytes for who needs them, and checks it against the contract.
func (o *operation) body(w http.ResponseWriter, r *http.Request) error {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	schema, known := o.bodies[media]
	if charset := params["charset"]; err != nil || !known || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return problem.UnsupportedMedia.New("unsupported-media-type", "Send the body as "+o.media()+" and say so in Content-Type.")
	}
	if r.ContentLength > maxBody { // it says so itself: read nothing
		return tooLarge(w)
	}
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		var tooMuch *http.MaxBytesError
		if errors.As(err, &tooMuch) {
			return tooLarge(w)
		}
		return problem.Malformed.New("malformed-json", "The body ended early, or did not come in time.").Because(err)
	}
	info := request.From(r.Context())
	info.Body = raw
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))

	var value any
	if media == "application/x-www-form-urlencoded" {
		value, err = decodeForm(raw)
	} else {
		value, err = decodeJSON(raw)
	}
	if err != nil {
		return err
	}
	if err := schema.VisitJSON(value, openapi3.VisitAsRequest(), openapi3.MultiErrors(), emails, uuids, times); err != nil {
		e := problem.Invalid.New("validation-failed", "Some of the input is not allowed.").With(fields("", err)...)
		if info.OAuthErrors { // RFC 6749 has one name and no list: say which
			e.Detail = strings.TrimPrefix(e.Fields[0].Pointer, "/") + ": " + e.Fields[0].Detail
		}
		return e
	}
	return nil
}

// tooLarge has the connection closed under the rest of the body, and the answer not wait for it. (MaxBytesReader asks for that by itself,
// but only of net/http's own writer, not of one that is wrapped.)
func tooLarge(w http.ResponseWriter) error {
	w.Header().Set("Connection", "close")
	return &http.MaxBytesError{Limit: maxBody}
}

// isText reports whether Postgres keeps the text, and keeps it as it is.
func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// escape is an escaped character of JSON, one that needs two escapes as one. The group has half of such a pair.
var escape = regexp.MustCompile(`\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)`)

// isUnicode reports whether what JSON says in bytes and escapes is text. Go's decoder would put U+FFFD in the place of what is not.
func isUnicode(raw []byte) bool {
	if bytes.Contains(raw, []byte(`\u`)) {
		for _, m := range escape.FindAllSubmatch(raw, -1) {
			if m[1] != nil {
				return false
			}
		}
	}
	return utf8.Valid(raw)
}

// decodeJSON reads one JSON value and nothing after it. It refuses what readers would disagree about: a name twice in one object, text that is
// not Unicode (RFC 8259, section 8).
func decodeJSON(raw []byte) (any, error) {
	if !isUnicode(raw) {
		return nil, problem.Malformed.New("malformed-json", "A text of the body is not Unicode, or not in UTF-8.")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	value, err := decodeValue(d, 0)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows the value")
		}
	}
	if err != nil {
		detail := "The body is not one JSON value."
		var syntax *json.SyntaxError
		switch {
		case errors.As(err, &syntax):
			detail = fmt.Sprintf("The body is not JSON from byte %d on.", syntax.Offset)
		case errors.Is(err, errDuplicate):
			detail = "An object has a name twice."
		case errors.Is(err, errDeep):
			detail = "The body nests too deep."
		case errors.Is(err, errNUL):
			detail = "A text holds the character NUL."
		}
		return nil, problem.Malformed.New("malformed-json", detail).Because(err)
	}
	return value, nil
}

var (
	errDuplicate = errors.New("duplicate name")
	errDeep      = errors.New("too deep")
	errNUL       = errors.New("NUL") // Postgres keeps no text with it
)

func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		object := map[string]any{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			if _, twice := object[name.(string)]; twice {
				return nil, errDuplicate
			}
			if strings.Contains(name.(string), "\x00") {
				return nil, errNUL
			}
			if object[name.(string)], err = decodeValue(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err = d.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			item, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		_, err = d.Token()
		return list, err
	}
	if text, ok := token.(string); ok && strings.Contains(text, "\x00") {
		return nil, errNUL
	}
	return token, nil
}

// decodeForm reads a form whose parameters stand there once each (RFC 6749, section 3.2).
func decodeForm(raw []byte) (any, error) {
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil, problem.Malformed.New("invalid-parameter", "The form cannot be read.").Because(err)
	}
	value := map[string]any{}
	for name, values := range form {
		if len(values) > 1 {
			return nil, problem.Malformed.New("invalid-parameter", "A parameter stands there twice.")
		}
		if !isText(values[0]) {
			return nil, problem.Malformed.New("invalid-parameter", "A text is not UTF-8, or holds the character NUL.")
		}
		value[name] = values[0]
	}
	return value, nil
}

// fields lists what a validator found, in words that never hold the offending value.
func fields(parameter string, err error) []problem.Field {
	var many openapi3.MultiError
	if errors.As(err, &many) {
		var list []problem.Field
		for _, e := range many {
			list = append(list, fields(parameter, e)...)
		}
		return list[:min(len(list), 50)]
	}
	field := problem.Field{Pointer: parameter, Code: "invalid", Detail: "cannot be read"}
	var schema *openapi3.SchemaError
	if errors.As(err, &schema) {
		field.Code, field.Detail = schema.SchemaField, schema.Reason
		escape := strings.NewReplacer("~", "~0", "/", "~1")
		if parameter == "" {
			for _, step := range schema.JSONPointer() {
				field.Pointer += "/" + escape.Replace(step)
			}
		}
		switch schema.SchemaField {
		case "pattern", "format":
			field.Detail = "does not have the form it needs"
		case "properties": // an unknown name, which kin-openapi tells in its words only; it is the caller's own text
			field.Code, field.Detail = "unknown", "is not known here"
			if name, ok := quoted(schema.Reason); ok {
				field.Pointer += "/" + escape.Replace(name)
			}
		}
	}
	return []problem.Field{field}
}

// quoted returns the first quoted text in s, if it is short enough to be shown.
func quoted(s string) (string, bool) {
	_, s, _ = strings.Cut(s, " ")
	q, err := strconv.QuotedPrefix(s)
	if err != nil || len(q) > 100 {
		return "", false
	}
	text, err := strconv.Unquote(q)
	return text, err == nil
}

func (o *operation) media() string {
	var names []string
	for name := range o.bodies {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " or ")
}
