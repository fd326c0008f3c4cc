package jobs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"example.com/groundwork/pkg/jobs"
	"example.com/groundwork/pkg/postgres"
	"example.com/groundwork/pkg/postgres/pgtest"
)

var (
	spans   = tracetest.NewInMemoryExporter()
	metrics = sdkmetric.NewManualReader()
)

func TestMain(m *testing.M) {
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(metrics)))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	os.Exit(m.Run())
}

type task struct {
	Name string `json:"name"`
}

func (task) Kind() string { return "task" }

// worker does what the test says.
type worker struct {
	river.WorkerDefaults[task]
	do func(ctx context.Context, job *river.Job[task]) error
}

func (w *worker) Work(ctx context.Context, job *river.Job[task]) error { return w.do(ctx, job) }

// world is a queue on a database of its own, in the schema work.
type world struct {
	t     *testing.T
	db    *pgtest.DB
	pool  *pgxpool.Pool
	owner *pgx.Conn
	log   *lines
	*jobs.Queue
}

func newWorld(t *testing.T, do func(ctx context.Context, job *river.Job[task]) error) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, db: pgtest.NewEmpty(t), log: &lines{}}
	w.owner = w.db.Owner()
	w.exec(`create schema work`)
	w.pool = w.open()
	river, err := rivermigrate.New(riverpgxv5.New(w.pool), &rivermigrate.Config{Schema: "work"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := river.Migrate(t.Context(), rivermigrate.DirectionUp, nil); err != nil {
		t.Fatal(err)
	}
	w.Queue = w.process(do)
	return w
}

func (w *world) open() *pgxpool.Pool {
	w.t.Helper()
	pool, err := postgres.Open(w.t.Context(), "test", w.db.OwnerURL, 10)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(pool.Close)
	return pool
}

// process is a queue as one process has it.
func (w *world) process(do func(ctx context.Context, job *river.Job[task]) error) *jobs.Queue {
	w.t.Helper()
	kinds := river.NewWorkers()
	river.AddWorker(kinds, &worker{do: do})
	q, err := jobs.New(w.pool, "work", slog.New(slog.NewTextHandler(io.MultiWriter(w.log, w.t.Output()), nil)), kinds)
	if err != nil {
		w.t.Fatal(err)
	}
	return q
}

func (w *world) start(q *jobs.Queue) {
	w.t.Helper()
	if err := q.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := q.Stop(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) add(ctx context.Context, name string) {
	w.t.Helper()
	if err := postgres.InTx(ctx, w.pool, func(tx pgx.Tx) error { return w.Add(ctx, tx, task{name}) }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) exec(sql string) {
	w.t.Helper()
	if _, err := w.owner.Exec(w.t.Context(), sql); err != nil {
		w.t.Fatal(err)
	}
}

// job is the only job's state, with the number of its tries.
func (w *world) job() (state string, attempt int) {
	w.t.Helper()
	if err := w.owner.QueryRow(context.Background(), `select state::text, attempt from work.river_job`).Scan(&state, &attempt); err != nil {
		w.t.Fatal(err)
	}
	return state, attempt
}

func (w *world) becomes(want string) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		state, attempt := w.job()
		if state == want {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("the job is %s after %d tries, want %s", state, attempt, want)
		}
	}
}

type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// tries is how many with an outcome the metric tells, of all tests.
func tries(outcome string) (n uint64) {
	var all metricdata.ResourceMetrics
	_ = metrics.Collect(context.Background(), &all) // the databases of tests that have ended are not there
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if h, ok := m.Data.(metricdata.Histogram[float64]); ok && m.Name == "job.duration" {
				for _, p := range h.DataPoints {
					if v, _ := p.Attributes.Value(attribute.Key("outcome")); v.AsString() == outcome {
						n += p.Count
					}
				}
			}
		}
	}
	return n
}

func nothing(context.Context, *river.Job[task]) error { return nil }

func TestAJobGoesOnInTheTraceOfItsRequest(t *testing.T) {
	done := make(chan string, 1)
	w := newWorld(t, func(ctx context.Context, _ *river.Job[task]) error {
		_, inner := otel.Tracer("test").Start(ctx, "inside the job")
		defer inner.End()
		done <- inner.SpanContext().TraceID().String()
		return nil
	})
	ctx, request := otel.Tracer("test").Start(t.Context(), "request")
	w.add(ctx, "traced")
	request.End()
	w.start(w.Queue)
	want := request.SpanContext()
	if got := <-done; got != want.TraceID().String() {
		t.Errorf("the job's trace is %s, the request's %s", got, want.TraceID())
	}
	w.becomes("completed")
	found := false
	for _, s := range spans.GetSpans() {
		if s.Name == "job task" && s.SpanContext.TraceID() == want.TraceID() {
			found = s.Parent.SpanID() == want.SpanID()
		}
	}
	if !found {
		t.Error("no span of the job hangs below the request's")
	}
}

