package wire

import (
	"math"
	"slices"
)

// MixKind is a kind of flows of a mix.
type MixKind uint8

const (
	MixTCP  MixKind = iota // web, mail and others
	MixDNS                 // a query and its response, over UDP
	MixUDP                 // QUIC and others
	MixICMP                // echo requests and replies

	MixDNSRise  // queries of an Incident, not answered
	MixSYNFlood // of an Incident
	MixKinds    // number of kinds
)

// String returns the name of the kind in JSON.
func (k MixKind) String() string {
	return [MixKinds]string{"tcp", "dns", "udp", "icmp", "dns_rise", "syn_flood"}[k]
}

// MixCount counts a kind of flows.
type MixCount struct {
	Flows   uint64 // of which a packet was made
	Ended   uint64 // of which no packet follows
	Packets uint64
	Bytes   uint64 // of frames, padding included, without CRC
}

// MixTruth counts what a Mix has made: what a monitor must find.
type MixTruth struct {
	Kinds [MixKinds]MixCount
	IPv6  uint64 // packets

	SYN, SYNACK, FIN, RST uint64 // packets; SYN without ACK

	Retransmitted uint64 // TCP segments whose sequence number and length were sent before
	OutOfOrder    uint64 // TCP segments sent after the one that follows them
	ZeroWindow    uint64 // TCP packets with window 0, without RST
}

// Total sums up the kinds.
func (t *MixTruth) Total() (sum MixCount) {
	for _, k := range t.Kinds {
		sum.Flows += k.Flows
		sum.Ended += k.Ended
		sum.Packets += k.Packets
		sum.Bytes += k.Bytes
	}
	return sum
}

// Truth counts the frames that Next has returned.
func (m *Mix) Truth() MixTruth { return m.truth }

// note counts a property of the packet that is being made, unless the mix ends before it.
func (m *Mix) note(counter *uint64) {
	if m.left > 0 {
		*counter++
	}
}

// mixFlow is the state of an open flow. What its packets have in common is computed from
// its serial number.
type mixFlow struct {
	serial uint32
	left   uint32    // data packets to come
	seq    [2]uint32 // TCP: next sequence number of the client and of the server
	gap    uint16    // mean buckets from one turn with data to the next
	resend uint16    // TCP: payload bytes of the segment to be sent again
	kind   MixKind
	phase  mixPhase
	flags  mixFlags
	end    mixEnd
}

type mixFlags uint8

const (
	mixIPv6   mixFlags = 1 << iota
	mixUpload          // the client sends the data
	mixSeen            // a packet was made
)

type mixPhase uint8

const (
	phaseOpen    mixPhase = iota // the first packet: SYN, query, request
	phaseAccept                  // TCP: SYN and ACK, or RST. Others: the response
	phaseRequest                 // TCP: ACK, and a request
	phaseData                    // up to two segments
	phaseAck                     // of the other side
	phaseFIN                     // of the side that sent data
	phaseFINBack                 // of the other side
	phaseLast                    // the last ACK
)

type mixEnd uint8

const (
	endFIN mixEnd = iota
	endRST
	endSilent  // no packet follows
	endRefused // RST in answer to SYN
)

const (
	// Flow sizes follow a bounded Pareto distribution. Measured backbone flows have
	// shapes from 1 to 1.3; the bounds are data packets.
	sizeShape = 1.1
	sizeLeast = 2
	sizeMost  = 1 << 17

	// Large flows are faster, so that their duration grows less than their size.
	gapExponent = -0.4
)

var sizeBound = 1 - math.Pow(float64(sizeLeast)/sizeMost, sizeShape)

// draw makes a new flow. The shares are of flows.
func (m *Mix) draw(f *mixFlow) {
	r := m.rand()
	*f = mixFlow{serial: m.serial, seq: [2]uint32{uint32(r), uint32(r >> 16)}}
	m.serial++
	percent := func(shift int) uint64 { return r >> shift & 0x3ff * 100 >> 10 }
	size := m.size()
	switch p := percent(32); {
	case p < 55:
		f.kind = MixTCP
		switch e := percent(42); {
		case e < 3:
			f.end = endRefused
		case e < 6:
			f.end = endSilent
		case e < 18:
			f.end = endRST
		}
	case p < 80:
		f.kind = MixDNS
		size = 1
	case p < 97:
		f.kind = MixUDP
	default:
		f.kind = MixICMP
		size = min(size, 60)
	}
	if percent(52) < 20 {
		f.flags = mixIPv6
	}
	if r>>62 == 0 {
		f.flags |= mixUpload
	}
	f.left = uint32(size)
	f.gap = uint16(max(1, float64(len(m.wheel.buckets))/2*math.Exp(gapExponent*math.Log(size))))
}

