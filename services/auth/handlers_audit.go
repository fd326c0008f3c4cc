package auth

import (
	"context"
	"net/netip"

	authv1 "example.com/groundwork/api/auth/v1"
	"example.com/groundwork/pkg/request"
)

// NoteAuditEvent notes what somebody did in another module.
func (m *Module) NoteAuditEvent(ctx context.Context, req authv1.NoteAuditEventRequestObject) (authv1.NoteAuditEventResponseObject, error) {
	// The address that this request came from is the module's, not that of who did it.
	from := &request.Info{}
	if req.Body.Address != nil {
		var err error
		if from.Client, err = netip.ParseAddr(*req.Body.Address); err != nil {
			return nil, invalid("/address", "unreadable", "is not an IP address")
		}
	}
	ctx = request.With(ctx, from)
	e := auditEvent{Kind: string(req.Body.Kind), IdentityID: req.Body.UserId, Actor: req.Body.Actor, RequestID: req.Body.RequestId}
	return authv1.NoteAuditEvent204Response{}, m.store.note(ctx, m.store.db, e)
}
