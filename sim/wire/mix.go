package wire

import (
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	maxMixFlows  = 1 << 24         // open at once
	mixBatch     = 128             // frames of one Next
	mixEvents    = 32              // flows whose state is fetched at once
	mixStride    = 1536            // bytes from one buffer of a batch to the next
	maxMixFrame  = 1514            // bytes without CRC
	mixMaxEvent  = 3               // frames of a flow in one go
	maxIncidents = 16              // of a mix
	mixMeanSize  = 726             // bytes: with mixRate 9.59 Gb/s without preamble, CRC and gap
	mixRate      = 1.65e6          // packets a second
	mixOpenFlows = 1 << 16         // by default
	minMixSize   = 200             // bytes, least mean size that the mix can have
	maxMixSize   = 850             // bytes, largest one
	maxMixDay    = 1e6 * time.Hour // period of the swing
)

// MixConfig describes the traffic of a backbone link. The zero values of Flows and Rate
// are no traffic but that of the incidents.
type MixConfig struct {
	Flows int     // flows that are open at once, 0 to 16 million
	Rate  float64 // packets a second of the flows; those of incidents are added
	Size  int     // mean bytes of a frame without CRC, 200 to 850; 0: 726
	Seed  uint64  // equal configurations make equal frames
	Count int64   // frames; 0: without end

	// Start is the time at which the first second begins, CLOCK_REALTIME ns.
	Start int64

	// Day is the period of a swing of the rate, 0 for none: at the start the rate is
	// 1-Swing times Rate, half a period later 1+Swing times.
	Day   time.Duration
	Swing float64 // 0 to 0.9

	// Noise is the standard deviation of each second's rate, as a part of it, 0 to 0.3.
	Noise float64

	Incidents []Incident
}

// Mix makes the frames of a backbone link, in both directions: flows with heavy-tailed
// sizes over TCP, UDP and ICMP, IPv4 and IPv6, and incidents on top. It is a closed
// system: a flow that ends is replaced by a new one, so the number of open flows is
// constant. The first ones have begun before.
//
// It keeps 29 bytes a flow and allocates nothing after NewMix. It is not for use by
// several goroutines.
type Mix struct {
	config MixConfig
	random uint64
	serial uint32 // of the next flow
	left   int64  // frames to come

	flows  []mixFlow
	wheel  mixWheel
	events [mixEvents]uint32 // flows whose turn it is
	first  int               // of events
	last   int
	fetch  uint32 // keeps loads that only fetch

	clock      mixClock
	incidents  []incident
	incidentAt int64 // ticks: the time of the incident's packet that is being made
	lineFree   int64 // ticks: the last bit of the previous frame
	owed       int64 // bytes by which the frames so far are below the mean

	frames  []Frame
	arena   []byte
	dirty   [mixBatch]uint16 // bytes of each buffer that may differ from the pattern
	pattern [mixStride]byte  // of payloads, by the place in the frame
	sums    [mixStride + 1]uint32
	dns     dnsMessages

	truth MixTruth
}

func (c *MixConfig) check() error {
	line := ticksPerSecond / float64(wireTicks(c.Size))
	switch {
	case c.Flows < 0 || c.Flows > maxMixFlows:
		return fmt.Errorf("%d flows at once: want 0 to %d", c.Flows, maxMixFlows)
	case c.Flows > 0 && !(c.Rate > 0 && c.Rate <= line):
		return fmt.Errorf("%v packets a second of %d bytes on average: want more than 0, and at most what the line carries, %.0f", c.Rate, c.Size, line)
	case c.Flows == 0 && len(c.Incidents) == 0:
		return errors.New("no flows and no incidents: want one of both")
	case c.Size < minMixSize || c.Size > maxMixSize:
		return fmt.Errorf("mean size of %d bytes: want %d to %d", c.Size, minMixSize, maxMixSize)
	case c.Count < 0:
		return fmt.Errorf("%d frames: want 0, for no end, or more", c.Count)
	case c.Day < 0 || c.Day > 0 && c.Day < time.Second || c.Day > maxMixDay:
		return fmt.Errorf("period of %v: want 0, for none, or 1s to %v", c.Day, maxMixDay)
	case !(c.Swing >= 0 && c.Swing <= 0.9):
		return fmt.Errorf("swing of %v: want 0 to 0.9", c.Swing)
	case !(c.Noise >= 0 && c.Noise <= 0.3):
		return fmt.Errorf("noise of %v: want 0 to 0.3", c.Noise)
	case len(c.Incidents) > maxIncidents:
		return fmt.Errorf("%d incidents: want at most %d", len(c.Incidents), maxIncidents)
	}
	for _, i := range c.Incidents {
		if err := i.check(); err != nil {
			return err
		}
	}
	return nil
}

