package control

import (
	"fmt"
	"io/fs"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon/internal/httpserver"
)

// Config configures a Server. Zero values are the defaults.
type Config struct {
	Mode fs.FileMode // of the socket; default 0600

	// Fixed returns why a listener can neither be detached nor get another policy,
	// empty if it can; nil: all can.
	Fixed func(Listener) string
}

const (
	defaultMode = 0o600
	maxPath     = 107         // bytes of a UNIX socket's path
	idleTime    = time.Minute // for which a connection without a request stays open
)

// Server serves the control of captures.
type Server struct {
	http    *httpserver.Server
	handler *handler
}

// Serve is ServePorts of one port.
func Serve(e *capture.Engine, path string, cfg Config) (*Server, error) {
	return ServePorts([]Port{{Engine: e}}, path, cfg)
}

// ServePorts controls captures over a UNIX socket at path. It replaces a socket
// without a server, and refuses one that another program serves. Close the Server
// before the engines.
func ServePorts(ports []Port, path string, cfg Config) (*Server, error) {
	l, err := listen(path, cfg.Mode)
	if err != nil {
		return nil, fmt.Errorf("serve control: %w", err)
	}
	h := newHandler(ports, cfg)
	return &Server{handler: h, http: httpserver.Serve(l, httpserver.Config{Handler: h, IdleTimeout: idleTime, ConnContext: withPeer})}, nil
}

// Close ends the service and removes the socket. It waits for requests under way,
// at most 2 s. Further calls return the same error.
func (s *Server) Close() error {
	s.handler.close()
	return s.http.Close()
}
