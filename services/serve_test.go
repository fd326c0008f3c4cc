package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"

	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/problem"
)

// public are the operations that need no token. Whoever adds one adds it here, on purpose.
var public = []string{
	// only with auth:
	"POST /v1/auth/register", "POST /v1/auth/email/verify", "POST /v1/auth/email/verify/resend", "POST /v1/auth/password/forgot",
	"POST /v1/auth/password/reset", "POST /v1/auth/login", "POST /v1/auth/mfa/verify", "POST /v1/auth/token", "POST /v1/auth/revoke",
	"GET /.well-known/jwks.json", "GET /.well-known/oauth-authorization-server",
	// end auth
}

// everySpec is every contract of every module.
func everySpec() (specs [][]byte) {
	for _, m := range modules {
		specs = slices.AppendSeq(specs, maps.Values(m.specs))
	}
	return specs
}

func TestEveryOperationNeedsATokenUnlessItIsPublic(t *testing.T) {
	t.Parallel()
	p := start(t, world(t))
	for _, spec := range everySpec() {
		doc, err := openapi3.NewLoader().LoadFromData(spec)
		if err != nil {
			t.Fatal(err)
		}
		for path, item := range doc.Paths.Map() {
			for method := range item.Operations() {
				req, _ := http.NewRequest(method, p.url+strings.ReplaceAll(path, "{id}", uuid.NewString()), strings.NewReader(`{"not":"checked"}`))
				status, d, _ := fetch(t, req)
				if open := slices.Contains(public, method+" "+path); open == (status == 401) || !open && d.Code != "unauthenticated" {
					t.Errorf("%s %s answers %d %s without a token; public: %v", method, path, status, d.Code, open)
				}
				if len(d.Errors) > 0 && status == 401 {
					t.Errorf("%s %s tells an anonymous caller what is wrong with the body", method, path)
				}
			}
		}
	}
}

// fetch returns an answer's status, and the problem when it is one.
func fetch(t *testing.T, req *http.Request) (status int, d problem.Document, body []byte) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Content-Type") == "application/problem+json" {
		if err := json.Unmarshal(body, &d); err != nil {
			t.Errorf("not a problem: %s", body)
		}
		if d.RequestID == "" || d.RequestID != resp.Header.Get("X-Request-Id") || d.Status != resp.StatusCode {
			t.Errorf("the problem does not name its request and status: %s", body)
		}
	}
	return resp.StatusCode, d, body
}

func get(address string) *http.Request {
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		panic(err)
	}
	return req
}

// TestDrain ends a server under load: it turns unready first, goes on answering, and no request is lost.
func TestDrain(t *testing.T) {
	t.Parallel()
	p := start(t, with(world(t), "DRAIN_DELAY", "4s"))
	var answered, lost, unready atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			for ctx.Err() == nil {
				resp, err := client.Get(p.url + "/v1/nothing")
				if err != nil {
					lost.Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				answered.Add(1)
			}
		})
	}
	eventually(t, "there is load", func() bool { return answered.Load() > 100 })
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it turns unready", func() bool {
		resp, err := http.Get(p.url + "/readyz")
		if err != nil {
			t.Fatalf("it stopped listening before it was unready: %v", err)
		}
		resp.Body.Close()
		if resp.StatusCode == 503 {
			unready.Add(1)
		}
		return unready.Load() > 0
	})
	before := answered.Load()
	eventually(t, "it answers while it drains", func() bool { return answered.Load() > before })
	cancel() // a balancer sends nothing more
	load.Wait()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	if lost.Load() > 0 {
		t.Errorf("%d of %d requests were lost", lost.Load(), answered.Load())
	}
	if logs := p.logs.String(); !strings.Contains(logs, `"msg":"stopped"`) {
		t.Error("it did not end in good order")
	}
}

// TestASecondSignalEndsAtOnce is for who does not want to wait for the drain.
func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t, with(world(t), "DRAIN_DELAY", "1m"))
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	eventually(t, "it drains", func() bool { return strings.Contains(p.logs.String(), "draining") })
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("one signal ends it at once: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
			t.Errorf("the second signal ends it with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the second signal does not end it")
	}
}