// NewMix makes a generator. It takes 0.1 s for a million flows.
func NewMix(c MixConfig) (*Mix, error) {
	if c.Size == 0 {
		c.Size = mixMeanSize
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("make a mix of traffic: %w", err)
	}
	m := &Mix{config: c, random: c.Seed, left: math.MaxInt64, arena: make([]byte, mixBatch*mixStride), frames: make([]Frame, 0, mixBatch)}
	if c.Count > 0 {
		m.left = c.Count
	}
	for i := range m.pattern {
		m.pattern[i] = byte(m.rand())
		m.sums[i+1] = m.sums[i] + uint32(m.pattern[i])<<8
		if i%2 == 1 {
			m.sums[i+1] = m.sums[i-1] + uint32(m.pattern[i-1])<<8 + uint32(m.pattern[i])
		}
	}
	for i := range m.dirty {
		m.dirty[i] = mixStride
	}
	m.dns.init()
	m.clock.init(c)
	for _, i := range c.Incidents {
		m.incidents = append(m.incidents, newIncident(i))
	}
	m.populate(c.Flows)
	return m, nil
}

// rand returns 64 random bits (SplitMix64).
func (m *Mix) rand() uint64 {
	m.random += 0x9e3779b97f4a7c15
	return mix64(m.random)
}

func mix64(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Next returns the next frames, up to 128, in the order of their times. They are valid
// until the next call. The frames of a mix that has ended are none.
func (m *Mix) Next() []Frame {
	m.frames = m.frames[:0]
	for m.left > 0 && len(m.frames) <= mixBatch-mixMaxEvent {
		next := m.due()
		switch {
		case next != nil:
			m.incident(next)
		case len(m.flows) == 0:
			return m.frames
		default:
			if m.first == m.last {
				m.take()
			}
			m.turn(m.events[m.first])
			m.first++
		}
	}
	return m.frames
}

// due returns the incident whose next frame comes before the next one of the flows, nil
// if there is none.
func (m *Mix) due() (next *incident) {
	at := int64(math.MaxInt64)
	if len(m.flows) > 0 && len(m.incidents) > 0 {
		at = m.clock.peek()
	}
	for i := range m.incidents {
		if one := &m.incidents[i]; one.left > 0 && one.next < at {
			next, at = one, one.next
		}
	}
	return next
}

// take takes the next flows from the wheel and fetches their state: loads that do not
// depend on each other wait for memory together.
func (m *Mix) take() {
	m.first, m.last = 0, min(mixEvents, len(m.flows))
	m.wheel.take(m.events[:m.last])
	var sum uint32
	for _, i := range m.events[:m.last] {
		sum += m.flows[i].serial
	}
	m.fetch += sum
}

// mixClock has the times of the flows' packets: in each second as many as its rate says,
// at equal distances.
type mixClock struct {
	config MixConfig
	second int64
	carry  float64 // part of a packet
	left   int64   // packets of the second
	at     int64   // ticks since the start, of the next packet
	step   int64   // ticks from one to the next, and a fraction of den
	frac   int64
	den    int64
	part   int64
}

func (c *mixClock) init(config MixConfig) {
	c.config = config
	c.second = -1
}

// rate returns the packets of a second.
func (c *mixClock) rate(second int64) float64 {
	r := c.config.Rate
	if c.config.Day > 0 {
		r *= 1 - c.config.Swing*math.Cos(2*math.Pi*float64(second)/c.config.Day.Seconds())
	}
	if c.config.Noise > 0 {
		// The sum of 12 uniform numbers has the variance 1, and no long tail.
		sum := -6.0
		for i := range uint64(12) {
			sum += float64(mix64(c.config.Seed^uint64(second)<<4^i<<60)>>11) / (1 << 53)
		}
		r *= max(0, 1+c.config.Noise*sum)
	}
	return r
}

// peek returns the time of the next packet, and begins its second if need be.
func (c *mixClock) peek() int64 {
	for c.left == 0 {
		c.second++
		packets := c.rate(c.second) + c.carry
		c.left = int64(packets)
		c.carry = packets - float64(c.left)
		if c.left > 0 {
			c.at, c.den, c.part = c.second*ticksPerSecond, c.left, 0
			c.step, c.frac = ticksPerSecond/c.left, ticksPerSecond%c.left
		}
	}
	return c.at
}

// next returns the time of a packet.
func (c *mixClock) next() int64 {
	at := c.peek()
	c.at += c.step
	if c.part += c.frac; c.part >= c.den {
		c.part -= c.den
		c.at++
	}
	c.left--
	return at
}
