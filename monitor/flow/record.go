package flow

import (
	"math"
	"math/bits"
	"net/netip"

	"github.com/ixcap/ixcap/capture/headers"
)

// Firsts is how many packets of a flow have their size and time in its record.
const Firsts = 10

// Forward is from the opener of a flow, Reverse to it.
const (
	Forward = iota
	Reverse
)

// Flags of TCP, numbers of Direction.Flags.
const (
	FIN = iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// End is what ended a flow.
type End uint8

const (
	EndIdle    End = iota // no packet for Config.Idle
	EndActive             // Config.Active, and the flow may go on in a further record
	EndClosed             // by FIN or RST of TCP
	EndEvicted            // the table was full
	EndFlushed            // the stream ended
	ends
)

var endNames = [...]string{"idle", "active", "closed", "evicted", "flushed"}

func (e End) String() string {
	if int(e) < len(endNames) {
		return endNames[e]
	}
	return "unknown"
}

// MAC is an address of Ethernet.
type MAC [6]byte

// Record is a flow. Times are stamps in ns since 1970, gaps and round trips in ns, sizes
// bytes of frames on the wire without CRC.
type Record struct {
	Src, Dst         netip.Addr // of the opener and its peer; invalid without IP
	SrcPort, DstPort uint16     // of ICMP see the package
	Proto            uint8      // of IP
	EtherType        uint16
	VLAN, InnerVLAN  uint16          // with Config.VLAN; 0: no tag
	Tunnel           headers.Tunnels // that the flow is inside, with Config.Tunnels
	TunnelID         uint32          // label, key, VNI or TEID
	SrcMAC, DstMAC   MAC             // of the first packet's last header of Ethernet

	First, Last int64 // stamps: the first packet's, the latest one
	Ended       End

	// Short is that the flow is of one packet for which there was no room but in a short
	// entry: its payload was not kept.
	Short bool

	Directions [2]Direction // Forward, Reverse

	// Of the first packets, Leading at most Firsts: their sizes, the gap in front of each,
	// and a bit for each, the lowest for the first: it is of the reverse direction.
	Leading      int
	LeadingSizes [Firsts]uint16
	LeadingGaps  [Firsts]int64 // the first one is 0
	LeadingFrom  uint16
}

// Direction is what one side of a flow sent.
type Direction struct {
	Packets, Bytes uint64
	First, Last    int64 // 0 without packets

	// Sizes are of frames; Gaps between two packets. A stamp that is earlier than the one
	// before counts as the same.
	Sizes, Gaps Moments

	Flags       [8]uint32 // packets of TCP with the flag
	ZeroWindows uint32    // packets of TCP, without SYN, FIN and RST, with a window of 0

	// Retransmitted are segments that begin below the highest byte seen and are not
	// OutOfOrder: those fill the last gap before it, whatever made the gap: the segments
	// were overtaken, or lost in front of the observer and sent again. Probes of
	// keep-alive are neither.
	Retransmitted, OutOfOrder uint32

	// SynRTT is the time from the last SYN to the first packet that acknowledges it: from
	// the observer to the peer and back. 0: not seen; it is 1 at least.
	SynRTT int64

	Payload []byte // the first bytes behind the headers, with Config.Payload
}

// Moments are count, sum and squares of integers.
type Moments struct {
	Count, Sum uint64
	Min, Max   uint64
	squares    [2]uint64 // low, high
}

// Mean is the arithmetic mean, 0 without values.
func (m *Moments) Mean() float64 {
	if m.Count == 0 {
		return 0
	}
	return float64(m.Sum) / float64(m.Count)
}

// Deviation is the standard deviation of all values (divided by their number).
func (m *Moments) Deviation() float64 {
	if m.Count == 0 {
		return 0
	}
	// n * squares - sum * sum, in 192 bits: it is never negative.
	carry, n0 := bits.Mul64(m.squares[0], m.Count)
	n2, n1 := bits.Mul64(m.squares[1], m.Count)
	n1, c := bits.Add64(n1, carry, 0)
	n2 += c
	s1, s0 := bits.Mul64(m.Sum, m.Sum)
	n0, c = bits.Sub64(n0, s0, 0)
	n1, c = bits.Sub64(n1, s1, c)
	n2 -= c
	v := math.Ldexp(float64(n2), 128) + math.Ldexp(float64(n1), 64) + float64(n0)
	return math.Sqrt(v) / float64(m.Count)
}

// add adds a square to a sum of 128 bits.
func addSquare(sum *[2]uint64, v uint64) {
	hi, lo := bits.Mul64(v, v)
	var c uint64
	sum[0], c = bits.Add64(sum[0], lo, 0)
	sum[1] += hi + c
}
