package auth

import (
	"testing"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
)

// A module notes what somebody did there; nobody else does.
func TestAModuleNotesWhatSomebodyDidThere(t *testing.T) {
	w := newWorld(t)
	op, about, actor := w.operating(), uuid.New(), uuid.NewString()
	module := w.as(w.form(200, "grant_type", "client_credentials", "client_id", "auth", "client_secret", "auth's secret").AccessToken)
	read := authv1.NewAuditEvent{Kind: "user.read", Actor: actor, UserId: &about, RequestId: "the caller's", Address: new("192.0.2.7")}
	for _, event := range []authv1.NewAuditEvent{read, {Kind: "users.listed", Actor: actor, RequestId: "the next"}} {
		if r, err := module.NoteAuditEventWithResponse(t.Context(), event); err != nil || r.StatusCode() != 204 {
			t.Fatalf("%v %s", err, r.Body)
		}
	}
	if r, err := op.NoteAuditEventWithResponse(t.Context(), read); err != nil || r.StatusCode() != 403 {
		t.Errorf("an operator notes: %v %s", err, r.Body)
	}
	odd, nowhere := read, read
	odd.Kind, nowhere.Address = "roles.changed", new("the moon")
	for says, event := range map[string]authv1.NewAuditEvent{"a kind that is auth's own": odd, "no address": nowhere} {
		if r, err := module.NoteAuditEventWithResponse(t.Context(), event); err != nil || r.StatusCode() != 422 {
			t.Errorf("%s: %v %s", says, err, r.Body)
		}
	}

	for kind, who := range map[string]bool{"user.read": true, "users.listed": false} {
		r, err := op.ListAuditEventsWithResponse(t.Context(), &authv1.ListAuditEventsParams{Kind: &kind})
		if err != nil || r.JSON200 == nil || len(r.JSON200.Data) != 1 {
			t.Fatalf("%s: %v %s", kind, err, r.Body)
		}
		e := r.JSON200.Data[0]
		if e.Actor != actor || e.RequestId == "" || e.IdentityId.IsNull() == who || who && e.IdentityId.MustGet() != about {
			t.Errorf("%s: %+v", kind, e)
		}
		if who && (e.Address.IsNull() || e.Address.MustGet() != "192.0.2.7") || !who && !e.Address.IsNull() {
			t.Errorf("%s: from %v; the module's own address is nobody's", kind, e.Address)
		}
	}
}
