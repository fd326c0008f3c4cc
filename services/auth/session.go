package auth

import (
	"encoding/binary"
	"time"

	"github.com/google/uuid"
	"github.com/oapi-codegen/nullable"

	authv1 "example.com/groundwork/api/auth/v1"
)

const (
	sessionIdle     = 14 * 24 * time.Hour // without a refresh
	sessionLifetime = 90 * 24 * time.Hour
	refreshGrace    = 30 * time.Second // a lost answer or a second tab may send the last token again
)

// session is one login, as the database has it at now.
type session struct {
	ID              uuid.UUID
	IdentityID      uuid.UUID
	Counter         int64
	CreatedAt       time.Time
	AuthenticatedAt time.Time // when its owner last proved who they are
	RotatedAt       time.Time
	ExpiresAt       time.Time
	RevokedAt       *time.Time
	ACR             string
	AMR             []string
	ClientCT        []byte // who began it; nil where that was not kept
	Roles           []string
	Version         int64 // of the identity
	Active          bool  // the identity is
	Now             time.Time
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

// refreshSays is what a refresh token says.
func refreshSays(session uuid.UUID, counter int64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte{}, session[:]...), uint64(counter))
}

// refreshOf reads it.
func refreshOf(says []byte) (session uuid.UUID, counter int64) {
	return uuid.UUID(says[:16]), int64(binary.BigEndian.Uint64(says[16:]))
}

// api is the session as its owner sees it; current is the one that asks.
func (s session) api(current uuid.UUID, c client) authv1.Session {
	return authv1.Session{
		Id: s.ID, IsCurrent: s.ID == current, CreatedAt: s.CreatedAt.UTC(), AuthenticatedAt: s.AuthenticatedAt.UTC(), LastUsedAt: s.RotatedAt.UTC(),
		ExpiresAt: s.ExpiresAt.UTC(), Methods: s.AMR, UserAgent: orNull(c.UserAgent), Network: orNull(c.Network),
	}
}

func orNull(text string) nullable.Nullable[string] {
	if text == "" {
		return nullable.NewNullNullable[string]()
	}
	return nullable.NewNullableWithValue(text)
}
