package index

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// Protocols of PPP that the collector parses.
const (
	pppIPv4 = 0x0021
	pppIPv6 = 0x0057
)

// frame adds the addresses, ports and protocols of a frame, of which d was kept.
//
// It parses what pcapfilter.Term defines: addresses, ports and protocols of IP and ARP
// headers after any number of VLAN tags, after MPLS labels and in PPPoE sessions, by
// the type fields. No filter matches bytes that were not kept.
func (c *collector) frame(d []byte) {
	if len(d) < 14 {
		return
	}
	kind, d := binary.BigEndian.Uint16(d[12:]), d[14:]
	for kind == ether.TypeVLAN || kind == ether.TypeQinQ || kind == ether.TypeQinQOld {
		if len(d) < 4 {
			return
		}
		kind, d = binary.BigEndian.Uint16(d[2:]), d[4:]
	}
	switch kind {
	case ether.TypeIPv4:
		c.ipv4(d)
	case ether.TypeIPv6:
		c.ipv6(d)
	case ether.TypeARP, ether.TypeRARP:
		if len(d) >= 18 {
			c.addr4(d[14:])
		}
		if len(d) >= 28 {
			c.addr4(d[24:])
		}
	case ether.TypeMPLS, ether.TypeMPLSUp:
		c.mpls(d)
	case ether.TypePPPoES:
		if len(d) < 8 {
			return
		}
		switch binary.BigEndian.Uint16(d[6:]) {
		case pppIPv4:
			c.ipv4(d[8:])
		case pppIPv6:
			c.ipv6(d[8:])
		}
	}
}

// mpls adds the IP packet after a stack of labels, by its version.
func (c *collector) mpls(d []byte) {
	for {
		if len(d) < 5 {
			return
		}
		bottom := d[2]&1 != 0
		if d = d[4:]; bottom {
			break
		}
	}
	switch d[0] >> 4 {
	case 4:
		c.ipv4(d)
	case 6:
		c.ipv6(d)
	}
}

func (c *collector) ipv4(d []byte) {
	if len(d) < 10 {
		return
	}
	c.proto(d[9])
	switch {
	case len(d) >= 20:
		// Most frames belong to flows that had a frame recently.
		pair := little.Uint64(d[12:])
		if recent := &c.pairs[pair*0x9e3779b97f4a7c15>>(64-pairBits)]; pair == 0 || *recent != pair {
			*recent = pair
			c.addr4(d[12:])
			c.addr4(d[16:])
		}
	case len(d) >= 16:
		c.addr4(d[12:])
	}
	if binary.BigEndian.Uint16(d[6:])&0x1fff == 0 { // later fragments have no ports
		c.transport(d[9], d, 4*int(d[0]&0xf))
	}
}

func (c *collector) ipv6(d []byte) {
	if len(d) < 7 {
		return
	}
	c.proto(d[6])
	if d[6] == ether.ProtoFragment && len(d) > 40 {
		c.proto(d[40])
	}
	if len(d) < 12 {
		return
	}
	c.addr6(d[8:min(len(d), 24)])
	if len(d) < 28 {
		return
	}
	c.addr6(d[24:min(len(d), 40)])
	c.transport(d[6], d, 40)
}

// transport adds the ports at d[at:].
func (c *collector) transport(proto byte, d []byte, at int) {
	if proto != ether.ProtoTCP && proto != ether.ProtoUDP && proto != ether.ProtoSCTP {
		return
	}
	if len(d) >= at+2 {
		c.port(binary.BigEndian.Uint16(d[at:]))
	}
	if len(d) >= at+4 {
		c.port(binary.BigEndian.Uint16(d[at+2:]))
	}
}
