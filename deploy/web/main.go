// only with auth: this file

// Command web serves the example of a web front end, a page of three files without a build step, from an origin of its own:
//
//	go run ./deploy/web                                      http://localhost:3000, for the server that `make run` started
//	go run ./deploy/web -listen localhost:5173 -api https://api.example.com
//
// The page is the recipe; docs/browsers.md explains it. Any file server does as well as this one.
package main

import (
	"bytes"
	"cmp"
	"embed"
	"flag"
	"fmt"
	"html"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

//go:embed index.html style.css app.js
var files embed.FS

// written is the API's address as it stands in the page.
const written = "http://localhost:8080"

func main() {
	listen := flag.String("listen", "localhost:3000", "where the page is served; its origin has to be in ALLOWED_ORIGINS")
	api := flag.String("api", "", "address of the API (default: that of `make run`)")
	flag.Parse()
	if err := run(*listen, strings.TrimSuffix(cmp.Or(*api, running(), written), "/")); err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(1)
	}
}

func run(listen, api string) error {
	page, err := pages(api)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("%w; choose another place with -listen, and put its origin into the server's ALLOWED_ORIGINS", err)
	}
	origin := "http://" + listen
	fmt.Printf("the page is at %s and calls %s\n", origin, api)
	if err := welcome(api, origin); err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
	}
	server := &http.Server{Handler: page, ReadHeaderTimeout: 5 * time.Second}
	return server.Serve(listener)
}

// pages serves the files, under a policy that runs and loads nothing but them and calls nobody but the API.
func pages(api string) (http.Handler, error) {
	index, err := files.ReadFile("index.html")
	if err != nil {
		return nil, err
	}
	index = bytes.Replace(index, []byte(written), []byte(html.EscapeString(api)), 1)
	policy := "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src " + api +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(index)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cache-Control", "no-cache")
		mux.ServeHTTP(w, r)
	}), nil
}

// running is the address of the server that `make run` started, by its name: to a browser 127.0.0.1 is another site than localhost, and
// keeps this page's cookie back.
func running() string {
	text, err := os.ReadFile(".local/run.env")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "BASE_URL="); ok {
			return strings.Replace(strings.Trim(value, "'"), "//127.0.0.1", "//localhost", 1)
		}
	}
	return ""
}

// welcome asks the API as a browser does whether pages of this origin may call it.
func welcome(api, origin string) error {
	ask, err := http.NewRequest(http.MethodOptions, api+"/v1/auth/login", nil)
	if err != nil {
		return err
	}
	ask.Header.Set("Origin", origin)
	ask.Header.Set("Access-Control-Request-Method", http.MethodPost)
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Do(ask)
	if err != nil {
		return fmt.Errorf("nobody answers at %s yet: `make run` starts the server", api)
	}
	_ = resp.Body.Close()
	if resp.Header.Get("Access-Control-Allow-Origin") != origin {
		return fmt.Errorf("the server does not let %s in: start it with ALLOWED_ORIGINS=%s", origin, origin)
	}
	return nil
}
