package driver_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
)

func newPool(t testing.TB, o drivertest.Options) (*drivertest.Ring, *driver.RxPool) {
	t.Helper()
	r, err := drivertest.NewRing(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r, r.Pool()
}

func TestPoolHandsOnAllFramesInOrder(t *testing.T) {
	for _, c := range []struct {
		name                           string
		ring, chunk, chunks, size, out int // out: chunks held before the oldest is recycled
		frames                         int
	}{
		{"two segments, two chunks", 16, 8, 2, 60, 0, 64},
		{"fewer chunks than segments", 64, 8, 2, 60, 0, 3},
		{"more chunks than segments", 16, 8, 5, 1514, 3, 5},
		{"not a power of two", 72, 24, 7, 60, 4, 32},
		{"two descriptors", 32, 8, 4, 3000, 1, 4},
		{"three descriptors, over the ends of chunks", 32, 8, 5, 5000, 2, 4},
		{"a frame as long as a chunk", 32, 8, 4, 15868, 1, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, p := newPool(t, drivertest.Options{Size: c.ring, Chunks: c.chunks, ChunkSize: c.chunk})
			frames := make([]ring.Frame, c.frames)
			var held []driver.Chunk
			var seen, sent uint32
			for round := range 500 {
				sent += uint32(r.Fill(1+round%c.ring, c.size))
				for {
					got, n := p.Capture(frames, true)
					if n == 0 {
						break
					}
					require.LessOrEqual(t, got.Buffers(), c.chunk+8)
					for i := range frames[:n] {
						f := &frames[i]
						require.Equal(t, seen, number(f))
						require.EqualValues(t, c.size, f.Len)
						require.Equal(t, seen*0x9e3779b1, f.Hash)
						require.Equal(t, got.ID(), int(f.Buffer)/c.chunk, "a frame of the chunk")
						require.GreaterOrEqual(t, int(f.Buffer)%c.chunk, got.First())
						seen++
					}
					for held = append(held, got); len(held) > c.out; held = held[1:] {
						require.NoError(t, p.Recycle(held[0]))
					}
				}
				require.Equal(t, sent, seen, "all frames sent are captured")
			}
			require.Greater(t, int(seen), c.ring)
			require.Equal(t, len(held), p.Out())
			require.Zero(t, p.Overlong()+p.Malformed())
		})
	}
}

func TestPoolIsDryWithTooFewBuffersForAFrame(t *testing.T) {
	r, p := newPool(t, drivertest.Options{Size: 32, Chunks: 4, ChunkSize: 8})
	frames := make([]ring.Frame, 16)
	require.Equal(t, 14, r.Fill(14, 3000))
	require.False(t, p.Dry())
	var held []driver.Chunk
	for got := 0; got < 14; {
		c, n := p.Capture(frames, true)
		require.NotZero(t, n)
		held, got = append(held, c), got+n
	}
	require.True(t, p.Dry(), "4 buffers are left, a frame may take 8")
	require.Equal(t, 1, r.Fill(1, 60))
	require.False(t, p.Dry(), "a frame is to be captured")
	_, n := p.Capture(frames, true)
	require.Equal(t, 1, n)
	require.True(t, p.Dry())
	require.NoError(t, p.Recycle(held[0]))
	require.False(t, p.Dry())
}

func TestPoolWithoutEmptyChunksRunsDryAndRecovers(t *testing.T) {
	r, p := newPool(t, drivertest.Options{Size: 32, Chunks: 6, ChunkSize: 8})
	require.Equal(t, 31, r.Owned(), "the whole ring but one")
	frames := make([]ring.Frame, 16)
	var held []driver.Chunk
	capture := func() (n int) {
		for {
			c, k := p.Capture(frames, true)
			if k == 0 {
				return n
			}
			held = append(held, c)
			n += k
		}
	}
	total := 0
	for range 4 {
		r.Fill(100, 60)
		total += capture()
	}
	require.Equal(t, 6*8, total, "every buffer of the pool was used, the last descriptor, too")
	require.Zero(t, r.Owned())
	require.Zero(t, r.Fill(1, 60), "no descriptor is left")
	require.False(t, p.Sleep(time.Hour), "it does not sleep: no interrupt announces a chunk")

	// The last chunks first: any order is accepted.
	for i := len(held) - 1; i >= 0; i-- {
		require.NoError(t, p.Recycle(held[i]))
	}
	held = nil
	require.Zero(t, capture())
	require.Equal(t, 31, r.Owned())
	require.Equal(t, 31, r.Fill(100, 60))
	require.Equal(t, 31, capture())
}

