package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/jobs"
	"example.com/groundwork/pkg/postgres"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/seal"
)

const registrationLifetime = 24 * time.Hour

type store struct {
	db     *pgxpool.Pool
	jobs   *jobs.Queue
	keys   *seal.Keys // for the addresses of the audit trail
	events metric.Int64Counter
}

// inTx runs a transaction. What it audits is sealed inside, so the keys are had before: to read them with its connection in hand would wait for
// one more, which everybody else in a full pool waits for as well.
func (s *store) inTx(ctx context.Context, do func(tx pgx.Tx) error) error {
	if err := s.keys.Ready(ctx); err != nil {
		return err
	}
	return postgres.InTx(ctx, s.db, do)
}

type registration struct {
	ID          uuid.UUID
	EmailCT     []byte
	EmailIndex  []byte
	Hash        string
	TokenDigest []byte
}

type identity struct {
	ID         uuid.UUID
	EmailCT    []byte
	EmailIndex []byte
	Roles      []string
	Status     string
	Version    int64
	CreatedAt  time.Time
}

func (i identity) api() authv1.Identity {
	return authv1.Identity{Id: i.ID, Roles: i.Roles, CreatedAt: i.CreatedAt.UTC()}
}

var (
	errToken       = problem.Malformed.New("token-invalid", "The token is wrong, used up or too old.")
	errCredentials = problem.Unauthenticated.New("invalid-credentials", "The address or the password is wrong.")
)

