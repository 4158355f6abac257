package fanout

import (
	"encoding/binary"
	"math/bits"

	"github.com/ixcap/ixcap/capture/internal/ether"
	"github.com/ixcap/ixcap/capture/stream/entry"
)

// Where the fast path reads in the record of a frame with IPv4, and what it compares,
// little-endian.
const (
	firstAt = recordHeader + 12 // type, version and length of header, ..
	flagsAt = recordHeader + 20 // .., fragment, time to live, protocol
	srcAt   = recordHeader + 26
	dstAt   = recordHeader + 30
	portsAt = recordHeader + 34

	fastLeast = 38 // bytes of a frame

	typeIPv4   = 0x450008   // 3 bytes: type, version 4, header without options
	isFragment = 0xff3f     // more, offset
	protocol   = 0xff000000 // of flags
)

// hashed is groups that divide by the same hash.
type hashed struct {
	tunnels Tunnels
	table   *table
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
		record := data[e.Offset&mask:][:recordHeader+int(e.Caplen)]
		hash := flow(record[recordHeader:], binary.LittleEndian.Uint32(record), h.tunnels, f)
		h.table.give(e, hash, others, more)
	}
}

// fastRunGo assigns entries up to the first whose flow needs a walk, and returns how
// many: IPv4 without options and fragments over TCP, or over UDP if that is no tunnel.
// They go to others, too, or with more to the members that they have.
// It is fastRun for architectures without assembly and the reference for its tests.
func fastRunGo(entries []entry.Entry, data []byte, mask, others uint64, more bool, t *table, tunnelsUDP bool) int {
	le := binary.LittleEndian
	for i := range entries {
		e := &entries[i]
		if e.Caplen < fastLeast {
			return i
		}
		r := data[e.Offset&mask:][:recordHeader+fastLeast]
		flags, src, dst, ports := le.Uint32(r[flagsAt:]), le.Uint32(r[srcAt:]), le.Uint32(r[dstAt:]), le.Uint32(r[portsAt:])
		if le.Uint32(r[firstAt:])&0xffffff != typeIPv4 {
			return i
		}
		if p := flags & (protocol | isFragment); p != ether.ProtoTCP<<24 {
			if p != ether.ProtoUDP<<24 || tunnelsUDP && isTunnel(bits.ReverseBytes16(uint16(ports>>16))) {
				return i
			}
		}
		a, b := uint64(src)<<16+uint64(ports&0xffff), uint64(dst)<<16+uint64(ports>>16)
		t.give(e, flowHash(a, b), others, more)
	}
	return len(entries)
}

// isTunnel reports whether a port of UDP is one that a tunnel is sent to.
func isTunnel(to uint16) bool { return to == portVXLAN || to == portGTPU || to == portMPLS }
