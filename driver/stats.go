package driver

import (
	"fmt"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// Stats counts the frames that reached a port, and those it sent, since it was
// opened. When no frame is inside the port (no traffic, or Stop),
//
//	Wire = Received + Filtered + sum(Missed) + sum(Bad)
//
// The MAC counts Wire, the stages behind it Received and Missed, so the equation is a
// check. While frames arrive Wire is ahead by those inside the port.
//
// With virtual functions (Config.VFs) the port has the frames of its own pool, and Wire
// is that sum: the chip has no counter of what a pool was to get. A virtual function
// counts what it has received (VFGPRC) and nothing else: Wire is Received, and Missed
// has frames that it held at a reset (VFCTRL.RST), if any. Frames that its ring has no
// room for, and those that arrive during a reset, are counted nowhere.
type Stats struct {
	// Wire is every frame that reached the port: GPRC plus the bad ones. On the
	// 82599 GPRC counts good frames before the packet buffer, including those
	// missed there or dropped without a descriptor. This is an erratum, which Linux
	// (ixgbe_update_stats) and DPDK (ixgbe_read_stats_registers) correct to get
	// received frames; here the uncorrected count is needed.
	Wire      uint64
	WireBytes uint64 // bytes of good frames, without CRC as the port strips it (GORC)

	Received      uint64 // frames written to memory (QPRC)
	ReceivedBytes uint64 // their bytes (QBRC)

	Filtered uint64 // good frames that filters dropped, see Filter (QPRDC)

	Missed []RegisterCount // good frames lost, by register: RXMPC, QPRDC, CTRL.RST (inside a device that was reset)
	Bad    []RegisterCount // frames damaged or of forbidden length, by register

	// BadReceived is Bad on a port with Config.KeepBad: they are among Received and
	// Missed, and Bad is empty.
	BadReceived []RegisterCount

	Queues []QueueStats // by receive queue

	Sent      uint64 // frames sent (GPTC)
	SentBytes uint64 // their bytes, with CRC (GOTC)
	SentQueue []uint64

	LinkDowns uint64 // times the link went down, at most one per reading
}

// RegisterCount is a number of frames and the register that counted them.
type RegisterCount struct {
	Register string
	Frames   uint64
}

// QueueStats are the counters of one receive queue. The chip has 16 sets of them: with
// more queues, that of queue 15 counts for all from 15 on, and those of the others are 0.
type QueueStats struct {
	Received     uint64 // frames written to memory (QPRC)
	Bytes        uint64 // their bytes (QBRC)
	NoDescriptor uint64 // frames dropped because the ring was full (QPRDC)
	Overlong     uint64 // frames the driver dropped: more descriptors than MaxFrame allows
	Malformed    uint64 // frames the driver dropped: a descriptor of impossible length
}

// Lost returns the sum of Missed.
func (s *Stats) Lost() uint64 { return sum(s.Missed) }

// Balanced returns an error unless every frame that reached the port is accounted for.
func (s *Stats) Balanced() error {
	lost, bad := sum(s.Missed), sum(s.Bad)
	if all := s.Received + s.Filtered + lost + bad; s.Wire != all {
		return fmt.Errorf("%d frames on the wire, but %d received + %d filtered + %d missed + %d bad = %d",
			s.Wire, s.Received, s.Filtered, lost, bad, all)
	}
	return nil
}

func sum(counts []RegisterCount) (n uint64) {
	for _, c := range counts {
		n += c.Frames
	}
	return n
}

// Stats reads the counters of the balance. After Close, or if the device is gone, it
// returns the last reading, with the device's error if there is one.
func (p *Port) Stats() (Stats, error) {
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	if p.virtual != nil {
		return p.virtualStats()
	}
	var err error
	if !p.gone.Load() {
		err = p.stats.read(p, balanceCounters)
	}
	s := p.balance()
	if err != nil {
		return s, fmt.Errorf("read statistics of %s: %w", p.dev.Name(), err)
	}
	return s, nil
}

// balance returns the totals. The caller holds p.stats.mu.
func (p *Port) balance() Stats {
	t := &p.stats
	s := Stats{
		LinkDowns: p.linkDowns.Load(),
		Wire:      t.of(gprc, 0), WireBytes: t.of(gorc, 0),
		Sent: t.of(gptc, 0), SentBytes: t.of(gotc, 0),
		Received: t.sum(qprc), ReceivedBytes: t.sum(qbrc),
		Filtered: t.of(filtered, 0),
		Missed:   []RegisterCount{{reg.RXMPC(0).Row().Name, t.sum(rxmpc)}, {reg.QPRDC(0).Row().Name, t.sum(qprdc)}},
	}
	list := &s.Bad
	if p.cfg.KeepBad {
		list = &s.BadReceived
	}
	for _, c := range bad {
		*list = append(*list, RegisterCount{c.register(0), t.of(c, 0)})
		s.Wire += t.of(c, 0)
	}
	if p.pools.count > 0 {
		// GPRC counts frames of all pools.
		s.Wire = s.Received + s.Lost() + sum(s.Bad)
	}
	for i, q := range p.rx {
		one := QueueStats{Overlong: q.Overlong(), Malformed: q.Malformed()}
		if i < QueueCounters {
			one.Received, one.Bytes, one.NoDescriptor = t.of(qprc, i), t.of(qbrc, i), t.of(qprdc, i)
		}
		s.Queues = append(s.Queues, one)
	}
	if t.lost > 0 {
		s.Missed = append(s.Missed, RegisterCount{reg.CTRL_RST.String(), t.lost})
	}
	for i := range p.tx {
		s.SentQueue = append(s.SentQueue, t.of(qptc, i))
	}
	return s
}
