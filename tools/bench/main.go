// only with auth, users, transactions: this file

// Command bench measures the running program over HTTP, with everything on as in production, against baselines on the same machine and the same
// Postgres, in one run: rates by themselves say little on a machine that others use, and ratios more. `make bench` builds what it needs.
//
//	bench PROGRAM               measure the program of that path; DATABASE_URL and REDIS_URL name the servers
//	bench -baselines ADDRESS    serve what it is measured against (bench starts this by itself)
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"example.com/groundwork/pkg/postgres"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	baseline := flag.String("baselines", "", "serve the baselines at this address; not for you")
	rounds := flag.Int("rounds", 3, "how often each row is measured; the median counts")
	seconds := flag.Duration("for", 5*time.Second, "how long each row is measured in a round")
	only := flag.String("only", "", "a regular expression: measure the rows whose names it matches")
	history := flag.Int("history", 0, "measure with a history of so many entries against one of ten thousand, in place of the comparison")
	identity := flag.Bool("identity", false, "measure logins and renewals, in place of the comparison: hashes take memory, which the others' figure is without")
	profile := flag.String("profile", "", "the folder for a CPU profile of the program under each row, in place of the comparison")
	flag.Parse()
	var err error
	switch {
	case *baseline != "":
		err = serveBaselines(ctx, *baseline)
	case flag.NArg() != 1:
		err = errors.New("name the program to measure: make bench")
	default:
		err = run(ctx, flag.Arg(0), *rounds, *seconds, *only, *profile, *history, *identity)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func serveBaselines(ctx context.Context, address string) error {
	db, err := postgres.Open(ctx, "bench", os.Getenv("BENCH_DATABASE_URL"), 32)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: address, Handler: baselines(db)} //nolint:gosec // on loopback, for a minute
	go func() { <-ctx.Done(); _ = server.Close() }()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// row is one line of the table: a load, and what its rate or its time is held against.
type row struct {
	name    string
	measure func() (result, error)
	against string  // another row
	atLeast float64 // times that one's rate
	atMost  float64 // times that one's median time
	own     bool    // the program's, and no baseline
}

// measured is what became of a row, round by round.
type measured struct {
	rates, p50, p99        []float64 // per second; milliseconds
	loader, server, others float64   // processors kept busy: by us, by what is measured, by Postgres
}

func run(ctx context.Context, program string, rounds int, each time.Duration, only, profile string, history int, identity bool) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	w, err := newWorld(ctx, program)
	if err != nil {
		return err
	}
	defer w.close()
	if history > 0 {
		return w.history(ctx, history, each)
	}
	rows := w.rows(each)
	if identity {
		rows = w.identityRows(each)
	}
	rows = slices.DeleteFunc(rows, func(r row) bool { return !wanted.MatchString(r.name) })
	if profile != "" {
		return w.profiles(ctx, rows, profile, each)
	}
	fmt.Printf("%s\n%d rounds of %s each; medians. Processors are those kept busy on average.\n\n", w.machine(ctx), rounds, each)
	got := map[string]*measured{}
	for round := range rounds {
		for _, r := range rows {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			fmt.Fprintf(os.Stderr, "\rround %d of %d: %-60s", round+1, rounds, r.name)
			if err := w.login(ctx); err != nil { // a token lives five minutes
				return err
			}
			before := w.cpu(r.own)
			out, err := r.measure()
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			after, m := w.cpu(r.own), got[r.name]
			if m == nil {
				m = &measured{}
				got[r.name] = m
			}
			m.rates = append(m.rates, out.rate())
			m.p50, m.p99 = append(m.p50, ms(out.at(0.5))), append(m.p99, ms(out.at(0.99)))
			took := after.at.Sub(before.at).Seconds() * float64(rounds)
			m.loader += (after.loader - before.loader) / took
			m.server += (after.server - before.server) / took
			m.others += (after.postgres - before.postgres) / took
		}
	}
	fmt.Fprintf(os.Stderr, "\r%80s\r", "")
	tell(rows, got)
	memory, err := w.memory()
	fmt.Printf("\nThe most memory that the program had: %d MiB\n", memory)
	return errors.Join(err, w.scans(ctx))
}

// scans tells what was read row by row: on the way of a payment nothing may be, since it grows.
func (w *world) scans(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, w.database)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, _ := conn.Query(ctx, `select relname, seq_scan, seq_tup_read, n_live_tup from pg_stat_user_tables
		where schemaname = 'transactions' and seq_tup_read > 100000 order by seq_tup_read desc`)
	for rows.Next() {
		var table string
		var scans, read, live int64
		if err := rows.Scan(&table, &scans, &read, &live); err != nil {
			return err
		}
		fmt.Printf("Sequential scans of %s: %d, of %d rows in all (it has %d)\n", table, scans, read, live)
	}
	return rows.Err()
}

