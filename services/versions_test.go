package main

import (
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"
)

func TestEveryContractIsInTheTableOfModules(t *testing.T) {
	t.Parallel()
	house := theHouse(t)
	for _, name := range house.match("api/*/v*/openapi.yaml") {
		folder := path.Dir(name)
		m, version := path.Base(path.Dir(folder)), path.Base(folder)
		if string(modules[m].specs[version]) != house[name] {
			t.Errorf("%s is not %q of %q in the table of services/app.go: nobody is held to it", name, version, m)
		}
	}
}

// TestDeprecationHeaders asks each operation that its contract says goes away, on the running program.
func TestDeprecationHeaders(t *testing.T) {
	t.Parallel()
	p := start(t, world(t))
	for _, spec := range everySpec() {
		doc, err := openapi3.NewLoader().LoadFromData(spec)
		if err != nil {
			t.Fatal(err)
		}
		for path, item := range doc.Paths.Map() {
			for method, op := range item.Operations() {
				req, err := http.NewRequest(method, p.url+placeholder.ReplaceAllString(path, uuid.NewString()), strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := http.DefaultClient.Do(req) // nobody's: a refusal says it as well
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				sunset := ""
				if op.Deprecated {
					date, err := time.Parse(time.DateOnly, op.Extensions["x-sunset"].(string))
					if err != nil {
						t.Fatal(err)
					}
					sunset = date.Format(http.TimeFormat)
				}
				h := resp.Header
				if h.Get("Sunset") != sunset || op.Deprecated != strings.HasPrefix(h.Get("Deprecation"), "@") {
					t.Errorf("%s %s: Deprecation %q, Sunset %q, want %q", method, path, h.Get("Deprecation"), h.Get("Sunset"), sunset)
				}
				if successor, there := op.Extensions["x-successor"].(string); there && !strings.Contains(successor, "{") &&
					!strings.Contains(strings.Join(h.Values("Link"), ", "), "<"+successor+`>; rel="successor-version"`) {
					t.Errorf("%s %s: Link %q, want %s", method, path, h.Values("Link"), successor)
				}
			}
		}
	}
	// The page shows every version, and each where it is linked.
	_, _, page := fetch(t, get(p.url+"/docs/"))
	for m, module := range modules {
		for version, spec := range module.specs {
			file := "/docs/" + m + "-" + version + ".yaml"
			if _, _, text := fetch(t, get(p.url+file)); string(text) != string(spec) || !strings.Contains(string(page), ">"+m+" "+version+"</a>") {
				t.Errorf("%s is not on the page, or not %s %s", file, m, version)
			}
		}
	}
}
