package docs

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-chi/chi/v5"

	"example.com/groundwork/pkg/browsertest"
)

// visit runs the scripts of a page and returns the page after them, and what the browser's console says against it.
func visit(t *testing.T, url string) (dom, complaints string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	home, err := os.MkdirTemp("", "docs-browser-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home) // not t.TempDir: a helper process of the browser may write a moment longer, which is no failure
	var out, log bytes.Buffer
	// No sandbox: root and most CI have none to offer, and the only page it sees is ours. No address but loopback resolves.
	run := exec.CommandContext(ctx, browsertest.Find(t), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--user-data-dir="+home,
		"--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom", url)
	run.Stdout, run.Stderr, run.WaitDelay = &out, &log, 5*time.Second
	if err := run.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", url, err, log.String())
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "CONSOLE") {
			complaints += line
		}
	}
	return out.String(), complaints
}

// contracts reads the real ones as files: pkg does not import api.
func contracts(t *testing.T) []Spec {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "api", "*", "v*", "openapi.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no contracts: %v", err)
	}
	var specs []Spec
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		version := filepath.Dir(file)
		module := filepath.Base(filepath.Dir(version))
		specs = append(specs, Spec{Name: module + " " + filepath.Base(version), Path: "/docs/" + module + "-" + filepath.Base(version) + ".yaml", YAML: content})
	}
	return specs
}

// paths are those of a contract, by name.
func paths(t *testing.T, s Spec) map[string]*openapi3.PathItem {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(s.YAML)
	if err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	return doc.Paths.Map()
}

func serve(t *testing.T, specs []Spec, more func(chi.Router)) string {
	t.Helper()
	r := chi.NewRouter()
	Routes(r, specs)
	if more != nil {
		more(r)
	}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return s.URL
}

func TestEveryContractIsShownInABrowser(t *testing.T) {
	browsertest.Find(t)
	specs := contracts(t)
	url := serve(t, specs, nil)
	for _, s := range specs {
		dom, complaints := visit(t, url+"/docs/?spec="+s.Path)
		for path := range paths(t, s) {
			if !strings.Contains(dom, `data-path="`+path+`"`) {
				t.Errorf("%s is not on the page of %s:\n%.3000s", path, s.Name, dom)
			}
		}
		if complaints != "" {
			t.Errorf("the browser complains about %s:\n%s", s.Name, complaints)
		}
		for _, other := range specs {
			if !strings.Contains(dom, ">"+other.Name+"</a>") {
				t.Errorf("%s cannot be chosen from %s", other.Name, s.Name)
			}
		}
	}
}

func TestAnOperationSaysWhichScopesItNeedsInABrowser(t *testing.T) {
	specs := contracts(t)
	for _, s := range specs {
		for _, item := range paths(t, s) {
			for _, o := range item.Operations() {
				if o.Security == nil || len(*o.Security) == 0 {
					continue
				}
				scope := (*o.Security)[0]["oauth2"][0]
				dom, _ := visit(t, serve(t, specs, nil)+"/docs/?spec="+s.Path+"#/"+o.Tags[0]+"/"+o.OperationID)
				if want := "<p>Needs a token with <code>" + scope + "</code>.</p>"; !strings.Contains(dom, want) {
					t.Errorf("no %s on the page of %s", want, o.OperationID)
				}
				return // one will do
			}
		}
	}
	t.Fatal("no operation of any contract needs a scope")
}

// only with auth, users:
func TestAPastedTokenIsSentInABrowser(t *testing.T) {
	browsertest.Find(t)
	var (
		mu    sync.Mutex
		heard []string
	)
	told, err := os.ReadFile("testdata/try.js")
	if err != nil {
		t.Fatal(err)
	}
	url := serve(t, contracts(t), func(r chi.Router) {
		r.Get("/docs/init.js", file("text/javascript", append(bytes.Clone(script), told...)))
		answer := func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"first_name":"Ann"}`))
		}
		r.Post("/v1/auth/logout", answer)
		r.Get("/v1/users/me", answer)
	})
	dom, complaints := visit(t, url+"/docs/?spec=/docs/auth-v1.yaml")
	if !strings.Contains(dom, `data-story="told"`) {
		t.Errorf("the story was not told to its end: %.400s", dom[max(0, strings.Index(dom, "data-story")):])
	}
	mu.Lock()
	defer mu.Unlock()
	want := "POST /v1/auth/logout Bearer pasted\nGET /v1/users/me Bearer pasted"
	if got := strings.Join(heard, "\n"); got != want || complaints != "" {
		t.Errorf("heard:\n%s\nwant:\n%s\n%s", got, want, complaints)
	}
}

// end auth, users

// The counter-test: an inline script, a foreign picture and an inline style stay out, and the tests above would see them tried.
func TestWhatIsForeignStaysOutInABrowser(t *testing.T) {
	browsertest.Find(t)
	foreign := `;{const s=document.createElement('script');s.textContent='document.body.dataset.broken=1';document.body.append(s);` +
		`const i=new Image();i.src='http://tracker.test/x.png';document.body.append(i);` +
		`document.body.insertAdjacentHTML('beforeend','<p style="color:red">red</p>');}`
	url := serve(t, contracts(t), func(r chi.Router) {
		r.Get("/docs/init.js", file("text/javascript", append(bytes.Clone(script), foreign...)))
	})
	dom, complaints := visit(t, url+"/docs/")
	if strings.Contains(dom, "data-broken") || strings.Count(complaints, "Content Security Policy") < 3 {
		t.Errorf("want three complaints:\n%s", complaints)
	}
}
