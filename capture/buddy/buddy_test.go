package buddy_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/buddy"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/ring"
)

// rig is a group of receive queues whose frames the test writes.
type rig struct {
	t     testing.TB
	rings []*drivertest.Ring
	*buddy.Group
}

const (
	chunks, chunkSize = 8, 16 // R, M
	length            = chunks * chunkSize
)

func newRig(t testing.TB, n int, cfg buddy.Config, flows int) *rig {
	t.Helper()
	o := drivertest.Options{Size: 4 * chunkSize, Chunks: chunks, ChunkSize: chunkSize}
	r := &rig{t: t}
	var pools []*driver.RxPool
	for range n {
		one, err := drivertest.NewRing(o)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, one.Close()) })
		one.Flows = flows
		r.rings, pools = append(r.rings, one), append(pools, one.Pool())
	}
	var err error
	r.Group, err = buddy.New(cfg, pools...)
	require.NoError(t, err)
	return r
}

// receive fills a queue with n frames and captures them, chunk by chunk.
func (r *rig) receive(queue, n int) {
	r.t.Helper()
	for left := n; left > 0; {
		r.Queue(queue).Pool().Position() // attaches chunks
		left -= r.rings[queue].Fill(min(left, chunkSize), 60)
		require.Positive(r.t, r.Queue(queue).Capture(true), "no empty chunk is left")
	}
}

// take takes all chunks that a capture queue gives.
func (r *rig) take(queue int) (all []buddy.Chunk) {
	for c, ok := r.Queue(queue).Next(); ok; c, ok = r.Queue(queue).Next() {
		all = append(all, c)
	}
	return all
}

func (r *rig) recycle(all ...buddy.Chunk) {
	r.t.Helper()
	for _, c := range all {
		require.NoError(r.t, r.Recycle(c))
	}
}

// settled checks that all chunks are back and all counts agree.
func (r *rig) settled() (sum buddy.Stats) {
	r.t.Helper()
	all := r.Stats()
	require.NoError(r.t, buddy.Balanced(all))
	for i, s := range all {
		require.Equal(r.t, s.Frames, s.Recycled, "queue %d", i)
		require.Zero(r.t, s.Waiting+s.Backlog)
		require.Zero(r.t, r.rings[i].Pool().Out())
		sum.Frames += s.Frames
		sum.MovedFrames += s.MovedFrames
		sum.MovedChunks += s.MovedChunks
		sum.MovedFlows += s.MovedFlows
		sum.Reclaimed += s.Reclaimed
		sum.Discarded += s.Discarded
	}
	return sum
}

func number(f *ring.Frame) uint32 { return binary.BigEndian.Uint32(f.Data[len(f.Data)-4:]) }

func TestNewRefusesWhatIsNoGroup(t *testing.T) {
	r := newRig(t, 1, buddy.Config{}, 0)
	pool := r.Queue(0).Pool()
	for _, c := range []struct {
		cfg   buddy.Config
		pools []*driver.RxPool
		want  string
	}{
		{buddy.Config{Threshold: -0.1}, []*driver.RxPool{pool}, "threshold -0.1"},
		{buddy.Config{Threshold: 1.1}, []*driver.RxPool{pool}, "threshold 1.1"},
		{buddy.Config{Mode: 3}, []*driver.RxPool{pool}, "mode 3"},
		{buddy.Config{}, nil, "0 queues"},
		{buddy.Config{}, make([]*driver.RxPool, 17), "17 queues"},
		{buddy.Config{}, []*driver.RxPool{nil}, "no ring-buffer pool"},
		{buddy.Config{}, []*driver.RxPool{pool, pool}, "the same pool"},
	} {
		_, err := buddy.New(c.cfg, c.pools...)
		require.ErrorContains(t, err, c.want)
	}
}

