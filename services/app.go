package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/tink-crypto/tink-go/v2/tink"

	authv1 "example.com/groundwork/api/auth/v1"
	authv2 "example.com/groundwork/api/auth/v2"
	transactionsv1 "example.com/groundwork/api/transactions/v1"
	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/cache"
	"example.com/groundwork/pkg/docs"
	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/jobs"
	"example.com/groundwork/pkg/peer"
	"example.com/groundwork/pkg/postgres"
	"example.com/groundwork/pkg/ratelimit"
	"example.com/groundwork/pkg/seal"
	"example.com/groundwork/pkg/secret"
)

// modules is the whole backend: of each module its contracts by version, the modules it calls, and how it is made (app_<module>.go).
var modules = map[string]struct {
	specs map[string][]byte
	calls []string
	make  func(*app) (mounted, error)
}{
	"auth":         {map[string][]byte{"v1": authv1.Spec, "v2": authv2.Spec}, []string{"users"}, (*app).auth},
	"users":        {map[string][]byte{"v1": usersv1.Spec}, []string{"auth"}, (*app).users},
	"transactions": {map[string][]byte{"v1": transactionsv1.Spec}, []string{"auth", "users"}, (*app).transactions},
}

// mounted is what the front door needs of a module that is made.
type mounted struct {
	routes func(chi.Router)
	jobs   *jobs.Queue // nil: it has none
	keys   keyed       // nil: it has none
}

// app is the modules of this process, wired.
type app struct {
	config   *config
	log      *slog.Logger
	here     []string // the modules
	router   *chi.Mux
	health   *httpserver.Health
	network  *peer.Network
	verifier *authn.Verifier
	pools    map[string]*pgxpool.Pool
	looks    map[string]*postgres.Alone // whether the database is well, however long the line for the pool is
	redis    *redis.Client
	queues   []*jobs.Queue
	keys     map[string]keyed // of the modules that have some
	outside  bool             // somebody else's issuer gives the tokens
	console  secret.Text      // the secret with which a command of this process calls auth
}

// newApp wires the named modules. It does no I/O: what is away is found by the health checks and the first requests.
func newApp(ctx context.Context, c *config, log *slog.Logger, here []string) (*app, error) {
	a := &app{config: c, log: log, here: here, network: peer.New(), pools: map[string]*pgxpool.Pool{}, looks: map[string]*postgres.Alone{}, keys: map[string]keyed{}, console: secret.New(rand.Text())}
	var err error
	for _, m := range here {
		url := c.databaseURLs[m].Reveal()
		if a.pools[m], err = postgres.Open(ctx, m, url, int32(c.databaseMaxConns)); err == nil {
			a.looks[m], err = postgres.NewAlone(url)
		}
		if err != nil {
			return nil, fmt.Errorf("%s_DATABASE_URL: %w", strings.ToUpper(m), err)
		}
	}
	if !c.redisURL.Empty() {
		if a.redis, err = cache.Connect(c.redisURL.Reveal()); err != nil {
			return nil, fmt.Errorf("REDIS_URL: %w", err)
		}
	}
	a.router = httpserver.NewRouter(httpserver.Options{
		Log: log, Timeout: c.requestTimeout, TrustedProxies: c.trustedProxies, HTTPS: strings.HasPrefix(c.issuer, "https://"),
		Origins: c.allowedOrigins,
	})
	if err := a.connect(); err != nil {
		return nil, err
	}
	if err := a.mount(); err != nil {
		return nil, err
	}
	a.health = httpserver.NewHealth(log, a.checks()...)
	a.health.Routes(a.router)
	var pages []docs.Spec
	for _, m := range a.here {
		for _, version := range slices.Sorted(maps.Keys(modules[m].specs)) {
			pages = append(pages, docs.Spec{Name: m + " " + version, Path: "/docs/" + m + "-" + version + ".yaml", YAML: modules[m].specs[version]})
		}
	}
	docs.Routes(a.router, pages)
	return a, nil
}

