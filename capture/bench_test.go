package capture

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/hugepage"
)

// All ns/op in these files are per frame, or per call of a limit. A ring of 4096
// descriptors is filled with the clock stopped, in cold runs thrown out of the
// caches, and drained with the clock running. What is reported is the median
// ring's, for limits the median of as many calls, so that figures of one run can
// be compared although the machine had other things to do meanwhile.
// BenchmarkPoll, the ring alone, is the driver's.

var sizes = []int{60, 1514}

// BenchmarkCapture is the whole hot path: poll, stamp each frame, copy it into
// the stream, write its index entry, publish, give the buffers back.
func BenchmarkCapture(b *testing.B) {
	eachRing(b, func(b *testing.B, size int, cold bool) {
		r, p := benchPoller(b)
		drain(b, r, size, cold, p.once)
	})
}

// eachRing runs a benchmark for all sizes, hot and cold.
func eachRing(b *testing.B, run func(b *testing.B, size int, cold bool)) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("size=%d/hot", size), func(b *testing.B) { run(b, size, false) })
		b.Run(fmt.Sprintf("size=%d/cold", size), func(b *testing.B) { run(b, size, true) })
	}
}

// drain fills a ring and lets turn empty it, over and over, b.N frames in all.
func drain(b *testing.B, r *drivertest.Ring, size int, cold bool, turn func() int) {
	const full = 4095 // one descriptor always stays behind
	var times median
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

// median collects the times of rounds.
type median []float64 // ns per operation

func (m *median) add(d time.Duration, operations int) {
	*m = append(*m, float64(d.Nanoseconds())/float64(operations))
}

func (m *median) report(b *testing.B) {
	slices.Sort(*m)
	b.ReportMetric((*m)[len(*m)/2], "ns/op")
}

func benchPoller(tb testing.TB) (*drivertest.Ring, *poller) {
	tb.Helper()
	r, err := drivertest.NewRing(drivertest.Options{})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, r.Close()) })
	s := newTestStream(tb, stream.Config{Size: 64 << 20})
	return r, newPoller(r.Queue(), s.Producer(), newStamper(tb), pollerConfig{Core: AnyCore})
}

func newTestStream(tb testing.TB, c stream.Config) *stream.Stream {
	tb.Helper()
	c.Interface, c.Node = "test", hugepage.AnyNode
	s, err := stream.New(c)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

func newStamper(tb testing.TB) *clock.Stamper {
	tb.Helper()
	c := clock.New()
	tb.Cleanup(c.Close)
	st, err := c.Stamper(clock.PerPacket)
	require.NoError(tb, err)
	return st
}

// BenchmarkReadPackets is what a reader of packets pays for each, in batches of
// 64, looking at stamp, length and first bytes.
func BenchmarkReadPackets(b *testing.B) {
	eachRing(b, func(b *testing.B, size int, cold bool) {
		benchReader(b, size, cold, func(l *stream.Listener) func(int) {
			packets := make([]stream.Packet, 64)
			var sum uint64
			return func(frames int) {
				for got := 0; got < frames; {
					n, err := l.ReadBatch(b.Context(), packets)
					if err != nil {
						b.Fatal(err)
					}
					for i := range n {
						p := &packets[i]
						sum += uint64(p.Nsec) + uint64(p.Len) + uint64(p.Data[0])
					}
					got += n
				}
			}
		})
	})
}

// BenchmarkReadBytes is what a reader of whole blocks pays for each frame, the
// bytes left untouched as a storer does.
func BenchmarkReadBytes(b *testing.B) {
	const block = 64 << 10
	eachRing(b, func(b *testing.B, size int, cold bool) {
		benchReader(b, size, cold, func(l *stream.Listener) func(int) {
			var there uint64
			return func(frames int) {
				there += uint64(frames * (stream.RecordHeader + size))
				for l.Offset()/block < there/block {
					data, err := l.ReadBlock(b.Context(), block)
					if err != nil {
						b.Fatal(err)
					}
					if err := l.Consume(len(data)); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	})
}
