package dedup

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// Fields are parts of a frame that its way through the network changes.
type Fields uint8

const (
	// VLAN are the tags (802.1Q, 802.1ad) behind the addresses, and a tag that the
	// device stripped.
	VLAN Fields = 1 << iota
	// TTL is IPv4's time to live with the header's checksum, which covers it, and
	// IPv6's hop limit.
	TTL
	// Checksum are the checksums of IPv4's header, TCP and UDP.
	Checksum
	// MAC are both addresses of Ethernet, which a router replaces.
	MAC

	allFields = VLAN | TTL | Checksum | MAC
)

var fieldNames = []string{"vlan", "ttl", "checksum", "mac"}

// String returns the names as ParseFields reads them; none for no fields.
func (x Fields) String() string {
	var names []string
	for i, name := range fieldNames {
		if x&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, "+")
}

// ParseFields parses names joined by +, as vlan+ttl+checksum+mac, or none.
func ParseFields(s string) (x Fields, err error) {
	if s == "none" {
		return 0, nil
	}
next:
	for word := range strings.SplitSeq(s, "+") {
		for i, name := range fieldNames {
			if word == name {
				x |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("field %q: choose of %v, or none. Join several with +", word, allFields)
	}
	return x, nil
}

// mask clears the fields in a frame, removes the tags among them, and returns the
// frame. What it does to a byte depends only on the bytes before it, so the mask of a
// frame that was cut is the beginning of the mask of the whole frame, unless the cut
// divides a tag.
func (x Fields) mask(b []byte) []byte {
	if x&MAC != 0 {
		zero(b, 0, 12)
	}
	at := 12
	for len(b) >= at+4 && ether.IsVLAN(binary.BigEndian.Uint16(b[at:])) {
		if x&VLAN == 0 {
			at += 4
			continue
		}
		b = b[:at+copy(b[at:], b[at+4:])]
	}
	if len(b) < at+2 {
		return b
	}
	switch l3 := b[at+2:]; binary.BigEndian.Uint16(b[at:]) {
	case ether.TypeIPv4:
		x.maskIPv4(l3)
	case ether.TypeIPv6:
		x.maskIPv6(l3)
	}
	return b
}

// zero clears the bytes from and up to to, as far as there are any.
func zero(b []byte, from, to int) {
	if to = min(to, len(b)); from < to {
		clear(b[from:to])
	}
}

// maskIPv4 clears the fields in a packet of IPv4 (RFC 791).
func (x Fields) maskIPv4(b []byte) {
	if len(b) == 0 || b[0]>>4 != 4 || b[0]&15 < 5 {
		return
	}
	if x&TTL != 0 {
		zero(b, 8, 9)
	}
	if x&(TTL|Checksum) != 0 {
		zero(b, 10, 12)
	}
	header := int(b[0]&15) * 4
	if len(b) > header && binary.BigEndian.Uint16(b[6:])&0x1fff == 0 { // no later fragment
		x.maskTransport(b[9], b[header:])
	}
}

// maskIPv6 clears the fields in a packet of IPv6 (RFC 8200).
func (x Fields) maskIPv6(b []byte) {
	const headers = 8 // extension headers, more than real packets have
	if len(b) == 0 || b[0]>>4 != 6 {
		return
	}
	if x&TTL != 0 {
		zero(b, 7, 8)
	}
	if len(b) < 40 {
		return
	}
	next, b := b[6], b[40:]
	for range headers {
		switch next {
		case ether.ProtoHopByHop, ether.ProtoRouting, ether.ProtoDestination, ether.ProtoFragment, ether.ProtoAH:
		default:
			x.maskTransport(next, b)
			return
		}
		if len(b) < 8 {
			return
		}
		size := 8
		switch next {
		case ether.ProtoFragment:
			if binary.BigEndian.Uint16(b[2:])&^7 != 0 {
				return // a later fragment
			}
		case ether.ProtoAH:
			size = (int(b[1]) + 2) * 4 // RFC 4302, 2.2
		default:
			size = (int(b[1]) + 1) * 8
		}
		if size > len(b) {
			return
		}
		next, b = b[0], b[size:]
	}
}

// maskTransport clears the checksum of TCP (RFC 9293) or UDP (RFC 768).
func (x Fields) maskTransport(proto byte, b []byte) {
	if x&Checksum == 0 {
		return
	}
	switch proto {
	case ether.ProtoTCP:
		zero(b, 16, 18)
	case ether.ProtoUDP:
		zero(b, 6, 8)
	}
}
