package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
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

// shared is a capture of generated frames to files, shared at a socket. The wire
// waits for the capture, so that every frame that is lost is lost by a listener.
type shared struct {
	t      *testing.T
	engine *capture.Engine
	model  *sim.NIC
	socket string
	dir    string
}

const sharedFrames = 30_000

func share(t *testing.T, frames int) *shared {
	t.Helper()
	return shareBy(t, frames, capture.Config{})
}

func shareBy(t *testing.T, frames int, cfg capture.Config) *shared {
	t.Helper()
	s := &shared{t: t, dir: t.TempDir()}
	cfg.Segment = 8 << 20
	s.engine, s.model = open(t, fmt.Sprintf("sim:gen,size=60-1514,flows=16,count=%d,backpressure", frames), nic.Config{}, cfg)
	folder, err := os.MkdirTemp("", "ixcap-e2e-") // a socket's path must be short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	s.socket = filepath.Join(folder, "queue0.sock")
	sh, err := s.engine.Stream(0).Serve(stream.ServerConfig{Path: s.socket, OnEvent: func(e stream.Event) { t.Log(e) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sh.Close()) })
	return s
}

// capture captures to the wire's end and until the guests have read all. The
// ledger balances, and no frame is missing in the files.
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

// listener is what the stream says of a listener of that name, attached or gone.
func (s *shared) listener(name string) (stream.ListenerStats, bool) {
	st := s.engine.Stream(0).Stats()
	for _, l := range append(st.Listeners, st.RecentDetached...) {
		if l.Name == name {
			return l, true
		}
	}
	return stream.ListenerStats{}, false
}

// left waits until a listener has gone, and says why.
func (s *shared) left(name string) stream.ListenerStats {
	s.t.Helper()
	var l stream.ListenerStats
	eventually(s.t, name+" is never let go", func() bool { l, _ = s.listener(name); return l.DetachReason != "" })
	require.NoError(s.t, l.Balanced())
	return l
}

// host starts a guest in this process; what it returns waits for the report.
func (s *shared) host(g guest) func() report {
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

// invite starts a guest in another process; what it returns waits for the report.
func (s *shared) invite(g guest) func() report {
	g.Socket = s.socket
	p := invite(s.t, g)
	return func() report { return told(s.t, p) }
}

// sawAll requires that a lossless guest has seen every frame, in order, byte for
// byte, under the stamp that is on disk.
func sawAll(t *testing.T, truth, r report) {
	t.Helper()
	require.Equal(t, truth.Frames, r.Frames)
	require.Equal(t, truth.Digest, r.Digest)
	require.Equal(t, truth.Frames, r.Account.Read)
	require.Zero(t, r.Account.Overrun)
	require.Zero(t, r.Account.Unread)
}

// sawTheRest requires that a lossy guest has seen exactly what it did not miss.
func sawTheRest(t *testing.T, truth, r report) {
	t.Helper()
	require.Equal(t, truth.Frames-r.Account.Overrun, r.Frames)
	require.Equal(t, r.Frames, r.Account.Read)
	require.Zero(t, r.Account.Unread)
	require.NoError(t, r.Account.Balanced())
	if r.Account.Overrun == 0 {
		require.Equal(t, truth.Digest, r.Digest)
	}
}

// creader compiles the reader in C; "" where there is no compiler.
func creader(t *testing.T) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Log("gcc is missing: apt install gcc; the reader in C takes no part")
		return ""
	}
	exe := filepath.Join(t.TempDir(), "creader")
	out, err := exec.Command(gcc, "-std=c11", "-O2", "-o", exe, filepath.Join("..", "creader", "creader.c")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return exe
}

// inviteC starts the reader in C; what it returns requires that it has seen every
// frame, in sequence.
func (s *shared) inviteC(exe, name string) func() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*deadline)
	s.t.Cleanup(cancel)
	p := launch(s.t, exec.CommandContext(ctx, exe, "-json", "-pattern", "-name", name, s.socket))
	eventually(s.t, "the reader in C never attaches", func() bool { _, is := s.listener(name); return is })
	return func() {
		s.t.Helper()
		r := p.wait()
		require.Zero(s.t, r.status, r.stderr)
		var said struct {
			Frames, Bytes, Overrun, Errors uint64
			End                            string
		}
		require.NoError(s.t, json.Unmarshal([]byte(r.stdout), &said), r.stdout)
		st := s.engine.Stream(0).Stats()
		require.Equal(s.t, st.Frames, said.Frames)
		require.Equal(s.t, st.FrameBytes, said.Bytes)
		require.Zero(s.t, said.Overrun)
		require.Zero(s.t, said.Errors)
		require.Equal(s.t, "finished", said.End)
	}
}

