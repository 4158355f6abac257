package stream

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// For every length and cut the assembly stores exactly what the Go code stores.
func TestFastAppendStampedStoresWhatGoStores(t *testing.T) {
	p := newAppendPair()
	for _, n := range p.lengths {
		for _, keep := range [][]uint32{
			nil, {MaxFrame, MaxFrame, 1 << 31}, {uint32(n), uint32(n), uint32(n) + 1}, {32, uint32(n) / 2, uint32(max(n-1, 0))},
			{p.r.Uint32N(100), 64, p.r.Uint32N(1600)}, {96, 0, 31},
		} {
			p.clear(n)
			frames := p.frames(n, 1<<15-1)
			var stamps []clock.Stamp
			for range frames {
				stamps = append(stamps, clock.Stamp(p.r.Uint64()|1))
			}
			fastAt, slowAt := p.from, p.from
			took := fastAppendStamped(p.fast, p.fastIndex, frames, stamps, keep, &fastAt)
			want := 3
			for i := range keep {
				if min(int(keep[i]), n) < 32 {
					want = min(want, i)
				}
			}
			if n < 32 {
				want = 0
			}
			if took != 3 {
				require.Equal(t, want, took, "length %d, keep %v", n, keep) // the others take the slow path
			}
			// The Go code takes short frames, too: it gets only the frames that the assembly took.
			if keep != nil {
				keep = keep[:took]
			}
			require.Equal(t, took, fastAppendStampedGo(p.slow, p.slowIndex, frames[:took], stamps, keep, &slowAt))
			require.Equal(t, slowAt, fastAt)
			p.requireSame(t, "length %d, keep %v", n, keep)
		}
	}
}

func TestFastAppendStampedStopsWhereItMust(t *testing.T) {
	frame := func(n int) ring.Frame { return *numbered(1, n) }
	odd := frame(60)
	odd.Len = 61
	chained := frame(60)
	chained.Rest, chained.Len = [][]byte{make([]byte, 60)}, 120
	ok := window{pos: 0, seq: 0, endPos: 1 << 16, endSeq: 100, mask: 1<<20 - 1, wrap: 127, most: MaxFrame}
	limit := func(change func(*window)) window { p := ok; change(&p); return p }
	for name, c := range map[string]struct {
		frames []ring.Frame
		at     window
		stamps []clock.Stamp
		keep   []uint32
		want   int
		cut    uint64
	}{
		"no frames":           {nil, ok, nil, nil, 0, 0},
		"all fit":             {[]ring.Frame{frame(60), frame(64), frame(65)}, ok, []clock.Stamp{1, 2, 3}, nil, 3, 0},
		"exactly full":        {[]ring.Frame{frame(60), frame(60)}, limit(func(p *window) { p.endPos = 144 }), []clock.Stamp{1, 2}, nil, 2, 0},
		"a byte too few":      {[]ring.Frame{frame(60), frame(60)}, limit(func(p *window) { p.endPos = 143 }), []clock.Stamp{1, 2}, nil, 1, 0},
		"full but for a cut":  {[]ring.Frame{frame(60), frame(60)}, limit(func(p *window) { p.endPos = 143 }), []clock.Stamp{1, 2}, []uint32{59, 60}, 2, 1},
		"index full":          {[]ring.Frame{frame(60), frame(60)}, limit(func(p *window) { p.endSeq = 1 }), []clock.Stamp{1, 2}, nil, 1, 0},
		"cut and not cut":     {[]ring.Frame{frame(60), frame(61), frame(62)}, ok, []clock.Stamp{1, 2, 3}, []uint32{60, 60, 60}, 3, 2},
		"length that is odd":  {[]ring.Frame{frame(60), odd}, ok, []clock.Stamp{1, 2}, nil, 1, 0},
		"several buffers":     {[]ring.Frame{frame(60), chained}, ok, []clock.Stamp{1, 2}, nil, 1, 0},
		"stamp of padding":    {[]ring.Frame{frame(60), frame(60)}, ok, []clock.Stamp{1, 0}, nil, 1, 0},
		"longer than allowed": {[]ring.Frame{frame(60), frame(61)}, limit(func(p *window) { p.most = 60 }), []clock.Stamp{1, 2}, []uint32{60, 60}, 1, 0},
	} {
		data, index := make([]byte, 1<<17), make([]Entry, 128)
		fast, slow := c.at, c.at
		require.Equal(t, c.want, fastAppendStamped(data, index, c.frames, c.stamps, c.keep, &fast), name)
		require.Equal(t, c.cut, fast.truncated, name)
		require.Equal(t, c.want, fastAppendStampedGo(data, index, c.frames, c.stamps, c.keep, &slow), name)
		require.Equal(t, slow, fast, name)
	}
}

