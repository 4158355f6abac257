package sim

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/sim/wire"
)

// txUnit is the transmit side. The buffers of descriptors up to one with EOP are
// assembled into a packet. It becomes one frame, or several with TCP segmentation,
// which wait in the packet buffer out until their time on the line (txtime.go).
type txUnit struct {
	txLine
	q      [queues]txQueue
	out    txBuffer // frames not yet on the wire
	spare  [][]byte // free buffers
	tag    uint16   // VLNCTRL.VET
	double bool     // DMATXCTL.GDV
	pad    bool     // HLREG0.TXPADEN
	enable bool     // DMATXCTL.TE, and the security block is not stopped
	frames uint64   // made since power-on, for Faults.TxHang
	hung   bool     // injected: the DMA has stopped
}

// txQueue is a transmit queue. The device owns descriptors head to tail-1.
type txQueue struct {
	txTiming
	index   int
	enabled bool
	halted  bool
	vector  int8
	bell    *atomic.Uint32 // TDT
	vf      *VF            // whose queue it is, nil: the physical function
	pool    int            // with pools
	ring    ring
	posted  *postTimes
	head    uint32
	tail    uint32
	seen    uint32
	changes int
	context [2]txContext
	packet  []byte
	first   uint64 // second word of the packet's first data descriptor
	begun   bool
	failed  bool
	headWB  uint64 // address for head write-back, 0 without
	packets uint32
	bytes   uint32
	touched byte
}

const (
	txBurst   = 64      // descriptors of a queue per pass
	txOutMax  = 1024    // frames in out, or in spare, above which queues stop
	txPackMax = 1 << 18 // PAYLEN has 18 bits
)

const dmaTxEnable = 1 << 0 // DMATXCTL.TE

// Command bits in the second word of a transmit descriptor.
const (
	td1588 = 1 << 19
	tdEOP  = 1 << 24
	tdIFCS = 1 << 25
	tdIC   = 1 << 26 // legacy
	tdRS   = 1 << 27
	tdDEXT = 1 << 29
	tdVLE  = 1 << 30
	tdTSE  = 1 << 31
	tdDD   = 1 << 32
	tdIXSM = 1 << 40
	tdTXSM = 1 << 41
)

func (tx *txUnit) reset() {
	for i := range tx.q {
		tx.q[i] = txQueue{vector: -1}
	}
	tx.out, tx.hung = txBuffer{}, false
	tx.rate, tx.mmw = [queues]uint32{}, 0
}

func (tx *txUnit) invalidateMemory() {
	for i := range tx.q {
		tx.q[i].ring.invalidate()
	}
}

func (tx *txUnit) halt() {
	for i := range tx.q {
		tx.q[i].halted = true
		tx.q[i].ring.invalidate()
	}
}

func (tx *txUnit) configure(n *NIC) {
	tx.tag = uint16(n.reg[rVLNCTRL/4])
	tx.double = n.reg[rDMATXCTL/4]&(1<<3) != 0
	tx.pad = n.reg[rHLREG0/4]&(1<<10) != 0
	tx.enable = n.reg[rDMATXCTL/4]&dmaTxEnable != 0 && n.reg[rSECTXCTRL/4]&secDisable == 0
	for i := range tx.q {
		q := &tx.q[i]
		if !q.enabled {
			continue
		}
		stat := n.reg[rTQSM/4+i/4] >> (8 * (i % 4)) & 0xf
		q.packets, q.bytes = cQPTC(stat)/4, cQBTC(stat)/4
		q.pool = i / max(int(n.rx.cfg.perPool), 1)
		q.vector = n.vectorOf(i, true)
		if q.vf != nil {
			q.vector = q.vf.vectorOf(i, true)
		}
		low := n.reg[txReg(i, qWBAL)/4]
		q.headWB = 0
		if low&1 != 0 {
			q.headWB = uint64(low&^3) | uint64(n.reg[txReg(i, qWBAH)/4])<<32
		}
	}
}

