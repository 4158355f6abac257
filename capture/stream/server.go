package stream

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/internal/asynclog"
)

// ServerConfig are the settings of a Server.
type ServerConfig struct {
	Path string      // of the socket
	Mode fs.FileMode // of the socket: the users that may attach; 0: 0600

	// OnEvent is called for every event, in their order, by one goroutine at a time; nil:
	// never. It delays nothing: events that it is too slow for are dropped, and an
	// EventError has their number.
	OnEvent func(Event)
}

// EventKind is the kind of an Event.
type EventKind uint8

const (
	EventAttached EventKind = iota
	EventDetached
	EventRefused
	EventError // of the socket itself; the server continues
)

func (k EventKind) String() string {
	return [...]string{"attached", "detached", "refused", "error"}[min(k, EventError)]
}

// Event is an event at a server's socket.
type Event struct {
	Kind     EventKind
	Listener ListenerStats // of a refused listener only Name, PID and UID
	Reason   string        // of all but EventAttached
}

func (e Event) String() string {
	l := &e.Listener
	name := fmt.Sprintf("listener %s (pid %d, uid %d)", l.Name, l.PID, l.UID)
	switch e.Kind {
	case EventAttached:
		return fmt.Sprintf("%s attached, %s", name, l.Policy)
	case EventDetached:
		text := fmt.Sprintf("%s detached: %s; read %d of %d frames, overrun %d", name, e.Reason, l.Read, l.Stored, l.Overrun)
		if l.Skipped != 0 {
			text += fmt.Sprintf(", %d of other members of its group", l.Skipped)
		}
		return text
	case EventRefused:
		return fmt.Sprintf("%s refused: %s", name, e.Reason)
	}
	return "socket: " + e.Reason
}

const (
	// requestTimeout limits the time from the connection to the request.
	requestTimeout = 2 * time.Second
	// maxPending is the largest number of connections without a request; more wait until
	// one has sent it, for crowdedTimeout at most.
	maxPending     = 16
	crowdedTimeout = 100 * time.Millisecond
	// flushTimeout is how long Close waits for OnEvent.
	flushTimeout = time.Second
	// The pause between two tries to accept when descriptors or memory are short.
	firstRetry, lastRetry = 10 * time.Millisecond, time.Second
)

// Server serves attachments of other processes at a socket. Every connection has a
// goroutine that waits for its end; the producer has no part in it.
type Server struct {
	stream  *Stream
	onEvent func(Event)
	events  *asynclog.Queue // calls onEvent
	timeout time.Duration   // requestTimeout but in tests
	socket  *socket
	pending chan struct{} // holds a token for each connection without a request
	done    chan struct{} // closed by Close

	serving sync.WaitGroup
	closed  sync.Once
	err     error // of Close

	mu    sync.Mutex
	peers map[*peer]struct{} // nil once closed
}

// peer is the process at the other end of a connection.
type peer struct {
	conn     *net.UnixConn
	pid, uid int

	timed bool // no time limit is to be set any more; guarded by Server.mu
}

// disconnect sends the reason for the detachment and closes the connection. It never
// blocks: a peer that does not read does not get the reason.
func (p *peer) disconnect(reason string) {
	a := answer{state: detached, text: reason}
	_ = sendNow(p.conn, a.encode(), nil)
	_ = p.conn.Close()
}

// Serve starts a server for other processes at a UNIX socket (SOCK_SEQPACKET). It
// returns at once; the server runs until Close. It replaces the socket file of a
// program that was killed.
func (s *Stream) Serve(c ServerConfig) (*Server, error) { return s.serve(c, requestTimeout) }

func (s *Stream) serve(c ServerConfig, timeout time.Duration) (*Server, error) {
	if c.Mode == 0 {
		c.Mode = 0o600
	}
	socket, err := bind(c.Path, c.Mode)
	if err != nil {
		return nil, fmt.Errorf("serve stream at %s: %w", c.Path, err)
	}
	srv := &Server{
		stream: s, timeout: timeout, socket: socket,
		pending: make(chan struct{}, maxPending), done: make(chan struct{}), peers: map[*peer]struct{}{},
	}
	srv.setOnEvent(c.OnEvent)
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.servers[srv] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		return nil, errors.Join(fmt.Errorf("serve stream at %s: %w", c.Path, ErrStreamClosed), socket.close())
	}
	srv.serving.Go(srv.accept)
	return srv, nil
}

