package stream

import (
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// feed is a stream whose producer goes on until it is told to end, while two
// honest lossless listeners, one of them in another process, check every frame.
type feed struct {
	tb     testing.TB
	stream *Stream
	share  *Server
	events *events
	honest *child
	inside *Listener
	reader sync.WaitGroup
	read   uint32
	next   uint32
}

func newFeed(tb testing.TB) *feed {
	f := &feed{tb: tb, stream: newStream(tb, Config{Size: Block, Segment: 2 * Block})}
	f.share, f.events = share(tb, f.stream, ServerConfig{})
	f.inside = listen(tb, f.stream, Options{})
	f.honest = spawn(tb, "read", f.share.Path(), "lossless")
	require.Eventually(tb, func() bool { return len(f.stream.Stats().Listeners) == 2 }, patience, tick)
	f.reader.Go(func() { f.read = readAll(tb, f.inside, 0) })
	return f
}

// store stores a batch of frames.
func (f *feed) store() {
	p := f.stream.Producer()
	for range 64 {
		p.appendWait(f.tb, 1, f.next, numbered(f.next, 60+int(f.next%700)))
		f.next++
	}
	p.Publish()
}

// until stores frames until something is so.
func (f *feed) until(what string, so func() bool) {
	f.tb.Helper()
	for start := time.Now(); !so(); f.store() {
		require.Less(f.tb, time.Since(start), patience, what)
	}
}

// end finishes the stream and checks that the honest lost nothing.
func (f *feed) end() Stats {
	f.tb.Helper()
	for range 100 {
		f.store()
	}
	f.stream.Producer().Finish()
	f.reader.Wait()
	require.Equal(f.tb, f.next, f.read)
	r := f.honest.result(f.tb)
	require.EqualValues(f.tb, f.next, r.Frames)
	require.Zero(f.tb, r.Unordered+r.Gaps)
	require.Equal(f.tb, "EOF", r.End)
	require.EqualValues(f.tb, f.next, r.Stats.Read)
	require.NoError(f.tb, r.Stats.Balanced())
	st := f.stream.Stats()
	require.EqualValues(f.tb, f.next, st.Frames)
	for _, l := range append(st.Listeners, st.RecentDetached...) {
		require.NoError(f.tb, l.Balanced())
	}
	return st
}

// gone is the account of the listener of a process that has left.
func (f *feed) gone(pid int) (ListenerStats, bool) {
	for _, l := range f.stream.Stats().RecentDetached {
		if l.PID == pid {
			return l, true
		}
	}
	return ListenerStats{}, false
}

func (f *feed) listener(pid int) (ListenerStats, bool) {
	for _, l := range f.stream.Stats().Listeners {
		if l.PID == pid {
			return l, true
		}
	}
	return ListenerStats{}, false
}

func TestProcessThatMisbehavesIsLetGoAndCostsNobodyAFrame(t *testing.T) {
	for _, c := range []struct {
		name   string
		child  []string
		signal syscall.Signal
		why    string
	}{
		{"stopped, with detach-after", []string{"read", "lossless", "300ms"}, syscall.SIGSTOP, "read nothing for 300ms"},
		{"killed, lossless", []string{"read", "lossless"}, syscall.SIGKILL, "process exited"},
		{"killed, lossy", []string{"read", "lossy"}, syscall.SIGKILL, "process exited"},
		{"writes garbage into its cursor", []string{"garbage"}, 0, "corrupt cursor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFeed(t)
			bad := spawn(t, append([]string{c.child[0], f.share.Path()}, c.child[1:]...)...)
			f.until("the child is ready", func() bool { _, said := bad.said(); return said })
			if c.signal != 0 {
				require.NoError(t, bad.cmd.Process.Signal(c.signal))
			}
			f.until("it is let go", func() bool { _, gone := f.gone(bad.cmd.Process.Pid); return gone })
			l, _ := f.gone(bad.cmd.Process.Pid)
			require.Equal(t, c.why, l.DetachReason)
			require.Equal(t, "child", l.Name)
			require.LessOrEqual(t, l.Read, uint64(f.next))
			st := f.end()
			require.Equal(t, c.why == "corrupt cursor", st.CorruptCursors == 1)
			require.Eventually(t, func() bool { return len(f.events.of(EventDetached)) == 2 }, patience, tick)
		})
	}
}

func TestStoppedLossyProcessKnowsExactlyWhatItMissed(t *testing.T) {
	f := newFeed(t)
	slow := spawn(t, "read", f.share.Path(), "lossy")
	pid := slow.cmd.Process.Pid
	f.until("it is attached", func() bool { _, said := slow.said(); return said })
	require.NoError(t, slow.cmd.Process.Signal(syscall.SIGSTOP))
	l, attached := f.listener(pid)
	require.True(t, attached)
	f.until("three times the buffer was written", func() bool {
		st, _ := f.listener(pid)
		return st.LagBytes > l.LagBytes+3*Block
	})
	require.NoError(t, slow.cmd.Process.Signal(syscall.SIGCONT))
	f.end()
	r := slow.result(t)
	require.Zero(t, r.Unordered)
	require.NotZero(t, r.Gaps)
	require.NoError(t, r.Stats.Balanced())
	require.Equal(t, r.Frames, r.Stats.Read)
	require.Zero(t, r.Stats.Unread)
	require.Equal(t, r.Stats.Stored, r.Frames+r.Stats.Overrun)
	require.LessOrEqual(t, r.Gaps, r.Stats.Overrun, "the first and the last may be missing, too")
}

