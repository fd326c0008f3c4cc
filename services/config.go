package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/mail"
	"example.com/groundwork/pkg/seal"
	"example.com/groundwork/pkg/secret"
)

// config is every setting, as the program uses it.
type config struct {
	environment          string
	httpAddr, adminAddr  string
	issuer               string
	databaseURL          secret.Text
	databaseURLs         map[string]secret.Text // by module
	databaseMaxConns     int
	redisURL             secret.Text
	urls                 map[string]string      // peers, by module
	clientSecrets        map[string]secret.Text // by module
	keyEncryptionKey     secret.Text
	keyEncryptionKeyFile string
	// only with auth:
	smtpURL           secret.Text
	mailFrom          string
	passwordMinLength int
	operatorEmail     string
	operatorPassword  secret.Text
	// end auth
	rateLimit       float64 // 0: off
	requestTimeout  time.Duration
	workJobs        bool
	drainDelay      time.Duration
	shutdownTimeout time.Duration
	trustedProxies  []string
	allowedOrigins  httpserver.Origins
	logLevel        slog.LevelVar // which the admin listener changes
	pushTraces      bool
	pushMetrics     bool
	traceSample     float64

	effective map[string]secret.Text // every setting by name, as it is used
}

func (c *config) local() bool { return c.environment == "local" }

// setting is one environment variable: what it is for, what it is when nobody says, and how it is read.
type setting struct {
	name     string
	fallback string // elsewhere
	local    string // in local runs, when that differs; in angle brackets what derive works out
	meaning  string
	secret   bool
	set      func(value string) error
}

