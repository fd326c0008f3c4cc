package docs

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
)

func ask(target string, header ...string) *http.Response {
	r := chi.NewRouter()
	Routes(r, []Spec{{Name: "a <b> v1", Path: "/docs/a-v1.yaml", YAML: []byte("openapi: 3.0.3\n")}})
	req, w := httptest.NewRequest(http.MethodGet, target, nil), httptest.NewRecorder()
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	r.ServeHTTP(w, req)
	return w.Result()
}

func read(t *testing.T, from io.Reader) string {
	t.Helper()
	all, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

func TestThePageAndItsFilesComeFromTheBinary(t *testing.T) {
	t.Parallel()
	for target, kind := range map[string]string{
		"/docs/": "text/html", "/docs/init.js": "text/javascript", "/docs/docs.css": "text/css", "/docs/swagger-ui.js": "text/javascript",
		"/docs/swagger-ui.css": "text/css", "/docs/icon.png": "image/png", "/docs/a-v1.yaml": "application/yaml",
	} {
		got := ask(target)
		if h := got.Header; got.StatusCode != http.StatusOK || !strings.HasPrefix(h.Get("Content-Type"), kind) ||
			h.Get("Content-Security-Policy") != policy || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", target, got.StatusCode, h)
		}
		if again := ask(target, "If-None-Match", got.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
			t.Errorf("%s, known already: %d, want 304", target, again.StatusCode)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("%s: nothing inline is needed", policy)
	}
	if got := ask("/docs"); got.Header.Get("Location") != "/docs/" {
		t.Errorf("/docs leads to %q", got.Header.Get("Location"))
	}
	if page := read(t, ask("/docs/").Body); !strings.Contains(page, "a &lt;b&gt; v1") || strings.Contains(page, "//") {
		t.Errorf("a name is not escaped, or something comes from elsewhere:\n%s", page)
	}
	if got := read(t, ask("/docs/a-v1.yaml").Body); got != "openapi: 3.0.3\n" {
		t.Errorf("the contract is changed: %q", got)
	}
}

func TestTheLibraryIsSentCompressedToWhomReadsIt(t *testing.T) {
	t.Parallel()
	packed, plain := ask("/docs/swagger-ui.js", "Accept-Encoding", "br, gzip"), ask("/docs/swagger-ui.js")
	if packed.Header.Get("Content-Encoding") != "gzip" || plain.Header.Get("Content-Encoding") != "" || packed.Header.Get("ETag") == plain.Header.Get("ETag") {
		t.Errorf("%v\n%v", packed.Header, plain.Header)
	}
	unpacked, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	if one, other := read(t, unpacked), read(t, plain.Body); one != other || !strings.Contains(one, "SwaggerUIBundle") {
		t.Error("the two forms differ")
	}
}
