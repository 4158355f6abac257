package driver

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/ixcap/ixcap/ring"
)

// The slow path of Poll: frames of several descriptors, impossible descriptors, VLAN
// tags, checksum errors and time stamps.

// buffer returns the number of descriptor i's buffer.
func (q *RxQueue) buffer(i uint32) uint32 { return q.attached[i/q.segment] + i%q.segment }

// refill writes the read format to descriptor i, with its buffer.
func (q *RxQueue) refill(i uint32) { q.descs[i].Refill(q.iova + uint64(q.buffer(i))*q.stride) }

// recycle refills descriptor i, which was polled, unless it gets another buffer.
func (q *RxQueue) recycle(i uint32) {
	if !q.pooled {
		q.refill(i)
	}
}

// filled returns what the device has written to the buffer of descriptor i.
func (q *RxQueue) filled(i uint32) []byte {
	return q.bufs.Slice(q.buffer(i), uint32(q.descs[i].Status().Length()))
}

// pollSlow polls any frame that begins at descriptor i. It returns the number of
// descriptors used, 0 if the frame is not complete yet, and whether f was filled.
func (q *RxQueue) pollSlow(i uint32, f *ring.Frame) (used uint32, complete bool) {
	if q.limit == 0 {
		return q.skip(i), false
	}
	var total uint32
	at := i
	for k := uint32(1); k <= q.owned; k++ {
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
	q.serveRestart()
	return 0, false // the next descriptor has no buffer yet
}

// assemble fills f from the k done descriptors from i on, and refills them. The
// words t and s of the last one describe the frame.
func (q *RxQueue) assemble(i, k, total uint32, t ring.RxType, s ring.RxStatus, f *ring.Frame) {
	f.Data = q.filled(i)
	f.Rest = nil
	if k > 1 {
		// The element of buffer i has the buffer after i, and so on: no other frame uses
		// these elements, and the end of ring or chunk needs no special case.
		from := q.restOf(i)
		rest := q.rest[from : from+k-1 : from+k-1]
		at := i
		for j := range rest {
			at = ring.Next(at, q.size)
			rest[j] = q.filled(at)
		}
		f.Rest = rest
	}
	for at := i; k > 0; k-- {
		q.recycle(at)
		at = ring.Next(at, q.size)
	}
	f.Len = total
	f.VLAN = 0
	if s&ring.RxTS != 0 && q.timedN < maxTimed {
		q.timed[q.timedN] = f.Data
		q.timedN++
	}
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

// restOf returns the index in rest of descriptor i's buffer.
func (q *RxQueue) restOf(i uint32) uint32 {
	return q.attached[i/q.segment]/q.segment*(q.segment+q.maxChain) + i%q.segment
}

// drop refills k descriptors from i on and makes Poll skip the rest of the frame, if
// the last of them does not end it.
func (q *RxQueue) drop(i, k uint32, last ring.RxStatus) uint32 {
	for range k {
		q.recycle(i)
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
	q.recycle(i)
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
