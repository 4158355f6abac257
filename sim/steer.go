package sim

import (
	"encoding/binary"
	"slices"
)

// The queue of a frame, in the order of the chip (datasheet 7.1.2.1). The first that
// matches decides:
//
//	EtherType filter                   ETQF, ETQS
//	SYN filter of high priority        SYNQF
//	5-tuple filter                     FTQF, SAQF, DAQF, SDPQF, L34TIMIR
//	SYN filter of low priority
//	Flow Director                      FDIRCTRL ...
//	RSS                                MRQC, RETA
//
// A queue that is not enabled drops the frame and counts it in QPRDC.

// flow has the fields of an IP packet that filters compare.
type flow struct {
	v6           bool
	src, dst     []byte
	transport    uint8 // flowUDP, flowTCP, flowSCTP, or 0: another or a fragment
	sport, dport uint16
	syn          bool
}

// Transports in the numbering of FDIRCMD.L4TYPE.
const (
	flowUDP  = 1
	flowTCP  = 2
	flowSCTP = 3
)

// flowOf returns the flow of the IP packet at f[off:], which parse has classified as m.
func flowOf(f []byte, off int, m *fields) (w flow, ok bool) {
	var l4 []byte
	switch {
	case m.ptype&ptIP4 != 0:
		w.src, w.dst = f[off+12:off+16], f[off+16:off+20]
		l4 = f[off+int(f[off]&0xf)*4:]
		if m.ptype&ptIP6 != 0 {
			return w, true // IPv6 in IPv4: the transport is the inner one
		}
	case m.ptype&ptIP6 != 0:
		w.v6 = true
		w.src, w.dst = f[off+8:off+24], f[off+24:off+40]
		_, l4, _ = skipExtensions(f[off+6], f[off+40:], &fields{})
	default:
		return w, false
	}
	switch {
	case m.ptype&ptTCP != 0:
		w.transport = flowTCP
		w.syn = l4[13]&2 != 0
	case m.ptype&ptUDP != 0:
		w.transport = flowUDP
	case m.ptype&ptSCTP != 0:
		w.transport = flowSCTP
	default:
		return w, true
	}
	w.sport, w.dport = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	return w, true
}

// tuple is an enabled 5-tuple filter (datasheet 7.1.2.5, 8.2.3.7.16 - 8.2.3.7.19).
// Addresses and ports are in the order of the wire.
type tuple struct {
	ignore   uint32 // bits of FTQF.Mask
	src, dst [4]byte
	ports    [4]byte
	protocol uint32
	priority uint32
	queue    uint32
}

// FTQF.Mask: the field is not compared.
const (
	ignoreSrc = 1 << iota
	ignoreDst
	ignoreSrcPort
	ignoreDstPort
	ignoreProtocol
)

// tupleProtocol is FTQF.Protocol by the transport's number in flow.
var tupleProtocol = [4]uint32{0: 3, flowUDP: 1, flowTCP: 0, flowSCTP: 2}

// match reports whether an IPv4 packet matches. A packet without ports, such as a
// fragment, matches if the filter compares none.
func (t *tuple) match(w *flow, ports *[4]byte) bool {
	return !w.v6 &&
		(t.ignore&ignoreSrc != 0 || [4]byte(w.src) == t.src) &&
		(t.ignore&ignoreDst != 0 || [4]byte(w.dst) == t.dst) &&
		(t.ignore&ignoreSrcPort != 0 || w.transport != 0 && [2]byte(ports[:2]) == [2]byte(t.ports[:2])) &&
		(t.ignore&ignoreDstPort != 0 || w.transport != 0 && [2]byte(ports[2:]) == [2]byte(t.ports[2:])) &&
		(t.ignore&ignoreProtocol != 0 || tupleProtocol[w.transport] == t.protocol)
}

// configureSteering decodes the filters. Of several 5-tuple filters that match, the one
// of the highest priority decides, then the one of the lowest index.
func (n *NIC) configureSteering(c *rxConfig) {
	const enable = 1 << 31
	c.etypes = false
	for i := range c.etqf {
		c.etqf[i], c.etqs[i] = n.reg[rETQF/4+i], n.reg[rETQS/4+i]
		c.etypes = c.etypes || c.etqf[i]&enable != 0
	}
	c.tuples = c.tuples[:0]
	for i := range 128 {
		ftqf := n.reg[rFTQF/4+i]
		if ftqf&enable == 0 {
			continue
		}
		t := tuple{ignore: ftqf >> 25 & 0x1f, protocol: ftqf & 3, priority: ftqf >> 2 & 7, queue: n.reg[rL34TIMIR/4+i] >> 21 & 0x7f}
		binary.LittleEndian.PutUint32(t.src[:], n.reg[rSAQF/4+i])
		binary.LittleEndian.PutUint32(t.dst[:], n.reg[rDAQF/4+i])
		binary.LittleEndian.PutUint32(t.ports[:], n.reg[rSDPQF/4+i])
		c.tuples = append(c.tuples, t)
	}
	slices.SortStableFunc(c.tuples, func(a, b tuple) int { return int(b.priority) - int(a.priority) })
	c.syn = n.reg[rSYNQF/4]
	c.fdir = nil
	if n.fdir.configure(n) {
		c.fdir = &n.fdir
		for kind := range c.fdirMask {
			c.fdirMask[kind] = n.maskOf(byte(kind), n.fdir.perfect)
		}
	}
	c.steering = len(c.tuples) > 0 || c.syn&1 != 0 || c.fdir != nil
}

// steer lets the filters behind the EtherType filters choose the queue of the frame that
// parse has classified as m, with RSS.
func (c *rxConfig) steer(f []byte, off int, m *fields) {
	w, ok := flowOf(f, off, m)
	if !ok {
		return
	}
	const highPriority = 1 << 31
	syn := c.syn&1 != 0 && w.transport == flowTCP && w.syn
	if syn && c.syn&highPriority != 0 {
		c.choose(m, c.syn>>1&0x7f)
		return
	}
	var ports [4]byte
	binary.BigEndian.PutUint16(ports[:], w.sport)
	binary.BigEndian.PutUint16(ports[2:], w.dport)
	for i := range c.tuples {
		if t := &c.tuples[i]; t.match(&w, &ports) {
			c.choose(m, t.queue)
			return
		}
	}
	if syn {
		c.choose(m, c.syn>>1&0x7f)
		return
	}
	if c.fdir != nil {
		c.fdir.steer(c, f, &w, m)
	}
}

// choose sets the queue that a filter has chosen.
func (c *rxConfig) choose(m *fields, queue uint32) {
	m.queue = queue
	if c.perPool != 0 {
		m.queue |= queueFixed
	}
}
