package stream

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// For every length the assembly writes exactly what the Go code writes.
func TestFastPlaceWritesWhatGoWrites(t *testing.T) {
	p := newAppendPair()
	const stride, headroom = 16448, 64
	fast, slow := make([]byte, 8*stride), make([]byte, 8*stride)
	for _, n := range p.lengths {
		if n > stride-headroom {
			continue
		}
		clear(p.fastIndex)
		clear(p.slowIndex)
		clear(fast)
		clear(slow)
		frames := p.frames(n, math.MaxUint32)
		for i := range frames {
			frames[i].Buffer = uint32(2*i + 1)
			at := (2*i+1)*stride + headroom
			frames[i].Data = fast[at : at+n]
		}
		line := clock.Line{Sec: 77}
		line.Base = 12345
		fastAt, slowAt, fastLine, slowLine := p.from, p.from, line, line
		fastAt.stride, fastAt.before = stride, headroom-RecordHeader
		slowAt.stride, slowAt.before = stride, headroom-RecordHeader
		took := fastPlace(fast, p.fastIndex, frames, &fastAt, &fastLine)
		if n < 32 && took == 0 {
			continue // slow path
		}
		require.Equal(t, 3, took)
		require.Equal(t, took, fastPlaceGo(slow, p.slowIndex, frames, &slowAt, &slowLine, clock.Ticks))
		require.Equal(t, slowAt, fastAt)
		require.Equal(t, slowLine, fastLine)
		require.Equal(t, p.slowIndex, p.fastIndex)
		require.Equal(t, slow, fast, "length %d", n)
	}
	odd := ring.Frame{Data: fast[100:160], Len: 61}
	at, line := p.from, clock.Line{}
	require.Zero(t, fastPlace(fast, p.fastIndex, []ring.Frame{odd}, &at, &line), "several buffers")
}
