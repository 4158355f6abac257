package ring

import "sync/atomic"

// DescriptorSize is the size of every descriptor in bytes.
const DescriptorSize = 16

// RxDescriptor is an advanced receive descriptor in memory shared with the
// device (datasheet 7.1.6). Host and device write Words in turn: the host while it
// owns the descriptor (Refill); the device, once, after the tail register has passed
// it on (write-back). Once DD is set the host owns it again.
type RxDescriptor struct {
	// Words[0]: host: packet buffer address. Device: packet type, RSS type, hash.
	// Words[1]: host: header buffer address, 0. Device: status, errors, length, VLAN.
	Words [2]uint64
}

// Refill writes the read format: the device may write a packet to the IOVA addr. The
// header address is 0 (header split is not used), which also clears DD. Plain
// stores: the store of the tail register is their release (R1 of package driver).
func (d *RxDescriptor) Refill(addr uint64) {
	d.Words[0] = addr
	d.Words[1] = 0
}

// Status loads word 1. It must be loaded before word 0 and the packet: with DD set
// it is the acquire A1 of both, pairs with the release R1 in WriteBack.
func (d *RxDescriptor) Status() RxStatus {
	return RxStatus(atomic.LoadUint64(&d.Words[1]))
}

// Type loads word 0, which is valid only after Status has returned DD.
func (d *RxDescriptor) Type() RxType { return RxType(d.Words[0]) }

// WriteBack completes a descriptor as a device does: word 0 first, then word 1 with
// DD in one atomic store, the release R1, pairs with the acquire A1 in Status. It is
// for models and tests.
func (d *RxDescriptor) WriteBack(t RxType, s RxStatus) {
	d.Words[0] = uint64(t)
	atomic.StoreUint64(&d.Words[1], uint64(s))
}

// RxStatus is word 1 of a written-back receive descriptor (datasheet 7.1.6.2):
// extended status, extended errors, length and VLAN tag.
type RxStatus uint64

// Extended status, bits 19:0.
const (
	RxDD    RxStatus = 1 << 0  // descriptor done
	RxEOP   RxStatus = 1 << 1  // last buffer of its packet
	RxFLM   RxStatus = 1 << 2  // flow director filter matched
	RxVP    RxStatus = 1 << 3  // the packet has an 802.1Q header
	RxUDPCS RxStatus = 1 << 4  // UDP checksum was verified
	RxL4I   RxStatus = 1 << 5  // TCP or UDP checksum was verified
	RxIPCS  RxStatus = 1 << 6  // IPv4 header checksum was verified
	RxPIF   RxStatus = 1 << 7  // passed an inexact filter only
	RxVEXT  RxStatus = 1 << 9  // outer VLAN found on a double-VLAN packet
	RxUDPV  RxStatus = 1 << 10 // the UDP checksum field was not zero
	RxLLINT RxStatus = 1 << 11 // caused an immediate interrupt
	RxTS    RxStatus = 1 << 16 // time stamp taken
	RxSECP  RxStatus = 1 << 17 // went through the security engine
	RxLB    RxStatus = 1 << 18 // came from the port's own transmit side
)

// Extended errors, bits 31:20.
const (
	RxHBO RxStatus = 1 << 23 // header longer than the header buffer
	RxRXE RxStatus = 1 << 29 // MAC error: CRC, illegal or error byte, length
	RxL4E RxStatus = 1 << 30 // TCP or UDP checksum is wrong
	RxIPE RxStatus = 1 << 31 // IPv4 header checksum is wrong
)

const (
	rxLengthShift = 32
	rxVLANShift   = 48
)

// Length returns the number of bytes in this descriptor's buffer. In a frame of
// several descriptors all buffers but the last are full.
func (s RxStatus) Length() int { return int(uint16(s >> rxLengthShift)) }

// VLAN returns the tag that was stripped, 0 if stripping is off.
func (s RxStatus) VLAN() uint16 { return uint16(s >> rxVLANShift) }

// WithLength sets the length.
func (s RxStatus) WithLength(n int) RxStatus {
	return s&^(0xffff<<rxLengthShift) | RxStatus(uint16(n))<<rxLengthShift
}

// WithVLAN sets the stripped tag.
func (s RxStatus) WithVLAN(tag uint16) RxStatus {
	return s&^(0xffff<<rxVLANShift) | RxStatus(tag)<<rxVLANShift
}

// RxType is word 0 of a written-back receive descriptor: RSS type (3:0), packet
// type (16:4), RSC count (20:17), header length (30:21), SPH (31) and the hash.
type RxType uint64

// RSSType is the set of fields in the RSS hash.
type RSSType uint8

// RSS types.
const (
	RSSNone RSSType = iota
	RSSTCPv4
	RSSIPv4
	RSSTCPv6
	RSSIPv6Ex
	RSSIPv6
	RSSTCPv6Ex
	RSSUDPv4
	RSSUDPv6
	RSSUDPv6Ex
)

// Packet type bits, when PktETQF is not set.
const (
	PktIPv4   RxType = 1 << 4  // IPv4 header
	PktIPv4Ex RxType = 1 << 5  // ... with options
	PktIPv6   RxType = 1 << 6  // IPv6 header
	PktIPv6Ex RxType = 1 << 7  // ... with extension headers
	PktTCP    RxType = 1 << 8  // TCP header
	PktUDP    RxType = 1 << 9  // UDP header
	PktSCTP   RxType = 1 << 10 // SCTP header
	PktNFS    RxType = 1 << 11 // NFS header
	PktESP    RxType = 1 << 12 // IPsec ESP
	PktAH     RxType = 1 << 13 // IPsec AH
	PktMACsec RxType = 1 << 14 // MACsec encapsulation
	PktETQF   RxType = 1 << 15 // bits 6:4 are an EtherType filter's index instead
)

// RxSPH is set if the header was split off.
const RxSPH RxType = 1 << 31

// RSS returns the kind of hash in the descriptor.
func (t RxType) RSS() RSSType { return RSSType(t & 0xf) }

// HeaderLength returns the length in bytes of the header that was, or would have
// been, split off.
func (t RxType) HeaderLength() int { return int(t >> 21 & 0x3ff) }

// Hash returns the RSS hash, valid if RSS is not RSSNone.
func (t RxType) Hash() uint32 { return uint32(t >> 32) }

// FragmentChecksum returns the checksum of a fragment. It and IPID have the place of
// the hash if the port computes fragment checksums instead (RXCSUM.PCSD = 0).
func (t RxType) FragmentChecksum() uint16 { return uint16(t >> 48) }

// IPID returns the IP identification of a fragment; see FragmentChecksum.
func (t RxType) IPID() uint16 { return uint16(t >> 32) }

// WithHash sets the hash and its kind.
func (t RxType) WithHash(kind RSSType, hash uint32) RxType {
	return t&0xfffffff0 | RxType(kind&0xf) | RxType(hash)<<32
}
