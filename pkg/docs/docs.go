// Package docs serves the contracts to people: /docs is Swagger UI with a chooser, all of it out of the binary, under a policy that
// lets nothing run or load from elsewhere. The contracts themselves stand beside it, as they are.
package docs

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/swaggest/swgui/v5/static" // the files alone: this package of swgui depends on nothing
)

// Spec is one contract to show: Name as people call it ("auth v1"), Path where it is served ("/docs/auth-v1.yaml").
type Spec struct {
	Name string
	Path string
	YAML []byte
}

// policy allows our own files and nothing inline: Swagger UI 5 sets its styles by script, which needs no leave. A browser test watches.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

var (
	//go:embed index.html
	markup string
	//go:embed init.js
	script []byte
	//go:embed docs.css
	style []byte
	index = template.Must(template.New("docs").Parse(markup))
)

// Routes serves the page at /docs/, its files beside it, and every spec at its path.
func Routes(r chi.Router, specs []Spec) {
	var page bytes.Buffer
	if err := index.Execute(&page, specs); err != nil {
		panic(err) // the template and its data are ours
	}
	r.Get("/docs", http.RedirectHandler("/docs/", http.StatusMovedPermanently).ServeHTTP)
	r.Get("/docs/", file("text/html; charset=utf-8", page.Bytes()))
	r.Get("/docs/init.js", file("text/javascript; charset=utf-8", script))
	r.Get("/docs/docs.css", file("text/css; charset=utf-8", style))
	r.Get("/docs/swagger-ui.css", file("text/css; charset=utf-8", library("swagger-ui.css.gz")))
	r.Get("/docs/swagger-ui.js", file("text/javascript; charset=utf-8", library("swagger-ui-bundle.js.gz")))
	r.Get("/docs/icon.png", file("image/png", library("favicon-32x32.png")))
	for _, spec := range specs {
		r.Get(spec.Path, file("application/yaml", spec.YAML)) // RFC 9512
	}
}

func library(name string) []byte {
	content, err := static.FS.ReadFile(name)
	if err != nil {
		panic(err) // another version of swgui, which the tests have not seen
	}
	return content
}

// file serves bytes that change with the binary only: a browser keeps them and asks each time whether they still hold. What is
// stored compressed is sent so, except to the rare client that cannot read it.
func file(kind string, content []byte) http.HandlerFunc {
	packed := bytes.HasPrefix(content, []byte{0x1f, 0x8b})
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256(content))
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		body, etag := content, tag
		if packed {
			h.Add("Vary", "Accept-Encoding") // beside what the router says
			if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				h.Set("Content-Encoding", "gzip")
			} else {
				body, etag = unpack(content), strings.TrimSuffix(tag, `"`)+`-plain"`
			}
		}
		h.Set("ETag", etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}

func unpack(content []byte) []byte {
	from, err := gzip.NewReader(bytes.NewReader(content))
	if err == nil {
		content, err = io.ReadAll(from)
	}
	if err != nil {
		panic(err) // the file is in the binary
	}
	return content
}
