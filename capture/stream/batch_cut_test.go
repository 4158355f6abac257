package stream

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// For every length and cut the assembly stores exactly what the Go code stores.
func TestFastAppendCutStoresWhatGoStores(t *testing.T) {
	p := newAppendPair()
	for _, n := range p.lengths {
		for _, keep := range [][]uint32{
			{MaxFrame, MaxFrame, 1 << 31}, {uint32(n), uint32(n), uint32(n) + 1}, {32, uint32(n) / 2, uint32(max(n-1, 0))},
			{p.r.Uint32N(100), 64, p.r.Uint32N(1600)}, {96, 0, 31}, {0, 0, 0}, {0, 1<<32 - 1, 0}, {1<<32 - 1, 0, 64},
		} {
			p.clear(n)
			frames := p.frames(n, 1<<15-1)
			line := clock.Line{Sec: 77, Base: 12345} // a rate of 0: every stamp is nanosecond Base
			fastAt, slowAt, fastLine, slowLine := p.from, p.from, line, line
			took := fastAppendCut(p.fast, p.fastIndex, frames, keep, &fastAt, &fastLine)
			want := 3
			for i := range keep {
				if keep[i] != 0 && min(int(keep[i]), n) < 32 {
					want = min(want, i)
				}
			}
			require.Equal(t, want, took, "length %d, keep %v: the others take the slow path", n, keep)
			require.Equal(t, took, fastAppendCutGo(p.slow, p.slowIndex, frames[:took], keep[:took], &slowAt, &slowLine, clock.Ticks))
			require.Equal(t, slowAt, fastAt)
			require.Equal(t, slowLine, fastLine)
			p.requireSame(t, "length %d, keep %v", n, keep)
		}
	}
}

func TestFastAppendCutStopsWhereItMust(t *testing.T) {
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
		keep   []uint32
		want   int
		cut    uint64
	}{
		"no frames":               {nil, ok, now, nil, 0, 0},
		"all fit":                 {[]ring.Frame{frame(60), frame(64), frame(65)}, ok, now, []uint32{60, 64, 65}, 3, 0},
		"exactly full":            {[]ring.Frame{frame(60), frame(60)}, limit(func(p *window) { p.endPos = 144 }), now, []uint32{60, 60}, 2, 0},
		"a byte too few":          {[]ring.Frame{frame(60), frame(60)}, limit(func(p *window) { p.endPos = 143 }), now, []uint32{60, 60}, 1, 0},
		"full but for a cut":      {[]ring.Frame{frame(60), frame(60)}, limit(func(p *window) { p.endPos = 143 }), now, []uint32{59, 60}, 2, 1},
		"full but for a skip":     {[]ring.Frame{frame(60), frame(60), frame(60)}, limit(func(p *window) { p.endPos = 144 }), now, []uint32{60, 0, 60}, 3, 0},
		"skips need no room":      {[]ring.Frame{frame(60), frame(60)}, limit(func(p *window) { p.endPos, p.endSeq = 0, 0 }), clock.Line{Base: 1e9}, []uint32{0, 0}, 2, 0},
		"index full":              {[]ring.Frame{frame(60), frame(60)}, limit(func(p *window) { p.endSeq = 1 }), now, []uint32{60, 60}, 1, 0},
		"cut and not cut":         {[]ring.Frame{frame(60), frame(61), frame(62)}, ok, now, []uint32{60, 60, 60}, 3, 2},
		"length that is odd":      {[]ring.Frame{frame(60), odd}, ok, now, []uint32{60, 60}, 1, 0},
		"several buffers":         {[]ring.Frame{frame(60), chained}, ok, now, []uint32{60, 60}, 1, 0},
		"several buffers skipped": {[]ring.Frame{frame(60), chained, odd}, ok, now, []uint32{60, 0, 0}, 3, 0},
		"longer than allowed":     {[]ring.Frame{frame(60), frame(61)}, limit(func(p *window) { p.most = 60 }), now, []uint32{60, 60}, 1, 0},
		"another second":          {[]ring.Frame{frame(60)}, ok, clock.Line{Base: 1e9}, []uint32{60}, 0, 0},
		"last ns of a second":     {[]ring.Frame{frame(60)}, ok, clock.Line{Base: 1e9 - 1}, []uint32{60}, 1, 0},
		"before the last":         {[]ring.Frame{frame(60)}, ok, clock.Line{Base: 5, Last: 6}, []uint32{60}, 0, 0},
		"before the second":       {[]ring.Frame{frame(60)}, ok, clock.Line{Base: ^uint64(0)}, []uint32{60}, 0, 0},
	} {
		data, index := make([]byte, 1<<17), make([]Entry, 128)
		fast, slow, fastLine, slowLine := c.at, c.at, c.line, c.line
		require.Equal(t, c.want, fastAppendCut(data, index, c.frames, c.keep, &fast, &fastLine), name)
		require.Equal(t, c.cut, fast.truncated, name)
		require.Equal(t, c.want, fastAppendCutGo(data, index, c.frames, c.keep, &slow, &slowLine, clock.Ticks), name)
		require.Equal(t, slow, fast, name)
		require.Equal(t, slowLine, fastLine, name)
	}
}