func TestBasicModeMovesNothing(t *testing.T) {
	r := newRig(t, 2, buddy.Config{Mode: buddy.Basic, Threshold: 0.1}, 0)
	r.receive(0, length)
	require.Zero(t, r.Queue(0).Capture(true), "no chunk is left")
	require.EqualValues(t, length, r.Stats()[0].Backlog)
	require.Empty(t, r.take(1))
	all := r.take(0)
	require.Len(t, all, chunks)
	seen := uint32(0)
	for i, c := range all {
		require.EqualValues(t, i+1, c.Number())
		require.False(t, c.Moved())
		for j := range c.Frames() {
			require.Equal(t, seen, number(&c.Frames()[j]))
			seen++
		}
	}
	r.recycle(all...)
	require.EqualValues(t, length, r.settled().Frames)
}

func TestChunksMoveAboveTheThresholdAndAtOnceNoLongerBelow(t *testing.T) {
	r := newRig(t, 3, buddy.Config{Threshold: 0.5}, 0)
	backlogs := func() (b []int) {
		for _, s := range r.Stats() {
			b = append(b, int(s.Backlog)/chunkSize)
		}
		return b
	}
	r.receive(2, chunkSize) // so that queue 1 is the shortest
	for i, want := range [][]int{{1, 0, 1}, {2, 0, 1}, {3, 0, 1}, {4, 0, 1}, {5, 0, 1}, {5, 1, 1}, {5, 2, 1}, {5, 2, 2}} {
		r.receive(0, chunkSize)
		require.Equal(t, want, backlogs(), "chunk %d", i)
	}
	s := r.Stats()[0]
	require.EqualValues(t, 3, s.MovedChunks)
	require.EqualValues(t, 3*chunkSize, s.MovedFrames)
	require.EqualValues(t, 5*chunkSize, s.MaxBacklog)

	c, ok := r.Queue(0).Next()
	require.True(t, ok)
	r.recycle(c)
	r.receive(0, chunkSize)
	require.Equal(t, []int{5, 2, 2}, backlogs(), "its own again")

	moved := r.take(1)
	require.Len(t, moved, 2)
	for i, c := range moved {
		require.True(t, c.Moved())
		require.Zero(t, c.Queue())
		require.EqualValues(t, 6+i, c.Number())
		require.EqualValues(t, (5+i)*chunkSize, number(&c.Frames()[0]))
	}
	r.recycle(moved...)
	r.recycle(r.take(2)...)
	r.recycle(r.take(0)...)
	require.EqualValues(t, 3, r.settled().MovedChunks)
}

// A chunk is empty only when all its parts are back, so they are not to wait in two queues.
func TestPartsOfAChunkStayTogether(t *testing.T) {
	r := newRig(t, 2, buddy.Config{Threshold: 0.5}, 0)
	r.receive(0, 5*chunkSize)
	r.receive(0, chunkSize/2)
	for range 2 {
		c, ok := r.Queue(0).Next()
		require.True(t, ok)
		r.recycle(c)
	}
	r.receive(0, chunkSize/2)
	require.EqualValues(t, chunkSize, r.Stats()[1].Backlog)
	r.receive(0, chunkSize)
	require.EqualValues(t, chunkSize, r.Stats()[1].Backlog)
	r.recycle(r.take(0)...)
	r.recycle(r.take(1)...)
	require.EqualValues(t, chunkSize, r.settled().MovedFrames)
}

func TestNothingMovesWhereAllQueuesAreAsLong(t *testing.T) {
	r := newRig(t, 2, buddy.Config{Threshold: 0.2}, 0)
	for range chunks {
		r.receive(0, chunkSize)
		r.receive(1, chunkSize)
	}
	require.NoError(t, buddy.Balanced(r.Stats()))
	s := r.Stats()
	require.InDelta(t, s[0].Backlog, s[1].Backlog, chunkSize)
	require.Equal(t, length*2, int(s[0].Backlog+s[1].Backlog))
	require.NoError(t, r.Close())
	require.EqualValues(t, 2*length, r.settled().Discarded)
}