func TestMetricsAreByRoute(t *testing.T) {
	t.Parallel()
	p := start(t, world(t))
	for i := range 50 {
		fetch(t, get(fmt.Sprintf("%s/v1/hostile/%d", p.url, i)))
	}
	var route string // of any operation with an id
	for _, o := range theHouse(t).contracts(new([]string)) {
		if strings.HasSuffix(o.path, "/{id}") {
			route = o.path
		}
	}
	fetch(t, get(p.url+strings.Replace(route, "{id}", uuid.NewString(), 1)))
	_, _, body := fetch(t, get(p.admin+"/metrics"))
	if !bytes.Contains(body, []byte(`http_route="`+route+`"`)) {
		t.Error("there is no series for the route")
	}
	if bytes.Contains(body, []byte("hostile")) {
		t.Error("a path became a label")
	}
	for _, name := range []string{"http_server_request_duration_seconds", "db_client_connection_max", "go_goroutines"} {
		if !bytes.Contains(body, []byte(name)) {
			t.Errorf("there is no metric %s", name)
		}
	}
	for _, path := range []string{"/metrics", "/debug/pprof/"} {
		if status, _, _ := fetch(t, get(p.url+path)); status != 404 {
			t.Errorf("%s is on the public listener", path)
		}
	}
	if status, _, _ := fetch(t, get(p.admin+"/debug/pprof/")); status != 200 {
		t.Error("there is no pprof on the admin listener")
	}
}

// production is a complete set of settings of a production run.
func production(t *testing.T) map[string]string {
	env := map[string]string{
		"BE_GROUNDWORK": "1", "ISSUER": "https://api.example.com", "REDIS_URL": "redis://127.0.0.1:1", "SMTP_URL": "smtps://mail.example.com:465",
		"KEY_ENCRYPTION_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "HTTP_ADDR": free(t), "ADMIN_ADDR": free(t),
	}
	for _, m := range migrations.Modules() {
		env[strings.ToUpper(m)+"_DATABASE_URL"] = "postgres://" + migrations.Login(m) + ":x@127.0.0.1:1/x"
		if !slices.Contains(migrations.Modules(), "auth") {
			env[strings.ToUpper(m)+"_CLIENT_SECRET"] = strings.Repeat("x", 32)
		}
	}
	return env
}

func TestProduction(t *testing.T) {
	t.Parallel()
	t.Run("starts while its database is away, alive and unready, and has no mailbox", func(t *testing.T) {
		t.Parallel()
		env := with(production(t), "DRAIN_DELAY", "0s")
		cmd := command(t, env, "serve")
		out := &logs{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		base := "http://" + env["HTTP_ADDR"]
		eventually(t, "it is alive", func() bool {
			resp, err := http.Get(base + "/livez")
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode == 200
		})
		for path, want := range map[string]int{"/readyz": 503, "/dev/mail": 404, "/dev/mail.json": 404} {
			if status, _, _ := fetch(t, get(base+path)); status != want {
				t.Errorf("%s answers %d, want %d", path, status, want)
			}
		}
		if err := command(t, env, "healthcheck").Run(); err == nil {
			t.Error("healthcheck is content with a server that is not ready")
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ended with %v\n%s", err, out)
		}
	})
	module := migrations.Modules()[0]
	database, secret := strings.ToUpper(module)+"_DATABASE_URL", strings.ToUpper(module)+"_CLIENT_SECRET"
	for name, c := range map[string]struct{ env, says []string }{
		"a development secret": {[]string{database, "postgres://" + migrations.Login(module) + ":local-only-password@db/x"}, []string{database, "local runs"}},
		"a short secret":       {[]string{secret, "short"}, []string{secret, "32 characters"}},
		// only with auth:
		"no key": {[]string{"KEY_ENCRYPTION_KEY", ""}, []string{"KEY_ENCRYPTION_KEY"}},
		// end auth
		"several mistakes": {[]string{"RATE_LIMIT", "much", "TRACE_SAMPLE", "4", "TRUSTED_PROXIES", "nginx"}, []string{"RATE_LIMIT", "TRACE_SAMPLE", "TRUSTED_PROXIES"}},
		"an unknown place": {[]string{"ENVIRONMENT", "staging"}, []string{"ENVIRONMENT"}},
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, with(production(t), c.env...), "serve")
			time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("it should refuse to start: %v", err)
			}
			for _, want := range c.says {
				if !bytes.Contains(out, []byte(want)) {
					t.Errorf("it should name %s:\n%s", want, out)
				}
			}
			if bytes.Contains(out, []byte("local-only-password")) {
				t.Errorf("it shows the secret:\n%s", out)
			}
		})
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	env := world(t)
	for _, c := range []struct {
		args []string
		ok   bool
		says string
	}{
		{[]string{"help"}, true, "groundwork serve"},
		{[]string{"version"}, true, ""},
		{[]string{"config"}, true, "`DATABASE_MAX_CONNS`"},
		{[]string{"migrate", "status"}, true, "applied"},
		{[]string{"migrate", "up"}, true, ""},
		{[]string{"migrate", "down"}, false, "migrate up"},
		{[]string{"serve", "--modules=billing"}, false, `"billing"`},
		// only with auth, users:
		{[]string{"serve", "--modules=users"}, false, "USERS_CLIENT_SECRET"},
		// end auth, users
		{[]string{"dance"}, false, "dance"},
		{[]string{"healthcheck"}, false, "refused"},
	} {
		out, err := command(t, with(env, "HTTP_ADDR", "127.0.0.1:1"), c.args...).CombinedOutput()
		if (err == nil) != c.ok || !bytes.Contains(out, []byte(c.says)) {
			t.Errorf("groundwork %s: %v, want ok %v and %q in:\n%s", strings.Join(c.args, " "), err, c.ok, c.says, out)
		}
	}
}

