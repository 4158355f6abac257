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
	"github.com/ixcap/ixcap/ring"
)

// poolSource is a test ring with a pool as a source.
type poolSource struct {
	*driver.RxPool
	memory *hugepage.Memory
	chunks []driver.Chunk
}

func (s *poolSource) Poll(frames []ring.Frame) int {
	c, n := s.Capture(frames, true)
	if n > 0 {
		s.chunks = append(s.chunks, c)
	}
	return n
}

func (s *poolSource) Release() {}

func (s *poolSource) Needs() int { return max(0, 2-s.Empty()) * s.ChunkSize() }

func (s *poolSource) Recycle(n int) {
	for _, c := range s.chunks[:n] {
		_ = s.RxPool.Recycle(c)
	}
	s.chunks = s.chunks[:copy(s.chunks, s.chunks[n:])]
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

func benchZeroCopy(b *testing.B, size int, cold, read bool) {
	const chunk, chunks, stride = 256, 24, 2112
	m, err := hugepage.Alloc(chunk*chunks*stride, hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode, Name: "pool"})
	require.NoError(b, err)
	r, err := drivertest.NewRing(drivertest.Options{Size: ringSize, Chunks: chunks, ChunkSize: chunk, Memory: m})
	require.NoError(b, err)
	src := &poolSource{RxPool: r.Pool(), memory: m}
	pool := src.Pool()
	s := newTestStream(b, stream.Config{Pool: &pool})
	b.Cleanup(func() { require.NoError(b, r.Close()) })
	p := newPoller(src, s.Producer(), newStamperOf(b, clock.PerPacket), pollerConfig{Core: AnyCore})
	l, err := s.Listen("reader", stream.Options{Policy: stream.Lossy})
	if read {
		l, err = s.Listen("reader", stream.Options{})
	}
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
	const full = ringSize - 1 - chunk
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
