package sim

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/bits"

	"github.com/ixcap/ixcap/sim/wire"
)

const (
	minFrame = 60 // without CRC; the sender's MAC pads
	crcSize  = 4
)

// rxUnit is the receive side. The path of a frame:
//
//	wire -> MAC (length, CRC) -> L2 filters -> RSS, checksums -> queue -> host
//
// It goes through the packet buffer when its queue has no descriptors, or when
// older frames are in the buffer.
type rxUnit struct {
	cfg       rxConfig
	q         [queues]rxQueue
	qde       [queues]uint8 // PFQDE: drop enable, hide VLAN
	fifo      fifo
	frames    [batch]wire.Frame
	got, next int   // frames of the last Receive, and how many of them are done
	stalled   bool  // injected: the DMA has stopped
	direct    bool  // a frame is being written to the host, bypassing the buffer
	active    []int // enabled queues
	arrived   int64 // arrival of the current frame, ns since 1970
	damage    wire.Damage
	crc       uint32 // of the current frame with wire.BadCRC
	injecting bool   // a fault depends on the number of frames
	started   bool   // reception has been enabled since Attach
	listening bool   // the wire is being read
	eof       bool
	pad       [minFrame]byte
	scratch   []byte
	count     rxCounts
}

// rxCounts are the increments of the port's counters by one batch.
type rxCounts struct {
	packets, octets uint64 // all
	nofilter, nofilterOctets,
	good, goodOctets,
	broadcast, multicast,
	dma, dmaOctets,
	checksum uint64
	bins [6]uint64
}

func (rx *rxUnit) init() {
	rx.fifo = newFIFO()
	rx.scratch = make([]byte, 0, 64<<10)
}

// reset resets all but the state of the wire.
func (rx *rxUnit) reset() {
	rx.stalled = false
	rx.fifo.clear()
	for i := range rx.q {
		rx.q[i] = rxQueue{vector: -1}
	}
	rx.qde = [queues]uint8{}
}

func (rx *rxUnit) invalidateMemory() {
	for i := range rx.q {
		rx.q[i].ring.invalidate()
	}
}

// halt stops all queues after a memory fault. It reports whether a frame was being
// written, which is lost.
func (rx *rxUnit) halt() (lost bool) {
	lost, rx.direct = rx.direct, false
	for i := range rx.q {
		rx.q[i].halted = true
		rx.q[i].ring.invalidate()
	}
	return lost
}

// poll receives a batch from the wire and returns the number of frames.
func (n *NIC) poll(room int) int {
	if n.rx.eof {
		return 0
	}
	k, err := n.wire.Receive(n.rx.frames[:], room)
	if err != nil {
		n.rx.eof = true
		if !errors.Is(err, io.EOF) {
			n.stats.WireError = err.Error()
		}
	}
	return k
}

// receive moves frames to the host: those in the packet buffer, then new ones. It
// reports whether there were any.
func (n *NIC) receive() (busy bool) {
	rx := &n.rx
	n.updateBus()
	n.refreshTails()
	busy = n.drain()
	rx.listening = n.link.up && !rx.eof && (rx.started || n.cfg.StartAtLinkUp)
	if rx.listening && rx.next == rx.got {
		rx.next, rx.got = 0, n.poll(rx.cfg.buffer-rx.fifo.used)
	}
	if n.arrivals != nil && rx.next < rx.got {
		n.arrivals.pass()
	}
	for rx.next < rx.got {
		f := rx.frames[rx.next].Data
		rx.arrived = rx.frames[rx.next].At
		rx.damage, rx.crc = rx.frames[rx.next].Damage, rx.frames[rx.next].CRC
		rx.next++
		busy = true
		if rx.cfg.loop {
			// In loopback the receiver is connected to the transmitter only
			// (HLREG0.LPBK, datasheet 8.2.3.22.8).
			n.offered(len(f))
			n.stats.NotReceiving++
			continue
		}
		n.arrive(f)
	}
	n.flushCounts()
	if rx.eof && rx.next == rx.got && (rx.fifo.frames() == 0 || !rx.cfg.enabled) {
		n.finish()
	}
	return busy
}

// offered counts a frame that the wire delivered.
func (n *NIC) offered(size int) {
	n.stats.Offered++
	n.stats.OfferedBytes += uint64(max(size, minFrame))
}

