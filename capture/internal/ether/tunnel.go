package ether

import "encoding/binary"

// Ports of UDP that tunnels are sent to.
const (
	PortVXLAN  = 4789 // RFC 7348
	PortGTPU   = 2152 // 3GPP TS 29.281
	PortGeneve = 6081 // RFC 8926
	PortMPLS   = 6635 // RFC 7510
)

// TypeBridging is a frame of Ethernet in another header: transparent Ethernet bridging.
const TypeBridging = 0x6558

// Inside is what a header of a tunnel carries.
type Inside uint8

const (
	Nothing Inside = iota // that could be followed: the header is cut, malformed or of another kind
	Packet                // of IP
	Frame                 // of Ethernet
)

// Labels follows a stack of MPLS at an offset, at most so many labels (RFC 3032). Its last
// label does not say what is behind: IP by the version, else a frame, behind a control word
// if there are two bytes of 0, as few addresses begin (RFC 4448, 4928). It returns the
// offset of that and the number of labels.
func Labels(data []byte, at, most int) (what Inside, behind, labels int) {
	for labels < most && at+4 <= len(data) {
		last := data[at+2]&1 != 0
		at += 4
		labels++
		if !last {
			continue
		}
		if at+2 > len(data) {
			return Nothing, at, labels
		}
		switch version := data[at] >> 4; {
		case version == 4 || version == 6:
			return Packet, at, labels
		case data[at] == 0 && data[at+1] == 0:
			return Frame, at + 4, labels
		case version != 1: // another control word, of what is no frame (RFC 4385)
			return Frame, at, labels
		}
		return Nothing, at, labels
	}
	return Nothing, at, labels
}

// GRE reads the header of GRE at an offset, version 0 (RFC 2784, 2890): what it carries, by
// its type of Ethernet, from which offset on, and whether it has a sequence number.
func GRE(data []byte, at int) (kind uint16, behind int, sequenced, ok bool) {
	const checksum, routing, key, sequence, version = 0x8000, 0x4000, 0x2000, 0x1000, 7
	if at+4 > len(data) {
		return 0, at, false, false
	}
	flags := binary.BigEndian.Uint16(data[at:])
	kind = binary.BigEndian.Uint16(data[at+2:])
	if flags&(routing|version) != 0 {
		return 0, at, false, false
	}
	at += 4
	for _, f := range [...]uint16{checksum, key, sequence} {
		if flags&f != 0 {
			at += 4
		}
	}
	return kind, at, flags&sequence != 0, true
}

// VXLAN reads the header of VXLAN at an offset and returns that of the frame behind it
// (RFC 7348, section 5).
func VXLAN(data []byte, at int) (frame int, ok bool) {
	const network = 0x08 // is valid
	if at+8 > len(data) || data[at]&network == 0 {
		return at, false
	}
	return at + 8, true
}

// GTPU reads the header of GTP-U at an offset, with at most so many extension headers, and
// returns the offset of the packet that it carries, and the number of these headers
// (3GPP TS 29.281, sections 5.1 and 5.2).
func GTPU(data []byte, at, most int) (packet, extensions int, ok bool) {
	const version1, optional, extended, carries = 0x30, 0x07, 0x04, 255
	if at+8 > len(data) || data[at]&0xf0 != version1 || data[at+1] != carries {
		return at, 0, false
	}
	flags := data[at]
	at += 8
	if flags&optional == 0 {
		return at, 0, true
	}
	if at+4 > len(data) {
		return at, 0, false
	}
	next := data[at+3]
	at += 4
	for flags&extended != 0 && next != 0 {
		if extensions++; extensions > most || at+4 > len(data) || data[at] == 0 {
			return at, extensions, false
		}
		size := 4 * int(data[at])
		if at+size > len(data) {
			return at, extensions, false
		}
		next, at = data[at+size-1], at+size
	}
	return at, extensions, true
}
