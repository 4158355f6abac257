package driver

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// The statistics registers. All of them clear when they are read, so this file is
// the one place that reads them. It adds them up in 64 bits.

// Counter is one statistics register of the port since it was opened.
type Counter struct {
	// Name is what `ethtool -S` of Linux' ixgbe calls the counter; else what DPDK's
	// extended statistics call it; else the register's name in lower case.
	Name     string
	Register string // of the datasheet, such as "QPRC[3]"; the low half of two
	Value    uint64
}

// QueueCounters is the number of counter sets for queues (8.2.3.23).
const QueueCounters = 16

// counter is a statistics register or an array of them.
type counter struct {
	name  string // with %d for the index in an array
	low   func(i int) reg.Register
	high  func(i int) reg.Register // nil: the counter has 32 bits
	n     int                      // elements
	queue direction                // only the elements of queues in use are read
	at    int                      // in counterTable
}

// direction is that of the queues that a counter belongs to.
type direction uint8

const (
	noQueue direction = iota
	receiveQueue
	transmitQueue
)

func single(name string, r reg.Register) *counter {
	return &counter{name: name, n: 1, low: func(int) reg.Register { return r }}
}

// wide is a counter of 36 bits in two registers.
func wide(name string, low, high reg.Register) *counter {
	c := single(name, low)
	c.high = func(int) reg.Register { return high }
	return c
}

func several(name string, a reg.Array, n int) *counter { return &counter{name: name, low: a, n: n} }

func perQueue(name string, d direction, low, high reg.Array) *counter {
	return &counter{name: name, low: low, high: high, n: QueueCounters, queue: d}
}

// The counters of the balance of frames, see Stats.
var (
	qprc  = perQueue("rx_queue_%d_packets", receiveQueue, reg.QPRC, nil)
	qbrc  = perQueue("rx_queue_%d_bytes", receiveQueue, reg.QBRC_L, reg.QBRC_H)
	qprdc = perQueue("rx_queue_%d_drops", receiveQueue, reg.QPRDC, nil)
	qptc  = perQueue("tx_queue_%d_packets", transmitQueue, reg.QPTC, nil)
	rxmpc = several("rx_pb_%d_missed", reg.RXMPC, 8)

	// filtered counts the frames that filters drop: they go to a queue that is never
	// enabled, and the last counter counts for it unless a port has a queue 15.
	filtered = single("rx_filtered", reg.QPRDC(QueueCounters-1))

	gprc = single("rx_pkts_nic", reg.GPRC)
	gorc = wide("rx_bytes_nic", reg.GORCL, reg.GORCH)
	gptc = single("tx_pkts_nic", reg.GPTC)
	gotc = wide("tx_bytes_nic", reg.GOTCL, reg.GOTCH)

	// bad are the counters of bad frames. One of them counts a frame: the MAC drops
	// it at the first error.
	bad = []*counter{
		single("rx_crc_errors", reg.CRCERRS),
		single("rx_illegal_byte_errors", reg.ILLERRC),
		single("rx_error_bytes", reg.ERRBC),
		single("rx_length_errors", reg.RLEC),
		single("rx_short_length_errors", reg.RUC),
		single("rx_fragment_errors", reg.RFC),
		single("rx_long_length_errors", reg.ROC),
		single("rx_jabber_errors", reg.RJC),
	}
)

// balanceCounters are in the order from memory to the wire, so that a frame that
// arrives while they are read may count on the wire before it counts as received,
// but never the other way round.
var balanceCounters = slices.Concat([]*counter{qprc, qbrc, qprdc, filtered, qptc, rxmpc, gprc, gorc}, bad, []*counter{gptc, gotc})

