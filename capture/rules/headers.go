package rules

import "encoding/binary"

// headerBytes is where a frame's headers end: behind that of TCP, UDP, SCTP or ICMP,
// or behind the last one that is understood. b is the frame's start. Where a header
// ends behind it, so do the headers.
func headerBytes(b []byte) int {
	at, typ := 12, uint32(0)
	for {
		t, ok := load16(b, at)
		if !ok {
			return len(b)
		}
		at += 2
		if typ = t; !isTag(typ) {
			break
		}
		at += 2
	}
	end := at
	switch typ {
	case typeMPLS, typeMPLS + 1:
		end = behindLabels(b, at)
	case typeIPv4:
		end = behindIPv4(b, at)
	case typeIPv6:
		end = behindIPv6(b, at)
	case typeARP, typeRARP:
		if len(b) < at+8 {
			return len(b)
		}
		end = at + 8 + 2*int(b[at+4]) + 2*int(b[at+5])
	}
	return min(end, len(b))
}

func behindLabels(b []byte, at int) int {
	for {
		label, ok := load32(b, at)
		if !ok {
			return len(b)
		}
		at += 4
		if label>>8&1 == 0 {
			continue
		}
		switch c, _ := load8(b, at); c >> 4 {
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
		case 0, 43, 60, 135, 139, 140: // hop-by-hop, routing, destination, mobility, HIP, shim6
			c, _ := load8(b, at+1)
			size = 8 + 8*int(c)
		case 51: // authentication
			c, _ := load8(b, at+1)
			size = 8 + 4*int(c)
		case protoFrag:
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
	case protoTCP:
		c, _ := load8(b, at+12)
		return at + max(int(c>>4)*4, 20)
	case protoSCTP:
		return at + 12
	case protoUDP, protoICMP, protoICMP6:
		return at + 8
	}
	return at
}
