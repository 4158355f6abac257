package sim

import "encoding/binary"

// Time stamps of PTP event messages (IEEE 1588), datasheet 7.9 and 8.2.3.26.
//
//	received:  TSYNCRXCTL, RXMTRL, ETQF.1588 select   ──► RXSTMP, RXSATR, and TS in the descriptor
//	sent:      TSYNCTXCTL, 1588 in the descriptor     ──► TXSTMP
//
// Each direction has one stamp. While it is valid no other frame is stamped; reading its
// high half makes it invalid. The stamp is SYSTIM when the first bit behind the start
// delimiter passes the MAC (IEEE 1588, 7.3.4.1).

const (
	tsyncValid  = 1 << 0 // TSYNCRXCTL.RXTT, TSYNCTXCTL.TXTT
	tsyncEnable = 1 << 4

	etqf1588 = 1 << 30 // ETQF: frames of the filter can be PTP messages

	ptpHeader = 34 // bytes

	// TSYNCRXCTL.Type.
	stampL2V2    = 0 // one type of message and the path delay messages, over Ethernet
	stampL4V1    = 1 // one type of message of version 1, over UDP
	stampV2      = 2 // as stampL2V2, over Ethernet and UDP
	stampEventV2 = 5 // all event messages of version 2
)

// stampFilter selects the received frames that are stamped.
type stampFilter struct {
	on      bool
	kind    uint32 // TSYNCRXCTL.Type
	control byte   // RXMTRL.CTRLT, of version 1
	message byte   // RXMTRL.MSGT, of version 2
	port    uint16 // RXMTRL.UDPT
}

func (n *NIC) configureStamps(s *stampFilter) {
	ctl, match := n.reg[rTSYNCRXCTL/4], n.reg[rRXMTRL/4]
	*s = stampFilter{
		on: ctl&tsyncEnable != 0, kind: ctl >> 1 & 7,
		control: byte(match), message: byte(match >> 8), port: uint16(match >> 16),
	}
}

// overUDP reports whether messages over UDP can be stamped.
func (s *stampFilter) overUDP() bool { return s.on && s.kind != stampL2V2 }

// matches reports whether a PTP message is to be stamped.
func (s *stampFilter) matches(p []byte, udp bool) bool {
	if !s.on || len(p) < ptpHeader {
		return false
	}
	const pdelayReq, pdelayResp, general = 2, 3, 8
	version, message := p[1]&0xf, p[0]&0xf
	switch s.kind {
	case stampL4V1:
		return udp && version == 1 && p[32] == s.control
	case stampL2V2, stampV2:
		// The path delay messages always match (Linux, ixgbe_ptp_set_timestamp_mode).
		return version == 2 && (!udp || s.kind == stampV2) &&
			(message == s.message || message == pdelayReq || message == pdelayResp)
	case stampEventV2:
		return version == 2 && message < general
	}
	return false
}

// udpPayload returns the payload of the UDP packet at f[off:], which parse has classified
// as m, if it goes to the port of RXMTRL.
func (s *stampFilter) udpPayload(f []byte, off int, m *fields) []byte {
	if m.ptype&(ptIP4|ptIP6) == ptIP4|ptIP6 {
		return nil // a tunnel
	}
	w, ok := flowOf(f, off, m)
	if !ok || w.transport != flowUDP || w.dport != s.port {
		return nil
	}
	l4 := f[off+40:]
	if w.v6 {
		_, l4, _ = skipExtensions(f[off+6], l4, &fields{})
	} else {
		l4 = f[off+int(f[off]&0xf)*4:]
	}
	return l4[8:]
}

// markPTP sets TS if p, the rest of the frame f, is a PTP message to be stamped.
func (c *rxConfig) markPTP(p []byte, udp bool, f []byte, m *fields) {
	if c.stamps.matches(p, udp) {
		m.status |= stTS
		c.ptpAt = len(f) - len(p)
	}
}

// stampReceived takes the stamp of a received frame that the filter matches, unless the
// last one has not been read. It returns m with TS in it if it did.
func (n *NIC) stampReceived(f []byte, m meta) meta {
	if n.reg[rTSYNCRXCTL/4]&tsyncValid != 0 {
		m.hi &^= stTS
		return m
	}
	now := n.tx.ticks(n.tx.clock()) / ticksPerNano
	end := min(max(n.rx.arrived-n.tx.zero, 0), now) * ticksPerNano
	stamp := n.systemTime(end - n.tx.lineTicks(len(f)+crcSize))
	p := f[n.rx.cfg.ptpAt:]
	n.reg[rRXSTMPL/4], n.reg[rRXSTMPH/4] = uint32(stamp), uint32(stamp>>32)
	n.reg[rRXSATRL/4] = binary.LittleEndian.Uint32(p[22:])
	n.reg[rRXSATRH/4] = uint32(binary.LittleEndian.Uint16(p[26:])) | uint32(binary.LittleEndian.Uint16(p[30:]))<<16
	n.reg[rTSYNCRXCTL/4] |= tsyncValid
	return m
}

// stampSent takes the stamp of a frame that was sent, if its descriptor asks for one,
// unless the last one has not been read.
func (n *NIC) stampSent(f *txFrame) {
	if n.reg[rTSYNCTXCTL/4]&(tsyncEnable|tsyncValid) != tsyncEnable {
		return
	}
	stamp := n.systemTime(f.end - n.tx.lineTicks(len(f.data)+crcSize))
	n.reg[rTXSTMPL/4], n.reg[rTXSTMPH/4] = uint32(stamp), uint32(stamp>>32)
	n.reg[rTSYNCTXCTL/4] |= tsyncValid
}

// lineTicks is how long n bytes take on the line.
func (l *txLine) lineTicks(n int) int64 { return int64(n) * 8 * l.bit }

func (n *NIC) readRXSTMPH(int) uint32 {
	n.reg[rTSYNCRXCTL/4] &^= tsyncValid
	return n.reg[rRXSTMPH/4]
}

func (n *NIC) readTXSTMPH(int) uint32 {
	n.reg[rTSYNCTXCTL/4] &^= tsyncValid
	return n.reg[rTXSTMPH/4]
}

func (n *NIC) ignore(int, uint32) {}
