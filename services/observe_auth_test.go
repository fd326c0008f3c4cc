package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	yaml "github.com/oasdiff/yaml3"

	authv1 "example.com/groundwork/api/auth/v1"
	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/migrations"
)

const observability = "deploy/observability/"

// watcher is a running Prometheus.
type watcher struct {
	t   *testing.T
	url string
}

// watching starts a Prometheus with these rules, which scrapes the named address so often, or, without one, is pushed to.
func watching(t *testing.T, rules, scraped, every string) *watcher {
	t.Helper()
	binary := os.Getenv("NEED_PROMETHEUS")
	if binary == "" {
		t.Skip("it needs a Prometheus: `make observe` builds one and runs it")
	}
	dir, address := t.TempDir(), free(t)
	config := "global: {scrape_interval: " + every + ", evaluation_interval: 1s}\nrule_files: [rules.yml]\n"
	if scraped != "" {
		config += fmt.Sprintf("scrape_configs: [{job_name: groundwork, static_configs: [{targets: [%q]}]}]\n", scraped)
	}
	for name, content := range map[string]string{"prometheus.yml": config, "rules.yml": rules} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said := &logs{}
	cmd := exec.Command(binary, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--web.enable-otlp-receiver", "--log.level=warn")
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus said:\n%s", said)
		}
	})
	w := &watcher{t, "http://" + address}
	eventually(t, "Prometheus is ready", func() bool {
		resp, err := http.Get(w.url + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return w
}

// point is one series of an answer, with its value now.
type point struct {
	Metric map[string]string
	Value  [2]any
}

func (s point) String() string {
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(s.Metric)) {
		if name != "job" && name != "instance" && name != "__name__" {
			labels = append(labels, name+"="+s.Metric[name])
		}
	}
	return strings.Join(labels, " ") + " " + fmt.Sprint(s.Value[1])
}

// ask returns what a query finds now, without what is no number: a quantile of nothing.
func (w *watcher) ask(query string) (found []point) {
	w.t.Helper()
	_, _, body := fetch(w.t, get(w.url+"/api/v1/query?query="+url.QueryEscape(query)))
	var answer struct {
		Status, Error string
		Data          struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "success" {
		w.t.Fatalf("%s: %s %v", query, answer.Error, err)
	}
	if err := json.Unmarshal(answer.Data.Result, &found); err != nil || answer.Data.ResultType != "vector" {
		w.t.Fatalf("%s: %s %v", query, answer.Data.ResultType, err)
	}
	return slices.DeleteFunc(found, func(s point) bool { return s.Value[1] == "NaN" })
}

// question is a query, and where it stands.
type question struct{ where, query string }

// asked are all queries of dashboards, rules and runbooks. What Grafana puts in for itself is put in.
func questions(t *testing.T) (list []question) {
	t.Helper()
	tree := theTree(t)
	for _, name := range tree.match(observability + "dashboards/*.json") {
		var dashboard struct {
			Panels []struct {
				Title, Type string
				Targets     []struct{ Expr string }
			}
			Templating struct {
				List []struct{ Type, Definition string }
			}
		}
		if err := json.Unmarshal([]byte(tree[name]), &dashboard); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		filled := strings.NewReplacer("$__rate_interval", "30s", "$module", ".+")
		for _, p := range dashboard.Panels {
			if len(p.Targets) == 0 && p.Type != "row" {
				t.Errorf("%s: the panel %q asks for nothing", name, p.Title)
			}
			for _, target := range p.Targets {
				list = append(list, question{path.Base(name) + ": " + p.Title, filled.Replace(target.Expr)})
			}
		}
		for _, v := range dashboard.Templating.List {
			if m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Definition); m != nil {
				list = append(list, question{path.Base(name) + ": choice of a " + m[2], "count by (" + m[2] + ") (" + m[1] + ")"})
			}
		}
	}
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Record, Expr string }
		}
	}
	if err := yaml.Unmarshal([]byte(tree[observability+"rules.yml"]), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Record != "" {
				list = append(list, question{"rules.yml: " + r.Record, r.Record}, question{"rules.yml: " + r.Record + ", worked out", r.Expr})
				continue
			}
			// An alert finds nothing while all is well: each series that it looks at has to be there.
			for _, selector := range regexp.MustCompile(`[a-z_]+:[a-z0-9_:]+|[a-z]+(?:_[a-z]+)+(?:\{[^}]*\})?|\bup\{[^}]*\}`).FindAllString(byClause.ReplaceAllString(r.Expr, ""), -1) {
				list = append(list, question{"rules.yml: " + r.Alert + " looks at", strings.TrimSpace(selector)})
			}
		}
	}
	for _, p := range tree.pages() {
		for _, b := range p.blocks {
			if b.lang == "promql" {
				list = append(list, question{path.Base(p.name) + ":" + strconv.Itoa(b.line), strings.TrimSpace(b.text)})
			}
		}
	}
	return list
}

