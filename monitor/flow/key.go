package flow

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/ixcap/ixcap/capture/headers"
)

// key is what packets of a flow have in common:
//
//	0, 1  address of end a          2, 3  address of end b
//	4     port a, port b, VLAN, inner VLAN, from the lowest bits on
//	5     number of the tunnel (32), EtherType (16), protocol (8), tunnels (7), byMAC (1)
//
// Of both directions of a flow, end a is the smaller one.
type key [6]uint64

const byMAC = 1 << 63 // the addresses are those of Ethernet

// unused is the key of an entry without a flow.
var unused = key{5: ^uint64(0)}

// seeds make the hash unknown to senders.
type seeds [7]uint64

// equal is ==, without a call.
func (k *key) equal(o *key) bool {
	return (k[0]^o[0])|(k[1]^o[1])|(k[2]^o[2])|(k[3]^o[3])|(k[4]^o[4])|(k[5]^o[5]) == 0
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func (k *key) hash(s *seeds) uint64 {
	a := mix(k[0]^s[0], k[1]^s[1])
	b := mix(k[2]^s[2], k[3]^s[3])
	c := mix(k[4]^s[4], k[5]^s[5])
	return mix(a^bits.RotateLeft64(b, 32)^s[6], c^s[0]^b)
}

// arrange exchanges the ends if a is the larger one, and reports that.
func (k *key) arrange() bool {
	a, b := uint16(k[4]), uint16(k[4]>>16)
	switch {
	case k[0] != k[2]:
		if k[0] < k[2] {
			return false
		}
	case k[1] != k[3]:
		if k[1] < k[3] {
			return false
		}
	case a <= b:
		return false
	}
	k.exchange()
	return true
}

func (k *key) exchange() {
	k[0], k[1], k[2], k[3] = k[2], k[3], k[0], k[1]
	p := uint32(k[4])
	k[4] = k[4]&^0xffffffff | uint64(p>>16|p<<16)
}

// address is one that the key has.
func address(lo, hi uint64, etherType uint16) netip.Addr {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], lo)
	binary.LittleEndian.PutUint64(b[8:], hi)
	if etherType == typeIPv6 {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}

// record writes the key of a flow that end a opened.
func (k key) record(r *Record) {
	r.EtherType, r.Proto = uint16(k[5]>>32), uint8(k[5]>>48)
	r.Tunnel, r.TunnelID = headers.Tunnels(k[5]>>56)&^(byMAC>>56), uint32(k[5])
	r.SrcPort, r.DstPort = uint16(k[4]), uint16(k[4]>>16)
	r.VLAN, r.InnerVLAN = uint16(k[4]>>32), uint16(k[4]>>48)
	r.Src, r.Dst = netip.Addr{}, netip.Addr{}
	if k[5]&byMAC == 0 {
		r.Src, r.Dst = address(k[0], k[1], r.EtherType), address(k[2], k[3], r.EtherType)
	}
}