func TestTheLevelOfTheLogIsChanged(t *testing.T) {
	t.Parallel()
	p := start(t, with(world(t), "LOG_LEVEL", "warn"))
	level := func(method, to string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, p.admin+"/log-level", strings.NewReader(to))
		if err != nil {
			t.Fatal(err)
		}
		status, _, body := fetch(t, req)
		return status, strings.TrimSpace(string(body))
	}
	request := func(id string) {
		t.Helper()
		req := get(p.url + "/nowhere")
		req.Header.Set("X-Request-Id", id)
		fetch(t, req)
	}
	for _, c := range []struct {
		method, to, now string
		status          int
	}{
		{"GET", "", "warn", 200}, {"PUT", "louder", "a level is debug, info, warn or error", 422}, {"PUT", "", "a level is debug, info, warn or error", 422},
		{"POST", "debug", "GET or PUT", 405}, {"GET", "", "warn", 200}, {"PUT", "debug\n", "debug", 200}, {"GET", "", "debug", 200},
	} {
		if status, now := level(c.method, c.to); status != c.status || now != c.now {
			t.Errorf("%s %q: %d %s; want %d %s", c.method, c.to, status, now, c.status, c.now)
		}
	}
	request("a-request-that-is-told")
	eventually(t, "the log tells of itself and of the request", func() bool { // after the answer
		return strings.Contains(p.logs.String(), "the log has another level") && strings.Contains(p.logs.String(), "a-request-that-is-told")
	})
	level("PUT", "error")
	request("a-request-that-is-not")
	p.stop(t)
	if strings.Contains(p.logs.String(), "a-request-that-is-not") {
		t.Error("a level of error tells of a request that was answered")
	}
}

func TestTheSettingsDoNotPrintTheirSecrets(t *testing.T) {
	t.Parallel()
	env := map[string]string{"ENVIRONMENT": "local", "DATABASE_URL": "postgres://me:xqmarkerqx@127.0.0.1:1/x", "REDIS_URL": "redis://:xqmarkerqx@127.0.0.1:1"}
	c, list, err := load(func(name string) string { return env[name] }, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(h).LogAttrs(t.Context(), slog.LevelInfo, "settings", append(c.masked(list), slog.Any("config", c))...)
	}
	fmt.Fprintf(&out, "%v %+v %#v", c, c, c)
	if strings.Contains(out.String(), "xqmarkerqx") || !strings.Contains(out.String(), "DATABASE_URL") {
		t.Errorf("%s", &out)
	}
}
