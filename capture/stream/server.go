package stream

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ServerConfig says how a stream is shared with other processes.
type ServerConfig struct {
	Path string      // of the socket
	Mode fs.FileMode // of the socket: who may attach; 0: 0600

	// OnEvent is called when a listener has attached or left, or was refused. One
	// goroutine calls it at a time; it holds up nothing but attachments and
	// detachments over the same socket. May be nil.
	OnEvent func(Event)
}

// EventKind is what happened at a socket.
type EventKind uint8

const (
	EventAttached EventKind = iota
	EventDetached
	EventRefused
	EventError // the socket itself: Reason says what; it goes on
)

func (k EventKind) String() string {
	return [...]string{"attached", "detached", "refused", "error"}[min(k, EventError)]
}

// Event is one thing that happened at a socket.
type Event struct {
	Kind     EventKind
	Listener ListenerStats // of one refused only name, PID and UID
	Reason   string        // of all but Attached
}

func (e Event) String() string {
	l := &e.Listener
	who := fmt.Sprintf("listener %s (pid %d, uid %d)", l.Name, l.PID, l.UID)
	switch e.Kind {
	case EventAttached:
		return fmt.Sprintf("%s attached, %s", who, l.Policy)
	case EventDetached:
		return fmt.Sprintf("%s detached: %s; read %d of %d frames, overrun %d", who, e.Reason, l.Read, l.Stored, l.Overrun)
	case EventRefused:
		return fmt.Sprintf("%s refused: %s", who, e.Reason)
	}
	return "socket: " + e.Reason
}

const (
	// askWithin is how long a process may take from connecting to asking.
	askWithin = 2 * time.Second
	// maxHalfOpen is how many may be about to ask at once; the others wait.
	maxHalfOpen = 16
	// Between two tries to accept when descriptors or memory are short.
	firstRetry, lastRetry = 10 * time.Millisecond, time.Second
)

// Server is a stream's socket. Every attachment over it has a goroutine that
// waits for the connection's end; the producer has no part in any of it.
type Server struct {
	stream *Stream
	tell   func(Event)
	within time.Duration // askWithin but in tests
	socket *socket
	half   chan struct{} // a token each connection that has not asked yet
	ends   chan struct{} // closed by Close

	telling sync.Mutex
	serving sync.WaitGroup
	closed  sync.Once
	err     error // of Close

	mu    sync.Mutex
	peers map[*peer]struct{} // nil once closed
}

// peer is the process at the other end of a connection.
type peer struct {
	conn      *net.UnixConn
	pid, uid  int
	dismissed atomic.Bool
}

// dismiss tells a listener that it has been let go, and why, and ends the
// connection. It never waits: a peer that doesn't read is not told.
func (p *peer) dismiss(why string) {
	p.dismissed.Store(true)
	a := answer{state: farewell, text: why}
	_ = sendNow(p.conn, a.encode(), nil)
	_ = p.conn.Close()
}

// Serve serves attachments of other processes at a UNIX socket (SOCK_SEQPACKET)
// until Close. A socket that a killed program left is replaced.
func (s *Stream) Serve(c ServerConfig) (*Server, error) { return s.share(c, askWithin) }

func (s *Stream) share(c ServerConfig, within time.Duration) (*Server, error) {
	if c.Mode == 0 {
		c.Mode = 0o600
	}
	socket, err := bind(c.Path, c.Mode)
	if err != nil {
		return nil, fmt.Errorf("share stream at %s: %w", c.Path, err)
	}
	sh := &Server{
		stream: s, tell: c.OnEvent, within: within, socket: socket,
		half: make(chan struct{}, maxHalfOpen), ends: make(chan struct{}), peers: map[*peer]struct{}{},
	}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.shares[sh] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		return nil, errors.Join(fmt.Errorf("share stream at %s: stream is closed", c.Path), socket.close())
	}
	sh.serving.Go(sh.accept)
	return sh, nil
}

// Servers are the sockets that are open.
func (s *Stream) Servers() (all []*Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sh := range s.shares {
		all = append(all, sh)
	}
	return all
}

// Path is where the socket is; Mode is its mode, by which the kernel decides who
// may attach.
func (sh *Server) Path() string { return sh.socket.path }

func (sh *Server) Mode() fs.FileMode { return sh.socket.mode }

// Close lets go everybody who attached over the socket, and removes it. Those
// read what is left if the stream is finished. It must not be called by OnEvent.
func (sh *Server) Close() error {
	sh.closed.Do(func() {
		close(sh.ends)
		sh.err = sh.socket.close()
		sh.mu.Lock()
		peers := sh.peers
		sh.peers = nil
		sh.mu.Unlock()
		s := sh.stream
		s.mu.Lock()
		delete(s.shares, sh)
		for _, sl := range s.attached {
			if sl != nil && sl.peer != nil {
				if _, ours := peers[sl.peer]; ours {
					s.end(sl, "server closed")
				}
			}
		}
		s.mu.Unlock()
		for p := range peers {
			_ = p.conn.Close() // those that are about to ask; twice for the others
		}
		sh.serving.Wait()
	})
	return sh.err
}

func (sh *Server) report(e Event) {
	if sh.tell == nil {
		return
	}
	sh.telling.Lock()
	defer sh.telling.Unlock()
	sh.tell(e)
}

