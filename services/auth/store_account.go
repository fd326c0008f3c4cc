package auth

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"example.com/groundwork/pkg/postgres"
	"example.com/groundwork/pkg/problem"
)

// What a one-time token is for.
const (
	passwordReset = "password-reset"
	emailChange   = "email-change"
	resend        = "resend"
)

// oneTimeLifetimes: what lets somebody in is short-lived (ASVS 5.0, 6.5.5).
var oneTimeLifetimes = map[string]time.Duration{passwordReset: 10 * time.Minute, emailChange: time.Hour, resend: 10 * time.Minute}

// failuresAllowed is how many wrong passwords or codes in a row close an account to passwords (NIST SP 800-63B-4, section 3.2.2).
const failuresAllowed = 100

// oneTimeToken is what somebody asks for that only the owner of an address may have.
type oneTimeToken struct {
	ID         uuid.UUID
	Kind       string
	IdentityID *uuid.UUID // who asks, where that is known
	EmailCT    []byte
	EmailIndex []byte
	Digest     []byte `db:"-"` // of the token; it is written and never read
}

// addOneTimeToken notes what is asked for and the jobs that mail about it.
func (s *store) addOneTimeToken(ctx context.Context, t oneTimeToken) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx); err != nil {
			return err
		}
		return s.insertOneTimeToken(ctx, tx, t)
	})
}

func (s *store) insertOneTimeToken(ctx context.Context, tx pgx.Tx, t oneTimeToken) error {
	_, err := tx.Exec(ctx, `
		insert into one_time_tokens (id, kind, identity_id, email_ct, email_index, token_digest, expires_at)
		values ($1, $2, $3, $4, $5, $6, now() + $7)`,
		t.ID, t.Kind, t.IdentityID, t.EmailCT, t.EmailIndex, t.Digest, oneTimeLifetimes[t.Kind])
	if err != nil {
		return err
	}
	if err := s.jobs.Add(ctx, tx, oneTimeMailArgs{t.ID}); err != nil || t.IdentityID == nil {
		return err
	}
	return s.audit(ctx, tx, "email.change-asked", *t.IdentityID, uuid.Nil)
}

const oneTimeColumns = `t.id, t.kind, t.identity_id, t.email_ct, t.email_index`

// oneTimeToken returns what a token was mailed for, or token-invalid.
func (s *store) oneTimeToken(ctx context.Context, kind string, digest []byte) (oneTimeToken, error) {
	rows, _ := s.db.Query(ctx, `select `+oneTimeColumns+` from one_time_tokens t where t.token_digest = $1 and t.kind = $2 and t.expires_at > now()`, digest, kind)
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[oneTimeToken])
	if errors.Is(err, pgx.ErrNoRows) {
		return t, errToken
	}
	return t, err
}

// toMail is a one-time token with what decides about its mail.
type toMail struct {
	oneTimeToken
	Known        bool       // an account that may come in has the address
	Registration *uuid.UUID // the newest one of the address that is open
}

// oneTimeTokenToMail returns nothing, and no error, for one that was used, dropped or is too old by now.
func (s *store) oneTimeTokenToMail(ctx context.Context, id uuid.UUID) (*toMail, error) {
	rows, _ := s.db.Query(ctx, `
		select `+oneTimeColumns+`,
		       exists (select from identities i where i.email_index = t.email_index and (i.status = 'active' or t.kind = 'email-change')) as known,
		       (select r.id from registrations r where r.email_index = t.email_index and r.expires_at > now() order by r.id desc limit 1) as registration
		from one_time_tokens t where t.id = $1 and t.expires_at > now() and t.dropped_at is null`, id)
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[toMail])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return t, err
}