// byClause is what an expression says of labels and not of series, or the name of a function.
var byClause = regexp.MustCompile(`\b(?:by|on|group_left|ignoring|without) \([^)]*\)|\b[a-z_]+\(`)

// callsAnother reports whether a module calls one that is here, other than for keys to verify tokens with.
func callsAnother(module string) bool {
	return slices.ContainsFunc(modules[module].calls, func(callee string) bool { return callee != "auth" && slices.Contains(migrations.Modules(), callee) })
}

// TestPrometheusFindsWhatIsAskedFor asks every query of the dashboards, the rules and the runbooks of a Prometheus that scrapes a server under
// a short story, and of one to which the server pushes, and runs the runbooks' SQL.
func TestPrometheusFindsWhatIsAskedFor(t *testing.T) {
	rules := theTree(t)[observability+"rules.yml"]
	pushed := watching(t, rules, "", "1s")
	env := world(t)
	owner := env["DATABASE_URL"]
	postgres, database := through(t, owner)
	p := start(t, with(env, "DATABASE_URL", database, "OTEL_EXPORTER_OTLP_ENDPOINT", pushed.url+"/api/v1/otlp", "OTEL_METRIC_EXPORT_INTERVAL", "1000", "OTEL_TRACES_EXPORTER", "none"))
	scraping := watching(t, rules, strings.TrimPrefix(p.admin, "http://"), "1s")
	st := &teller{t: t, url: p.url}
	people := st.gather(env)
	for _, chapter := range chapters {
		chapter.tell(st, people)
	}
	people.alice, people.bob = st.login("alice@example.com", "the long password of alice@example.com"), st.login("bob@example.com", "the long password of bob@example.com")
	// only with transactions:
	from, to := st.open(people.alice, transactionsv1.NewAccount{Currency: "EUR"}), st.open(people.bob, transactionsv1.NewAccount{Currency: "EUR"})
	till := st.open(people.operator, transactionsv1.NewAccount{Currency: "EUR", Kind: new(transactionsv1.AccountKindExternal)})
	st.wants(201, st.pay(people.operator, "in", till, from, 1_000_000), nil)
	// end transactions
	round := func() {
		st.login("bob@example.com", "the long password of bob@example.com")
		wrong, err := st.as("").auth().LoginWithResponse(t.Context(), authv1.Login{Email: "alice@example.com", Password: "not hers, but long enough"})
		if st.must(err); wrong.StatusCode() != 401 && wrong.StatusCode() != 429 {
			t.Fatalf("a wrong password is answered %d", wrong.StatusCode())
		}
		// only with users:
		me, err := people.alice.users().GetMeWithResponse(t.Context(), nil)
		st.wants(200, me, err)
		st.join(uuid.NewString() + "@example.com") // of whom auth tells users
		// end users
		// only with transactions:
		st.wants(201, st.pay(people.alice, uuid.NewString(), from, to, 1), nil)
		st.wants(422, st.pay(people.bob, uuid.NewString(), to, from, 1_000_000_000), nil)
		st.wants(404, st.pay(people.bob, uuid.NewString(), from, to, 1), nil)
		read, err := people.alice.transactions().GetAccountWithResponse(t.Context(), from, nil)
		st.wants(200, read, err)
		run, err := people.operator.transactions().StartIntegrityWithResponse(t.Context())
		st.wants(202, run, err)
		// end transactions
	}
	postgres.Refuse() // so that there are failures to be seen
	failed, err := st.as("").auth().LoginWithResponse(t.Context(), authv1.Login{Email: "bob@example.com", Password: "the long password of bob@example.com"})
	st.wants(503, failed, err)
	postgres.Pass()
	well := 0 // each module finds its broken connections by using them
	eventually(t, "every module has its connections again", func() bool {
		for _, address := range []string{
			"/v1/auth/sessions",
			// only with users:
			"/v1/users/me",
			// end users
			// only with transactions:
			"/v1/accounts",
			// end transactions
		} {
			asked := get(p.url + address)
			asked.Header.Set("Authorization", "Bearer "+people.alice.token)
			status, _, _ := fetch(t, asked)
			well++
			if status != http.StatusOK {
				well = 0
			}
		}
		return well > 30
	})
	round()

	for how, w := range map[string]*watcher{"scraped": scraping, "pushed": pushed} {
		all := questions(t)
		found := make([][]point, len(all))
		excuse := func(q question) string {
			switch {
			case how == "pushed" && regexp.MustCompile(`\b(up|process_\w+|go_\w+)\b`).MatchString(q.query):
				return "is scraped only" // whether there was an answer, and what the client of Prometheus says of the process
			case strings.Contains(q.query, "http_client_") && !slices.ContainsFunc(migrations.Modules(), callsAnother):
				return "is not there: no module of this backend calls another"
			case strings.Contains(q.query, `outcome="refused"`):
				return "is not there: no job was refused"
			}
			return ""
		}
		missing := ""
		for range 60 {
			round()
			missing = ""
			for i, q := range all {
				if found[i] = w.ask(q.query); len(found[i]) == 0 && excuse(q) == "" {
					missing += "\n" + q.where + " finds nothing: " + q.query
				}
			}
			if missing == "" {
				break
			}
			time.Sleep(500 * time.Millisecond)
		}
		if missing != "" {
			t.Fatalf("%s:%s", how, missing)
		}
		said := ""
		for i, q := range all {
			if len(found[i]) == 0 {
				said += fmt.Sprintf("\n%-55s   –     %s", q.where, excuse(q))
				continue
			}
			said += fmt.Sprintf("\n%-55s %3d     %s", q.where, len(found[i]), found[i][0])
		}
		t.Attr("figure", fmt.Sprintf("%s: %d queries of rules and dashboards, %d without a series, each with its excuse", how, len(all), strings.Count(said, " –  ")))
		t.Logf("%s, every query, how many series it found and the first of them:%s", how, said)
	}
	ran := 0
	for _, page := range theTree(t).pages() {
		for _, b := range page.blocks {
			if b.lang != "sql" || path.Dir(page.name) != "docs/runbooks" {
				continue
			}
			for _, m := range migrations.Modules() {
				execIn(t, owner, strings.NewReplacer("<module>", m, "<id>", "0").Replace(b.text))
			}
			ran++
		}
	}
	if ran == 0 {
		t.Error("no runbook has SQL")
	}
}