// arrive passes one frame through the MAC and the filters to its queue.
func (n *NIC) arrive(f []byte) {
	rx := &n.rx
	c := &rx.cfg
	n.offered(len(f))
	if rx.injecting && n.injectFault() {
		return
	}
	if !c.open {
		n.stats.NotReceiving++
		return
	}
	if len(f) < minFrame && rx.damage&wire.Unpadded == 0 {
		clear(rx.pad[copy(rx.pad[:], f):])
		f = rx.pad[:]
	}
	if rx.injecting {
		n.injectBadCRC(f)
	}
	size := len(f)
	rx.count.packets++
	rx.count.octets += uint64(size + crcSize)
	if (rx.damage != 0 || c.lengthErrors || size+crcSize > c.maxFrame) && n.damaged(f) {
		return
	}
	if f[12] == 0x88 && f[13] == 0x08 {
		flow, consumed := n.macControl(f)
		if flow {
			rx.count.packets-- // all but flow control (8.2.3.23, TPR and TOR)
			rx.count.octets -= uint64(size + crcSize)
		}
		if consumed {
			n.stats.Control++
			return
		}
	}
	if c.pooled {
		n.arrivePools(f)
		return
	}
	rx.count.nofilter++
	rx.count.nofilterOctets += uint64(size + crcSize)
	ok, inexact := n.address(f)
	if !ok {
		n.stats.Filtered++
		return
	}
	n.countGood(f, size)
	m := c.parse(f)
	if c.perPool != 0 {
		m.queue = c.poolQueue(c.pool, m)
	}
	if m.hi&stTS != 0 {
		m = n.stampReceived(f, m)
	}
	if inexact {
		m.hi |= stPIF
	}
	if m.hi&(errTCPE|errIPE) != 0 {
		rx.count.checksum++
	}
	q := &rx.q[m.queue]
	if c.strip && !q.stripTag && rx.fifo.count == 0 && q.enabled && !q.halted && q.onBus &&
		q.head != q.tail && size <= q.size {
		rx.direct = true
		if n.deliverOne(q, f, m.untagged()) {
			rx.direct = false
			if n.arrivals != nil {
				n.arrivals.add(q.index, f, rx.arrived, n.stats.Offered-1)
			}
			return
		}
		rx.direct = false
	}
	n.enqueue(f, m)
}

// countGood counts a frame that passed the L2 filters, whether or not the packet
// buffer has room for it: the chip counts missed frames in GPRC, GORC and PRC
// (erratum; comments in ixgbe_update_stats of Linux and in
// ixgbe_read_stats_registers of DPDK).
func (n *NIC) countGood(f []byte, size int) {
	k := &n.rx.count
	octets := size
	if !n.rx.cfg.strip {
		octets += crcSize // GORC excludes a stripped CRC (DPDK, ixgbe_read_stats_registers)
	}
	k.good++
	k.goodOctets += uint64(octets)
	k.bins[sizeBin(size+crcSize)]++
	if f[0]&1 != 0 {
		if binary.LittleEndian.Uint32(f) == 0xffffffff && f[4] == 0xff && f[5] == 0xff {
			k.broadcast++
		} else {
			k.multicast++
		}
	}
}

// sizeBin is the index of the PRC and PTC counter for a length with CRC: 64,
// 65-127, 128-255, 256-511, 512-1023, 1024 and more.
func sizeBin(octets int) int {
	if octets <= 64 {
		return 0
	}
	return min(bits.Len(uint(octets))-6, 5)
}

// enqueue writes the frame to the host or, if its queue is not ready, puts it into
// the packet buffer. A full buffer drops it.
func (n *NIC) enqueue(f []byte, m meta) {
	rx := &n.rx
	q := &rx.q[m.queue]
	size := len(f)
	strip := (q.stripTag || q.hideTag) && m.hi&stVP != 0
	if strip || !rx.cfg.strip {
		f = n.rewrite(f, strip, m)
	}
	if q.hideTag {
		m.hi &^= stVP
	}
	if !strip || q.hideTag {
		m = m.untagged()
	}
	if rx.fifo.count == 0 && q.ready(len(f)) && q.onBus {
		rx.direct = true
		done, failed := n.deliver(q, f, m, 0)
		rx.direct = false
		if done == len(f) {
			n.complete(q, f, failed, rx.arrived, n.stats.Offered-1)
			return
		}
		// A descriptor could not be read or written: the rest waits.
		if n.buffer(f, size, m) {
			rx.fifo.done = done
			rx.fifo.slots[rx.fifo.first].failed = failed
			return
		}
	} else if n.buffer(f, size, m) {
		if rx.fifo.count == 1 {
			n.drain()
		}
		return
	}
	n.add(cRXMPC, 1)
	n.stats.Missed++
}

