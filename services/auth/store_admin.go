package auth

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/postgres"
)

// account is an identity as those see it who run this.
type account struct {
	ID           uuid.UUID
	EmailCT      []byte
	EmailIndex   []byte
	Status       string
	Roles        []string
	SecondFactor bool
	Locked       bool
	CreatedAt    time.Time
}

func (a account) api(email string) authv1.Account {
	return authv1.Account{
		Id: a.ID, Email: email, Status: authv1.AccountStatus(a.Status), Roles: a.Roles, HasSecondFactor: a.SecondFactor, IsLocked: a.Locked,
		CreatedAt: a.CreatedAt.UTC(),
	}
}

const selectAccounts = `
	select i.id, i.email_ct, i.email_index, i.status, i.roles, i.created_at,
	       p.blocked_at is not null or coalesce(t.failed_count >= 100, false) as locked, t.confirmed_at is not null as second_factor
	from identities i join passwords p on p.identity_id = i.id left join totp t on t.identity_id = i.id` // 100 is failuresAllowed

func (s *store) account(ctx context.Context, id uuid.UUID) (account, error) {
	return oneAccount(ctx, s.db, `i.id = $1`, id)
}

// accountByAddress finds somebody by the index of an address.
func (s *store) accountByAddress(ctx context.Context, emailIndex []byte) (account, error) {
	return oneAccount(ctx, s.db, `i.email_index = $1`, emailIndex)
}

func oneAccount(ctx context.Context, db postgres.DB, where string, arg any) (account, error) {
	rows, _ := db.Query(ctx, selectAccounts+` where `+where, arg)
	a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[account])
	if errors.Is(err, pgx.ErrNoRows) {
		err = errNoAccount
	}
	return a, err
}

// setRoles says what somebody may do. Their tokens from before count no more; their sessions go on.
func (s *store) setRoles(ctx context.Context, id uuid.UUID, roles []string) (a account, err error) {
	err = s.ofAccount(ctx, id, func(tx pgx.Tx, before account) error {
		if _, err := tx.Exec(ctx, `update identities set roles = $2, version = version + 1 where id = $1`, id, roles); err != nil {
			return err
		}
		if err := revokeOlder(ctx, tx, id); err != nil {
			return err
		}
		if err := s.auditDetail(ctx, tx, "roles.changed", id, uuid.Nil, strings.Join(roles, " ")); err != nil {
			return err
		}
		a, err = oneAccount(ctx, tx, `i.id = $1`, id)
		return err
	})
	return a, err
}

// ofAccount changes something about somebody, under the lock of their row.
func (s *store) ofAccount(ctx context.Context, id uuid.UUID, change func(tx pgx.Tx, a account) error) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx, id); err != nil {
			return err
		}
		a, err := oneAccount(ctx, tx, `i.id = $1`, id)
		if err != nil {
			return err
		}
		return change(tx, a)
	})
}

// disable keeps somebody out at once. Twice is once.
func (s *store) disable(ctx context.Context, id uuid.UUID) error {
	return s.ofAccount(ctx, id, func(tx pgx.Tx, a account) error {
		if a.Status == "disabled" {
			return nil
		}
		if err := takeBack(ctx, tx, id, uuid.Nil); err != nil {
			return err
		}
		if err := s.setStatus(ctx, tx, id, "disabled", "identity.disabled"); err != nil {
			return err
		}
		return revokeOlder(ctx, tx, id)
	})
}

// enable lets somebody in again. Twice is once.
func (s *store) enable(ctx context.Context, id uuid.UUID) error {
	return s.ofAccount(ctx, id, func(tx pgx.Tx, a account) error {
		if a.Status == "active" {
			return nil
		}
		return s.setStatus(ctx, tx, id, "active", "identity.enabled")
	})
}

func (s *store) setStatus(ctx context.Context, tx pgx.Tx, id uuid.UUID, status, kind string) error {
	if _, err := tx.Exec(ctx, `update identities set status = $2, version = version + 1 where id = $1`, id, status); err != nil {
		return err
	}
	// only with users:
	if err := s.jobs.Add(ctx, tx, provisionArgs{id}); err != nil {
		return err
	}
	// end users
	return s.audit(ctx, tx, kind, id, uuid.Nil)
}

