package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/ixcap/ixcap/capture"
)

// Config says how a capture is controlled. Zero values stand for the defaults.
type Config struct {
	Mode fs.FileMode // of the socket: who may control the capture; default 0600

	// Fixed says why a listener is neither to be detached nor to get another
	// policy, "" if it may; nil: all may.
	Fixed func(Listener) string
}

const (
	defaultMode = 0o600
	maxPath     = 107      // bytes of a UNIX socket's path
	maxHeader   = 16 << 10 // bytes of a request's line and headers
	maxClients  = 32       // connections at once; further ones wait

	requestTime = 10 * time.Second // for a client to send a request, and to take its answer
	idleTime    = time.Minute      // for which a connection is kept without one
	closeTime   = 2 * time.Second  // for which Close waits for requests under way
)

// Server serves the control of a capture.
type Server struct {
	http    *http.Server
	handler *handler
	served  chan error
	once    sync.Once
	err     error
}

// Serve is ServePorts of one port.
func Serve(e *capture.Engine, path string, cfg Config) (*Server, error) {
	return ServePorts([]Port{{Engine: e}}, path, cfg)
}

// ServePorts controls captures over a UNIX socket at path. A socket that nobody
// serves any more is replaced; one that somebody does is refused. The server is to
// be closed before the engines.
func ServePorts(ports []Port, path string, cfg Config) (*Server, error) {
	l, err := listen(path, cfg.Mode)
	if err != nil {
		return nil, fmt.Errorf("serve control: %w", err)
	}
	h := newHandler(ports, cfg)
	s := &Server{
		handler: h,
		served:  make(chan error, 1),
		http: &http.Server{
			Handler:           h,
			ReadHeaderTimeout: requestTime,
			ReadTimeout:       requestTime,
			WriteTimeout:      requestTime,
			IdleTimeout:       idleTime,
			MaxHeaderBytes:    maxHeader,
			ErrorLog:          log.New(io.Discard, "", 0), // of clients that send nonsense: they are told
			ConnContext:       withPeer,
		},
	}
	go func() { s.served <- s.http.Serve(l) }()
	return s, nil
}

// Close ends the service and removes the socket. Requests under way are waited
// for, for two seconds.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.handler.close()
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
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
