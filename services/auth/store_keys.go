package auth

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"example.com/groundwork/pkg/seal"
)

// sealed is where ciphertexts stand; another column of them wants a line here, and an index and the right to update it as these have.
var sealed = []seal.Column{
	{Table: "identities", ID: "id", Name: "email_ct"},
	{Table: "registrations", ID: "id", Name: "email_ct"},
	{Table: "one_time_tokens", ID: "id", Name: "email_ct"},
	{Table: "sessions", ID: "id", Name: "client_ct"},
	{Table: "totp", ID: "identity_id", Name: "secret_ct"},
	{Table: "audit_addresses", ID: "event_id", Name: "address_ct"},
	{Table: "signing_keys", ID: "id", Name: "private_ct"},
}

func (s *store) signingKeys(ctx context.Context) ([]signingKey, error) {
	rows, _ := s.db.Query(ctx, `select id, private_ct, public_jwk, active_at from signing_keys order by active_at desc, id desc`)
	return pgx.CollectRows(rows, pgx.RowToStructByName[signingKey])
}

// addSigningKey does nothing when there is a key that signs from a later time on. One at a time looks for that.
func (s *store) addSigningKey(ctx context.Context, k signingKey, unlessAfter time.Time) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtext('auth.signing_keys'))`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			insert into signing_keys (id, private_ct, public_jwk, active_at)
			select $1, $2, $3, $4 where not exists (select from signing_keys where active_at > $5)`,
			k.ID, k.PrivateCT, k.PublicJWK, k.ActiveAt, unlessAfter)
		return err
	})
}

func (s *store) deleteSigningKeys(ctx context.Context, ids []uuid.UUID) error {
	_, err := s.db.Exec(ctx, `delete from signing_keys where id = any($1)`, ids)
	return err
}