func tell(rows []row, got map[string]*measured) {
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "what\tper second\tp50 ms\tp99 ms\tCPU loader\tserver\tPostgres\tratio\twanted")
	for _, r := range rows {
		m, ratio, wanted := got[r.name], "", ""
		if b := got[r.against]; b != nil {
			is, wish := median(m.rates)/median(b.rates), fmt.Sprintf("at least %.2f", r.atLeast)
			fits := is >= r.atLeast
			if r.atMost > 0 {
				is, wish = median(m.p50)/median(b.p50), fmt.Sprintf("at most %.2f", r.atMost)
				fits = is <= r.atMost
			}
			ratio, wanted = fmt.Sprintf("%.2f × %s", is, r.against), wish
			if !fits {
				wanted += ": NO"
			}
		}
		fmt.Fprintf(tw, "%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t%s\n",
			r.name, median(m.rates), median(m.p50), median(m.p99), m.loader, m.server, m.others, ratio, wanted)
	}
	_ = tw.Flush()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// machine says on what this was measured.
func (w *world) machine(ctx context.Context) string {
	model := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindStringSubmatch(read("/proc/cpuinfo"))
	var version, durable string
	if conn, err := pgx.Connect(ctx, w.database); err == nil {
		_ = conn.QueryRow(ctx, `select current_setting('server_version'), concat_ws(', ', 'fsync ' || current_setting('fsync'),
			'synchronous_commit ' || current_setting('synchronous_commit'), 'shared_buffers ' || current_setting('shared_buffers'))`).Scan(&version, &durable)
		_ = conn.Close(ctx)
	}
	return fmt.Sprintf("%s, %d processors (%s); %s; Postgres %s (%s); %s",
		runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU(), cmp.Or(append(model, "", "")[1], "unknown"), runtime.Version(), version, durable,
		strings.TrimSpace(w.pgbenchVersion))
}

// usage is processor time used so far, in seconds.
type usage struct {
	at                       time.Time
	loader, server, postgres float64
}

// cpu reads it from /proc; it is all zero where there is none.
func (w *world) cpu(own bool) usage {
	pid := w.baselines.Process.Pid
	if own {
		pid = w.server.Process.Pid
	}
	var self syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &self)
	u := usage{at: time.Now(), loader: time.Duration(self.Utime.Nano() + self.Stime.Nano()).Seconds(), server: ticks(strconv.Itoa(pid), false)}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		if strings.Contains(read(stat), "(postgres)") {
			u.postgres += ticks(filepath.Base(filepath.Dir(stat)), true)
		}
	}
	return u
}

// ticks is the processor time of a process, in seconds, with that of its children that have ended if they count.
func ticks(pid string, children bool) (seconds float64) {
	_, after, _ := strings.Cut(read("/proc/"+pid+"/stat"), ") ")
	fields := strings.Fields(after)
	if len(fields) < 15 {
		return 0
	}
	last := 13 // utime, stime; with cutime, cstime
	if children {
		last = 15
	}
	for _, field := range fields[11:last] {
		n, _ := strconv.Atoi(field)
		seconds += float64(n) / 100
	}
	return seconds
}

// memory is the most that the program has had, in MiB.
func (w *world) memory() (int, error) {
	most := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindStringSubmatch(read(fmt.Sprintf("/proc/%d/status", w.server.Process.Pid)))
	if most == nil {
		return 0, errors.New("this system does not say how much memory a process had")
	}
	kib, err := strconv.Atoi(most[1])
	return kib >> 10, err
}

func read(name string) string {
	text, _ := os.ReadFile(name)
	return string(text)
}

// profiles writes a CPU profile of the program under each of its rows.
func (w *world) profiles(ctx context.Context, rows []row, folder string, each time.Duration) error {
	for _, r := range rows {
		if !r.own {
			continue
		}
		if err := w.login(ctx); err != nil {
			return err
		}
		file := filepath.Join(folder, strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(r.name), "-"), "-")+".pprof")
		fetch := exec.CommandContext(ctx, "go", "tool", "pprof", "-proto", "-output", file, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", w.admin, int(each.Seconds())))
		if err := fetch.Start(); err != nil {
			return err
		}
		_, err := r.measure()
		if err := errors.Join(err, fetch.Wait()); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		fmt.Println(file)
	}
	return nil
}