// Servers returns the servers that are open.
func (s *Stream) Servers() (all []*Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for srv := range s.servers {
		all = append(all, srv)
	}
	return all
}

// Path is the path of the socket.
func (srv *Server) Path() string { return srv.socket.path }

// Mode is the mode of the socket, which decides the users that may attach.
func (srv *Server) Mode() fs.FileMode { return srv.socket.mode }

// Close detaches all listeners that attached over the socket, and removes it. They
// read what is left if the stream is finished. It waits up to a second for OnEvent, which
// must not call it.
func (srv *Server) Close() error {
	srv.closed.Do(func() {
		close(srv.done)
		srv.err = srv.socket.close()
		srv.mu.Lock()
		peers := srv.peers
		srv.peers = nil
		srv.mu.Unlock()
		s := srv.stream
		s.mu.Lock()
		delete(s.servers, srv)
		for _, att := range s.attached {
			if att != nil && att.peer != nil {
				if _, found := peers[att.peer]; found {
					s.detach(att, reasonServerClosed)
				}
			}
		}
		s.mu.Unlock()
		for p := range peers {
			_ = p.conn.Close() // those without a request; a second time for the others
		}
		srv.serving.Wait()
		srv.events.Flush(flushTimeout)
	})
	return srv.err
}

func (srv *Server) setOnEvent(onEvent func(Event)) {
	srv.onEvent = onEvent
	srv.events = asynclog.NewQueue(func(dropped uint64, over time.Duration) error {
		onEvent(Event{Kind: EventError, Reason: fmt.Sprintf("%d events dropped in the last %v: OnEvent was too slow", dropped, over.Round(time.Millisecond))})
		return nil
	})
}

// emit passes an event to OnEvent. It does not wait for it: who detaches a listener that
// holds the capture back comes through here.
func (srv *Server) emit(e Event) {
	if srv.onEvent == nil {
		return
	}
	srv.events.Add(len(e.Listener.Name)+len(e.Reason), func() error {
		srv.onEvent(e)
		return nil
	})
}

// accept accepts connections until the socket is closed.
func (srv *Server) accept() {
	retry := firstRetry
	for {
		select {
		case srv.pending <- struct{}{}:
		default:
			srv.hurry()
			select {
			case srv.pending <- struct{}{}:
			case <-srv.done:
				return
			}
		}
		c, err := srv.socket.listener.AcceptUnix()
		if err != nil {
			<-srv.pending
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// No descriptors or no memory: try again until some are freed.
			if retry == firstRetry {
				srv.emit(Event{Kind: EventError, Reason: fmt.Sprintf("accept a connection: %v; retrying", err)})
			}
			select {
			case <-time.After(retry):
			case <-srv.done:
				return
			}
			retry = min(2*retry, lastRetry)
			continue
		}
		retry = firstRetry
		p := &peer{conn: c}
		srv.register(p)
		srv.serving.Go(func() { srv.serve(p) })
	}
}

// register gives a connection its time limit, before the next call of hurry. A server
// that is being closed closes it.
func (srv *Server) register(p *peer) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.peers == nil {
		p.conn.Close()
		return
	}
	srv.peers[p] = struct{}{}
	_ = p.conn.SetReadDeadline(time.Now().Add(srv.timeout))
}

// hurry leaves connections without a request crowdedTimeout to send it.
func (srv *Server) hurry() {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for p := range srv.peers {
		if !p.timed {
			p.timed = true
			_ = p.conn.SetReadDeadline(time.Now().Add(crowdedTimeout))
		}
	}
}

// requested ends the time limit of the peer's request.
func (srv *Server) requested(p *peer) error {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	p.timed = true
	return p.conn.SetReadDeadline(time.Time{})
}

