package httpserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	headerTimeout = 5 * time.Second // for the headers of a request
	answerTime    = 5 * time.Second // after a request's own deadline, so that its answer gets out
	idleTimeout   = 2 * time.Minute // of a connection between two requests; longer than balancers keep one, so that they close first
)

// Server is an http.Server whose waits end and whose end loses nothing.
type Server struct {
	http     *http.Server
	listener net.Listener
	failed   chan error
	abort    context.CancelFunc // ends the requests that outlive the drain
	hushed   *atomic.Bool
}

// Listen takes the address, so that one that is in use is an error here and not a log line later. Requests live on a context of their
// own: the signal that stops the program must not cut off those in flight.
func Listen(addr string, h http.Handler, timeout time.Duration, log *slog.Logger) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	base, abort := context.WithCancel(context.Background())
	hushed := &atomic.Bool{}
	return &Server{
		listener: listener, failed: make(chan error, 1), abort: abort, hushed: hushed,
		http: &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if hushed.Load() {
					w.Header().Set("Connection", "close")
				}
				h.ServeHTTP(w, r)
			}),
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       timeout,
			WriteTimeout:      timeout + answerTime,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    32 << 10,
			BaseContext:       func(net.Listener) context.Context { return base },
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		},
	}, nil
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Serve answers in the background; Failed tells when it cannot go on.
func (s *Server) Serve() {
	go func() {
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- err
		}
	}()
}

// Failed delivers the error that ended the server, if one does.
func (s *Server) Failed() <-chan error { return s.failed }

// Hush ends each connection after its next answer, so that clients come back on new ones, which a balancer sends elsewhere by now.
// (SetKeepAlivesEnabled would close idle ones at once, under a request that is on its way.)
func (s *Server) Hush() { s.hushed.Store(true) }

// Shutdown takes no more requests and waits for those in flight until ctx ends; then it cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	s.abort()
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	return err
}
