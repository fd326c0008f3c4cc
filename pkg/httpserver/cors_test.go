package httpserver_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"example.com/groundwork/pkg/httpserver"
)

const (
	app     = "Origin: https://app.example.com"
	foreign = "Origin: https://evil.example"
)

// listing is a world with these origins on its list.
func listing(t *testing.T, list ...string) *world {
	t.Helper()
	origins, err := httpserver.NewOrigins(list)
	if err != nil {
		t.Fatal(err)
	}
	return newWorld(t, func(o *httpserver.Options, _ *httpserver.Guard) { o.Origins = origins })
}

func TestOriginsAreExact(t *testing.T) {
	t.Parallel()
	for origin, ok := range map[string]bool{
		"https://app.example.com": true, "https://app.example.com:8443": true, "http://localhost:3000": true, "http://127.0.0.1:5173": true,
		"http://[::1]:3000": true, "capacitor://localhost": true, "https://xn--mnchen-3ya.example": true,
		"*": false, "null": false, "": false, "https://*.example.com": false, "https://app.example.com:*": false, "http://localhost:*": false,
		"http://app.example.com": false, "http://192.168.1.5:3000": false, "app.example.com": false, "//app.example.com": false,
		"https://app.example.com/": false, "https://app.example.com/login": false, "https://app.example.com?a": false, "https://app.example.com#a": false,
		"https://app.example.com:443": false, "https://App.example.com": false, "HTTPS://app.example.com": false, "https://münchen.example": false,
		"https://user@app.example.com": false, "https://app.example.com:0": false, "file:///home": false, "https://": false,
	} {
		if _, err := httpserver.NewOrigins([]string{"https://other.example.com", origin}); (err == nil) != ok {
			t.Errorf("%q: %v; taken: %t", origin, err, ok)
		} else if err != nil && (!strings.Contains(err.Error(), "such as https://app.example.com") || strings.Contains(err.Error(), "192.168")) {
			t.Errorf("%q is refused with %q", origin, err)
		}
	}
}

func TestAPageOfAListedOriginMayAsk(t *testing.T) {
	t.Parallel()
	w := listing(t, "https://app.example.com", "http://localhost:3000")
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		const names = "authorization,content-type,idempotency-key,if-match,if-none-match,traceparent,tracestate,x-request-id"
		resp, body := w.send(t, "OPTIONS "+thing, "", app, "Access-Control-Request-Method: "+method, "Access-Control-Request-Headers: "+names)
		allowed := resp.Header.Get("Access-Control-Allow-Methods")
		simple := slices.Contains([]string{"GET", "HEAD", "POST"}, method)
		if resp.StatusCode != 204 || len(body) > 0 || allowed != method && !simple || resp.Header.Get("Access-Control-Allow-Headers") != names ||
			resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" || resp.Header.Get("Access-Control-Allow-Credentials") != "true" ||
			resp.Header.Get("Access-Control-Max-Age") != "7200" || len(resp.Header.Get("X-Request-Id")) < 8 {
			t.Errorf("before %s: %d %v", method, resp.StatusCode, resp.Header)
		}
	}
	if resp, _ := w.send(t, "GET /v1/things", "", reader, "Origin: http://localhost:3000"); resp.StatusCode != 200 ||
		resp.Header.Get("Access-Control-Allow-Origin") != "http://localhost:3000" || resp.Header.Get("Access-Control-Allow-Credentials") != "true" ||
		!strings.Contains(strings.ToLower(resp.Header.Get("Access-Control-Expose-Headers")), "idempotent-replayed") {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	for _, method := range []string{"POST /v1/things", "PATCH " + thing} {
		media, more := isJSON, key
		if strings.HasPrefix(method, "PATCH") {
			media, more = "Content-Type: application/merge-patch+json", `If-Match: "1"`
		}
		if resp, body := w.send(t, method, `{"name":"a"}`, app, "Sec-Fetch-Site: cross-site", writer, media, more); resp.StatusCode != 200 {
			t.Errorf("%s from a listed origin: %d %s", method, resp.StatusCode, body)
		}
	}
}

