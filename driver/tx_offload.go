package driver

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/ring"
)

// TxOffload is what the device does with a packet: it inserts a VLAN tag, computes
// checksums, and cuts a packet of TCP or UDP into frames (7.2.4, 7.2.5). Lengths are in
// bytes. The device reads two contexts per queue, so packets of more than two kinds in
// turn cost a descriptor each.
type TxOffload struct {
	MACLen uint8  // before the IP header, 14 to 127
	IPLen  uint16 // of the IP header with its options or extension headers, up to 511
	L4Len  uint8  // of the TCP or UDP header, for segmentation
	IPv6   bool
	L4     ring.L4Type

	IPChecksum bool // insert the IPv4 header's checksum
	L4Checksum bool // insert the checksum of TCP, UDP or SCTP

	// MSS cuts the packet into frames of at most so many bytes of payload, with all
	// checksums; 0: the packet is one frame.
	MSS uint16

	// VLAN is the tag to insert, if InsertVLAN is set: the two bytes behind its EtherType.
	VLAN       uint16
	InsertVLAN bool
}

func (o *TxOffload) headers() int { return int(o.MACLen) + int(o.IPLen) + int(o.L4Len) }

func (o *TxOffload) context(slot uint8) ring.TxContext {
	return ring.TxContext{
		Index: slot, MACLen: o.MACLen, IPLen: o.IPLen, L4Len: o.L4Len, MSS: o.MSS, VLAN: o.VLAN, IPv4: !o.IPv6, L4: o.L4,
	}
}

func (o *TxOffload) commands() (c ring.TxCommand) {
	c = ring.TxCC
	if o.InsertVLAN {
		c |= ring.TxVLE
	}
	if o.IPChecksum && !o.IPv6 {
		c |= ring.TxIXSM
	}
	if o.L4Checksum {
		c |= ring.TxTXSM
	}
	if o.MSS > 0 {
		c |= ring.TxTSE | ring.TxTXSM
		if !o.IPv6 {
			c |= ring.TxIXSM
		}
	}
	return c
}

// Prepare writes into the headers of a packet what the device expects there: no IPv4
// checksum, and the sum of the pseudo header as the checksum of TCP or UDP, without the
// length if the packet is to be cut (7.2.4.7, 7.2.5.2). frame has at least the headers.
func (o *TxOffload) Prepare(frame []byte) error {
	ip, l4 := int(o.MACLen), int(o.MACLen)+int(o.IPLen)
	at := l4 + 6 // UDP
	if o.L4 == ring.L4TCP {
		at = l4 + 16
	}
	least := 20
	if o.IPv6 {
		least = 40
	}
	if int(o.IPLen) < least || len(frame) < at+2 {
		return fmt.Errorf("prepare a packet of %d bytes: headers of %d, %d and %d bytes do not fit", len(frame), o.MACLen, o.IPLen, o.L4Len)
	}
	if o.IPChecksum || o.MSS > 0 {
		if !o.IPv6 {
			frame[ip+10], frame[ip+11] = 0, 0
		}
	}
	if o.L4 == ring.L4SCTP || !o.L4Checksum && o.MSS == 0 {
		return nil
	}
	addresses := frame[ip+12 : ip+20]
	if o.IPv6 {
		addresses = frame[ip+8 : ip+40]
	}
	sum := uint32(17)
	if o.L4 == ring.L4TCP {
		sum = 6
	}
	for i := 0; i < len(addresses); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(addresses[i:]))
	}
	if o.MSS == 0 {
		sum += uint32(len(frame) - l4)
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(frame[at:], uint16(sum))
	return nil
}

// rateFraction is the number of bits behind the point of a rate factor.
const rateFraction = 14

// SetTxRate limits a transmit queue to a rate in bits a second, which counts frames with
// CRC, without preamble and gap; 0 removes the limit. Frames of equal length are then
// sent at equal distances. The device divides the link's speed by a factor of 10.14 bits
// (RTTBCNRC, 8.2.3.10), so the rate that it returns differs a little from the one asked.
func (p *Port) SetTxRate(queue int, rate float64) (float64, error) {
	if queue < 0 || queue >= len(p.tx) {
		return 0, fmt.Errorf("rate of transmit queue %d: the port has %d", queue, len(p.tx))
	}
	if err := p.physical("limit the rate"); err != nil {
		return 0, err
	}
	speed := float64(p.Link().Speed) * 1e6
	if speed == 0 {
		speed = maxSpeed * 1e6
	}
	var factor float64
	if rate != 0 {
		factor = math.Round(speed / rate * (1 << rateFraction))
		if least := speed / (1 << 10); !(rate > least) || factor < 1<<rateFraction || factor >= 1<<(10+rateFraction) {
			return 0, fmt.Errorf("rate of transmit queue %d: %.6g b/s: the device can limit to more than %.6g b/s, up to the link's %.6g b/s", queue, rate, least, speed)
		}
	}
	p.selecting.Lock()
	defer p.selecting.Unlock()
	p.store(reg.RTTDQSEL, reg.RTTDQSEL_TXDQ_IDX.Val(uint32(p.hw(queue))))
	limit := &p.txRings[queue].limit
	if *limit = 0; rate == 0 {
		p.store(reg.RTTBCNRC, 0)
		return 0, p.dev.Err()
	}
	*limit = reg.RTTBCNRC_RS_ENA.Mask() | reg.RTTBCNRC_RF.Val(uint32(factor))
	p.store(reg.RTTBCNRC, *limit)
	return speed / factor * (1 << rateFraction), p.dev.Err()
}
