package ring

import "sync/atomic"

// TxDescriptor is an advanced transmit descriptor in memory shared with the
// device (datasheet 7.2.3.2). The host writes both words while it owns the
// descriptor; the device writes word 1 back if RS is set and the packet is in its
// transmit buffer.
type TxDescriptor struct {
	// Data:    Words[0] buffer address; Words[1] length, type, commands, options.
	// Context: Words[0] header lengths, VLAN tag; Words[1] L4 length, MSS, type.
	// Device:  Words[1] status with DD, the rest reserved.
	Words [2]uint64
}

// TxCommand are the commands of a data descriptor: DCMD and the options that go
// beside them, at their place in word 1.
type TxCommand uint64

// Commands (datasheet 7.2.3.2.4). The device writes TxDD back.
const (
	TxDD     TxCommand = 1 << 32 // written by the device: done
	TxTS     TxCommand = 1 << 19 // take a time stamp
	TxEOP    TxCommand = 1 << 24 // last descriptor of the packet
	TxIFCS   TxCommand = 1 << 25 // insert the CRC
	TxRS     TxCommand = 1 << 27 // report status: write back with DD
	TxDEXT   TxCommand = 1 << 29 // advanced format
	TxVLE    TxCommand = 1 << 30 // insert the context's VLAN tag
	TxTSE    TxCommand = 1 << 31 // TCP segmentation
	TxCC     TxCommand = 1 << 39 // check context: IDX is valid
	TxIXSM   TxCommand = 1 << 40 // insert the IPv4 header checksum
	TxTXSM   TxCommand = 1 << 41 // insert the TCP or UDP checksum
	txData   TxCommand = 3 << 20 // DTYP: advanced data descriptor
	txCtx    TxCommand = 2 << 20 // DTYP: advanced context descriptor
	txDTyp   TxCommand = 0xf << 20
	txIndex            = 36 // IDX, bits 38:36
	txPayLen           = 46 // PAYLEN, bits 63:46
)

// TxIndex selects a context of the queue.
func TxIndex(context uint8) TxCommand { return TxCommand(context&7) << txIndex }

// SetData writes a data descriptor: n bytes at the IOVA addr, of a packet of
// total bytes. Plain stores: the store of the tail register is their release (R2 of
// package driver).
func (d *TxDescriptor) SetData(addr uint64, n, total int, c TxCommand) {
	d.Words[0] = addr
	d.Words[1] = uint64(uint16(n)) | uint64(txData|TxDEXT|c) | uint64(total&0x3ffff)<<txPayLen
}

// Data returns the arguments of SetData.
func (d *TxDescriptor) Data() (addr uint64, n, total int, c TxCommand) {
	w := d.Words[1]
	return d.Words[0], int(uint16(w)), int(w >> txPayLen), TxCommand(w &^ 0xffff &^ (0x3ffff << txPayLen))
}

// IsData reports whether the descriptor is an advanced data descriptor.
func (d *TxDescriptor) IsData() bool {
	return TxCommand(d.Words[1])&(txDTyp|TxDEXT) == txData|TxDEXT
}

// IsContext reports whether the descriptor is a context descriptor.
func (d *TxDescriptor) IsContext() bool {
	return TxCommand(d.Words[1])&(txDTyp|TxDEXT) == txCtx|TxDEXT
}

// Done reports whether the device has written the descriptor back, so that the buffer
// may be used again. The load is the acquire A2, pairs with the release R2 in
// WriteBack.
func (d *TxDescriptor) Done() bool {
	return TxCommand(atomic.LoadUint64(&d.Words[1]))&TxDD != 0
}

// WriteBack writes the descriptor back as a device does: the release R2, pairs with
// the acquire A2 in Done. It is for models and tests.
func (d *TxDescriptor) WriteBack() {
	atomic.StoreUint64(&d.Words[1], uint64(TxDD))
}

// TxContext is the content of a context descriptor (datasheet 7.2.3.2.3): where the
// headers of the packets that follow end, and what to insert.
type TxContext struct {
	Index  uint8  // which of the queue's two contexts
	MACLen uint8  // bytes before the IP header, 14 to 127
	IPLen  uint16 // bytes of the IP header, up to 511
	L4Len  uint8  // bytes of the TCP or UDP header
	MSS    uint16 // bytes of payload per segment, for TCP segmentation
	VLAN   uint16 // tag to insert
	IPv4   bool   // IPv4, not IPv6
	L4     L4Type // which checksum to insert
}

// L4Type is the transport protocol of a context descriptor.
type L4Type uint8

// L4 types (TUCMD.L4T).
const (
	L4UDP L4Type = iota
	L4TCP
	L4SCTP
)

// SetContext writes a context descriptor.
func (d *TxDescriptor) SetContext(c TxContext) {
	d.Words[0] = uint64(c.IPLen&0x1ff) | uint64(c.MACLen&0x7f)<<9 | uint64(c.VLAN)<<16
	w := uint64(txCtx|TxDEXT) | uint64(c.L4&3)<<11 | uint64(c.Index&1)<<36 | uint64(c.L4Len)<<40 | uint64(c.MSS)<<48
	if c.IPv4 {
		w |= 1 << 10
	}
	d.Words[1] = w
}

// Context returns the argument of SetContext.
func (d *TxDescriptor) Context() TxContext {
	a, w := d.Words[0], d.Words[1]
	return TxContext{
		Index: uint8(w >> 36 & 1), MACLen: uint8(a >> 9 & 0x7f), IPLen: uint16(a & 0x1ff),
		L4Len: uint8(w >> 40), MSS: uint16(w >> 48), VLAN: uint16(a >> 16),
		IPv4: w>>10&1 != 0, L4: L4Type(w >> 11 & 3),
	}
}