// A page has to be able to read why it failed.
func TestErrorsCanBeReadByAListedPage(t *testing.T) {
	t.Parallel()
	w := listing(t, "https://app.example.com")
	for line, status := range map[string]int{
		"GET /v1/things": 401, "GET /v1/nothing": 404, "DELETE /v1/things": 405, "OPTIONS /v1/things": 405, "GET /v1/fails/panic": 500,
		"GET /v1/fails/sql-transient": 503, "POST /v1/token": 415,
	} {
		resp, _ := w.send(t, line, "", app)
		if resp.StatusCode != status || resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" {
			t.Errorf("%s: %d %v", line, resp.StatusCode, resp.Header)
		}
		if vary := resp.Header.Values("Vary"); !strings.HasPrefix(line, "OPTIONS") && !slices.Contains(vary, "Origin") {
			t.Errorf("%s: a cache keeps one origin's answer for all: Vary is %q", line, vary)
		}
	}
}

func TestACacheKeepsOriginsAndEncodingsApart(t *testing.T) {
	t.Parallel()
	w := listing(t, "https://app.example.com")
	for _, headers := range [][]string{{app}, {foreign}, nil} {
		resp, _ := w.send(t, "GET /v1/pages/5000", "", append(headers, "Accept-Encoding: gzip")...)
		vary := strings.Join(resp.Header.Values("Vary"), ", ")
		if resp.Header.Get("Content-Encoding") != "gzip" || !strings.Contains(vary, "Origin") || !strings.Contains(vary, "Accept-Encoding") {
			t.Errorf("%v: %s, Vary: %s", headers, resp.Header.Get("Content-Encoding"), vary)
		}
	}
}

func TestNobodyElseGetsLeave(t *testing.T) {
	t.Parallel()
	for what, w := range map[string]*world{"a list": listing(t, "https://app.example.com"), "no list": newWorld(t)} {
		for _, origin := range []string{
			"https://evil.example", "null", "*", "https://app.example.com.evil.example", "https://evilapp.example.com", "http://app.example.com",
			"https://app.example.com:444", "https://app.example.com/", "https://APP.example.com", "https://sub.app.example.com", "https://app.example.com, https://evil.example",
			w.URL + "0", "",
		} {
			asked, body := w.send(t, "OPTIONS /v1/things", "", "Origin: "+origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization")
			if d := isProblem(t, asked, body, 403, "cross-origin-refused"); !strings.Contains(d.Detail, "ALLOWED_ORIGINS") {
				t.Errorf("%s: %s is told %q", what, origin, d.Detail)
			}
			read, _ := w.send(t, "GET /v1/things", "", reader, "Origin: "+origin) // it is answered; the browser keeps the answer to itself
			failed, _ := w.send(t, "GET /v1/things", "", "Origin: "+origin)
			if read.StatusCode != 200 || failed.StatusCode != 401 {
				t.Errorf("%s: %s: %d, %d", what, origin, read.StatusCode, failed.StatusCode)
			}
			for _, resp := range []*http.Response{asked, read, failed} {
				for name := range resp.Header {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s: %s gets %s: %s", what, origin, name, resp.Header.Get(name))
					}
				}
			}
		}
	}
}

// A wildcard together with credentials would open every session to every page. No way of asking gets one.
func TestNoAnswerHasAWildcard(t *testing.T) {
	t.Parallel()
	w := listing(t, "https://app.example.com")
	for _, origin := range []string{"", app, foreign, "Origin: *", "Origin: null"} {
		for _, line := range []string{"GET /v1/things", "GET /v1/pages/10", "OPTIONS /v1/things", "POST /v1/token"} {
			for _, asked := range []string{"", "Access-Control-Request-Method: *", "Access-Control-Request-Method: GET", "Access-Control-Request-Method: BREW"} {
				headers := []string{reader, "Access-Control-Request-Headers: *"}
				for _, h := range []string{origin, asked} {
					if h != "" {
						headers = append(headers, h)
					}
				}
				resp, _ := w.send(t, line, "", headers...)
				for name, values := range resp.Header {
					if strings.HasPrefix(name, "Access-Control-") && strings.Contains(strings.Join(values, ","), "*") {
						t.Errorf("%s %v: %s: %v", line, headers, name, values)
					}
				}
			}
		}
	}
	for _, ask := range []string{"Access-Control-Request-Method: BREW", "Access-Control-Request-Method: GET\nAccess-Control-Request-Headers: x-other"} {
		resp, body := w.send(t, "OPTIONS /v1/things", "", append(strings.Split(ask, "\n"), app)...)
		isProblem(t, resp, body, 403, "cross-origin-refused")
	}
}

