package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	authv1 "example.com/groundwork/api/auth/v1"
	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/migrations"
)

// series are what /metrics holds, without their values.
func series(t *testing.T, admin string) (list []string) {
	t.Helper()
	_, _, body := fetch(t, get(admin+"/metrics"))
	for line := range strings.Lines(string(body)) {
		if !strings.HasPrefix(line, "#") {
			list = append(list, line[:strings.LastIndex(line, " ")])
		}
	}
	if len(list) == 0 {
		t.Fatal("/metrics is empty")
	}
	return list
}

// families are the metrics of /metrics and the labels of each.
func families(t *testing.T, admin string) map[string][]string {
	t.Helper()
	_, _, body := fetch(t, get(admin+"/metrics"))
	found := map[string][]string{}
	name := ""
	for line := range strings.Lines(string(body)) {
		if rest, is := strings.CutPrefix(line, "# TYPE "); is {
			name, _, _ = strings.Cut(rest, " ")
			found[name] = nil
			continue
		}
		for _, m := range regexp.MustCompile(`[{,]([a-z_]+)="`).FindAllStringSubmatch(line, -1) {
			if m[1] != "le" && m[1] != "quantile" && !slices.Contains(found[name], m[1]) {
				found[name] = append(found[name], m[1])
			}
		}
	}
	return found
}

// TestTheMetricsOfThePage holds the tables of docs/seeing-in.md against a running server, in both directions.
func TestTheMetricsOfThePage(t *testing.T) {
	t.Parallel()
	env := world(t)
	p := start(t, env)
	tell(t, env, p.url)
	// only with transactions:
	st := &teller{t: t, url: p.url}
	run, err := st.login(env["OPERATOR_EMAIL"], env["OPERATOR_PASSWORD"]).transactions().StartIntegrityWithResponse(t.Context())
	st.wants(202, run, err)
	// end transactions
	page := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|[^|]*\\|([^|]*)\\|$").FindAllStringSubmatch(theTree(t)["docs/seeing-in.md"], -1) {
		page[m[1]] = nil
		for _, label := range span.FindAllStringSubmatch(m[2], -1) {
			page[m[1]] = append(page[m[1]], label[1])
		}
	}
	here := families(t, p.admin)
	missing := func(name string) bool { _, is := here[name]; return !is }
	for range 100 { // a job is measured when it is done
		if !slices.ContainsFunc(slices.Collect(maps.Keys(page)), missing) {
			break
		}
		time.Sleep(100 * time.Millisecond)
		here = families(t, p.admin)
	}
	for name := range page {
		if missing(name) {
			t.Errorf("docs/seeing-in.md has %s, and /metrics does not", name)
		}
	}
	for name, labels := range here {
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		documented, is := page[name]
		if !is {
			t.Errorf("/metrics has %s %q, and docs/seeing-in.md does not", name, labels)
		}
		for _, label := range labels {
			if is && !slices.Contains(documented, label) {
				t.Errorf("%s has a label %s, of which docs/seeing-in.md does not tell", name, label)
			}
		}
		for _, label := range documented {
			if !slices.Contains(labels, label) && label != "error_type" { // nothing has failed
				t.Errorf("docs/seeing-in.md says that %s has a label %s", name, label)
			}
		}
	}
}

// throw sends what nobody foresees to a server: paths, methods, hosts and headers, none of them twice.
func throw(t *testing.T, url, token string) {
	t.Helper()
	address := strings.TrimPrefix(url, "http://")
	for n := range 300 {
		word := fmt.Sprintf("x%d", rand.Uint64())
		line := []string{
			"GET /" + word, "GET /v1/users/" + word, "GET /v1/" + word + "/me", "POST /v1/auth/login?" + word + "=" + word, "DELETE /v1/auth/login/" + word,
			strings.ToUpper(word) + " /v1/auth/login", strings.ToUpper(word) + " /" + word, "GET //" + word + "/%2e%2e/%00", "GET /docs/" + word, "PUT /dev/mail/" + word,
			"GET http://" + word + ".example.com/v1/auth/sessions", "HEAD /v1/auth/identities/" + word,
		}[n%12]
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		host := []string{word + ".example.com", address}[n%2]
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s: %s\r\nUser-Agent: %s\r\nX-Forwarded-For: 203.0.113.%d\r\nX-Request-Id: %s\r\n"+
			"Origin: http://%s.example.com\r\nTraceparent: 00-%032x-%016x-01\r\nTracestate: %s=1\r\nContent-Type: application/%s\r\nAuthorization: Bearer %s\r\nContent-Length: 2\r\n\r\n{}",
			line, host, word, word, word, n%256, word, word, rand.Uint64(), rand.Uint64(), word, word, []string{word, token}[n/12%2])
		if answer, err := io.ReadAll(conn); err != nil || len(answer) == 0 {
			t.Fatalf("%s is not answered: %v", line, err)
		}
		_ = conn.Close()
	}
}

// TestNobodyMakesSeries throws hostile requests at the program twice. After the first time it has measured every answer that there is to them;
// the second time, with other words in them, must add no series.
func TestNobodyMakesSeries(t *testing.T) {
	t.Parallel()
	env := world(t)
	p := start(t, env)
	st := &teller{t: t, url: p.url}
	alice := st.join("alice@example.com")
	made := func(url, admin string) (more []string) {
		throw(t, url, alice.token)
		before := series(t, admin)
		throw(t, url, alice.token)
		for _, s := range series(t, admin) {
			if !slices.Contains(before, s) && !strings.HasPrefix(s, "job_") { // one that runs by the clock
				more = append(more, s)
			}
		}
		return more
	}
	if more := made(p.url, p.admin); len(more) > 0 {
		t.Errorf("callers have made %d series: %q", len(more), more)
	}

	// That it would be found: a server that counts by the path.
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests_total"}, []string{"path"})
	registry.MustRegister(counter)
	naive := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counter.WithLabelValues(strings.ToValidUTF8(r.URL.Path, "")).Inc()
		_, _ = bufio.NewReader(r.Body).WriteTo(io.Discard)
	}))
	t.Cleanup(naive.Close)
	admin := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.Cleanup(admin.Close)
	if more := made(naive.URL, admin.URL); len(more) < 100 {
		t.Errorf("of a server that makes a series of each path %d are found", len(more))
	}
}

