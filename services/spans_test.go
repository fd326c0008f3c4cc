package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// spans is a collector: it keeps the names of the spans of each trace.
type spans struct {
	mu     sync.Mutex
	traces map[string][]string
}

// collecting starts a collector, and returns it with env for who is to push to it.
func collecting(t *testing.T, env map[string]string) (*spans, map[string]string) {
	t.Helper()
	seen := &spans{traces: map[string][]string{}}
	sink := http.NewServeMux()
	sink.Handle("/v1/traces", seen)
	server := httptest.NewServer(sink)
	t.Cleanup(server.Close)
	return seen, with(env, "OTEL_EXPORTER_OTLP_ENDPOINT", server.URL, "OTEL_METRICS_EXPORTER", "none", "OTEL_BSP_SCHEDULE_DELAY", "100")
}

func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		zipped, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		body = zipped
	}
	raw, err := io.ReadAll(body)
	var export collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(raw, &export) != nil {
		http.Error(w, "not spans", 400)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range export.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				id := fmt.Sprintf("%x", span.TraceId)
				s.traces[id] = append(s.traces[id], span.Name)
				for _, a := range span.Attributes {
					s.traces["attributes"] = append(s.traces["attributes"], a.String())
				}
			}
		}
	}
}

// whole reports whether a trace has the named span and one for each of the parts.
func (s *spans) whole(name string, parts []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, names := range s.traces {
		if slices.Contains(names, name) && !slices.ContainsFunc(parts, func(part string) bool {
			return !slices.ContainsFunc(names, func(name string) bool { return strings.Contains(strings.ToLower(name), strings.ToLower(part)) })
		}) {
			return true
		}
	}
	return false
}