// counterTable is every statistics register, those of MACsec and IPsec left out,
// which the driver does not use.
var counterTable = number(slices.Concat(balanceCounters, []*counter{
	single("fdir_match", reg.FDIRMATCH),
	single("fdir_miss", reg.FDIRMISS),
	perQueue("tx_queue_%d_bytes", transmitQueue, reg.QBTC_L, reg.QBTC_H),
	single("broadcast", reg.BPRC),
	single("multicast", reg.MPRC),
	single("rx_size_64_packets", reg.PRC64),
	single("rx_size_65_to_127_packets", reg.PRC127),
	single("rx_size_128_to_255_packets", reg.PRC255),
	single("rx_size_256_to_511_packets", reg.PRC511),
	single("rx_size_512_to_1023_packets", reg.PRC1023),
	single("rx_size_1024_to_max_packets", reg.PRC1522),
	single("rx_total_packets", reg.TPR),
	wide("rx_total_bytes", reg.TORL, reg.TORH),
	single("rxnfgpc", reg.RXNFGPC),
	wide("rxnfgbc", reg.RXNFGBCL, reg.RXNFGBCH),
	single("rxdgpc", reg.RXDGPC),
	wide("rxdgbc", reg.RXDGBCL, reg.RXDGBCH),
	single("rx_mac_short_packet_dropped", reg.MSPDC),
	single("rx_l3_l4_xsum_error", reg.XEC),
	single("mac_local_errors", reg.MLFC),
	single("mac_remote_errors", reg.MRFC),

	single("tx_total_packets", reg.TPT),
	single("tx_size_64_packets", reg.PTC64),
	single("tx_size_65_to_127_packets", reg.PTC127),
	single("tx_size_128_to_255_packets", reg.PTC255),
	single("tx_size_256_to_511_packets", reg.PTC511),
	single("tx_size_512_to_1023_packets", reg.PTC1023),
	single("tx_size_1024_to_max_packets", reg.PTC1522),
	single("tx_multicast_packets", reg.MPTC),
	single("tx_broadcast_packets", reg.BPTC),
	single("txdgpc", reg.TXDGPC),
	wide("txdgbc", reg.TXDGBCL, reg.TXDGBCH),
	single("ssvpc", reg.SSVPC),

	single("tx_flow_control_xon", reg.LXONTXC),
	single("tx_flow_control_xoff", reg.LXOFFTXC),
	single("rx_flow_control_xon", reg.LXONRXCNT),
	single("rx_flow_control_xoff", reg.LXOFFRXCNT),
	several("tx_pb_%d_pxon", reg.PXONTXC, 8),
	several("tx_pb_%d_pxoff", reg.PXOFFTXC, 8),
	several("rx_pb_%d_pxon", reg.PXONRXCNT, 8),
	several("rx_pb_%d_pxoff", reg.PXOFFRXCNT, 8),
	several("tx_pb_%d_xon_to_xoff", reg.PXON2OFFCNT, 8),

	single("rx_management_packets", reg.MNGPRC),
	single("rx_management_dropped", reg.MNGPDC),
	single("tx_management_packets", reg.MNGPTC),

	single("fcoe_bad_fccrc", reg.FCCRC),
	single("rx_fcoe_dropped", reg.FCOERPDC),
	single("fclast", reg.FCLAST),
	single("rx_fcoe_packets", reg.FCOEPRC),
	single("rx_fcoe_dwords", reg.FCOEDWRC),
	single("tx_fcoe_packets", reg.FCOEPTC),
	single("tx_fcoe_dwords", reg.FCOEDWTC),
}))

func number(table []*counter) []*counter {
	for i, c := range table {
		c.at = i
	}
	return table
}

// register returns the name of the register of element i.
func (c *counter) register(i int) string { return c.low(i).Name() }

// label returns the name of element i.
func (c *counter) label(i int) string {
	if c.n == 1 {
		return c.name
	}
	return fmt.Sprintf(c.name, i)
}

// read returns element i and clears it. The low half of a wide counter latches the
// high one; reading that clears both.
func (c *counter) read(p *Port, i int) uint64 {
	v := uint64(p.load(c.low(i)))
	if c.high != nil {
		v |= uint64(p.load(c.high(i))&0xf) << 32
	}
	return v
}

