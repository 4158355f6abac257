package control

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

// deadline bounds waits on a busy machine.
const deadline = 60 * time.Second

// queue is a source of frames of 60 bytes.
type queue struct {
	mu            sync.Mutex
	frames, taken int
}

var payload = make([]byte, 60)

func (q *queue) Poll(frames []ring.Frame) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(frames), q.frames)
	for i := range n {
		frames[i] = ring.Frame{Data: payload, Len: 60}
	}
	q.frames -= n
	q.taken += n
	return n
}

func (q *queue) Release() {}

func (q *queue) put(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.frames += n
}

// port is a port of such queues.
type port struct{ queues []*queue }

func (p *port) Name() string { return "fake0" }
func (p *port) Sources() (all []capture.Source) {
	for _, q := range p.queues {
		all = append(all, q)
	}
	return all
}
func (p *port) Start() error           { return nil }
func (p *port) Ended() <-chan struct{} { return nil }
func (p *port) Gone() <-chan struct{}  { return nil }
func (p *port) GoneErr() error         { return nil }
func (p *port) Close() error           { return nil }

func (p *port) Account() (a capture.Account, err error) {
	for _, q := range p.queues {
		q.mu.Lock()
		n := uint64(q.taken + q.frames)
		q.mu.Unlock()
		a.Queue = append(a.Queue, n)
		a.Received += n
		a.Wire += n
	}
	return a, nil
}

// engine returns an engine that is not started.
func engine(t testing.TB, queues int) (*capture.Engine, *port) {
	t.Helper()
	p := &port{}
	for range queues {
		p.queues = append(p.queues, &queue{})
	}
	e, err := capture.New(p, capture.Config{Buffer: 1 << 20, Idle: capture.IdleYield})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e, p
}

// attach attaches a listener of this process.
func attach(t testing.TB, e *capture.Engine, queue int, name string, o stream.Options) *stream.Listener {
	t.Helper()
	l, err := e.Stream(queue).Listen(name, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// handle returns a handler without a socket.
func handle(t testing.TB, e *capture.Engine, cfg Config) *handler {
	h := newHandler([]Port{{Engine: e}}, cfg)
	t.Cleanup(h.close)
	return h
}

// request sends a request to a handler.
func request(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

// folder returns a folder with a short path: those of sockets are bounded.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ixcap-ctl-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// serve serves a capture and returns a client.
func serve(t testing.TB, e *capture.Engine, cfg Config) (*Client, string) {
	t.Helper()
	path := filepath.Join(folder(t), "control.sock")
	s, err := Serve(e, path, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	c := NewClient(path)
	t.Cleanup(c.Close)
	return c, path
}

// dial connects to a socket, for malformed requests.
func dial(t testing.TB, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(deadline)))
	return c
}
