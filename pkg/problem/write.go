package problem

import (
	"encoding/json"
	"fmt"
	"math"
	"mime"
	"net/http"
	"strconv"

	"example.com/groundwork/pkg/request"
)

// Document is an error on the wire, RFC 9457, as the contracts' schema Problem describes it.
type Document struct {
	Type      string  `json:"type"`
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Detail    string  `json:"detail,omitempty"`
	Instance  string  `json:"instance,omitempty"`
	Code      string  `json:"code"`
	RequestID string  `json:"request_id"`
	Errors    []Field `json:"errors,omitempty"`
}

// oauthDocument is the same in the words of RFC 6749, section 5.2.
type oauthDocument struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// Write answers the request with err, whatever it is, and notes it for the access log.
func Write(w http.ResponseWriter, r *http.Request, err error) {
	info, e := request.From(r.Context()), From(err)
	if e.Kind == ClientGone && r.Context().Err() == nil { // something was called off, and the client still waits
		e = Unavailable.New("dependency-unavailable", "Something this depends on stopped.").Because(err)
	}
	info.Code, info.Status, info.Err = e.Code, e.Kind.Status(), err
	status, header, body := Render(info, e)
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone cannot be told
}

// Render makes the answer without sending it, for those who keep it.
func Render(info *request.Info, e *Error) (status int, header http.Header, body []byte) {
	status, header = e.Kind.Status(), http.Header{}
	for name, values := range e.Header {
		header[name] = values
	}
	if e.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	if e.Kind == Unauthenticated && header.Get("WWW-Authenticate") == "" {
		header.Set("WWW-Authenticate", "Bearer")
	}
	var document any = Document{
		Type: "urn:problem:" + e.Code, Title: kinds[e.Kind].title, Status: status, Detail: e.Detail,
		Instance: info.Path, Code: e.Code, RequestID: info.ID, Errors: e.Fields,
	}
	header.Set("Content-Type", "application/problem+json")
	if info.OAuthErrors {
		if e.Kind == Invalid { // RFC 6749 has 400 for every mistake in a request
			status = Malformed.Status()
		}
		document = oauthDocument{Error: oauthCode(e), Description: e.Detail}
		header.Set("Content-Type", "application/json")
	}
	body, err := json.Marshal(document)
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	return status, header, append(body, '\n')
}

// oauthCode is the error's name in RFC 6749. A module that means one of them uses it as its code.
func oauthCode(e *Error) string {
	switch e.Code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope":
		return e.Code
	}
	switch {
	case e.Kind == Unauthenticated:
		return "invalid_client"
	case e.Kind == Unavailable, e.Kind == RateLimited:
		return "temporarily_unavailable"
	case e.Kind == Internal:
		return "server_error"
	}
	return "invalid_request"
}

// FromPeer reads another module's error answer back into the same kind, so NotFound there is NotFound here. What is between the two
// modules and not the caller's business (our credentials, our rate, its health) is Internal or Unavailable.
func FromPeer(resp *http.Response, body []byte) *Error {
	peer := resp.Request.URL.Hostname()
	cause := fmt.Errorf("%s answered %s %s with %d: %.200s", peer, resp.Request.Method, resp.Request.URL.Path, resp.StatusCode, body)
	var d Document
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media != "application/problem+json" || json.Unmarshal(body, &d) != nil || d.Code == "" {
		return unavailable(peer).Because(cause)
	}
	for k := range kinds {
		if kinds[k].status != resp.StatusCode {
			continue
		}
		switch kind := Kind(k); kind {
		case Unauthenticated, Forbidden, Internal:
			return Internal.New("internal", "The request id names it in our logs.").Because(cause)
		case Unavailable, RateLimited, ClientGone:
			return unavailable(peer).Because(cause)
		default:
			return kind.New(d.Code, d.Detail).With(d.Errors...).Because(cause)
		}
	}
	return unavailable(peer).Because(cause)
}

func unavailable(peer string) *Error {
	return Unavailable.New("dependency-unavailable", "The module "+peer+" does not answer.")
}

// NoContent lets a response of the generated client pass that has no body to check: nil for a 2xx, else the peer's problem.
func NoContent(resp *http.Response, body []byte, err error) error {
	if err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return FromPeer(resp, body)
	}
	return nil
}
