package sim

import (
	"encoding/binary"
	"math/bits"
)

// Bits of PFVML2FLT, the L2 filter of a pool.
const (
	vmolrAUPE  = 1 << 24 // accept untagged frames
	vmolrROMPE = 1 << 25 // accept multicast by the hash table MTA
	vmolrROPE  = 1 << 26 // accept unicast by the hash table PFUTA
	vmolrBAM   = 1 << 27 // accept broadcast
	vmolrMPE   = 1 << 28 // accept all multicast
)

const (
	qdeEnable   = 1 << 0
	qdeHideVLAN = 1 << 1
)

// poolConfig holds the registers of virtualization, decoded once per change. Sets of
// pools are bit masks.
type poolConfig struct {
	on                  bool
	filter              [64]uint32   // PFVML2FLT
	fallback            uint64       // default pool, 0: none
	replica             bool         // PFVTCTL.Rpl_En
	loopback            bool         // PFDTXGSWC.LBE
	local               uint64       // PFVMTXSW: pools that get their own frames back
	receive             uint64       // PFVFRE
	transmit            uint64       // PFVFTE
	macs                []poolMAC    // receive addresses
	vlans               [64]poolVLAN // PFVLVF
	mirrors             [4]mirror    // PFMRCTL
	macSpoof, vlanSpoof uint64       // PFVFSPOOF: pools that are checked
	portVLAN            [64]uint32   // PFVMVIR
}

type poolMAC struct {
	addr  uint64
	pools uint64
}

type poolVLAN struct {
	valid bool
	id    uint16
	pools uint64
}

// mirror is a mirror rule: frames that it selects are also for one pool.
type mirror struct {
	pool                           uint64
	pools, uplink, downlink, vlans bool
	poolMask, vlanMask             uint64
}

// configureSwitch decodes the registers of virtualization (datasheet 7.10.3).
func (n *NIC) configureSwitch() {
	c := &n.rx.cfg.pools
	ctl, per := n.reg[rPFVTCTL/4], int(n.rx.cfg.perPool)
	c.on = ctl&1 != 0 && per > 0
	if !c.on {
		return
	}
	if len(n.vfs) > 0 && per != n.queuesPerVF() {
		n.fault("MRQC.MRQE %d and GCR_EXT.VT_Mode %d: pools of different size", n.reg[rMRQC/4]&0xf, n.reg[rGCREXT/4]&3)
	}
	if mtqc := n.reg[rMTQC/4]; n.reg[rDMATXCTL/4]&dmaTxEnable != 0 && (mtqc&2 == 0 || mtqc>>2&3 != map[int]uint32{2: 1, 4: 2}[per]) {
		n.fault("MRQC.MRQE %d and MTQC %#x: pools of different size", n.reg[rMRQC/4]&0xf, mtqc)
	}
	wide := func(off uint32) uint64 { return uint64(n.reg[off/4]) | uint64(n.reg[off/4+1])<<32 }
	c.fallback = 0
	if ctl&(1<<29) == 0 {
		c.fallback = 1 << (ctl >> 7 & 0x3f)
	}
	c.replica = ctl&(1<<30) != 0
	c.loopback = n.reg[rPFDTXGSWC/4]&1 != 0
	c.receive, c.transmit, c.local = wide(rPFVFRE), wide(rPFVFTE), wide(rPFVMTXSW)
	c.macs = c.macs[:0]
	for i := range uint32(128) {
		if high := n.reg[(rRAL+8*i)/4+1]; high>>31 != 0 {
			c.macs = append(c.macs, poolMAC{uint64(n.reg[(rRAL+8*i)/4]) | uint64(high&0xffff)<<32, wide(rMPSAR + 8*i)})
		}
	}
	c.macSpoof, c.vlanSpoof = 0, 0
	for i := range uint32(64) {
		c.filter[i] = n.reg[rPFVML2FLT/4+i]
		c.portVLAN[i] = n.reg[rPFVMVIR/4+i]
		v := n.reg[rPFVLVF/4+i]
		c.vlans[i] = poolVLAN{v>>31 != 0, uint16(v & 0xfff), wide(rPFVLVFB + 8*i)}
		spoof := uint64(n.reg[rPFVFSPOOF/4+i/8])
		c.macSpoof |= spoof >> (i % 8) & 1 << i
		c.vlanSpoof |= spoof >> (8 + i%8) & 1 << i
	}
	for i := range c.mirrors {
		r := n.reg[rPFMRCTL/4+i]
		c.mirrors[i] = mirror{
			pool: 1 << (r >> 8 & 0x3f), pools: r&1 != 0, uplink: r&2 != 0, downlink: r&4 != 0, vlans: r&8 != 0,
			poolMask: uint64(n.reg[rPFMRVM/4+i]) | uint64(n.reg[rPFMRVM/4+i+4])<<32,
			vlanMask: uint64(n.reg[rPFMRVLAN/4+i]) | uint64(n.reg[rPFMRVLAN/4+i+4])<<32,
		}
	}
}

