package httpserver

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
)

// farewell is what every answer of a deprecated operation says about its end; nil for an operation that stays.
type farewell struct {
	deprecation string // since when it is, as RFC 9745 writes it
	sunset      string // until when it answers, as RFC 8594 writes it
	successor   string // the path of the operation that takes its place, "" when none does
}

// farewellOf reads it from the contract: `deprecated: true` with the dates x-deprecated-since and x-sunset, and perhaps x-successor.
func farewellOf(op *openapi3.Operation) (*farewell, error) {
	if !op.Deprecated {
		return nil, nil
	}
	date := func(name string) (time.Time, error) {
		text, _ := op.Extensions[name].(string)
		d, err := time.Parse(time.DateOnly, text)
		if err != nil {
			err = fmt.Errorf("a deprecated operation has %s, a date such as '2026-12-31'", name)
		}
		return d, err
	}
	since, err1 := date("x-deprecated-since")
	until, err2 := date("x-sunset")
	successor, _ := op.Extensions["x-successor"].(string)
	return &farewell{fmt.Sprintf("@%d", since.Unix()), until.Format(http.TimeFormat), successor}, errors.Join(err1, err2)
}

// say puts the headers on the answer, whatever it becomes.
func (f *farewell) say(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	w.Header().Set("Deprecation", f.deprecation)
	w.Header().Set("Sunset", f.sunset)
	if f.successor == "" {
		return w
	}
	path := f.successor
	for name, value := range pathParams(r) {
		path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(value))
	}
	linked := &linkedWriter{ResponseWriter: w, link: "<" + path + `>; rel="successor-version"`}
	w.Header().Set("Link", linked.link)
	return linked
}

// linkedWriter keeps a link on an answer to which a handler gives links of its own: a page's next one, say.
type linkedWriter struct {
	http.ResponseWriter
	link string
	sent bool
}

func (w *linkedWriter) WriteHeader(status int) {
	if !w.sent && w.Header().Get("Link") != w.link {
		w.Header().Add("Link", w.link)
	}
	w.sent = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *linkedWriter) Write(b []byte) (int, error) {
	if !w.sent {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *linkedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
