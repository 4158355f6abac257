package flow

import "math/bits"

// inLine is how many gaps are in the cache line of the sizes.
const inLine = 4

// entry is a flow in the table: 448 bytes, seven cache lines. Of a packet of UDP the first one
// and one of its direction are touched, of TCP a third; the first Firsts packets touch the
// last two as well.
type entry struct {
	head
	sides   [2]side // of the opener, of its peer
	sizes   [Firsts]uint16
	dstMAC  MAC // the opener's peer
	srcMAC  MAC
	gaps    [Firsts - 1]uint64 // the first inLine of them are in the line of the sizes
	next    uint32             // in the wheel's list, or in that of free entries
	prev    uint32
	missing [2]gap // of each side
}

// head is what entries and short entries begin with, one cache line.
type head struct {
	key   key
	last  int64 // the latest stamp
	state state
	slot  uint8  // of the wheel
	first uint16 // first packets: their number in 4 bits, then a bit each: of the peer
	start uint32 // the first stamp in units of 2^startShift ns
}

// startShift makes 32 bits of a time enough: units of 67 ms.
const startShift = 26

// state has bits for a flow.
type state uint8

const (
	openerB state = 1 << iota // the opener is end b of the key
	finOpen                   // a FIN of the opener was seen
	finPeer                   // and of its peer
	closed                    // by RST, or FIN of both
	seqOpen                   // the opener's seq is valid
	seqPeer                   // the peer's
	synOpen                   // a SYN of the opener is not acknowledged
	synPeer                   // one of the peer
)

// Short entries have no use for some bits and give them another meaning.
const (
	isAnswer = finPeer // the packet is of the opener's peer
	isWindow = synOpen // the window is 0
	isTCP    = synPeer // the packet is of TCP
)

// side is one direction of a flow: a cache line for each packet, and one for each of TCP.
type side struct {
	packets    uint32
	min, max   uint16
	bytes      uint64
	squares    uint64 // of sizes
	last       int64
	gapSquares [2]uint64
	gapMin     uint64
	gapMax     uint64

	flags         [8]uint32
	zeroWindows   uint32
	retransmitted uint32
	outOfOrder    uint32
	seq           uint32 // behind the highest byte seen
	first         int64
	syn           int64 // below 0: a stamp, of the last SYN; above: the round trip
}

// maxPackets is the most that one record counts of a direction.
const maxPackets = 1<<32 - 1

// gap is what is missing of the bytes before a side's seq.
type gap struct{ from, to uint32 }

// short is an entry of a flow of one packet, whose stamp is last: two cache lines.
type short struct {
	head
	dstMAC MAC
	srcMAC MAC
	next   uint32
	prev   uint32
	seq    uint32
	ack    uint32
	length uint32
	size   uint16
	flags  uint8
	whole  bool

	scouted bool // its bucket was requested, since it is displaced soon
	_       [27]byte
}

// begin makes an entry that of the flow of a packet, which add adds.
func (f *entry) begin(p *packet, oneWay bool) {
	*f = entry{}
	f.key, f.last, f.start = p.key, p.time, uint32(p.time>>startShift)
	f.srcMAC, f.dstMAC = p.srcMAC, p.dstMAC
	if p.opensAtB(oneWay) {
		f.state |= openerB
	}
	if f.direction(p) == Reverse {
		f.srcMAC, f.dstMAC = f.dstMAC, f.srcMAC
	}
}

// opensAtB reports that end b of the key opened the flow that begins with a packet.
func (p *packet) opensAtB(oneWay bool) bool {
	const answer = 1<<SYN | 1<<ACK
	return !oneWay && p.swapped != (p.isTCP && p.flags&answer == answer)
}

// direction is that of a packet.
func (f *head) direction(p *packet) int {
	if p.swapped != (f.state&openerB != 0) {
		return Reverse
	}
	return Forward
}

// began is the first stamp.
func (f *entry) began() int64 {
	a, b := &f.sides[0], &f.sides[1]
	switch {
	case a.packets == 0:
		return b.first
	case b.packets == 0:
		return a.first
	}
	return min(a.first, b.first)
}

// add adds a packet.
func (f *entry) add(p *packet, oneWay bool) {
	d := f.direction(p)
	s := &f.sides[d]
	size := p.size
	if n := f.first & 0xf; n < Firsts {
		f.lead(p, n, d)
	}
	if s.packets == 0 {
		s.min, s.max, s.first, s.last, s.gapMin = size, size, p.time, p.time, ^uint64(0)
	} else {
		if gap := uint64(p.time - s.last); p.time >= s.last {
			s.last = p.time
			addSquare(&s.gapSquares, gap)
			s.gapMin, s.gapMax = min(s.gapMin, gap), max(s.gapMax, gap)
		} else {
			s.gapMin = 0
		}
		s.min, s.max = min(s.min, size), max(s.max, size)
	}
	s.packets++
	s.bytes += uint64(size)
	s.squares += uint64(size) * uint64(size)
	f.last = max(f.last, p.time)
	if p.isTCP {
		f.tcp(p, d, oneWay)
	}
}

