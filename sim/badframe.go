package sim

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/sim/wire"
)

// damaged examines a frame in which the MAC may find an error. It reports whether
// that ends the frame's path: with FCTRL.SBP a bad frame goes to the host too. The
// MAC counts a frame once, by its length first, whether or not the filters accept it
// (datasheet 8.2.3.23).
func (n *NIC) damaged(f []byte) bool {
	counter, outcome := n.findDamage(f)
	if outcome == nil {
		return false
	}
	n.add(counter, 1)
	if n.rx.cfg.storeBad {
		n.storeBad(f)
	} else {
		*outcome++
	}
	return true
}

// findDamage returns the counters of a bad frame: the register and the field of
// Stats. For a good one it returns nil.
func (n *NIC) findDamage(f []byte) (counter uint32, outcome *uint64) {
	c, damage, size := &n.rx.cfg, n.rx.damage, len(f)+crcSize
	badCRC := damage&wire.BadCRC != 0
	s := &n.stats
	switch {
	case size < minFrame+crcSize && badCRC:
		return cRFC, &s.Undersize
	case size < minFrame+crcSize:
		return cRUC, &s.Undersize
	case size > c.maxFrame && n.oversize(f) && badCRC:
		return cRJC, &s.Oversize
	case size > c.maxFrame && n.oversize(f):
		return cROC, &s.Oversize
	case damage&wire.ErrorByte != 0:
		return cERRBC, &s.BadByte
	case damage&wire.IllegalByte != 0:
		return cILLERRC, &s.BadByte
	case badCRC:
		return cCRCERRS, &s.BadCRC
	case c.lengthErrors && n.lengthError(f):
		return cRLEC, &s.BadLength
	}
	return 0, nil
}

// oversize reports whether a frame is longer than MAXFRS, not counting a VLAN tag,
// or two with extended VLAN (datasheet 8.2.3.22.13).
func (n *NIC) oversize(f []byte) bool {
	c := &n.rx.cfg
	size := len(f) + crcSize
	if c.extended {
		size -= 8
	} else if binary.BigEndian.Uint16(f[12:]) == c.tag {
		size -= 4
	}
	return size > c.maxFrame
}

// lengthError reports whether a frame has a length field, behind the tag if it has
// one, that its length contradicts. A frame of the shortest length may have padding.
func (n *NIC) lengthError(f []byte) bool {
	at := 12
	if binary.BigEndian.Uint16(f[at:]) == n.rx.cfg.tag {
		at += 4
	}
	field, payload := int(binary.BigEndian.Uint16(f[at:])), len(f)-at-2
	return field < 0x600 && (field > payload || field < payload && len(f) > minFrame)
}

// storeBad passes a bad frame to the host, with RXE (FCTRL.SBP, datasheet 7.1.6.2).
// One that is shorter than the shortest frame goes to queue 0.
func (n *NIC) storeBad(f []byte) {
	head := f
	if len(f) < minFrame {
		clear(n.rx.pad[copy(n.rx.pad[:], f):])
		head = n.rx.pad[:]
	}
	ok, inexact := n.address(head)
	if !ok {
		n.stats.Filtered++
		return
	}
	var m meta
	if len(f) >= minFrame {
		m = n.rx.cfg.parse(f)
	}
	m.hi |= errRXE
	if inexact {
		m.hi |= stPIF
	}
	n.enqueue(f, m)
}
