package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"example.com/groundwork/pkg/gatewaytest"
)

const (
	caddyfile = "../gateway/Caddyfile"
	someID    = "01890a5d-ac96-774b-bcce-b302099a8057"
)

// operation is one operation of a contract.
type operation struct {
	module, method, path string
	internal             bool
	contract             string // where its page reads the contract: /docs/users-v1.yaml
}

var parameter = regexp.MustCompile(`\{[^}]+\}`)

// line is how the gateway's table says the operation.
func (o operation) line() string {
	if !parameter.MatchString(o.path) {
		return fmt.Sprintf(`"%s %s" %s`, o.method, o.path, o.module)
	}
	segments := strings.Split(o.path, "/")
	for i, s := range segments {
		if segments[i] = "[^/]+"; !parameter.MatchString(s) {
			segments[i] = regexp.QuoteMeta(s)
		}
	}
	return fmt.Sprintf(`"~^%s %s$" %s`, o.method, strings.Join(segments, "/"), o.module)
}

// example is a path of the operation as a client sends it.
func (o operation) example() string { return parameter.ReplaceAllString(o.path, someID) }

// operations reads every contract, oldest first.
func operations(t *testing.T) []operation {
	t.Helper()
	files, err := filepath.Glob("../../api/*/v*/openapi.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no contracts: %v", err)
	}
	var list []operation
	for _, file := range files {
		doc, err := openapi3.NewLoader().LoadFromFile(file)
		if err != nil {
			t.Fatal(err)
		}
		version := filepath.Dir(file)
		module := filepath.Base(filepath.Dir(version))
		contract := "/docs/" + module + "-" + filepath.Base(version) + ".yaml"
		for path, item := range doc.Paths.Map() {
			for method, op := range item.Operations() {
				list = append(list, operation{module, method, path, internal(doc, op), contract})
			}
		}
	}
	slices.SortFunc(list, func(a, b operation) int {
		return strings.Compare(a.module+a.path+a.method, b.module+b.path+b.method)
	})
	return list
}

// internal says that every way to be let in needs the scope that only modules have.
func internal(doc *openapi3.T, op *openapi3.Operation) bool {
	security := doc.Security
	if op.Security != nil {
		security = *op.Security
	}
	return len(security) > 0 && !slices.ContainsFunc(security, func(r openapi3.SecurityRequirement) bool {
		return !slices.Contains(r["oauth2"], "internal")
	})
}

func TestTheGatewaysTableIsTheContracts(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range faults(string(text), operations(t)) {
		t.Error(fault)
	}
}

func TestTheTableIsReadClosely(t *testing.T) {
	t.Parallel()
	list := []operation{
		{"books", "GET", "/v1/books/mine", false, ""}, {"books", "PUT", "/v1/books/{id}", true, ""}, {"ledger", "GET", "/v1/holds/{id}", false, "/docs/ledger-v2.yaml"},
	}
	right := "map a b {\n\"GET /v1/books/mine\" books\n\"~^GET /v1/holds/[^/]+$\" ledger\n}"
	for _, c := range []struct{ old, new, want string }{
		{"", "", ""},
		{`"GET /v1/books/mine" books`, "", "is missing"},
		{`"GET /v1/books/mine" books`, `"GET /v1/books/mine" ledger`, "is missing"},
		{"map a b {", "map a b {\n" + `"~^PUT /v1/books/[^/]+$" books`, "is for other modules"},
		{"map a b {", "map a b {\n" + `"GET /v1/gone" users`, "no contract has"},
		{"map a b {", "map a b {\n" + `"GET /docs/ledger-v2.yaml" ledger`, ""},
		{"map a b {", "map a b {\n" + `"GET /docs/ledger-v1.yaml" ledger`, "no contract has"},
		{"map a b {", "map a b {\n" + `"~^GET /v1/.*$" users`, "no contract has"},
	} {
		found := strings.Join(faults(strings.Replace(right, c.old, c.new, 1), list), "\n")
		if (c.want == "") != (found == "") || !strings.Contains(found, c.want) {
			t.Errorf("with %s for %s: %q, want %q", c.new, c.old, found, c.want)
		}
	}
}

// faults compares the table of a Caddyfile with the contracts, line by line.
func faults(text string, list []operation) []string {
	var found []string
	lines := map[string]bool{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, `"`) {
			lines[line] = true
		}
	}
	known := map[string]bool{}
	for _, o := range list {
		line := o.line()
		known[line], known[fmt.Sprintf(`"GET %s" %s`, o.contract, o.module)] = true, true
		switch {
		case o.internal && lines[line]:
			found = append(found, fmt.Sprintf("%s is for other modules (scope internal); the gateway must not route it", line))
		case !o.internal && !lines[line]:
			found = append(found, fmt.Sprintf("%s is missing in %s: it is public", line, caddyfile))
		}
	}
	for line := range lines {
		if !known[line] {
			found = append(found, fmt.Sprintf("%s: no contract has this operation", line))
		}
	}
	slices.Sort(found)
	return found
}

