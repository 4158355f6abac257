package pcapfile

import "encoding/binary"

// maxBlock is the length in bytes of the longest valid pcapng block: a packet of
// MaxPacket bytes with two of the longest options fits.
const maxBlock = 256 << 10

// Part describes the packets of a part of a file.
type Part struct {
	Bytes   int64  // up to the end of the last whole packet or block
	Packets uint64 // whole ones
	Kept    uint64 // their bytes, without headers
	First   int64  // stamp of the first, ns; 0: no packets
	Last    int64  // and of the last
}

// add counts a packet.
func (p *Part) add(nano int64, kept uint64) {
	if p.Packets == 0 {
		p.First = nano
	}
	p.Packets++
	p.Kept += kept
	p.Last = nano
}

// Walk parses bytes that an Encoder of this format made, without a pcap file's
// header. It stops at the first packet that is not whole or not valid.
func (f Format) Walk(b []byte) (p Part) {
	for {
		size, nano, kept := f.next(b[p.Bytes:])
		if size == 0 {
			return p
		}
		p.Bytes += int64(size)
		if kept >= 0 {
			p.add(nano, uint64(kept))
		}
	}
}

// next parses the packet or block at the start of b. size is 0 if it is not whole
// or not valid; kept is -1 if it is no packet.
func (f Format) next(b []byte) (size int, nano int64, kept int) {
	le := binary.LittleEndian
	if f == Pcap {
		if len(b) < pcapRecord {
			return 0, 0, 0
		}
		sec, nsec, caplen, wire := le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])
		// A power failure may leave zeros. They are no packet.
		if nsec >= 1e9 || caplen > MaxPacket || caplen > wire || sec|nsec|wire == 0 || len(b) < pcapRecord+int(caplen) {
			return 0, 0, 0
		}
		return pcapRecord + int(caplen), int64(sec)*1e9 + int64(nsec), int(caplen)
	}
	if len(b) < blockLeast {
		return 0, 0, 0
	}
	total := le.Uint32(b[4:])
	if total < blockLeast || total > maxBlock || total%4 != 0 || len(b) < int(total) || le.Uint32(b[total-4:]) != total {
		return 0, 0, 0
	}
	switch le.Uint32(b) {
	case blockSection, blockInterface, blockStatistics:
		return int(total), 0, -1
	case blockPacket:
		if total < packetFixed+4 {
			return 0, 0, 0
		}
		if caplen := le.Uint32(b[20:]); caplen <= MaxPacket && packetFixed+caplen+4 <= total {
			return int(total), int64(uint64(le.Uint32(b[12:]))<<32 | uint64(le.Uint32(b[16:]))), int(caplen)
		}
	}
	return 0, 0, 0
}

// detect returns the format of an Encoder's file that begins with b, "" if it is
// none, and the length of its header, 0 if it is not whole.
func detect(b []byte) (f Format, header int) {
	switch le := binary.LittleEndian; {
	case len(b) < 4:
		return "", 0
	case le.Uint32(b) == pcapMagic && len(b) < pcapHeader:
		return Pcap, 0
	case le.Uint32(b) == pcapMagic:
		return Pcap, pcapHeader
	case le.Uint32(b) != blockSection, len(b) >= 12 && le.Uint32(b[8:]) != byteOrderMagic:
		return "", 0
	}
	section, _, _ := Pcapng.next(b)
	if section == 0 {
		return Pcapng, 0
	}
	iface, _, _ := Pcapng.next(b[section:])
	if iface == 0 || binary.LittleEndian.Uint32(b[section:]) != blockInterface {
		return Pcapng, 0
	}
	return Pcapng, section + iface
}
