package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"example.com/groundwork/pkg/problem"
)

const selectKeys = `
	select k.id, k.owner_id, k.name, k.scopes, k.digest, k.previous_digest, k.previous_until, k.created_at, k.expires_at, k.last_used_at,
	       coalesce(i.status = 'active', false) as owner_active, coalesce(i.roles, '{}') as owner_roles, coalesce(i.version, 0) as owner_version, now() as now
	from api_keys k left join identities i on i.id = k.owner_id where k.revoked_at is null`

var errManyKeys = problem.Conflict.New("too-many-keys", "You have 50 keys; delete one first.")

var errNoKey = problem.NotFound.New("not-found", "There is no such key.")

// apiKey returns a key that was not deleted.
func (s *store) apiKey(ctx context.Context, id uuid.UUID) (apiKey, error) {
	rows, _ := s.db.Query(ctx, selectKeys+` and k.id = $1`, id)
	k, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[apiKey])
	if errors.Is(err, pgx.ErrNoRows) {
		err = errNoKey
	}
	return k, err
}

// apiKeys returns the keys of an owner (of nobody: service accounts) that were made before the one named, newest first.
func (s *store) apiKeys(ctx context.Context, owner *uuid.UUID, before uuid.UUID, limit int) ([]apiKey, error) {
	rows, _ := s.db.Query(ctx, selectKeys+` and k.owner_id is not distinct from $1 and k.id < $2 and k.expires_at > now() order by k.id desc limit $3`, owner, before, limit)
	return pgx.CollectRows(rows, pgx.RowToStructByName[apiKey])
}

func (s *store) addKey(ctx context.Context, k apiKey, lifetime time.Duration) (made apiKey, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx); err != nil {
			return err
		}
		if k.OwnerID != nil {
			if err := mayHaveAnother(ctx, tx, *k.OwnerID); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `insert into api_keys (id, owner_id, name, scopes, digest, expires_at) values ($1, $2, $3, $4, $5, now() + $6)`,
			k.ID, k.OwnerID, k.Name, k.Scopes, k.Digest, lifetime)
		if err != nil {
			return err
		}
		if k.OwnerID != nil { // an intruder's key outlives a new password, so the owner hears of it
			if err := s.jobs.Add(ctx, tx, noticeMailArgs{*k.OwnerID, "key-made"}); err != nil {
				return err
			}
		}
		return s.auditDetail(ctx, tx, "key.made", k.subject(), k.ID, strings.Join(k.Scopes, " "))
	})
	if err != nil {
		return made, err
	}
	return s.apiKey(ctx, k.ID)
}

// mayHaveAnother refuses a key beyond those that one may have. Whoever asks for several at once gets them one after the other: the owner is locked.
func mayHaveAnother(ctx context.Context, tx pgx.Tx, owner uuid.UUID) error {
	var have int
	err := tx.QueryRow(ctx, `select count(*) from api_keys where owner_id = $1 and revoked_at is null and expires_at > now()`, owner).Scan(&have)
	if err == nil && have >= keysOfOne {
		err = errManyKeys
	}
	return err
}

// rotateKey gives a key another secret, for whoever might make it; the one before counts for a while.
func (s *store) rotateKey(ctx context.Context, id uuid.UUID, owner *uuid.UUID, digest []byte, allowed []string) (k apiKey, err error) {
	err = s.changeKey(ctx, id, owner, "key.rotated", func(tx pgx.Tx, scopes []string) error {
		if slices.ContainsFunc(scopes, func(scope string) bool { return !slices.Contains(allowed, scope) }) {
			return errMoreThanCaller
		}
		_, err := tx.Exec(ctx, `update api_keys set previous_digest = digest, previous_until = now() + $3, digest = $2 where id = $1`, id, digest, keyOverlap)
		if err != nil || owner == nil {
			return err
		}
		return s.jobs.Add(ctx, tx, noticeMailArgs{*owner, "key-made"})
	})
	if err != nil {
		return k, err
	}
	return s.apiKey(ctx, id)
}

var errMoreThanCaller = problem.Forbidden.New("insufficient-scope", "The key has a scope that your token lacks, so it is not yours to give.")

// deleteKey has a key count no more, and its tokens.
func (s *store) deleteKey(ctx context.Context, id uuid.UUID, owner *uuid.UUID) error {
	return s.changeKey(ctx, id, owner, "key.deleted", func(tx pgx.Tx, _ []string) error {
		if _, err := tx.Exec(ctx, `update api_keys set revoked_at = now() where id = $1`, id); err != nil {
			return err
		}
		return revoke(ctx, tx, id)
	})
}

// changeKey changes a key of this owner.
func (s *store) changeKey(ctx context.Context, id uuid.UUID, owner *uuid.UUID, kind string, change func(tx pgx.Tx, scopes []string) error) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		if err := stillIn(ctx, tx); err != nil {
			return err
		}
		var subject uuid.UUID
		var scopes []string
		err := tx.QueryRow(ctx, `
			select coalesce(owner_id, id), scopes from api_keys where id = $1 and owner_id is not distinct from $2 and revoked_at is null for update`, id, owner).Scan(&subject, &scopes)
		if errors.Is(err, pgx.ErrNoRows) {
			return errNoKey
		}
		if err != nil {
			return err
		}
		if err := change(tx, scopes); err != nil {
			return err
		}
		return s.auditDetail(ctx, tx, kind, subject, id, strings.Join(scopes, " "))
	})
}

// keyUsed notes that a key was used, and in the audit trail, once a minute.
func (s *store) keyUsed(ctx context.Context, k apiKey) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		noted, err := tx.Exec(ctx, `
			update api_keys set last_used_at = now() where id = $1 and (last_used_at is null or last_used_at < now() - interval '1 minute')`, k.ID)
		if err != nil || noted.RowsAffected() == 0 {
			return err
		}
		return s.audit(ctx, tx, "key.used", k.subject(), k.ID)
	})
}
