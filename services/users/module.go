// Package users keeps who people are: one profile per account.
//
// It serves api/users/v1: one's own profile, for operators reading everybody's, and for other modules (scope internal) reading and
// provisioning one: auth does when an account is confirmed, and again when its address or its status changes. It keeps the schema users in
// Postgres; there and in Redis, what names a person is a ciphertext. With Redis away the database answers. Its only job seals again what an
// old key has sealed (jobs.go).
//
// only with auth:
// It calls auth, to note who has looked at the profile of somebody else (audit_auth.go).
// end auth
package users

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/riverqueue/river"
	"github.com/tink-crypto/tink-go/v2/tink"
	"go.opentelemetry.io/otel"

	authv1 "example.com/groundwork/api/auth/v1"
	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/jobs"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/seal"
)

// Module is the users module. Its methods are the operations of the contract.
type Module struct {
	keys     *seal.Keys
	rotation *seal.Rotation
	store    *store
	queue    *jobs.Queue
	// only with auth:
	auth authv1.ClientWithResponsesInterface // nil: somebody else's issuer is in its place
	log  *slog.Logger
	// end auth
}

// New makes the module; it asks nothing of the network yet. kek is the key-encryption key of its keysets.
func New(db *pgxpool.Pool, redis *redis.Client, kek tink.AEAD,
	// only with auth:
	auth authv1.ClientWithResponsesInterface,
	// end auth
	log *slog.Logger) (*Module, error) {
	keys := seal.New(kek, seal.Table(db))
	m := &Module{keys: keys, rotation: seal.NewRotation(keys, db, sealed...), store: newStore(db, redis, keys)}
	// only with auth:
	m.auth, m.log = auth, log
	// end auth
	kinds := river.NewWorkers()
	river.AddWorker(kinds, &rotateKeys{rotation: m.rotation})
	var err error
	m.queue, err = jobs.New(db, "users", log, kinds, river.NewPeriodicJob(river.PeriodicInterval(rotateEvery), newRotateKeys, nil))
	if err = errors.Join(err, m.rotation.Watch(otel.Meter("users"), "users")); err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	return m, nil
}

// Routes adds the operations to r.
func (m *Module) Routes(r chi.Router) {
	handler := usersv1.NewStrictHandlerWithOptions(m, nil, usersv1.StrictHTTPServerOptions{
		RequestErrorHandlerFunc: httpserver.BadBody, ResponseErrorHandlerFunc: problem.Write,
	})
	usersv1.HandlerWithOptions(handler, usersv1.ChiServerOptions{BaseRouter: r, ErrorHandlerFunc: httpserver.BadParameter})
}

// Jobs is the module's background work: sealing again what an old key has sealed.
func (m *Module) Jobs() *jobs.Queue { return m.queue }

// RotateKeys begins a rotation of the module's keys, and says what it did.
func (m *Module) RotateKeys(ctx context.Context) (did []string, err error) {
	id, err := m.rotation.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("data key %d is added; it seals when every process knows it", id)}, nil
}

// KeysFit reports whether the key-encryption key opens the module's keys.
func (m *Module) KeysFit(ctx context.Context) error { return m.keys.Fit(ctx) }

// KeyStatus counts the rows that each key of the module has sealed.
func (m *Module) KeyStatus(ctx context.Context) ([]seal.KeyUse, error) { return m.rotation.Status(ctx) }
