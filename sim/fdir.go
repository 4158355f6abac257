package sim

import (
	"encoding/binary"
	"math/bits"
)

// flowDirector is the Flow Director (datasheet 7.1.2.7, 8.2.3.21): a table of filters
// that is looked up by a hash of the packet's fields. A perfect filter compares the
// fields too; a signature filter compares another hash of them.
type flowDirector struct {
	perfect  bool
	report   bool // the descriptor has the filter's number in place of the hash
	dropQ    uint32
	flex     int // offset of the flexible bytes
	capacity int
	hashKey  uint32
	sigKey   uint32

	buckets [1 << fdirHashBits][]fdirFilter
	filters int
	longest int // filters of a bucket, since FDIRLEN was read

	matched, missed uint64 // in this batch
	added, removed, addFailed,
	removeFailed uint16
}

const fdirHashBits = 15

// fdirFields are the fields of a packet or a filter, as the stream of bytes that is
// hashed: pool, flow type, VLAN tag, destination, source, ports, flexible bytes. An IPv4
// address is in the first four bytes of its place.
type fdirFields [44]byte

// Places in fdirFields.
const (
	fdirType  = 1
	fdirVLAN  = 2
	fdirDst   = 4
	fdirSrc   = 20
	fdirSport = 36
	fdirDport = 38
	fdirFlex  = 40
)

const fdirIPv6 = 1 << 2 // of the flow type, above L4TYPE

// fdirFilter is a filter.
type fdirFilter struct {
	fields fdirFields
	number uint32 // signature, or index of a perfect filter
	cmd    uint32 // FDIRCMD as it was added
}

// hash is the hash of the fields with one of the keys, 15 bits. The stream's first word
// takes part in another way than the others, whose exclusive or is all that counts.
func (p *fdirFields) hash(key uint32) uint32 {
	var rest uint32
	for i := 4; i < len(p); i += 4 {
		rest ^= binary.BigEndian.Uint32(p[i:])
	}
	first := binary.BigEndian.Uint32(p[:])
	high := rest ^ first ^ first>>16
	low := bits.RotateLeft32(rest, 16)
	var h uint32
	for i := range 16 {
		if key>>i&1 != 0 {
			h ^= low >> i
		}
		if key>>(i+16)&1 != 0 {
			h ^= high >> i
		}
		if i == 0 { // bit 0 of the first word is no part of the stream
			low ^= first ^ first<<16
		}
	}
	return h & (1<<fdirHashBits - 1)
}

func (p *fdirFields) and(mask *fdirFields) {
	for i := range p {
		p[i] &= mask[i]
	}
}

// Fields of FDIRCTRL and FDIRCMD.
const (
	fdirInitDone = 1 << 3
	fdirPerfect  = 1 << 4
	fdirReport   = 1 << 5

	fdirValid     = 1 << 2
	fdirClear     = 1 << 8
	fdirDrop      = 1 << 9
	fdirQueueEn   = 1 << 15
	fdirCmdAdd    = 1
	fdirCmdRemove = 2
	fdirCmdQuery  = 3
)

// configure decodes the registers and reports whether the Flow Director is on.
func (d *flowDirector) configure(n *NIC) bool {
	ctrl := n.reg[rFDIRCTRL/4]
	if ctrl&3 == 0 || ctrl&fdirInitDone == 0 {
		return false
	}
	size := 64 << (ctrl&3 - 1) // KiB of the receive packet buffer
	if n.rx.cfg.enabled && int(n.reg[rRXPBSIZE/4]>>10)+size > n.variant.rxBuffer() {
		n.fault("FDIRCTRL.PBALLOC takes %d KiB of the packet buffer, of which RXPBSIZE[0] takes %d", size, n.reg[rRXPBSIZE/4]>>10)
	}
	d.perfect, d.report = ctrl&fdirPerfect != 0, ctrl&fdirReport != 0
	d.dropQ, d.flex = ctrl>>8&0x7f, int(ctrl>>16&0x1f)*2
	d.capacity = size*1024/8 - 2
	if d.perfect {
		d.capacity = size*1024/32 - 2
	}
	d.hashKey, d.sigKey = n.reg[rFDIRHKEY/4], n.reg[rFDIRSKEY/4]
	return true
}