// transmit moves frames from the rings to the wire while the link is up. It reports
// whether there were any, or whether one is on the line, and when a queue's rate limiter
// lets it go on (ns since 1970, 0: none waits).
func (n *NIC) transmit(now time.Time) (busy bool, due int64) {
	tx := &n.tx
	if !n.link.up && !n.rx.cfg.loop {
		return false, 0
	}
	tx.now = tx.ticks(now)
	busy = n.flushOut()
	if !tx.enable || tx.hung {
		return busy, 0
	}
	n.updateBus()
	limited := int64(math.MaxInt64)
	for i := range tx.q {
		q := &tx.q[i]
		if !q.enabled || !q.ring.fn.onBus || !n.mayTransmit(q) {
			continue
		}
		if v := q.bell.Load(); v != q.seen {
			n.setTxTail(i, q, v)
		}
		q.touch()
		for k := 0; k < txBurst && q.head != q.tail && !q.halted && !tx.hung && tx.out.hasRoom(); k++ {
			if !q.begun && q.limitFree > tx.now {
				limited = min(limited, q.limitFree)
				break
			}
			n.transmitOne(i, q)
			busy = true
		}
	}
	if limited != math.MaxInt64 {
		// Frames that are sent late have their times on the line all the same.
		due = tx.wall(max(limited, tx.now+int64(sleepMin)*ticksPerNano)) + 1
	}
	return n.flushOut() || busy, due
}

func (n *NIC) setTxTail(i int, q *txQueue, v uint32) {
	q.seen = v
	q.changes++
	if every := n.cfg.Faults.LostDoorbell; every > 0 && q.changes%every == 0 {
		return
	}
	if v >= q.ring.size {
		n.fault("TDT[%d] = %d: the ring has %d descriptors", i, v, q.ring.size)
		return
	}
	if v != q.tail {
		// Read after the tail: the thread may have been off the processor before.
		q.posted.post(q.tail, n.tx.ticks(n.tx.clock()))
	}
	q.tail, q.halted = v, false
}

// touch loads a byte of the buffers of the next descriptors. Another core wrote them: the
// processor fetches them together, where transmitOne would wait for each.
func (q *txQueue) touch() {
	if q.ring.mem == nil {
		return
	}
	var sum byte
	n := min(ringDistance(q.head, q.tail, q.ring.size), txBurst)
	for i, k := q.head, uint32(0); k < n; k++ {
		at := q.ring.mem[2*i]
		if b := q.ring.fn.mem.readable.slot(at).at(at, 1); b != nil {
			sum ^= b[0]
		}
		if i++; i == q.ring.size {
			i = 0
		}
	}
	q.touched = sum
}

// transmitOne executes one descriptor.
func (n *NIC) transmitOne(i int, q *txQueue) {
	q.ring.prepare(n)
	q.fetched(q.head, n.tx.now)
	lo, hi, err := q.ring.fetch(n, q.head)
	if err != nil {
		q.halted = true
		q.ring.fn.pci.b[0x07] |= 1 << 5
		n.fault("transmit queue %d, ring at %#x: %v", i, q.ring.base, err)
		return
	}
	switch kind := hi >> 20 & 0xf; {
	case hi&tdDEXT != 0 && kind == 2:
		q.context[hi>>36&1] = parseContext(lo, hi)
	case hi&tdDEXT != 0 && kind != 3:
		n.fault("transmit descriptor of type %d in queue %d", kind, i)
	default:
		n.assemble(q, lo, hi)
	}
	at := q.head
	if q.head++; q.head == q.ring.size {
		q.head = 0
	}
	if hi&tdRS != 0 {
		n.writeBackTx(q, at)
	}
}

// writeBackTx writes back the status of descriptor at: DD in the descriptor, or the
// head to host memory (datasheet 7.2.3).
func (n *NIC) writeBackTx(q *txQueue, at uint32) {
	var err error
	if q.headWB != 0 && !n.cfg.Faults.NoWriteBack {
		err = q.ring.fn.dmaWrite(q.headWB, binary.LittleEndian.AppendUint32(nil, q.head))
	} else {
		err = q.ring.writeBackHigh(n, at, tdDD)
	}
	if err != nil {
		n.fault("transmit queue %d, write-back: %v", q.index, err)
	}
	n.signal(q.vf, q.vector)
}

