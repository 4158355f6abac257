package control

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/testtime"
)

func TestClientCallsEveryEndpoint(t *testing.T) {
	e, p := engine(t, 2)
	require.NoError(t, e.Start())
	odd := attach(t, e, 1, "odd / näme", stream.Options{})
	attach(t, e, 0, "plain", stream.Options{})
	c, _ := serve(t, e, Config{})
	ctx := t.Context()

	s, err := c.Status(ctx)
	require.NoError(t, err)
	require.Equal(t, "fake", s.Port)
	require.Equal(t, os.Getpid(), s.PID)

	l, err := c.SetPolicy(ctx, "plain", "lossless,detach-after=1h")
	require.NoError(t, err)
	require.Equal(t, "lossless", l.Policy)
	require.Equal(t, time.Hour, l.DetachAfter)
	l, err = c.SetPolicy(ctx, l.Key(), "lossy")
	require.NoError(t, err)
	require.Equal(t, "lossy", l.Policy)
	require.Zero(t, l.DetachAfter)

	l, err = c.Detach(ctx, "odd / näme")
	require.NoError(t, err)
	require.Contains(t, l.DetachReason, fmt.Sprintf("(pid %d)", os.Getpid()), "the kernel reports the client's process")
	_, err = odd.ReadBatch(ctx, make([]stream.Packet, 1))
	require.ErrorIs(t, err, stream.ErrDetached)
	all, err := c.Listeners(ctx)
	require.NoError(t, err)
	require.Len(t, all.Attached, 1)
	require.Equal(t, "odd / näme", all.Detached[0].Name)

	_, err = c.Detach(ctx, "odd / näme")
	var refused *Refused
	require.ErrorAs(t, err, &refused)
	require.Equal(t, http.StatusNotFound, refused.Code)
	for _, word := range []string{"", ".", ".."} {
		_, err = c.Detach(ctx, word)
		require.ErrorContains(t, err, "QUEUE:ID")
	}

	f, err := c.SetRules(ctx, 1, "(port 53) all; drop")
	require.NoError(t, err)
	require.Equal(t, "none", f.Queues[0].Rules)
	require.Contains(t, f.Queues[1].Rules, "port 53")
	p.Queues[0].Put(10)
	p.Queues[1].Put(10)
	require.Eventually(t, func() bool {
		f, err := c.Rules(ctx)
		require.NoError(t, err)
		return f.Queues[1].Filtered == 10 && f.Queues[0].Filtered == 0
	}, testtime.Deadline, time.Millisecond)
	f, err = c.SetRules(ctx, capture.AllQueues, "none")
	require.NoError(t, err)
	require.Equal(t, "none", f.Queues[1].Rules)
	_, err = c.SetRules(ctx, capture.AllQueues, "")
	require.ErrorContains(t, err, "no rules")
	_, err = c.SetRules(ctx, capture.AllQueues, "(nonsense) drop")
	require.ErrorAs(t, err, &refused)
	require.Equal(t, http.StatusBadRequest, refused.Code)

	require.NoError(t, e.Stop())
	ledger, err := c.Ledger(ctx)
	require.NoError(t, err)
	require.NoError(t, ledger.Balanced())
	require.EqualValues(t, 20, ledger.Account.Wire)
	require.EqualValues(t, 10, ledger.Frames())
}

func TestSocketHasItsModeAndIsRemovedByClose(t *testing.T) {
	e, _ := engine(t, 1)
	for want, cfg := range map[fs.FileMode]Config{0o600: {}, 0o660: {Mode: 0o660}, 0o666: {Mode: 0o666}} {
		path := filepath.Join(folder(t), "c.sock")
		s, err := Serve(e, path, cfg)
		require.NoError(t, err)
		st, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, want, st.Mode().Perm())
		require.NoError(t, s.Close())
		require.NoError(t, s.Close(), "again")
		require.NoFileExists(t, path)
	}
}

func TestSocketWithoutAServerIsReplacedAndOneInUseIsNot(t *testing.T) {
	e, _ := engine(t, 1)
	path := filepath.Join(folder(t), "c.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	dead.SetUnlinkOnClose(false)
	require.NoError(t, dead.Close())
	s, err := Serve(e, path, Config{})
	require.NoError(t, err)

	_, err = Serve(e, path, Config{})
	require.ErrorContains(t, err, "another program serves this socket")
	c := NewClient(path)
	defer c.Close()
	_, err = c.Status(t.Context())
	require.NoError(t, err, "the first one still serves")

	// A foreign socket at the same path is not removed.
	require.NoError(t, os.Remove(path))
	other, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, s.Close())
	_, err = os.Stat(path)
	require.NoError(t, err)
}