func TestRecyclingTwiceOrInAnotherGroupIsAnError(t *testing.T) {
	for _, mode := range []buddy.Mode{buddy.Chunks, buddy.Flows, buddy.Basic} {
		r := newRig(t, 2, buddy.Config{Mode: mode}, 0)
		other := newRig(t, 1, buddy.Config{Mode: mode}, 0)
		r.receive(0, 5)
		c, ok := r.Queue(0).Next()
		require.True(t, ok)
		require.ErrorIs(t, other.Recycle(c), driver.ErrForeignChunk)
		require.ErrorIs(t, r.Recycle(buddy.Chunk{}), driver.ErrForeignChunk)
		r.recycle(c)
		require.ErrorIs(t, r.Recycle(c), driver.ErrRecycled)
		r.receive(0, chunkSize-5)
		r.recycle(r.take(0)...)
		r.receive(0, length) // the buffers are in use again
		require.ErrorIs(t, r.Recycle(c), driver.ErrRecycled)
		require.NoError(t, r.Close())
		r.settled()
	}
}

// A frame of a flow is taken only when the earlier ones of the flow are recycled, whatever
// consumers, closed ones included, do, and none is lost.
func TestFlowsKeepTheirOrder(t *testing.T) {
	const queues, flows = 3, 37
	var moved, views uint64
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		cfg := buddy.Config{Mode: buddy.Flows, Threshold: []float64{0.1, 0.3, 0.6}[seed%3]}
		r := newRig(t, queues, cfg, flows)
		var taken [queues][]buddy.Chunk
		var next [queues][flows]uint32 // frame of a receive queue and flow that is due
		for q := range queues {
			for f := range flows {
				next[q][f] = uint32(f)
			}
		}
		check := func(c buddy.Chunk) {
			out := map[uint32]uint32{}
			for i := range c.Frames() {
				n := number(&c.Frames()[i])
				due, again := out[n%flows]
				if !again {
					due = next[c.Queue()][n%flows]
				}
				require.Equal(t, due, n, "seed %d: queue %d, flow %d", seed, c.Queue(), n%flows)
				out[n%flows] = n + flows
			}
		}
		recycle := func(q int) {
			c := taken[q][0]
			taken[q] = taken[q][1:]
			for i := range c.Frames() {
				n := number(&c.Frames()[i])
				next[c.Queue()][n%flows] = n + flows
			}
			r.recycle(c)
		}
		consume := func(q int) {
			// It holds one chunk at most, so a flow's frames are never taken ahead.
			if len(taken[q]) > 0 {
				recycle(q)
				return
			}
			if c, ok := r.Queue(q).Next(); ok {
				check(c)
				taken[q] = append(taken[q], c)
			}
		}
		closed := -1
		for step := range 4000 {
			switch n := random.IntN(10); {
			case n < 4: // receive queue 0 gets most
				q := min(queues-1, random.IntN(6)/4*random.IntN(queues+1))
				r.rings[q].Fill(1+random.IntN(chunkSize), 60)
			case n < 6:
				r.Queue(random.IntN(queues)).Capture(true)
			default:
				if q := random.IntN(queues); q != closed {
					consume(q)
				}
			}
			if step == 3000 && seed%2 == 1 {
				closed = random.IntN(queues)
				for len(taken[closed]) > 0 {
					recycle(closed)
				}
				require.NoError(t, r.Queue(closed).Close())
			}
		}
		for idle := 0; idle < 2*queues; idle++ {
			for q := range queues {
				for n := r.Queue(q).Capture(true); n > 0; n = r.Queue(q).Capture(true) {
					idle = 0
				}
				if q == closed {
					continue
				}
				for c, ok := r.Queue(q).Next(); len(taken[q]) > 0 || ok; c, ok = r.Queue(q).Next() {
					for len(taken[q]) > 0 {
						recycle(q)
					}
					if ok {
						check(c)
						taken[q] = append(taken[q], c)
						recycle(q)
					}
					idle = 0
				}
			}
		}
		s := r.settled()
		moved += s.MovedFlows
		views += s.MovedChunks
		require.Positive(t, s.Frames)
	}
	require.Greater(t, moved, uint64(1000), "flows moved")
	require.Greater(t, views, uint64(1000))
}

