package auth

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/oapi-codegen/nullable"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/postgres"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// addressesKept is how long it is known from where something was done.
const addressesKept = 90 * 24 * time.Hour

// newEvents counts what is audited, by kind: a burst of refused logins, a refresh token that was used twice, roles that change.
func newEvents() (metric.Int64Counter, error) {
	events, err := otel.Meter("auth").Int64Counter("auth.events", metric.WithDescription("What the audit trail of auth notes, by kind."))
	if err != nil {
		return nil, err
	}
	for _, kind := range []string{"session.begun", "login.refused", "token.refused", "session.refresh-reused", "password.blocked"} {
		events.Add(context.Background(), 0, metric.WithAttributes(attribute.String("kind", kind))) // the first attack is an increase, too
	}
	return events, nil
}

// auditEvent is something that was done. It holds ids only; the address is apart, and forgotten one day.
type auditEvent struct {
	ID         uuid.UUID
	Kind       string
	IdentityID *uuid.UUID // whose account it was about
	SessionID  *uuid.UUID
	Actor      string // the subject of the token it was done with
	Detail     string // what was done, beyond its kind; nothing about a person
	RequestID  string
	CreatedAt  time.Time
	AddressCT  []byte // from where
}

func (e auditEvent) api(address string) authv1.AuditEvent {
	return authv1.AuditEvent{
		Id: e.ID, Kind: e.Kind, IdentityId: idOrNull(e.IdentityID), SessionId: idOrNull(e.SessionID), Actor: e.Actor,
		Detail: e.Detail, Address: orNull(address), RequestId: e.RequestID, CreatedAt: e.CreatedAt.UTC(),
	}
}

func idOrNull(id *uuid.UUID) nullable.Nullable[uuid.UUID] {
	if id == nil {
		return nullable.NewNullNullable[uuid.UUID]()
	}
	return nullable.NewNullableWithValue(*id)
}

// audit notes who did what to whom and from where, in the transaction that did it.
func (s *store) audit(ctx context.Context, db postgres.DB, kind string, identity, session uuid.UUID) error {
	return s.auditDetail(ctx, db, kind, identity, session, "")
}

func (s *store) auditDetail(ctx context.Context, db postgres.DB, kind string, identity, session uuid.UUID, detail string) error {
	return s.note(ctx, db, auditEvent{
		Kind: kind, IdentityID: &identity, SessionID: &session, Actor: authn.From(ctx).Subject, Detail: detail, RequestID: request.From(ctx).ID,
	})
}

// note notes an event from where the request came.
func (s *store) note(ctx context.Context, db postgres.DB, e auditEvent) error {
	id := uuid.Must(uuid.NewV7())
	_, err := db.Exec(ctx, `
		insert into audit_events (id, kind, identity_id, session_id, actor, detail, request_id)
		values ($1, $2, nullif($3, $8::uuid), nullif($4, $8::uuid), $5, $6, $7)`,
		id, e.Kind, e.IdentityID, e.SessionID, e.Actor, e.Detail, e.RequestID, uuid.Nil)
	if err != nil {
		return err
	}
	s.events.Add(ctx, 1, metric.WithAttributes(attribute.String("kind", e.Kind)))
	client := request.From(ctx).Client
	if !client.IsValid() { // a job
		return nil
	}
	sealed, err := s.keys.Seal(ctx, []byte(client.Unmap().String()), "audit_addresses", "address_ct", id)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, `insert into audit_addresses (event_id, address_ct) values ($1, $2)`, id, sealed)
	return err
}

// refused counts a key, a secret or a token that was traded for nothing. There is no row of it: anybody can send as many as they like.
func (s *store) refused(ctx context.Context, err error) {
	if code := problem.From(err).Code; code == "invalid_client" || code == "invalid_grant" {
		s.events.Add(ctx, 1, metric.WithAttributes(attribute.String("kind", "token.refused")))
	}
}

// auditEvents returns those before the one named, newest first: about somebody or by them, of a kind, or all.
func (s *store) auditEvents(ctx context.Context, before uuid.UUID, identity *uuid.UUID, kind *string, limit int) ([]auditEvent, error) {
	const columns = `select e.id, e.kind, e.identity_id, e.session_id, e.actor, e.detail, e.request_id, e.created_at from audit_events e`
	args := []any{before, limit, kind}
	// Each of the two is found by an index of its own; a page of both is a page of the newest of each.
	events := columns + ` where e.id < $1 and ($3::text is null or e.kind = $3) order by e.id desc limit $2`
	if identity != nil {
		args = append(args, *identity, identity.String())
		events = `(` + columns + ` where e.identity_id = $4 and e.id < $1 and ($3::text is null or e.kind = $3) order by e.id desc limit $2)
			union (` + columns + ` where e.actor = $5 and e.id < $1 and ($3::text is null or e.kind = $3) order by e.id desc limit $2)
			order by id desc limit $2`
	}
	rows, _ := s.db.Query(ctx, `
		select e.id, e.kind, e.identity_id, e.session_id, e.actor, e.detail, e.request_id, e.created_at, a.address_ct
		from (`+events+`) e left join audit_addresses a on a.event_id = e.id order by e.id desc`, args...)
	return pgx.CollectRows(rows, pgx.RowToStructByName[auditEvent])
}