// What an operator does about a hung listener that holds back the capture.
func TestStoppedLosslessProcessMadeLossyNoLongerHoldsTheProducer(t *testing.T) {
	f := newFeed(t)
	hung := spawn(t, "read", f.share.Path(), "lossless")
	pid := hung.cmd.Process.Pid
	f.until("it is attached", func() bool { _, said := hung.said(); return said })
	require.NoError(t, hung.cmd.Process.Signal(syscall.SIGSTOP))
	p := f.stream.Producer()
	for p.Append(1, f.next, numbered(f.next, 1000), 0) {
		f.next++
	}
	before, attached := f.listener(pid)
	require.True(t, attached)
	require.NoError(t, f.stream.SetPolicy(before.ID, Lossy, 0))
	f.until("three times the buffer was written", func() bool {
		st, _ := f.listener(pid)
		return st.LagBytes > 3*Block
	})
	st, _ := f.listener(pid)
	require.Equal(t, Lossy, st.Policy)
	require.NoError(t, hung.cmd.Process.Signal(syscall.SIGCONT))
	f.end()
	r := hung.result(t)
	require.LessOrEqual(t, r.Overrun, 1, "it is told once")
	require.NoError(t, r.Stats.Balanced())
	require.NotZero(t, r.Stats.Overrun)
	require.Zero(t, r.Stats.Unread)
	require.EqualValues(t, r.Stats.Stored, r.Stats.Read+r.Stats.Overrun)
}

func TestProcessCannotWriteWhatItIsGiven(t *testing.T) {
	f := newFeed(t)
	bad := spawn(t, "scribble", f.share.Path())
	require.Equal(t, "ready", bad.line(t))
	require.Empty(t, bad.line(t), "these worked")
	f.end()
}

func TestListenerOfAKilledCaptureReadsWhatIsLeftAndIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.sock")
	capture := spawn(t, "serve", path)
	require.Equal(t, "ready", capture.line(t))
	l, err := Attach(path, "survivor", Options{})
	require.NoError(t, err)
	bytes, err := Attach(path, "survivor of bytes", Options{Start: FromOldest})
	require.NoError(t, err)
	require.Equal(t, "stored", capture.line(t))
	require.NoError(t, capture.cmd.Process.Kill())

	packets, got := make([]Packet, 7), uint32(0)
	for {
		n, err := l.ReadBatch(soon(t), packets)
		if err != nil {
			require.ErrorIs(t, err, ErrAbandoned)
			break
		}
		for _, pkt := range packets[:n] {
			require.True(t, intact(pkt.Data, got))
			got++
		}
	}
	require.EqualValues(t, 100, got)
	require.EqualValues(t, 100, l.Stats().Read)
	require.NoError(t, l.Stats().Balanced())
	var all []byte
	for {
		b, err := bytes.ReadBlock(soon(t), Block/2)
		if err != nil {
			require.ErrorIs(t, err, ErrAbandoned)
			break
		}
		all = append(all, b...)
		require.NoError(t, bytes.Consume(len(b)))
	}
	require.Len(t, parse(t, 0, all), 100)
	bytes.searching = true // as one that waits for an aligned start
	bytes.given = position{1 << 40, 1 << 30}
	_, err = bytes.ReadBatch(soon(t), packets)
	require.ErrorIs(t, err, ErrAbandoned)
	for _, l := range []*Listener{l, bytes} {
		require.NoError(t, l.Close())
	}

	// Its socket file is left, and in nobody's way.
	_, err = Attach(path, "late", Options{})
	require.ErrorContains(t, err, "is gone")
	s := newStream(t, Config{})
	sh, err := s.Serve(ServerConfig{Path: path})
	require.NoError(t, err)
	require.NoError(t, sh.Close())
}

func TestSixtyFifthProcessIsRefused(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	sh, ev := share(t, s, ServerConfig{})
	var all []*Listener
	for i := range MaxListeners {
		l, err := Attach(sh.Path(), fmt.Sprintf("reader %d", i), Options{})
		require.NoError(t, err)
		all = append(all, l)
	}
	_, err := Attach(sh.Path(), "one more", Options{})
	require.ErrorContains(t, err, "refused: 64 listeners are attached already; close or detach one")
	require.Eventually(t, func() bool { return len(ev.of(EventRefused)) == 1 }, patience, tick)
	require.Equal(t, "one more", ev.of(EventRefused)[0].Listener.Name)
	require.NoError(t, all[17].Close())
	require.Eventually(t, func() bool { return len(s.Stats().Listeners) == MaxListeners-1 }, patience, tick)
	all[17] = attachTo(t, sh, Options{})
	require.Equal(t, 17, all[17].number)

	p := s.Producer()
	for n := range uint32(100) {
		require.True(t, p.Append(1, n, numbered(n, 60), 0))
	}
	p.Finish()
	for _, l := range all {
		require.EqualValues(t, 100, readAll(t, l, 0))
		require.NoError(t, l.Close())
	}
}
