package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/ixcap/ixcap/internal/asynclog"
	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

// DefaultTimeout limits every wait for a client: for its VERSION, for its reply to a
// DMA request, for it to read a message.
const DefaultTimeout = 5 * time.Second

// Server serves one Device, to one client at a time.
type Server struct {
	// Timeout replaces DefaultTimeout. Set it before serving.
	Timeout time.Duration

	// Logger gets the reason when a client of Serve is disconnected by an error.
	// Nil discards. Set it before serving.
	Logger *slog.Logger

	dev  Device
	turn chan struct{} // one token: the connection that holds it is served
	stop chan struct{} // closed by Close

	mu     sync.Mutex
	closed bool
	open   map[interface{ Close() error }]struct{} // listeners and connections
	busy   sync.WaitGroup                          // ServeConn under way
}

// New returns a server for dev. Serve and ServeConn serve it.
func New(dev Device) *Server {
	s := &Server{dev: dev, turn: make(chan struct{}, 1), stop: make(chan struct{}), open: map[interface{ Close() error }]struct{}{}}
	s.turn <- struct{}{}
	return s
}

// Serve accepts clients from l and serves them one after the other; others wait in
// l's backlog. It returns nil after Close, and an error if l fails. An error of a
// client ends its connection only.
func (s *Server) Serve(l *net.UnixListener) error {
	if !s.track(l) {
		_ = l.Close()
		return nil
	}
	defer s.untrack(l)
	log, _ := asynclog.Wrap(s.Logger)
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			if s.stopped() {
				return nil
			}
			return fmt.Errorf("accept client: %w", err)
		}
		if err := s.ServeConn(c); err != nil && !s.stopped() {
			log.Warn("client disconnected", "error", err)
		}
	}
}

// ServeConn serves one client until it disconnects, and closes c. It waits while
// another client is served. It returns nil after an orderly end and after Close.
func (s *Server) ServeConn(c *net.UnixConn) error {
	timeout := s.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	conn := proto.NewConn(c, timeout)
	if !s.track(conn) {
		_ = conn.Close()
		return nil
	}
	defer s.busy.Done()
	defer s.untrack(conn)
	select {
	case <-s.turn:
	case <-s.stop:
		return nil
	}
	defer func() { s.turn <- struct{}{} }()

	layout := s.dev.Layout()
	if err := layout.check(); err != nil {
		return err
	}
	session := &session{dev: s.dev, layout: layout, conn: conn, buf: make([]byte, 0, 4096)}
	if err := session.serve(timeout); err != nil && !s.stopped() {
		return fmt.Errorf("serve client: %w", err)
	}
	return nil
}

// Close closes listeners and connections. The device is detached when it returns.
// Methods of the device must not call it.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.stop)
	}
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.busy.Wait()
	return nil
}

func (s *Server) stopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// track registers c for Close. It returns false after Close.
func (s *Server) track(c interface{ Close() error }) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.open[c] = struct{}{}
	if _, ok := c.(*proto.Conn); ok {
		s.busy.Add(1)
	}
	return true
}

func (s *Server) untrack(c interface{ Close() error }) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// check returns an error if the layout is invalid, before a client sees it.
func (l Layout) check() error {
	for i, r := range l.Regions {
		for _, d := range r.Doorbells {
			if d.Offset%4 != 0 || d.Offset+4 > r.Size || d.Shadow%4 != 0 || d.EventFD < 0 || d.ShadowFD < 0 {
				return fmt.Errorf("layout: doorbell %+v of region %d (%#x bytes) is invalid", d, i, r.Size)
			}
		}
	}
	for i, n := range l.Vectors {
		if n < 0 || n > maxVectors {
			return fmt.Errorf("layout: %d vectors of interrupt kind %d, at most %d", n, i, maxVectors)
		}
	}
	if len(l.Regions) <= proto.ConfigRegion || l.Regions[proto.ConfigRegion].Size < 64 {
		return errors.New("layout: no configuration space")
	}
	return nil
}
