package capture

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/hugepage"
)

// All ns/op in these files are per frame, or per call of a limit. A ring of 4096
// descriptors is filled with the clock stopped, evicted from the caches in cold
// runs, and drained with the clock running. The result is the median of the rings,
// for limits the median of as many calls, so that the figures of one run are
// comparable on a machine with other load. BenchmarkPoll in package driver measures
// the ring alone.

var sizes = []int{60, 1514}

// BenchmarkCapture measures the whole fast path: poll, stamp each frame, copy it to
// the stream, write its index entry, publish, release the buffers.
func BenchmarkCapture(b *testing.B) {
	eachRing(b, func(b *testing.B, size int, cold bool) {
		r, p := benchPoller(b)
		drain(b, r, size, cold, p.poll)
	})
}

// BenchmarkCaptureAs measures the same with each other operation of a capture, in
// hot runs, because it compares the operations. No frame matches the rules and no
// frame is a duplicate, unless the name of the benchmark says so.
func BenchmarkCaptureAs(b *testing.B) {
	type how struct {
		name   string
		policy clock.Policy
		cfg    pollerConfig
		copies int // of a hundred frames
	}
	ruleSetOf := func(text string) *ruleSet {
		r, err := rules.Parse(text)
		require.NoError(b, err)
		return newRuleSet(r)
	}
	table := func() *dedup.Table {
		t, err := dedup.New(dedup.Config{})
		require.NoError(b, err)
		return t
	}
	var all []how
	for _, p := range []clock.Policy{clock.PerPacket, clock.Batch, clock.Uniform, clock.Weighted, clock.Adaptive, clock.Sample(8)} {
		all = append(all, how{name: "stamps=" + p.String(), policy: p})
	}
	eight := "(tcp and port 80) drop; (tcp and port 443) 96; (udp and port 53) headers; (net 192.168.0.0/16) 128; " +
		"(vlan 12) drop; (icmp) drop; (ip6) 64; (host 1.2.3.4 and udp) drop"
	all = append(all,
		how{name: "copies=0", cfg: pollerConfig{Dedup: table()}},
		how{name: "copies=30%", cfg: pollerConfig{Dedup: table()}, copies: 30},
		how{name: "stamps=adaptive,copies=0", policy: clock.Adaptive, cfg: pollerConfig{Dedup: table()}},
		how{name: "rules=1", cfg: pollerConfig{Rules: ruleSetOf("(tcp and port 80) drop")}},
		how{name: "rules=1,any", cfg: pollerConfig{Rules: ruleSetOf("(net 192.168.0.0/16 or portrange 50-60 or vlan 12) drop")}},
		how{name: "rules=8", cfg: pollerConfig{Rules: ruleSetOf(eight)}},
		how{name: "stamps=adaptive,rules=8", policy: clock.Adaptive, cfg: pollerConfig{Rules: ruleSetOf(eight)}},
		how{name: "rules=cut64", cfg: pollerConfig{Rules: ruleSetOf("(udp) 64")}},
		how{name: "rules=drop", cfg: pollerConfig{Rules: ruleSetOf("(udp) drop")}},
		how{name: "snaplen=64", cfg: pollerConfig{SnapLen: 64}},
	)
	for _, size := range sizes {
		for _, h := range all {
			b.Run(fmt.Sprintf("size=%d/%s", size, h.name), func(b *testing.B) {
				h.cfg.Core = AnyCore
				r, p := benchPollerAs(b, h.policy, h.cfg)
				seed := uint64(0)
				drainMade(b, r, size, false, p.poll, func(n int) {
					for i := range n { // the last n descriptors filled
						b := r.Buffer((r.Head() - n + i + 2*ringSize) % ringSize)
						if i%100 >= h.copies {
							seed++
						}
						binary.LittleEndian.PutUint64(b[44:], seed)
						binary.LittleEndian.PutUint32(b[size-4:], 0)
					}
				})
			})
		}
	}
}

// ringSize is the number of descriptors of the benchmarks' rings.
const ringSize = 4096

// eachRing runs a benchmark for all sizes, hot and cold.
func eachRing(b *testing.B, run func(b *testing.B, size int, cold bool)) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("size=%d/hot", size), func(b *testing.B) { run(b, size, false) })
		b.Run(fmt.Sprintf("size=%d/cold", size), func(b *testing.B) { run(b, size, true) })
	}
}

// drain repeatedly fills a ring and drains it with turn, b.N frames in total.
func drain(b *testing.B, r *drivertest.Ring, size int, cold bool, turn func() int) {
	drainMade(b, r, size, cold, turn, func(int) {})
}

// drainMade is drain with frames that made modifies when the ring is full.
func drainMade(b *testing.B, r *drivertest.Ring, size int, cold bool, turn func() int, made func(frames int)) {
	const full = ringSize - 1 // one descriptor is always unused
	var times median
	for left := b.N; left > 0; {
		want := min(left, full)
		require.Equal(b, want, r.Fill(want, size))
		made(want)
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
	return benchPollerAs(tb, clock.PerPacket, pollerConfig{Core: AnyCore})
}

func benchPollerAs(tb testing.TB, policy clock.Policy, cfg pollerConfig) (*drivertest.Ring, *poller) {
	tb.Helper()
	r, err := drivertest.NewRing(drivertest.Options{})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, r.Close()) })
	s := newTestStream(tb, stream.Config{Size: 64 << 20})
	return r, newPoller(r.Queue(), s.Producer(), newStamperOf(tb, policy), cfg)
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
	return newStamperOf(tb, clock.PerPacket)
}

func newStamperOf(tb testing.TB, p clock.Policy) *clock.Stamper {
	tb.Helper()
	c := clock.New()
	tb.Cleanup(c.Close)
	st, err := c.Stamper(p)
	require.NoError(tb, err)
	return st
}

// BenchmarkReadPackets measures a reader of packets in batches of 64 that reads
// stamp, length and first bytes of each.
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

// BenchmarkReadBytes measures a reader of whole blocks that does not access the
// bytes, as a storer does.
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
