package stream

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// feed is a stream with two lossless reference readers, one of them in another
// process, that check every frame until end.
type feed struct {
	tb        testing.TB
	stream    *Stream
	device    *device // with a pool; nil: frames are copied
	server    *Server
	events    *events
	reference *child
	inside    *Listener
	reader    sync.WaitGroup
	read      uint32
	next      uint32
}

// eachMode runs a test with a stream that copies and with one in a pool.
func eachMode(t *testing.T, test func(t *testing.T, f *feed)) {
	t.Run("copy", func(t *testing.T) { test(t, newFeed(t, nil)) })
	t.Run("pool", func(t *testing.T) { test(t, newFeed(t, newDevice(t, pooledFrames))) })
}

// pooledFrames is how many frames of a feed a pool holds.
const pooledFrames = 512

func newFeed(tb testing.TB, d *device) *feed {
	f := &feed{tb: tb, device: d}
	if d == nil {
		f.stream = newStream(tb, Config{Size: Block, Segment: 2 * Block})
	} else {
		f.stream = newStream(tb, Config{Pool: d.Pool, Segment: 2 * Block})
	}
	f.server, f.events = serve(tb, f.stream, ServerConfig{})
	f.inside = listen(tb, f.stream, Options{})
	f.reference = spawn(tb, "read", f.server.Path(), "lossless")
	require.Eventually(tb, func() bool { return len(f.stream.Stats().Listeners) == 2 }, timeout, tick)
	f.reader.Go(func() { f.read = readAll(tb, f.inside, 0) })
	return f
}

// store stores a batch of frames.
func (f *feed) store() {
	for range 64 {
		f.appendWait(numbered(f.next, 60+int(f.next%700)))
	}
	f.stream.Producer().Publish()
}

// try stores the next frame, of some length, unless a listener is in the way.
func (f *feed) try(length int) bool {
	return f.append(numbered(f.next, length))
}

// append is Producer.Append for both kinds of streams, and counts the frame.
func (f *feed) append(frame *ring.Frame) bool {
	p := f.stream.Producer()
	if f.device != nil {
		if !f.device.append(p, clock.Stamp(1|uint64(f.next)<<32), frame) {
			return false
		}
	} else if !p.Append(1, f.next, frame, 0) {
		return false
	}
	f.next++
	return true
}

// appendWait appends a frame once listeners admit it.
func (f *feed) appendWait(frame *ring.Frame) {
	f.tb.Helper()
	for start := time.Now(); !f.append(frame); runtime.Gosched() {
		require.Less(f.tb, time.Since(start), timeout, "held")
	}
}

// until stores frames until a condition holds.
func (f *feed) until(what string, so func() bool) {
	f.tb.Helper()
	for start := time.Now(); !so(); f.store() {
		require.Less(f.tb, time.Since(start), timeout, what)
	}
}

