// Package auth decides who may come in.
//
// It serves registration, login with a second factor, tokens and the public keys that verify them, what an owner changes about an account, API
// keys, and what operators do (api/auth/v1, and api/auth/v2 where it changed). It keeps registrations, identities with their passwords and second
// factors, sessions, keys and the audit trail in the schema auth; addresses and secrets as ciphertexts. Failed logins are counted in Redis, and
// what was revoked is told there to every process (revocation.go).
//
// only with users:
// It calls users, to provision a profile when an address is confirmed (jobs_users.go).
// end users
//
// Read first, which is registering, verifying, logging in, refreshing and logging out: handlers.go, handlers_tokens.go, session.go, store.go,
// store_sessions.go. What stands beside them can be read when it is needed: handlers_account.go and handlers_mfa.go (an owner), handlers_keys.go
// (programs), handlers_admin.go (operators), each with its store_*.go.
package auth

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/riverqueue/river"
	"github.com/tink-crypto/tink-go/v2/tink"
	"go.opentelemetry.io/otel"

	authv1 "example.com/groundwork/api/auth/v1"
	authv2 "example.com/groundwork/api/auth/v2"
	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/jobs"
	"example.com/groundwork/pkg/mail"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/ratelimit"
	"example.com/groundwork/pkg/seal"
	"example.com/groundwork/pkg/secret"
)

// Client is a module that gets tokens for its secret.
type Client struct {
	Secret secret.Text
	Scopes []string
}

// Config is what the module needs to be told.
type Config struct {
	Issuer            string            // iss and aud of every token: the public address of this deployment
	Clients           map[string]Client // by name
	PasswordMinLength int               // in characters
	KeyLabel          string            // stands in API keys, so that one sees what they open: "live", "local"
}

// Module is the auth module.
type Module struct {
	config   Config
	store    *store
	keys     *seal.Keys
	rotation *seal.Rotation
	signing  *keyring
	hasher   *hasher
	throttle *throttle
	verifier *authn.Verifier
	redis    *redis.Client
	mail     mail.Sender
	queue    *jobs.Queue
	// only with users:
	users usersv1.ClientWithResponsesInterface
	// end users
}

// New makes the module. It does no I/O, so a program starts while its database is away.
func New(config Config, db *pgxpool.Pool, redis *redis.Client, kek tink.AEAD, verifier *authn.Verifier,
	// only with users:
	users usersv1.ClientWithResponsesInterface,
	// end users
	mail mail.Sender, log *slog.Logger) (*Module, error) {
	keys := seal.New(kek, seal.Table(db))
	m := &Module{
		config: config, keys: keys, rotation: seal.NewRotation(keys, db, sealed...), hasher: newHasher(),
		verifier: verifier, redis: redis, mail: mail,
		// only with users:
		users: users,
		// end users
		throttle: &throttle{
			network: ratelimit.NewBackoff(redis, "login:network:", 5, time.Minute, log),
			account: ratelimit.NewBackoff(redis, "login:account:", 20, time.Minute, log),
		},
	}
	kinds := river.NewWorkers()
	river.AddWorker(kinds, &registrationMail{m: m})
	river.AddWorker(kinds, &oneTimeMail{m: m})
	river.AddWorker(kinds, &noticeMail{m: m})
	// only with users:
	river.AddWorker(kinds, &provision{m: m})
	// end users
	river.AddWorker(kinds, &sweep{m: m})
	river.AddWorker(kinds, &rotateKeys{m: m})
	var err error
	m.queue, err = jobs.New(db, "auth", log, kinds, hourly(sweepArgs{}),
		river.NewPeriodicJob(river.PeriodicInterval(rotateEvery), newRotateKeys, nil))
	if err = errors.Join(err, m.rotation.Watch(otel.Meter("auth"), "auth")); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	events, err := newEvents()
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	m.store = &store{db: db, jobs: m.queue, keys: m.keys, events: events}
	m.queue.Every(tellEvery, m.tell)
	m.signing = newKeyring(m.store, m.keys)
	return m, nil
}

// Routes adds the operations of both contracts to r.
func (m *Module) Routes(r chi.Router) {
	authv1.HandlerWithOptions(
		authv1.NewStrictHandlerWithOptions(m, nil, authv1.StrictHTTPServerOptions{
			RequestErrorHandlerFunc: httpserver.BadBody, ResponseErrorHandlerFunc: problem.Write,
		}),
		authv1.ChiServerOptions{BaseRouter: r, ErrorHandlerFunc: httpserver.BadParameter})
	authv2.HandlerWithOptions(
		authv2.NewStrictHandlerWithOptions(v2{m}, nil, authv2.StrictHTTPServerOptions{
			RequestErrorHandlerFunc: httpserver.BadBody, ResponseErrorHandlerFunc: problem.Write,
		}),
		authv2.ChiServerOptions{BaseRouter: r, ErrorHandlerFunc: httpserver.BadParameter})
}

// Jobs is the module's background work, such as mails, sweeping up and rotating keys.
func (m *Module) Jobs() *jobs.Queue { return m.queue }
