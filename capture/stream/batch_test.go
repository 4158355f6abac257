package stream

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

func newStamper(tb testing.TB) *clock.Stamper {
	tb.Helper()
	c := clock.New()
	tb.Cleanup(c.Close)
	st, err := c.Stamper(clock.PerPacket)
	require.NoError(tb, err)
	return st
}

// appendPair is two streams, which the assembly and the Go code append the same frames to.
type appendPair struct {
	fast, slow           []byte
	fastIndex, slowIndex []Entry
	from                 window // of both
	lengths              []int  // of frames, bytes
	source               []byte
	r                    *rand.Rand
}

func newAppendPair() *appendPair {
	const room = 4 * MaxFrame
	p := &appendPair{
		fast: make([]byte, room), slow: make([]byte, room),
		fastIndex: make([]Entry, 16), slowIndex: make([]Entry, 16),
		from:    window{pos: 100, seq: 14, endPos: room - 100, endSeq: 20, mask: 1<<62 - 1, wrap: 15, most: MaxFrame},
		lengths: []int{9000, 15872, 65472, 65473, 65534, 65535},
		source:  make([]byte, MaxFrame+64),
		r:       rand.New(rand.NewPCG(1, 1)),
	}
	for i := range p.source {
		p.source[i] = byte(p.r.Uint32())
	}
	for n := range 1600 {
		p.lengths = append(p.lengths, n)
	}
	return p
}

// clear removes what three frames of n bytes left in the streams.
func (p *appendPair) clear(n int) {
	clear(p.fast[:3*n+1000])
	clear(p.slow[:3*n+1000])
	clear(p.fastIndex)
	clear(p.slowIndex)
}

// frames returns three frames of n bytes, with random bits of info.
func (p *appendPair) frames(n int, info uint32) []ring.Frame {
	var frames []ring.Frame
	for i := range 3 {
		frames = append(frames, ring.Frame{
			Data: p.source[i*7 : i*7+n], Len: uint32(n), Hash: p.r.Uint32(), VLAN: uint16(p.r.Uint32()), Info: ring.Info(p.r.Uint32() & info),
		})
	}
	return frames
}

func (p *appendPair) requireSame(t *testing.T, message string, args ...any) {
	t.Helper()
	require.Equal(t, p.slowIndex, p.fastIndex)
	require.True(t, bytes.Equal(p.slow, p.fast), append([]any{message}, args...)...)
}

// For every length the assembly stores exactly what the Go code stores.
func TestFastAppendStoresWhatGoStores(t *testing.T) {
	p := newAppendPair()
	for _, n := range p.lengths {
		p.clear(n)
		frames := p.frames(n, math.MaxUint32)
		line := clock.Line{Sec: 77} // a rate of 0: every stamp is nanosecond Base
		line.Base = 12345
		fastAt, slowAt, fastLine, slowLine := p.from, p.from, line, line
		took := fastAppend(p.fast, p.fastIndex, frames, &fastAt, &fastLine)
		if n < 32 && took == 0 {
			continue // slow path
		}
		require.Equal(t, 3, took)
		require.Equal(t, took, fastAppendGo(p.slow, p.slowIndex, frames, &slowAt, &slowLine, clock.Ticks))
		require.Equal(t, slowAt, fastAt)
		require.Equal(t, slowLine, fastLine)
		p.requireSame(t, "length %d", n)
	}
}