// mayBeMailed reports whether the mail about a token may go, and notes that it does: a few an hour of each kind go to an address, whoever asks
// for them, and one more when none of those counts any longer, so that a stranger who asks for many keeps nobody from theirs. A mail that is
// tried again may go.
func (s *store) mayBeMailed(ctx context.Context, t oneTimeToken) (may bool, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended(encode($1, 'hex') || $2, 0))`, t.EmailIndex, t.Kind); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `
			with mailed as (select expires_at, mailed_at from one_time_tokens where email_index = $2 and kind = $3 and mailed_at is not null),
			noted as (
			  update one_time_tokens set mailed_at = now() where id = $1 and (mailed_at is not null
			    or (select count(*) from mailed where mailed_at > now() - interval '1 hour') < $4 or not exists (select from mailed where expires_at > now()))
			  returning id)
			select exists (select from noted)`, t.ID, t.EmailIndex, t.Kind, mailsPerHour).Scan(&may)
	})
	return may, err
}

// useOneTimeTokens uses up a token, and with it the others of its kind that the address has; contested says that one of these was somebody
// else's and still counted. One of several requests wins.
func useOneTimeTokens(ctx context.Context, tx pgx.Tx, t oneTimeToken) (contested bool, err error) {
	var there bool
	err = tx.QueryRow(ctx, `
		with gone as (
		  delete from one_time_tokens where email_index = $1 and kind = $2
		  returning id, identity_id is distinct from $4 and expires_at > now() and dropped_at is null as rival)
		select coalesce(bool_or(id = $3), false), coalesce(bool_or(rival), false) from gone`, t.EmailIndex, t.Kind, t.ID, t.IdentityID).Scan(&there, &contested)
	if err == nil && !there {
		err = errToken
	}
	return contested, err
}

// resetPassword sets the password of whoever has the address of the token.
func (s *store) resetPassword(ctx context.Context, t oneTimeToken, hash string) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		var id uuid.UUID // locked first, here and elsewhere
		err := tx.QueryRow(ctx, `select id from identities where email_index = $1 and status = 'active' for update`, t.EmailIndex).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return errToken
		}
		if err != nil {
			return err
		}
		if _, err := useOneTimeTokens(ctx, tx, t); err != nil {
			return err
		}
		return s.newPassword(ctx, tx, id, hash, uuid.Nil, "password.reset")
	})
}

// changePassword replaces the password that was just proved, and ends the other sessions.
func (s *store) changePassword(ctx context.Context, c credentials, hash string, session uuid.UUID) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx); err != nil {
			return err
		}
		var same bool
		err := tx.QueryRow(ctx, `select changed_at = $2 from passwords where identity_id = $1 for update`, c.IdentityID, c.ChangedAt).Scan(&same)
		if err != nil {
			return err
		}
		if !same {
			return errCredentials
		}
		return s.newPassword(ctx, tx, c.IdentityID, hash, session, "password.changed")
	})
}

// dropChanges has the addresses that somebody has asked for, and not confirmed, come to nothing. The rows stay, as their mails count
// (mayBeMailed), with digests of no token. What was asked for by mail alone goes on: an intruder in a session cannot drop the owner's reset.
func dropChanges(ctx context.Context, tx pgx.Tx, identity uuid.UUID) error {
	return drop(ctx, tx, `identity_id = $1`, identity)
}

func drop(ctx context.Context, tx pgx.Tx, which string, identity uuid.UUID) error {
	_, err := tx.Exec(ctx, `update one_time_tokens set dropped_at = now(), token_digest = sha256(token_digest) where dropped_at is null and `+which, identity)
	return err
}

// takeBack ends all that an intruder may have begun: sessions, but for the one that is kept, changes of the address, and resets of the password.
func takeBack(ctx context.Context, tx pgx.Tx, identity, keep uuid.UUID) error {
	if err := drop(ctx, tx, `kind = 'password-reset' and email_index = (select email_index from identities where id = $1)`, identity); err != nil {
		return err
	}
	return closeSessions(ctx, tx, identity, keep)
}

// newPassword is also what the mail about a change of address advises who has not asked for it.
func (s *store) newPassword(ctx context.Context, tx pgx.Tx, id uuid.UUID, hash string, keep uuid.UUID, kind string) error {
	_, err := tx.Exec(ctx, `update passwords set hash = $2, changed_at = clock_timestamp(), failed_count = 0, blocked_at = null where identity_id = $1`, id, hash)
	if err != nil {
		return err
	}
	if err := takeBack(ctx, tx, id, keep); err != nil {
		return err
	}
	if err := s.audit(ctx, tx, kind, id, keep); err != nil {
		return err
	}
	return s.jobs.Add(ctx, tx, noticeMailArgs{id, "password-changed"})
}

// moveAddress gives an identity the address that its owner has confirmed, and enqueues the job that tells others of it. Where somebody else has
// asked for that address as well, whoever reads the mails may have taken one for the other: then nobody gets it, and what was asked for is dropped.
func (s *store) moveAddress(ctx context.Context, t oneTimeToken, emailCT []byte) error {
	id, contested := *t.IdentityID, false
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx, id); err != nil {
			return err
		}
		moving, err := useOneTimeTokens(ctx, tx, t)
		if err != nil {
			return err
		}
		var registering bool
		err = tx.QueryRow(ctx, `
			with gone as (delete from registrations where email_index = $1 returning expires_at > now() as open)
			select coalesce(bool_or(open), false) from gone`, t.EmailIndex).Scan(&registering)
		if err != nil {
			return err
		}
		if contested = moving || registering; contested {
			return s.audit(ctx, tx, "email.change-contested", id, uuid.Nil)
		}
		moved, err := tx.Exec(ctx, `
			update identities set email_ct = $2, email_index = $3, version = version + 1 where id = $1 and status = 'active'`, id, emailCT, t.EmailIndex)
		if err == nil && moved.RowsAffected() == 0 {
			err = errToken
		}
		if err == nil {
			err = dropChanges(ctx, tx, id)
		}
		if err != nil {
			return err
		}
		// only with users:
		if err := s.jobs.Add(ctx, tx, provisionArgs{id}); err != nil {
			return err
		}
		// end users
		return s.audit(ctx, tx, "email.changed", id, uuid.Nil)
	})
	if postgres.Violates(err, "identities_email_key") {
		return errToken // somebody has the address by now; whoever asks learns no more
	}
	if err == nil && contested {
		err = errContested
	}
	return err
}

var errContested = problem.Conflict.New("address-contested", "Somebody else has asked for this address as well, so it went to nobody: ask once more.")

// failed counts a wrong password or code; nobody's, too, so that it takes as long. What it counts may be lost in a crash of Postgres, but for
// the one that closes the account.
func (s *store) failed(ctx context.Context, id uuid.UUID) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local synchronous_commit = off`); err != nil {
			return err
		}
		if err := s.audit(ctx, tx, "login.refused", id, uuid.Nil); err != nil {
			return err
		}
		var closes bool
		err := tx.QueryRow(ctx, `
			update passwords set failed_count = failed_count + 1, blocked_at = case when failed_count + 1 >= $2 then coalesce(blocked_at, now()) else blocked_at end
			where identity_id = $1 returning coalesce(blocked_at = now(), false)`, id, failuresAllowed).Scan(&closes)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && !closes {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `set local synchronous_commit = on`); err != nil {
			return err
		}
		if err := s.audit(ctx, tx, "password.blocked", id, uuid.Nil); err != nil {
			return err
		}
		return s.jobs.Add(ctx, tx, noticeMailArgs{id, "blocked"})
	})
}

