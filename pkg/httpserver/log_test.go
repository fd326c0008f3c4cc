package httpserver_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/problem"
)

// told are the lines of a log.
func told(t *testing.T, log *book) (lines []map[string]any) {
	t.Helper()
	log.mu.Lock()
	defer log.mu.Unlock()
	for line := range strings.Lines(log.b.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, m)
	}
	log.b.Reset()
	return lines
}

func TestAFloodOfRequestsIsToldInPart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log book
		var level slog.LevelVar
		r := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: &level})), Timeout: time.Second})
		r.Get("/v1/many", func(http.ResponseWriter, *http.Request) {})
		r.Get("/v1/few", func(http.ResponseWriter, *http.Request) {})
		send := func(path string, times int) {
			for range times {
				r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
			}
		}
		send("/v1/many", 1030) // within one second, as time stands still
		send("/v1/few", 1)
		lines := told(t, &log)
		standFor := 0
		for _, line := range lines {
			n, many := line["stands_for"].(float64)
			if !many {
				n = 1
			}
			standFor += int(n)
		}
		if len(lines) != 100+9+1 || standFor != 1001 || lines[len(lines)-1]["route"] != "/v1/few" {
			t.Errorf("1031 requests have %d lines, which stand for %d", len(lines), standFor)
		}
		time.Sleep(time.Second)
		send("/v1/many", 1)
		if lines := told(t, &log); len(lines) != 1 || lines[0]["stands_for"] != 31.0 { // with those that were left
			t.Errorf("the flood is over, and one request has the lines %v", lines)
		}
		for range 2 {
			time.Sleep(time.Second)
			send("/v1/many", 50)
			if lines := told(t, &log); len(lines) != 50 {
				t.Errorf("there is no flood, and 50 requests have %d lines", len(lines))
			}
		}
		level.Set(slog.LevelDebug)
		send("/v1/many", 1000)
		if lines := told(t, &log); len(lines) != 1000 {
			t.Errorf("who wants to see all of 1000 sees %d", len(lines))
		}
	})
}

func TestALineHasTheLevelOfItsOutcome(t *testing.T) {
	t.Parallel()
	var log book
	r := httpserver.NewRouter(httpserver.Options{Log: slog.New(slog.NewJSONHandler(&log, nil)), Timeout: time.Second})
	for path, err := range map[string]error{
		"/refused":    problem.NotFound.New("not-found", "No."),
		"/limited":    problem.RateLimited.New("rate-limited", "Wait."),
		"/overloaded": problem.Unavailable.New("overloaded", "Later."),
		"/down":       problem.Unavailable.New("dependency-unavailable", "Later."),
		"/mistake":    http.ErrBodyNotAllowed,
	} {
		r.Get(path, func(w http.ResponseWriter, r *http.Request) { problem.Write(w, r, err) })
	}
	for path, want := range map[string]string{"/refused": "INFO", "/limited": "INFO", "/overloaded": "WARN", "/down": "ERROR", "/mistake": "ERROR"} {
		r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
		if lines := told(t, &log); len(lines) != 1 || lines[0]["level"] != want {
			t.Errorf("%s: %v, want %s", path, lines, want)
		}
	}
}
