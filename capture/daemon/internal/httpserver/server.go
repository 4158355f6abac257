package httpserver

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// RequestTimeout bounds how long a client may take to send a request, and to
// receive the answer.
const RequestTimeout = 10 * time.Second

const (
	closeTimeout = 2 * time.Second // of Close, for requests under way
	maxHeader    = 16 << 10        // bytes of a request's line and headers
	maxClients   = 32              // connections at a time
)

// Config configures a Server.
type Config struct {
	Handler     http.Handler
	IdleTimeout time.Duration // after which a connection without a request is closed

	// ConnContext is that of http.Server; nil: none.
	ConnContext func(ctx context.Context, c net.Conn) context.Context
}

// Server is a running HTTP server.
type Server struct {
	http   *http.Server
	served chan error
	once   sync.Once
	err    error
}

// Serve serves on a listener, which the Server closes, up to 32 connections at a time: a
// further one replaces the one that has been without a request for longest. Malformed
// requests get an error status and are not logged.
func Serve(l net.Listener, cfg Config) *Server {
	s := &Server{served: make(chan error, 1), http: &http.Server{
		Handler:           handler(cfg.Handler),
		ReadHeaderTimeout: RequestTimeout,
		ReadTimeout:       RequestTimeout,
		WriteTimeout:      RequestTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnContext:       connContext(cfg.ConnContext),
	}}
	go func() { s.served <- s.http.Serve(newClients(l, maxClients)) }()
	return s
}

// Close closes the listener and waits for requests under way; those that take
// longer than 2 s are cut off. Further calls return the same error.
func (s *Server) Close() error {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err := s.http.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = s.http.Close()
		}
		if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		s.err = err
	})
	return s.err
}
