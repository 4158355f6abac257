package sim

import "encoding/binary"

// txContext is a context descriptor (datasheet 7.2.3): parameters of the offloads
// of the data descriptors after it.
type txContext struct {
	vlan        uint16
	mac, ip, l4 int // header lengths
	mss         int
	ip4         bool
	transport   int // 0 UDP, 1 TCP, 2 SCTP
}

func parseContext(lo, hi uint64) txContext {
	return txContext{
		ip:        int(lo & 0x1ff),
		mac:       int(lo >> 9 & 0x7f),
		vlan:      uint16(lo >> 16),
		ip4:       hi>>10&1 != 0,
		transport: int(hi >> 11 & 3),
		l4:        int(hi >> 40 & 0xff),
		mss:       int(hi >> 48),
	}
}

// offload turns the assembled packet into frames.
func (n *NIC) offload(q *txQueue) {
	p, d := q.packet, q.first
	ifcs := d&tdIFCS != 0
	if d&tdDEXT == 0 {
		n.legacyOffload(q, p, d)
		return
	}
	c := q.context[d>>36&1]
	const checkContext = 1 << 39
	if d&(tdTSE|tdIXSM|tdTXSM|tdVLE|checkContext) == 0 {
		n.emit(q, p, ifcs)
		return
	}
	if d&tdTSE != 0 {
		n.segment(q, p, d, c)
		return
	}
	finishChecksums(p, d, c)
	n.emit(q, n.withTag(p, d, c.vlan), ifcs)
}

// legacyOffload computes one checksum from CSS to the end, stores it at CSO, and
// inserts the VLAN tag of the descriptor (datasheet 7.2.3).
func (n *NIC) legacyOffload(q *txQueue, p []byte, d uint64) {
	if d&tdIC != 0 {
		at, from := int(d>>16&0xff), int(d>>40&0xff)
		if at+2 <= len(p) && from < len(p) {
			binary.LittleEndian.PutUint16(p[at:], ^fold(sum(p[from:])))
		}
	}
	n.emit(q, n.withTag(p, d, uint16(d>>48)), d&tdIFCS != 0)
}

// withTag inserts a VLAN tag if the descriptor has VLE set: with DMATXCTL.GDV behind the
// outer tag (datasheet 7.4.5).
func (n *NIC) withTag(p []byte, d uint64, tag uint16) []byte {
	if d&tdVLE == 0 {
		return p
	}
	at := 12
	if n.tx.double && len(p) >= 18 && binary.BigEndian.Uint16(p[at:]) == n.rx.cfg.extTag {
		at += 4
	}
	p = append(p, 0, 0, 0, 0)
	copy(p[at+4:], p[at:len(p)-4])
	binary.BigEndian.PutUint16(p[at:], n.tx.tag)
	binary.BigEndian.PutUint16(p[at+2:], tag)
	return p
}

// finishChecksums computes the checksums that POPTS selects. The transport's
// checksum field holds the sum of the pseudo header (datasheet 7.2.5).
func finishChecksums(p []byte, d uint64, c txContext) {
	if l4 := c.mac + c.ip; d&tdTXSM != 0 && l4 < len(p) {
		t := p[l4:]
		switch at := checksumAt(c.transport); {
		case c.transport == 2 && len(t) >= 12:
			sctpSet(t)
		case at > 0 && at+2 <= len(t):
			v := ^fold(sum(t))
			if v == 0 && c.transport == 0 {
				v = 0xffff
			}
			binary.LittleEndian.PutUint16(t[at:], v)
		}
	}
	if d&tdIXSM != 0 && c.ip4 && c.ip >= 20 && c.mac+c.ip <= len(p) {
		h := p[c.mac : c.mac+c.ip]
		h[10], h[11] = 0, 0
		binary.LittleEndian.PutUint16(h[10:], ^fold(sum(h)))
	}
}

// checksumAt is the offset of a transport's checksum in its header.
func checksumAt(transport int) int {
	return [4]int{6, 16, 0, 0}[transport&3]
}

// segment cuts a TCP or UDP packet into frames of at most MSS bytes of payload.
// It updates length, identification, sequence number, flags and checksums of each
// frame's headers (datasheet 7.2.4).
func (n *NIC) segment(q *txQueue, p []byte, d uint64, c txContext) {
	head := c.mac + c.ip + c.l4
	if c.mss == 0 || c.mac < 14 || c.ip < 20 || c.l4 < 8 || (c.transport == 1 && c.l4 < 20) || head >= len(p) ||
		(!c.ip4 && c.ip < 40) || c.transport == 2 {
		n.fault("segmentation of %d bytes with headers %d+%d+%d, MSS %d", len(p), c.mac, c.ip, c.l4, c.mss)
		return
	}
	payload := p[head:]
	ip, l4 := c.mac, c.mac+c.ip
	id := binary.BigEndian.Uint16(p[ip+4:])
	var seq uint32
	var flags uint16
	if c.transport == 1 { // a UDP packet may be shorter
		seq, flags = binary.BigEndian.Uint32(p[l4+4:]), binary.BigEndian.Uint16(p[l4+12:])
	}
	pseudo := pseudoSum(p[ip:], c)
	frame := make([]byte, 0, head+c.mss+4)
	for k, off := 0, 0; off < len(payload); k++ {
		chunk := payload[off:min(off+c.mss, len(payload))]
		frame = append(append(frame[:0], p[:head]...), chunk...)
		last := off+len(chunk) == len(payload)
		if c.ip4 {
			binary.BigEndian.PutUint16(frame[ip+2:], uint16(c.ip+c.l4+len(chunk)))
			binary.BigEndian.PutUint16(frame[ip+4:], id+uint16(k))
		} else {
			binary.BigEndian.PutUint16(frame[ip+4:], uint16(c.ip-40+c.l4+len(chunk)))
		}
		t := frame[l4:]
		if c.transport == 1 {
			binary.BigEndian.PutUint32(t[4:], seq+uint32(off))
			binary.BigEndian.PutUint16(t[12:], flags&^0xfff|flags&0xfff&n.flagMask(k == 0, last))
		} else {
			binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
		}
		at := checksumAt(c.transport)
		t[at], t[at+1] = 0, 0
		length := uint64(len(t)>>8&0xff | len(t)&0xff<<8)
		binary.LittleEndian.PutUint16(t[at:], ^fold(sum(t)+pseudo+length))
		if c.ip4 {
			h := frame[ip : ip+c.ip]
			h[10], h[11] = 0, 0
			binary.LittleEndian.PutUint16(h[10:], ^fold(sum(h)))
		}
		n.emit(q, n.withTag(frame, d, c.vlan), true)
		frame = frame[:0]
		off += len(chunk)
	}
}

// flagMask is the mask that DTXTCPFLGL and DTXTCPFLGH apply to the TCP flags of
// the first, middle and last segment.
func (n *NIC) flagMask(first, last bool) uint16 {
	mask := uint16(0xfff)
	low := n.reg[rDTXTCPL/4]
	switch {
	case first && last:
	case first:
		mask = uint16(low & 0xfff)
	case last:
		mask = uint16(n.reg[rDTXTCPH/4] & 0xfff)
	default:
		mask = uint16(low >> 16 & 0xfff)
	}
	return mask
}

// pseudoSum is the pseudo header's sum without the length.
func pseudoSum(ip []byte, c txContext) uint64 {
	proto := uint64(6) << 8
	if c.transport == 0 {
		proto = 17 << 8
	}
	if c.ip4 {
		return sum(ip[12:20]) + proto
	}
	return sum(ip[8:40]) + proto
}
