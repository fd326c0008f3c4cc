package auth

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	"github.com/google/uuid"

	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/ratelimit"
	"example.com/groundwork/pkg/request"
)

// throttle slows down who guesses passwords and codes: soon per account and client network, and per account as a whole only after many
// failures, so that a stranger cannot easily lock somebody out. A device from which the owner has come in before is counted apart: what
// strangers try is not in its way.
type throttle struct{ network, account *ratelimit.Backoff }

// try counts a guess before its outcome is known. A right password during the wait is refused as well: otherwise the wait would tell
// which one is right.
func (t *throttle) try(ctx context.Context, account, device string) (clear func(), err error) {
	network := networkKey(ctx, account)
	if device != "" {
		network = account + "|device " + device
	}
	wait := t.network.Try(ctx, network)
	if wait == 0 && device == "" {
		wait = t.account.Try(ctx, account)
	}
	if wait > 0 {
		return nil, problem.RateLimited.New("rate-limited", "Too many logins at once, or too many that failed; wait a little.").After(max(wait, time.Second))
	}
	return func() {
		t.network.Clear(ctx, network)
		if device == "" {
			t.account.Clear(ctx, account)
		}
	}, nil
}

// clear forgets what was counted of an account.
func (t *throttle) clear(ctx context.Context, account string) {
	t.network.Clear(ctx, networkKey(ctx, account))
	t.account.Clear(ctx, account)
}

// Passwords and codes are counted apart: whoever reads the mail sets a new password and begins anew, but the second factor is there for the
// day on which that is somebody else.
func passwordsOf(emailIndex []byte) string { return hex.EncodeToString(emailIndex) }
func codesOf(emailIndex []byte) string     { return hex.EncodeToString(emailIndex) + "|codes" }

func networkKey(ctx context.Context, account string) string {
	return account + "|" + httpserver.Network(request.From(ctx))
}

// device returns the name of the device that a token is of, "" for none. It counts for an address as long as the password stays.
func (m *Module) device(ctx context.Context, c credentials, token *string) string {
	if token == nil {
		return ""
	}
	says, err := m.open(ctx, deviceTicket, *token)
	if err != nil || !slices.Equal(says[16:], deviceOf(c)) {
		return ""
	}
	return uuid.UUID(says[:16]).String()
}

func deviceOf(c credentials) []byte {
	return binary.BigEndian.AppendUint64(slices.Clone(c.EmailIndex), uint64(c.ChangedAt.UnixMicro()))
}

// issueDevice makes the token of a device, a new one's when there is no name.
func (m *Module) issueDevice(ctx context.Context, c credentials, name string) (string, error) {
	id, err := uuid.Parse(name)
	if err != nil {
		id = uuid.New()
	}
	return m.issue(ctx, deviceTicket, append(id[:], deviceOf(c)...))
}
