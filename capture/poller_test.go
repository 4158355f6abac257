package capture

import (
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/ring"
)

// tap is a source of numbered frames, up to a limit. Release overwrites the frames
// that it has returned: they must not be used after it.
type tap struct {
	limit    atomic.Int64 // frames to return in total
	given    int64
	released int64
	buffers  [][]byte
}

func newTap() *tap {
	t := &tap{}
	for range 64 {
		t.buffers = append(t.buffers, make([]byte, 200))
	}
	return t
}

func (s *tap) Poll(frames []ring.Frame) int {
	n := min(int(s.limit.Load()-s.given), len(frames), len(s.buffers))
	for i := range n {
		b := s.buffers[i]
		binary.LittleEndian.PutUint64(b, uint64(s.given))
		frames[i] = ring.Frame{Data: b, Len: uint32(len(b))}
		s.given++
	}
	return n
}

func (s *tap) Release() {
	for _, b := range s.buffers {
		binary.LittleEndian.PutUint64(b, 1<<63)
	}
	s.released = s.given
}

// runPoller starts a poller and returns a channel with its error.
func runPoller(p *poller) <-chan error {
	done := make(chan error, 1)
	go func() { done <- p.run() }()
	return done
}

func within(tb testing.TB, what string, c <-chan error) {
	tb.Helper()
	select {
	case err := <-c:
		require.NoError(tb, err)
	case <-time.After(30 * time.Second):
		require.Fail(tb, "waited 30 s for "+what)
	}
}

func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	require.Eventually(tb, ok, 30*time.Second, time.Millisecond, what)
}

func TestPollerDrainsTheSourceInOrder(t *testing.T) {
	const frames = 20000
	src := newTap()
	s := newTestStream(t, stream.Config{Size: 1 << 20})
	l, err := s.Listen("reader", stream.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{Core: AnyCore})
	done := runPoller(p)
	src.limit.Store(frames)
	p.drain()

	next, last := uint64(0), int64(0)
	for pkt := range l.Packets(t.Context()) {
		require.Equal(t, next, binary.LittleEndian.Uint64(pkt.Data))
		require.GreaterOrEqual(t, pkt.UnixNano(), last)
		last = pkt.UnixNano()
		next++
		if next%5000 == 0 {
			time.Sleep(time.Millisecond) // so that the stream is full at times
		}
	}
	within(t, "the poller to drain", done)
	require.EqualValues(t, frames, next)
	require.NoError(t, l.Err())
	require.EqualValues(t, frames, src.released)
	c := p.counters()
	require.EqualValues(t, frames, c.Frames)
	require.EqualValues(t, frames*200, c.Bytes)
	require.NotZero(t, c.Backpressure)
	require.Zero(t, c.Abandoned)
	var gaps uint64
	for _, g := range c.Gaps {
		gaps += g.Count
	}
	require.Equal(t, c.Polls, gaps)
	require.Greater(t, c.Longest, c.Gaps[len(c.Gaps)-1].Below/2-1)
	require.InDelta(t, time.Now().UnixNano(), last, 60e9)
}

// late is a tap whose first poll returns no frame; during it, a frame arrives and
// drain is called.
type late struct {
	*tap
	poller *poller
	polls  int
}

func (s *late) Poll(frames []ring.Frame) int {
	if s.polls++; s.polls == 1 {
		s.limit.Store(1)
		s.poller.drain()
		return 0
	}
	return s.tap.Poll(frames)
}

func TestPollerDrainsFramesThatArriveDuringAnEmptyPoll(t *testing.T) {
	src := &late{tap: newTap()}
	s := newTestStream(t, stream.Config{Size: 1 << 20})
	src.poller = newPoller(src, s.Producer(), newStamper(t), pollerConfig{Core: AnyCore})
	within(t, "the poller to drain", runPoller(src.poller))
	require.EqualValues(t, 1, src.poller.counters().Frames)
}

func TestPollerKeepsFramesUnderBackpressureAndCanBeStopped(t *testing.T) {
	src := newTap()
	s := newTestStream(t, stream.Config{Size: 1 << 20, Entries: 64})
	l, err := s.Listen("stuck", stream.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{Core: AnyCore, Batch: 48})
	done := runPoller(p)
	src.limit.Store(1000)
	eventually(t, "backpressure", func() bool { return p.counters().Backpressure == 1 })

	// With some room the retained frames are stored, in order, and the next batch is blocked.
	packets := make([]stream.Packet, 40)
	for want := uint64(0); want < 40; {
		n, err := l.ReadBatch(t.Context(), packets[:40-want])
		require.NoError(t, err)
		for _, pkt := range packets[:n] {
			require.Equal(t, want, binary.LittleEndian.Uint64(pkt.Data))
			want++
		}
	}
	p.drain()
	_, err = l.ReadBatch(t.Context(), packets[:1]) // releases the 40
	require.NoError(t, err)
	eventually(t, "backpressure again", func() bool { return p.counters().Backpressure == 2 })
	p.stop()
	within(t, "the blocked poller to stop", done)
	c := p.counters()
	require.Equal(t, c.Frames, s.Stats().Frames+c.Abandoned)
	require.NotZero(t, c.Abandoned)
	require.Equal(t, 200*c.Frames, c.Bytes)
	require.EqualValues(t, c.Frames, src.released)
	want := uint64(41)
	for {
		n, err := l.ReadBatch(t.Context(), packets)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		for _, pkt := range packets[:n] {
			require.Equal(t, want, binary.LittleEndian.Uint64(pkt.Data))
			want++
		}
	}
	require.Equal(t, s.Stats().Frames, want)
}

