package fanout

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/capture/internal/ether"
	"github.com/ixcap/ixcap/capture/stream/entry"
)

// Where the fast path reads in the record of a frame without tags, and what it compares,
// little-endian. fast4 and fast6 are the bytes of a frame that it needs.
const (
	typeAt = recordHeader + 12 // type, version, and length of the header of IPv4

	flagsAt = recordHeader + 20 // of IPv4: fragment, time to live, protocol
	srcAt   = recordHeader + 26
	dstAt   = recordHeader + 30
	portsAt = recordHeader + 34
	fast4   = 38

	nextAt   = recordHeader + 20 // of IPv6: next header
	src6At   = recordHeader + 22
	dst6At   = recordHeader + 38
	ports6At = recordHeader + 54
	fast6    = 58

	typeIPv4   = 0x450008   // 3 bytes: type, version 4, header without options
	typeIPv6   = 0x60dd86   // 3 bytes, of the last one 4 bits: type, version 6
	isFragment = 0xff3f     // more, offset
	protocol   = 0xff000000 // of flags

	tagBytes = 4
	maxTags  = 2
)

// hashed is groups that divide by the same hash.
type hashed struct {
	tunnels Tunnels
	table   *table
	pieces  pieces
}

// tunnelsUDP reports whether some packets of UDP are tunnels.
func (h *hashed) tunnelsUDP() bool { return h.tunnels&(VXLAN|GTPU|MPLS) != 0 }

// assign assigns entries by the hash of their flow.
func (h *hashed) assign(entries []entry.Entry, data []byte, mask, others uint64, more bool, f *fragments) {
	for i := 0; i < len(entries); i++ {
		i += fastRun(entries[i:], data, mask, others, more, h.table, h.tunnelsUDP())
		if i == len(entries) {
			break
		}
		e := &entries[i]
		record := h.pieces.record(e, data, mask)
		hash := flow(record[recordHeader:], binary.LittleEndian.Uint32(record), h.tunnels, f)
		h.table.give(e, hash, others, more)
	}
}

// fastRunGo assigns entries up to the first whose flow needs a walk, and returns how
// many. It takes TCP, and UDP that is no tunnel, directly over IPv4 without options and
// fragments or over IPv6, behind two tags at most (802.1Q, 802.1ad). The frames go to
// others, too, or with more to the members that they have. It is fastRun for
// architectures without assembly and the reference for its tests.
func fastRunGo(entries []entry.Entry, data []byte, mask, others uint64, more bool, t *table, tunnelsUDP bool) int {
	for i := range entries {
		e := &entries[i]
		hash, ok := fastFlow(recordOf(e, data, mask), tunnelsUDP)
		if !ok {
			return i
		}
		t.give(e, hash, others, more)
	}
	return len(entries)
}

// fastFlow is flow of a record for frames that fastRunGo takes, false for others.
func fastFlow(r []byte, tunnelsUDP bool) (hash uint32, ok bool) {
	le := binary.LittleEndian
	for range maxTags {
		if len(r) < recordHeader+fast4 {
			return 0, false
		}
		if kind := binary.BigEndian.Uint16(r[typeAt:]); kind != ether.TypeVLAN && kind != ether.TypeQinQ {
			break
		}
		r = r[tagBytes:]
	}
	var proto uint32
	var a, b uint64
	var to []byte
	switch {
	case len(r) < recordHeader+fast4:
		return 0, false
	case le.Uint32(r[typeAt:])&0xffffff == typeIPv4:
		proto = le.Uint32(r[flagsAt:]) & (protocol | isFragment)
		a, b, to = end4(r[srcAt:])+port(r[portsAt:]), end4(r[dstAt:])+port(r[portsAt+2:]), r[portsAt+2:]
	case len(r) < recordHeader+fast6:
		return 0, false
	case le.Uint32(r[typeAt:])&0xf0ffff == typeIPv6:
		proto = uint32(r[nextAt]) << 24
		a, b, to = end6(r[src6At:])+port(r[ports6At:]), end6(r[dst6At:])+port(r[ports6At+2:]), r[ports6At+2:]
	default:
		return 0, false
	}
	if proto != ether.ProtoTCP<<24 && (proto != ether.ProtoUDP<<24 || tunnelsUDP && isTunnel(binary.BigEndian.Uint16(to))) {
		return 0, false
	}
	return flowHash(a, b), true
}

// isTunnel reports whether a port of UDP is one that a tunnel is sent to.
func isTunnel(to uint16) bool {
	return to == ether.PortVXLAN || to == ether.PortGTPU || to == ether.PortMPLS
}
