package auth

import (
	"net/http"
	"slices"
	"time"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// A web app keeps its refresh token in a cookie that no script can read, instead of in the body of an answer. The rest is the same: one
// token, one rotation, one judgement (session.go).
const (
	refreshCookie = "__Secure-refresh_token" // browsers take this prefix only with Secure
	refreshPath   = "/v1/auth/token"         // the one operation that reads it; no other is sent it
)

// setCookie is the header that keeps a value in the browser for a while. Strict costs nothing: only the app's own requests need it, never a
// link from elsewhere. Without Domain it goes to this host alone.
func setCookie(value string, age int) *string {
	header := (&http.Cookie{
		Name: refreshCookie, Value: value, Path: refreshPath, MaxAge: age, HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode,
	}).String()
	return &header
}

// inCookie moves the refresh token out of the body into a cookie that lives as long as the session may without another refresh.
func inCookie(tokens authv1.Tokens, s session) (authv1.Tokens, *string) {
	age := min(sessionIdle, s.ExpiresAt.Sub(s.Now))
	cookie := setCookie(*tokens.RefreshToken, max(1, int(age/time.Second)))
	tokens.RefreshToken = nil
	return tokens, cookie
}

// noCookie has a browser forget the cookie.
func noCookie() *string { return setCookie("", -1) }

// forgetting is the error with noCookie.
func forgetting(e *problem.Error) error {
	more := *e
	more.Header = http.Header{"Set-Cookie": {*noCookie()}}
	return &more
}

// presented finds the request's refresh token, and says whether a cookie brought it. Which of two is meant nobody can know; two cookies
// are a sign that a neighbour under the same domain has planted one.
func presented(info *request.Info, form *authv1.TokenRequest) (token string, fromCookie bool, err error) {
	found := slices.DeleteFunc(info.Cookies(refreshCookie), func(value string) bool { return value == "" })
	fromCookie = len(found) > 0
	if form.RefreshToken != nil && *form.RefreshToken != "" {
		found = append(found, *form.RefreshToken)
	}
	switch {
	case len(found) > 1:
		return "", false, problem.Malformed.New("invalid_request", "Send one refresh token, in the form or in the cookie.")
	case len(found) == 0:
		return "", false, problem.Malformed.New("invalid_request", "refresh_token is missing.")
	}
	return found[0], fromCookie, nil
}
