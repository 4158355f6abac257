package stream

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

// device puts frames into the buffers of a pool in turn.
type device struct {
	*Pool
	next int
	ends []uint64 // per buffer, the number behind its frame, of append
}

func newDevice(tb testing.TB, buffers int) *device {
	const stride, headroom, size = 2112, 64, 2048
	m, err := hugepage.Alloc(buffers*stride, hugepage.Options{Name: "pool", Pages: hugepage.Ordinary, Node: hugepage.AnyNode})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, m.Close()) })
	return &device{Pool: &Pool{Memory: m, Buffers: buffers, Stride: stride, Headroom: headroom, BufferSize: size}}
}

// put writes a frame into the next buffers.
func (d *device) put(f *ring.Frame) ring.Frame {
	placed := *f
	placed.Buffer, placed.Data = uint32(d.next), nil
	for left := f.Data; len(left) > 0; {
		at := d.next*d.Stride + d.Headroom
		b := d.Memory.Bytes()[at : at+d.BufferSize]
		b = b[:copy(b, left)]
		left = left[len(b):]
		if placed.Data == nil {
			placed.Data = b
		} else {
			placed.Rest = append(placed.Rest, b)
		}
		d.next = (d.next + 1) % d.Buffers
	}
	return placed
}

// append places a frame, unless a lossless listener holds its buffers, 32 of which become free
// at once.
func (d *device) append(p *Producer, stamp clock.Stamp, f *ring.Frame) bool {
	const chunk = 32
	if d.ends == nil {
		d.ends = make([]uint64, d.Buffers)
	}
	need := (len(f.Data) + d.BufferSize - 1) / d.BufferSize
	for b := d.next; b < d.next+need; b++ {
		if at := b % d.Buffers; at%chunk == 0 && !p.Reuse(d.ends[at+chunk-1]) {
			p.Publish() // as a poller does that waits: members may depart
			return false
		}
	}
	first := d.next
	p.Place([]clock.Stamp{stamp}, []uint32{f.Len}, []ring.Frame{d.put(f)})
	for i := range need {
		d.ends[(first+i)%d.Buffers] = p.Next()
	}
	return true
}

// newPlaced makes a stream with a pool of which all buffers are full, with short frames and
// one that lies in the last buffers and the first.
func newPlaced(tb testing.TB) *Stream {
	d := newDevice(tb, 64)
	s := newStream(tb, Config{Pool: d.Pool, Segment: Block})
	d.next = 4
	for n := range uint32(58) {
		s.Producer().Place([]clock.Stamp{clock.Stamp(n + 1)}, []uint32{100}, []ring.Frame{d.put(numbered(n, 100))})
	}
	s.Producer().Place([]clock.Stamp{59}, []uint32{9000}, []ring.Frame{d.put(numbered(58, 9000))})
	s.Producer().Publish()
	return s
}

// A reader of bytes wakes up before the shortest frames have filled more than half of a pool,
// which may have hardly more than half as many buffers as its index has entries.
func TestReaderOfBlocksWakesUpBeforeAPoolIsFull(t *testing.T) {
	const buffers = 1<<13 + 32
	s := newStream(t, Config{Pool: newDevice(t, buffers).Pool, Segment: Block})
	l, err := s.Listen("reader", Options{})
	require.NoError(t, err)
	require.Len(t, l.index, 1<<14)
	require.LessOrEqual(t, l.blockWaiter().most, buffers/2*frameTime)
	require.NoError(t, l.Close())
}

