package fanout

import (
	"github.com/ixcap/ixcap/capture/stream/entry"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// What the assembly compares.
//
//lint:file-ignore U1000 hashed_amd64.s uses them
const (
	flagsMask = protocol | isFragment
	flagsTCP  = 6 << 24
	flagsUDP  = 17 << 24
	nextTCP   = 6
	nextUDP   = 17

	typeIPv4Up  = typeIPv4 << 8 // without the byte behind
	typeIPv6Up  = typeIPv6 << 8
	maskIPv6Up  = 0xf0ffff00
	tagVLAN     = 0x0081 // little-endian
	tagQinQ     = 0xa888
	fast4Tagged = fast4 + tagBytes
	fast4QinQ   = fast4 + 2*tagBytes

	// Ports of tunnels, little-endian.
	vxlanPort = ether.PortVXLAN>>8 | ether.PortVXLAN&0xff<<8
	gtpuPort  = ether.PortGTPU>>8 | ether.PortGTPU&0xff<<8
	mplsPort  = ether.PortMPLS>>8 | ether.PortMPLS&0xff<<8
)

// fastRun is fastRunGo. data is twice mapped: it may read behind a record.
//
//go:noescape
func fastRun(entries []entry.Entry, data []byte, mask, others uint64, more bool, t *table, tunnelsUDP bool) int