func TestWhatAForeignPageSendsIsRefused(t *testing.T) {
	t.Parallel()
	listed, none := listing(t, "https://app.example.com"), newWorld(t)
	for _, c := range []struct {
		says    string
		headers []string
		listed  bool // passes where https://app.example.com is listed
		none    bool // passes where nothing is
	}{
		{"a program", nil, true, true},
		{"a page of the API itself", []string{"Sec-Fetch-Site: same-origin", "Origin: SELF"}, true, true},
		{"the same in an old browser", []string{"Origin: SELF"}, true, true},
		{"behind a gateway that rewrites the host", []string{"Host: internal:8080", "Sec-Fetch-Site: same-origin", "Origin: https://api.example.com"}, true, true},
		{"something typed", []string{"Sec-Fetch-Site: none"}, true, true},
		{"a listed page", []string{app, "Sec-Fetch-Site: same-site"}, true, false},
		{"a listed page of another site", []string{app, "Sec-Fetch-Site: cross-site"}, true, false},
		{"a listed page in an old browser", []string{app}, true, false},
		{"a foreign page", []string{foreign, "Sec-Fetch-Site: cross-site"}, false, false},
		{"a foreign page of the same site", []string{"Origin: https://evil.example.com", "Sec-Fetch-Site: same-site"}, false, false},
		{"a foreign page in an old browser", []string{foreign}, false, false},
		{"a foreign page that hides its origin", []string{"Sec-Fetch-Site: cross-site"}, false, false},
		{"a frame without an origin", []string{"Origin: null", "Sec-Fetch-Site: cross-site"}, false, false},
		{"a frame without an origin in an old browser", []string{"Origin: null"}, false, false},
		{"a word that browsers do not send", []string{foreign, "Sec-Fetch-Site: whatever"}, false, false},
	} {
		for w, passes := range map[*world]bool{listed: c.listed, none: c.none} {
			for _, line := range []string{"POST /v1/things", "PATCH " + thing} {
				headers := []string{writer, isJSON, key}
				if strings.HasPrefix(line, "PATCH") {
					headers = []string{writer, "Content-Type: application/merge-patch+json", `If-Match: "1"`}
				}
				for _, h := range c.headers {
					headers = append(headers, strings.Replace(h, "SELF", w.URL, 1))
				}
				resp, body := w.send(t, line, `{"name":"a"}`, headers...)
				if passes {
					if resp.StatusCode != 200 {
						t.Errorf("%s: %s: %d %s", c.says, line, resp.StatusCode, body)
					}
					continue
				}
				isProblem(t, resp, body, 403, "cross-origin-refused")
			}
		}
	}
}

func TestARefusalIsLoggedAndALeaveIsNot(t *testing.T) {
	t.Parallel()
	w := listing(t, "https://app.example.com")
	_, _ = w.send(t, "OPTIONS /v1/things", "", app, "Access-Control-Request-Method: PATCH", "X-Request-Id: leave-leave")
	_, _ = w.send(t, "OPTIONS /v1/things", "", foreign, "Access-Control-Request-Method: PATCH", "X-Request-Id: refused-ask")
	_, _ = w.send(t, "POST /v1/things", "{}", foreign, isJSON, "X-Request-Id: refused-post")
	for _, id := range []string{"refused-ask", "refused-post"} {
		if line := w.log.lines(t, id)[0]; line["code"] != "cross-origin-refused" || line["status"] != float64(403) || line["level"] != "INFO" {
			t.Errorf("%s is logged as %v", id, line)
		}
	}
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	if strings.Contains(w.log.b.String(), "leave-leave") {
		t.Error("every leave is a line of the log")
	}
}
