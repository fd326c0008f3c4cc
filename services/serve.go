package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/telemetry"
)

// admin is what operators look at: metrics, profiles, health. Its listener is never public.
func (a *app) admin(metrics http.Handler) http.Handler {
	r := chi.NewRouter()
	a.health.Routes(r)
	r.Handle("/metrics", metrics)
	r.HandleFunc("/log-level", a.level)
	r.HandleFunc("/debug/pprof/*", pprof.Index)
	r.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	r.HandleFunc("/debug/pprof/profile", pprof.Profile)
	r.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	r.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return r
}

// level tells from which level on there are lines in the log, and changes it until the process ends: PUT it, as LOG_LEVEL has it.
func (a *app) level(w http.ResponseWriter, r *http.Request) {
	level := &a.config.logLevel
	switch r.Method {
	case http.MethodPut:
		before := level.Level()
		text, err := io.ReadAll(io.LimitReader(r.Body, 100))
		if err == nil {
			err = level.UnmarshalText(bytes.TrimSpace(text))
		}
		if err != nil {
			http.Error(w, "a level is debug, info, warn or error", http.StatusUnprocessableEntity)
			return
		}
		a.log.Log(r.Context(), max(before, level.Level()), "the log has another level", "before", before.String(), "now", level.String())
	case http.MethodGet:
	default:
		w.Header().Set("Allow", "GET, PUT")
		http.Error(w, "GET or PUT", http.StatusMethodNotAllowed)
		return
	}
	fmt.Fprintln(w, strings.ToLower(level.Level().String()))
}

// serve runs the modules until ctx ends, and then stops in an order that loses nothing.
func serve(ctx context.Context, c *config, log *slog.Logger, modules []string) error {
	signals := telemetry.Start(ctx, telemetry.Config{
		Service: "groundwork", Version: version(), Revision: revision(), Environment: c.environment,
		Traces: c.pushTraces, Metrics: c.pushMetrics, Sample: c.traceSample, Log: log,
	})
	log.Info("telemetry", "push_traces", c.pushTraces, "push_metrics", c.pushMetrics)
	a, err := newApp(context.WithoutCancel(ctx), c, log, modules)
	if err != nil {
		return err
	}
	admin, err := httpserver.Listen(c.adminAddr, a.admin(signals.Metrics), 2*time.Minute, log)
	if err != nil {
		return fmt.Errorf("ADMIN_ADDR: %w", err)
	}
	server, err := httpserver.Listen(c.httpAddr, a.router, c.requestTimeout, log)
	if err != nil {
		return fmt.Errorf("HTTP_ADDR: %w", err)
	}
	admin.Serve()
	server.Serve()
	if c.workJobs {
		a.startJobs(ctx)
	}
	if a.redis != nil {
		follow, unfollow := context.WithCancel(context.WithoutCancel(ctx)) // while requests are answered
		defer unfollow()
		go a.verifier.Revoked.Follow(follow, a.redis, log)
	}
	log.Info("serving", "modules", modules, "api", server.Addr(), "admin", admin.Addr(), "version", version())

	select {
	case <-ctx.Done():
	case err = <-server.Failed():
	case err = <-admin.Failed():
	}
	return errors.Join(err, a.stop(server, admin, signals))
}

// startJobs starts the queues, each as soon as its database is there.
func (a *app) startJobs(ctx context.Context) {
	for _, q := range a.queues {
		go func() {
			for {
				err := q.Start(ctx)
				if err == nil {
					return
				}
				a.log.Warn("jobs do not start yet", "error", err)
				select {
				case <-ctx.Done():
					return
				case <-time.After(2 * time.Second):
				}
			}
		}()
	}
}

// flushTimeout is what telemetry gets to be pushed, and connections to come back, when all else has ended.
const flushTimeout = 3 * time.Second

// stop ends everything: first unready, so that balancers send nothing more; then, after the delay, the listener; then what is in
// flight; then jobs, telemetry and pools.
func (a *app) stop(server, admin *httpserver.Server, signals *telemetry.Telemetry) error {
	a.log.Info("draining", "delay", a.config.drainDelay.String())
	a.health.Drain()
	server.Hush()
	time.Sleep(a.config.drainDelay)
	ctx, cancel := context.WithTimeout(context.Background(), a.config.shutdownTimeout)
	defer cancel()
	errs := []error{server.Shutdown(ctx)}
	var stopping sync.WaitGroup
	ended := make([]error, len(a.queues))
	for i, q := range a.queues {
		stopping.Go(func() { ended[i] = q.Stop(ctx) })
	}
	stopping.Wait()
	errs = append(errs, ended...)
	flush, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := signals.Shutdown(flush); err != nil { // a collector that is away makes no bad end of a good one
		a.log.Warn("the last telemetry is lost", "error", err)
	}
	// The same time once more, or a collector that hangs would leave none for connections.
	last, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	errs = append(errs, admin.Shutdown(last))
	closed := make(chan struct{})
	go func() {
		a.close() // waits for every connection to come back
		close(closed)
	}()
	select {
	case <-closed:
	case <-last.Done():
		errs = append(errs, errors.New("connections were still in use"))
	}
	a.log.Info("stopped")
	return errors.Join(errs...)
}

// close gives back connections.
func (a *app) close() {
	for _, p := range a.pools {
		p.Close()
	}
	for _, l := range a.looks {
		l.Close()
	}
	if a.redis != nil {
		_ = a.redis.Close() // nothing is written there that matters
	}
}
