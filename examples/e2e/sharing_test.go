package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/internal/testtime"
)

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
				spec := client{Name: fmt.Sprintf("client %d", i), Bytes: i%8 == 4 || i%8 == 5}
				if i%4 >= 2 {
					spec.Options.Policy = stream.Lossy
				}
				if i%2 == 0 {
					reports = append(reports, s.startClient(spec))
				} else {
					reports = append(reports, s.runClient(spec))
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
	spec := client{Socket: s.socket, Name: "slow", Options: stream.Options{Policy: stream.Lossy}, PauseAt: 1}
	p := startClient(t, spec)
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
	ctx, end := context.WithTimeout(t.Context(), 2*testtime.Deadline)
	defer end()
	go func() {
		for p := s.engine.Stream(0); ctx.Err() == nil && p.Stats().Fill < 4<<20-2048; { // of 4 MiB: one of the next two frames does not fit
			time.Sleep(time.Millisecond)
		}
		end()
	}()
	l, err := recorder.Run(ctx, s.engine, recorder.Config{Dirs: []string{s.dir}, Queue: capture.AllQueues, Linger: testtime.Deadline, Store: rawstore.Config{Port: "shared"}})
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
