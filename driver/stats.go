package driver

import (
	"fmt"
	"sync"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// Stats counts the frames that reached a port, and those it sent, since it was
// opened. When no frame is inside the port (no traffic, or Stop),
//
//	Wire = Received + sum(Missed) + sum(Bad)
//
// The MAC counts Wire, the stages behind it Received and Missed, so the equation is a
// check. While frames arrive Wire is ahead by those inside the port.
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

	Missed []RegisterCount // good frames lost, by register: RXMPC, QPRDC
	Bad    []RegisterCount // frames damaged or of forbidden length, by register

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
	if s.Wire != s.Received+lost+bad {
		return fmt.Errorf("%d frames on the wire, but %d received + %d missed + %d bad = %d",
			s.Wire, s.Received, lost, bad, s.Received+lost+bad)
	}
	return nil
}

func sum(counts []RegisterCount) (n uint64) {
	for _, c := range counts {
		n += c.Frames
	}
	return n
}

// readEvery is shorter than the time in which a counter overflows: 36 bits of bytes
// take 55 s at 10 Gb/s, 32 bits of frames 288 s at 14.88 million a second.
const readEvery = 10 * time.Second

// bad are the registers that count bad frames. One of them counts a frame: the MAC
// drops it at the first error.
var bad = [...]reg.Register{reg.CRCERRS, reg.ILLERRC, reg.ERRBC, reg.RLEC, reg.RUC, reg.RFC, reg.ROC, reg.RJC}

// statistics accumulates the counters, which clear when read, in 64 bits.
type statistics struct {
	mu    sync.Mutex
	total counters
}

type counters struct {
	gprc, gorc, gptc, gotc uint64
	rxmpc                  uint64
	bad                    [len(bad)]uint64
	qprc, qbrc, qprdc      [QueueCounters]uint64
	qptc                   [QueueCounters]uint64
}

// QueueCounters is the number of counter sets for queues (8.2.3.23).
const QueueCounters = 16

// mapStatistics maps queue i to counter i, and queues from 15 on to the last one.
func (p *Port) mapStatistics() {
	for i := range reg.RQSMR(0).Row().N() {
		var rx, tx uint32
		for j := range 4 {
			counter := uint32(min(4*i+j, QueueCounters-1))
			rx |= reg.RQSMR_Q[j].Val(counter)
			tx |= reg.TQSM_Q[j].Val(counter)
		}
		p.store(reg.RQSMR(i), rx)
		p.store(reg.TQSM(i), tx)
	}
}

// read adds the device's counts since the last reading. It reads receive counters in
// the order from memory to the wire, so that a frame that arrives during reading
// may count in Wire before it counts in Received, but never the other way round.
func (s *statistics) read(p *Port) error {
	var now counters
	for i := range min(max(p.cfg.Queues, p.cfg.TxQueues), QueueCounters) {
		now.qprc[i] = uint64(p.load(reg.QPRC(i)))
		now.qbrc[i] = p.load64(reg.QBRC_L(i), reg.QBRC_H(i))
		now.qprdc[i] = uint64(p.load(reg.QPRDC(i)))
		now.qptc[i] = uint64(p.load(reg.QPTC(i)))
	}
	for i := range 8 {
		now.rxmpc += uint64(p.load(reg.RXMPC(i)))
	}
	now.gprc = uint64(p.load(reg.GPRC))
	now.gorc = p.load64(reg.GORCL, reg.GORCH)
	for i, b := range bad {
		now.bad[i] = uint64(p.load(b))
	}
	now.gptc = uint64(p.load(reg.GPTC))
	now.gotc = p.load64(reg.GOTCL, reg.GOTCH)
	if err := p.err(); err != nil {
		return err // registers that read as all ones
	}
	t := &s.total
	t.gprc += now.gprc
	t.gorc += now.gorc
	t.gptc += now.gptc
	t.gotc += now.gotc
	t.rxmpc += now.rxmpc
	for i, n := range now.bad {
		t.bad[i] += n
	}
	for i := range QueueCounters {
		t.qprc[i] += now.qprc[i]
		t.qbrc[i] += now.qbrc[i]
		t.qprdc[i] += now.qprdc[i]
		t.qptc[i] += now.qptc[i]
	}
	return nil
}

func (s *statistics) reset() { s.total = counters{} }

// load64 reads a counter of two registers: the low one first, which latches the high
// one; reading that clears both.
func (p *Port) load64(low, high reg.Register) uint64 {
	l := p.load(low)
	return uint64(l) | uint64(p.load(high)&0xf)<<32
}

// Stats reads the counters. After Close, or if the device is gone, it returns the last
// reading, with the device's error if there is one.
func (p *Port) Stats() (Stats, error) {
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	var err error
	if !p.gone.Load() {
		err = p.stats.read(p)
	}
	t := &p.stats.total
	s := Stats{
		LinkDowns: p.linkDowns.Load(),
		Wire:      t.gprc, WireBytes: t.gorc,
		Sent: t.gptc, SentBytes: t.gotc,
		Missed: []RegisterCount{{reg.RXMPC(0).Row().Name, t.rxmpc}, {reg.QPRDC(0).Row().Name, 0}},
	}
	for i, b := range bad {
		s.Bad = append(s.Bad, RegisterCount{b.Name(), t.bad[i]})
		s.Wire += t.bad[i]
	}
	for i, q := range p.rx {
		one := QueueStats{Overlong: q.Overlong(), Malformed: q.Malformed()}
		if i < QueueCounters {
			one.Received, one.Bytes, one.NoDescriptor = t.qprc[i], t.qbrc[i], t.qprdc[i]
		}
		s.Received += one.Received
		s.ReceivedBytes += one.Bytes
		s.Missed[1].Frames += one.NoDescriptor
		s.Queues = append(s.Queues, one)
	}
	s.SentQueue = append(s.SentQueue, t.qptc[:len(p.tx)]...)
	if err != nil {
		return s, fmt.Errorf("read statistics of %s: %w", p.dev.Name(), err)
	}
	return s, nil
}

// readStatistics reads the counters every readEvery until Close, so that they do not
// overflow if Stats is not called.
func (p *Port) readStatistics() {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-p.dev.Done():
			return
		case <-tick.C:
			_, _ = p.Stats() // the next call returns the same error
		}
	}
}