// only with transactions:

var lasting = regexp.MustCompile(`(\[|for: )(\d+)([mhd])`)

// shortened has every rule look back, and wait, for a fifteenth of the time. What it compares with stays.
func shortened(rules string) string {
	return lasting.ReplaceAllStringFunc(rules, func(s string) string {
		m := lasting.FindStringSubmatch(s)
		n, _ := strconv.Atoi(m[2])
		return fmt.Sprintf("%s%ds", m[1], n*map[string]int{"m": 60, "h": 3600, "d": 86400}[m[3]]/15)
	})
}

// TestPrometheusAlertsBeforePeopleNotice makes Postgres slow under a light load. The alert is to fire while every request is answered, and as
// soon as the targets promise.
func TestPrometheusAlertsBeforePeopleNotice(t *testing.T) {
	env := world(t)
	postgres, database := through(t, env["DATABASE_URL"])
	p := start(t, with(env, "DATABASE_URL", database))
	// A scrape asks the database, too, and may take as long as there is between two.
	w := watching(t, shortened(theTree(t)[observability+"rules.yml"]), strings.TrimPrefix(p.admin, "http://"), "3s")
	st := &teller{t: t, url: p.url}
	people := st.gather(env)
	from, to := st.open(people.alice, transactionsv1.NewAccount{Currency: "EUR"}), st.open(people.bob, transactionsv1.NewAccount{Currency: "EUR"})
	till := st.open(people.operator, transactionsv1.NewAccount{Currency: "EUR", Kind: new(transactionsv1.AccountKindExternal)})
	st.wants(201, st.pay(people.operator, "in", till, from, 1_000_000), nil)
	requests := 0
	var slowest time.Duration
	until := func(what string, ok func() bool) {
		t.Helper()
		for range 600 {
			if ok() {
				return
			}
			for range 4 { // people read more than they pay
				began := time.Now()
				read, err := people.alice.transactions().GetAccountWithResponse(t.Context(), from, nil)
				st.wants(200, read, err)
				slowest = max(slowest, time.Since(began))
			}
			began := time.Now()
			st.wants(201, st.pay(people.alice, uuid.NewString(), from, to, 1), nil)
			slowest = max(slowest, time.Since(began))
			requests += 5
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("in %d requests it never happened that %s", requests, what)
	}
	is := func(state string) func() bool {
		return func() bool {
			return len(w.ask(`ALERTS{alertname="DatabaseSlow",module="transactions",alertstate="`+state+`"}`)) > 0
		}
	}
	none := func() bool { return len(w.ask(`ALERTS{alertname="DatabaseSlow",module="transactions"}`)) == 0 }
	until("the statements are measured, and fast", func() bool {
		return none() && len(w.ask(`db:slow:ratio_rate5m{module="transactions"} < 0.1 and count_over_time(db:slow:ratio_rate5m[1m]) >= 3`)) > 0
	})
	t.Logf("well: %d requests, the slowest took %s", requests, slowest.Round(time.Millisecond))

	postgres.Slow(27 * time.Millisecond) // in both directions: a statement takes a little more than 50 ms
	began := time.Now()
	requests, slowest = 0, 0
	until("the alert is pending", is("pending"))
	t.Logf("slow: the alert is pending after %s", time.Since(began).Round(time.Second))
	until("the alert fires", is("firing"))
	t.Attr("figure", fmt.Sprintf("statements take ten times as long: the alert fires while %d requests are answered well, the slowest in %s", requests, slowest.Round(time.Millisecond)))
	t.Logf("slow: it fires after %s (with windows of a fifteenth); meanwhile %d requests were answered well, the slowest in %s",
		time.Since(began).Round(time.Second), requests, slowest.Round(time.Millisecond))

	bad := w.ask(`slo:bad:ratio_rate1h{module="transactions"} / on (slo) group_left () slo:budget:ratio`)
	for _, s := range bad {
		rate, err := strconv.ParseFloat(fmt.Sprint(s.Value[1]), 64)
		if err != nil || rate >= 1 {
			t.Errorf("people have noticed: of the budget for %s %v times as much is used as there is", s.Metric["slo"], s.Value[1])
		}
	}
	if len(bad) != 2 {
		t.Errorf("the budgets are %v", bad)
	}
	if early := w.ask(`count by (alertname, module) (count_over_time(ALERTS{alertname=~"BudgetBurns.*|PoolExhausted|InstanceDown",alertstate="firing"}[1h]))`); len(early) > 0 {
		t.Errorf("other alerts as well: %v", early)
	}
	postgres.Pass()
	until("the alert ends", none)
}

// end transactions
