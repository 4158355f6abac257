package sim

import "encoding/binary"

// address applies the L2 filters to a frame (datasheet 7.1.1): station
// addresses, multicast, broadcast, VLAN. inexact is set when only a hash or a
// promiscuous setting accepted it (PIF, datasheet 7.1.5).
func (n *NIC) address(f []byte) (ok, inexact bool) {
	c := &n.rx.cfg
	addr := uint64(binary.LittleEndian.Uint32(f)) | uint64(binary.LittleEndian.Uint16(f[4:]))<<32
	switch {
	case addr == 0xffffffffffff:
		ok = c.broadcast
	case f[0]&1 != 0:
		ok = c.multicast
		inexact = true
		if !ok && c.hashed {
			h := uint32(binary.LittleEndian.Uint16(f[4:])) >> c.hashShift & 0xfff
			ok = n.reg[rMTA/4+h>>5]>>(h&31)&1 != 0
		}
	default:
		ok = c.unicast
		inexact = true
	}
	if !ok || inexact {
		for _, a := range c.addrs {
			if a == addr {
				ok, inexact = true, false
				break
			}
		}
	}
	return ok && (!c.vlanFilter || n.vlan(f)), inexact
}

// vlan applies the VLAN filter (datasheet 7.1.1.2). Frames without a tag pass.
func (n *NIC) vlan(f []byte) bool {
	c := &n.rx.cfg
	at := 12
	if c.extended && binary.BigEndian.Uint16(f[at:]) == c.extTag {
		at += 4
	}
	if binary.BigEndian.Uint16(f[at:]) != c.tag {
		return true
	}
	tag := binary.BigEndian.Uint16(f[at+2:])
	if c.cfiOK && (tag>>12&1 != 0) != c.cfi {
		return false
	}
	id := uint32(tag & 0xfff)
	return n.reg[rVFTA/4+id>>5]>>(id&31)&1 != 0
}

// macControl reports whether a MAC control frame (EtherType 0x8808) is one of flow
// control, and whether the MAC consumes it: pause frames where flow control is on
// and MFLCN.DPF is set, others unless MFLCN.PMCF is set (datasheet 8.2.3.22).
func (n *NIC) macControl(f []byte) (flow, consumed bool) {
	c := &n.rx.cfg
	pause := binary.BigEndian.Uint16(f[14:]) == 1
	if pause && c.pause {
		if f[16]|f[17] == 0 {
			n.add(cLXONRX, 1)
		} else {
			n.add(cLXOFFRX, 1)
		}
		return true, c.discard
	}
	return false, !c.pass && (!pause || c.discard)
}