// maskOf returns the mask of packets and filters of a flow type, from FDIRM and the masks of
// addresses and ports: a bit that is set there is not compared.
func (n *NIC) maskOf(flowType byte, perfect bool) (m fdirFields) {
	const noVLANID, noVLANPriority, noPool, noTransport, noFlex, noDst6 = 1, 2, 4, 8, 16, 32
	fdirm := n.reg[rFDIRM/4]
	for i := range m {
		m[i] = 0xff
	}
	clear(m[fdirFlex+2:])
	binary.BigEndian.PutUint16(m[fdirVLAN:], 0xefff) // not CFI
	if fdirm&noVLANID != 0 {
		m[fdirVLAN] &^= 0x0f
		m[fdirVLAN+1] = 0
	}
	if fdirm&noVLANPriority != 0 {
		m[fdirVLAN] &^= 0xe0
	}
	if fdirm&noPool != 0 {
		m[0] = 0
	}
	if fdirm&noFlex != 0 {
		clear(m[fdirFlex:])
	}
	// The masks of ports are written with their bits in reverse order.
	ports := [4]uint32{flowUDP: n.reg[rFDIRUDPM/4], flowTCP: n.reg[rFDIRTCPM/4], flowSCTP: n.reg[rFDIRSCTPM/4]}[flowType&3]
	binary.BigEndian.PutUint16(m[fdirSport:], ^bits.Reverse16(uint16(ports)))
	binary.BigEndian.PutUint16(m[fdirDport:], ^bits.Reverse16(uint16(ports>>16)))
	if fdirm&noTransport != 0 {
		m[fdirType] &^= 3
		clear(m[fdirSport:fdirFlex])
	}
	if flowType&fdirIPv6 == 0 {
		binary.LittleEndian.PutUint32(m[fdirDst:], ^n.reg[rFDIRDIP4M/4])
		binary.LittleEndian.PutUint32(m[fdirSrc:], ^n.reg[rFDIRSIP4M/4])
		return m
	}
	// Of IPv6 addresses whole bytes are masked. A perfect filter has a source only: it
	// can compare the destination with the port's own address, which the model has not.
	ip6m := n.reg[rFDIRIP6M/4]
	for i := range 16 {
		if ip6m>>i&1 != 0 {
			m[fdirSrc+i] = 0
		}
		if perfect || fdirm&noDst6 != 0 || ip6m>>(16+i)&1 != 0 {
			m[fdirDst+i] = 0
		}
	}
	return m
}

// steer looks the packet up.
func (d *flowDirector) steer(c *rxConfig, f []byte, w *flow, m *fields) {
	var p fdirFields
	p[fdirType] = w.transport
	if w.v6 {
		p[fdirType] |= fdirIPv6
	}
	binary.BigEndian.PutUint16(p[fdirVLAN:], m.vlan)
	copy(p[fdirDst:], w.dst)
	copy(p[fdirSrc:], w.src)
	binary.BigEndian.PutUint16(p[fdirSport:], w.sport)
	binary.BigEndian.PutUint16(p[fdirDport:], w.dport)
	copy(p[fdirFlex:fdirFlex+2], f[min(d.flex, len(f)):])
	p.and(&c.fdirMask[p[fdirType]])
	hash := p.hash(d.hashKey)
	signature := uint32(0)
	if !d.perfect {
		signature = p.hash(d.sigKey)
	} else {
		hash &= fdirBuckets - 1
	}
	for i := range d.buckets[hash] {
		e := &d.buckets[hash][i]
		if d.perfect && e.fields != p || !d.perfect && e.number != signature {
			continue
		}
		d.matched++
		m.status |= stFLM
		if d.report {
			m.rssType = rssFlowDirector
			m.hash = hash | e.number<<16
		}
		switch {
		case e.cmd&fdirDrop != 0:
			c.choose(m, d.dropQ)
		case e.cmd&fdirQueueEn != 0:
			c.choose(m, e.cmd>>16&0x7f)
		}
		return
	}
	d.missed++
}

// fdirBuckets is the number of buckets of perfect filters: their hash has 13 bits.
const fdirBuckets = 1 << 13

func (d *flowDirector) clear() {
	for i := range d.buckets {
		d.buckets[i] = nil
	}
	d.filters = 0
}

// writeFDIRCTRL initializes the table, which is done at once (datasheet 8.2.3.21.1).
func (n *NIC) writeFDIRCTRL(_ int, v uint32) {
	n.fdir.clear()
	if v &^= fdirInitDone; v&3 != 0 {
		v |= fdirInitDone
	}
	n.reg[rFDIRCTRL/4] = v
	n.dirty = true
	n.fdir.configure(n)
}