// measured is the value of one series, written as /metrics has it but for the order of its labels; -1 when there is none.
func measured(t *testing.T, admin, name string, labels ...string) float64 {
	t.Helper()
	_, _, body := fetch(t, get(admin+"/metrics"))
	for line := range strings.Lines(string(body)) {
		rest, is := strings.CutPrefix(line, name)
		if !is || rest[0] != '{' && rest[0] != ' ' || slices.ContainsFunc(labels, func(label string) bool { return !strings.Contains(rest, label) }) {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndex(rest, " "):]), 64)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	return -1
}

// TestTheMetricsTellWhatIsWrong makes things go wrong, and reads of them what an alert would go by.
func TestTheMetricsTellWhatIsWrong(t *testing.T) {
	t.Parallel()
	env := world(t)
	owner := env["DATABASE_URL"]
	postgres, database := through(t, owner)
	p := start(t, with(env, "DATABASE_URL", database))
	st := &teller{t: t, url: p.url}
	st.gather(env)
	wants := func(what string, ok func(float64) bool, name string, labels ...string) {
		t.Helper()
		var last float64
		eventually(t, what, func() bool { last = measured(t, p.admin, name, labels...); return ok(last) })
	}
	is := func(want float64) func(float64) bool { return func(got float64) bool { return got == want } }

	for _, pool := range append(slices.Clone(migrations.Modules()), "redis") {
		label := `db_client_connection_pool_name="` + pool + `"`
		wants("the pool "+pool+" has an end", func(n float64) bool { return n == 4 || pool == "redis" && n == 20 }, "db_client_connection_max", label)
		wants("the pool "+pool+" has connections", func(n float64) bool { return n > 0 }, "db_client_connection_count", label, `state="idle"`)
		wants("nobody has waited in vain at the pool "+pool, is(0), "db_client_connection_timeouts_total", label)
		wants("nobody waits at the pool "+pool, is(0), "db_client_connection_pending_requests", label)
	}
	for _, m := range migrations.Modules() { // InstanceDown misses a module that no instance tells of
		wants("the module "+m+" is there, and sends nobody away", is(0), "http_server_shed_total", `module="`+m+`"`)
	}
	wants("it is ready", is(1), "health_ready")

	// A job that is due since an hour and that nobody takes, one that is due in an hour, one that was given up, and one that was refused.
	execIn(t, owner, `insert into auth.river_job (kind, args, queue, max_attempts, state, scheduled_at) values
		('x', '{}', 'of nobody', 1, 'available', now() - interval '1 hour'), ('x', '{}', 'of nobody', 1, 'scheduled', now() + interval '1 hour')`)
	execIn(t, owner, `insert into auth.river_job (kind, args, queue, attempt, max_attempts, state, finalized_at) values
		('x', '{}', 'of nobody', 1, 1, 'discarded', now()), ('x', '{}', 'of nobody', 1, 25, 'cancelled', now())`)
	wants("a job waits since an hour", func(age float64) bool { return age >= 3600 && age < 4000 }, "job_queue_age_seconds", `module="auth"`)
	for _, state := range []string{"available", "scheduled", "given-up", "refused"} {
		wants("one job is "+state, is(1), "job_queue_depth", `module="auth"`, `state="`+state+`"`)
	}
	execIn(t, owner, `delete from auth.river_job where queue = 'of nobody'`)
	wants("nothing waits", is(0), "job_queue_age_seconds", `module="auth"`)

	refused, err := st.as("").auth().LoginWithResponse(t.Context(), authv1.Login{Email: "alice@example.com", Password: "not hers, but long enough"})
	st.wants(401, refused, err)
	wants("a login is refused", func(n float64) bool { return n >= 1 }, "auth_events_total", `kind="login.refused"`)
	wants("no session was stolen, and that is told", is(0), "auth_events_total", `kind="session.refresh-reused"`)
	wants("the refusal is a request of auth", func(n float64) bool { return n >= 1 }, "http_server_request_duration_seconds_count",
		`module="auth"`, `http_route="/v1/auth/login"`, `http_response_status_code="401"`)
	// only with transactions:
	alice := st.login("alice@example.com", "the long password of alice@example.com")
	a, b := st.open(alice, transactionsv1.NewAccount{Currency: "EUR"}), st.open(alice, transactionsv1.NewAccount{Currency: "EUR"})
	before := measured(t, p.admin, "batch_size_sum", `group="post batch"`)
	st.wants(422, st.pay(alice, "too much", a, b, 1), nil)
	st.wants(422, st.pay(alice, "too much again", a, b, 1), nil)
	wants("two orders were in batches", is(max(before, 0)+2), "batch_size_sum", `group="post batch"`)
	wants("none was refused", is(0), "batch_refused_total", `group="post batch"`)
	// end transactions

	postgres.Refuse()
	wants("it is not ready", is(0), "health_ready")
	wants("its database is away", is(0), "health_check", `check="postgres auth"`)
	wants("Redis is there", is(1), "health_check", `check="redis"`)
	postgres.Pass()
	wants("it is ready again", is(1), "health_ready")
}