// A stream with a pool has the same frames, offsets, segments and stamps as one that copies.
func TestPlacedFramesAreReadLikeCopies(t *testing.T) {
	for _, policy := range []Policy{Lossless, Lossy} {
		d := newDevice(t, 512)
		copying := newStream(t, Config{Size: 4 * Block, Segment: Block})
		placing := newStream(t, Config{Pool: d.Pool, Segment: Block})
		a, b := listen(t, copying, Options{Policy: policy}), listen(t, placing, Options{Policy: policy})
		ctx, r := testContext(t), rand.New(rand.NewPCG(1, 2))
		seen := 0
		for round := range 400 {
			var frames, placed []ring.Frame
			var stamps []clock.Stamp
			var keep []uint32
			buffers := 0
			for range r.IntN(60) {
				f := numbered(r.Uint32(), min(1+randomSize(r), 9000))
				if buffers += (len(f.Data) + 2047) / 2048; buffers > 400 {
					break
				}
				frames = append(frames, *f)
				placed = append(placed, d.put(f))
				stamps = append(stamps, clock.Stamp(uint64(round+1)|uint64(len(frames))<<32))
				k := f.Len
				if r.IntN(5) == 0 {
					k = r.Uint32N(2 * f.Len)
				}
				keep = append(keep, k)
			}
			var cframes []ring.Frame
			var cstamps []clock.Stamp
			var ckeep []uint32
			for i := range frames {
				if keep[i] > 0 {
					cframes, cstamps, ckeep = append(cframes, frames[i]), append(cstamps, stamps[i]), append(ckeep, keep[i])
				}
			}
			b.release()
			require.True(t, placing.Producer().Reuse(placing.Producer().Next()), "all was read")
			require.Equal(t, len(cframes), copying.Producer().AppendStamped(cstamps, ckeep, cframes))
			placing.Producer().Place(stamps, keep, placed)
			copying.Producer().Publish()
			placing.Producer().Publish()
			if round%50 == 0 {
				copying.Rotate()
				placing.Rotate()
			}
			pa, pb := make([]Packet, 200), make([]Packet, 200)
			for left := len(cframes); left > 0; {
				n, err := a.ReadBatch(ctx, pa[:min(left, 64)])
				require.NoError(t, err)
				for got := 0; got < n; {
					m, err := b.ReadBatch(ctx, pb[:n-got])
					require.NoError(t, err)
					for i := range m {
						require.Equal(t, pa[got+i], pb[i])
					}
					got += m
				}
				left -= n
				seen += n
			}
		}
		require.Greater(t, seen, 5000)
		a.release()
		b.release()
		copying.Producer().Finish()
		placing.Producer().Finish()
		as, bs := a.Stats(), b.Stats()
		require.Equal(t, as.ReadBytes, bs.ReadBytes)
		require.Equal(t, copying.Stats().Padding, placing.Stats().Padding)
	}
}

func TestReuseWaitsForLosslessListenersAndTellsLossyOnes(t *testing.T) {
	d := newDevice(t, 64)
	s := newStream(t, Config{Pool: d.Pool})
	lossless, lossy := listen(t, s, Options{}), listen(t, s, Options{Policy: Lossy})
	p, ctx := s.Producer(), testContext(t)
	place := func(from, to uint32) {
		for n := from; n < to; n++ {
			p.Place([]clock.Stamp{clock.Stamp(n + 1)}, []uint32{100}, []ring.Frame{d.put(numbered(n, 100))})
		}
		p.Publish()
	}
	place(0, 64)
	require.True(t, p.Reuse(0))
	require.False(t, p.Reuse(8), "the lossless listener has read nothing")
	packets := make([]Packet, 16)
	n, err := lossless.ReadBatch(ctx, packets)
	require.NoError(t, err)
	require.Equal(t, 16, n)
	require.False(t, p.Reuse(8), "it still holds them")
	_, err = lossless.ReadBatch(ctx, packets)
	require.NoError(t, err)
	require.True(t, p.Reuse(16))
	require.False(t, p.Reuse(17))
	place(64, 80) // in the buffers of the first ones
	n, err = lossy.ReadBatch(ctx, packets)
	require.NoError(t, err)
	for i := range n {
		stamp := uint32(packets[i].Sec)
		require.Greater(t, stamp, uint32(16), "not one that was overwritten")
		require.True(t, intact(packets[i].Data, stamp-1))
	}
	st := lossy.Stats()
	require.GreaterOrEqual(t, st.Overrun, uint64(16))
	require.Less(t, st.Overrun, uint64(64), "half of what is left is ahead")
}

func TestPlacesBeyondThePoolAreNotFollowed(t *testing.T) {
	d := newDevice(t, 64)
	s := newStream(t, Config{Pool: d.Pool})
	l := listen(t, s, Options{})
	p := s.Producer()
	p.Place([]clock.Stamp{1}, []uint32{100}, []ring.Frame{d.put(numbered(1, 100))})
	for _, place := range []uint32{0, 1<<32 - 1, uint32(d.Memory.Len() / placeUnit), uint32(d.Memory.Len()/placeUnit) - 5} {
		for _, caplen := range []uint16{0, 100, 2048, 2049, 65535} {
			e := Entry{Place: place, Caplen: caplen}
			require.Len(t, l.record(&e), RecordHeader+min(int(caplen), d.BufferSize))
			require.Len(t, l.gather(make([]byte, MaxFrame), &e, uint64(caplen)), int(caplen))
		}
	}
}

