// only with auth: this file

package users

import (
	"context"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// noted has auth note that the caller looks at somebody's profile, or with uuid.Nil at a list of them. It comes before the answer: what cannot
// be noted is not shown. Modules read on behalf of others, and one's own profile is nobody else's business. With somebody else's issuer in auth's
// place there is no audit trail, and the log tells it.
func (m *Module) noted(ctx context.Context, kind authv1.NewAuditEventKind, about uuid.UUID) error {
	caller := authn.From(ctx)
	if caller.Has("internal") || about != uuid.Nil && about == caller.UserID {
		return nil
	}
	if m.auth == nil {
		m.log.InfoContext(ctx, "somebody's profile is read", "kind", string(kind), "actor", caller.Subject, "user_id", about, "request_id", request.From(ctx).ID)
		return nil
	}
	event := authv1.NewAuditEvent{Kind: kind, Actor: caller.Subject, RequestId: request.From(ctx).ID}
	if about != uuid.Nil {
		event.UserId = &about
	}
	if client := request.From(ctx).Client; client.IsValid() {
		event.Address = new(client.Unmap().String())
	}
	resp, err := m.auth.NoteAuditEventWithResponse(ctx, event)
	if err == nil {
		err = problem.NoContent(resp.HTTPResponse, resp.Body, nil)
	}
	if err != nil {
		// Whatever is wrong between us and auth, to the caller it is one thing: not now.
		return problem.Unavailable.New("dependency-unavailable", "It cannot be noted who reads this, so it is not shown.").Because(err)
	}
	return nil
}