// unlock opens an account that too many wrong passwords have closed.
func (s *store) unlock(ctx context.Context, id uuid.UUID) (emailIndex []byte, err error) {
	err = s.ofAccount(ctx, id, func(tx pgx.Tx, a account) error {
		emailIndex = a.EmailIndex
		if _, err := tx.Exec(ctx, `update passwords set failed_count = 0, blocked_at = null where identity_id = $1`, id); err != nil {
			return err
		}
		if err := forgetFailedCodes(ctx, tx, id); err != nil {
			return err
		}
		return s.audit(ctx, tx, "password.unlocked", id, uuid.Nil)
	})
	return emailIndex, err
}

// endSessionsOf ends all of somebody's sessions.
func (s *store) endSessionsOf(ctx context.Context, id uuid.UUID) error {
	return s.ofAccount(ctx, id, func(tx pgx.Tx, _ account) error {
		if err := takeBack(ctx, tx, id, uuid.Nil); err != nil {
			return err
		}
		return s.audit(ctx, tx, "sessions.ended", id, uuid.Nil)
	})
}

// endKeysOf has all of somebody's keys count no more.
func (s *store) endKeysOf(ctx context.Context, id uuid.UUID) error {
	return s.ofAccount(ctx, id, func(tx pgx.Tx, _ account) error {
		rows, _ := tx.Query(ctx, `update api_keys set revoked_at = now() where owner_id = $1 and revoked_at is null returning id`, id)
		ended, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil {
			return err
		}
		if err := revoke(ctx, tx, ended...); err != nil {
			return err
		}
		return s.audit(ctx, tx, "keys.ended", id, uuid.Nil)
	})
}

// removeFactor takes away the second factor of somebody who has lost it, or of an intruder. Who comes in then has to know the password.
func (s *store) removeFactor(ctx context.Context, id uuid.UUID) (emailIndex []byte, err error) {
	err = s.ofAccount(ctx, id, func(tx pgx.Tx, a account) error {
		emailIndex = a.EmailIndex
		gone, err := tx.Exec(ctx, `delete from totp where identity_id = $1`, id)
		if err == nil && gone.RowsAffected() == 0 {
			err = errNoFactor
		}
		if err != nil {
			return err
		}
		if err := takeBack(ctx, tx, id, uuid.Nil); err != nil {
			return err
		}
		if err := s.audit(ctx, tx, "mfa.removed", id, uuid.Nil); err != nil {
			return err
		}
		return s.jobs.Add(ctx, tx, noticeMailArgs{id, "factor-changed"})
	})
	return emailIndex, err
}

// revoke has the tokens count no more that name one of these as their session, or are one of these.
func revoke(ctx context.Context, tx pgx.Tx, ids ...uuid.UUID) error {
	_, err := tx.Exec(ctx, `
		insert into revocations (id, below, created_at) select id, $2, clock_timestamp() from unnest($1::uuid[]) as i (id)
		on conflict (id) do nothing`, ids, int64(authn.Whatever))
	return err
}

// revokeOlder has those tokens of somebody count no more that go by an older version of their identity.
func revokeOlder(ctx context.Context, tx pgx.Tx, identity uuid.UUID) error {
	_, err := tx.Exec(ctx, `
		insert into revocations (id, below, created_at) select id, version, clock_timestamp() from identities where id = $1
		on conflict (id) do update set below = excluded.below, created_at = excluded.created_at`, identity)
	return err
}

// stillIn comes first in a change that outlives the token it is asked for with. It refuses one that was revoked, of which this process may not
// have heard yet; locked is whom the change is about, and who asks, so that whoever takes the account back meanwhile comes before or after.
func stillIn(ctx context.Context, tx pgx.Tx, about ...uuid.UUID) error {
	caller := authn.From(ctx)
	if _, err := tx.Exec(ctx, `select from identities where id = any($1) order by id for update`, append(about, caller.UserID)); err != nil {
		return err
	}
	var revoked bool
	err := tx.QueryRow(ctx, `select exists (select from revocations where id in ($1, $2, $3) and below > $4)`,
		caller.SessionID, caller.UserID, caller.TokenID, caller.Version).Scan(&revoked)
	if err == nil && revoked {
		err = authn.Invalid(errRevoked)
	}
	return err
}

var errRevoked = errors.New("revoked")

// revocations are those that still count.
func (s *store) revocations(ctx context.Context) ([]authn.Revocation, error) {
	rows, _ := s.db.Query(ctx, `select id, below, created_at from revocations where created_at > now() - $1::interval`, authn.RevocationsKept)
	return pgx.CollectRows(rows, pgx.RowToStructByName[authn.Revocation])
}