// assemble appends a data descriptor's buffer to the packet, and sends the packet at
// EOP.
func (n *NIC) assemble(q *txQueue, lo, hi uint64) {
	if !q.begun {
		q.begun, q.failed, q.first, q.packet = true, false, hi, q.packet[:0]
	}
	size := int(hi & 0xffff)
	if len(q.packet)+size > txPackMax {
		n.fault("transmit packet of more than %d bytes", txPackMax)
		q.failed = true
	} else if size > 0 {
		at := len(q.packet)
		q.packet = append(q.packet, make([]byte, size)...)
		if err := q.ring.fn.dmaRead(lo, q.packet[at:]); err != nil {
			q.ring.fn.pci.b[0x07] |= 1 << 5 // received master abort
			n.fault("transmit queue %d, buffer at %#x: %v", q.index, lo, err)
			q.failed = true
		}
	}
	if hi&tdEOP == 0 {
		return
	}
	q.begun = false
	if q.failed || len(q.packet) < 14 {
		return // the packet is dropped, its descriptors are complete
	}
	n.offload(q)
}

// emit puts one frame into the packet buffer.
func (n *NIC) emit(q *txQueue, f []byte, ifcs bool) {
	tx := &n.tx
	var bad bool
	var crc uint32
	if !ifcs {
		// The host supplies the CRC, and the MAC sends it as it is. Receivers drop a frame
		// with a wrong one.
		if len(f) < 14+crcSize {
			return
		}
		body := f[:len(f)-crcSize]
		crc = binary.LittleEndian.Uint32(f[len(body):])
		bad = crc32.ChecksumIEEE(body) != crc
		f = body
	}
	var b []byte
	if k := len(tx.spare); k > 0 {
		b, tx.spare = tx.spare[k-1][:0], tx.spare[:k-1]
	}
	b = append(b, f...)
	if n.rx.cfg.pools.on {
		b = n.tagPool(q.pool, b)
	}
	for tx.pad && len(b) < minFrame {
		b = append(b, 0)
	}
	if n.rx.cfg.pools.on && !bad && !n.forward(q, b) {
		tx.spare = append(tx.spare, b)
		return
	}
	tx.out.put(txFrame{
		data: b, queue: uint8(q.index), badCRC: bad, crc: crc, end: tx.schedule(&q.txTiming, len(b)+crcSize),
		late:  q.late,
		stamp: q.first&(tdDEXT|td1588) == tdDEXT|td1588,
	})
	tx.frames++
	if after := n.cfg.Faults.TxHang; after != 0 && tx.frames == after {
		tx.hung = true
	}
}

func (n *NIC) countSent(q *txQueue, f []byte) {
	octets := uint64(len(f) + crcSize)
	n.add(cGPTC, 1)
	n.add(cTPT, 1)
	n.add(cGOTC, octets)
	n.add(cTXDGPC, 1)
	n.add(cTXDGBC, octets)
	n.add(cPTC64+4*uint32(sizeBin(int(octets))), 1)
	if f[0]&1 != 0 {
		if string(f[:6]) == "\xff\xff\xff\xff\xff\xff" {
			n.add(cBPTC, 1)
		} else {
			n.add(cMPTC, 1)
		}
	}
	n.ctr.v[q.packets]++
	n.ctr.v[q.bytes] += uint64(len(f)) // QBTC excludes the CRC, GOTC does not (DPDK)
}

// flushOut sends the frames whose last bit has left the port, until the wire is busy.
// It reports whether it sent any, or more are on the line. With HLREG0.LPBK the port
// receives them itself (datasheet 8.2.3.22.8).
func (n *NIC) flushOut() (busy bool) {
	tx := &n.tx
	for tx.out.len() > 0 {
		f := tx.out.first()
		if f.end > tx.now {
			return true
		}
		if n.rx.cfg.loop {
			n.loopBack(f)
		} else if err := n.put(f); errors.Is(err, wire.ErrBusy) {
			return busy
		} else if err != nil {
			n.stats.SendError++
		} else {
			n.stats.Sent++
			n.stats.SentBytes += uint64(len(f.data))
		}
		n.countSent(&tx.q[f.queue], f.data)
		if f.stamp {
			n.stampSent(f)
		}
		if n.departures != nil && !f.badCRC {
			n.departures.add(tx, f)
		}
		if len(tx.spare) < txOutMax { // segmentation makes any number of frames
			tx.spare = append(tx.spare, f.data)
		}
		tx.out.drop()
		busy = true
	}
	return busy
}

