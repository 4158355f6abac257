package control

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/capturetest"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/testtime"
)

// engine returns an engine that is not started.
func engine(t testing.TB, queues int) (*capture.Engine, *capturetest.Port) {
	t.Helper()
	p := capturetest.New(queues)
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
	require.NoError(t, c.SetDeadline(time.Now().Add(testtime.Deadline)))
	return c
}
