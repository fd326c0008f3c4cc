package auth

import (
	"context"
	"encoding/hex"
	"time"

	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/ratelimit"
	"example.com/groundwork/pkg/request"
)

// throttle slows down who guesses passwords: soon per account and client network, and per account as a whole only after many failures,
// so that a stranger cannot easily lock somebody out.
type throttle struct{ network, account *ratelimit.Backoff }

// try counts a login before its outcome is known. A right password during the wait is refused as well: otherwise the wait would tell
// which one is right.
func (t *throttle) try(ctx context.Context, emailIndex []byte) (clear func(), err error) {
	account := hex.EncodeToString(emailIndex)
	network := account + "|" + httpserver.Network(request.From(ctx))
	wait := t.network.Try(ctx, network)
	if wait == 0 {
		wait = t.account.Try(ctx, account)
	}
	if wait > 0 {
		return nil, problem.RateLimited.New("rate-limited", "Too many logins at once, or too many that failed; wait a little.").After(max(wait, time.Second))
	}
	return func() {
		t.network.Clear(ctx, network)
		t.account.Clear(ctx, account)
	}, nil
}
