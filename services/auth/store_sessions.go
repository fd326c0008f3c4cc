package auth

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"example.com/groundwork/pkg/postgres"
	"example.com/groundwork/pkg/problem"
)

// addSession begins a session, unless what the login was checked with has changed meanwhile. Whoever changes the password or the status
// waits for the lock, and then finds this session among those to end.
func (s *store) addSession(ctx context.Context, id uuid.UUID, c credentials, acr string, amr []string) (session, error) {
	err := postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		added, err := tx.Exec(ctx, `
			insert into sessions (id, identity_id, expires_at, acr, amr)
			select $1::uuid, i.id, now() + $2::interval, $3::text, $4::text[]
			from identities i join passwords p on p.identity_id = i.id
			where i.id = $5 and i.status = 'active' and p.changed_at = $6
			for share`, id, sessionLifetime, acr, amr, c.IdentityID, c.ChangedAt)
		if err == nil && added.RowsAffected() == 0 {
			err = errCredentials
		}
		if err != nil {
			return err
		}
		return audit(ctx, tx, "session.begun", c.IdentityID, id)
	})
	if err != nil {
		return session{}, err
	}
	return s.session(ctx, id)
}

// session returns a session with the state of its identity, at the database's time.
func (s *store) session(ctx context.Context, id uuid.UUID) (session, error) {
	rows, _ := s.db.Query(ctx, `
		select s.id, s.identity_id, s.counter, s.created_at, s.rotated_at, s.expires_at, s.revoked_at, s.acr, s.amr,
		       i.roles, i.status = 'active' as active, now() as now
		from sessions s join identities i on i.id = s.identity_id where s.id = $1`, id)
	x, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[session])
	if errors.Is(err, pgx.ErrNoRows) {
		err = problem.NotFound.New("not-found", "There is no such session.")
	}
	return x, err
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

// endSession ends a session, once.
func (s *store) endSession(ctx context.Context, id uuid.UUID) error {
	return postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		_, err := closeSession(ctx, tx, id, "session.ended")
		return err
	})
}

// endStolen ends a session whose old token was used and enqueues the mail that tells its owner.
func (s *store) endStolen(ctx context.Context, x session) error {
	return postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		ended, err := closeSession(ctx, tx, x.ID, "session.refresh-reused")
		if err != nil || !ended {
			return err
		}
		return s.jobs.Add(ctx, tx, noticeMailArgs{x.IdentityID, "reuse"})
	})
}

func closeSession(ctx context.Context, tx pgx.Tx, id uuid.UUID, kind string) (ended bool, err error) {
	var identity uuid.UUID
	err = tx.QueryRow(ctx, `update sessions set revoked_at = now() where id = $1 and revoked_at is null returning identity_id`, id).Scan(&identity)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, audit(ctx, tx, kind, identity, id)
}

// sweep deletes what has been of no use for a day, at most a thousand rows of each kind, and says whether there was less.
func (s *store) sweep(ctx context.Context) (done bool, err error) {
	registrations, err := s.db.Exec(ctx, `
		delete from registrations where id in (select id from registrations where expires_at < now() - interval '1 day' limit 1000)`)
	if err != nil {
		return false, err
	}
	sessions, err := s.db.Exec(ctx, `
		delete from sessions where id in (select id from sessions where expires_at < now() - interval '1 day' limit 1000)`)
	return registrations.RowsAffected() < 1000 && sessions.RowsAffected() < 1000, err
}
