// Package users keeps who people are: one profile per account.
//
// It serves api/users/v1: one's own profile, and for other modules (scope internal) reading and provisioning one. It calls no other
// module: auth provisions a profile when an account is confirmed, and again when its address changes. It keeps the schema users in
// Postgres; there and in Redis, what names a person is a ciphertext. With Redis away the database answers.
package users

import (
	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/tink-crypto/tink-go/v2/tink"

	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/seal"
)

// Module is the users module. Its methods are the operations of the contract.
type Module struct {
	keys  *seal.Keys
	store *store
}

// New makes the module; it asks nothing of the network yet. kek is the key-encryption key of its keysets.
func New(db *pgxpool.Pool, redis *redis.Client, kek tink.AEAD) *Module {
	keys := seal.New(kek, seal.Table(db))
	return &Module{keys: keys, store: newStore(db, redis, keys)}
}

// Routes adds the operations to r.
func (m *Module) Routes(r chi.Router) {
	handler := usersv1.NewStrictHandlerWithOptions(m, nil, usersv1.StrictHTTPServerOptions{
		RequestErrorHandlerFunc: httpserver.BadBody, ResponseErrorHandlerFunc: problem.Write,
	})
	usersv1.HandlerWithOptions(handler, usersv1.ChiServerOptions{BaseRouter: r, ErrorHandlerFunc: httpserver.BadParameter})
}