func TestIdlePollerServesAlignedStarts(t *testing.T) {
	for _, idle := range []Idle{IdleBusy, IdleYield} {
		src := newTap()
		s := newTestStream(t, stream.Config{Size: 4 << 20})
		p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{Core: AnyCore, Idle: idle})
		done := runPoller(p)
		src.limit.Store(10)
		eventually(t, "10 frames", func() bool { return s.Stats().Frames == 10 })
		l, err := s.Listen("storer", stream.Options{Aligned: true})
		require.NoError(t, err)
		eventually(t, "the segment to be closed", func() bool { return s.Stats().Segments == 2 })
		src.limit.Store(15)
		eventually(t, "5 frames", func() bool { return p.counters().Frames == 15 })
		p.drain()
		within(t, "the poller to drain", done)
		b, err := l.ReadBlock(t.Context(), stream.Block)
		require.NoError(t, err)
		require.Len(t, b, 5*(200+stream.RecordHeader))
		require.NoError(t, l.Close())
	}
}

func TestPollerOnAMissingCoreEndsTheStream(t *testing.T) {
	s := newTestStream(t, stream.Config{Size: 1 << 20})
	l, err := s.Listen("reader", stream.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	err = <-runPoller(newPoller(newTap(), s.Producer(), newStamper(t), pollerConfig{Core: 1000}))
	require.ErrorIs(t, err, unix.EINVAL)
	require.ErrorContains(t, err, "core 1000")
	_, err = l.ReadBatch(t.Context(), make([]stream.Packet, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestPollerIsPinned(t *testing.T) {
	var was unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &was))
	core := 0
	for !was.IsSet(core) {
		core++
	}
	s := newTestStream(t, stream.Config{Size: 1 << 20})
	seen := make(chan unix.CPUSet, 1)
	src := &peek{seen: seen}
	p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{Core: core})
	done := runPoller(p)
	set := <-seen
	p.stop()
	within(t, "the poller to stop", done)
	require.Equal(t, 1, set.Count())
	require.True(t, set.IsSet(core))

	// Its thread has ended: no other goroutine runs pinned.
	for range 50 {
		done := make(chan error, 1)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var now unix.CPUSet
			err := unix.SchedGetaffinity(0, &now)
			if err == nil && now != was {
				err = errors.New("pinned")
			}
			done <- err
		}()
		within(t, "a goroutine", done)
	}
}

// peek is a source that reads the affinity of the calling thread.
type peek struct{ seen chan unix.CPUSet }

func (p *peek) Poll([]ring.Frame) int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) == nil {
		select {
		case p.seen <- set:
		default:
		}
	}
	return 0
}

func (p *peek) Release() {}

func TestCaptureOfChainedFramesFromTheDriversRing(t *testing.T) {
	r, err := drivertest.NewRing(drivertest.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	s := newTestStream(t, stream.Config{Size: 4 << 20})
	l, err := s.Listen("reader", stream.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	p := newPoller(r.Queue(), s.Producer(), newStamper(t), pollerConfig{Core: AnyCore})
	sizes := []int{60, 9000, 1514, 2048, 2049, 64}
	for _, size := range sizes {
		require.Equal(t, 1, r.Fill(1, size))
	}
	for got := 0; got < len(sizes); {
		n := p.poll()
		require.Positive(t, n)
		got += n
	}
	packets := make([]stream.Packet, 10)
	n, err := l.ReadBatch(t.Context(), packets)
	require.NoError(t, err)
	require.Equal(t, len(sizes), n)
	for i, pkt := range packets[:n] {
		require.Len(t, pkt.Data, sizes[i])
		require.EqualValues(t, sizes[i], pkt.Len)
		require.EqualValues(t, i, binary.BigEndian.Uint32(pkt.Data[sizes[i]-4:]))
	}
}

func TestCaptureDoesNotAllocate(t *testing.T) {
	r, p := benchPoller(t)
	require.Zero(t, testing.AllocsPerRun(200, func() {
		if r.Fill(32, 60) != 32 || p.poll() != 32 {
			t.Error("batch lost")
		}
		p.idle(1)
	}))
}