// lead notes one of the first packets.
func (f *entry) lead(p *packet, n uint16, d int) {
	if n > 0 {
		f.gaps[n-1] = uint64(max(0, p.time-f.last))
	}
	f.sizes[n] = p.size
	f.first += 1 + uint16(d)<<(4+n)
}

// tcp adds what is in a header of TCP.
func (f *entry) tcp(p *packet, d int, oneWay bool) {
	s := &f.sides[d]
	flags := p.flags
	for rest := flags; rest != 0; rest &= rest - 1 {
		s.flags[bits.TrailingZeros8(rest)&7]++
	}
	const control = 1<<SYN | 1<<FIN | 1<<RST
	if p.window == 0 && flags&control == 0 {
		s.zeroWindows++
	}
	if flags&(1<<FIN|1<<RST) != 0 {
		f.close(flags, d, oneWay)
	}
	if !p.whole {
		return
	}
	if flags&(1<<ACK) != 0 && f.state&(synOpen<<(1-d)) != 0 {
		f.acknowledge(p, 1-d)
	}
	if p.length > 0 {
		f.sequence(p, d)
	}
	if flags&(1<<SYN) != 0 && s.syn <= 0 {
		s.syn = -p.time
		f.state |= synOpen << d
	}
}

// acknowledge is that a packet may acknowledge the SYN of a side. The side's cache line is
// not touched for others.
func (f *entry) acknowledge(p *packet, d int) {
	if s := &f.sides[d]; p.ack == s.seq {
		s.syn = max(1, p.time+s.syn)
		f.state &^= synOpen << d
	}
}

// close is that a side sent FIN or RST.
func (f *entry) close(flags uint8, d int, oneWay bool) {
	if flags&(1<<FIN) != 0 {
		f.state |= finOpen << d
	}
	if both := finOpen | finPeer; flags&(1<<RST) != 0 || f.state&both == both || oneWay {
		f.state |= closed
	}
}

// sequence compares the place of a segment with what the side has sent before.
func (f *entry) sequence(p *packet, d int) {
	s, m := &f.sides[d], &f.missing[d]
	end := p.seq + p.length
	if f.state&(seqOpen<<d) == 0 {
		f.state |= seqOpen << d
		s.seq = end
		return
	}
	const control = 1<<SYN | 1<<FIN | 1<<RST
	switch ahead := int32(p.seq - s.seq); {
	case ahead == 0:
		s.seq = end
	case ahead > 0:
		m.from, m.to = s.seq, p.seq
		s.seq = end
	case ahead == -1 && p.length == 1 && p.flags&control == 0:
		// The probe of a keep-alive (RFC 9293, section 3.8.4).
	default:
		f.behind(p, d)
	}
}

// behind is that a segment begins below the highest byte seen.
func (f *entry) behind(p *packet, d int) {
	s, m := &f.sides[d], &f.missing[d]
	end := p.seq + p.length
	if in := p.seq - m.from; in < m.to-m.from {
		s.outOfOrder++
		if in == 0 {
			m.from += min(p.length, m.to-m.from)
		} else {
			m.to = p.seq // of both parts that are still missing the first one is kept
		}
	} else {
		s.retransmitted++
	}
	if int32(end-s.seq) > 0 {
		s.seq = end
	}
}

// keep stores the first packet of a flow in a short entry.
func (f *short) keep(p *packet, oneWay bool) {
	f.head = head{key: p.key, last: p.time, start: uint32(p.time >> startShift)}
	f.srcMAC, f.dstMAC = p.srcMAC, p.dstMAC
	if p.opensAtB(oneWay) {
		f.state |= openerB
	}
	if f.direction(p) == Reverse {
		f.state |= isAnswer
		f.srcMAC, f.dstMAC = f.dstMAC, f.srcMAC
	}
	f.seq, f.ack, f.length, f.size, f.flags, f.whole = p.seq, p.ack, p.length, p.size, p.flags, p.whole
	if p.isTCP {
		f.state |= isTCP
		if p.window == 0 {
			f.state |= isWindow
		}
		f.closing(oneWay)
	}
}

// closing sets the bit if the packet alone closes the connection.
func (f *short) closing(oneWay bool) {
	if f.flags&(1<<RST) != 0 || oneWay && f.flags&(1<<FIN) != 0 {
		f.state |= closed
	}
}

// expand makes an entry of a short one.
func (f *short) expand(to *entry, oneWay bool) {
	p := packet{
		key: f.key, time: f.last, size: f.size, flags: f.flags, seq: f.seq, ack: f.ack, length: f.length,
		whole: f.whole, isTCP: f.state&isTCP != 0, srcMAC: f.srcMAC, dstMAC: f.dstMAC, window: 1,
	}
	if f.state&isWindow != 0 {
		p.window = 0
	}
	*to = entry{}
	to.head = head{key: f.key, last: f.last, start: f.start, state: f.state & openerB}
	to.srcMAC, to.dstMAC = f.srcMAC, f.dstMAC
	p.swapped = (f.state&openerB != 0) != (f.state&isAnswer != 0)
	to.add(&p, oneWay)
}
