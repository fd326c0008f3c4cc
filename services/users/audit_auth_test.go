// only with auth: this file

package users_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/peer"
	"example.com/groundwork/pkg/problem"
)

// trail is the auth module: it remembers what it is told to note, unless it is ill.
type trail struct {
	mu     sync.Mutex
	ill    error
	events []authv1.NewAuditEvent
}

// taken are the events since it was last asked.
func (a *trail) taken() (events []authv1.NewAuditEvent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	events, a.events = a.events, nil
	return events
}

func (a *trail) falls(ill error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ill = ill
}

// authModule is how auth is called.
func (w *world) authModule() authv1.ClientWithResponsesInterface {
	w.t.Helper()
	r := chi.NewRouter()
	r.Post("/v1/auth/audit-events", func(rw http.ResponseWriter, r *http.Request) {
		w.trail.mu.Lock()
		defer w.trail.mu.Unlock()
		if w.trail.ill != nil {
			problem.Write(rw, r, w.trail.ill)
			return
		}
		var event authv1.NewAuditEvent
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
			w.t.Error(err)
		}
		w.trail.events = append(w.trail.events, event)
		rw.WriteHeader(http.StatusNoContent)
	})
	network := peer.New()
	network.Here("auth", r)
	client, err := authv1.NewClientWithResponses("http://auth", authv1.WithHTTPClient(network.Open()))
	if err != nil {
		w.t.Fatal(err)
	}
	return client
}

func TestWhoLooksAtSomebodyElseIsNoted(t *testing.T) {
	w := newWorld(t)
	ada, opID := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	w.auth().provisions(ada, "ada@example.com", 1)
	w.auth().provisions(opID, "operator@example.com", 1)
	op := w.operator(opID)

	if r, err := op.GetUserWithResponse(t.Context(), ada); err != nil || r.JSON200 == nil || r.JSON200.Email != "ada@example.com" {
		t.Fatalf("reading: %v %s", err, r.Body)
	}
	events := w.trail.taken()
	if len(events) != 1 || events[0].Kind != "user.read" || *events[0].UserId != ada || events[0].Actor != opID.String() || events[0].RequestId == "" || events[0].Address == nil {
		t.Errorf("reading one is noted as %+v", events)
	}
	op.lists(nil)
	events = w.trail.taken()
	if len(events) != 1 || events[0].Kind != "users.listed" || events[0].UserId != nil || events[0].Actor != opID.String() || events[0].RequestId == "" {
		t.Errorf("listing is noted as %+v", events)
	}
	op.lists(&usersv1.ListUsersParams{Email: new("Ada@example.com")})
	events = w.trail.taken()
	if len(events) != 1 || events[0].Kind != "user.read" || *events[0].UserId != ada {
		t.Errorf("looking somebody up by address is noted as %+v", events)
	}

	both := w.client(w.Server, authn.Principal{UserID: opID, Scopes: []string{"users:read", "profile:read"}})
	both.reads()
	if r, err := both.GetUserWithResponse(t.Context(), opID); err != nil || r.JSON200 == nil {
		t.Errorf("one's own by its id: %v %s", err, r.Body)
	}
	if r, err := w.auth().GetUserWithResponse(t.Context(), ada); err != nil || r.JSON200 == nil {
		t.Errorf("a module: %v %s", err, r.Body)
	}
	if r, err := op.GetUserWithResponse(t.Context(), uuid.New()); err != nil || r.StatusCode() != 404 {
		t.Errorf("nobody: %v %s", err, r.Body)
	}
	if events := w.trail.taken(); len(events) > 0 {
		t.Errorf("one's own profile, a module's look and nobody's profile are noted: %+v", events)
	}
}

func TestWhatCannotBeNotedIsNotShown(t *testing.T) {
	w := newWorld(t)
	ada := uuid.Must(uuid.NewV7())
	w.auth().provisions(ada, "ada@example.com", 1)
	op := w.operator(uuid.Must(uuid.NewV7()))
	for says, ill := range map[string]error{
		"away": problem.Unavailable.New("overloaded", "ill"), "without the operation": problem.NotFound.New("not-found", "none"),
		"at odds with us": problem.Forbidden.New("insufficient-scope", "no"),
	} {
		w.trail.falls(ill)
		list, err := op.ListUsersWithResponse(t.Context(), nil)
		if err != nil || list.StatusCode() != 503 || list.ApplicationproblemJSONDefault.Code != "dependency-unavailable" {
			t.Errorf("auth is %s: a list answers %v %s", says, err, list.Body)
		}
		one, err := op.GetUserWithResponse(t.Context(), ada)
		if err != nil || one.StatusCode() != 503 || one.ApplicationproblemJSONDefault.Code != "dependency-unavailable" {
			t.Errorf("auth is %s: a profile answers %v %s", says, err, one.Body)
		}
		if bytes.Contains(slices.Concat(list.Body, one.Body), []byte("ada@")) {
			t.Errorf("auth is %s: the address is shown", says)
		}
		if r, err := w.auth().GetUserWithResponse(t.Context(), ada); err != nil || r.JSON200 == nil {
			t.Errorf("auth is %s: a module reads %v %s", says, err, r.Body)
		}
		w.person(ada).reads()
	}
	w.trail.falls(nil)
	if p := op.lists(&usersv1.ListUsersParams{}); len(p.Data) != 1 {
		t.Errorf("when auth is back: %+v", p)
	}
}
