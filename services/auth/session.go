package auth

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	sessionIdle     = 14 * 24 * time.Hour // without a refresh
	sessionLifetime = 90 * 24 * time.Hour
	refreshGrace    = 30 * time.Second // a lost answer or a second tab may send the last token again
)

// session is one login, as the database has it at now.
type session struct {
	ID         uuid.UUID
	IdentityID uuid.UUID
	Counter    int64
	CreatedAt  time.Time
	RotatedAt  time.Time
	ExpiresAt  time.Time
	RevokedAt  *time.Time
	ACR        string
	AMR        []string
	Roles      []string
	Active     bool // the identity is
	Now        time.Time
}

type verdict int

const (
	refuse verdict = iota // the token means nothing any more
	rotate                // the current one: it is used up, and the next one given
	again                 // harmless: the current token once more
	end                   // stolen, or restored from a backup: the session ends
)

// judge says what a refresh token with this counter means for its session.
func judge(s session, presented int64) verdict {
	switch {
	case s.RevokedAt != nil, !s.Active, !s.Now.Before(s.ExpiresAt), s.Now.Sub(s.RotatedAt) >= sessionIdle:
		return refuse
	case presented == s.Counter:
		return rotate
	case presented == s.Counter-1 && s.Now.Sub(s.RotatedAt) <= refreshGrace:
		return again
	}
	return end
}

const (
	refreshPrefix  = "rt_" // lets a scanner of leaked secrets find it
	refreshVersion = 1
	refreshSigned  = 1 + 16 + 8 // version, session, counter; the MAC follows, which begins with its key's id
)

// refreshPayload is what the MAC of a refresh token is over.
func refreshPayload(session uuid.UUID, counter int64) []byte {
	payload := make([]byte, 0, refreshSigned)
	payload = append(payload, refreshVersion)
	payload = append(payload, session[:]...)
	return binary.BigEndian.AppendUint64(payload, uint64(counter))
}

func formatRefresh(payload, mac []byte) string {
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(append(payload, mac...))
}

var errRefreshToken = errors.New("not a refresh token")

// parseRefresh takes a refresh token apart. It says nothing about the MAC.
func parseRefresh(token string) (session uuid.UUID, counter int64, payload, mac []byte, err error) {
	encoded, ok := strings.CutPrefix(token, refreshPrefix)
	raw, decodeErr := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if !ok || decodeErr != nil || len(raw) <= refreshSigned || raw[0] != refreshVersion {
		return uuid.Nil, 0, nil, nil, errRefreshToken
	}
	payload, mac = raw[:refreshSigned], raw[refreshSigned:]
	return uuid.UUID(payload[1:17]), int64(binary.BigEndian.Uint64(payload[17:])), payload, mac, nil
}