func TestAbsurdPoolsAreRefusedWithAReason(t *testing.T) {
	s := newPlaced(t)
	good := *s.view.header
	bytes, control := uint64(s.data.Len()), uint64(s.control.Len())
	require.NoError(t, good.check(bytes, control))
	for want, change := range map[string]func(h *header){
		"data size":                          func(h *header) { h.DataBytes *= 2 },
		"pool without memory":                func(h *header) { h.PoolBytes, h.DataBytes = 0, Block },
		"64 buffers of a pool, 0 bytes":      func(h *header) { h.Stride = 0 },
		"64 buffers of a pool, 2113 bytes":   func(h *header) { h.Stride++ },
		"0 buffers":                          func(h *header) { h.Buffers = 0 },
		"65 buffers":                         func(h *header) { h.Buffers++ },
		"4294967295 buffers":                 func(h *header) { h.Buffers, h.Stride = 1<<32-1, 1<<32-4 },
		"headroom of 8":                      func(h *header) { h.Headroom = 8 },
		"headroom of 66":                     func(h *header) { h.Headroom = 66 },
		"headroom of 4294967292":             func(h *header) { h.Headroom = 1<<32 - 4 },
		"with 0 bytes":                       func(h *header) { h.Buffer = 0 },
		"with 2049 bytes":                    func(h *header) { h.Buffer = 2049 },
		"with 4294967295 bytes":              func(h *header) { h.Buffer = 1<<32 - 1 },
		"do not fit 135172 bytes":            func(h *header) { h.PoolBytes += 4 },
		"do not fit 18446744073709551615 by": func(h *header) { h.PoolBytes = 1<<64 - 1 },
		"layout version 3":                   func(h *header) { h.Version = 3 },
	} {
		h := good
		change(&h)
		require.ErrorContains(t, h.check(bytes, control), want)
	}
	h := good
	h.PoolBytes, h.Stride = 1<<35, 1<<20 // places cannot reach its end
	require.ErrorContains(t, h.check(1<<35, control), "do not fit")
}

// What readers would not find is refused, and counted.
func TestFramesThatLieElsewhereAreRefused(t *testing.T) {
	d := newDevice(t, 64)
	s := newStream(t, Config{Pool: d.Pool})
	l := listen(t, s, Options{})
	refused := uint64(0)
	place := func(keep uint32, change func(f *ring.Frame), taken bool) {
		t.Helper()
		f := d.put(numbered(1, 5000))
		change(&f)
		s.Producer().Place([]clock.Stamp{1}, []uint32{keep}, []ring.Frame{f})
		s.Producer().Publish()
		if !taken {
			refused++
		}
		st := s.Stats()
		require.Equal(t, refused, st.Inconsistent)
		packets := make([]Packet, 2)
		n, err := l.TryReadBatch(packets)
		require.NoError(t, err)
		l.release()
		if require.Equal(t, taken, n == 1); taken {
			require.Equal(t, numbered(1, 5000).Data[:keep], packets[0].Data)
		}
		require.True(t, s.Producer().Reuse(s.Producer().Next()))
	}
	same := func(*ring.Frame) {}
	shortFirst := func(f *ring.Frame) { f.Data = f.Data[:2047] }
	swapped := func(f *ring.Frame) { f.Rest[0], f.Rest[1] = f.Rest[1], f.Rest[0] }
	shortMiddle := func(f *ring.Frame) { f.Rest[0] = f.Rest[0][:2047] }
	missing := func(f *ring.Frame) { f.Rest = f.Rest[:1] }
	shortLast := func(f *ring.Frame) { f.Rest[1] = f.Rest[1][:1] }
	empty := func(f *ring.Frame) { f.Rest[1] = nil }
	place(5000, same, true)
	for _, change := range []func(*ring.Frame){shortFirst, swapped, shortMiddle, missing, shortLast, empty} {
		place(5000, change, false)
	}
	place(2047, shortFirst, true)
	place(2048, shortFirst, false)
	place(2048, swapped, true)
	place(2049, swapped, false)
	place(4096, shortLast, true)
	place(4097, missing, false)
}