// buffer puts the current frame into the packet buffer. It returns false if the
// buffer is full.
func (n *NIC) buffer(f []byte, size int, m meta) bool {
	b := &n.rx.fifo
	if !b.put(f, size, n.rx.cfg.buffer, m) {
		return false
	}
	s := b.newest()
	s.arrived, s.seq = n.rx.arrived, n.stats.Offered-1
	return true
}

// rewrite returns the frame as the host gets it: without the VLAN tag if strip is
// set, with the CRC unless HLREG0.RXCRCSTRP is.
func (n *NIC) rewrite(f []byte, strip bool, m meta) []byte {
	b := n.rx.scratch[:0]
	crc := n.rx.crc
	if n.rx.damage&wire.BadCRC == 0 {
		crc = crc32.ChecksumIEEE(f)
	}
	if strip {
		at := 12
		if m.hi&stVEXT != 0 {
			at += 4
		}
		b = append(append(b, f[:at]...), f[at+4:]...)
	} else {
		b = append(b, f...)
	}
	if !n.rx.cfg.strip {
		b = binary.LittleEndian.AppendUint32(b, crc)
	}
	n.rx.scratch = b
	return b
}

// drain writes frames from the packet buffer to the host until the buffer is empty
// or the oldest frame's queue has no descriptors. Frames of disabled queues, and of
// queues with DROP_EN without descriptors, are dropped (datasheet 8.2.3.8.7). It
// reports whether it did anything.
func (n *NIC) drain() (busy bool) {
	b := &n.rx.fifo
	for b.count > 0 {
		s, f := b.head()
		q := &n.rx.q[s.meta.queue]
		if !q.enabled {
			n.ctr.v[q.drops]++
			n.stats.QueueDisabled++
			b.pop()
			busy = true
			continue
		}
		if b.done == 0 && q.drop && q.free() < q.need(len(f)) && q.need(len(f)) < int(q.ring.size) {
			n.ctr.v[q.drops]++
			n.stats.NoDescriptor++
			b.pop()
			busy = true
			continue
		}
		if !q.onBus || q.halted || q.free() == 0 {
			return busy
		}
		done, failed := n.deliver(q, f, s.meta, b.done)
		s.failed = s.failed || failed
		busy = busy || done > b.done
		if b.done = done; done < len(f) {
			return busy
		}
		n.complete(q, f, s.failed, s.arrived, s.seq)
		b.pop()
	}
	return busy
}

// complete counts and records a frame that has been written to the host: frame seq
// of the wire, which arrived at that time. failed: part of it was written to an
// unmapped address.
func (n *NIC) complete(q *rxQueue, f []byte, failed bool, arrived int64, seq uint64) {
	if n.arrivals != nil {
		n.arrivals.add(q.index, f, arrived, seq)
	}
	if failed {
		n.ctr.v[q.packets]++
		n.ctr.v[q.bytes] += uint64(len(f))
		n.signal(q.vf, q.vector)
		n.stats.Unwritten++
		return
	}
	q.newPackets++
	q.newBytes += uint64(len(f))
}

// flushCounts adds the counts of a batch to the registers.
func (n *NIC) flushCounts() {
	k := &n.rx.count
	for _, i := range n.rx.active {
		q := &n.rx.q[i]
		if q.newPackets == 0 {
			continue
		}
		n.ctr.v[q.packets] += q.newPackets
		n.ctr.v[q.bytes] += q.newBytes
		k.dma += q.newPackets
		k.dmaOctets += q.newBytes
		if q.vf != nil {
			q.vf.count.received(q.newPackets, q.newBytes)
		}
		n.signal(q.vf, q.vector)
		q.newPackets, q.newBytes = 0, 0
	}
	n.stats.Delivered += k.dma
	n.stats.DeliveredBytes += k.dmaOctets
	n.add(cTPR, k.packets)
	n.add(cTOR, k.octets)
	n.add(cRXNFGPC, k.nofilter)
	n.add(cRXNFGBC, k.nofilterOctets)
	n.add(cGPRC, k.good)
	n.add(cGORC, k.goodOctets)
	n.add(cBPRC, k.broadcast)
	n.add(cMPRC, k.multicast)
	n.add(cRXDGPC, k.dma)
	n.add(cRXDGBC, k.dmaOctets)
	n.add(cXEC, k.checksum)
	n.add(cFDIRMATCH, n.fdir.matched)
	n.add(cFDIRMISS, n.fdir.missed)
	n.fdir.matched, n.fdir.missed = 0, 0
	for i, v := range k.bins {
		n.add(cPRC64+4*uint32(i), v)
	}
	*k = rxCounts{}
}