const issuerTimeout = 5 * time.Second // for an issuer elsewhere to tell its metadata and keys

// connect says where every module lives. Without an auth of ours, tokens come from ISSUER, whoever that is.
func (a *app) connect() error {
	if !slices.Contains(a.here, "auth") && a.config.urls["auth"] == "" {
		a.outside = true
		a.network.Here("auth", authn.Outside(a.config.issuer, &http.Client{Timeout: issuerTimeout}))
	}
	for _, m := range migrations.Modules() {
		switch {
		case slices.Contains(a.here, m):
			a.network.Here(m, a.router)
		case a.config.urls[m] != "":
			if err := a.network.There(m, a.config.urls[m]); err != nil {
				return fmt.Errorf("%s_URL: %w", strings.ToUpper(m), err)
			}
		}
		// With every module in one process nobody else needs to know the secrets.
		if a.config.clientSecrets[m].Empty() {
			a.config.clientSecrets[m] = secret.New(rand.Text())
		}
	}
	return nil
}

// mount makes the modules and adds their routes, each behind its contract.
func (a *app) mount() error {
	c := a.config
	a.verifier = authn.NewVerifier(c.issuer, "http://auth/.well-known/jwks.json", a.network.Open())
	guard := httpserver.Guard{Verifier: a.verifier}
	if c.rateLimit > 0 {
		guard.Limiter = ratelimit.New(c.rateLimit)
	}
	for _, m := range a.here {
		made, err := modules[m].make(a)
		if err != nil {
			return err
		}
		if made.jobs != nil {
			a.queues = append(a.queues, made.jobs)
		}
		if made.keys != nil {
			a.keys[m] = made.keys
		}
		guard.Module = m
		if err := guard.Mount(a.router, made.routes, slices.Collect(maps.Values(modules[m].specs))...); err != nil {
			return err
		}
	}
	return nil
}

// kek is the key-encryption key.
func (c *config) kek() (tink.AEAD, error) {
	if !c.keyEncryptionKey.Empty() {
		kek, err := seal.KeyEncryptionKey(c.keyEncryptionKey.Reveal())
		if err != nil {
			return nil, fmt.Errorf("KEY_ENCRYPTION_KEY: %w", err)
		}
		return kek, nil
	}
	kek, err := seal.KeyEncryptionKeyFile(c.keyEncryptionKeyFile, c.local())
	if err != nil {
		return nil, fmt.Errorf("KEY_ENCRYPTION_KEY_FILE: %w", err)
	}
	return kek, nil
}

// checks are what /readyz asks: a database that is away or behind makes the process unready, Redis or a peer that is away degrades it.
func (a *app) checks() []httpserver.Check {
	var checks []httpserver.Check
	for _, m := range a.here {
		checks = append(checks, httpserver.Check{Name: "postgres " + m, Critical: true, Ask: func(ctx context.Context) error {
			return a.looks[m].Do(ctx, func(conn *pgx.Conn) error {
				applied, err := migrations.Applied(ctx, conn, m)
				if err == nil && applied < migrations.Version(m) {
					err = fmt.Errorf("schema %s is at version %d, this program needs %d: run `groundwork migrate up`", m, applied, migrations.Version(m))
				}
				return err
			})
		}})
		for _, callee := range modules[m].calls {
			known := slices.ContainsFunc(checks, func(c httpserver.Check) bool { return c.Name == "peer "+callee })
			if !slices.Contains(a.here, callee) && !known {
				checks = append(checks, httpserver.Check{Name: "peer " + callee, Ask: a.askPeer(callee)})
			}
		}
	}
	if a.redis != nil {
		checks = append(checks, httpserver.Check{Name: "redis", Ask: func(ctx context.Context) error { return a.redis.Ping(ctx).Err() }})
	}
	return checks
}

func (a *app) askPeer(module string) func(context.Context) error {
	client := a.network.Open()
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+module+"/livez", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	}
}