// Readers of bytes get those of a stream that copies.
func TestBytesOfPlacedFramesAreThoseOfCopies(t *testing.T) {
	d := newDevice(t, 512)
	copying := newStream(t, Config{Size: 64 * Block, Segment: 2 * Block})
	placing := newStream(t, Config{Pool: d.Pool, Segment: 2 * Block})
	type result struct {
		segments [][]byte
		err      error
	}
	results := [2]result{}
	var reading sync.WaitGroup
	for i, s := range []*Stream{copying, placing} {
		l := listen(t, s, Options{})
		ctx := testContext(t)
		reading.Go(func() { results[i].segments, _, results[i].err = readSegments(t, ctx, l, 256<<10) })
	}
	r := rand.New(rand.NewPCG(3, 4))
	for n := range uint32(40000) {
		f := numbered(n, min(1+randomSize(r), 9000))
		if n%32 == 0 {
			done := max(placing.Producer().Next(), 32) - 32 // at most 5 buffers each are in use
			for !placing.Producer().Reuse(done) {
				placing.Producer().Publish()
				runtime.Gosched()
			}
		}
		copying.Producer().appendWait(t, n+1, 7, f)
		placing.Producer().Place([]clock.Stamp{clock.Stamp(uint64(n+1) | 7<<32)}, []uint32{f.Len}, []ring.Frame{d.put(f)})
		if n%9000 == 8999 {
			copying.Rotate()
			placing.Rotate()
		}
		if n%32 == 0 || n%9000 == 8999 {
			copying.Producer().Publish()
			placing.Producer().Publish()
		}
	}
	copying.Producer().Finish()
	placing.Producer().Finish()
	reading.Wait()
	require.NoError(t, results[0].err)
	require.NoError(t, results[1].err)
	require.Equal(t, len(results[0].segments), len(results[1].segments))
	for i, want := range results[0].segments {
		require.True(t, bytes.Equal(want, results[1].segments[i]), "segment %d", i)
	}
}

// Members of groups get each frame once, by the same rule as from a stream that copies.
// Expressions see frames over several buffers whole.
func TestMembersReadPlacedFrames(t *testing.T) {
	for name, groups := range map[string][2]string{
		"hash":   {"group=2\nmode=hash", "group=2\nmode=hash"},
		"filter": {"group=2\nmode=filter\nfilter=ether[4000] & 1 = 1", "group=2\nmode=filter\nfilter=ether[4000] & 1 = 0"},
	} {
		t.Run(name, func(t *testing.T) {
			copying := newStream(t, Config{Size: 4 * Block})
			d := newDevice(t, 512)
			placing := newStream(t, Config{Pool: d.Pool})
			r := rand.New(rand.NewPCG(5, 6))
			want := readByMembers(t, copying, groups, r, func(n uint32, f *ring.Frame) {
				copying.Producer().appendWait(t, n+1, 7, f)
			})
			r = rand.New(rand.NewPCG(5, 6))
			got := readByMembers(t, placing, groups, r, func(n uint32, f *ring.Frame) {
				require.True(t, placing.Producer().Reuse(uint64(max(n, 64)-64)))
				placing.Producer().Place([]clock.Stamp{clock.Stamp(n + 1)}, []uint32{f.Len}, []ring.Frame{d.put(f)})
			})
			require.Equal(t, want, got)
			require.NotZero(t, got[0])
			require.NotZero(t, got[1])
			if name == "hash" {
				require.Equal(t, 2000, got[0]+got[1])
			}
		})
	}
}

// Of a group of mode buddy the member of the receive queue gets the frames until it has left the
// threshold of the pool unread, then the one that has read, and its own again when it
// has read, too.
func TestBuddyTakesOverAboveTheThreshold(t *testing.T) {
	d := newDevice(t, 1000) // the index has 1024 entries
	s := newStream(t, Config{Pool: d.Pool, Queue: 1})
	other := joined(t, s, "group=1\nmode=buddy\nthreshold=20\nmember=a", Options{})
	home := joined(t, s, "group=1\nmember=b", Options{})
	s.Producer().Publish()
	place := func(from, to uint32) (taken []uint32) {
		for n := from; n < to; n++ {
			f := udpFrame(n)
			require.True(t, d.append(s.Producer(), clock.Stamp(uint64(n)<<32|1), f))
			s.Producer().Publish()
			taken = append(taken, readNow(t, other)...)
		}
		return taken
	}
	taken := place(0, 500)
	require.Len(t, taken, 299)
	require.EqualValues(t, 201, taken[0])
	require.Len(t, readNow(t, home), 201)
	require.Empty(t, readNow(t, home)) // releases them
	require.Empty(t, place(500, 600))
	require.Len(t, readNow(t, home), 100)
	g := groupOf(t, s)
	require.Equal(t, "buddy", g.Mode)
	require.Equal(t, 20, g.Threshold)
	require.EqualValues(t, 600, g.Sum().Assigned)
}