// Batches are stored with the stamps and the lengths requested.
func TestStampedBatchesAreStoredLikeSingleFrames(t *testing.T) {
	s := newStream(t, Config{Size: 2 * Block, Segment: Block, Entries: 1024})
	l := listen(t, s, Options{})
	p := s.Producer()
	r := rand.New(rand.NewPCG(8, 9))
	type stored struct {
		data []byte
		len  uint32
		hash uint32
		at   clock.Stamp
	}
	packets := make([]Packet, 100)
	var want []stored // and not yet read
	var refused, read, cut, at uint64
	take := func() {
		n, err := l.ReadBatch(testContext(t), packets)
		require.NoError(t, err)
		for i, pkt := range packets[:n] {
			w := want[i]
			require.Equal(t, w.len, uint32(pkt.Len))
			require.Equal(t, w.data, pkt.Data[:len(pkt.Data):len(pkt.Data)])
			require.Equal(t, w.hash, pkt.Hash)
			require.EqualValues(t, w.at.UnixNano(), pkt.UnixNano())
			require.Equal(t, len(w.data) < int(w.len), pkt.Info&Truncated != 0)
		}
		want = want[n:]
		read += uint64(n)
	}
	for round := range 600 {
		frames := make([]ring.Frame, r.IntN(64))
		stamps := make([]clock.Stamp, len(frames))
		keep := make([]uint32, len(frames))
		for i := range frames {
			f := numbered(r.Uint32(), randomSize(r))
			whole := f.Data
			keep[i] = f.Len
			if round%3 == 1 {
				keep[i] = r.Uint32N(2 * f.Len)
			} else if round%3 == 2 {
				keep[i] = 64
			}
			at += 1 + r.Uint64N(1e6)
			stamps[i] = clock.Stamp(at/1e9 | at%1e9<<32)
			lost := false
			switch r.IntN(30) {
			case 0:
				f.Len, keep[i], lost = f.Len+1, f.Len+1, true // refused
			case 1:
				half := len(f.Data) / 2
				f.Data, f.Rest = f.Data[:half], [][]byte{f.Data[half:]}
			}
			frames[i] = *f
			if lost {
				refused++
				continue
			}
			kept := whole[:min(len(whole), int(keep[i]))]
			if len(kept) < len(whole) {
				cut++
			}
			want = append(want, stored{append([]byte{}, kept...), f.Len, f.Hash, stamps[i]})
		}
		if round%3 == 0 {
			keep = nil
		}
		for len(frames) > 0 {
			n := p.AppendStamped(stamps, keep, frames)
			stamps, frames = stamps[n:], frames[n:]
			if keep != nil {
				keep = keep[n:]
			}
			for len(frames) > 0 && p.AppendStamped(stamps[:1], first(keep), frames[:1]) == 0 {
				take()
			}
			if len(frames) > 0 {
				stamps, frames = stamps[1:], frames[1:]
				if keep != nil {
					keep = keep[1:]
				}
			}
		}
		p.Publish()
	}
	p.Finish()
	for len(want) > 0 {
		take()
	}
	st := s.Stats()
	require.EqualValues(t, read, st.Frames)
	require.Equal(t, refused, st.Inconsistent)
	require.NotZero(t, refused)
	require.Equal(t, cut, st.Truncated)
}

func first(keep []uint32) []uint32 {
	if keep == nil {
		return nil
	}
	return keep[:1]
}
