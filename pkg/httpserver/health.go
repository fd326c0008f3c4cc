package httpserver

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Check is one thing that the process needs. Name it as an operator would.
type Check struct {
	Name     string
	Critical bool // before it was well once, or without all of those that are, the process should get no traffic; otherwise it is degraded
	Ask      func(context.Context) error
}

// Health answers /livez and /readyz.
type Health struct {
	log      *slog.Logger
	checks   []Check
	draining atomic.Bool

	mu      sync.Mutex
	results map[string]string // "ok" or what is wrong
	been    map[string]bool   // well, once
	ready   bool
	asked   time.Time
}

const (
	healthCached  = time.Second            // probes come from several places at once
	healthTimeout = 500 * time.Millisecond // of all checks together
)

// NewHealth makes a Health of these checks. Why one fails is for the log, once each time it begins to; that it does is in the metrics, too.
//
// A process that begins without something critical is not ready: its settings may be wrong, or its schema behind. One that loses it later goes on
// with the rest, and what needs it is answered 503: a module's database takes nothing from the other modules.
func NewHealth(log *slog.Logger, checks ...Check) *Health {
	h := &Health{log: log, checks: checks, been: map[string]bool{}}
	if err := h.watch(); err != nil { // constant names
		panic(err)
	}
	return h
}

// watch adds to the metrics what /readyz answers.
func (h *Health) watch() error {
	m := otel.Meter("example.com/groundwork/pkg/httpserver")
	ready, err := m.Int64ObservableGauge("health.ready", metric.WithDescription("1 when the process may get requests, else 0."))
	check, err2 := m.Int64ObservableGauge("health.check", metric.WithDescription("1 when what the process needs is there, else 0."))
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	_, err = m.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		is, results := h.ask(ctx)
		o.ObserveInt64(ready, one(is && !h.draining.Load()))
		for name, result := range results {
			o.ObserveInt64(check, one(result == "ok"), metric.WithAttributes(attribute.String("check", name)))
		}
		return nil
	}, ready, check)
	return err
}

func one(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

// Drain makes the process unready for good.
func (h *Health) Drain() { h.draining.Store(true) }

// Routes adds /livez, which looks at nothing, and /readyz, which says whether to send traffic here; ?verbose names each check.
func (h *Health) Routes(r chi.Router) {
	r.Get("/livez", func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, true, nil) })
	r.Get("/readyz", func(w http.ResponseWriter, r *http.Request) {
		ready, results := h.ask(r.Context())
		if h.draining.Load() {
			ready, results = false, map[string]string{"draining": "the process is about to end"}
		}
		if !r.URL.Query().Has("verbose") {
			results = nil
		}
		writeHealth(w, ready, results)
	})
}

func writeHealth(w http.ResponseWriter, ok bool, checks map[string]string) {
	answer := struct {
		Status string            `json:"status"`
		Checks map[string]string `json:"checks,omitempty"`
	}{"ok", checks}
	w.Header().Set("Content-Type", "application/json")
	if !ok {
		answer.Status = "unready"
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer) // a probe that is gone cannot be told
}

// ask runs the checks side by side, once a second at most however many probes ask.
func (h *Health) ask(ctx context.Context) (bool, map[string]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.asked) < healthCached {
		return h.ready, h.results
	}
	// The answer serves every probe, so it must not end with this one's connection.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
	defer cancel()
	errs := make([]error, len(h.checks))
	var wg sync.WaitGroup
	for i, c := range h.checks {
		wg.Go(func() { errs[i] = c.Ask(ctx) })
	}
	wg.Wait()
	ready, well, results := true, false, map[string]string{}
	for i, c := range h.checks {
		switch {
		case errs[i] == nil:
			results[c.Name], h.been[c.Name], well = "ok", true, well || c.Critical
		case c.Critical:
			ready, results[c.Name] = ready && h.been[c.Name], "failed"
		default:
			results[c.Name] = "degraded"
		}
		if results[c.Name] != "ok" && h.results[c.Name] != results[c.Name] {
			h.log.WarnContext(ctx, "check failed", "check", c.Name, "error", errs[i])
		}
	}
	if slices.ContainsFunc(h.checks, func(c Check) bool { return c.Critical }) {
		ready = ready && well
	}
	h.ready, h.results, h.asked = ready, results, time.Now()
	return ready, results
}
