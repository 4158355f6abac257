package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/logtest"
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
	s := &shared{t: t, dir: t.TempDir()}
	cfg.Segment = 8 << 20
	s.engine, s.model = openEngine(t, fmt.Sprintf("sim:gen,size=60-1514,flows=16,count=%d,backpressure", frames), nic.Config{}, cfg)
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
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*deadline)
	defer cancel()
	l, err := recorder.Run(ctx, s.engine, recorder.Config{Dirs: []string{s.dir}, Queue: capture.AllQueues, Linger: deadline, Store: rawstore.Config{Port: "shared"}})
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
func (s *shared) runClient(g client) func() report {
	s.t.Helper()
	l, err := s.engine.Stream(0).Listen(g.Name, g.Options)
	require.NoError(s.t, err)
	var r report
	var reading sync.WaitGroup
	reading.Go(func() {
		r, err = g.read(l)
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
func (s *shared) startClient(g client) func() report {
	g.Socket = s.socket
	p := startClient(s.t, g)
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
	ctx, cancel := context.WithTimeout(context.Background(), 3*deadline)
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

// Listeners with an even number are client processes; number 0 of several is the reader
// in C. Two of four are lossy, one of them a client process.
func TestEachListenerReadsTheFramesOfItsPolicy(t *testing.T) {
	exe := creader(t)
	for _, listeners := range []int{1, 2, 4, 8} {
		t.Run(fmt.Sprintf("listeners=%d", listeners), func(t *testing.T) {
			s := newShared(t, sharedFrames)
			var reports []func() report
			c := func() {}
			for i := range listeners {
				if i == 0 && listeners > 1 && exe != "" {
					c = s.startCReader(exe, "C")
					reports = append(reports, nil)
					continue
				}
				g := client{Name: fmt.Sprintf("client %d", i), Bytes: i%8 == 4 || i%8 == 5}
				if i%4 >= 2 {
					g.Options.Policy = stream.Lossy
				}
				if i%2 == 0 {
					reports = append(reports, s.startClient(g))
				} else {
					reports = append(reports, s.runClient(g))
				}
			}
			l, truth := s.capture(sharedFrames)
			c()
			for i, wait := range reports {
				if wait == nil {
					continue
				}
				if r := wait(); i%4 >= 2 {
					requireAllButOverrun(t, truth, r)
				} else {
					requireAllFrames(t, truth, r)
				}
			}
			require.Len(t, l.Queues[0].Listeners, listeners+1, "the storer and each listener once")
			for _, a := range l.Queues[0].Listeners {
				require.Equal(t, uint64(sharedFrames), a.Stored)
				require.Zero(t, a.Unread)
			}
		})
	}
}

func TestLossyClientCountsExactlyTheFramesItMissed(t *testing.T) {
	s := newShared(t, sharedFrames)
	g := client{Socket: s.socket, Name: "slow", Options: stream.Options{Policy: stream.Lossy}, PauseAt: 1}
	p := startClient(t, g)
	reference := s.startClient(client{Name: "reference"})
	go func() { // it continues after the overrun
		for ctx := t.Context(); ctx.Err() == nil && s.model.Stats().Delivered < sharedFrames; {
			time.Sleep(time.Millisecond)
		}
		_ = p.stdin.Close()
	}()
	_, truth := s.capture(sharedFrames)
	requireAllFrames(t, truth, reference())
	r := waitReport(t, p)
	requireAllButOverrun(t, truth, r)
	require.NotZero(t, r.Account.Overrun, "24 MB passed through a buffer of 4 MiB during the pause")
	require.NotZero(t, r.Account.OverrunBytes)
}

// A client that stops, exits or corrupts its cursor costs the other listeners and the
// producer no frame.
func TestFaultyClientCostsOthersNoFrame(t *testing.T) {
	detachAfter := stream.Options{DetachAfter: 300 * time.Millisecond}
	for name, c := range map[string]struct {
		client client
		before func(*shared, *program) // before the first frame
		during func(*shared, *program) // while frames flow
		reason string                  // for which it is detached; "": it stays attached
	}{
		"stopped": {
			client: client{Options: detachAfter},
			before: func(_ *shared, p *program) { p.signal(unix.SIGSTOP) },
			reason: "read nothing for 300ms",
		},
		"stopped while lossy": {
			client: client{Options: stream.Options{Policy: stream.Lossy}},
			before: func(_ *shared, p *program) { p.signal(unix.SIGSTOP) },
		},
		"killed while it stalls the capture": {
			client: client{PauseAt: 1},
			during: func(_ *shared, p *program) { p.waitStderr("paused"); p.signal(unix.SIGKILL) },
			reason: "process exited",
		},
		"killed while it is stopped": {
			client: client{},
			before: func(_ *shared, p *program) { p.signal(unix.SIGSTOP) },
			during: func(s *shared, p *program) {
				eventually(p.t, "the client has no unread frames", func() bool { l, _ := s.listener("faulty"); return l.Unread > 1000 })
				p.signal(unix.SIGKILL)
			},
			reason: "process exited",
		},
		"detached while it stalls the capture": {
			client: client{PauseAt: 1},
			during: func(s *shared, p *program) {
				p.waitStderr("paused")
				l, _ := s.listener("faulty")
				require.NoError(p.t, s.engine.Stream(0).Detach(l.ID, "by the test"))
			},
			reason: "on request: by the test",
		},
		"made lossy while it stalls the capture": {
			client: client{PauseAt: 1},
			during: func(s *shared, p *program) {
				p.waitStderr("paused")
				l, _ := s.listener("faulty")
				require.NoError(p.t, s.engine.Stream(0).SetPolicy(l.ID, stream.Lossy, 0))
			},
		},
		"corrupt cursor": {
			client: client{Raw: rawCorruptCursor},
			before: func(_ *shared, p *program) { _ = p.stdin.Close(); p.waitStderr("corrupting the cursor") },
			reason: "corrupt cursor",
		},
		"writes to memory of the server": {
			client: client{Raw: rawWrites},
			during: func(_ *shared, p *program) {
				_ = p.stdin.Close()
				p.waitStderr("every write failed")
			},
			reason: "process exited",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShared(t, sharedFrames)
			c.client.Socket, c.client.Name = s.socket, "faulty"
			p := startClient(t, c.client)
			own, other := s.runClient(client{Name: "own"}), s.startClient(client{Name: "other"})
			if c.before != nil {
				c.before(s, p)
			}
			var during sync.WaitGroup
			if c.during != nil {
				during.Go(func() { c.during(s, p) })
			}
			if c.reason == "" { // it stays attached: killed, so that the capture does not wait for it at the end
				during.Go(func() {
					eventually(t, "the capture is stalled", func() bool { return s.model.Stats().Delivered == sharedFrames })
					p.signal(unix.SIGKILL)
				})
			}
			l, truth := s.capture(sharedFrames)
			during.Wait()
			requireAllFrames(t, truth, own())
			requireAllFrames(t, truth, other())
			if c.reason != "" {
				require.Equal(t, c.reason, s.waitDetached("faulty").DetachReason)
			}
			found := false
			for _, a := range l.Queues[0].Listeners {
				found = found || a.Name == "faulty"
			}
			require.True(t, found, "the faulty client is missing in the ledger")
		})
	}
}

// At the end of a capture a client that hangs is detached, and all received frames are
// stored.
func TestHungClientDoesNotCostFramesAtTheEnd(t *testing.T) {
	var log logtest.Recorder
	s := newSharedConfig(t, sharedFrames, capture.Config{StallTimeout: time.Second, Logger: log.Logger()})
	hung := startClient(t, client{Socket: s.socket, Name: "hung", PauseAt: 1})
	own, other := s.runClient(client{Name: "own"}), s.startClient(client{Name: "other"})
	ctx, end := context.WithTimeout(t.Context(), 2*deadline)
	defer end()
	go func() {
		for p := s.engine.Stream(0); ctx.Err() == nil && p.Stats().Fill < 4<<20-2048; { // of 4 MiB: one of the next two frames does not fit
			time.Sleep(time.Millisecond)
		}
		end()
	}()
	l, err := recorder.Run(ctx, s.engine, recorder.Config{Dirs: []string{s.dir}, Queue: capture.AllQueues, Linger: deadline, Store: rawstore.Config{Port: "shared"}})
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	audit(t, s.engine, s.model)
	require.Zero(t, l.Lost(), "frames were abandoned")
	truth := digestOf(t, s.dir)
	require.Equal(t, l.Frames(), truth.Frames)
	requireAllFrames(t, truth, own())
	requireAllFrames(t, truth, other())
	require.Equal(t, "on request: read nothing for 1s while the capture ended", s.waitDetached("hung").DetachReason)
	require.Contains(t, log.Text(), "listener hung (pid")
	hung.signal(unix.SIGKILL)
}

// Many clients attach and detach while frames flow. The ledger has the last 64, and the
// sum of the others.
func TestLedgerHasAllListenersThatAttachAndDetach(t *testing.T) {
	const clients = 150
	s := newShared(t, 3*sharedFrames)
	reference := s.runClient(client{Name: "reference"})
	var attaching sync.WaitGroup
	attaching.Go(func() {
		packets := make([]stream.Packet, 16)
		for i := range clients {
			l, err := stream.Attach(s.socket, fmt.Sprintf("client %d", i), stream.Options{Start: stream.FromOldest})
			if !assertNoError(t, err) {
				return
			}
			_, err = l.ReadBatch(t.Context(), packets) // io.EOF at the end of the stream
			if err != nil && !strings.Contains(err.Error(), "EOF") {
				assertNoError(t, err)
			}
			assertNoError(t, l.Close())
		}
	})
	l, truth := s.capture(3 * sharedFrames)
	requireAllFrames(t, truth, reference())
	attaching.Wait()
	eventually(t, "a client is still attached", func() bool { return s.engine.Stream(0).Stats().DetachedTotal == clients+2 })
	require.NoError(t, l.Balanced())
	l, err := s.engine.Ledger()
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	q := l.Queues[0]
	require.Len(t, q.Listeners, 64)
	require.EqualValues(t, clients+2-64, q.OlderDetached.Listeners)
	require.NotZero(t, q.OlderDetached.Stored)
}

// assertNoError reports whether err is nil, else marks the test as failed. It may be
// called in any goroutine.
func assertNoError(t *testing.T, err error) bool {
	if err != nil {
		t.Error(err)
	}
	return err == nil
}
