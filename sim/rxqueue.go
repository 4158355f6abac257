package sim

import "sync/atomic"

// rxQueue is a receive queue. The device owns descriptors head to tail-1; RDH
// returns head.
type rxQueue struct {
	index    int
	enabled  bool
	halted   bool // a descriptor could not be accessed; cleared by the next tail write
	legacy   bool
	drop     bool // SRRCTL.DROP_EN
	stripTag bool // RXDCTL.VME
	onBus    bool // its function may use the bus, as of this pass
	hideTag  bool // PFQDE.HIDE_VLAN: a stripped tag is not reported
	vector   int8
	mem      *windows       // of its function, writable
	bell     *atomic.Uint32 // RDT
	vf       *VF            // whose queue it is, nil: the physical function
	ring     ring
	head     uint32
	tail     uint32 // last valid value of RDT
	seen     uint32 // RDT at the last pass
	changes  int    // of RDT, for Faults.LostDoorbell
	size     int    // bytes of a packet buffer
	packets  uint32 // counter words
	bytes    uint32
	drops    uint32

	newPackets, newBytes uint64 // in this batch
}

// free is the number of descriptors that the device owns.
func (q *rxQueue) free() int {
	if q.tail >= q.head {
		return int(q.tail - q.head)
	}
	return int(q.ring.size - q.head + q.tail)
}

// ready reports whether there are descriptors for the whole frame.
func (q *rxQueue) ready(size int) bool {
	if !q.enabled || q.halted {
		return false
	}
	if size <= q.size {
		return q.head != q.tail
	}
	return q.free() >= q.need(size)
}

// need is the number of descriptors for a frame.
func (q *rxQueue) need(size int) int {
	if size <= q.size {
		return 1
	}
	if q.size == 0 {
		return 1 << 30
	}
	return (size + q.size - 1) / q.size
}

// refreshTails loads the tail registers of all enabled queues.
func (n *NIC) refreshTails() {
	for _, i := range n.rx.active {
		q := &n.rx.q[i]
		if !q.enabled {
			continue
		}
		if v := q.bell.Load(); v != q.seen {
			n.setRxTail(i, q, v)
		}
	}
}

func (n *NIC) setRxTail(i int, q *rxQueue, v uint32) {
	q.seen = v
	q.changes++
	if every := n.cfg.Faults.LostDoorbell; every > 0 && q.changes%every == 0 {
		return
	}
	if v >= q.ring.size {
		n.fault("RDT[%d] = %d: the ring has %d descriptors", i, v, q.ring.size)
		return
	}
	q.tail = v
	q.halted = false
}

// deliverOne is the fast path of deliver: a frame that fits one buffer of a queue
// whose memory is shared. Otherwise it returns false and does nothing.
func (n *NIC) deliverOne(q *rxQueue, f []byte, m meta) bool {
	i := int(q.head) * 2
	if i+1 >= len(q.ring.mem) || q.legacy {
		return false
	}
	d := q.ring.mem[i : i+2 : i+2]
	addr := d[0]
	dst := q.mem.slot(addr).at(addr, len(f))
	if dst == nil {
		return false
	}
	copy(dst, f)
	lo, hi := m.advanced(len(f), true)
	d[0] = lo
	storeRelease(&d[1], hi) // R1, as in ring.writeBack
	if q.head++; q.head == q.ring.size {
		q.head = 0
	}
	q.newPackets++
	q.newBytes += uint64(len(f))
	return true
}

// deliver writes a frame's bytes from done on to the host, descriptor by
// descriptor. It returns the bytes written so far, and whether some went to an
// unmapped address: PCI Express writes are posted, so the device gets no error and
// completes the descriptor.
func (n *NIC) deliver(q *rxQueue, f []byte, m meta, done int) (int, bool) {
	failed := false
	q.ring.prepare(n)
	if q.size == 0 {
		q.halted = true
		return done, false
	}
	for done < len(f) && q.head != q.tail {
		addr, _, err := q.ring.fetch(n, q.head)
		if err != nil {
			n.abort(q, err)
			return done, failed
		}
		chunk := min(q.size, len(f)-done)
		if dst := q.ring.fn.writable(addr, chunk); dst != nil {
			copy(dst, f[done:done+chunk])
		} else if err := q.ring.fn.host.WriteDMA(addr, f[done:done+chunk]); err != nil {
			n.fault("receive queue %d, buffer at %#x: %v", q.index, addr, err)
			failed = true
		}
		last := done+chunk == len(f)
		if q.legacy {
			err = q.ring.writeBackHigh(n, q.head, m.legacy(chunk, last))
		} else {
			lo, hi := m.advanced(chunk, last)
			err = q.ring.writeBack(n, q.head, lo, hi)
		}
		if err != nil {
			n.abort(q, err)
			return done, failed
		}
		if q.head++; q.head == q.ring.size {
			q.head = 0
		}
		done += chunk
	}
	return done, failed
}