func TestPoolLeavesFramesAloneUntilTheirChunkIsRecycled(t *testing.T) {
	r, p := newPool(t, drivertest.Options{Size: 16, Chunks: 3, ChunkSize: 8, MaxChain: 3})
	frames := make([]ring.Frame, 8)
	require.Equal(t, 3, r.Fill(3, 5000), "9 buffers: the third frame continues in the second chunk")
	first, n := p.Capture(frames, true)
	require.Equal(t, 3, n)
	require.Equal(t, 9, first.Buffers())
	kept := frames[2]
	bytes := func() (all []byte) {
		for _, b := range append([][]byte{kept.Data}, kept.Rest...) {
			all = append(all, b...)
		}
		return all
	}
	before := bytes()
	more := make([]ring.Frame, 8)
	for range 20 { // only 7 buffers of the second chunk and the third can circulate
		r.Fill(8, 900)
		c, n := p.Capture(more, true)
		if n > 0 {
			require.NoError(t, p.Recycle(c))
		}
	}
	require.Equal(t, before, bytes(), "its second and third buffer, too")
	require.NoError(t, p.Recycle(first))
	for range 20 {
		r.Fill(8, 900)
		if c, n := p.Capture(more, true); n > 0 {
			require.NoError(t, p.Recycle(c))
		}
	}
	require.NotEqual(t, before, bytes(), "they were used again")
}

func TestPoolHandsOnFullChunksUnlessAskedForParts(t *testing.T) {
	r, p := newPool(t, drivertest.Options{Size: 32, Chunks: 8, ChunkSize: 8})
	frames := make([]ring.Frame, 32)
	r.Fill(7, 60)
	_, n := p.Capture(frames, false)
	require.Zero(t, n, "not full")
	part, n := p.Capture(frames, true)
	require.Equal(t, 7, n, "after the caller's timeout")
	require.Equal(t, 7, part.Buffers())
	r.Fill(9, 60)
	rest, n := p.Capture(frames, false)
	require.Equal(t, 1, n, "the chunk is full")
	require.Equal(t, [2]int{7, 1}, [2]int{rest.First(), rest.Buffers()})
	require.Equal(t, part.ID(), rest.ID())
	full, n := p.Capture(frames, false)
	require.Equal(t, [2]int{8, 8}, [2]int{n, full.Buffers()})
	for _, c := range []driver.Chunk{full, rest, part} {
		require.NoError(t, p.Recycle(c))
	}
	require.Zero(t, p.Out())
}

func TestPoolRefusesChunksTwiceAndOfOthers(t *testing.T) {
	r, p := newPool(t, drivertest.Options{Size: 16, Chunks: 2, ChunkSize: 8})
	_, other := newPool(t, drivertest.Options{Size: 16, Chunks: 2, ChunkSize: 8})
	frames := make([]ring.Frame, 8)
	r.Fill(8, 60)
	c, got := p.Capture(frames, true)
	require.Equal(t, 8, got)
	require.ErrorIs(t, other.Recycle(c), driver.ErrForeignChunk)
	require.ErrorIs(t, p.Recycle(driver.Chunk{}), driver.ErrForeignChunk)
	require.NoError(t, p.Recycle(c))
	require.ErrorIs(t, p.Recycle(c), driver.ErrRecycled)
	// The same buffers are captured again: the old part is not taken for the new one.
	var again driver.Chunk
	for again.Buffers() == 0 || again.ID() != c.ID() {
		r.Fill(8, 60)
		if again, _ = p.Capture(frames, true); again.ID() != c.ID() {
			require.NoError(t, p.Recycle(again))
		}
	}
	require.ErrorIs(t, p.Recycle(c), driver.ErrRecycled)
	require.Equal(t, 1, p.Out())
	require.NoError(t, p.Recycle(again))
}

func TestPoolGivesBackWhatHasNoFrame(t *testing.T) {
	r, p := newPool(t, drivertest.Options{Size: 16, Chunks: 2, ChunkSize: 8, MaxChain: 3})
	frames := make([]ring.Frame, 8)
	for range 50 {
		for range 5 {
			r.Complete(0, ring.RxDD.WithLength(2048)) // too long: never ends
		}
		r.Complete(0, (ring.RxDD | ring.RxEOP).WithLength(1))
		r.Complete(0, (ring.RxDD | ring.RxEOP).WithLength(3000)) // impossible
		c, n := p.Capture(frames, true)
		if n > 0 {
			require.NoError(t, p.Recycle(c))
		}
		for r.Owned() < 8 {
			if c, n = p.Capture(frames, true); n > 0 {
				require.NoError(t, p.Recycle(c))
			}
		}
	}
	require.EqualValues(t, 50, p.Overlong())
	require.EqualValues(t, 50, p.Malformed())
	require.Zero(t, p.Out())
	require.Equal(t, 3, r.Fill(3, 60), "the queue still receives")
}

func TestPoolTellsWhichFramesHaveATimeStamp(t *testing.T) {
	r, p := newPool(t, drivertest.Options{Size: 16, Chunks: 3, ChunkSize: 8})
	frames := make([]ring.Frame, 8)
	r.Fill(1, 60)
	r.Complete(0, (ring.RxDD | ring.RxEOP | ring.RxTS).WithLength(90))
	c, n := p.Capture(frames, true)
	require.Equal(t, 2, n)
	require.Equal(t, [][]byte{frames[1].Data}, p.Timed())
	require.NoError(t, p.Recycle(c))
	_, n = p.Capture(frames, true)
	require.Zero(t, n)
	require.Empty(t, p.Timed())
}