// TestARealGatewayRoutesWhatIsPublicAndNothingElse asks a Caddy, for what a text does not show: how it reads its file.
func TestARealGatewayRoutesWhatIsPublicAndNothingElse(t *testing.T) {
	t.Parallel()
	base := startGateway(t)
	for _, o := range operations(t) {
		want := o.module
		if o.internal {
			want = ""
		}
		probe(t, base, o.method, o.example(), want)
		if !o.internal {
			probe(t, base, o.method, o.example()+"?limit=1&x=%2F", want)
		}
		probe(t, base, "GET", o.contract, o.module)
	}
	for _, path := range []string{
		"/", "/v1", "/v1/", "/v1/nothing", "/metrics", "/readyz", "/debug/pprof/", "/dev/mail", "/dev/mail.json", "/docs", "/docs/",
		// One path in other words: what the gateway takes for one thing and a module for another would be a way around this table.
		// only with users:
		"/v1/users/me/", "//v1/users/me", "/v1//users/me", "/V1/users/me", "/v1/users/m%65", "/v1/users%2Fme", "/v1/accounts/../users/me",
		"/v1/users/" + someID + "/../me", "/v1/users/me%3Fx", "/v1/users/me%00", "/v2/users/me",
		// end users
		// only with transactions:
		"/v1/accounts/" + someID + "%2Fentries", "/v1/accounts/", "/v1/accounts/a/b", "/v1/accounts/%0Ax",
		// end transactions
	} {
		probe(t, base, "GET", path, "")
	}
	// only with users:
	probe(t, base, "PATCH", "/v1/users/me;x", "")    // not one's own profile in other words
	probe(t, base, "GET", "/v1/users/me;x", "users") // for both it is the id of a profile, which it cannot be
	// end users
	some := public(t)
	for _, method := range []string{"TRACE", "HEAD", "get"} {
		probe(t, base, method, some.example(), "")
	}

	if resp, body := send(t, base, "GET", "/livez"); resp.StatusCode != 200 || body != `{"status":"ok"}` || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("/livez: %d %s %s", resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
	if resp, _ := send(t, base, some.method, some.example()); resp.Header.Get("Seen-For") != "127.0.0.1" {
		t.Errorf("a module is told that the client is %q; it must be the peer of the gateway, whatever the client claims", resp.Header.Get("Seen-For"))
	}
}

// public is an operation that a gateway routes, whichever modules there are.
func public(t *testing.T) operation {
	t.Helper()
	for _, o := range operations(t) {
		if !o.internal && o.method == "GET" {
			return o
		}
	}
	t.Fatal("no contract has an operation for the public")
	return operation{}
}

// A preflight goes where the request would go that it asks for, and nowhere else.
func TestARealGatewayRoutesPreflights(t *testing.T) {
	t.Parallel()
	base := startGateway(t)
	for _, o := range operations(t) {
		want := o.module
		if o.internal {
			want = ""
		}
		probe(t, base, "OPTIONS", o.example(), want, "Origin: https://app.example.com", "Access-Control-Request-Method: "+o.method)
		probe(t, base, "OPTIONS", o.example(), "") // asks for nothing
	}
	// only with users:
	for _, asked := range []string{
		"DELETE", "OPTIONS", "get", "*", "", "GET, PATCH", "GET\r\nAccess-Control-Request-Method: PATCH", "GET /v1/users/me", "^GET$", "$1",
	} {
		probe(t, base, "OPTIONS", "/v1/users/me", "", "Origin: https://app.example.com", "Access-Control-Request-Method: "+asked)
	}
	// Only a preflight is taken for what it asks.
	probe(t, base, "DELETE", "/v1/users/me", "", "Access-Control-Request-Method: GET")
	probe(t, base, "GET", "/v1/users/me", "users", "Access-Control-Request-Method: DELETE")
	probe(t, base, "PUT", "/v1/users/"+someID, "", "Access-Control-Request-Method: PATCH")
	probe(t, base, "OPTIONS", "/v1/users/m%65", "", "Access-Control-Request-Method: GET")
	// end users
}

func TestAModuleThatIsAwayIsAProblem(t *testing.T) {
	t.Parallel()
	some := public(t)
	base := startGateway(t, some.module)
	resp, body := send(t, base, some.method, some.example())
	problem(t, "a module that is away", resp, body, 503, "dependency-unavailable")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// What may have reached an instance is sent to no other, unless it is a GET; what was refused is. An instance that says so gets nothing, one that
// broke a connection does.
func TestARealGatewayLooksAfterInstances(t *testing.T) {
	t.Parallel()
	var read, write operation
	for _, o := range operations(t) {
		switch {
		case !o.internal && o.method == "GET" && o.module == public(t).module:
			read = o
		case !o.internal && o.method == "POST" && o.module == public(t).module:
			write = o
		}
	}
	if write.path == "" {
		t.Skip("nothing is written here")
	}
	var ready, breaks atomic.Bool
	ready.Store(true)
	var moody, steady atomic.Int64
	instance := func(asked *atomic.Int64, moods bool) string {
		stub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/readyz":
				if moods && !ready.Load() {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				return
			case moods && breaks.Load():
				asked.Add(1)
				panic(http.ErrAbortHandler)
			}
			asked.Add(1)
		}))
		t.Cleanup(stub.Close)
		return stub.Listener.Addr().String()
	}
	gateway := func(instances ...string) string {
		address := unused(t)
		gatewaytest.Start(t, address, map[string][]string{read.module: instances})
		return address
	}
	statuses := func(base string, o operation) map[int]int {
		found := map[int]int{}
		for range 10 {
			resp, _ := send(t, base, o.method, o.example())
			found[resp.StatusCode]++
		}
		return found
	}
	two := gateway(instance(&moody, true), instance(&steady, false))
	if got := statuses(two, write); got[200] != 10 || moody.Load() != 5 || steady.Load() != 5 {
		t.Errorf("of two that are well: %v, %d and %d", got, moody.Load(), steady.Load())
	}
	breaks.Store(true)
	moody.Store(0)
	steady.Store(0)
	if got := statuses(two, read); got[200] != 10 || moody.Load() == 0 {
		t.Errorf("a GET whose connection breaks: %v, %d tries", got, moody.Load())
	}
	moody.Store(0)
	steady.Store(0)
	if got := statuses(two, write); got[503] == 0 || int64(got[503]) != moody.Load() || int64(got[200]) != steady.Load() || got[200]+got[503] != 10 {
		t.Errorf("a POST whose connection breaks: %v, and %d and %d have seen it: it is not to be sent twice, nor to be kept from an instance", got, moody.Load(), steady.Load())
	}
	breaks.Store(false)
	ready.Store(false)
	time.Sleep(1500 * time.Millisecond) // it asks twice a second
	moody.Store(0)
	if got := statuses(two, write); got[200] != 10 || moody.Load() != 0 {
		t.Errorf("while one is not ready: %v, and it is asked %d times", got, moody.Load())
	}
	if got := statuses(gateway("127.0.0.1:1", instance(&steady, false)), write); got[200] != 10 {
		t.Errorf("while one is refused: %v", got)
	}
}