// advanced is the write-back format of the advanced receive descriptor
// (datasheet 7.1.6). All fields but DD and the length are valid in the frame's last
// descriptor only.
func (m meta) advanced(size int, last bool) (lo, hi uint64) {
	hi = uint64(size)<<32 | stDD
	if last {
		return m.lo, m.hi | hi | stEOP
	}
	return 0, hi
}

// legacy is the second word of the legacy receive descriptor (datasheet 7.1.5); the
// first keeps the buffer's address.
func (m meta) legacy(size int, last bool) uint64 {
	v := uint64(size) | stDD<<32
	if last {
		v |= uint64(m.status()&0xff|stEOP)<<32 | uint64(m.status()>>24&0xc0)<<40 | m.hi>>48<<48
		if m.status()&stUDPV != 0 {
			v |= m.lo >> 48 << 16
		}
	}
	return v
}

// abort stops a queue whose descriptors cannot be accessed. The completion is an
// Unsupported Request, which sets Received Master Abort in the PCI status register.
func (n *NIC) abort(q *rxQueue, err error) {
	q.halted = true
	q.ring.fn.pci.b[0x07] |= 1 << 5
	n.fault("receive queue %d, ring at %#x: %v", q.index, q.ring.base, err)
}

func (n *NIC) readRDH(i int) uint32 { return n.rx.q[i].head }

// writeRDH sets the head, which must lie in the ring (datasheet 8.2.3.8.4).
func (n *NIC) writeRDH(i int, v uint32) {
	q := &n.rx.q[i]
	if v &= 0xffff; q.enabled && v >= max(q.ring.size, 1) {
		n.fault("RDH[%d] = %d: the ring has %d descriptors", i, v, q.ring.size)
		return
	}
	q.head = v
}

func (n *NIC) readRDT(i int) uint32 { return n.rxBell(i).Load() & 0xffff }

func (n *NIC) writeRDT(i int, v uint32) { n.rxBell(i).Store(v & 0xffff) }

const (
	dctlEnable = 1 << 25
	dctlFlush  = 1 << 26
)

// writeRXDCTL enables or disables a queue; ENABLE reads back its state (datasheet
// 8.2.3.8.6). Base and length are latched when it is enabled.
func (n *NIC) writeRXDCTL(i int, v uint32) {
	q := &n.rx.q[i]
	w := rxReg(i, qDCTL) / 4
	n.reg[w] = v &^ dctlFlush
	if n.cfg.Faults.NoEnable {
		n.reg[w] &^= dctlEnable
	}
	n.dirty = true
	if on := v&dctlEnable != 0; on != q.enabled {
		q.enabled = on
		q.halted = false
		if on {
			n.startRx(i, q)
		} else {
			q.ring.invalidate()
		}
	}
}

func (n *NIC) startRx(i int, q *rxQueue) {
	q.index = i
	q.bell, q.vf = n.rxBell(i), n.owner(i)
	q.ring = ring{
		fn:   n.functionOf(q.vf),
		base: uint64(n.reg[rxReg(i, qBAL)/4]) | uint64(n.reg[rxReg(i, qBAH)/4])<<32,
		size: n.reg[rxReg(i, qLEN)/4] / 16,
	}
	q.mem = &q.ring.fn.mem.writable
	if q.ring.size == 0 {
		n.fault("RXDCTL[%d].ENABLE with RDLEN 0", i)
	}
	if q.head >= q.ring.size {
		q.head = 0
	}
	q.tail = q.head
	q.seen = q.head
	q.vector = -1
}