// elements returns how many elements of a counter the port uses.
func (p *Port) elements(c *counter) int {
	if c == filtered && !p.cfg.canDrop() {
		return 0
	}
	switch c.queue {
	case receiveQueue:
		return min(p.cfg.Queues, c.n)
	case transmitQueue:
		return min(p.cfg.TxQueues, c.n)
	}
	return c.n
}

// readEvery is shorter than the time in which a counter overflows: 36 bits of bytes
// take 55 s at 10 Gb/s, 32 bits of frames 288 s at 14.88 million a second.
const readEvery = 10 * time.Second

// statistics are the totals of the counters.
type statistics struct {
	mu     sync.Mutex
	totals [][]uint64 // by place in counterTable, then by element
	lost   uint64     // frames inside a device that was reset
}

// discard reads the counters for nothing, after a reset.
func (s *statistics) discard(p *Port) {
	for _, c := range counterTable {
		for i := range p.elements(c) {
			c.read(p, i)
		}
	}
}

// read adds what counters have counted since they were last read.
func (s *statistics) read(p *Port, table []*counter) error {
	now := make([][]uint64, len(table))
	for k, c := range table {
		now[k] = make([]uint64, p.elements(c))
		for i := range now[k] {
			now[k][i] = c.read(p, i)
		}
	}
	if err := p.err(); err != nil {
		return err // registers that read as all ones
	}
	for k, c := range table {
		for i, v := range now[k] {
			s.totals[c.at][i] += v
		}
	}
	return nil
}

func (s *statistics) reset() {
	s.totals = make([][]uint64, len(counterTable))
	for i, c := range counterTable {
		s.totals[i] = make([]uint64, c.n)
	}
}

// of returns element i of a counter.
func (s *statistics) of(c *counter, i int) uint64 { return s.totals[c.at][i] }

// sum returns the sum of the elements of a counter.
func (s *statistics) sum(c *counter) (n uint64) {
	for _, v := range s.totals[c.at] {
		n += v
	}
	return n
}

// counterOf returns the counter set of a queue of the device. Queues of virtual
// functions share the last one.
func (p *Port) counterOf(queue int) int {
	if queue -= p.hw(0); queue < 0 || queue >= QueueCounters {
		return QueueCounters - 1
	}
	return queue
}

// mapStatistics maps queue i to counter i, and queues from 15 on to the last one.
func (p *Port) mapStatistics() {
	for i := range reg.RQSMR(0).Row().N() {
		var rx, tx uint32
		for j := range 4 {
			counter := uint32(p.counterOf(4*i + j))
			rx |= reg.RQSMR_Q[j].Val(counter)
			tx |= reg.TQSM_Q[j].Val(counter)
		}
		p.store(reg.RQSMR(i), rx)
		p.store(reg.TQSM(i), tx)
	}
}

// Counters reads every statistics register, those of queues not in use left out, and
// returns their totals in the order of counterTable, with the sums that ethtool has:
// rx_missed_errors (RXMPC) and rx_no_dma_resources (QPRDC). After Close, or if the
// device is gone, it returns the last reading, with the device's error if there is
// one. It takes some 150 register accesses.
func (p *Port) Counters() ([]Counter, error) {
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	if p.virtual != nil {
		return p.virtualCounters()
	}
	var err error
	if !p.gone.Load() {
		if err = p.stats.read(p, counterTable); err != nil {
			err = fmt.Errorf("read counters of %s: %w", p.dev.Name(), err)
		}
	}
	var all []Counter
	for _, c := range counterTable {
		for i := range p.elements(c) {
			all = append(all, Counter{c.label(i), c.register(i), p.stats.of(c, i)})
		}
	}
	return append(all,
		Counter{"rx_missed_errors", rxmpc.low(0).Row().Name, p.stats.sum(rxmpc)},
		Counter{"rx_no_dma_resources", qprdc.low(0).Row().Name, p.stats.sum(qprdc)}), err
}

// readStatistics reads the counters every readEvery until Close, so that they do not
// overflow if nothing else reads them.
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
			_, _ = p.Counters() // the next call returns the same error
		}
	}
}