func TestAJobExistsIfAndOnlyIfItsTransactionWasCommitted(t *testing.T) {
	w := newWorld(t, nothing)
	undone := errors.New("undone")
	err := postgres.InTx(t.Context(), w.pool, func(tx pgx.Tx) error {
		if err := w.Add(t.Context(), tx, task{"never"}); err != nil {
			return err
		}
		return undone
	})
	if !errors.Is(err, undone) {
		t.Fatal(err)
	}
	w.add(t.Context(), "always")
	var names string
	if err := w.owner.QueryRow(t.Context(), `select string_agg(args->>'name', ' ') from work.river_job`).Scan(&names); err != nil || names != "always" {
		t.Errorf("there are jobs %q: %v", names, err)
	}
}

func TestAJobThatFailsIsTriedAgainAndLoggedOnceATry(t *testing.T) {
	w := newWorld(t, func(_ context.Context, job *river.Job[task]) error {
		switch job.Attempt {
		case 1:
			return errors.New("not today")
		case 2:
			panic("not like this")
		}
		return nil
	})
	w.add(t.Context(), "stubborn")
	w.start(w.Queue)
	for len(w.failures()) < 2 {
		time.Sleep(10 * time.Millisecond)
	}
	w.exec(`update work.river_job set scheduled_at = now() where state = 'retryable'`) // 16 s later
	w.becomes("completed")
	if _, attempt := w.job(); attempt != 3 {
		t.Errorf("%d tries", attempt)
	}
	if f := w.failures(); f[0] != "not today" || !strings.HasPrefix(f[1], "panic: not like this\n") {
		t.Errorf("the failures are %q", f)
	}
	log := w.log.String()
	for says, n := range map[string]int{
		"level=WARN msg=job module=work kind=task": 2, "level=INFO msg=job module=work kind=task": 1, "level=ERROR": 0, "not today": 1, "panic: not like this": 1, "stubborn": 0,
	} {
		if got := strings.Count(log, says); got != n {
			t.Errorf("the log says %q %d times, want %d:\n%s", says, got, n, log)
		}
	}
}

