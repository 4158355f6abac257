package driver

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/ixcap/ixcap/ring"
)

// The slow path of Poll: frames of several descriptors, impossible descriptors, VLAN
// tags and checksum errors.

// refill writes the read format to descriptor i, with its own buffer.
func (q *RxQueue) refill(i uint32) { q.descs[i].Refill(q.iova + uint64(i)*q.stride) }

// pollSlow polls any frame that begins at descriptor i. It returns the number of
// descriptors used, 0 if the frame is not complete yet, and whether f was filled.
func (q *RxQueue) pollSlow(i uint32, f *ring.Frame) (used uint32, complete bool) {
	if q.limit == 0 {
		return q.skip(i), false
	}
	var total uint32
	at := i
	for k := uint32(1); ; k++ {
		s := q.descs[at].Status()
		if s&ring.RxDD == 0 {
			q.serveRestart()
			return 0, false
		}
		length := uint32(s.Length())
		if length > q.limit || length == 0 && s&ring.RxEOP == 0 || total+length == 0 {
			q.malformed.Add(1)
			return q.drop(i, k, s), false
		}
		total += length
		if s&ring.RxEOP != 0 {
			q.assemble(i, k, total, q.descs[at].Type(), s, f)
			return k, true
		}
		if k == q.maxChain {
			q.overlong.Add(1)
			return q.drop(i, k, s), false
		}
		at = ring.Next(at, q.size)
	}
}

// assemble fills f from the k done descriptors from i on, and refills them. The
// words t and s of the last one describe the frame.
func (q *RxQueue) assemble(i, k, total uint32, t ring.RxType, s ring.RxStatus, f *ring.Frame) {
	f.Data = q.bufs.Slice(i, uint32(q.descs[i].Status().Length()))
	f.Rest = nil
	if k > 1 {
		// rest[i] has the buffer after i, and so on: no other frame uses these
		// elements, and the ring's end needs no special case.
		rest := q.rest[i : i+k-1 : i+k-1]
		at := i
		for j := range rest {
			at = ring.Next(at, q.size)
			rest[j] = q.bufs.Slice(at, uint32(q.descs[at].Status().Length()))
		}
		f.Rest = rest
	}
	for at := i; k > 0; k-- {
		q.refill(at)
		at = ring.Next(at, q.size)
	}
	f.Len = total
	f.VLAN = 0
	hash, info := ring.Describe(t, s)
	f.Hash = hash
	if info&(ring.HasVLAN|ring.L4Bad) != 0 {
		info = q.inspect(f, s, info)
	}
	if info |= q.crc; info&ring.FrameError != 0 && q.crc != 0 && !q.crcRight(f, info) {
		info |= ring.CRCBad
	}
	f.Info = info
}

// drop refills k descriptors from i on and makes Poll skip the rest of the frame, if
// the last of them does not end it.
func (q *RxQueue) drop(i, k uint32, last ring.RxStatus) uint32 {
	for range k {
		q.refill(i)
		i = ring.Next(i, q.size)
	}
	if last&ring.RxEOP == 0 {
		q.limit = 0
	}
	return k
}

// skip skips one more descriptor of a dropped frame, if it is done.
func (q *RxQueue) skip(i uint32) uint32 {
	s := q.descs[i].Status()
	if s&ring.RxDD == 0 {
		q.serveRestart()
		return 0
	}
	if s&ring.RxEOP != 0 {
		q.limit = uint32(q.bufs.Size())
	}
	q.refill(i)
	return 1
}

// inspect completes info from the frame's bytes and the queue's settings: the tag of
// a VLAN frame, and whether a bad UDP checksum is one.
func (q *RxQueue) inspect(f *ring.Frame, s ring.RxStatus, info ring.Info) ring.Info {
	if info&ring.HasVLAN != 0 {
		switch {
		case q.strip != 0:
			f.VLAN = s.VLAN()
			info |= ring.Stripped
		case s&ring.RxVEXT != 0 && len(f.Data) >= 20:
			f.VLAN = binary.BigEndian.Uint16(f.Data[18:]) // the inner one
		case len(f.Data) >= 16:
			// Not stripped: the tag is in the frame, not in the descriptor.
			f.VLAN = binary.BigEndian.Uint16(f.Data[14:])
		default:
			info &^= ring.HasVLAN
		}
	}
	// The 82599 reports UDP over IPv4 sent without a checksum as a wrong
	// checksum (specification update, erratum "UDP checksum 0"; Linux and DPDK
	// ignore the bit for all UDP). Here the frame's checksum field decides.
	if info&(ring.L4Bad|ring.UDP) == ring.L4Bad|ring.UDP && udpWithoutChecksum(f.Data) {
		info &^= ring.L4Checked | ring.L4Bad
	}
	return info
}

// udpWithoutChecksum reports whether the frame is UDP over IPv4 with a checksum
// field of 0, which means that the sender computed none (RFC 768).
func udpWithoutChecksum(b []byte) bool {
	const ipv4, vlan, svlan, qinq = 0x0800, 0x8100, 0x88a8, 0x9100
	at := 12
	for range 3 { // at most two tags
		if len(b) < at+2 {
			return false
		}
		switch binary.BigEndian.Uint16(b[at:]) {
		case vlan, svlan, qinq:
			at += 4
			continue
		case ipv4:
			at += 2
			if len(b) <= at {
				return false
			}
			udp := at + int(b[at]&0xf)*4
			return len(b) >= udp+8 && b[udp+6] == 0 && b[udp+7] == 0
		}
		return false
	}
	return false
}

// crcRight reports whether a frame's last 4 bytes are its CRC (IEEE 802.3, 3.2.9). A tag
// that was stripped is part of it.
func (q *RxQueue) crcRight(f *ring.Frame, info ring.Info) bool {
	if f.Len < crcSize {
		return false
	}
	const addresses = 12
	sum := crcSum{left: int(f.Len) - crcSize}
	front := min(addresses, len(f.Data))
	sum.add(f.Data[:front])
	if info&ring.Stripped != 0 {
		sum.left += len(q.tag)
		q.tag = [4]byte{0x81, 0x00, byte(f.VLAN >> 8), byte(f.VLAN)}
		sum.add(q.tag[:])
	}
	sum.add(f.Data[front:])
	for _, b := range f.Rest {
		sum.add(b)
	}
	return sum.crc == sum.last
}

// crcSum is the CRC of the first bytes of a frame, and the 4 bytes behind them.
type crcSum struct {
	left      int // bytes to come before the CRC
	crc, last uint32
}

func (s *crcSum) add(b []byte) {
	body := min(len(b), s.left)
	s.crc = crc32.Update(s.crc, crc32.IEEETable, b[:body])
	s.left -= body
	for _, c := range b[body:] {
		s.last = s.last>>8 | uint32(c)<<24
	}
}
