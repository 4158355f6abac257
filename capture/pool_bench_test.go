package capture

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/hugepage"
)

// poolSource is a test ring with a pool as a source, as package nic makes one of a port's.
type poolSource struct {
	*driver.RxFIFO
	memory *hugepage.Memory
}

func (s *poolSource) Pool() stream.Pool {
	return stream.Pool{Memory: s.memory, Buffers: s.Chunks() * s.ChunkSize(), Stride: s.Stride(), Headroom: driver.Headroom, BufferSize: 2048}
}

// BenchmarkZeroCopy is BenchmarkCapture with frames that stay in a pool, and the same with a
// reader on the same core that touches the first 64 bytes of each.
func BenchmarkZeroCopy(b *testing.B) {
	eachRing(b, func(b *testing.B, size int, cold bool) { benchZeroCopy(b, size, cold, false) })
	b.Run("read", func(b *testing.B) {
		eachRing(b, func(b *testing.B, size int, cold bool) { benchZeroCopy(b, size, cold, true) })
	})
}

// benchPoolPoller is benchPollerAs with frames that stay in a pool.
func benchPoolPoller(tb testing.TB, policy clock.Policy) (*drivertest.Ring, *stream.Stream, *poller) {
	tb.Helper()
	const stride = 2112
	m, err := hugepage.Alloc(benchChunk*benchChunks*stride, hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode, Name: "pool"})
	require.NoError(tb, err)
	r, err := drivertest.NewRing(drivertest.Options{Size: ringSize, Chunks: benchChunks, ChunkSize: benchChunk, Memory: m})
	require.NoError(tb, err)
	src := &poolSource{driver.NewRxFIFO(r.Pool()), m}
	pool := src.Pool()
	s := newTestStream(tb, stream.Config{Pool: &pool})
	tb.Cleanup(func() { require.NoError(tb, r.Close()) })
	return r, s, newPoller(src, s.Producer(), newStamperOf(tb, policy), pollerConfig{Core: AnyCore})
}

// The pool of the benchmarks: 16 chunks are attached to the ring, 8 hold frames or are empty.
const benchChunk, benchChunks = 256, 24

func benchZeroCopy(b *testing.B, size int, cold, read bool) {
	r, s, p := benchPoolPoller(b, clock.PerPacket)
	o := stream.Options{Policy: stream.Lossy}
	if read {
		o = stream.Options{}
	}
	l, err := s.Listen("reader", o)
	require.NoError(b, err)
	packets := make([]stream.Packet, 64)
	sum := byte(0)
	turn := func() int {
		n := p.poll()
		if read && n > 0 {
			k, _ := l.TryReadBatch(packets)
			for i := range packets[:k] {
				d := packets[i].Data
				sum += d[0] + d[59]
			}
		}
		return n
	}
	var times median
	const full = ringSize - 1 - benchChunk
	for left := b.N; left > 0; {
		want := min(left, full)
		require.Equal(b, want, r.Fill(want, size))
		if cold {
			r.FlushCaches()
		}
		start := time.Now()
		for got := 0; got < want; {
			got += turn()
		}
		times.add(time.Since(start), want)
		left -= want
	}
	times.report(b)
}