// settings lists them all, in the order of the README's table.
func settings(c *config) []setting {
	c.databaseURLs, c.urls, c.clientSecrets = map[string]secret.Text{}, map[string]string{}, map[string]secret.Text{}
	list := []setting{
		{"ENVIRONMENT", "production", "", "`production`, or `local` for a run on one's own machine", false, oneOf(&c.environment, "production", "local")},
		{"HTTP_ADDR", ":8080", "127.0.0.1:8080", "where the API listens", false, address(&c.httpAddr)},
		{"ADMIN_ADDR", "127.0.0.1:9090", "", "where /metrics and pprof listen; never public", false, address(&c.adminAddr)},
		{"ISSUER", "", "<http://HTTP_ADDR>", "public address of the API; who signs the tokens (`iss`, `aud`)", false, httpURL(&c.issuer)},
		{"DATABASE_URL", "", "", "Postgres as the owner of everything; for `migrate` only", true, postgresURL(hidden(&c.databaseURL))},
	}
	for _, m := range migrations.Modules() {
		list = append(list, setting{strings.ToUpper(m) + "_DATABASE_URL", "", "<from DATABASE_URL>", "Postgres as the login of " + m, true, postgresURL(entry(c.databaseURLs, m, secret.New))})
	}
	list = append(list,
		setting{"DATABASE_MAX_CONNS", "10", "", "connections of each module's pool", false, integer(&c.databaseMaxConns, 2, 1000)},
		setting{"REDIS_URL", "", "", "Redis: counters and a cache; what is in it may be lost", true, checked(hidden(&c.redisURL), func(v string) error {
			if _, err := redis.ParseURL(v); err != nil {
				return errors.New("a redis:// address") // without err: it may hold the password
			}
			return nil
		})})
	for _, m := range migrations.Modules() {
		list = append(list, setting{strings.ToUpper(m) + "_URL", "", "", "where " + m + " answers when it does not run in this process", false, checked(entry(c.urls, m, strings.TrimSpace), httpURL(new(string)))})
	}
	for _, m := range migrations.Modules() {
		list = append(list, setting{strings.ToUpper(m) + "_CLIENT_SECRET", "", "", "what " + m + " gets its tokens for; needed when modules run apart, auth needs all", true, entry(c.clientSecrets, m, secret.New)})
	}
	return append(list,
		setting{"KEY_ENCRYPTION_KEY", "", "", "32 bytes in base64 that encrypt the keys of personal data", true, checked(hidden(&c.keyEncryptionKey), func(v string) error {
			_, err := seal.KeyEncryptionKey(v)
			return err
		})},
		setting{"KEY_ENCRYPTION_KEY_FILE", "", ".local/key-encryption-key", "the same in a file; made when missing in local runs", false, text(&c.keyEncryptionKeyFile)},
		// only with auth:
		setting{"SMTP_URL", "", "", "smtp:// or smtps:// server; in local runs a mailbox at /dev/mail when absent", true, checked(hidden(&c.smtpURL), func(v string) error {
			_, err := mail.SMTP(v, "no-reply@localhost")
			return err
		})},
		setting{"MAIL_FROM", "Groundwork <no-reply@localhost>", "", "sender of mails", false, text(&c.mailFrom)},
		setting{"PASSWORD_MIN_LENGTH", "15", "", "characters of a new password; at least 8", false, integer(&c.passwordMinLength, 8, 128)},
		// end auth
		setting{"RATE_LIMIT", "50", "", "requests per second and caller in each process, or `off` (failed logins are throttled all the same)", false, rate(&c.rateLimit)},
		setting{"REQUEST_TIMEOUT", "15s", "", "the longest a request may take", false, duration(&c.requestTimeout, time.Second, 10*time.Minute)},
		setting{"WORK_JOBS", "true", "", "`false`: only answer, and leave background work to other processes", false, yesOrNo(&c.workJobs)},
		setting{"DRAIN_DELAY", "5s", "0s", "from unready to taking no more requests, at the end", false, duration(&c.drainDelay, 0, 5*time.Minute)},
		setting{"SHUTDOWN_TIMEOUT", "20s", "", "what requests and jobs in flight get to finish, at the end", false, duration(&c.shutdownTimeout, time.Second, 10*time.Minute)},
		setting{"TRUSTED_PROXIES", "", "", "networks (CIDR, commas between) whose X-Forwarded-For is believed", false, prefixes(&c.trustedProxies)},
		setting{"ALLOWED_ORIGINS", "", "http://localhost:3000", "web origins (commas between) whose pages may call the API: docs/browsers.md", false, origins(&c.allowedOrigins)},
		setting{"LOG_LEVEL", "info", "", "debug, info, warn or error", false, func(v string) error { return c.logLevel.UnmarshalText([]byte(v)) }},
		setting{"OTEL_EXPORTER_OTLP_ENDPOINT", "", "", "collector for traces and metrics; silent when absent. The other OTEL_EXPORTER_OTLP_* are read too", false, push(&c.pushTraces, &c.pushMetrics)},
		setting{"OTEL_SDK_DISABLED", "false", "", "`true`: push nothing", false, disable(&c.pushTraces, &c.pushMetrics, "true")},
		setting{"OTEL_TRACES_EXPORTER", "otlp", "", "`none`: push no traces", false, disable(&c.pushTraces, nil, "none")},
		setting{"OTEL_METRICS_EXPORTER", "otlp", "", "`none`: push no metrics", false, disable(&c.pushMetrics, nil, "none")},
		setting{"TRACE_SAMPLE", "0.1", "1", "share of traces that is kept", false, share(&c.traceSample)},
		// only with auth:
		setting{"OPERATOR_EMAIL", "", "", "the account that `operator` makes", false, text(&c.operatorEmail)},
		setting{"OPERATOR_PASSWORD", "", "", "and its password", true, hidden(&c.operatorPassword)},
		// end auth
	)
}