// One listener of another process; of more every other one, the first of them
// being written in C. Two of each four are lossy, one of them elsewhere.
func TestEveryListenerGetsWhatItsPolicyPromises(t *testing.T) {
	exe := creader(t)
	for _, listeners := range []int{1, 2, 4, 8} {
		t.Run(fmt.Sprintf("listeners=%d", listeners), func(t *testing.T) {
			s := share(t, sharedFrames)
			var reports []func() report
			c := func() {}
			for i := range listeners {
				if i == 0 && listeners > 1 && exe != "" {
					c = s.inviteC(exe, "C")
					reports = append(reports, nil)
					continue
				}
				g := guest{Name: fmt.Sprintf("guest %d", i), Bytes: i%8 == 4 || i%8 == 5}
				if i%4 >= 2 {
					g.Options.Policy = stream.Lossy
				}
				if i%2 == 0 {
					reports = append(reports, s.invite(g))
				} else {
					reports = append(reports, s.host(g))
				}
			}
			l, truth := s.capture(sharedFrames)
			c()
			for i, wait := range reports {
				if wait == nil {
					continue
				}
				if r := wait(); i%4 >= 2 {
					sawTheRest(t, truth, r)
				} else {
					sawAll(t, truth, r)
				}
			}
			require.Len(t, l.Queues[0].Listeners, listeners+1, "the storer, and nobody twice")
			for _, a := range l.Queues[0].Listeners {
				require.Equal(t, uint64(sharedFrames), a.Stored)
				require.Zero(t, a.Unread)
			}
		})
	}
}

func TestLossyListenerOfAnotherProcessIsToldExactlyWhatItMissed(t *testing.T) {
	s := share(t, sharedFrames)
	g := guest{Socket: s.socket, Name: "slow", Options: stream.Options{Policy: stream.Lossy}, PauseAt: 1}
	p := invite(t, g)
	witness := s.invite(guest{Name: "witness"})
	go func() { // it goes on once it has been overtaken
		for ctx := t.Context(); ctx.Err() == nil && s.model.Stats().Delivered < sharedFrames; {
			time.Sleep(time.Millisecond)
		}
		_ = p.stdin.Close()
	}()
	_, truth := s.capture(sharedFrames)
	sawAll(t, truth, witness())
	r := told(t, p)
	sawTheRest(t, truth, r)
	require.NotZero(t, r.Account.Overrun, "24 MB went through a buffer of 4 MiB meanwhile")
	require.NotZero(t, r.Account.OverrunBytes)
}

// Whatever a listener does or suffers, the others and the producer lose nothing.
func TestListenerInTroubleHarmsNobody(t *testing.T) {
	impatient := stream.Options{DetachAfter: 300 * time.Millisecond}
	for name, c := range map[string]struct {
		guest   guest
		trouble func(*shared, *program) // before the first frame
		during  func(*shared, *program) // while frames flow
		gone    string
	}{
		"stopped": {
			guest:   guest{Options: impatient},
			trouble: func(_ *shared, p *program) { p.signal(unix.SIGSTOP) },
			gone:    "read nothing for 300ms",
		},
		"stopped while lossy": {
			guest:   guest{Options: stream.Options{Policy: stream.Lossy}},
			trouble: func(_ *shared, p *program) { p.signal(unix.SIGSTOP) },
		},
		"killed while it holds the capture": {
			guest:  guest{PauseAt: 1},
			during: func(_ *shared, p *program) { p.says("paused"); p.signal(unix.SIGKILL) },
			gone:   "process exited",
		},
		"killed while it is stopped": {
			guest:   guest{},
			trouble: func(_ *shared, p *program) { p.signal(unix.SIGSTOP) },
			during: func(s *shared, p *program) {
				eventually(p.t, "frames never came", func() bool { l, _ := s.listener("culprit"); return l.Unread > 1000 })
				p.signal(unix.SIGKILL)
			},
			gone: "process exited",
		},
		"detached while it holds the capture": {
			guest: guest{PauseAt: 1},
			during: func(s *shared, p *program) {
				p.says("paused")
				l, _ := s.listener("culprit")
				require.NoError(p.t, s.engine.Stream(0).Detach(l.ID, "by the test"))
			},
			gone: "on request: by the test",
		},
		"made lossy while it holds the capture": {
			guest: guest{PauseAt: 1},
			during: func(s *shared, p *program) {
				p.says("paused")
				l, _ := s.listener("culprit")
				require.NoError(p.t, s.engine.Stream(0).SetPolicy(l.ID, stream.Lossy, 0))
			},
		},
		"garbage in its cursor": {
			guest:   guest{Raw: vandalGarbage},
			trouble: func(_ *shared, p *program) { _ = p.stdin.Close(); p.says("writing garbage") },
			gone:    "corrupt cursor",
		},
		"writes to what is not its own": {
			guest: guest{Raw: vandalWrites},
			during: func(_ *shared, p *program) {
				_ = p.stdin.Close()
				p.says("nothing could be written")
			},
			gone: "process exited",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := share(t, sharedFrames)
			c.guest.Socket, c.guest.Name = s.socket, "culprit"
			p := invite(t, c.guest)
			own, other := s.host(guest{Name: "own"}), s.invite(guest{Name: "other"})
			if c.trouble != nil {
				c.trouble(s, p)
			}
			var during sync.WaitGroup
			if c.during != nil {
				during.Go(func() { c.during(s, p) })
			}
			if c.gone == "" { // it stays: the capture does not wait for it at the end
				during.Go(func() {
					eventually(t, "the capture is held up", func() bool { return s.model.Stats().Delivered == sharedFrames })
					p.signal(unix.SIGKILL)
				})
			}
			l, truth := s.capture(sharedFrames)
			during.Wait()
			sawAll(t, truth, own())
			sawAll(t, truth, other())
			if c.gone != "" {
				require.Equal(t, c.gone, s.left("culprit").DetachReason)
			}
			found := false
			for _, a := range l.Queues[0].Listeners {
				found = found || a.Name == "culprit"
			}
			require.True(t, found, "the ledger has the culprit, too")
		})
	}
}