// size draws the number of data packets of a flow.
func (m *Mix) size() float64 {
	u := float64(m.rand()>>11) / (1 << 53)
	return math.Floor(sizeLeast * math.Exp(-math.Log(1-u*sizeBound)/sizeShape))
}

// duration returns the buckets from the first to the last turn of a new flow, about.
func (m *Mix) duration(f *mixFlow) float64 {
	quick := float64(len(m.wheel.buckets)) / 128
	gaps := float64(f.left)
	switch {
	case f.kind == MixDNS || f.end == endRefused:
		return quick
	case f.kind == MixTCP:
		gaps = math.Ceil(gaps/2) * (1 + quick/float64(f.gap))
	}
	return gaps * float64(f.gap)
}

// populate opens the flows. A flow that is open at a moment is a long one more likely: it
// is drawn with its duration as the weight, and at a random point of it.
func (m *Mix) populate(n int) {
	if n == 0 {
		return
	}
	m.wheel = newMixWheel(n)
	m.flows = make([]mixFlow, n)
	drawn := make([]mixFlow, min(max(4*n, 1024), 1<<16))
	until := make([]float64, len(drawn))
	sum := 0.0
	for i := range drawn {
		f := &drawn[i]
		m.draw(f)
		sum += m.duration(f)
		until[i] = sum
	}
	for i := range m.flows {
		r := m.rand()
		k, _ := slices.BinarySearch(until, float64(r>>11)/(1<<53)*sum)
		f := &m.flows[i]
		*f = drawn[min(k, len(drawn)-1)]
		f.serial = m.serial
		m.serial++
		f.seq[0] += f.serial * 0x9e3779b1
		if f.kind != MixDNS && f.end != endRefused {
			f.left = 1 + uint32(uint64(f.left)*(r&0xffff)>>16)
			f.phase = phaseData
		}
		m.wheel.add(uint32(i), uint32(r>>20)&uint32(len(m.wheel.buckets)-1))
	}
}

// turn makes the packets of a flow's turn, and orders its next one. When the flow ends,
// another one begins in its place.
func (m *Mix) turn(i uint32) {
	f := &m.flows[i]
	open, quick := m.packets(f)
	if !open {
		m.truth.Kinds[f.kind].Ended++
		m.draw(f)
		_, quick = m.packets(f)
	}
	// The gap is uniform around its mean. Answers follow after at most a 64th of the
	// wheel.
	r := uint32(m.rand() >> 32)
	gap := 1 + uint32(uint64(r)*uint64(len(m.wheel.buckets)/64)>>32)
	if !quick {
		gap = uint32(f.gap)/2 + uint32(uint64(r)*uint64(f.gap+1)>>32)
		gap = min(max(gap, 1), uint32(len(m.wheel.buckets)-1))
	}
	m.wheel.add(i, gap)
}

// packets makes the packets of a flow's turn. It reports whether the flow stays open, as
// it does at its first turn, and whether its next turn follows quickly.
func (m *Mix) packets(f *mixFlow) (open, quick bool) {
	if m.left == 0 {
		return true, false
	}
	if f.flags&mixSeen == 0 {
		f.flags |= mixSeen
		m.truth.Kinds[f.kind].Flows++
	}
	e := f.ends()
	switch f.kind {
	case MixTCP:
		return m.turnTCP(f, &e)
	case MixDNS:
		return m.turnDNS(f, &e), true
	case MixUDP:
		return m.turnUDP(f, &e), false
	default:
		return m.turnICMP(f, &e)
	}
}

// TCP flags.
const (
	tcpFIN = 1 << iota
	tcpSYN
	tcpRST
	tcpPSH
	tcpACK
)