// Batches are stored with the lengths requested, and with stamps that never go back.
func TestCutBatchesAreStoredLikeSingleFrames(t *testing.T) {
	s := newStream(t, Config{Size: 2 * Block, Segment: Block, Entries: 1024})
	l := listen(t, s, Options{})
	p, st := s.Producer(), newStamper(t)
	r := rand.New(rand.NewPCG(8, 9))
	type stored struct {
		data []byte
		len  uint32
		hash uint32
	}
	packets := make([]Packet, 100)
	var want []stored // and not yet read
	var refused, read, cut, skipped uint64
	last := int64(0)
	take := func() {
		n, err := l.ReadBatch(testContext(t), packets)
		require.NoError(t, err)
		for i, pkt := range packets[:n] {
			w := want[i]
			require.Equal(t, w.len, uint32(pkt.Len))
			require.Equal(t, w.data, pkt.Data[:len(pkt.Data):len(pkt.Data)])
			require.Equal(t, w.hash, pkt.Hash)
			require.GreaterOrEqual(t, pkt.UnixNano(), last)
			last = pkt.UnixNano()
			require.Equal(t, len(w.data) < int(w.len), pkt.Info&Truncated != 0)
		}
		want = want[n:]
		read += uint64(n)
	}
	for round := range 600 {
		frames := make([]ring.Frame, r.IntN(64))
		keep := make([]uint32, len(frames))
		var kept []*stored // nil: refused or skipped
		for i := range frames {
			f := numbered(r.Uint32(), randomSize(r))
			whole := f.Data
			keep[i] = 1<<32 - 1
			if round%3 == 1 {
				keep[i] = 1 + r.Uint32N(2*f.Len)
			} else if round%3 == 2 {
				keep[i] = 64
			}
			if r.IntN(4) == 0 {
				keep[i] = 0
			}
			lost := keep[i] == 0
			switch r.IntN(30) {
			case 0:
				if !lost {
					refused++
					f.Len, keep[i] = f.Len+1, f.Len+1
				}
				lost = true
			case 1:
				half := len(f.Data) / 2
				f.Data, f.Rest = f.Data[:half], [][]byte{f.Data[half:]}
			}
			frames[i] = *f
			if keep[i] == 0 {
				skipped++
			}
			if lost {
				kept = append(kept, nil)
				continue
			}
			b := whole[:min(len(whole), int(keep[i]))]
			if len(b) < len(whole) {
				cut++
			}
			kept = append(kept, &stored{append([]byte{}, b...), f.Len, f.Hash})
		}
		st.Update()
		for len(frames) > 0 {
			n := p.AppendCut(st, keep, frames)
			for _, k := range kept[:n] {
				if k != nil {
					want = append(want, *k)
				}
			}
			frames, keep, kept = frames[n:], keep[n:], kept[n:]
			if len(frames) > 0 {
				take()
			}
		}
		p.Publish()
	}
	p.Finish()
	for len(want) > 0 {
		take()
	}
	stats := s.Stats()
	require.EqualValues(t, read, stats.Frames)
	require.Equal(t, refused, stats.Inconsistent)
	require.NotZero(t, refused)
	require.NotZero(t, skipped)
	require.Equal(t, cut, stats.Truncated)
}
