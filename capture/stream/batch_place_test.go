package stream

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

const (
	placeStride   = 2112
	placeHeadroom = 64
	placeBuffers  = 16
)

// placed is what fastPlace, or the Go code, has made of descriptors.
type placed struct {
	took  int
	data  []byte
	index []Entry
	descs []ring.RxDescriptor
	at    placing
	line  clock.Line
}

func placeWith(fast bool, descs []ring.RxDescriptor, at placing, line clock.Line) placed {
	p := placed{data: make([]byte, placeBuffers*placeStride), index: make([]Entry, 16), descs: append([]ring.RxDescriptor(nil), descs...), at: at, line: line}
	if fast {
		p.took = fastPlace(p.data, p.index, p.descs, &p.at, &p.line)
	} else {
		p.took = fastPlaceGo(p.data, p.index, p.descs, &p.at, &p.line, clock.Ticks)
	}
	return p
}

func placeAt(change func(*placing)) placing {
	at := newPlacing(&Pool{Buffers: placeBuffers, Stride: placeStride, Headroom: placeHeadroom}, 16)
	at.pos, at.seq, at.endPos = 100, 14, 1<<20
	at.first, at.limit, at.most = at.before+3*placeStride, 2048, MaxFrame
	change(&at)
	return at
}

func descriptor(t ring.RxType, s ring.RxStatus) (d ring.RxDescriptor) {
	d.WriteBack(t, s)
	return d
}

// The assembly writes exactly what the Go code writes, of any descriptors.
func TestFastPlaceWritesWhatGoWrites(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	draw := func() ring.RxDescriptor {
		s := ring.RxStatus(r.Uint64()).WithLength(1 + r.IntN(2048))
		if r.IntN(8) > 0 {
			s = s&^ring.FastMask | ring.FastValue
		}
		if r.IntN(64) == 0 {
			s = s.WithLength(r.IntN(1 << 16))
		}
		typ := ring.RxType(r.Uint64())
		if r.IntN(16) > 0 {
			typ &^= ring.PktETQF
		}
		if r.IntN(4) == 0 {
			typ &^= 0xf // no hash
		}
		return descriptor(typ, s)
	}
	took := map[int]int{}
	for range 20_000 {
		descs := make([]ring.RxDescriptor, r.IntN(9))
		for i := range descs {
			descs[i] = draw()
		}
		at := placeAt(func(at *placing) {
			at.info = uint32(ring.HasCRC) * r.Uint32N(2)
			at.refill = r.Uint64N(2) * 0x1_0000_0840
			if r.IntN(2) == 0 {
				at.most = r.Uint32N(2049)
			}
			if r.IntN(4) == 0 {
				at.endPos = at.pos + r.Uint64N(3000)
			}
		})
		line := clock.Line{Sec: 77, Base: 12345} // a rate of 0: every stamp is nanosecond Base
		fast, slow := placeWith(true, descs, at, line), placeWith(false, descs, at, line)
		require.Equal(t, slow.took, fast.took)
		took[fast.took]++
		require.Equal(t, slow.at, fast.at)
		require.Equal(t, slow.line, fast.line)
		require.Equal(t, slow.index, fast.index)
		require.Equal(t, slow.descs, fast.descs)
		for b := range fast.took { // of a frame that it stops at, the header may have been begun
			begin := at.first + uint64(b)*placeStride
			require.Equal(t, slow.data[begin:begin+RecordHeader], fast.data[begin:begin+RecordHeader])
		}
	}
	require.Greater(t, took[8], 100)
}

func TestFastPlaceStopsWhereItMust(t *testing.T) {
	const udp = ring.PktIPv4 | ring.PktUDP
	good := ring.RxStatus(ring.FastValue).WithLength(60)
	of := func(t ring.RxType, s ring.RxStatus) []ring.RxDescriptor {
		return []ring.RxDescriptor{descriptor(udp, good), descriptor(t, s), descriptor(udp, good)}
	}
	same := func(*placing) {}
	now := clock.Line{Base: 5}
	for name, c := range map[string]struct {
		descs []ring.RxDescriptor
		at    placing
		line  clock.Line
		want  int
	}{
		"nothing":             {nil, placeAt(same), now, 0},
		"all":                 {of(udp, good), placeAt(same), now, 3},
		"not done":            {of(udp, 0), placeAt(same), now, 1},
		"several buffers":     {of(udp, good&^ring.RxEOP), placeAt(same), now, 1},
		"a tag":               {of(udp, good|ring.RxVP), placeAt(same), now, 1},
		"a wrong checksum":    {of(udp, good|ring.RxIPE), placeAt(same), now, 1},
		"a damaged frame":     {of(udp, good|ring.RxRXE), placeAt(same), now, 1},
		"a device's stamp":    {of(udp, good|ring.RxTS), placeAt(same), now, 1},
		"an EtherType filter": {of(ring.PktETQF, good), placeAt(same), now, 1},
		"length 0":            {of(udp, good.WithLength(0)), placeAt(same), now, 1},
		"as long as a buffer": {of(udp, good.WithLength(2048)), placeAt(same), now, 3},
		"longer":              {of(udp, good.WithLength(2049)), placeAt(same), now, 1},
		"a frame is skipped":  {of(udp, good), placeAt(func(at *placing) { at.limit = 0 }), now, 0},
		"exactly full":        {of(udp, good), placeAt(func(at *placing) { at.endPos = at.pos + 3*72 }), now, 3},
		"a byte too few":      {of(udp, good), placeAt(func(at *placing) { at.endPos = at.pos + 3*72 - 1 }), now, 2},
		"another second":      {of(udp, good), placeAt(same), clock.Line{Base: 1e9}, 0},
		"before the last":     {of(udp, good), placeAt(same), clock.Line{Base: 5, Last: 6}, 0},
		"before the second":   {of(udp, good), placeAt(same), clock.Line{Base: math.MaxUint64}, 0},
	} {
		for _, fast := range []bool{true, false} {
			got := placeWith(fast, c.descs, c.at, c.line)
			require.Equal(t, c.want, got.took, name)
			require.EqualValues(t, 14+c.want, got.at.seq, name)
			if c.want == 0 {
				require.Equal(t, c.at.pos, got.at.pos, name)
			}
			require.Equal(t, c.descs[c.want:], got.descs[c.want:], name)
		}
	}
}