// serve serves one registered connection, from the request to its end.
func (srv *Server) serve(p *peer) {
	defer p.conn.Close()
	received := sync.OnceFunc(func() { <-srv.pending })
	defer received()
	defer func() {
		srv.mu.Lock()
		delete(srv.peers, p)
		srv.mu.Unlock()
	}()

	att, o, err := srv.attach(p)
	if err != nil {
		return
	}
	received()
	st := ListenerStats{
		ID: att.id, Name: att.name, PID: att.pid, UID: att.uid, Since: att.since,
		Policy: o.Policy, DetachAfter: o.DetachAfter,
	}
	srv.emit(Event{Kind: EventAttached, Listener: st})

	reason := p.wait()
	srv.stream.mu.Lock()
	srv.stream.detach(att, reason)
	st = *att.final
	srv.stream.mu.Unlock()
	srv.emit(Event{Kind: EventDetached, Listener: st, Reason: st.DetachReason})
}

// attach reads a request and grants or refuses it.
func (srv *Server) attach(p *peer) (*attachment, Options, error) {
	name, o, err := p.readRequest()
	if bad := srv.requested(p); err == nil {
		err = bad
	}
	var att *attachment
	if err == nil {
		att, err = srv.stream.attach(request{name: name, options: o, pid: p.pid, uid: p.uid, peer: p})
	}
	if err == nil {
		if err = srv.grant(p, att, o); err != nil {
			srv.stream.mu.Lock()
			srv.stream.detach(att, reasonExited)
			srv.stream.mu.Unlock()
			return nil, o, err
		}
		return att, o, nil
	}
	if errors.Is(err, net.ErrClosed) {
		return nil, o, err // by Close
	}
	_ = sendNow(p.conn, (&answer{state: refused, text: err.Error()}).encode(), nil)
	srv.emit(Event{Kind: EventRefused, Reason: err.Error(), Listener: ListenerStats{Name: printable(name), PID: p.pid, UID: p.uid}})
	return nil, o, err
}

// grant sends the answer and the descriptors. It holds the stream's lock, so that
// no other goroutine closes the descriptors before they are sent.
func (srv *Server) grant(p *peer, att *attachment, o Options) error {
	s := srv.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if att.final != nil || s.closed {
		return net.ErrClosed
	}
	g := s.grant(att, o)
	a := answer{
		state: granted, id: g.id, slot: uint32(g.slot), searching: g.searching, group: g.group, member: g.member,
		dataBytes: g.data.bytes, ctrlBytes: g.control.bytes,
		dataPage: uint32(g.data.page), controlPage: uint32(g.control.page),
	}
	return sendNow(p.conn, a.encode(), []int{g.data.fd, g.control.fd, g.cursor.fd})
}

// readRequest reads the peer's credentials and its request. It provides no room for
// descriptors, so the kernel discards those that come with the message.
func (p *peer) readRequest() (name string, o Options, err error) {
	if p.pid, p.uid, err = credentials(p.conn); err != nil {
		return "", o, err
	}
	b := make([]byte, requestBytes+MaxName+maxFanout+1)
	n, _, flags, _, err := p.conn.ReadMsgUnix(b, nil)
	switch {
	case err != nil:
		return "", o, fmt.Errorf("read the request: %w", err)
	case flags&unix.MSG_CTRUNC != 0:
		return "", o, errors.New("request with descriptors: send none")
	case flags&unix.MSG_TRUNC != 0:
		return "", o, fmt.Errorf("request longer than %d bytes", len(b)-1)
	}
	return decodeRequest(b[:n])
}

// wait waits for the end of the connection and returns the reason.
func (p *peer) wait() string {
	b := make([]byte, goodbyeBytes+1)
	n, _, flags, _, err := p.conn.ReadMsgUnix(b, nil)
	switch {
	case err != nil || n == 0:
		return reasonExited
	case flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) == 0 && isGoodbye(b[:n]):
		return reasonClosed
	}
	return "unexpected message"
}

// credentials returns the IDs of the process that connected (SO_PEERCRED).
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
		return 0, 0, fmt.Errorf("read the credentials of the peer: %w", err)
	}
	return int(cred.Pid), int(cred.Uid), nil
}
