package rules

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// headerBytes is where a frame's headers end: behind that of TCP, UDP, SCTP or ICMP,
// or behind the last one known. b is the frame's start; the result is at most its
// length.
func headerBytes(b []byte) int {
	at, typ := 12, uint16(0)
	for {
		if at+2 > len(b) {
			return len(b)
		}
		typ = binary.BigEndian.Uint16(b[at:])
		at += 2
		if !ether.IsVLAN(typ) {
			break
		}
		at += 2
	}
	end := at
	switch typ {
	case ether.TypeMPLS, ether.TypeMPLSUp:
		end = behindLabels(b, at)
	case ether.TypeIPv4:
		end = behindIPv4(b, at)
	case ether.TypeIPv6:
		end = behindIPv6(b, at)
	case ether.TypeARP, ether.TypeRARP:
		if len(b) < at+8 {
			return len(b)
		}
		end = at + 8 + 2*int(b[at+4]) + 2*int(b[at+5])
	}
	return min(end, len(b))
}

// byteAt is b[at], 0 behind the end.
func byteAt(b []byte, at int) int {
	if at >= len(b) {
		return 0
	}
	return int(b[at])
}

func behindLabels(b []byte, at int) int {
	for {
		if at+4 > len(b) {
			return len(b)
		}
		last := b[at+2]&1 != 0
		at += 4
		if !last {
			continue
		}
		switch byteAt(b, at) >> 4 {
		case 4:
			return behindIPv4(b, at)
		case 6:
			return behindIPv6(b, at)
		}
		return at
	}
}

func behindIPv4(b []byte, at int) int {
	if len(b) < at+20 {
		return len(b)
	}
	end := at + max(int(b[at]&0xf)*4, 20)
	if binary.BigEndian.Uint16(b[at+6:])&0x1fff != 0 {
		return end
	}
	return behindL4(b, end, b[at+9])
}

// behindIPv6 walks the extension headers.
func behindIPv6(b []byte, at int) int {
	if len(b) < at+40 {
		return len(b)
	}
	next := b[at+6]
	at += 40
	for {
		size := 0
		switch next {
		case ether.ProtoHopByHop, ether.ProtoRouting, ether.ProtoDestination, ether.ProtoMobility, ether.ProtoHIP, ether.ProtoShim6:
			size = 8 + 8*byteAt(b, at+1)
		case ether.ProtoAH:
			size = 8 + 4*byteAt(b, at+1)
		case ether.ProtoFragment:
			size = 8
			if len(b) >= at+8 && binary.BigEndian.Uint16(b[at+2:])&^7 != 0 {
				return at + 8
			}
		default:
			return behindL4(b, at, next)
		}
		if len(b) < at+size {
			return len(b)
		}
		next = b[at]
		at += size
	}
}

func behindL4(b []byte, at int, proto byte) int {
	switch proto {
	case ether.ProtoTCP:
		return at + max(byteAt(b, at+12)>>4*4, 20)
	case ether.ProtoSCTP:
		return at + 12
	case ether.ProtoUDP, ether.ProtoICMP, ether.ProtoICMPv6:
		return at + 8
	}
	return at
}