// load reads every setting for serving these modules (none for other commands) and reports all mistakes at once. Values never stand in
// them: they may be secrets.
func load(getenv func(string) string, modules []string) (*config, []setting, error) {
	c := &config{effective: map[string]secret.Text{}}
	list := settings(c)
	local := getenv("ENVIRONMENT") == "local"
	var wrong []error
	for _, s := range list {
		v := value(s, local, getenv)
		c.effective[s.name] = secret.New(v)
		if err := s.set(v); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	wrong = append(wrong, c.derive(), c.refuseDevelopment())
	if len(modules) > 0 {
		wrong = append(wrong, c.need(modules))
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, nil, fmt.Errorf("settings:\n%w", err)
	}
	return c, list, nil
}

// value is what a setting is, said or not.
func value(s setting, local bool, getenv func(string) string) string {
	if v := getenv(s.name); v != "" {
		return v
	}
	if local && s.local != "" && !strings.HasPrefix(s.local, "<") {
		return s.local
	}
	return s.fallback
}

// derive fills in what follows from other settings in local runs.
func (c *config) derive() error {
	if !c.local() {
		return nil
	}
	if c.issuer == "" {
		c.issuer = "http://" + c.httpAddr
		c.effective["ISSUER"] = secret.New(c.issuer)
	}
	for _, m := range migrations.Modules() {
		if c.databaseURLs[m].Empty() && !c.databaseURL.Empty() {
			u, err := migrations.LocalURL(c.databaseURL.Reveal(), m)
			if err != nil {
				return fmt.Errorf("DATABASE_URL: %w", err)
			}
			c.databaseURLs[m] = secret.New(u)
			c.effective[strings.ToUpper(m)+"_DATABASE_URL"] = c.databaseURLs[m]
		}
	}
	return nil
}

// development marks every secret that stands in this repository for local runs (compose files, examples).
const development = "local-only"

func (c *config) refuseDevelopment() error {
	if c.local() {
		return nil
	}
	secrets := map[string]secret.Text{
		"DATABASE_URL": c.databaseURL, "REDIS_URL": c.redisURL, "KEY_ENCRYPTION_KEY": c.keyEncryptionKey,
		// only with auth:
		"SMTP_URL": c.smtpURL, "OPERATOR_PASSWORD": c.operatorPassword,
		// end auth
	}
	for _, m := range migrations.Modules() {
		secrets[strings.ToUpper(m)+"_DATABASE_URL"] = c.databaseURLs[m]
		secrets[strings.ToUpper(m)+"_CLIENT_SECRET"] = c.clientSecrets[m]
	}
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		secret := secrets[name].Reveal()
		if strings.Contains(secret, development) {
			wrong = append(wrong, fmt.Errorf("%s: this is a secret for local runs; it is public", name))
		}
		if strings.HasSuffix(name, "_CLIENT_SECRET") && secret != "" && len(secret) < 32 {
			wrong = append(wrong, fmt.Errorf("%s: at least 32 characters, made at random", name))
		}
	}
	return errors.Join(wrong...)
}

// needs are the settings, beside its database, without which a module does not run.
var needs = map[string][]string{
	"auth":  {"REDIS_URL", keySettings, "SMTP_URL"},
	"users": {"REDIS_URL", keySettings},
}

// keySettings are two settings of which one is needed.
const keySettings = "KEY_ENCRYPTION_KEY or KEY_ENCRYPTION_KEY_FILE"

// need reports what is missing for running these modules in this process.
func (c *config) need(here []string) error {
	missing := map[string]bool{}
	want := func(name string) {
		for alternative := range strings.SplitSeq(name, " or ") {
			if !c.effective[alternative].Empty() {
				return
			}
		}
		missing[name] = true
	}
	want("ISSUER")
	apart := len(here) < len(migrations.Modules())
	for _, m := range migrations.Modules() {
		upper := strings.ToUpper(m)
		served := slices.Contains(here, m)
		called := slices.ContainsFunc(here, func(caller string) bool { return slices.Contains(modules[caller].calls, m) })
		if served {
			want(upper + "_DATABASE_URL")
		}
		if called && !served && m != "auth" { // who gives tokens is found through ISSUER as well
			want(upper + "_URL")
		}
		if (apart || !slices.Contains(here, "auth") && !c.local()) && (served || slices.Contains(here, "auth")) {
			want(upper + "_CLIENT_SECRET")
		}
	}
	for _, m := range here {
		for _, name := range needs[m] {
			if name != "SMTP_URL" || !c.local() { // locally there is a mailbox
				want(name)
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing for serving %s in %s: %s", strings.Join(here, ", "), c.environment, strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
	}
	return nil
}

// masked lists the effective settings for the log; of a secret only whether it is set.
func (c *config) masked(list []setting) []slog.Attr {
	var attrs []slog.Attr
	for _, s := range list {
		v := c.effective[s.name]
		if s.secret {
			attrs = append(attrs, slog.Any(s.name, v))
		} else {
			attrs = append(attrs, slog.String(s.name, v.Reveal()))
		}
	}
	return attrs
}

// printSettings writes the table of all settings, as Markdown when asked: the README's is compared with it.
func printSettings(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(tw, "| Setting\t| Default\t| In local runs\t| Meaning\t|")
	fmt.Fprintln(tw, "|---\t|---\t|---\t|---\t|")
	for _, s := range settings(&config{}) {
		fmt.Fprintf(tw, "| `%s`\t| %s\t| %s\t| %s\t|\n", s.name, s.fallback, strings.Trim(s.local, "<>"), s.meaning)
	}
	return tw.Flush()
}