// writePFQDE sets the bits of the queue that the value names (datasheet 8.2.3.8.15).
func (n *NIC) writePFQDE(_ int, v uint32) {
	const write = 1 << 16
	if v&write != 0 {
		n.rx.qde[v>>8&0x7f] = uint8(v & (qdeEnable | qdeHideVLAN))
		n.dirty = true
	}
}

// vlanOf returns the VLAN of a frame, and the entry of PFVLVF that has it, -1 for none.
func (n *NIC) vlanOf(f []byte) (tagged bool, entry int) {
	c := &n.rx.cfg
	at := 12
	if c.extended && binary.BigEndian.Uint16(f[at:]) == c.extTag {
		at += 4
	}
	if binary.BigEndian.Uint16(f[at:]) != c.tag {
		return false, -1
	}
	id := binary.BigEndian.Uint16(f[at+2:]) & 0xfff
	for i, v := range c.pools.vlans {
		if v.valid && v.id == id {
			return true, i
		}
	}
	return true, -1
}

// selectPools returns the pools that accept a frame by its address and VLAN, and
// whether a unicast address was matched exactly (datasheet 7.10.3.3). With the VLAN
// filter (VLNCTRL.VFE) a tagged frame is for pools with its VLAN only.
func (n *NIC) selectPools(f []byte, tagged bool, entry int) (list uint64, exact bool) {
	c := &n.rx.cfg.pools
	addr := uint64(binary.LittleEndian.Uint32(f)) | uint64(binary.LittleEndian.Uint16(f[4:]))<<32
	for _, m := range c.macs {
		if m.addr == addr {
			list |= m.pools
		}
	}
	exact = list != 0 && f[0]&1 == 0
	var accept uint32 // bits of PFVML2FLT that accept the frame
	switch {
	case addr == 0xffffffffffff:
		accept = vmolrBAM
	case f[0]&1 != 0:
		accept = vmolrMPE
		if n.hashed(f, rMTA) {
			accept |= vmolrROMPE
		}
	case list == 0 && n.hashed(f, rPFUTA):
		accept = vmolrROPE
	}
	for i, filter := range c.filter {
		if filter&accept != 0 {
			list |= 1 << i
		}
		if !tagged && filter&vmolrAUPE == 0 {
			list &^= 1 << i
		}
	}
	if tagged && n.rx.cfg.vlanFilter {
		if entry < 0 {
			return 0, exact
		}
		list &= c.vlans[entry].pools
	}
	return list, exact
}

// hashed reports whether a table of 4096 bits has the bit of a frame's address.
func (n *NIC) hashed(f []byte, table uint32) bool {
	h := uint32(binary.LittleEndian.Uint16(f[4:])) >> n.rx.cfg.hashShift & 0xfff
	return n.reg[table/4+h>>5]>>(h&31)&1 != 0
}

// mirrored returns the pools to which rules mirror a frame for the pools of list
// (datasheet 7.10.3.5). uplink: it came from the network; downlink: it goes there.
func (c *poolConfig) mirrored(list uint64, entry int, uplink, downlink bool) (pools uint64) {
	for _, m := range c.mirrors {
		if m.pools && list&m.poolMask != 0 || m.uplink && uplink || m.downlink && downlink ||
			m.vlans && entry >= 0 && m.vlanMask>>entry&1 != 0 {
			pools |= m.pool
		}
	}
	return pools
}

