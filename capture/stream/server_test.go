package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// serve starts a server for a stream and returns it and its events.
func serve(tb testing.TB, s *Stream, c ServerConfig) (*Server, *events) {
	tb.Helper()
	ev := &events{}
	if c.Path == "" {
		c.Path = filepath.Join(tb.TempDir(), "q.sock")
	}
	c.OnEvent = ev.add
	srv, err := s.Serve(c)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, srv.Close()) })
	return srv, ev
}

type events struct {
	mu  sync.Mutex
	all []Event
}

func (e *events) add(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

// of returns the events of a kind.
func (e *events) of(k EventKind) (of []Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.all {
		if ev.Kind == k {
			of = append(of, ev)
		}
	}
	return of
}

func attachTo(tb testing.TB, srv *Server, o Options) *Listener {
	tb.Helper()
	l, err := Attach(srv.Path(), tb.Name(), o)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, l.Close()) })
	return l
}

func TestAttachedListenersReadWhatThoseInTheProcessRead(t *testing.T) {
	const frames = 20000
	s := newStream(t, Config{Size: Block, Segment: Block})
	srv, ev := serve(t, s, ServerConfig{})
	p := s.Producer()
	ctx := testContext(t)
	inside := listen(t, s, Options{})
	outside := attachTo(t, srv, Options{})
	aligned := attachTo(t, srv, Options{Aligned: true})
	var readers sync.WaitGroup
	for _, l := range []*Listener{inside, outside} {
		readers.Go(func() {
			packets, next := make([]Packet, 50), uint32(0)
			for {
				n, err := l.ReadBatch(ctx, packets)
				if errors.Is(err, io.EOF) && next == frames {
					return
				}
				if err != nil {
					t.Errorf("after %d frames: %v", next, err)
					return
				}
				for _, pkt := range packets[:n] {
					if pkt.Nsec != next || !intact(pkt.Data, next) {
						t.Errorf("frame %d where %d was next", pkt.Nsec, next)
						return
					}
					next++
				}
			}
		})
	}
	var segments [][]byte
	readers.Go(func() {
		var err error
		if segments, _, err = readSegments(t, ctx, aligned, 64<<10); err != nil {
			t.Error(err)
		}
	})
	for n := range uint32(frames) {
		p.appendWait(t, 1, n, numbered(n, 60+int(n%1000)))
		if n%32 == 31 {
			p.Publish()
		}
	}
	p.Finish()
	readers.Wait()
	next := uint32(0)
	for _, segment := range segments {
		for _, rec := range parse(t, 0, segment) {
			require.Equal(t, next, rec.nsec)
			require.True(t, intact(rec.data, next))
			next++
		}
	}
	require.EqualValues(t, frames, next)
	require.Len(t, s.Stats().Listeners, 3)
	for _, st := range s.Stats().Listeners {
		require.NoError(t, st.Balanced())
		require.EqualValues(t, frames, st.Read)
		require.Zero(t, st.LagBytes)
		require.Zero(t, st.Lag)
	}
	for _, l := range []*Listener{inside, outside, aligned} {
		require.NoError(t, l.Close())
		require.EqualValues(t, frames, l.Stats().Read)
	}
	require.Eventually(t, func() bool { return len(ev.of(EventDetached)) == 2 }, timeout, tick)
	st := s.Stats()
	require.Empty(t, st.Listeners)
	require.Len(t, st.RecentDetached, 3)
	require.EqualValues(t, 3, st.DetachedTotal)
	for _, gone := range st.RecentDetached {
		require.Equal(t, "closed", gone.DetachReason)
		require.EqualValues(t, frames, gone.Read)
		require.NoError(t, gone.Balanced())
	}
	require.Len(t, ev.of(EventAttached), 2)
}

// dialRaw connects without the client code, to send invalid messages.
func dialRaw(tb testing.TB, srv *Server) *net.UnixConn {
	tb.Helper()
	c, err := net.Dial("unixpacket", srv.Path())
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = c.Close() })
	require.NoError(tb, c.SetDeadline(time.Now().Add(timeout)))
	return c.(*net.UnixConn)
}