// readByMembers returns how many of 2000 frames each of two members reads.
func readByMembers(t *testing.T, s *Stream, groups [2]string, r *rand.Rand, store func(n uint32, f *ring.Frame)) (counts [2]int) {
	var members [2]*Listener
	for m := range members {
		members[m] = listen(t, s, Options{Fanout: groups[m]})
	}
	s.Producer().Publish()
	packets := make([]Packet, 64)
	for n := range uint32(2000) {
		f := numbered(n, min(60+randomSize(r)*int(1+n%2*40), 9000))
		copy(f.Data[12:], []byte{0x08, 0x00, 0x45})
		binary.BigEndian.PutUint32(f.Data[26:], n%100)
		store(n, f)
		s.Producer().Publish()
		for m, l := range members {
			for k := 1; k > 0; counts[m] += k {
				var err error
				k, err = l.TryReadBatch(packets)
				require.NoError(t, err)
			}
		}
	}
	return counts
}

// The stream holds the memory of its pool.
func TestPoolOutlivesItsOwner(t *testing.T) {
	d := newDevice(t, 64)
	s := newStream(t, Config{Pool: d.Pool})
	l := listen(t, s, Options{})
	p := s.Producer()
	f := numbered(7, 5000)
	p.Place([]clock.Stamp{1}, []uint32{5000}, []ring.Frame{d.put(f)})
	p.Finish()
	require.NoError(t, d.Memory.Close())
	require.NotNil(t, d.Memory.Bytes())
	require.EqualValues(t, 1, s.Stats().Frames)
	require.NoError(t, s.Close())
	require.Nil(t, d.Memory.Bytes())
	packets := make([]Packet, 2)
	n, err := l.ReadBatch(testContext(t), packets)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, f.Data, packets[0].Data)
}

func TestPlacedFramesAreReadWithoutAllocating(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates: run without -race")
	}
	d := newDevice(t, 64)
	s := newStream(t, Config{Pool: d.Pool})
	l := listen(t, s, Options{})
	p, packets, ctx := s.Producer(), make([]Packet, 64), testContext(t)
	stamps, keep := make([]clock.Stamp, 8), make([]uint32, 8)
	var frames []ring.Frame
	for i := range stamps {
		stamps[i], keep[i] = 1, 9000
		frames = append(frames, d.put(numbered(uint32(i), 9000)))
	}
	read := 0
	require.Zero(t, testing.AllocsPerRun(100, func() {
		p.Reuse(p.Next())
		p.Place(stamps, keep, frames)
		p.Publish()
		n, err := l.ReadBatch(ctx, packets)
		if err == nil {
			read += n
		}
		l.release()
	}))
	require.Equal(t, 101*8, read)
}

// Deduplication compares with frames where they lie, as long as they are there.
func TestStoredFramesOfAPool(t *testing.T) {
	d := newDevice(t, 64)
	s := newStream(t, Config{Pool: d.Pool})
	p := s.Producer()
	sizes := []int{100, 2048, 2049, 9000, 60}
	for i := range uint32(40) {
		f := numbered(i, sizes[i%5])
		p.Reuse(max(p.Next(), 4) - 4)
		p.Place([]clock.Stamp{1}, []uint32{f.Len - 1}, []ring.Frame{d.put(f)})
	}
	for i := range uint64(40) {
		f, ok := p.Stored(i)
		require.Equal(t, i >= 35, ok, "frame %d: 4 are kept before the one that was placed last", i)
		if ok {
			want := numbered(uint32(i), sizes[i%5])
			require.Equal(t, want.Data[:want.Len-1], bytes.Join(append([][]byte{f.Data}, f.Rest...), nil))
		}
	}
}