func (w *world) failures() (list []string) {
	w.t.Helper()
	rows, _ := w.owner.Query(context.Background(), `select e->>'error' from work.river_job, unnest(errors) with ordinality u(e, n) order by n`)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func TestTheLastFailureIsAnError(t *testing.T) {
	w := newWorld(t, func(context.Context, *river.Job[task]) error { return errors.New("never") })
	w.add(t.Context(), "hopeless")
	w.exec(`update work.river_job set max_attempts = 1`)
	w.start(w.Queue)
	w.becomes("discarded")
	if log := w.log.String(); strings.Count(log, "level=ERROR msg=job") != 1 {
		t.Errorf("the log says %s", log)
	}
}

func TestStopGivesARunningJobTime(t *testing.T) {
	began := make(chan struct{})
	w := newWorld(t, func(ctx context.Context, _ *river.Job[task]) error {
		close(began)
		select {
		case <-time.After(500 * time.Millisecond):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	w.add(t.Context(), "slow")
	ctx, cancel := context.WithCancel(t.Context())
	if err := w.Start(ctx); err != nil {
		t.Fatal(err)
	}
	<-began
	cancel() // the signal that ends the program: it must not end the job
	w.add(t.Context(), "late")
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	var states string
	err := w.owner.QueryRow(t.Context(), `select string_agg(args->>'name' || ' ' || state, ', ' order by id) from work.river_job`).Scan(&states)
	if err != nil || strings.Replace(states, "late completed", "late available", 1) != "slow completed, late available" {
		t.Errorf("after the stop: %s %v", states, err)
	}
}

func TestAJobThatDoesNotEndIsCancelledAndTriedElsewhere(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as a stop may")
	}
	began := make(chan struct{})
	w := newWorld(t, func(ctx context.Context, _ *river.Job[task]) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	})
	w.add(t.Context(), "endless")
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-began
	stopping := time.Now()
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(stopping); took < 9*time.Second || took > 15*time.Second {
		t.Errorf("the stop took %v", took)
	}
	w.start(w.process(nothing))
	w.becomes("completed")
}

// A process that died leaves its job as running for ever. Another one takes it over when it is older than any try can be.
func TestAJobOfADeadProcessIsRescued(t *testing.T) {
	w := newWorld(t, nothing)
	for _, name := range []string{"dead", "alive"} {
		w.add(t.Context(), name)
	}
	w.exec(`update work.river_job set state = 'running', attempt = 1, attempted_by = '{gone}', attempted_at = now() - case args->>'name' when 'dead' then interval '31 seconds' else interval '5 seconds' end`)
	w.start(w.Queue)
	states := ""
	for end := time.Now().Add(30 * time.Second); states != "dead completed, alive running" && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err := w.owner.QueryRow(t.Context(), `select string_agg(args->>'name' || ' ' || state, ', ' order by id) from work.river_job`).Scan(&states); err != nil {
			t.Fatal(err)
		}
	}
	if states != "dead completed, alive running" {
		t.Errorf("the jobs are: %s", states)
	}
}

func TestStartWaitsForNobodyAndCanBeRepeated(t *testing.T) {
	w := newWorld(t, nothing)
	w.add(t.Context(), "patient")
	gone := w.open()
	gone.Close()
	kinds := river.NewWorkers()
	river.AddWorker(kinds, &worker{do: nothing})
	away, err := jobs.New(gone, "work", slog.New(slog.DiscardHandler), kinds)
	if err != nil {
		t.Fatalf("a queue whose database is away is not made: %v", err)
	}
	for range 2 {
		if err := away.Start(t.Context()); err == nil {
			t.Error("it starts although its database is away")
		}
	}
	if err := away.Stop(t.Context()); err != nil {
		t.Errorf("stopping what never started: %v", err)
	}
	w.start(w.Queue)
	w.becomes("completed")
}

// What every process does for itself is done from Start to Stop, and no more after that.
func TestChores(t *testing.T) {
	w := newWorld(t, nothing)
	var done atomic.Int64
	w.Every(time.Millisecond, func(context.Context) { done.Add(1) })
	if done.Load() != 0 {
		t.Error("it begins before Start")
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); done.Load() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it was done %d times", done.Load())
		}
	}
	if err := w.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	last := done.Load()
	time.Sleep(20 * time.Millisecond)
	if done.Load() != last {
		t.Error("it goes on after Stop")
	}
}

// One that does not end is not waited for any longer than a stop may take.
func TestAChoreThatHangs(t *testing.T) {
	w := newWorld(t, nothing)
	begun, end := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(end) })
	w.Every(time.Hour, func(context.Context) { close(begun); <-end })
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	stopped := make(chan struct{})
	go func() { _ = w.Stop(ctx); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(20 * time.Second):
		t.Error("Stop waits for it")
	}
}

// What is given up waits for a person, who sees why and has it tried again, or says that it is not to be done.
func TestAPersonDecidesAboutWhatFailed(t *testing.T) {
	var mended atomic.Bool
	w := newWorld(t, func(context.Context, *river.Job[task]) error {
		if !mended.Load() {
			panic("a mistake of ours\nwith a second line")
		}
		return nil
	})
	if none, err := jobs.NewDesk(t.Context(), w.pool, "public"); none != nil || err != nil {
		t.Errorf("a module without jobs has the desk %v: %v", none, err)
	}
	desk, err := jobs.NewDesk(t.Context(), w.pool, "work")
	if err != nil {
		t.Fatal(err)
	}
	failed := func(want int) []jobs.Job {
		t.Helper()
		list, err := desk.Failed(t.Context(), 0)
		if err != nil || len(list) != want {
			t.Fatalf("%d failed, want %d: %v %v", len(list), want, list, err)
		}
		return list
	}
	failed(0)
	w.add(t.Context(), "poison")
	w.exec(`update work.river_job set max_attempts = 1`)
	w.start(w.Queue)
	w.becomes("discarded")
	w.exec(`update work.river_job set finalized_at = now() - interval '10 years'`) // no cleaner takes it
	j := failed(1)[0]
	if j.State != jobs.GivenUp || j.Kind != "task" || j.Args != `{"name": "poison"}` || j.Attempt != 1 || !strings.HasPrefix(j.Failure, "panic: a mistake of ours") || strings.Contains(j.Failure, "\n") {
		t.Errorf("%+v", j)
	}
	if err := errors.Join(desk.Retry(t.Context(), j.ID+1), desk.Drop(t.Context(), j.ID+1)); err == nil || strings.Count(err.Error(), "no such job") != 2 {
		t.Errorf("of a job that is not there: %v", err)
	}
	mended.Store(true)
	if err := desk.Retry(t.Context(), j.ID); err != nil {
		t.Fatal(err)
	}
	w.becomes("completed")
	if err := errors.Join(desk.Retry(t.Context(), j.ID), desk.Drop(t.Context(), j.ID)); err == nil || strings.Count(err.Error(), "no such job") != 2 {
		t.Errorf("one that is done is done again: %v", err)
	}
	failed(0)
	mended.Store(false)
	w.exec(`delete from work.river_job`)
	w.add(t.Context(), "hopeless")
	w.becomes("retryable")
	if err := desk.Drop(t.Context(), failed(1)[0].ID); err != nil {
		t.Fatal(err)
	}
	failed(0)
}

