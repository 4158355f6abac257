package fanout

import "github.com/ixcap/ixcap/capture/stream/entry"

// What the assembly compares.
//
//lint:ignore U1000 hashed_amd64.s uses them
const (
	flagsMask  = protocol | isFragment
	flagsTCP   = 6 << 24
	flagsUDP   = 17 << 24
	typeIPv4At = typeIPv4 << 8 // without the byte behind

	// Ports of tunnels, little-endian.
	vxlanPort = portVXLAN>>8 | portVXLAN&0xff<<8
	gtpuPort  = portGTPU>>8 | portGTPU&0xff<<8
	mplsPort  = portMPLS>>8 | portMPLS&0xff<<8
)

// fastRun is fastRunGo. data is twice mapped: it may read behind a record.
//
//go:noescape
func fastRun(entries []entry.Entry, data []byte, mask, others uint64, more bool, t *table, tunnelsUDP bool) int
