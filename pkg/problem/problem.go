// Package problem is the one door for errors. Rules and stores say what kind of thing went wrong; only this package knows what HTTP
// makes of it (RFC 9457), and only the words given to New reach the caller: a cause is for the log.
package problem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"
)

// Kind is what went wrong, in the few words that a caller can act on.
type Kind int

// The kinds. Each has one status; each code belongs to one kind.
const (
	Internal             Kind = iota // 500: our mistake
	Malformed                        // 400: cannot be read
	Unauthenticated                  // 401: who are you
	Forbidden                        // 403: not with this token, or not from this page
	NotFound                         // 404: not there, or somebody else's
	MethodNotAllowed                 // 405
	NotAcceptable                    // 406
	Conflict                         // 409: not as things stand
	PreconditionFailed               // 412: changed meanwhile
	TooLarge                         // 413
	UnsupportedMedia                 // 415
	Invalid                          // 422: readable, but not allowed
	PreconditionRequired             // 428: say what it is based on
	RateLimited                      // 429: too often
	ClientGone                       // 499: nobody listens any more; in logs and metrics only
	Unavailable                      // 503: try again later
)

var kinds = [...]struct {
	status int
	title  string
}{
	Internal:             {500, "Something went wrong on our side"},
	Malformed:            {400, "The request cannot be read"},
	Unauthenticated:      {401, "Authentication is needed"},
	Forbidden:            {403, "Not allowed"},
	NotFound:             {404, "Not found"},
	MethodNotAllowed:     {405, "This path has other methods"},
	NotAcceptable:        {406, "No answer in a form you accept"},
	Conflict:             {409, "Not as things stand"},
	PreconditionFailed:   {412, "It has changed since you read it"},
	TooLarge:             {413, "The body is too large"},
	UnsupportedMedia:     {415, "A body of this type is not read here"},
	Invalid:              {422, "The request is not allowed as it is"},
	PreconditionRequired: {428, "Say which version the change is based on"},
	RateLimited:          {429, "Too many requests"},
	ClientGone:           {499, "The client went away"},
	Unavailable:          {503, "Not available right now"},
}

// Status returns the HTTP status of the kind.
func (k Kind) Status() int { return kinds[k].status }

// Error is what went wrong, once. Code is stable and kebab-case; Detail is for a person and never holds the offending value.
type Error struct {
	Kind       Kind
	Code       string
	Detail     string
	Fields     []Field
	Header     http.Header   // more headers of the answer, such as Allow
	RetryAfter time.Duration // when it is worth trying again; 0 for no hint
	cause      error
}

// Field is one thing that is wrong with the input.
type Field struct {
	Pointer string `json:"pointer"` // a JSON pointer into the body, or the name of a parameter
	Code    string `json:"code"`
	Detail  string `json:"detail"`
}

// New makes an error of this kind. detail is shown to the caller.
func (k Kind) New(code, detail string) *Error {
	e := &Error{Kind: k, Code: code, Detail: detail}
	if k == Unavailable {
		e.RetryAfter = time.Second
	}
	return e
}

// Because, With and After return an error with more in it; the one they are called on may stand in a variable and stays as it is.

// Because adds the cause, which only the log tells.
func (e *Error) Because(cause error) *Error {
	more := *e
	more.cause = cause
	return &more
}

// With adds what is wrong with the input, field by field.
func (e *Error) With(fields ...Field) *Error {
	more := *e
	more.Fields = append(slices.Clip(e.Fields), fields...)
	return &more
}

// After says when to try again.
func (e *Error) After(d time.Duration) *Error {
	more := *e
	more.RetryAfter = d
	return &more
}

func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Detail, e.cause)
	}
	return e.Code + ": " + e.Detail
}

func (e *Error) Unwrap() error { return e.cause }

// Is reports whether err is of the given kind.
func Is(err error, k Kind) bool { return err != nil && From(err).Kind == k }

// From turns any error into one of ours. What it does not know is Internal and says nothing to the caller.
func From(err error) *Error {
	var (
		ours    *Error
		tooMuch *http.MaxBytesError
		network net.Error
		sql     interface{ SQLState() string }  // *pgconn.PgError, without importing it
		unsent  interface{ SafeToRetry() bool } // pgconn's, such as "conn closed": nothing has reached the server
	)
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, context.Canceled):
		return ClientGone.New("client-gone", "The client went away before the answer.").Because(err)
	case errors.Is(err, context.DeadlineExceeded):
		return Unavailable.New("dependency-unavailable", "It took too long.").Because(err)
	case errors.As(err, &tooMuch):
		return TooLarge.New("body-too-large", fmt.Sprintf("A body has at most %d bytes.", tooMuch.Limit)).Because(err)
	case errors.As(err, &sql) && transient(sql.SQLState()), errors.As(err, &unsent) && unsent.SafeToRetry(),
		errors.As(err, &network), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return Unavailable.New("dependency-unavailable", "Something this depends on does not answer.").Because(err)
	}
	return Internal.New("internal", "The request id names it in our logs.").Because(err)
}

// transient reports whether a Postgres error says "not now" (Appendix A of its manual): connection trouble, no resources left, an
// operator at work, a lock that was not to be had, a deadlock, a standby that takes no writes.
func transient(state string) bool {
	switch state {
	case "40001", "40P01", "55P03", "25006":
		return true
	}
	class := state[:min(2, len(state))]
	return class == "08" || class == "53" || class == "57"
}