// factor is a second factor.
type factor struct {
	SecretCT []byte
	LastStep int64
}

// totp returns somebody's second factor, whether it counts or not.
func (s *store) totp(ctx context.Context, id uuid.UUID) (factor, error) {
	rows, _ := s.db.Query(ctx, `select secret_ct, last_step from totp where identity_id = $1`, id)
	f, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[factor])
	if errors.Is(err, pgx.ErrNoRows) {
		err = errNoFactor
	}
	return f, err
}

var errNoFactor = problem.NotFound.New("not-found", "There is no second factor.")

// putTOTP keeps a secret that does not count yet, in place of another such one.
func (s *store) putTOTP(ctx context.Context, id uuid.UUID, secretCT []byte) error {
	put, err := s.db.Exec(ctx, `
		insert into totp (identity_id, secret_ct) values ($1, $2)
		on conflict (identity_id) do update set secret_ct = excluded.secret_ct, created_at = now() where totp.confirmed_at is null`, id, secretCT)
	if err == nil && put.RowsAffected() == 0 {
		err = problem.Conflict.New("totp-exists", "There is a second factor; take it away first.")
	}
	return err
}

// confirmTOTP has a secret count, with its first code used and its recovery codes, and ends the other sessions: those began without it.
func (s *store) confirmTOTP(ctx context.Context, id, session uuid.UUID, secretCT []byte, step int64, digests [][]byte) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx, id); err != nil { // and a login without it waits (addSession)
			return err
		}
		done, err := tx.Exec(ctx, `
			update totp set confirmed_at = now(), last_step = $3 where identity_id = $1 and secret_ct = $2 and confirmed_at is null`, id, secretCT, step)
		if err != nil {
			return err
		}
		if done.RowsAffected() == 0 {
			return problem.Conflict.New("totp-exists", "There is a second factor; take it away first.")
		}
		if _, err := tx.Exec(ctx, `update sessions set acr = $2, amr = '{pwd,otp,mfa}', authenticated_at = now() where id = $1`, session, acrFactor); err != nil {
			return err
		}
		if err := closeSessions(ctx, tx, id, session); err != nil {
			return err
		}
		return s.newCodes(ctx, tx, id, digests, "mfa.begun")
	})
}