func (m *Mix) turnTCP(f *mixFlow, e *mixEnds) (open, quick bool) {
	sender := 1 // of the data
	if f.flags&mixUpload != 0 {
		sender = 0
	}
	quick = true
	switch f.phase {
	case phaseOpen:
		m.tcp(f, e, 0, tcpSYN, f.seq[0], 0, 0)
		f.seq[0]++
	case phaseAccept:
		if f.end == endRefused {
			m.tcp(f, e, 1, tcpRST|tcpACK, 0, f.seq[0], 0)
			return false, false
		}
		m.tcp(f, e, 1, tcpSYN|tcpACK, f.seq[1], f.seq[0], 0)
		f.seq[1]++
	case phaseRequest:
		m.tcp(f, e, 0, tcpACK, f.seq[0], f.seq[1], 0)
		n := 80 + uint32(m.rand()>>55)
		m.tcp(f, e, 0, tcpACK|tcpPSH, f.seq[0], f.seq[1], int(n))
		f.seq[0] += n
	case phaseData:
		m.segments(f, e, sender)
	case phaseAck:
		other := 1 - sender
		m.tcp(f, e, other, tcpACK, f.seq[other], f.seq[sender]-uint32(f.resend), 0)
		switch {
		case f.left > 0 || f.resend > 0:
			f.phase = phaseData
			return true, false
		case f.end == endSilent:
			return false, false
		}
		quick = false // the connection stays idle before it is closed
	case phaseFIN:
		if f.end == endRST {
			m.tcp(f, e, sender, tcpRST|tcpACK, f.seq[sender], f.seq[1-sender], 0)
			return false, false
		}
		m.tcp(f, e, sender, tcpFIN|tcpACK, f.seq[sender], f.seq[1-sender], 0)
		f.seq[sender]++
	case phaseFINBack:
		m.tcp(f, e, 1-sender, tcpFIN|tcpACK, f.seq[1-sender], f.seq[sender], 0)
		f.seq[1-sender]++
	case phaseLast:
		m.tcp(f, e, sender, tcpACK, f.seq[sender], f.seq[1-sender], 0)
		return false, false
	}
	f.phase++
	return true, quick
}

// segments sends the segment again that was lost, or up to two new ones. One of 128
// segments is sent again, one of 512 pairs is swapped.
func (m *Mix) segments(f *mixFlow, e *mixEnds, sender int) {
	ack := f.seq[1-sender]
	if n := uint32(f.resend); n > 0 {
		m.note(&m.truth.Retransmitted)
		m.tcp(f, e, sender, tcpACK, f.seq[sender]-n, ack, int(n))
		f.resend = 0
		return
	}
	most := maxMixFrame - 14 - ipHeader - tcpHeader
	if e.v6 {
		most = maxMixFrame - 14 - ip6Header - tcpHeader
	}
	r := m.rand()
	first := uint32(m.payload(r, most))
	if f.left == 1 {
		f.left = 0
		m.tcp(f, e, sender, tcpACK|tcpPSH, f.seq[sender], ack, int(first))
		f.seq[sender] += first
		return
	}
	second := uint32(m.payload(r>>32, most))
	f.left -= 2
	seq := f.seq[sender]
	if r>>52&511 == 0 {
		m.tcp(f, e, sender, tcpACK, seq+first, ack, int(second))
		m.note(&m.truth.OutOfOrder)
		m.tcp(f, e, sender, tcpACK, seq, ack, int(first))
	} else {
		m.tcp(f, e, sender, tcpACK, seq, ack, int(first))
		m.tcp(f, e, sender, tcpACK, seq+first, ack, int(second))
		if r>>44&63 == 0 {
			f.resend = uint16(second)
		}
	}
	f.seq[sender] += first + second
}

// payload draws a length up to most: the longest, or a shorter one. The share of the
// longest ones is controlled by what the frames so far owe to the mean size.
func (m *Mix) payload(r uint64, most int) int {
	if int64(r&0xffff)-1<<15 < m.owed {
		return most
	}
	return 1 + int(r>>16&0xffff)*m.config.Size>>16
}

func (m *Mix) turnDNS(f *mixFlow, e *mixEnds) (open bool) {
	if f.phase == phaseOpen {
		m.dnsQuery(MixDNS, e, f.serial)
		f.phase = phaseAccept
		return true
	}
	m.dnsResponse(e, f.serial)
	return false
}

// turnUDP sends data, and of the other side one packet for eight.
func (m *Mix) turnUDP(f *mixFlow, e *mixEnds) (open bool) {
	r := m.rand()
	back := f.phase != phaseOpen && f.flags&mixUpload == 0
	if f.phase == phaseData && f.left&7 == 0 {
		back = !back
	}
	m.udp(e, back, m.payload(r, 1350))
	f.phase = phaseData
	f.left--
	return f.left > 0
}

func (m *Mix) turnICMP(f *mixFlow, e *mixEnds) (open, quick bool) {
	if f.phase == phaseData {
		f.phase = phaseOpen
	}
	reply := f.phase == phaseAccept
	m.icmp(e, reply, uint16(f.left))
	if reply {
		f.left--
		f.phase = phaseOpen
		return f.left > 0, false
	}
	f.phase = phaseAccept
	return true, true
}