// probe asks which module answers; "" is for the gateway's own 404.
func probe(t *testing.T, base, method, path, want string, headers ...string) {
	t.Helper()
	resp, body := send(t, base, method, path, headers...)
	got := resp.Header.Get("Module")
	if got != want {
		t.Errorf("%s %s is answered by %q (%d), want %q", method, path, got, resp.StatusCode, want)
	}
	if got == "" && want == "" && method != http.MethodHead {
		problem(t, method+" "+path, resp, body, 404, "not-found")
	}
	if sent := resp.Header.Get("Seen-Uri"); got != "" && sent != path {
		t.Errorf("%s %s arrives as %s", method, path, sent)
	}
}

func problem(t *testing.T, what string, resp *http.Response, body string, status int, code string) {
	t.Helper()
	var document struct {
		Type, Title, Detail, Code string
		Status                    int
		RequestID                 string `json:"request_id"`
	}
	err := json.Unmarshal([]byte(body), &document)
	id := resp.Header.Get("X-Request-Id")
	if err != nil || resp.StatusCode != status || resp.Header.Get("Content-Type") != "application/problem+json" || document.Status != status ||
		document.Code != code || document.Type != "urn:problem:"+code || id == "" || document.RequestID != id {
		t.Errorf("%s: %d %v %s is not the problem %s", what, resp.StatusCode, resp.Header, body, code)
	}
}

// send sends the path as it is written: the client of net/http would tidy it up.
func send(t *testing.T, base, method, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", base)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	headers = append(headers, "Host: gateway", "X-Forwarded-For: 203.0.113.9")
	fmt.Fprintf(conn, "%s %s HTTP/1.0\r\n%s\r\n\r\n", method, path, strings.Join(headers, "\r\n"))
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	head, body, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
	resp := &http.Response{Header: http.Header{}}
	for i, line := range strings.Split(string(head), "\r\n") {
		if i == 0 {
			_, _ = fmt.Sscanf(line, "HTTP/1.0 %d", &resp.StatusCode)
			continue
		}
		name, value, _ := strings.Cut(line, ": ")
		resp.Header.Add(name, value)
	}
	return resp, string(body)
}

// startGateway runs the gateway before modules that say their names, and returns its address. away is the module that is not there.
func startGateway(t *testing.T, away ...string) string {
	t.Helper()
	upstreams := map[string][]string{}
	for _, module := range modules(t) {
		stub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Module", module)
			w.Header().Set("Seen-Uri", r.RequestURI)
			w.Header().Set("Seen-For", r.Header.Get("X-Forwarded-For"))
		}))
		t.Cleanup(stub.Close)
		upstreams[module] = []string{stub.Listener.Addr().String()}
		if slices.Contains(away, module) {
			upstreams[module] = []string{"127.0.0.1:1"}
		}
	}
	address := unused(t)
	gatewaytest.Start(t, address, upstreams)
	return address
}

// unused is an address that nobody listens at.
func unused(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
