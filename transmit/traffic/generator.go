package traffic

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/ixcap/ixcap/transmit"
	"github.com/ixcap/ixcap/transmit/probe"
)

// Spec describes frames.
type Spec struct {
	Sizes Sizes
	Rate  transmit.Rate
	Gaps  Gaps

	SrcMAC, DstMAC   [6]byte
	VLAN             uint16 // of an 802.1Q tag, 1 to 4094; 0: none
	Src, Dst         Addresses
	SrcPort, DstPort Ports
	Flows            uint64 // distinct 5-tuples; 0: 1
	TCP              bool

	Stream uint8  // of the marks
	Count  uint64 // frames; 0: no end
	Seed   uint64
}

// Generator makes the frames of a Spec.
type Generator struct {
	spec     Spec
	rnd      *rand.Rand
	heads    []byte // headers of the flows, one after the other
	sums     []uint32
	ipSums   []uint32 // of the headers of IPv4
	head     int      // bytes of the headers
	l4       int      // where the header of UDP or TCP begins
	shortest int

	i  uint64 // frames so far
	at float64
	n  int // bytes of the current frame
}

// maxFlows bounds the memory of headers.
const maxFlows = 1 << 20

// New returns a generator.
func New(s Spec) (*Generator, error) {
	s.Flows = max(s.Flows, 1)
	if s.Src.low.Is4() != s.Dst.low.Is4() {
		return nil, fmt.Errorf("addresses %s and %s: of two families", s.Src, s.Dst)
	}
	most := uint64(1)
	for _, n := range []uint64{s.SrcPort.n, s.Src.n, s.DstPort.n, s.Dst.n} {
		if most *= n; most > maxFlows {
			break
		}
	}
	switch {
	case s.Flows > maxFlows:
		return nil, fmt.Errorf("%d flows: at most %d", s.Flows, maxFlows)
	case s.Flows > most:
		return nil, fmt.Errorf("%d flows: addresses and ports are %d combinations. Widen a range", s.Flows, most)
	}
	g := &Generator{spec: s, rnd: rand.New(rand.NewPCG(s.Seed, uint64(s.Stream)))}
	for i := range s.Flows {
		g.addFlow(i)
	}
	if g.shortest = g.head + probe.Size; g.shortest > 60 {
		if n, one := s.Sizes.One(); one && n < g.shortest {
			return nil, fmt.Errorf("size %d: these headers and the mark of %d bytes take %d", n, probe.Size, g.shortest)
		}
	}
	return g, nil
}

// addFlow appends the headers of flow i, without lengths and checksums, and their sum.
func (g *Generator) addFlow(i uint64) {
	s := &g.spec
	pick := func(n uint64) uint64 {
		v := i % n
		i /= n
		return v
	}
	sport, src := s.SrcPort.low+pick(s.SrcPort.n), s.Src.at(pick(s.Src.n))
	dport, dst := s.DstPort.low+pick(s.DstPort.n), s.Dst.at(pick(s.Dst.n))
	begin := len(g.heads)
	h := append(append(g.heads, s.DstMAC[:]...), s.SrcMAC[:]...)
	if s.VLAN != 0 {
		h = binary.BigEndian.AppendUint16(append(h, 0x81, 0), s.VLAN)
	}
	protocol, size := byte(17), 8
	if s.TCP {
		protocol, size = 6, 20
	}
	if src.Is4() {
		h = append(h, 8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0)
	} else {
		h = append(h, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, protocol, 64)
	}
	h = append(append(h, src.AsSlice()...), dst.AsSlice()...)
	g.l4 = len(h) - begin
	h = binary.BigEndian.AppendUint16(h, uint16(sport))
	h = binary.BigEndian.AppendUint16(h, uint16(dport))
	h = append(h, make([]byte, size-4)...)
	if s.TCP {
		h[begin+g.l4+12], h[begin+g.l4+13] = 5<<4, 0x10 // header of 20 bytes, ACK
		h[begin+g.l4+14] = 0xff                         // window
	}
	g.head = len(h) - begin
	g.heads = h
	g.ipSums = append(g.ipSums, sum(h[begin+g.l4-20:begin+g.l4]))
	g.sums = append(g.sums, uint32(protocol)+sum(h[begin+g.l4-2*len(src.AsSlice()):]))
}

// sum is the sum of the words of an Internet checksum, of less than 64 KiB.
func sum(b []byte) (v uint32) {
	for ; len(b) > 1; b = b[2:] {
		v += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		v += uint32(b[0]) << 8
	}
	return v
}

func fold(v uint32) uint16 {
	v = v>>16 + v&0xffff
	v = v>>16 + v&0xffff
	return ^uint16(v)
}

// Next implements transmit.Source.
func (g *Generator) Next() (n int, at int64, ok bool) {
	if g.spec.Count > 0 && g.i == g.spec.Count {
		return 0, 0, false
	}
	if g.i > 0 {
		g.at += g.spec.Gaps.next(g.i-1, g.n, g.spec.Rate, g.rnd)
	}
	g.n = max(g.spec.Sizes.at(g.i, g.rnd), g.shortest)
	g.i++
	return g.n, int64(g.at), true
}

// Write implements transmit.Source. What follows the mark in b is zero. It reads nothing of
// b: the device has read it, and the processor would wait until it has it back.
func (g *Generator) Write(b []byte, at int64) {
	i := g.i - 1
	flow := int(i % g.spec.Flows)
	copy(b, g.heads[flow*g.head:][:g.head])
	mark := probe.Mark{Stream: g.spec.Stream, Seq: i, Sent: at}
	mark.Put(b[g.head : g.head+probe.Size])
	l4 := b[g.l4:]
	v := g.sums[flow] + mark.Sum() + uint32(len(l4))
	if g.spec.Src.low.Is4() {
		ip := b[g.l4-20 : g.l4]
		n := uint16(len(ip) + len(l4))
		binary.BigEndian.PutUint16(ip[2:], n)
		binary.BigEndian.PutUint16(ip[10:], fold(g.ipSums[flow]+uint32(n)))
	} else {
		binary.BigEndian.PutUint16(b[g.l4-36:], uint16(len(l4)))
	}
	if g.spec.TCP {
		seq := uint32(i/g.spec.Flows) * uint32(len(l4)-20)
		binary.BigEndian.PutUint32(l4[4:], seq)
		binary.BigEndian.PutUint16(l4[16:], fold(v+seq>>16+seq&0xffff))
		return
	}
	binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	c := fold(v + uint32(len(l4)))
	if c == 0 {
		c = 0xffff // none would be 0
	}
	binary.BigEndian.PutUint16(l4[6:], c)
}