func TestMalformedRequestsAreRefusedWithAReason(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	srv, ev := serve(t, s, ServerConfig{})
	good := encodeRequest("reader", Options{})
	with := func(at int, b ...byte) []byte {
		m := append([]byte(nil), good...)
		copy(m[at:], b)
		return m
	}
	for name, c := range map[string]struct {
		message []byte
		fds     bool
		want    string
	}{
		"one byte":            {message: []byte{1}, want: "not a request"},
		"text":                {message: []byte("GET / HTTP/1.1\r\n\r\n"), want: "not a request"},
		"another version":     {message: with(8, 77), want: "version 77, the capture has 4. Use programs of one release"},
		"only a version":      {message: good[:12], want: "at least 32"},
		"name cut":            {message: good[:len(good)-1], want: "with a name of 6"},
		"name too long":       {message: with(24, 7), want: "with a name of 7"},
		"very long name":      {message: encodeRequest(strings.Repeat("x", MaxName+1), Options{}), want: "choose at most 200"},
		"longest message":     {message: make([]byte, 60000), want: "longer than"},
		"unknown policy":      {message: with(12, 2), want: "unknown policy"},
		"unknown start":       {message: with(13, 2), want: "unknown policy or start"},
		"alignment of 2":      {message: with(14, 2), want: "reserved bits"},
		"spare bits":          {message: with(15, 1), want: "reserved bits"},
		"cut text":            {message: with(28, 1), want: "a text of 1"},
		"a group without one": {message: encodeRequest("reader", Options{Fanout: "mode=lb"}), want: "no group: write group=N"},
		"unknown mode":        {message: encodeRequest("reader", Options{Fanout: "group=1\nmode=flow"}), want: "choose one of hash"},
		"a member's start":    {message: encodeRequest("reader", Options{Fanout: "group=1", Start: FromOldest}), want: "begins with the next frame"},
		"negative duration":   {message: with(16, 255, 255, 255, 255, 255, 255, 255, 255), want: "146 years"},
		"lossy, detach after": {message: with(12, 1, 0, 0, 0, 1), want: "detach-after is for lossless"},
		"a bell in the name":  {message: with(32, 7), want: "printable"},
		"descriptors":         {message: good, fds: true, want: "send none"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dialRaw(t, srv)
			r, w, err := os.Pipe()
			require.NoError(t, err)
			defer r.Close()
			var rights []byte
			if c.fds {
				rights = unix.UnixRights(int(w.Fd()), int(w.Fd()))
			}
			_, _, err = conn.WriteMsgUnix(c.message, rights, nil)
			require.NoError(t, err)
			a, fds, err := receiveAnswer(conn)
			require.NoError(t, err)
			require.Empty(t, fds)
			require.EqualValues(t, refused, a.state)
			require.Contains(t, a.text, c.want)
			_, _, err = receiveAnswer(conn)
			require.Error(t, err, "the connection is closed")
			require.NoError(t, w.Close())
			require.NoError(t, r.SetReadDeadline(time.Now().Add(timeout)))
			_, err = r.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF, "the descriptors of the message are closed")
		})
	}
	require.Eventually(t, func() bool { return len(ev.of(EventRefused)) == 20 }, timeout, tick)
	require.Zero(t, s.Stats().DetachedTotal)
	require.NoError(t, attachTo(t, srv, Options{}).Close(), "the server continues")
}

func TestSilentConnectionsDoNotBlockOthers(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	srv, err := s.serve(ServerConfig{Path: filepath.Join(t.TempDir(), "q.sock")}, 20*time.Millisecond)
	require.NoError(t, err)
	for range 3 * maxPending {
		dialRaw(t, srv)
	}
	require.NoError(t, attachTo(t, srv, Options{}).Close())
	dialRaw(t, srv)
	require.NoError(t, srv.Close(), "without waiting for the connections")
	require.NoError(t, srv.Close(), "twice")
}

// A listener that dies is detached whatever OnEvent does: it would hold the capture back.
func TestOnEventThatBlocksDelaysNothing(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	blocked := make(chan struct{})
	var events atomic.Int64
	srv, err := s.Serve(ServerConfig{Path: filepath.Join(t.TempDir(), "q.sock"), OnEvent: func(Event) {
		<-blocked
		events.Add(1)
	}})
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, attachTo(t, srv, Options{}).Close())
	}
	require.Eventually(t, func() bool { return s.Stats().DetachedTotal == 3 }, timeout, tick)
	began := time.Now()
	require.NoError(t, srv.Close())
	require.Less(t, time.Since(began), timeout/2)
	close(blocked)
	require.Eventually(t, func() bool { return events.Load() == 6 }, timeout, tick)
}

// Connections without a request have little time while others wait.
func TestManySilentConnectionsDelayOthersBriefly(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	srv, err := s.serve(ServerConfig{Path: filepath.Join(t.TempDir(), "q.sock")}, time.Hour)
	require.NoError(t, err)
	for range 3*maxPending - 1 {
		dialRaw(t, srv)
	}
	l := attachTo(t, srv, Options{})
	require.Len(t, s.Stats().Listeners, 1)
	for range 2 * maxPending {
		dialRaw(t, srv)
	}
	require.NoError(t, attachTo(t, srv, Options{}).Close())
	require.Eventually(t, func() bool { return s.Stats().DetachedTotal == 1 }, timeout, tick)
	require.Len(t, s.Stats().Listeners, 1, "a listener that is attached has no time limit")
	require.NoError(t, l.Close())
	require.NoError(t, srv.Close())
}

