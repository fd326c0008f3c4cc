// Package request keeps what is known about the request that is being answered: what came in, who sent it, and how it ended.
// The router makes one Info per request; the rooms behind it add what they learn; the access log tells it once, at the end.
package request

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Info is one request. It is written by the goroutine that answers it and read by that one only.
type Info struct {
	ID       string      // X-Request-Id: the caller's when well formed, else a new one
	Method   string      //
	Path     string      // escaped, as it was sent
	RawQuery string      //
	Header   http.Header //
	Client   netip.Addr  // the caller's address; behind a proxy only a configured one is believed
	Started  time.Time   //

	Module      string // whose contract the route is in; empty until it is known, and for what is in none
	Pattern     string // the route, such as /v1/accounts/{id}; empty until it is known
	Body        []byte // raw, before anything decoded it
	OAuthErrors bool   // errors are answered as RFC 6749 words them, not as RFC 9457
	Deprecated  bool   // the operation goes away one day

	Caller   string // who sent it: a principal's kind ("user", "module"), empty when anonymous
	ClientID string // the program that the caller's token was given to
	Code     string // the problem that was answered,
	Status   int    // with this status; 0 when there was none
	Err      error  // its cause, for the log only
}

type key struct{}

// With returns a context that carries info.
func With(ctx context.Context, info *Info) context.Context {
	return context.WithValue(ctx, key{}, info)
}

// From returns the request's info; an empty one outside of a request, so nobody needs to check.
func From(ctx context.Context) *Info {
	if info, ok := ctx.Value(key{}).(*Info); ok {
		return info
	}
	return &Info{}
}

// Fingerprint is SHA-256 over everything that makes two requests the same: method, route, path, query and body, as they were sent.
// Each part goes in with its length, so no two different requests read alike.
func (i *Info) Fingerprint() [sha256.Size]byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(i.Method), []byte(i.Pattern), []byte(i.Path), []byte(i.RawQuery), i.Body} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// BasicAuth returns the name and secret of an Authorization header of the Basic scheme.
func (i *Info) BasicAuth() (name, secret string, ok bool) {
	return (&http.Request{Header: i.Header}).BasicAuth()
}

// Bearer returns the token of an Authorization header of the Bearer scheme, or "".
func (i *Info) Bearer() string {
	scheme, token, _ := strings.Cut(i.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// Cookies returns the values of every cookie of this name. There may be several: a site above ours can set one for us as well.
func (i *Info) Cookies(name string) []string {
	var values []string
	for _, cookie := range (&http.Request{Header: i.Header}).CookiesNamed(name) {
		values = append(values, cookie.Value)
	}
	return values
}