// What was received before the end is stored though a listener of another program
// hangs: it is let go, and nothing is abandoned.
func TestHungListenerOfAnotherProcessDoesNotCostTheEndOfACapture(t *testing.T) {
	var log logtest.Recorder
	s := shareBy(t, sharedFrames, capture.Config{StallTimeout: time.Second, Logger: log.Logger()})
	hung := invite(t, guest{Socket: s.socket, Name: "hung", PauseAt: 1})
	own, other := s.host(guest{Name: "own"}), s.invite(guest{Name: "other"})
	ctx, end := context.WithTimeout(t.Context(), 2*deadline)
	defer end()
	go func() {
		for p := s.engine.Stream(0); ctx.Err() == nil && p.Stats().Fill < 4<<20-2048; { // of 4 MiB: the next frame or the one after does not fit
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
	sawAll(t, truth, own())
	sawAll(t, truth, other())
	require.Equal(t, "on request: read nothing for 1s while the capture ended", s.left("hung").DetachReason)
	require.Contains(t, log.Text(), "listener hung (pid")
	hung.signal(unix.SIGKILL)
}

// Many come and go while frames flow; the ledger remembers each, those that left
// long ago as a sum.
func TestListenersThatComeAndGoAreAllAccountedFor(t *testing.T) {
	const guests = 150
	s := share(t, 3*sharedFrames)
	witness := s.host(guest{Name: "witness"})
	var visits sync.WaitGroup
	visits.Go(func() {
		packets := make([]stream.Packet, 16)
		for i := range guests {
			l, err := stream.Attach(s.socket, fmt.Sprintf("guest %d", i), stream.Options{Start: stream.FromOldest})
			if !assertNoError(t, err) {
				return
			}
			_, err = l.ReadBatch(t.Context(), packets) // io.EOF is as good
			if err != nil && !strings.Contains(err.Error(), "EOF") {
				assertNoError(t, err)
			}
			assertNoError(t, l.Close())
		}
	})
	l, truth := s.capture(3 * sharedFrames)
	sawAll(t, truth, witness())
	visits.Wait()
	eventually(t, "a guest never left", func() bool { return s.engine.Stream(0).Stats().DetachedTotal == guests+2 })
	require.NoError(t, l.Balanced())
	l, err := s.engine.Ledger()
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	q := l.Queues[0]
	require.Len(t, q.Listeners, 64)
	require.EqualValues(t, guests+2-64, q.OlderDetached.Listeners)
	require.NotZero(t, q.OlderDetached.Stored)
}

// assertNoError is for goroutines that must not end the test by themselves.
func assertNoError(t *testing.T, err error) bool {
	if err != nil {
		t.Error(err)
	}
	return err == nil
}
