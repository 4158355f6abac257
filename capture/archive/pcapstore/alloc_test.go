package pcapstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream"
)

func TestAddingPacketsAllocatesNothing(t *testing.T) {
	filter, err := pcapfilter.Compile("greater 60")
	require.NoError(t, err)
	for _, level := range []int{0, 1} {
		d, err := store.OpenDir(t.TempDir())
		require.NoError(t, err)
		s, err := New(Config{Level: level, Filter: filter, SnapLen: 1000, Every: time.Hour}, d)
		require.NoError(t, err)
		p := newPacker(s)
		batch := make([]stream.Packet, batchSize)
		for i := range batch {
			batch[i] = stream.Packet{Sec: 1000, Len: uint16(10 * i), Data: make([]byte, 10*i)}
		}
		frames := 0
		turn := func() {
			p.add(batch, time.Time{}, loss{}, time.Hour)
			p.confirm()
			for len(s.pipe.toWrite) > 0 { // in place of workers and writer
				if s.pipe.zip != nil {
					c := <-s.pipe.toCompress
					c.compressed = s.pipe.zip.Frame(c.compressed[:0], c.raw)
				}
				s.pipe.put(<-s.pipe.toWrite)
				frames++
			}
		}
		for range 500 {
			turn()
		}
		require.Zero(t, testing.AllocsPerRun(500, turn), "level %d", level)
		require.Greater(t, frames, 10)
	}
}

// BenchmarkAdd measures the time of a packet up to its chunk; ns per packet.
func BenchmarkAdd(b *testing.B) {
	for _, format := range []pcapfile.Format{pcapfile.Pcap, pcapfile.Pcapng} {
		for name, size := range map[string]int{"size=60": 60, "size=1514": 1514} {
			b.Run(string(format)+"/"+name, func(b *testing.B) {
				d, err := store.OpenDir(b.TempDir())
				require.NoError(b, err)
				s, err := New(Config{Format: format}, d)
				require.NoError(b, err)
				p := newPacker(s)
				batch := make([]stream.Packet, batchSize)
				for i := range batch {
					batch[i] = stream.Packet{Sec: 1000, Len: uint16(size), Data: make([]byte, size)}
				}
				b.SetBytes(int64(size))
				for i := 0; i < b.N; i += batchSize {
					p.add(batch, time.Time{}, loss{}, 0)
					p.confirm()
					for len(s.pipe.toWrite) > 0 {
						s.pipe.put(<-s.pipe.toWrite)
					}
				}
			})
		}
	}
}
