package series

import (
	"encoding/binary"
	"math/bits"
	"sync"

	"github.com/ixcap/ixcap/capture/headers"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

const window = 8 // seconds that are open at most

// Sources are cumulative counters that are read at the end of each second, by the goroutine
// of Add or of Advance, whichever meets it first.
type Sources struct {
	// Flows returns the flows that are open, and those opened so far.
	Flows func() (active, opened uint64)

	// Lost returns the packets lost so far.
	Lost func() uint64
}

// Counter counts the packets of one queue. Add is for one goroutine; several Counters of a
// Recorder are independent.
type Counter struct {
	recorder *Recorder
	classes  *classes
	sources  Sources
	headers  headers.Headers // of the packet being counted
	frames   [pcapfilter.MaxBatch]ring.Frame
	matched  []*pcapfilter.Classes // of each filter

	mu     sync.Mutex // once a batch; the recorder's too, once a second
	base   int64      // oldest open second
	newest int64      // latest second with a packet
	open   [window]second
	late   Count
	early  Count
	opened uint64 // flows, at the end of the second that was closed last
	lost   uint64
}

// second has the counts of one second.
type second struct {
	series  []Count
	sampled bool
	active  uint64 // of the sources, at the second's end
	opened  uint64
	lost    uint64
}

// Add counts packets. Those of a queue come in the order of time, but for what the policy
// of stamps and the merging of queues change.
func (c *Counter) Add(packets []stream.Packet) {
	c.mu.Lock()
	for len(packets) > 0 {
		// Packets of one second in a row have their place looked up once.
		at := int64(packets[0].Sec)
		n := 1
		for n < len(packets) && packets[n].Sec == packets[0].Sec {
			n++
		}
		if s := c.at(at); s != nil {
			c.count(s, packets[:n])
		} else {
			c.outside(at, packets[:n])
		}
		packets = packets[n:]
	}
	c.mu.Unlock()
}

// at returns the counts of a second, nil if it is not open.
func (c *Counter) at(second int64) *second {
	if c.recorder.config.ByStamps && second >= c.base+window {
		c.mu.Unlock()
		c.recorder.stamped(second)
		c.mu.Lock()
	}
	if second < c.base || second >= c.base+window {
		return nil
	}
	if second > c.newest {
		c.sample(second)
	}
	return &c.open[second&(window-1)]
}

// sample reads the sources for the seconds before one that begins.
func (c *Counter) sample(begins int64) {
	for s := max(c.base, c.newest); s < begins; s++ {
		c.open[s&(window-1)].sample(&c.sources)
	}
	c.newest = begins
}

func (s *second) sample(from *Sources) {
	s.sampled = true
	if from.Flows != nil {
		s.active, s.opened = from.Flows()
	}
	if from.Lost != nil {
		s.lost = from.Lost()
	}
}

func (c *Counter) outside(at int64, packets []stream.Packet) {
	to := &c.early
	if at < c.base {
		to = &c.late
	}
	for i := range packets {
		to.Packets++
		to.Bytes += uint64(packets[i].Len)
	}
}

// count counts packets of one second.
func (c *Counter) count(s *second, packets []stream.Packet) {
	all := s.series
	for i := range packets {
		p := &packets[i]
		n := Count{1, uint64(p.Len)}
		network, transport := protocols(&c.headers, p.Data)
		all[All].add(n)
		all[network].add(n)
		if transport != 0 {
			all[transport].add(n)
		}
	}
	for len(c.classes.filters) > 0 && len(packets) > 0 {
		n := min(len(packets), len(c.frames))
		c.filter(all, packets[:n])
		packets = packets[n:]
	}
}

// filter counts packets by direction and expressions.
func (c *Counter) filter(all []Count, packets []stream.Packet) {
	k := c.classes
	var sum uint64
	for i := range packets {
		p := &packets[i]
		c.frames[i].Data, c.frames[i].Len = p.Data, uint32(p.Len)
		sum += uint64(p.Len)
	}
	which := ^uint64(0) >> (pcapfilter.MaxBatch - len(packets))
	to := k.first
	if k.direction {
		to -= 2
	}
	for i, f := range k.filters {
		f.Classify(c.frames[:len(packets)], which, c.matched[i])
		set := c.matched[i].Frames(0)
		n := Count{Packets: uint64(bits.OnesCount64(set))}
		for ; set != 0; set &= set - 1 {
			n.Bytes += uint64(c.frames[bits.TrailingZeros64(set)].Len)
		}
		all[to].add(n)
		to++
		if i == 0 && k.direction {
			all[to].add(Count{uint64(len(packets)) - n.Packets, sum - n.Bytes})
			to++
		}
	}
}

// Numbers of IANA.
const (
	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	protoICMP  = 1
	protoTCP   = 6
	protoUDP   = 17
	protoAH    = 51
	protoICMP6 = 58
	protoSCTP  = 132
)

// protocols returns the series of a frame: IPv4, IPv6 or NonIP, and for IP the one behind
// it. A later fragment counts to its datagram's protocol. Frames without tags and extension
// headers, most of all, need no walk from header to header.
func protocols(h *headers.Headers, frame []byte) (network, transport int) {
	if len(frame) >= 54 {
		switch binary.BigEndian.Uint16(frame[12:]) {
		case etherIPv4:
			if frame[14] == 0x45 && frame[23] != protoAH {
				return IPv4, transportOf(frame[23], protoICMP)
			}
		case etherIPv6:
			if p := frame[20]; frame[14]>>4 == 6 && (p == protoTCP || p == protoUDP || p == protoICMP6) {
				return IPv6, transportOf(p, protoICMP6)
			}
		}
	}
	return walk(h, frame)
}

// walk is protocols for every frame.
func walk(h *headers.Headers, frame []byte) (network, transport int) {
	icmp := uint8(protoICMP)
	switch h.Parse(frame); h.Type {
	case etherIPv4:
		network = IPv4
	case etherIPv6:
		network, icmp = IPv6, protoICMP6
	default:
		return NonIP, 0
	}
	if h.Version == 0 {
		return network, OtherIP
	}
	return network, transportOf(h.Proto, icmp)
}

func transportOf(proto, icmp uint8) int {
	switch proto {
	case protoTCP:
		return TCP
	case protoUDP:
		return UDP
	case icmp:
		return ICMP
	case protoSCTP:
		return SCTP
	}
	return OtherIP
}
