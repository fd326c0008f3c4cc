// only with users: this file

package transactions

import (
	"io"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/peer"
	"example.com/groundwork/pkg/problem"
)

// usersModule is how users is called: it knows w.known, and it is ill when asked for the id of nobody at all.
func (w *world) usersModule() usersv1.ClientWithResponsesInterface {
	w.t.Helper()
	r := chi.NewRouter()
	r.Get("/v1/users/{id}", func(rw http.ResponseWriter, r *http.Request) {
		switch chi.URLParam(r, "id") {
		case w.known.String():
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, `{"id":"`+w.known.String()+`"}`)
		case uuid.Nil.String():
			problem.Write(rw, r, problem.Internal.New("internal", "ill"))
		default:
			problem.Write(rw, r, problem.NotFound.New("not-found", "There is no such profile."))
		}
	})
	network := peer.New()
	network.Here("users", r)
	client, err := usersv1.NewClientWithResponses("http://users", usersv1.WithHTTPClient(network.Open()))
	if err != nil {
		w.t.Fatal(err)
	}
	return client
}