// What is refused for good is not tried again by itself. It is no failure of ours, and there for somebody who asks.
func TestWhatIsRefusedIsSeen(t *testing.T) {
	before := tries("refused")
	var mended atomic.Bool
	w := newWorld(t, func(context.Context, *river.Job[task]) error {
		if !mended.Load() {
			return fmt.Errorf("the last one: %w", jobs.Refuse(errors.New("550 no such mailbox")))
		}
		return nil
	})
	w.add(t.Context(), "refused")
	w.start(w.Queue)
	w.becomes("cancelled")
	w.exec(`update work.river_job set finalized_at = now() - interval '29 days'`)
	desk, err := jobs.NewDesk(t.Context(), w.pool, "work")
	if err != nil {
		t.Fatal(err)
	}
	list, err := desk.Failed(t.Context(), 0)
	if err != nil || len(list) != 1 || list[0].State != jobs.Refused || !strings.Contains(list[0].Failure, "550 no such mailbox") {
		t.Fatalf("%+v %v", list, err)
	}
	if log := w.log.String(); !strings.Contains(log, "level=WARN msg=job") || !strings.Contains(log, "outcome=refused") {
		t.Errorf("the log says %s", log)
	}
	if tries("refused") != before+1 {
		t.Error("the metric does not tell it")
	}
	mended.Store(true)
	if err := desk.Retry(t.Context(), list[0].ID); err != nil {
		t.Fatal(err)
	}
	w.becomes("completed")
}

// What was refused goes after thirty days, what was given up never: a person decides about it.
func TestWhatIsKeptAndWhatGoes(t *testing.T) {
	w := newWorld(t, nothing)
	for _, name := range []string{"refused, young", "refused, old", "given up"} {
		w.add(t.Context(), name)
	}
	w.exec(`update work.river_job set state = 'cancelled', finalized_at = now() - interval '29 days' where args ->> 'name' = 'refused, young'`)
	w.exec(`update work.river_job set state = 'cancelled', finalized_at = now() - interval '31 days' where args ->> 'name' = 'refused, old'`)
	w.exec(`update work.river_job set state = 'discarded', finalized_at = now() - interval '10 years' where args ->> 'name' = 'given up'`)
	w.start(w.Queue)
	var names string
	for end := time.Now().Add(30 * time.Second); names != "given up; refused, young"; time.Sleep(50 * time.Millisecond) {
		if err := w.owner.QueryRow(t.Context(), `select string_agg(args ->> 'name', '; ' order by args ->> 'name') from work.river_job`).Scan(&names); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatalf("there are: %s", names)
		}
	}
}

// A burst waits its turn: each job is done once, and none is lost when the process that works them goes.
func TestABurstWaitsAndIsDoneOnce(t *testing.T) {
	const many = 300
	var done sync.Map
	var count, twice atomic.Int64
	do := func(_ context.Context, job *river.Job[task]) error {
		if _, was := done.LoadOrStore(job.ID, true); was {
			twice.Add(1)
		}
		count.Add(1)
		return nil
	}
	w := newWorld(t, do)
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range many {
		if err := w.Add(t.Context(), tx, task{fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Queue.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for count.Load() < many/10 {
		time.Sleep(time.Millisecond)
	}
	if err := w.Stop(context.Background()); err != nil { // in the middle of it
		t.Fatal(err)
	}
	if count.Load() == many {
		t.Fatal("it was all done before the process went")
	}
	w.start(w.process(do)) // another one
	for end := time.Now().Add(time.Minute); count.Load() < many; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %d are done", count.Load(), many)
		}
	}
	if twice.Load() > 0 {
		t.Errorf("%d are done twice", twice.Load())
	}
}