// newCodes replaces the recovery codes, and tells the owner what has happened.
func (s *store) newCodes(ctx context.Context, tx pgx.Tx, id uuid.UUID, digests [][]byte, kind string) error {
	if _, err := tx.Exec(ctx, `delete from recovery_codes where identity_id = $1`, id); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `insert into recovery_codes (identity_id, digest) select $1, unnest($2::bytea[])`, id, digests); err != nil {
		return err
	}
	if err := s.audit(ctx, tx, kind, id, uuid.Nil); err != nil {
		return err
	}
	return s.jobs.Add(ctx, tx, noticeMailArgs{id, "factor-changed"})
}

// replaceRecoveryCodes gives new ones to who has a second factor.
func (s *store) replaceRecoveryCodes(ctx context.Context, id uuid.UUID, digests [][]byte) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx, id); err != nil {
			return err
		}
		var there bool
		err := tx.QueryRow(ctx, `select confirmed_at is not null from totp where identity_id = $1 for update`, id).Scan(&there)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && !there {
			return errNoFactor
		}
		if err != nil {
			return err
		}
		return s.newCodes(ctx, tx, id, digests, "mfa.codes-replaced")
	})
}

// deleteTOTP takes a second factor away; its recovery codes go with it.
func (s *store) deleteTOTP(ctx context.Context, id uuid.UUID) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx, id); err != nil {
			return err
		}
		gone, err := tx.Exec(ctx, `delete from totp where identity_id = $1`, id)
		if err != nil {
			return err
		}
		if gone.RowsAffected() == 0 {
			return errNoFactor
		}
		if err := s.audit(ctx, tx, "mfa.ended", id, uuid.Nil); err != nil {
			return err
		}
		return s.jobs.Add(ctx, tx, noticeMailArgs{id, "factor-changed"})
	})
}

// useStep uses up a step of time. Of several requests with one code one wins.
func (s *store) useStep(ctx context.Context, id uuid.UUID, step int64) (won bool, err error) {
	done, err := s.db.Exec(ctx, `
		update totp set last_step = $2, failed_count = 0
		where identity_id = $1 and last_step < $2 and confirmed_at is not null and failed_count < $3`, id, step, failuresAllowed)
	return done.RowsAffected() == 1, err
}

// codesTried is how many wrong codes in a row the owner is told of: whoever sends them knows the password.
const codesTried = 5

// failedCode counts a wrong code.
func (s *store) failedCode(ctx context.Context, id uuid.UUID) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		var failed int
		err := tx.QueryRow(ctx, `update totp set failed_count = failed_count + 1 where identity_id = $1 returning failed_count`, id).Scan(&failed)
		if errors.Is(err, pgx.ErrNoRows) { // it was taken away meanwhile
			return nil
		}
		if err != nil || failed != codesTried {
			return err
		}
		if err := s.audit(ctx, tx, "mfa.codes-tried", id, uuid.Nil); err != nil {
			return err
		}
		return s.jobs.Add(ctx, tx, noticeMailArgs{id, "codes-tried"})
	})
}

// forgetFailedCodes lets codes of the app count again.
func forgetFailedCodes(ctx context.Context, tx pgx.Tx, id uuid.UUID) error {
	_, err := tx.Exec(ctx, `update totp set failed_count = 0 where identity_id = $1 and failed_count > 0`, id)
	return err
}

// useRecoveryCode uses up a recovery code, and tells the owner.
func (s *store) useRecoveryCode(ctx context.Context, id uuid.UUID, digest []byte) (won bool, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		done, err := tx.Exec(ctx, `update recovery_codes set used_at = now() where identity_id = $1 and digest = $2 and used_at is null`, id, digest)
		if won = done.RowsAffected() == 1; err != nil || !won {
			return err
		}
		if err := forgetFailedCodes(ctx, tx, id); err != nil {
			return err
		}
		if err := s.audit(ctx, tx, "mfa.recovery-code-used", id, uuid.Nil); err != nil {
			return err
		}
		return s.jobs.Add(ctx, tx, noticeMailArgs{id, "recovery-used"})
	})
	return won, err
}