// put sends a frame on the wire. A wire that does not carry CRCs gets no frame with a
// wrong one: no receiver behind it would pass it on.
func (n *NIC) put(f *txFrame) error {
	if n.timed != nil {
		return n.timed.SendAt(wire.Frame{Data: f.data, At: n.tx.wall(f.end), Damage: f.damage(), CRC: f.crc})
	}
	if f.badCRC {
		return nil
	}
	return n.wire.Send(f.data)
}

func (n *NIC) loopBack(f *txFrame) {
	n.rx.arrived, n.rx.damage, n.rx.crc = n.tx.wall(f.end), f.damage(), f.crc
	n.arrive(f.data)
}

func (n *NIC) readTDH(i int) uint32 { return n.tx.q[i].head }

func (n *NIC) writeTDH(i int, v uint32) {
	q := &n.tx.q[i]
	if v &= 0xffff; q.enabled && v >= max(q.ring.size, 1) {
		n.fault("TDH[%d] = %d: the ring has %d descriptors", i, v, q.ring.size)
		return
	}
	q.head = v
}

func (n *NIC) readTDT(i int) uint32     { return n.txBell(i).Load() & 0xffff }
func (n *NIC) writeTDT(i int, v uint32) { n.txBell(i).Store(v & 0xffff) }

// writeTXDCTL enables or disables a queue; ENABLE reads back the queue's state. It
// can be set only while DMATXCTL.TE is set (datasheet 4.6.8, 8.2.3.9.10).
func (n *NIC) writeTXDCTL(i int, v uint32) {
	if v&dctlEnable != 0 && n.reg[rDMATXCTL/4]&dmaTxEnable == 0 {
		n.fault("TXDCTL[%d].ENABLE while DMATXCTL.TE is clear", i)
		v &^= dctlEnable
	}
	n.reg[txReg(i, qDCTL)/4] = v &^ dctlFlush
	n.dirty = true
	n.enableTx(i)
	if q := &n.tx.q[i]; q.enabled && q.ring.size == 0 {
		// Queue 0 was enabled by TE, before its ring was known.
		if n.latchTx(i, q); q.ring.size == 0 {
			n.fault("TXDCTL[%d].ENABLE with TDLEN 0", i)
		}
	}
}

// writeGCREXT drops the frames in the transmit data path on Buffers_Clear_Func
// (82599 specification update, clarification 9).
func (n *NIC) writeGCREXT(_ int, v uint32) {
	if v&(1<<30) != 0 {
		n.tx.out = txBuffer{}
	}
	n.reg[rGCREXT/4] = v
	n.dirty = true
}

// writeDMATXCTL starts transmission by TE, which also sets TXDCTL[0].ENABLE
// (datasheet 8.2.3.9.10).
func (n *NIC) writeDMATXCTL(_ int, v uint32) {
	started := v&^n.reg[rDMATXCTL/4]&dmaTxEnable != 0
	n.reg[rDMATXCTL/4] = v
	n.dirty = true
	if started {
		n.reg[txReg(0, qDCTL)/4] |= dctlEnable
		n.enableTx(0)
	}
}

func (n *NIC) enableTx(i int) {
	q := &n.tx.q[i]
	on := n.reg[txReg(i, qDCTL)/4]&dctlEnable != 0
	if on == q.enabled {
		return
	}
	q.enabled, q.halted, q.begun = on, false, false
	if on {
		n.latchTx(i, q)
	} else {
		q.ring.invalidate()
	}
}

// latchTx loads base and length of the ring of a queue that is being enabled.
func (n *NIC) latchTx(i int, q *txQueue) {
	q.index = i
	q.bell, q.vf = n.txBell(i), n.owner(i)
	q.ring = ring{
		fn:   n.functionOf(q.vf),
		base: uint64(n.reg[txReg(i, qBAL)/4]) | uint64(n.reg[txReg(i, qBAH)/4])<<32,
		size: n.reg[txReg(i, qLEN)/4] / 16,
	}
	if q.head >= q.ring.size {
		q.head = 0
	}
	q.tail, q.seen, q.vector = q.head, q.head, -1
	q.txTiming.restart()
	q.posted = &postTimes{at: make([]atomic.Int64, q.ring.size)}
	n.postTimes[i].Store(q.posted)
}
