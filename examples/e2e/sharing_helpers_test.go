package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/sim"
)

// shared is a capture of generated frames to files, served over a socket. The wire has
// backpressure: only listeners can lose frames.
type shared struct {
	t      *testing.T
	engine *capture.Engine
	model  *sim.NIC
	socket string
	dir    string
}

const sharedFrames = 30_000

// newShared returns a capture of a number of frames that has not started.
func newShared(t *testing.T, frames int) *shared {
	t.Helper()
	return newSharedConfig(t, frames, capture.Config{})
}

// newSharedConfig returns newShared's capture with further settings.
func newSharedConfig(t *testing.T, frames int, cfg capture.Config) *shared {
	t.Helper()
	return newSharedPort(t, frames, nic.Config{}, cfg)
}

// newSharedPort returns newShared's capture with further settings of port and capture.
func newSharedPort(t *testing.T, frames int, port nic.Config, cfg capture.Config) *shared {
	t.Helper()
	s := &shared{t: t, dir: t.TempDir()}
	cfg.Segment = 8 << 20
	s.engine, s.model = openEngine(t, fmt.Sprintf("sim:gen,size=60-1514,flows=16,count=%d,backpressure", frames), port, cfg)
	s.socket = filepath.Join(shortDir(t), "queue0.sock")
	sh, err := s.engine.Stream(0).Serve(stream.ServerConfig{Path: s.socket, OnEvent: func(e stream.Event) { t.Log(e) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sh.Close()) })
	return s
}

// capture captures to the end of the wire and until the clients have read all frames.
// The ledger must balance, and the files hold every frame. It returns the ledger and
// what a client must have read.
func (s *shared) capture(frames int) (capture.Ledger, report) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*testtime.Deadline)
	defer cancel()
	l, err := recorder.Run(ctx, s.engine, recorder.Config{Dirs: []string{s.dir}, Queue: capture.AllQueues, Linger: testtime.Deadline, Store: rawstore.Config{Port: "shared"}})
	require.NoError(s.t, err)
	require.NoError(s.t, ctx.Err(), "the capture took too long")
	require.NoError(s.t, l.Balanced())
	audit(s.t, s.engine, s.model)
	require.EqualValues(s.t, frames, l.Frames())
	require.Zero(s.t, l.Lost())
	truth := digestOf(s.t, s.dir)
	require.EqualValues(s.t, frames, truth.Frames)
	return l, truth
}

// listener returns the counters of an attached or detached listener.
func (s *shared) listener(name string) (stream.ListenerStats, bool) {
	st := s.engine.Stream(0).Stats()
	for _, l := range append(st.Listeners, st.RecentDetached...) {
		if l.Name == name {
			return l, true
		}
	}
	return stream.ListenerStats{}, false
}

// waitDetached waits until a listener is detached and returns its counters.
func (s *shared) waitDetached(name string) stream.ListenerStats {
	s.t.Helper()
	var l stream.ListenerStats
	eventually(s.t, name+" is still attached", func() bool { l, _ = s.listener(name); return l.DetachReason != "" })
	require.NoError(s.t, l.Balanced())
	return l
}

// runClient starts a client in this process and returns a function that waits for its
// report.
func (s *shared) runClient(spec client) func() report {
	s.t.Helper()
	l, err := s.engine.Stream(0).Listen(spec.Name, spec.Options)
	require.NoError(s.t, err)
	var r report
	var reading sync.WaitGroup
	reading.Go(func() {
		r, err = spec.read(l)
		if cerr := l.Close(); err == nil {
			err = cerr
		}
		r.Account = l.Stats()
	})
	return func() report {
		reading.Wait()
		require.NoError(s.t, err)
		return r
	}
}

// startClient starts a client process and returns a function that waits for its report.
func (s *shared) startClient(spec client) func() report {
	spec.Socket = s.socket
	p := startClient(s.t, spec)
	return func() report { return waitReport(s.t, p) }
}

// requireAllFrames requires that a client has read every frame, in order, byte for byte,
// with the timestamp of the files.
func requireAllFrames(t *testing.T, truth, r report) {
	t.Helper()
	require.Equal(t, truth.Frames, r.Frames)
	require.Equal(t, truth.Digest, r.Digest)
	require.Equal(t, truth.Frames, r.Account.Read)
	require.Zero(t, r.Account.Overrun)
	require.Zero(t, r.Account.Unread)
}

// requireAllButOverrun requires that a lossy client has read every frame except those
// counted as overrun.
func requireAllButOverrun(t *testing.T, truth, r report) {
	t.Helper()
	require.Equal(t, truth.Frames-r.Account.Overrun, r.Frames)
	require.Equal(t, r.Frames, r.Account.Read)
	require.Zero(t, r.Account.Unread)
	require.NoError(t, r.Account.Balanced())
	if r.Account.Overrun == 0 {
		require.Equal(t, truth.Digest, r.Digest)
	}
}

// creader compiles the reader in C. It returns "" without a compiler.
func creader(t *testing.T) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Log("gcc is missing: apt install gcc. The reader in C is not tested.")
		return ""
	}
	exe := filepath.Join(t.TempDir(), "creader")
	out, err := exec.Command(gcc, "-std=c11", "-O2", "-o", exe, filepath.Join("..", "creader", "creader.c")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return exe
}

// startCReader starts the reader in C and returns a function that requires that it has
// read every frame, in order.
func (s *shared) startCReader(exe, name string) func() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*testtime.Deadline)
	s.t.Cleanup(cancel)
	p := launch(s.t, exec.CommandContext(ctx, exe, "-json", "-pattern", "-name", name, s.socket))
	eventually(s.t, "the reader in C is not attached", func() bool { _, ok := s.listener(name); return ok })
	return func() {
		s.t.Helper()
		r := p.wait()
		require.Zero(s.t, r.status, r.stderr)
		var got struct {
			Frames, Bytes, Overrun, Errors uint64
			End                            string
		}
		require.NoError(s.t, json.Unmarshal([]byte(r.stdout), &got), r.stdout)
		st := s.engine.Stream(0).Stats()
		require.Equal(s.t, st.Frames, got.Frames)
		require.Equal(s.t, st.FrameBytes, got.Bytes)
		require.Zero(s.t, got.Overrun)
		require.Zero(s.t, got.Errors)
		require.Equal(s.t, "finished", got.End)
	}
}

// assertNoError reports whether err is nil, else marks the test as failed. It may be
// called in any goroutine.
func assertNoError(t *testing.T, err error) bool {
	if err != nil {
		t.Error(err)
	}
	return err == nil
}