// A moved flow is back at its receive queue's own capture queue after a pause.
func TestMovedFlowIsBackAfterAPause(t *testing.T) {
	r := newRig(t, 2, buddy.Config{Mode: buddy.Flows, Threshold: 0.3}, 1)
	r.receive(0, length)
	require.Positive(t, r.Stats()[0].MovedFrames)
	_, ok := r.Queue(1).Next()
	require.False(t, ok, "the earlier frames come first")
	r.recycle(r.take(0)...)
	r.recycle(r.take(1)...)
	before := r.settled()
	for range 3 {
		r.receive(0, 1)
		r.recycle(r.take(1)...)
	}
	require.EqualValues(t, before.MovedFrames+3, r.settled().MovedFrames, "it stays where it went")
	r.rings[0].Flows = 0 // others
	for range chunks + 1 {
		r.receive(0, chunkSize)
		r.recycle(r.take(0)...)
		r.recycle(r.take(1)...)
	}
	before = r.settled()
	r.rings[0].Flows = 1
	r.receive(0, 3)
	r.recycle(r.take(0)...)
	require.Equal(t, before.MovedFrames, r.settled().MovedFrames)
}

// What a consumer had and what waits for it is not lost when it ends.
func TestConsumerEnds(t *testing.T) {
	for _, mode := range []buddy.Mode{buddy.Chunks, buddy.Flows, buddy.Basic} {
		r := newRig(t, 3, buddy.Config{Mode: mode, Threshold: 0.6}, 20)
		r.receive(0, 4*chunkSize)
		c, ok := r.Queue(0).Next()
		require.True(t, ok)
		require.NoError(t, r.Queue(0).Close())
		require.ErrorIs(t, r.Queue(0).Close(), buddy.ErrClosed)
		require.ErrorIs(t, r.Recycle(c), driver.ErrRecycled, "it was reclaimed")
		_, ok = r.Queue(0).Next()
		require.False(t, ok)
		rest := r.take(2)
		require.Len(t, rest, 3, "of the capture queue that has no consumer")
		r.recycle(rest...)
		r.receive(0, 3*chunkSize)
		for _, s := range r.Stats()[:1] {
			require.EqualValues(t, 3*chunkSize, s.MovedFrames, "%v", mode)
			require.Zero(t, s.Backlog)
		}
		// The one that took its place ends, too.
		require.NoError(t, r.Queue(2).Close())
		r.receive(0, chunkSize)
		for all := r.take(1); len(all) > 0; all = r.take(1) { // some wait until others are recycled
			r.recycle(all...)
		}
		require.EqualValues(t, chunkSize, r.settled().Reclaimed, "%v", mode)
		require.NoError(t, r.Queue(1).Close())
		r.rings[0].Fill(1, 60)
		require.Zero(t, r.Queue(0).Capture(true), "all are closed")
		require.NoError(t, r.Close())
	}
}

func TestCaptureAndRecycleDoNotAllocate(t *testing.T) {
	for _, mode := range []buddy.Mode{buddy.Chunks, buddy.Flows, buddy.Basic} {
		r := newRig(t, 2, buddy.Config{Mode: mode, Threshold: 0.1}, 50)
		require.Zero(t, testing.AllocsPerRun(200, func() {
			for range 4 {
				r.rings[0].Fill(chunkSize, 60)
				r.Queue(0).Capture(true)
			}
			for q := 1; q >= 0; q-- {
				for c, ok := r.Queue(q).Next(); ok; c, ok = r.Queue(q).Next() {
					if err := r.Recycle(c); err != nil {
						panic(err)
					}
				}
			}
		}))
		if mode != buddy.Basic {
			require.Positive(t, r.Stats()[0].MovedFrames)
		}
	}
}

