// Package authn says who is calling. A Verifier checks an access token alone, with auth's public keys, and the router puts the
// Principal into the context; handlers read it with From.
package authn

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Principal is who calls, as the access token says. The zero Principal is nobody.
type Principal struct {
	Subject   string    // sub: a person's id, or a module's name
	UserID    uuid.UUID // the same as an id; zero for a module
	ClientID  string
	SessionID uuid.UUID // sid; zero for a module
	TokenID   uuid.UUID // jti; zero when another issuer has other ids
	Scopes    []string
	Version   int64     // of the identity that the token goes by; 0: it does not say
	AuthTime  time.Time // when the person last proved who they are
	ACR       string
	Expires   time.Time
}

// Has reports whether the token carries the scope.
func (p Principal) Has(scope string) bool { return slices.Contains(p.Scopes, scope) }

// Kind is "user", "service", "module", or "" for nobody. A service account is its own session, and so is to us whoever another issuer does not
// call a person: only the scope makes a module.
func (p Principal) Kind() string {
	switch {
	case p.UserID != uuid.Nil && p.UserID == p.SessionID:
		return "service"
	case p.UserID != uuid.Nil:
		return "user"
	case p.Has("internal"):
		return "module"
	case p.Subject != "":
		return "service"
	}
	return ""
}

type key struct{}

// With returns a context in which p calls.
func With(ctx context.Context, p Principal) context.Context { return context.WithValue(ctx, key{}, p) }

// From returns who calls; the zero Principal when nobody said.
func From(ctx context.Context) Principal {
	p, _ := ctx.Value(key{}).(Principal)
	return p
}