// end finishes the stream and checks that the reference readers lost nothing.
func (f *feed) end() Stats {
	f.tb.Helper()
	for range 100 {
		f.store()
	}
	f.stream.Producer().Finish()
	f.reader.Wait()
	require.Equal(f.tb, f.next, f.read)
	r := f.reference.result(f.tb)
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

// detached returns the final report of the listener of a process.
func (f *feed) detached(pid int) (ListenerStats, bool) {
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

func TestFaultyProcessIsDetachedAndOthersLoseNoFrame(t *testing.T) {
	for _, c := range []struct {
		name   string
		child  []string
		signal syscall.Signal
		why    string
	}{
		{"stopped, with detach-after", []string{"read", "lossless", "300ms"}, syscall.SIGSTOP, "read nothing for 300ms"},
		{"killed, lossless", []string{"read", "lossless"}, syscall.SIGKILL, "process exited"},
		{"killed, lossy", []string{"read", "lossy"}, syscall.SIGKILL, "process exited"},
		{"corrupts its cursor page", []string{"corrupt"}, 0, "corrupt cursor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, f *feed) { faultyProcess(t, f, c.child, c.signal, c.why) })
		})
	}
}

func faultyProcess(t *testing.T, f *feed, kind []string, signal syscall.Signal, why string) {
	faulty := spawn(t, append([]string{kind[0], f.server.Path()}, kind[1:]...)...)
	f.until("the child is ready", func() bool { _, ok := faulty.printed(); return ok })
	if signal != 0 {
		require.NoError(t, faulty.cmd.Process.Signal(signal))
	}
	f.until("it is detached", func() bool { _, ok := f.detached(faulty.cmd.Process.Pid); return ok })
	l, _ := f.detached(faulty.cmd.Process.Pid)
	require.Equal(t, why, l.DetachReason)
	require.Equal(t, "child", l.Name)
	require.LessOrEqual(t, l.Read, uint64(f.next))
	st := f.end()
	require.Equal(t, why == "corrupt cursor", st.CorruptCursors == 1)
	require.Eventually(t, func() bool { return len(f.events.of(EventDetached)) == 2 }, timeout, tick)
}

func TestStoppedLossyProcessCountsOverrunsExactly(t *testing.T) {
	eachMode(t, stoppedLossyProcessCountsOverrunsExactly)
}

func stoppedLossyProcessCountsOverrunsExactly(t *testing.T, f *feed) {
	slow := spawn(t, "read", f.server.Path(), "lossy")
	pid := slow.cmd.Process.Pid
	f.until("it is attached", func() bool { _, ok := slow.printed(); return ok })
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

// An operator makes a hung listener lossy that holds the capture back.
func TestStoppedProcessMadeLossyNoLongerHoldsTheProducer(t *testing.T) {
	eachMode(t, stoppedProcessMadeLossyNoLongerHoldsTheProducer)
}

func stoppedProcessMadeLossyNoLongerHoldsTheProducer(t *testing.T, f *feed) {
	hung := spawn(t, "read", f.server.Path(), "lossless")
	pid := hung.cmd.Process.Pid
	f.until("it is attached", func() bool { _, ok := hung.printed(); return ok })
	require.NoError(t, hung.cmd.Process.Signal(syscall.SIGSTOP))
	for f.try(1000) {
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
	require.LessOrEqual(t, r.Overrun, 1, "ErrOverrun comes once")
	require.NoError(t, r.Stats.Balanced())
	require.NotZero(t, r.Stats.Overrun)
	require.Zero(t, r.Stats.Unread)
	require.EqualValues(t, r.Stats.Stored, r.Stats.Read+r.Stats.Overrun)
}

func TestProcessCannotWriteSealedMemories(t *testing.T) {
	eachMode(t, processCannotWriteSealedMemories)
}

func processCannotWriteSealedMemories(t *testing.T, f *feed) {
	faulty := spawn(t, "write", f.server.Path())
	require.Equal(t, "ready", faulty.line(t))
	require.Empty(t, faulty.line(t), "these worked")
	f.end()
}

func TestListenerOfAKilledCaptureReadsTheRestThenErrAbandoned(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.sock")
	capture := spawn(t, "serve", path)
	require.Equal(t, "ready", capture.line(t))
	l, err := Attach(path, "frames", Options{})
	require.NoError(t, err)
	bytes, err := Attach(path, "bytes", Options{Start: FromOldest})
	require.NoError(t, err)
	require.Equal(t, "stored", capture.line(t))
	require.NoError(t, capture.cmd.Process.Kill())

	packets, got := make([]Packet, 7), uint32(0)
	for {
		n, err := l.ReadBatch(testContext(t), packets)
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
		b, err := bytes.ReadBlock(testContext(t), Block/2)
		if err != nil {
			require.ErrorIs(t, err, ErrAbandoned)
			break
		}
		all = append(all, b...)
		require.NoError(t, bytes.Consume(len(b)))
	}
	require.Len(t, parse(t, 0, all), 100)
	bytes.searching = true // like a listener that waits for an aligned start
	bytes.released = position{1 << 40, 1 << 30}
	_, err = bytes.ReadBatch(testContext(t), packets)
	require.ErrorIs(t, err, ErrAbandoned)
	for _, l := range []*Listener{l, bytes} {
		require.NoError(t, l.Close())
	}

	// Its socket file remains; a new server replaces it.
	_, err = Attach(path, "late", Options{})
	require.ErrorContains(t, err, "has ended")
	s := newStream(t, Config{})
	srv, err := s.Serve(ServerConfig{Path: path})
	require.NoError(t, err)
	require.NoError(t, srv.Close())
}

func TestSixtyFifthProcessIsRefused(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	srv, ev := serve(t, s, ServerConfig{})
	var all []*Listener
	for i := range MaxListeners {
		l, err := Attach(srv.Path(), fmt.Sprintf("reader %d", i), Options{})
		require.NoError(t, err)
		all = append(all, l)
	}
	_, err := Attach(srv.Path(), "one more", Options{})
	require.ErrorContains(t, err, "refused: 64 listeners are attached already. Close or detach one")
	require.Eventually(t, func() bool { return len(ev.of(EventRefused)) == 1 }, timeout, tick)
	require.Equal(t, "one more", ev.of(EventRefused)[0].Listener.Name)
	require.NoError(t, all[17].Close())
	require.Eventually(t, func() bool { return len(s.Stats().Listeners) == MaxListeners-1 }, timeout, tick)
	all[17] = attachTo(t, srv, Options{})
	require.Equal(t, 17, all[17].slot)

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