func TestFastAppendStopsWhereItMust(t *testing.T) {
	frame := func(n int) ring.Frame { return *numbered(1, n) }
	odd := frame(60)
	odd.Len = 61
	chained := frame(60)
	chained.Rest, chained.Len = [][]byte{make([]byte, 60)}, 120
	ok := window{pos: 0, seq: 0, endPos: 1 << 16, endSeq: 100, mask: 1<<20 - 1, wrap: 127, most: MaxFrame}
	limit := func(change func(*window)) window { p := ok; change(&p); return p }
	now := clock.Line{Base: 5}
	for name, c := range map[string]struct {
		frames []ring.Frame
		at     window
		line   clock.Line
		want   int
	}{
		"no frames":           {nil, ok, now, 0},
		"all fit":             {[]ring.Frame{frame(60), frame(64), frame(65)}, ok, now, 3},
		"exactly full":        {[]ring.Frame{frame(60), frame(60)}, limit(func(p *window) { p.endPos = 144 }), now, 2},
		"a byte too few":      {[]ring.Frame{frame(60), frame(60)}, limit(func(p *window) { p.endPos = 143 }), now, 1},
		"index full":          {[]ring.Frame{frame(60), frame(60)}, limit(func(p *window) { p.endSeq = 1 }), now, 1},
		"to be cut":           {[]ring.Frame{frame(60), frame(61)}, limit(func(p *window) { p.most = 60 }), now, 1},
		"length that is odd":  {[]ring.Frame{frame(60), odd}, ok, now, 1},
		"several buffers":     {[]ring.Frame{frame(60), chained}, ok, now, 1},
		"another second":      {[]ring.Frame{frame(60)}, ok, clock.Line{Base: 1e9}, 0},
		"last ns of a second": {[]ring.Frame{frame(60)}, ok, clock.Line{Base: 1e9 - 1}, 1},
		"before the last":     {[]ring.Frame{frame(60)}, ok, clock.Line{Base: 5, Last: 6}, 0},
		"before the second":   {[]ring.Frame{frame(60)}, ok, clock.Line{Base: ^uint64(0)}, 0},
	} {
		data, index := make([]byte, 1<<17), make([]Entry, 128)
		fast, slow, fastLine, slowLine := c.at, c.at, c.line, c.line
		require.Equal(t, c.want, fastAppend(data, index, c.frames, &fast, &fastLine), name)
		require.Equal(t, c.want, fastAppendGo(data, index, c.frames, &slow, &slowLine, clock.Ticks), name)
		require.Equal(t, slow, fast, name)
		require.Equal(t, slowLine, fastLine, name)
	}
}

// Batches are stored as single frames are, with stamps that never go back.
func TestBatchesAreStoredLikeSingleFrames(t *testing.T) {
	for _, caplen := range []int{0, 100} {
		s := newStream(t, Config{Size: 2 * Block, Segment: Block, Entries: 1024})
		l := listen(t, s, Options{})
		p, st := s.Producer(), newStamper(t)
		r := rand.New(rand.NewPCG(8, 9))
		packets := make([]Packet, 100)
		var want []ring.Frame // stored and not yet read
		refused, read, last := uint64(0), 0, int64(0)
		take := func() {
			n, err := l.ReadBatch(testContext(t), packets)
			require.NoError(t, err)
			for i, pkt := range packets[:n] {
				w := want[i]
				require.EqualValues(t, w.Len, pkt.Len)
				require.True(t, intact(pkt.Data, w.Hash))
				require.Equal(t, w.Hash, pkt.Hash)
				keep := int(w.Len)
				if caplen > 0 {
					keep = min(keep, caplen)
				}
				require.Len(t, pkt.Data, keep)
				require.GreaterOrEqual(t, pkt.UnixNano(), last)
				last = pkt.UnixNano()
			}
			want = want[n:]
			read += n
		}
		for range 500 {
			frames := make([]ring.Frame, r.IntN(64))
			for i := range frames {
				f := numbered(r.Uint32(), randomSize(r))
				switch r.IntN(30) {
				case 0:
					f.Len++ // refused
				case 1:
					cut := len(f.Data) / 2
					f.Data, f.Rest = f.Data[:cut], [][]byte{f.Data[cut:]}
				}
				frames[i] = *f
			}
			st.Update()
			for len(frames) > 0 {
				n := p.AppendBatch(st, frames, caplen)
				for _, f := range frames[:n] {
					if total := len(f.Data) + sumLen(f.Rest); total != int(f.Len) {
						if int(f.Len) > MaxFrame || len(f.Data) < min(int(f.Len), max(caplen, 1)) || caplen == 0 {
							refused++
							continue
						}
					}
					want = append(want, f)
				}
				frames = frames[n:]
				if len(frames) > 0 {
					take()
				}
			}
		}
		p.Finish()
		for len(want) > 0 {
			take()
		}
		st2 := s.Stats()
		require.EqualValues(t, read, st2.Frames)
		require.Equal(t, refused, st2.Inconsistent+st2.TooLong)
		require.NotZero(t, refused)
	}
}

func sumLen(parts [][]byte) int {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	return n
}
