package httpserver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"example.com/groundwork/pkg/httpserver"
)

// running is a server whose handler waits until it is told to end, or its request is.
type running struct {
	*httpserver.Server
	reached chan struct{}
	end     chan struct{}
	cut     chan error
	client  *http.Client
}

func run(t *testing.T) *running {
	t.Helper()
	s := &running{reached: make(chan struct{}, 10), end: make(chan struct{}), cut: make(chan error, 10), client: &http.Client{Transport: &http.Transport{}}}
	server, err := httpserver.Listen("127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			s.reached <- struct{}{}
			select {
			case <-s.end:
			case <-r.Context().Done():
				s.cut <- r.Context().Err()
				return
			}
		}
		_, _ = io.WriteString(w, "whole")
	}), time.Minute, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.Server = server
	s.Serve()
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
	})
	return s
}

func (s *running) get(path string) (body string, closes bool, err error) {
	resp, err := s.client.Get("http://" + s.Addr() + path)
	if err != nil {
		return "", false, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return string(content), resp.Close, err
}

func TestRequestsInFlightFinish(t *testing.T) {
	t.Parallel()
	s := run(t)
	answered := make(chan error, 1)
	go func() {
		body, _, err := s.get("/wait")
		if err == nil && body != "whole" {
			err = errors.New("it answers " + body)
		}
		answered <- err
	}()
	<-s.reached
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(t.Context()) }()
	for s.accepts() { // until the listener is closed
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-ended:
		t.Fatalf("Shutdown returns %v while a request is in flight", err)
	case err := <-s.cut:
		t.Fatalf("the request in flight is cut: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(s.end)
	if err := <-answered; err != nil {
		t.Errorf("the request in flight: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	select {
	case err := <-s.Failed():
		t.Errorf("an orderly end is a failure: %v", err)
	default:
	}
}

func (s *running) accepts() bool {
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + s.Addr() + "/")
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return true
}

func TestARequestThatOutlivesTheDrainIsCut(t *testing.T) {
	t.Parallel()
	s := run(t)
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// While its body is still to come, net/http does not notice that the connection ends: its context has to be ended.
	_, _ = io.WriteString(conn, "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
	answered := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(conn)
		answered <- err
	}()
	<-s.reached
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v; want to hear that somebody was cut off", err)
	}
	select {
	case err := <-s.cut:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("its context says %v", err)
		}
	case <-time.After(2 * time.Second):
		t.Error("its context goes on: it would work for nobody")
	}
	select {
	case err := <-answered:
		t.Logf("the caller reads %v", err)
	case <-time.After(2 * time.Second):
		t.Error("its connection stays open")
	}
}

func TestHushEndsConnectionsAfterAnAnswer(t *testing.T) {
	t.Parallel()
	s := run(t)
	if _, closes, err := s.get("/"); err != nil || closes {
		t.Errorf("before: %v, the connection closes: %v", err, closes)
	}
	s.Hush()
	for range 3 {
		if body, closes, err := s.get("/"); err != nil || !closes || body != "whole" {
			t.Errorf("hushed: %q %v, the connection closes: %v", body, err, closes)
		}
	}
}

func TestATakenAddressIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	s := run(t)
	if other, err := httpserver.Listen(s.Addr(), http.NotFoundHandler(), time.Second, slog.New(slog.DiscardHandler)); err == nil {
		t.Errorf("two servers listen at %s", other.Addr())
	}
}

// What is one request to a proxy must not be two to us: nothing hides in a body.
func TestNoRequestHidesInAnother(t *testing.T) {
	t.Parallel()
	const hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)
	for name, head := range map[string]string{
		"a length and chunks":                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk,
		"two lengths":                        fmt.Sprintf("Content-Length: 0\r\nContent-Length: %d\r\n\r\n%s", len(hidden), hidden),
		"an encoding nobody knows":           "Transfer-Encoding: xchunked\r\n\r\n" + chunk,
		"two encodings":                      "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunk,
		"a space before the colon":           "Transfer-Encoding : chunked\r\n\r\n" + chunk,
		"a length with a sign":               fmt.Sprintf("Content-Length: +%d\r\n\r\n%s", len(hidden), hidden),
		"a header over two lines":            "X: a\r\n\tTransfer-Encoding: chunked\r\nContent-Length: " + strconv.Itoa(len(hidden)) + "\r\n\r\n" + hidden,
		"chunks, and a line that ends early": "Transfer-Encoding: chunked\nContent-Length: 0\r\n\r\n" + chunk,
	} {
		paths := make(chan string, 10)
		server, err := httpserver.Listen("127.0.0.1:0", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			paths <- r.URL.Path
		}), 5*time.Second, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		server.Serve()
		conn, err := net.Dial("tcp", server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "POST /first HTTP/1.1\r\nHost: x\r\n"+head+"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadAll(conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", name, err)
		}
		conn.Close()
		if err := server.Shutdown(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		close(paths)
		for p := range paths {
			if p == "/hidden" {
				t.Errorf("%s: a request that hides in a body is carried out", name)
			}
		}
	}
}