// writeFDIRCMD performs a command at once: its field reads back 0 (datasheet 8.2.3.21.9).
func (n *NIC) writeFDIRCMD(_ int, v uint32) {
	d := &n.fdir
	if v&fdirClear != 0 {
		d.clear()
	}
	cmd := v & 3
	v &^= 3 | fdirValid
	if cmd != 0 && d.configure(n) {
		v = d.command(n, cmd, v)
	}
	n.reg[rFDIRCMD/4] = v
}

// command performs a command on the filter that FDIRHASH names: by the hash, with the
// signature or the index. It returns the new value of FDIRCMD.
func (d *flowDirector) command(n *NIC, cmd, v uint32) uint32 {
	hash := n.reg[rFDIRHASH/4] & (1<<fdirHashBits - 1)
	if d.perfect {
		hash &= fdirBuckets - 1
	}
	number := n.reg[rFDIRHASH/4] >> 16 & 0x7fff
	bucket := d.buckets[hash]
	at := 0
	for at < len(bucket) && bucket[at].number != number {
		at++
	}
	found := at < len(bucket)
	switch {
	case cmd == fdirCmdQuery && found:
		return bucket[at].cmd&^3 | fdirValid
	case cmd == fdirCmdRemove && found:
		d.buckets[hash] = append(bucket[:at], bucket[at+1:]...)
		d.filters--
		d.removed++
	case cmd == fdirCmdRemove:
		d.removeFailed++
	case cmd == fdirCmdAdd && found:
		bucket[at] = fdirFilter{d.registers(n, v), number, v}
	case cmd == fdirCmdAdd && d.filters >= d.capacity:
		d.addFailed++
	case cmd == fdirCmdAdd:
		d.buckets[hash] = append(bucket, fdirFilter{d.registers(n, v), number, v})
		d.filters++
		d.added++
		d.longest = max(d.longest, len(d.buckets[hash]))
	}
	return v
}

// registers returns the fields of the filter in the registers. A filter whose hash is not
// that of its fields is never found, as in the chip.
func (d *flowDirector) registers(n *NIC, cmd uint32) (p fdirFields) {
	p[0] = byte(cmd >> 24 & 0x3f)
	p[fdirType] = byte(cmd >> 5 & 7)
	binary.BigEndian.PutUint16(p[fdirVLAN:], uint16(n.reg[rFDIRVLAN/4]))
	binary.LittleEndian.PutUint16(p[fdirFlex:], uint16(n.reg[rFDIRVLAN/4]>>16))
	source := p[fdirSrc:]
	if p[fdirType]&fdirIPv6 != 0 {
		for i := range 3 {
			binary.LittleEndian.PutUint32(source, n.reg[rFDIRSIPv6/4+i])
			source = source[4:]
		}
	}
	binary.LittleEndian.PutUint32(source, n.reg[rFDIRIPSA/4])
	binary.LittleEndian.PutUint32(p[fdirDst:], n.reg[rFDIRIPDA/4])
	binary.BigEndian.PutUint16(p[fdirSport:], uint16(n.reg[rFDIRPORT/4]))
	binary.BigEndian.PutUint16(p[fdirDport:], uint16(n.reg[rFDIRPORT/4]>>16))
	mask := n.maskOf(p[fdirType], d.perfect)
	p.and(&mask)
	return p
}

// readFDIRFREE returns the number of filters that may be added.
func (n *NIC) readFDIRFREE(int) uint32 { return uint32(max(n.fdir.capacity-n.fdir.filters, 0)) }

// readFDIRLEN returns the length of the longest bucket, and clears it.
func (n *NIC) readFDIRLEN(int) uint32 {
	v := uint32(min(n.fdir.longest, 0x3f))
	n.fdir.longest = 0
	return v
}

// readFDIRUSTAT and readFDIRFSTAT return how many filters were added and removed, and how
// many could not be.
func (n *NIC) readFDIRUSTAT(int) uint32 {
	d := &n.fdir
	v := uint32(d.removed)<<16 | uint32(d.added)
	d.added, d.removed = 0, 0
	return v
}

func (n *NIC) readFDIRFSTAT(int) uint32 {
	d := &n.fdir
	v := uint32(d.removeFailed)<<16 | uint32(d.addFailed)
	d.addFailed, d.removeFailed = 0, 0
	return v
}
