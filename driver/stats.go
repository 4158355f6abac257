package driver

import (
	"fmt"
	"sync"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// Stats is the account of what reached a port, and of what it sent, since it was
// opened. Once the port has come to rest (no traffic, or Stop),
//
//	Wire = Received + sum(Missed) + sum(Bad)
//
// Wire is counted at the MAC, Received and Missed behind it, so the equation can
// fail. While frames arrive Wire is ahead by what is inside the port.
type Stats struct {
	// Wire is every frame that reached the port: GPRC plus the bad ones. On the
	// 82599 GPRC counts good frames before the packet buffer, including those
	// missed there or dropped for want of a descriptor: an erratum that Linux
	// (ixgbe_update_stats) and DPDK (ixgbe_read_stats_registers) correct for
	// those who want frames received, and just what is wanted here.
	Wire      uint64
	WireBytes uint64 // bytes of good frames, without CRC as the port strips it (GORC)

	Received      uint64 // frames written to memory (QPRC)
	ReceivedBytes uint64 // their bytes (QBRC)

	Missed []Count // good frames lost, by register: RXMPC, QPRDC
	Bad    []Count // frames damaged or of forbidden length, by register

	Queues []QueueStats // by receive queue

	Sent      uint64 // frames sent (GPTC)
	SentBytes uint64 // their bytes, with CRC (GOTC)
	SentQueue []uint64

	LinkDowns uint64 // times the link was lost, as far as it was noticed
}

// Count is a number of frames and the register that counted them.
type Count struct {
	Register string
	Frames   uint64
}

// QueueStats is the account of one receive queue.
type QueueStats struct {
	Received     uint64 // frames written to memory (QPRC)
	Bytes        uint64 // their bytes (QBRC)
	NoDescriptor uint64 // frames dropped because the ring was full (QPRDC)
	Overlong     uint64 // frames the driver dropped: more descriptors than MaxFrame allows
	Malformed    uint64 // frames the driver dropped: a descriptor of impossible length
}

// Lost is the sum of Missed.
func (s *Stats) Lost() uint64 { return sum(s.Missed) }

// Balanced is nil when every frame that reached the port is accounted for.
func (s *Stats) Balanced() error {
	lost, bad := sum(s.Missed), sum(s.Bad)
	if s.Wire != s.Received+lost+bad {
		return fmt.Errorf("%d frames on the wire, but %d received + %d missed + %d bad = %d",
			s.Wire, s.Received, lost, bad, s.Received+lost+bad)
	}
	return nil
}

func sum(counts []Count) (n uint64) {
	for _, c := range counts {
		n += c.Frames
	}
	return n
}

// readEvery keeps the narrowest counters from overflowing: 36 bits of bytes last
// 55 s at 10 Gb/s, 32 bits of frames 288 s at 14.88 million a second.
const readEvery = 10 * time.Second

// bad are the registers that count bad frames. A frame is counted in one of
// them: the MAC drops it at the first fault.
var bad = [...]reg.Register{reg.CRCERRS, reg.ILLERRC, reg.ERRBC, reg.RLEC, reg.RUC, reg.RFC, reg.ROC, reg.RJC}

// statistics accumulates counters that clear when read to 64 bits.
type statistics struct {
	mu    sync.Mutex
	total counters
}

type counters struct {
	gprc, gorc, gptc, gotc uint64
	rxmpc                  uint64
	bad                    [len(bad)]uint64
	qprc, qbrc, qprdc      [MaxQueues]uint64
	qptc                   [MaxQueues]uint64
}

// mapStatistics gives queue i counter i. Frames of other queues, which get none,
// would go to counter 0.
func (p *Port) mapStatistics() {
	for i := range MaxQueues / 4 {
		var rx, tx uint32
		for j := range 4 {
			rx |= reg.RQSMR_Q[j].Val(uint32(4*i + j))
			tx |= reg.TQSM_Q[j].Val(uint32(4*i + j))
		}
		p.store(reg.RQSMR(i), rx)
		p.store(reg.TQSM(i), tx)
	}
}

// read adds what the device has counted since the last reading. Receive counters
// are read from memory towards the wire, so that a frame that arrives meanwhile
// is at most missing where it came later, never counted twice.
func (s *statistics) read(p *Port) error {
	var now counters
	for i := range max(p.cfg.Queues, p.cfg.TxQueues) {
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
		return err // all ones are no counts
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
	for i := range MaxQueues {
		t.qprc[i] += now.qprc[i]
		t.qbrc[i] += now.qbrc[i]
		t.qprdc[i] += now.qprdc[i]
		t.qptc[i] += now.qptc[i]
	}
	return nil
}

func (s *statistics) forget() { s.total = counters{} }

// load64 reads a counter of two registers: the low one first, which freezes the
// high one; reading that clears both.
func (p *Port) load64(low, high reg.Register) uint64 {
	l := p.load(low)
	return uint64(l) | uint64(p.load(high)&0xf)<<32
}

// Stats reads the counters. After Close, or once the device is gone, it gives
// the last reading, with the device's error if it has one.
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
		Missed: []Count{{reg.RXMPC(0).Row().Name, t.rxmpc}, {reg.QPRDC(0).Row().Name, 0}},
	}
	for i, b := range bad {
		s.Bad = append(s.Bad, Count{b.Name(), t.bad[i]})
		s.Wire += t.bad[i]
	}
	for i, q := range p.rx {
		s.Received += t.qprc[i]
		s.ReceivedBytes += t.qbrc[i]
		s.Missed[1].Frames += t.qprdc[i]
		s.Queues = append(s.Queues, QueueStats{
			Received: t.qprc[i], Bytes: t.qbrc[i], NoDescriptor: t.qprdc[i],
			Overlong: q.Overlong(), Malformed: q.Malformed(),
		})
	}
	s.SentQueue = append(s.SentQueue, t.qptc[:len(p.tx)]...)
	if err != nil {
		return s, fmt.Errorf("read statistics of %s: %w", p.dev.Name(), err)
	}
	return s, nil
}

// readStatistics reads the counters now and then until Close, in case nobody
// else does.
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
			_, _ = p.Stats() // an error will be met again by who asks
		}
	}
}
