package stream

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/ring"
)

// Stored returns the frames that are still in memory, and no others, also when the
// index is what overwrites them, and behind the padding of segments.
func TestStoredFramesAreReturnedUntilTheyAreOverwritten(t *testing.T) {
	const frames = 12_000
	for name, c := range map[string]Config{
		"bytes":    {Size: Block, Segment: Block, Entries: 1 << 15},
		"entries":  {Size: 2 * Block, Segment: Block, Entries: 1024},
		"segments": {Size: 2 * Block, Segment: Block, Entries: 1 << 15},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStream(t, c)
			p := s.Producer()
			_, ok := p.Stored(0)
			require.False(t, ok, "nothing is stored")
			var ends []uint64 // of the records
			size := func(i uint64) int { return 60 + int(i%5)*300 }
			for i := range uint64(frames) {
				f := numbered(uint32(i), size(i))
				f.VLAN, f.Info = uint16(i), ring.HasVLAN|ring.Stripped
				require.Equal(t, i, p.Next())
				require.True(t, p.Append(1, 2, f, 200))
				ends = append(ends, p.pos)
			}
			present := 0
			for i := range uint64(frames) {
				f, ok := p.Stored(i)
				kept := uint64(min(200, size(i)))
				begin := ends[i] - kept - RecordHeader
				require.Equal(t, p.pos-begin <= uint64(c.Size) && frames-i <= uint64(c.Entries), ok, "frame %d", i)
				if !ok {
					continue
				}
				present++
				want := numbered(uint32(i), size(i))
				require.Equal(t, want.Data[:kept], f.Data)
				require.Equal(t, want.Len, f.Len)
				require.Equal(t, uint16(i), f.VLAN)
				require.Equal(t, ring.HasVLAN|ring.Stripped, f.Info)
			}
			require.NotZero(t, present)
			require.Less(t, present, frames)
			_, ok = p.Stored(frames)
			require.False(t, ok, "not yet stored")
		})
	}
}