// addRegistration notes the registration and the job that mails about it.
func (s *store) addRegistration(ctx context.Context, r registration) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			insert into registrations (id, email_ct, email_index, hash, token_digest, expires_at)
			values ($1, $2, $3, $4, $5, now() + $6)`,
			r.ID, r.EmailCT, r.EmailIndex, r.Hash, r.TokenDigest, registrationLifetime)
		if err != nil {
			return err
		}
		return s.jobs.Add(ctx, tx, registrationMailArgs{r.ID})
	})
}

// registrationByToken returns a registration that is still open, or token-invalid.
func (s *store) registrationByToken(ctx context.Context, digest []byte) (registration, error) {
	rows, _ := s.db.Query(ctx, `
		select id, email_ct, email_index, hash, token_digest from registrations where token_digest = $1 and expires_at > now()`, digest)
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[registration])
	if errors.Is(err, pgx.ErrNoRows) {
		return r, errToken
	}
	return r, err
}

// registrationToMail returns a registration with what decides about its mail; NotFound when it was used or became too old meanwhile.
func (s *store) registrationToMail(ctx context.Context, id uuid.UUID) (emailCT []byte, known bool, lastHour int, err error) {
	err = s.db.QueryRow(ctx, `
		select r.email_ct,
		       exists (select from identities i where i.email_index = r.email_index),
		       (select count(*) from registrations o where o.email_index = r.email_index and o.created_at > now() - interval '1 hour' and o.id <= r.id)
		from registrations r where r.id = $1 and r.expires_at > now()`, id).Scan(&emailCT, &known, &lastHour)
	if errors.Is(err, pgx.ErrNoRows) {
		err = problem.NotFound.New("not-found", "The registration is gone.")
	}
	return emailCT, known, lastHour, err
}

// confirm makes the identity of a registration, with that registration's password, and the job that tells others of it. One of
// several requests wins; the address's other registrations go. Where there were several, or somebody wants to move an account to the address,
// whoever reads the mails may have taken one for the other: then the password is nobody's, and one is chosen by the mail of a reset.
func (s *store) confirm(ctx context.Context, registration uuid.UUID, i identity, nobodys string, reset oneTimeToken) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		var hash string
		var contested bool
		err := tx.QueryRow(ctx, `
			with gone as (
			  delete from registrations where email_index = (select email_index from registrations where id = $1) returning id, hash, expires_at > now() as open)
			select hash, (select count(*) filter (where open) > 1 from gone)
			  or exists (select from one_time_tokens where email_index = $2 and kind = 'email-change' and expires_at > now() and dropped_at is null)
			from gone where id = $1`, registration, i.EmailIndex).Scan(&hash, &contested)
		if errors.Is(err, pgx.ErrNoRows) {
			return errToken
		}
		if err != nil {
			return err
		}
		if contested {
			hash = nobodys
		}
		if err := s.insertIdentity(ctx, tx, i, hash); err != nil {
			return err
		}
		if contested {
			if err := s.insertOneTimeToken(ctx, tx, reset); err != nil {
				return err
			}
		}
		return s.audit(ctx, tx, "identity.confirmed", i.ID, uuid.Nil)
	})
	if postgres.Violates(err, "identities_email_key") {
		return errToken // somebody has the address already; whoever asks learns no more
	}
	return err
}

func (s *store) insertIdentity(ctx context.Context, tx pgx.Tx, i identity, hash string) error {
	_, err := tx.Exec(ctx, `insert into identities (id, email_ct, email_index, roles) values ($1, $2, $3, $4)`, i.ID, i.EmailCT, i.EmailIndex, i.Roles)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `insert into passwords (identity_id, hash) values ($1, $2)`, i.ID, hash); err != nil {
		return err
	}
	// only with users:
	if err := s.jobs.Add(ctx, tx, provisionArgs{i.ID}); err != nil {
		return err
	}
	// end users
	return nil
}

// makeIdentity makes an identity; errExists when somebody has its address.
func (s *store) makeIdentity(ctx context.Context, i identity, hash string) (made identity, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx); err != nil {
			return err
		}
		if err := s.insertIdentity(ctx, tx, i, hash); err != nil {
			return err
		}
		if err := s.auditDetail(ctx, tx, "identity.made", i.ID, uuid.Nil, strings.Join(i.Roles, " ")); err != nil {
			return err
		}
		made, err = readIdentity(ctx, tx, i.ID)
		return err
	})
	if postgres.Violates(err, "identities_email_key") {
		return made, errExists
	}
	return made, err
}

// replaceIdentity sets an identity's password and roles, ends its sessions and enqueues the mail that tells its owner.
func (s *store) replaceIdentity(ctx context.Context, id uuid.UUID, roles []string, hash string) (stands identity, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx, id); err != nil {
			return err
		}
		before, err := readIdentity(ctx, tx, id)
		if err != nil {
			return err
		}
		for _, change := range []struct {
			sql  string
			args []any
		}{
			{`update identities set roles = $2, version = version + 1 where id = $1`, []any{id, roles}},
			{`update passwords set hash = $2, changed_at = clock_timestamp(), failed_count = 0, blocked_at = null where identity_id = $1`, []any{id, hash}},
		} {
			if _, err := tx.Exec(ctx, change.sql, change.args...); err != nil {
				return err
			}
		}
		if err := takeBack(ctx, tx, id, uuid.Nil); err != nil {
			return err
		}
		if err := revokeOlder(ctx, tx, id); err != nil { // and what keys of theirs were given
			return err
		}
		now := strings.Join(roles, " ")
		if err := s.auditDetail(ctx, tx, "identity.replaced", id, uuid.Nil, now); err != nil {
			return err
		}
		if !slices.Equal(before.Roles, roles) {
			if err := s.auditDetail(ctx, tx, "roles.changed", id, uuid.Nil, now); err != nil {
				return err
			}
		}
		if err := s.jobs.Add(ctx, tx, noticeMailArgs{id, "replaced"}); err != nil {
			return err
		}
		stands, err = readIdentity(ctx, tx, id)
		return err
	})
	return stands, err
}

func (s *store) identity(ctx context.Context, id uuid.UUID) (identity, error) {
	return readIdentity(ctx, s.db, id)
}

func readIdentity(ctx context.Context, db postgres.DB, id uuid.UUID) (identity, error) {
	rows, _ := db.Query(ctx, `select id, email_ct, email_index, roles, status, version, created_at from identities where id = $1`, id)
	i, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[identity])
	if errors.Is(err, pgx.ErrNoRows) {
		err = errNoAccount
	}
	return i, err
}

// credentials are what a login is checked with; empty when there is no such address.
type credentials struct {
	IdentityID   uuid.UUID
	EmailIndex   []byte
	Hash         string
	ChangedAt    time.Time // when the password was
	Active       bool
	Blocked      bool // by too many wrong passwords in a row
	SecondFactor bool
}

const selectCredentials = `
	select i.id as identity_id, i.email_index, p.hash, p.changed_at, i.status = 'active' as active, p.blocked_at is not null as blocked,
	       exists (select from totp t where t.identity_id = i.id and t.confirmed_at is not null) as second_factor
	from identities i join passwords p on p.identity_id = i.id`

func (s *store) credentials(ctx context.Context, emailIndex []byte) (credentials, error) {
	rows, _ := s.db.Query(ctx, selectCredentials+` where i.email_index = $1`, emailIndex)
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[credentials])
	if errors.Is(err, pgx.ErrNoRows) {
		return credentials{EmailIndex: emailIndex}, nil
	}
	return c, err
}

// credentialsOf are those of somebody who is known.
func (s *store) credentialsOf(ctx context.Context, id uuid.UUID) (credentials, error) {
	rows, _ := s.db.Query(ctx, selectCredentials+` where i.id = $1`, id)
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[credentials])
	if errors.Is(err, pgx.ErrNoRows) {
		err = errNoAccount
	}
	return c, err
}

var errNoAccount = problem.NotFound.New("not-found", "There is no such account.")

// replaceHash stores the same password's newer hash, unless the password was changed meanwhile.
func (s *store) replaceHash(ctx context.Context, identity uuid.UUID, old, hash string) error {
	_, err := s.db.Exec(ctx, `update passwords set hash = $3 where identity_id = $1 and hash = $2`, identity, old, hash)
	return err
}
