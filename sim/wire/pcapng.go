package wire

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// Block types of pcapng (draft-ietf-opsawg-pcapng).
const (
	ngSection   = 0x0a0d0d0a // the same in either byte order
	ngInterface = 1
	ngPacket    = 2 // obsolete, still found
	ngSimple    = 3
	ngEnhanced  = 6

	ngByteOrder = 0x1a2b3c4d

	ngOptEnd     = 0
	ngOptResol   = 9
	ngOptFCS     = 13
	ngOptOffset  = 14
	ngMostIfaces = 1 << 16
)

// ngIface is what frames need to know of their interface.
type ngIface struct {
	link    uint16
	snaplen uint32
	resol   uint8 // if_tsresol: 10^-n, or 2^-n with the top bit set
	fcs     uint8 // bytes
	offset  int64 // seconds added to stamps
}

// pcapng reads sections of blocks: type, total length, body, total length.
func (c *collector) pcapng() error {
	var order binary.ByteOrder
	var ifaces []ngIface
	size := int64(len(c.data))
	for off := int64(0); off < size; {
		if size-off < 12 {
			return c.cutShort(off, int(size-off), "block header", 12)
		}
		h := c.data[off:]
		section := binary.LittleEndian.Uint32(h) == ngSection
		if section {
			switch uint32(ngByteOrder) {
			case binary.LittleEndian.Uint32(h[8:]):
				order = binary.LittleEndian
			case binary.BigEndian.Uint32(h[8:]):
				order = binary.BigEndian
			default:
				return c.damaged(off, "section header without byte-order magic")
			}
			ifaces = ifaces[:0]
		}
		kind, total := order.Uint32(h), int64(order.Uint32(h[4:]))
		if total < 12 || total%4 != 0 {
			return c.damaged(off, "block of %d bytes", total)
		}
		if size-off < total {
			return c.cutShort(off, int(size-off), "block", total)
		}
		if again := int64(order.Uint32(h[total-4:])); again != total {
			return c.damaged(off, "block of %d bytes at its start and %d at its end", total, again)
		}
		body := h[8 : total-4]
		var err error
		switch {
		case section:
			if len(body) < 16 {
				err = c.damaged(off, "section header of %d bytes", total)
			} else if major := order.Uint16(body[4:]); major != 1 {
				err = c.damaged(off, "pcapng version %d.%d, want 1.x", major, order.Uint16(body[6:]))
			}
		case kind == ngInterface:
			var i ngIface
			if i, err = c.ngInterface(off, body, order); err == nil {
				if ifaces = append(ifaces, i); len(ifaces) > ngMostIfaces {
					err = c.damaged(off, "more than %d interfaces", ngMostIfaces)
				}
			}
		case kind == ngEnhanced || kind == ngSimple || kind == ngPacket:
			err = c.ngFrame(off, kind, body, order, ifaces)
		}
		if err != nil {
			return err
		}
		off += total
	}
	return nil
}

func (c *collector) ngInterface(off int64, body []byte, order binary.ByteOrder) (ngIface, error) {
	if len(body) < 8 {
		return ngIface{}, c.damaged(off, "interface description of %d bytes", len(body))
	}
	i := ngIface{link: order.Uint16(body), snaplen: order.Uint32(body[4:]), resol: 6}
	for o := body[8:]; len(o) >= 4; {
		code, n := order.Uint16(o), int(order.Uint16(o[2:]))
		if code == ngOptEnd {
			break
		}
		padded := (n + 3) &^ 3
		if o = o[4:]; len(o) < padded {
			return i, c.damaged(off, "interface option %d of %d bytes runs past its block", code, n)
		}
		switch {
		case code == ngOptResol && n == 1:
			i.resol = o[0]
		case code == ngOptFCS && n == 1:
			i.fcs = o[0]
		case code == ngOptOffset && n == 8:
			if i.offset = int64(order.Uint64(o)); i.offset > 1<<33 || i.offset < -1<<33 {
				return i, c.damaged(off, "time offset of %d s", i.offset)
			}
		}
		o = o[padded:]
	}
	return i, nil
}

func (c *collector) ngFrame(off int64, kind uint32, body []byte, order binary.ByteOrder, ifaces []ngIface) error {
	header := 20
	if kind == ngSimple {
		header = 4
	}
	if len(body) < header {
		return c.damaged(off, "packet block of %d bytes", len(body)+12)
	}
	var id, caplen, length uint32
	switch kind {
	case ngSimple:
		length = order.Uint32(body)
	case ngPacket:
		id = uint32(order.Uint16(body))
	case ngEnhanced:
		id = order.Uint32(body)
	}
	if int64(id) >= int64(len(ifaces)) {
		return c.damaged(off, "frame of interface %d, the section describes %d", id, len(ifaces))
	}
	iface := &ifaces[id]
	if kind == ngSimple {
		if caplen = length; iface.snaplen != 0 {
			caplen = min(length, iface.snaplen)
		}
	} else {
		caplen, length = order.Uint32(body[12:]), order.Uint32(body[16:])
	}
	if iface.link != linkEthernet {
		return wrongLink(uint32(iface.link))
	}
	if iface.fcs != 0 {
		return withFCS(int(iface.fcs))
	}
	if err := c.checkLengths(off, caplen, length); err != nil {
		return err
	}
	if int64(len(body)-header) < int64(caplen) {
		return c.damaged(off, "%d bytes captured in a block that has room for %d", caplen, len(body)-header)
	}
	var stamp int64
	if kind == ngSimple {
		if c.timeless == 0 {
			c.timeless = len(c.slots) + 1
		}
	} else {
		var err error
		if stamp, err = iface.stamp(uint64(order.Uint32(body[4:]))<<32 | uint64(order.Uint32(body[8:]))); err != nil {
			return c.damaged(off, "%v", err)
		}
	}
	return c.frame(off, off+8+int64(header), caplen, length, stamp)
}

var errStamp = errors.New("time stamp before 1970 or after 2242")

// stamp turns an interface's time units into ns since 1970.
func (i *ngIface) stamp(units uint64) (int64, error) {
	const lastSecond = 1 << 33
	var sec, ns uint64
	if n := uint(i.resol & 0x7f); i.resol&0x80 != 0 {
		if n < 64 {
			sec = units >> n
			hi, lo := bits.Mul64(units-sec<<n, 1e9)
			ns = hi<<(64-n) | lo>>n
		} else if n < 128 { // less than a second in all
			hi, _ := bits.Mul64(units, 1e9)
			ns = hi >> (n - 64)
		}
	} else if n <= 9 {
		perSecond := pow10(n)
		sec, ns = units/perSecond, units%perSecond*(1e9/perSecond)
	} else if n <= 19 {
		perSecond := pow10(n)
		sec, ns = units/perSecond, units%perSecond/(perSecond/1e9)
	} else if n <= 28 { // 2^64 units are less than a second
		ns = units / pow10(n-9)
	}
	if sec > lastSecond {
		return 0, errStamp
	}
	at := int64(sec) + i.offset
	if at < 0 || at > lastSecond {
		return 0, errStamp
	}
	return at*1e9 + int64(ns), nil
}

func pow10(n uint) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}