func TestServeRefusesBadPaths(t *testing.T) {
	e, _ := engine(t, 1)
	dir := folder(t)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("content"), 0o600))
	for path, want := range map[string]string{
		file:                                 "address already in use",
		filepath.Join(dir, "none", "x.sock"): "no such file",
		filepath.Join(file, "x.sock"):        "not a directory",
		filepath.Join(dir, strings.Repeat("x", 108)): "room for 107",
	} {
		_, err := Serve(e, path, Config{})
		require.ErrorContains(t, err, want)
	}
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "content", string(kept))
}

func TestClientExplainsWhatIsWrongWithTheSocket(t *testing.T) {
	dir := folder(t)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	foreign := filepath.Join(dir, "foreign")
	for _, path := range []string{filepath.Join(dir, "none"), file} {
		_, err := NewClient(path).Status(t.Context())
		require.ErrorContains(t, err, "no capture is served at "+path)
	}
	l, err := net.Listen("unix", foreign)
	require.NoError(t, err)
	answer := "404 page not found"
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if strings.HasPrefix(answer, "404") {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(answer))
	})}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	c := NewClient(foreign)
	defer c.Close()
	_, err = c.Status(t.Context())
	require.ErrorContains(t, err, "another program serves this socket")
	answer = "hello"
	_, err = c.Status(t.Context())
	require.ErrorContains(t, err, "not the answer of a capture")
}

func TestCloseDoesNotWaitForSilentClients(t *testing.T) {
	e, _ := engine(t, 1)
	path := filepath.Join(folder(t), "c.sock")
	s, err := Serve(e, path, Config{})
	require.NoError(t, err)
	for range 64 {
		_, err := dial(t, path).Write([]byte("GET /v1/sta"))
		require.NoError(t, err)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		require.NoError(t, err)
	case <-time.After(testtime.Deadline):
		require.Fail(t, "Close waits for silent clients")
	}
}

func TestMalformedRequestsGetAnErrorStatusOrNoAnswer(t *testing.T) {
	e, _ := engine(t, 1)
	c, path := serve(t, e, Config{})
	for _, text := range []string{
		"\x00\x01\x02\r\n\r\n", "GET\r\n\r\n", "GET /v1/status HTTP/9.9\r\n\r\n",
		"GET /v1/status HTTP/1.1\r\n\r\n", // without a host
		"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 64<<10) + "\r\n\r\n",
		"PUT /v1/rules HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
		"PUT /v1/rules HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		n := dial(t, path)
		_, _ = n.Write([]byte(text)) // the server may close the connection first
		line, err := bufio.NewReader(n).ReadString('\n')
		if err == nil {
			require.Regexp(t, `^HTTP/1\.[01] (4|5)\d\d `, line, "%.60q", text)
		}
		_ = n.Close()
	}
	_, err := c.Status(t.Context())
	require.NoError(t, err)
}

func TestManyClientsWhileListenersAttachAndDetach(t *testing.T) {
	e, p := engine(t, 1)
	require.NoError(t, e.Start())
	_, path := serve(t, e, Config{})
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			c := NewClient(path)
			defer c.Close()
			for range 20 {
				switch i % 4 {
				case 0:
					_, err := c.Status(t.Context())
					require.NoError(t, err)
				case 1:
					_, err := c.Listeners(t.Context())
					require.NoError(t, err)
				case 2:
					_, _ = c.Detach(t.Context(), "short") // succeeds if there is exactly one
				case 3:
					_, _ = c.SetPolicy(t.Context(), "short", "lossy")
				}
			}
		})
	}
	for range 50 {
		l, err := e.Stream(0).Listen("short", stream.Options{})
		p.Queues[0].Put(3)
		if errors.Is(err, stream.ErrDetached) {
			continue // detached before Listen returned
		}
		require.NoError(t, err)
		_, _ = l.ReadBatch(t.Context(), make([]stream.Packet, 8)) // it may have been detached
		require.NoError(t, l.Close())
	}
	clients.Wait()
	require.NoError(t, e.Stop())
	l, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	require.EqualValues(t, 150, l.Frames())
	require.Len(t, l.Queues[0].Listeners, 50)
}
