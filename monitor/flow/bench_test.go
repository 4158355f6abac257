package flow

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/hugepage/hugepagetest"
)

// load is a stream of headers in memory, as a listener finds them, of flows of which few
// have most of the packets.
type load struct {
	*rand.Rand
	flows   int
	now     int64
	seqs    []uint32
	packets []stream.Packet
	memory  []byte
}

const (
	loadPackets = 1 << 17
	loadFrame   = 96 // bytes stored, of 60 or 1514
	loadGap     = 606
)

func newLoad(flows int) *load {
	g := &load{
		Rand: rand.New(rand.NewPCG(1, 2)), flows: flows, now: 1.7e18, seqs: make([]uint32, flows),
		packets: make([]stream.Packet, loadPackets), memory: make([]byte, loadPackets*loadFrame),
	}
	return g
}

// write makes packet i one of a flow: four of five flows are of TCP.
func (g *load) write(i, flow int, flags byte) {
	b := g.memory[i*loadFrame:][:loadFrame]
	clear(b)
	back := flags != 1<<SYN && g.IntN(3) == 0
	b[12], b[14], b[23] = 8, 0x45, protoTCP
	if flow%5 == 0 && flags != 1<<SYN {
		b[23] = protoUDP
	}
	size := 1514
	if back || g.IntN(2) == 0 {
		size = 60
	}
	if binary.BigEndian.PutUint16(b[16:], uint16(size-14)); size == 60 {
		b[17] = 40 // no payload, but padding
	}
	src, dst, from, to := b[26:], b[30:], b[34:], b[36:]
	if back {
		src, dst, from, to = dst, src, to, from
	}
	binary.BigEndian.PutUint32(src, uint32(flow)*2654435761)
	binary.BigEndian.PutUint32(dst, 0x0a000000+uint32(flow%5000))
	binary.BigEndian.PutUint16(from, uint16(flow*7))
	binary.BigEndian.PutUint16(to, 443)
	b[46], b[47], b[48] = 0x50, flags, 1
	if !back && flow < len(g.seqs) {
		binary.BigEndian.PutUint32(b[38:], g.seqs[flow])
		g.seqs[flow] += uint32(max(0, size-54))
	}
	g.now += loadGap
	g.packets[i] = input(b, size, g.now)
}

// fill makes all packets anew. The tail of flows is heavy: of x of the flows are x^(1/3) of
// the packets.
func (g *load) fill() {
	for i := range g.packets {
		g.write(i, int(float64(g.flows)*math.Pow(g.Float64(), 3)), 1<<ACK)
	}
}

// processor is the time of the processor that the thread used, in ns.
func processor() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_THREAD, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

func benchEngine(b *testing.B, flows int) *Engine {
	c := Config{Flows: flows, Node: hugepage.AnyNode, Pages: hugepage.Size2M, OnRecords: func([]Record) {}}
	hugepagetest.Reserve(b, hugepage.Size2M, hugepage.AnyNode, (flows*512+1<<21)>>21+1)
	e, err := New(c)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, e.Close()) })
	return e
}

// measure processes n packets and returns the time for one in ns.
func (g *load) measure(e *Engine, n int, fill func()) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var spent int64
	done := 0
	for ; done < n; done += len(g.packets) {
		fill()
		start := processor()
		for at := 0; at < len(g.packets); at += 256 {
			e.Process(g.packets[at : at+256])
		}
		spent += processor() - start
	}
	return float64(spent) / float64(done)
}

// report reports the time of the processor for a packet, and the memory of a flow with all
// fields.
func report(b *testing.B, e *Engine, ns float64) {
	bytes, _ := e.Memory()
	b.ReportMetric(ns, "cpu-ns/packet")
	b.ReportMetric(float64(bytes)/float64(e.config.Flows), "B/flow")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkConcurrentFlows(b *testing.B) {
	for _, flows := range []int{500, 10_000, 1_000_000, 2_250_000} {
		b.Run(fmt.Sprint(flows), func(b *testing.B) {
			e := benchEngine(b, flows*8/7+1)
			g := newLoad(flows)
			next := 0
			g.measure(e, flows, func() { // every flow is in the table
				for i := range g.packets {
					g.write(i, next%flows, 1<<ACK)
					next++
				}
			})
			require.EqualValues(b, flows, e.Stats().Active)
			b.ResetTimer()
			ns := g.measure(e, b.N, g.fill)
			report(b, e, ns)
			require.EqualValues(b, flows, e.Stats().Active)
		})
	}
}

func BenchmarkFloodOfSYN(b *testing.B) {
	const flows = 2_250_000
	e := benchEngine(b, flows)
	g := newLoad(flows)
	next := 0
	fill := func() {
		for i := range g.packets {
			g.write(i, next, 1<<SYN)
			next++
		}
	}
	g.measure(e, flows*2, fill)
	b.ResetTimer()
	ns := g.measure(e, b.N, fill)
	report(b, e, ns)
}

// BenchmarkLimit touches the cache lines of flows, and does nothing else: what the memory of
// the machine leaves of BenchmarkConcurrentFlows.
func BenchmarkLimit(b *testing.B) {
	for _, flows := range []int{10_000, 1_000_000, 2_250_000} {
		b.Run(fmt.Sprint(flows), func(b *testing.B) { limit(b, flows) })
	}
}

func limit(b *testing.B, flows int) {
	e := benchEngine(b, flows*8/7+1)
	g := newLoad(flows)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	order := make([]uint32, 1<<22)
	for i := range order {
		order[i] = uint32(float64(flows) * math.Pow(g.Float64(), 3))
	}
	hash := func(flow uint32) uint64 { return (uint64(flow) + 1) * keyOfOrder }
	for flow := range uint32(flows) {
		h := hash(flow)
		bucket := &e.buckets[h&e.mask]
		bucket.tags[flow%perBucket], bucket.refs[flow%perBucket] = uint32(h>>32), ref(flow+1)
	}
	take := func(set []packet, at int) {
		for i := range set {
			flow := order[(at+i)%len(order)]
			set[i].hash, set[i].isTCP = hash(flow), flow%5 != 0
		}
		e.prefetchBuckets(set)
	}
	b.ResetTimer()
	start := processor()
	take(e.parsed, 0)
	for done := 0; done < b.N; done += chunk {
		e.locate(e.parsed)
		take(e.spares, done+chunk)
		for i := range e.parsed {
			p := &e.parsed[i]
			f := &e.entries[p.ref&refNumber]
			f.last++
			f.sides[0].packets++
			if p.isTCP {
				f.sides[0].flags[0]++
			}
		}
		e.parsed, e.spares = e.spares, e.parsed
	}
	report(b, e, float64(processor()-start)/float64(b.N))
}

// keyOfOrder spreads numbers over the buckets; it is odd.
const keyOfOrder = 0x9e3779b97f4a7c15