func TestEveryEndOfAConnectionDetaches(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	srv, _ := serve(t, s, ServerConfig{})
	for want, do := range map[string]func(*net.UnixConn) error{
		"process exited":     func(c *net.UnixConn) error { return c.Close() },
		"closed":             func(c *net.UnixConn) error { _, err := c.Write(goodbye()); return err },
		"unexpected message": func(c *net.UnixConn) error { _, err := c.Write(make([]byte, 5000)); return err },
	} {
		c := dialRaw(t, srv)
		_, err := c.Write(encodeRequest("raw", Options{}))
		require.NoError(t, err)
		a, fds, err := receiveAnswer(c)
		closeAll(fds)
		require.NoError(t, err)
		require.EqualValues(t, granted, a.state)
		before := s.Stats().DetachedTotal
		require.NoError(t, do(c))
		require.Eventually(t, func() bool { return s.Stats().DetachedTotal == before+1 }, timeout, tick)
		st := s.Stats()
		require.Equal(t, want, st.RecentDetached[len(st.RecentDetached)-1].DetachReason)
	}
}

func TestDetachedProcessGetsTheReason(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	srv, ev := serve(t, s, ServerConfig{})
	l := attachTo(t, srv, Options{})
	errs := make(chan error, 1)
	go func() {
		_, err := l.ReadBatch(context.Background(), make([]Packet, 1))
		errs <- err
	}()
	require.NoError(t, s.Detach(l.id, "maintenance"))
	err := <-errs
	require.ErrorIs(t, err, ErrDetached)
	require.ErrorContains(t, err, "on request: maintenance")
	require.NoError(t, l.Close())
	require.Eventually(t, func() bool { return len(ev.of(EventDetached)) == 1 }, timeout, tick)
	require.Equal(t, "on request: maintenance", ev.of(EventDetached)[0].Reason)

	other := attachTo(t, srv, Options{})
	require.NoError(t, srv.Close())
	_, err = other.ReadBatch(testContext(t), make([]Packet, 1))
	require.ErrorContains(t, err, "server closed")
	_, err = Attach(srv.Path(), "late", Options{})
	require.ErrorContains(t, err, "no capture serves a stream there")
}

func TestFinishedStreamIsReadToItsEndAfterTheServerCloses(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	srv, _ := serve(t, s, ServerConfig{})
	l := attachTo(t, srv, Options{})
	p := s.Producer()
	for n := range uint32(500) {
		require.True(t, p.Append(1, n, numbered(n, 100), 0))
	}
	p.Finish()
	require.NoError(t, s.Close())
	require.EqualValues(t, 500, readAll(t, l, 0))
	require.EqualValues(t, 500, s.Stats().RecentDetached[0].Unread, "when the server closed")
}

// resources counts this process's descriptors, and its mappings of memfds and of
// reserved addresses.
func resources(tb testing.TB) (fds, maps int) {
	tb.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(tb, err)
	text, err := os.ReadFile("/proc/self/maps")
	require.NoError(tb, err)
	return len(all), strings.Count(string(text), "\n")
}

func TestTenThousandAttachmentsLeaveNothingBehind(t *testing.T) {
	times := 10000
	if testing.Short() || raceEnabled {
		times = 500
	}
	s := newStream(t, Config{Size: 2 * Block}) // room for all frames: a client that is not detached yet never holds the producer
	srv, ev := serve(t, s, ServerConfig{})
	reference := listen(t, s, Options{})
	p, next := s.Producer(), uint32(0)
	packets, ctx := make([]Packet, 64), t.Context()
	step := func(i int) {
		l, err := Attach(srv.Path(), "client", Options{Policy: Policy(i % 2), Start: Start(i / 2 % 2)})
		require.NoError(t, err)
		require.True(t, p.Append(1, next, numbered(next, 100), 0))
		p.Publish()
		next++
		n, err := l.ReadBatch(ctx, packets)
		require.NoError(t, err)
		require.True(t, intact(packets[n-1].Data, packets[n-1].Nsec))
		require.NoError(t, l.Close())
		n, err = reference.ReadBatch(ctx, packets)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.True(t, intact(packets[0].Data, next-1))
	}
	settled := func() bool { return len(s.Stats().Listeners) == 1 }
	for i := range 20 {
		step(i)
	}
	require.Eventually(t, settled, timeout, tick)
	fds, maps := resources(t)
	for i := range times {
		step(i)
	}
	require.Eventually(t, settled, timeout, tick)
	require.Eventually(t, func() bool { return len(ev.of(EventDetached)) == times+20 }, timeout, 10*tick)
	// The runtime may open and map a few things, but not one per attachment.
	require.Eventually(t, func() bool {
		f, m := resources(t)
		return f <= fds+5 && m <= maps+50
	}, timeout, 10*tick)
	require.EqualValues(t, times+20, s.Stats().DetachedTotal)
	require.Zero(t, s.Stats().CorruptCursors)
}

// A capture without free descriptors reports it, and continues once some are freed.
func TestServerSurvivesLackOfDescriptors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.sock")
	c := spawn(t, "starve", path)
	require.Equal(t, "ready", c.line(t))
	l, err := Attach(path, "reader", Options{})
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.Contains(t, c.line(t), "accept")
}