// A frame over several buffers stays one in the views of its chunk.
func TestJumboFramesMove(t *testing.T) {
	for _, mode := range []buddy.Mode{buddy.Chunks, buddy.Flows} {
		r := newRig(t, 2, buddy.Config{Mode: mode, Threshold: 0.1}, 9)
		sent, got := 0, 0
		for range 100 {
			sent += r.rings[0].Fill(12, 3000)
			for r.Queue(0).Capture(true) > 0 {
			}
			for range 2 * 2 { // a view may wait for one at the other
				for q := range 2 {
					for _, c := range r.take(q) {
						for _, f := range c.Frames() {
							require.EqualValues(t, 3000, f.Len)
							require.Len(t, f.Rest, 1)
							got++
						}
						r.recycle(c)
					}
				}
			}
		}
		require.Equal(t, sent, got)
		require.Positive(t, r.settled().MovedFrames)
	}
}

// A consumer that hangs holds up the flows that were moved from its queue until it is closed.
func TestClosingAQueueReleasesWhatWasMovedFromIt(t *testing.T) {
	r := newRig(t, 2, buddy.Config{Mode: buddy.Flows, Threshold: 0.3}, 5)
	r.receive(0, length)
	_, ok := r.Queue(0).Next()
	require.True(t, ok)
	require.Positive(t, r.Stats()[1].Waiting)
	_, ok = r.Queue(1).Next()
	require.False(t, ok)
	require.NoError(t, r.Queue(0).Close())
	seen := map[uint32]uint32{} // the last frame of a flow
	for all := r.take(1); len(all) > 0; all = r.take(1) {
		for _, c := range all {
			for i := range c.Frames() {
				n := number(&c.Frames()[i])
				last, again := seen[n%5]
				require.True(t, !again || n == last+5, "flow %d: frame %d after %d", n%5, n, last)
				seen[n%5] = n
			}
		}
		r.recycle(all...)
	}
	require.Len(t, seen, 5)
	s := r.settled()
	require.EqualValues(t, chunkSize, s.Reclaimed)
	require.EqualValues(t, length, s.Frames)
}

// Queues may be of ports with pools of different sizes: T is of each one's own.
func TestPoolsOfDifferentSizes(t *testing.T) {
	var pools []*driver.RxPool
	var rings []*drivertest.Ring
	for _, size := range [][2]int{{4, 16}, {16, 8}} {
		one, err := drivertest.NewRing(drivertest.Options{Size: 64, Chunks: size[0], ChunkSize: size[1]})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, one.Close()) })
		rings, pools = append(rings, one), append(pools, one.Pool())
	}
	for _, mode := range []buddy.Mode{buddy.Chunks, buddy.Flows} {
		g, err := buddy.New(buddy.Config{Mode: mode, Threshold: 0.2}, pools...)
		require.NoError(t, err)
		sent, got := 0, 0
		for range 200 {
			for i, one := range rings {
				sent += one.Fill(50, 60)
				for g.Queue(i).Capture(true) > 0 {
				}
			}
			for range 3 { // a view may wait for one at the other
				for i := range rings {
					for c, ok := g.Queue(i).Next(); ok; c, ok = g.Queue(i).Next() {
						require.Same(t, pools[c.Queue()], g.Queue(c.Queue()).Pool())
						got += len(c.Frames())
						require.NoError(t, g.Recycle(c))
					}
				}
			}
		}
		require.Equal(t, sent, got)
		require.NoError(t, buddy.Balanced(g.Stats()))
		require.Positive(t, g.Stats()[0].MovedFrames, "%v", mode)
		require.NoError(t, g.Close())
	}
}