func TestPoolSurvivesAResetOfThePort(t *testing.T) {
	r, p := newPool(t, drivertest.Options{Size: 32, Chunks: 5, ChunkSize: 8})
	frames := make([]ring.Frame, 32)
	r.Fill(10, 60)
	c, n := p.Capture(frames, true)
	require.Equal(t, 8, n)
	d, n := p.Capture(frames, true)
	require.Equal(t, 2, n)
	r.Complete(0, ring.RxDD.WithLength(2048)) // half a frame, which is lost
	p.AskRestart()
	_, n = p.Capture(frames, true)
	require.Zero(t, n)
	head, ok := p.Parked()
	require.True(t, ok)
	require.EqualValues(t, 10, head)
	r.Restart(head)
	done := p.EnableRestart()
	_, n = p.Capture(frames, true)
	require.Zero(t, n)
	require.True(t, done())
	require.Equal(t, 30, r.Owned(), "four segments are attached, two descriptors were used")
	require.Equal(t, 12, r.Fill(12, 60))
	e, n := p.Capture(frames, true)
	require.Equal(t, 6, n)
	require.EqualValues(t, 10, number(&frames[0]))
	for _, c := range []driver.Chunk{c, d, e} {
		require.NoError(t, p.Recycle(c))
	}
}

func TestPoolConfigIsChecked(t *testing.T) {
	dev, err := sim.Open("gen,size=60,count=1")
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	for _, c := range []struct {
		cfg  driver.Config
		want string
	}{
		{driver.Config{Chunks: 1}, "pools of 1 chunks: want at least 2"},
		{driver.Config{ChunkSize: 8}, "pools of 0 chunks"},
		{driver.Config{Chunks: 4, ChunkSize: 12}, "chunks of 12 buffers: want a multiple of 8"},
		{driver.Config{Chunks: 4, ChunkSize: 64, RingSize: 64}, "at least twice"},
		{driver.Config{Chunks: 4, ChunkSize: 8, BufferSize: 1024}, "chunks of 8 buffers: a frame of 15868 bytes takes 16"},
		{driver.Config{Chunks: 1 << 30, ChunkSize: 8}, "want at most"},
	} {
		_, err := driver.Open(dev, c.cfg)
		require.ErrorContains(t, err, c.want)
	}
	_, err = drivertest.NewRing(drivertest.Options{Size: 16, Chunks: 2, ChunkSize: 16})
	require.ErrorContains(t, err, "no whole number, at least 2, of segments of 16")
}

func TestPoolDepthIsTheTimeOfShortestFrames(t *testing.T) {
	_, p := newPool(t, drivertest.Options{Size: 32, Chunks: 10, ChunkSize: 16})
	require.InDelta(t, float64(160*time.Second)/14.88e6, float64(p.Depth(10e9)), float64(20*time.Nanosecond))
}

func BenchmarkPool(b *testing.B) {
	for _, size := range []int{60, 1514} {
		b.Run(fmt.Sprintf("size=%d/hot", size), func(b *testing.B) { benchPool(b, size, false) })
		b.Run(fmt.Sprintf("size=%d/cold", size), func(b *testing.B) { benchPool(b, size, true) })
	}
}

// benchPool measures capturing and recycling a frame, to compare with BenchmarkPoll.
func benchPool(b *testing.B, size int, cold bool) {
	r, p := newPool(b, drivertest.Options{Chunks: 32, ChunkSize: 256})
	frames := make([]ring.Frame, 32)
	var spent time.Duration
	left := b.N
	for left > 0 {
		want := min(left, ring.MaxSize-1-256) // the last segment polled has no chunk yet
		require.Equal(b, want, r.Fill(want, size))
		if cold {
			r.FlushCaches()
		}
		start := time.Now()
		for got := 0; got < want; {
			c, n := p.Capture(frames, true)
			if got += n; n > 0 {
				_ = p.Recycle(c)
			}
		}
		spent += time.Since(start)
		left -= want
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "ns/op")
}

func TestPoolIsRecycledByOtherGoroutines(t *testing.T) {
	r, p := newPool(t, drivertest.Options{Size: 32, Chunks: 12, ChunkSize: 8})
	work := make(chan driver.Chunk, 100)
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for c := range work {
				if err := p.Recycle(c); err != nil {
					t.Error(err)
				}
			}
		})
	}
	frames := make([]ring.Frame, 5)
	seen := uint32(0)
	for seen < 50000 {
		r.Fill(13, 60)
		for {
			c, n := p.Capture(frames, true)
			if n == 0 {
				break
			}
			for i := range frames[:n] {
				if number(&frames[i]) != seen {
					t.Fatalf("frame %d is %d", seen, number(&frames[i]))
				}
				seen++
			}
			work <- c
		}
	}
	close(work)
	readers.Wait()
	require.Zero(t, p.Out())
}
