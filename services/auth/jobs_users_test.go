// only with users: this file

package auth

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/peer"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/secret"
)

// profiles is the users module: it remembers what it is told, unless it is ill.
type profiles struct {
	mu   sync.Mutex
	ill  int // answers this many calls with 503
	seen map[string]usersv1.Provision
}

// email is the address it was told last.
func (p *profiles) email(id uuid.UUID) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[id.String()].Email
}

// join puts it into the network, behind its contract, and returns how auth calls it.
func (p *profiles) join(t *testing.T, network *peer.Network, guard httpserver.Guard) usersv1.ClientWithResponsesInterface {
	t.Helper()
	router := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.DiscardHandler), Timeout: 30 * time.Second})
	if err := guard.Mount(router, p.routes, usersv1.Spec); err != nil {
		t.Fatal(err)
	}
	network.Here("users", router)
	client, err := usersv1.NewClientWithResponses("http://users", usersv1.WithHTTPClient(network.Client("auth", secret.New("auth's secret"))))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (p *profiles) routes(r chi.Router) {
	r.Put("/v1/users/{id}", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.ill > 0 {
			p.ill--
			problem.Write(w, r, problem.Unavailable.New("overloaded", "ill"))
			return
		}
		var told usersv1.Provision
		if err := json.NewDecoder(r.Body).Decode(&told); err != nil {
			problem.Write(w, r, err)
			return
		}
		if p.seen == nil {
			p.seen = map[string]usersv1.Provision{}
		}
		p.seen[chi.URLParam(r, "id")] = told
		w.WriteHeader(http.StatusNoContent)
	})
}

func (p *profiles) get(id string) (usersv1.Provision, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	told, ok := p.seen[id]
	return told, ok
}

// told waits until users knows of somebody.
func (w *world) told(id string) (told usersv1.Provision) {
	w.t.Helper()
	w.eventually("a profile", func() (ok bool) { told, ok = w.users.get(id); return ok })
	return told
}

func TestProvisioningIsTriedUntilUsersAnswers(t *testing.T) {
	w := newWorld(t)
	w.users.ill = 2
	w.works(w.instance)
	id := w.person("ada@example.com").Id.String()
	w.eventually("the second failure", func() bool {
		return one[int](w, `select count(*) from auth.river_job where kind = 'provision-profile' and cardinality(errors) = 2`) == 1
	})
	if _, ok := w.users.get(id); ok {
		t.Error("users was told while it was ill")
	}
	w.exec(`update auth.river_job set scheduled_at = now() where state = 'retryable'`) // 16 s later
	w.told(id)
}

func TestUsersIsToldOfTheStatus(t *testing.T) {
	w := working(t)
	ada := w.person("ada@example.com").Id
	op := w.operating()
	if told := w.told(ada.String()); told.Status == nil || *told.Status != "active" {
		t.Errorf("users is told %+v of a new account", told)
	}
	if r, err := op.DisableIdentityWithResponse(t.Context(), ada); err != nil || r.StatusCode() != 204 {
		t.Fatalf("%v %s", err, r.Body)
	}
	w.eventually("users knows that it is disabled", func() bool {
		told, _ := w.users.get(ada.String())
		return told.Status != nil && *told.Status == "disabled" && told.AuthVersion > 1
	})
}
