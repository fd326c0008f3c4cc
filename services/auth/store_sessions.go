package auth

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"example.com/groundwork/pkg/problem"
)

// addSession begins a session, unless what the login was checked with has changed meanwhile, or a second factor has come. Whoever changes
// the password or the status, or confirms a factor, waits for the lock, and then finds this session among those to end.
func (s *store) addSession(ctx context.Context, id uuid.UUID, c credentials, acr string, amr []string, clientCT []byte) (session, error) {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		// First of all, so that the next statement sees what was committed before.
		if _, err := tx.Exec(ctx, `select from identities where id = $1 for share`, c.IdentityID); err != nil {
			return err
		}
		added, err := tx.Exec(ctx, `
			insert into sessions (id, identity_id, expires_at, acr, amr, authenticated_at, client_ct)
			select $1::uuid, i.id, now() + $2::interval, $3::text, $4::text[], now(), $7
			from identities i join passwords p on p.identity_id = i.id
			where i.id = $5 and i.status = 'active' and p.changed_at = $6 and p.blocked_at is null
			and ($3 = $8 or not exists (select from totp t where t.identity_id = i.id and t.confirmed_at is not null))
			for share of i, p`, id, sessionLifetime, acr, amr, c.IdentityID, c.ChangedAt, clientCT, acrFactor)
		if err == nil && added.RowsAffected() == 0 {
			err = errCredentials
		}
		if err != nil {
			return err
		}
		if err := forgetFailures(ctx, tx, c.IdentityID); err != nil {
			return err
		}
		return s.audit(ctx, tx, "session.begun", c.IdentityID, id)
	})
	if err != nil {
		return session{}, err
	}
	return s.session(ctx, id)
}

// forgetFailures forgets the wrong passwords before the right one.
func forgetFailures(ctx context.Context, tx pgx.Tx, identity uuid.UUID) error {
	_, err := tx.Exec(ctx, `update passwords set failed_count = 0 where identity_id = $1 and failed_count > 0`, identity)
	return err
}

// proved gives a session a fresh proof.
func (s *store) proved(ctx context.Context, id uuid.UUID, c credentials, acr string, amr []string) (session, error) {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `select from passwords where identity_id = $1 for update`, c.IdentityID); err != nil { // a hundredth failure comes before or after
			return err
		}
		done, err := tx.Exec(ctx, `
			update sessions set authenticated_at = now(), acr = $3, amr = $4
			where id = $1 and identity_id = $2 and revoked_at is null
			and exists (select from passwords where identity_id = $2 and changed_at = $5 and blocked_at is null)`, id, c.IdentityID, acr, amr, c.ChangedAt)
		if err == nil && done.RowsAffected() == 0 {
			err = errCredentials
		}
		if err != nil {
			return err
		}
		if err := forgetFailures(ctx, tx, c.IdentityID); err != nil {
			return err
		}
		return s.audit(ctx, tx, "session.proved", c.IdentityID, id)
	})
	if err != nil {
		return session{}, err
	}
	return s.session(ctx, id)
}

const selectSessions = `
	select s.id, s.identity_id, s.counter, s.created_at, coalesce(s.authenticated_at, s.created_at) as authenticated_at, s.rotated_at, s.expires_at,
	       s.revoked_at, s.acr, s.amr, s.client_ct, i.roles, i.version, i.status = 'active' as active, now() as now
	from sessions s join identities i on i.id = s.identity_id`

// session returns a session with the state of its identity, at the database's time.
func (s *store) session(ctx context.Context, id uuid.UUID) (session, error) {
	rows, _ := s.db.Query(ctx, selectSessions+` where s.id = $1`, id)
	x, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[session])
	if errors.Is(err, pgx.ErrNoRows) {
		err = errNoSession
	}
	return x, err
}

var errNoSession = problem.NotFound.New("not-found", "There is no such session.")

// sessions returns somebody's sessions that live and began before the one named, newest first.
func (s *store) sessions(ctx context.Context, identity, before uuid.UUID, limit int) ([]session, error) {
	rows, _ := s.db.Query(ctx, selectSessions+`
		where s.identity_id = $1 and s.id < $2 and s.revoked_at is null and s.expires_at > now() and s.rotated_at > now() - $4::interval
		order by s.id desc limit $3`, identity, before, limit, sessionIdle)
	return pgx.CollectRows(rows, pgx.RowToStructByName[session])
}

