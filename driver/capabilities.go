package driver

import "github.com/ixcap/ixcap/ring"

// Capabilities are the limits of a controller in units that do not depend on its
// registers, for programs that check settings or assess gaps between polls.
type Capabilities struct {
	Name string // of the controller family, for messages

	MaxQueues   int // receive queues
	MaxTxQueues int // transmit queues
	MinRingSize int // descriptors of a ring
	MaxRingSize int
	RingStep    int   // ring sizes are a multiple of it
	MaxFrame    int   // longest frame, bytes without CRC
	Speeds      []int // of the link, Mb/s, fastest first

	// LineRate is the fastest speed in bit/s. On the wire a frame also takes its
	// CRC of 4 bytes and 20 bytes of preamble and gap.
	LineRate uint64

	// PacketBuffer is how many bytes of received frames the controller holds while
	// a ring is full. A frame takes its length with CRC, rounded up to a multiple
	// of PacketBufferStep.
	PacketBuffer     int
	PacketBufferStep int
}

// Limits returns what every 82599 can do.
func Limits() Capabilities {
	return Capabilities{
		Name:             "82599",
		MaxQueues:        MaxQueues,
		MaxTxQueues:      MaxTxQueues,
		MinRingSize:      ring.MinSize,
		MaxRingSize:      ring.MaxSize,
		RingStep:         ring.Step,
		MaxFrame:         MaxFrame,
		Speeds:           []int{maxSpeed, lowerSpeed},
		LineRate:         maxSpeed * 1e6,
		PacketBuffer:     rxPacketBuffer << 10,
		PacketBufferStep: packetBufferStep,
	}
}

// Capabilities returns what this port can do as it was configured: MaxFrame and,
// with an SFP+ cage or twisted pair, Speeds are the configuration's. PacketBuffer is 0 with
// several queues: frames for a full ring are dropped then (SRRCTL.DROP_EN), so
// that they do not hold up those for the other rings.
func (p *Port) Capabilities() Capabilities {
	c := Limits()
	c.Name = p.model.family.String()
	c.MaxFrame = p.cfg.MaxFrame
	if p.model.medium == twistedPair {
		c.Speeds = append(c.Speeds, lowestSpeed)
	}
	if p.cfg.Speed != 0 && (p.model.medium == sfi || p.model.medium == twistedPair) {
		c.Speeds = []int{p.cfg.Speed}
		c.LineRate = uint64(p.cfg.Speed) * 1e6
	}
	c.PacketBuffer = p.packetBuffer() << 10
	if p.cfg.Queues > 1 || p.pools.count > 0 || p.virtual != nil {
		c.PacketBuffer = 0
	}
	return c
}