// accept takes connections until the socket is closed.
func (sh *Server) accept() {
	retry := firstRetry
	for {
		select {
		case sh.half <- struct{}{}:
		case <-sh.ends:
			return
		}
		c, err := sh.socket.listener.AcceptUnix()
		if err != nil {
			<-sh.half
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// No descriptors, no memory: others may give some back.
			if retry == firstRetry {
				sh.report(Event{Kind: EventError, Reason: fmt.Sprintf("accept: %v; trying on", err)})
			}
			select {
			case <-time.After(retry):
			case <-sh.ends:
				return
			}
			retry = min(2*retry, lastRetry)
			continue
		}
		retry = firstRetry
		sh.serving.Go(func() { sh.serve(&peer{conn: c}) })
	}
}

// serve is one connection, from the request to its end.
func (sh *Server) serve(p *peer) {
	defer p.conn.Close()
	half := sync.OnceFunc(func() { <-sh.half })
	defer half()
	sh.mu.Lock()
	open := sh.peers != nil
	if open {
		sh.peers[p] = struct{}{}
	}
	sh.mu.Unlock()
	if !open {
		return
	}
	defer func() {
		sh.mu.Lock()
		delete(sh.peers, p)
		sh.mu.Unlock()
	}()

	sl, o, err := sh.admit(p)
	if err != nil {
		return
	}
	half()
	st := ListenerStats{
		ID: sl.id, Name: sl.name, PID: sl.pid, UID: sl.uid, Since: sl.since,
		Policy: o.Policy, DetachAfter: o.DetachAfter,
	}
	sh.report(Event{Kind: EventAttached, Listener: st})

	why := p.wait()
	sh.stream.mu.Lock()
	sh.stream.end(sl, why)
	st = *sl.final
	sh.stream.mu.Unlock()
	sh.report(Event{Kind: EventDetached, Listener: st, Reason: st.DetachReason})
}

// admit reads a request and grants or refuses it.
func (sh *Server) admit(p *peer) (*slot, Options, error) {
	name, o, err := p.ask(sh.within)
	var sl *slot
	if err == nil {
		sl, err = sh.stream.attach(request{name: name, options: o, pid: p.pid, uid: p.uid, peer: p})
	}
	if err == nil {
		if err = sh.grant(p, sl, o); err != nil {
			sh.stream.mu.Lock()
			sh.stream.end(sl, whyDied)
			sh.stream.mu.Unlock()
			return nil, o, err
		}
		return sl, o, nil
	}
	if errors.Is(err, net.ErrClosed) {
		return nil, o, err // Close
	}
	_ = sendNow(p.conn, (&answer{state: refused, text: err.Error()}).encode(), nil)
	sh.report(Event{Kind: EventRefused, Reason: err.Error(), Listener: ListenerStats{Name: printable(name), PID: p.pid, UID: p.uid}})
	return nil, o, err
}

// grant sends a slot and its memories. The descriptors are taken under the
// stream's lock: else they could be closed, and be somebody else's, meanwhile.
func (sh *Server) grant(p *peer, sl *slot, o Options) error {
	s := sh.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl.final != nil || s.closed {
		return net.ErrClosed
	}
	g := s.grant(sl, o)
	a := answer{
		state: granted, id: g.id, number: uint32(g.number), searching: g.searching,
		dataBytes: g.data.bytes, ctrlBytes: g.control.bytes,
		dataPage: uint32(g.data.page), controlPage: uint32(g.control.page),
	}
	return sendNow(p.conn, a.encode(), []int{g.data.fd, g.control.fd, g.cursor.fd})
}

// ask finds out who is there and reads what it wants. Descriptors that come with
// a message are not taken: no room for them is offered.
func (p *peer) ask(within time.Duration) (name string, o Options, err error) {
	if p.pid, p.uid, err = credentials(p.conn); err != nil {
		return "", o, err
	}
	if err := p.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return "", o, err
	}
	b := make([]byte, requestBytes+MaxName+1)
	n, _, flags, _, err := p.conn.ReadMsgUnix(b, nil)
	switch {
	case err != nil:
		return "", o, fmt.Errorf("read the request: %w", err)
	case flags&unix.MSG_CTRUNC != 0:
		return "", o, errors.New("request with descriptors: none are wanted")
	case flags&unix.MSG_TRUNC != 0:
		return "", o, fmt.Errorf("request longer than %d bytes", len(b)-1)
	}
	if name, o, err = decodeRequest(b[:n]); err != nil {
		return "", o, err
	}
	return name, o, p.conn.SetReadDeadline(time.Time{})
}

// wait waits until the connection ends, and says how.
func (p *peer) wait() string {
	b := make([]byte, byeBytes+1)
	n, _, flags, _, err := p.conn.ReadMsgUnix(b, nil)
	switch {
	case err != nil || n == 0:
		return whyDied
	case flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) == 0 && isBye(b[:n]):
		return whyClosed
	}
	return "unexpected message"
}

// credentials are those of the process that connected (SO_PEERCRED).
func credentials(c *net.UnixConn) (pid, uid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var cred *unix.Ucred
	cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(cerr, err); err != nil {
		return 0, 0, fmt.Errorf("credentials of the peer: %w", err)
	}
	return int(cred.Pid), int(cred.Uid), nil
}