// rotate uses up the token with this counter, if it is still the current one of a session that lives. Of several requests with one
// token one succeeds; the others find the counter gone.
func (s *store) rotate(ctx context.Context, id uuid.UUID, counter int64) (rotated bool, err error) {
	done, err := s.db.Exec(ctx, `
		update sessions set counter = counter + 1, rotated_at = now()
		where id = $1 and counter = $2 and revoked_at is null and expires_at > now() and rotated_at > now() - $3::interval`,
		id, counter, sessionIdle)
	return done.RowsAffected() == 1, err
}

// endSession ends the session that a token names, once. One that names none of ours, as a key's and a module's, counts no more by itself.
func (s *store) endSession(ctx context.Context, id, token uuid.UUID) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		ended, err := s.closeSession(ctx, tx, id, "session.ended")
		if err != nil || ended || token == uuid.Nil {
			return err
		}
		return revoke(ctx, tx, token)
	})
}

// endSessionOf ends a session of the one who asks.
func (s *store) endSessionOf(ctx context.Context, identity, id uuid.UUID) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx); err != nil {
			return err
		}
		var theirs bool
		err := tx.QueryRow(ctx, `select revoked_at is null from sessions where id = $1 and identity_id = $2 for update`, id, identity).Scan(&theirs)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && !theirs {
			return errNoSession
		}
		if err != nil {
			return err
		}
		if _, err = s.closeSession(ctx, tx, id, "session.ended"); err != nil {
			return err
		}
		return dropChanges(ctx, tx, identity)
	})
}

// endOtherSessions ends all sessions of somebody but one.
func (s *store) endOtherSessions(ctx context.Context, identity, keep uuid.UUID) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx); err != nil {
			return err
		}
		if err := closeSessions(ctx, tx, identity, keep); err != nil {
			return err
		}
		return s.audit(ctx, tx, "sessions.ended", identity, keep)
	})
}

// closeSessions ends all sessions of an identity but one; uuid.Nil for all. What an intruder has asked for in one of them ends with it.
func closeSessions(ctx context.Context, tx pgx.Tx, identity, keep uuid.UUID) error {
	if err := dropChanges(ctx, tx, identity); err != nil {
		return err
	}
	rows, _ := tx.Query(ctx, `update sessions set revoked_at = now() where identity_id = $1 and id <> $2 and revoked_at is null returning id`, identity, keep)
	ended, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil || len(ended) == 0 {
		return err
	}
	return revoke(ctx, tx, ended...)
}

// endStolen ends a session whose old token was used and enqueues the mail that tells its owner.
func (s *store) endStolen(ctx context.Context, x session) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx, x.IdentityID); err != nil {
			return err
		}
		ended, err := s.closeSession(ctx, tx, x.ID, "session.refresh-reused")
		if err != nil || !ended {
			return err
		}
		if err := dropChanges(ctx, tx, x.IdentityID); err != nil {
			return err
		}
		return s.jobs.Add(ctx, tx, noticeMailArgs{x.IdentityID, "reuse"})
	})
}

func (s *store) closeSession(ctx context.Context, tx pgx.Tx, id uuid.UUID, kind string) (ended bool, err error) {
	var identity uuid.UUID
	err = tx.QueryRow(ctx, `update sessions set revoked_at = now() where id = $1 and revoked_at is null returning identity_id`, id).Scan(&identity)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err == nil {
		err = revoke(ctx, tx, id)
	}
	if err != nil {
		return false, err
	}
	return true, s.audit(ctx, tx, kind, identity, id)
}

// sweep deletes what is of no use any more, at most a thousand rows of each kind, and says whether there was less.
func (s *store) sweep(ctx context.Context) (done bool, err error) {
	done = true
	for _, step := range []struct {
		sql  string
		kept time.Duration
	}{
		{`delete from registrations where id in (select id from registrations where expires_at < now() - $1::interval limit 1000)`, 24 * time.Hour},
		{`delete from sessions where id in (select id from sessions where expires_at < now() - $1::interval limit 1000)`, 24 * time.Hour},
		{`delete from one_time_tokens where id in (select id from one_time_tokens where expires_at < now() - $1::interval limit 1000)`, 24 * time.Hour},
		{`delete from revocations where id in (select id from revocations where created_at < now() - $1::interval limit 1000)`, time.Hour},
		{`delete from api_keys where id in (select id from api_keys where least(expires_at, revoked_at) < now() - $1::interval limit 1000)`, keysKept},
		{`delete from audit_addresses where event_id in (select event_id from audit_addresses where created_at < now() - $1::interval limit 1000)`, addressesKept},
	} {
		gone, err := s.db.Exec(ctx, step.sql, step.kept)
		if err != nil {
			return false, err
		}
		done = done && gone.RowsAffected() < 1000
	}
	return done, nil
}