// arrivePools passes a frame from the network to its pools.
func (n *NIC) arrivePools(f []byte) {
	rx := &n.rx
	c := &rx.cfg.pools
	size := len(f)
	rx.count.nofilter++
	rx.count.nofilterOctets += uint64(size + crcSize)
	accepted, inexact := n.address(f)
	passed := !rx.cfg.vlanFilter || n.vlan(f)
	tagged, entry := n.vlanOf(f)
	var list uint64
	if passed {
		list, _ = n.selectPools(f, tagged, entry)
	}
	if list == 0 && accepted {
		list = c.fallback
	}
	if !c.replica && list != 0 {
		list = 1 << bits.TrailingZeros64(list)
	}
	if list != 0 || accepted {
		list |= c.mirrored(list, entry, true, false)
	}
	if list &= c.receive; list == 0 {
		n.stats.Filtered++
		return
	}
	n.countGood(f, size)
	m := rx.cfg.parse(f)
	if m.hi&stTS != 0 {
		m = n.stampReceived(f, m)
	}
	if inexact {
		m.hi |= stPIF
	}
	if m.hi&(errTCPE|errIPE) != 0 {
		rx.count.checksum++
	}
	n.stats.Copies += uint64(bits.OnesCount64(list)) - 1
	n.toPools(f, m, list)
}

// toPools writes a frame to a queue of each pool.
func (n *NIC) toPools(f []byte, m meta, list uint64) {
	to := m
	multicast := f[0]&1 != 0 && string(f[:6]) != "\xff\xff\xff\xff\xff\xff"
	for ; list != 0; list &= list - 1 {
		pool := bits.TrailingZeros64(list)
		to.queue = n.rx.cfg.poolQueue(uint32(pool), m)
		if v := n.rx.q[to.queue].vf; v != nil && multicast {
			v.count.mprc++
		}
		n.enqueue(f, to)
	}
}

// mayTransmit reports whether a queue's pool may transmit (PFVFTE).
func (n *NIC) mayTransmit(q *txQueue) bool {
	c := &n.rx.cfg.pools
	return !c.on || c.transmit>>q.pool&1 != 0
}

// forward switches a frame that a pool sends: to pools of this port and to the
// network, or to one of them (datasheet 7.10.3.4). It reports whether the frame goes
// to the network. A frame that fails the spoof check goes nowhere.
func (n *NIC) forward(q *txQueue, f []byte) bool {
	c := &n.rx.cfg.pools
	tagged, entry := n.vlanOf(f)
	if n.spoofed(q.pool, f, tagged, entry) {
		n.add(cSSVPC, 1)
		return false
	}
	if q.vf != nil {
		q.vf.count.sent(len(f))
	}
	if !c.loopback {
		return true
	}
	list, exact := n.selectPools(f, tagged, entry)
	network := !exact
	list |= c.mirrored(list, entry, false, network)
	if own := uint64(1) << q.pool; c.local&own == 0 {
		list &^= own
	}
	if list &= c.receive; list == 0 {
		return network
	}
	n.add(cRXLPBKGPC, 1)
	n.add(cRXLPBKGBC, uint64(len(f)))
	n.stats.Copies += uint64(bits.OnesCount64(list))
	m := n.rx.cfg.parse(f)
	m.hi &^= stTS // the frame does not pass the MAC
	n.toPools(f, m, list)
	return network
}

// spoofed reports whether a frame's source address or VLAN is not one of the pool
// that sends it, where the pool is checked (datasheet 7.10.3.9.2).
func (n *NIC) spoofed(pool int, f []byte, tagged bool, entry int) bool {
	c := &n.rx.cfg.pools
	bit := uint64(1) << pool
	if c.vlanSpoof&bit != 0 && tagged && (entry < 0 || c.vlans[entry].pools&bit == 0) {
		return true
	}
	if c.macSpoof&bit == 0 {
		return false
	}
	source := uint64(binary.LittleEndian.Uint32(f[6:])) | uint64(binary.LittleEndian.Uint16(f[10:]))<<32
	for _, m := range c.macs {
		if m.addr == source && m.pools&bit != 0 {
			return false
		}
	}
	return true
}

// tagPool inserts the VLAN tag of the pool's port VLAN (PFVMVIR), which replaces that
// of the descriptor.
func (n *NIC) tagPool(pool int, f []byte) []byte {
	const always = 1
	v := n.rx.cfg.pools.portVLAN[pool]
	if v>>30 != always || len(f) < 14 {
		return f
	}
	tag := n.tx.tag
	if binary.BigEndian.Uint16(f[12:]) == tag {
		binary.BigEndian.PutUint16(f[14:], uint16(v))
		return f
	}
	f = append(f, 0, 0, 0, 0)
	copy(f[16:], f[12:len(f)-4])
	binary.BigEndian.PutUint16(f[12:], tag)
	binary.BigEndian.PutUint16(f[14:], uint16(v))
	return f
}
