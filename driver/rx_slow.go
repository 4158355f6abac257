package driver

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/ring"
)

// What Poll leaves out because most frames do not need it: frames of several
// descriptors, descriptors that cannot be, and a look at the frame's bytes.

// arm lends descriptor i its own buffer again.
func (q *RxQueue) arm(i uint32) { q.descs[i].Arm(q.iova + uint64(i)*q.stride) }

// other takes any frame that begins at descriptor i. It returns how many
// descriptors it consumed, 0 when the frame is not complete yet, and whether f
// was filled.
func (q *RxQueue) other(i uint32, f *ring.Frame) (used uint32, whole bool) {
	if q.limit == 0 {
		return q.skip(i), false
	}
	var total uint32
	at := i
	for k := uint32(1); ; k++ {
		s := q.descs[at].Status()
		if s&ring.RxDD == 0 {
			return 0, false
		}
		length := uint32(s.Length())
		if length > q.limit || length == 0 && s&ring.RxEOP == 0 || total+length == 0 {
			q.malformed.Add(1)
			return q.drop(i, k, s), false
		}
		total += length
		if s&ring.RxEOP != 0 {
			q.gather(i, k, total, q.descs[at].Type(), s, f)
			return k, true
		}
		if k == q.maxChain {
			q.overlong.Add(1)
			return q.drop(i, k, s), false
		}
		at = ring.Next(at, q.size)
	}
}

// gather fills f from the k done descriptors from i on, and arms them again. What
// the device has to say about a frame is in the words t and s of the last one.
func (q *RxQueue) gather(i, k, total uint32, t ring.RxType, s ring.RxStatus, f *ring.Frame) {
	f.Data = q.bufs.Slice(i, uint32(q.descs[i].Status().Length()))
	f.Rest = nil
	if k > 1 {
		// Place i of rest is used for the buffer after i, and so on: no other
		// frame's buffers lie there, and the ring's end needs no care.
		rest := q.rest[i : i+k-1 : i+k-1]
		at := i
		for j := range rest {
			at = ring.Next(at, q.size)
			rest[j] = q.bufs.Slice(at, uint32(q.descs[at].Status().Length()))
		}
		f.Rest = rest
	}
	for at := i; k > 0; k-- {
		q.arm(at)
		at = ring.Next(at, q.size)
	}
	f.Len = total
	f.VLAN = 0
	hash, info := ring.Describe(t, s)
	f.Hash = hash
	if info&(ring.HasVLAN|ring.L4Bad) != 0 {
		info = q.lookInside(f, s, info)
	}
	f.Info = info
}

// drop arms k descriptors from i on and makes Poll skip the rest of the frame,
// when there is more of it.
func (q *RxQueue) drop(i, k uint32, last ring.RxStatus) uint32 {
	for range k {
		q.arm(i)
		i = ring.Next(i, q.size)
	}
	if last&ring.RxEOP == 0 {
		q.limit = 0
	}
	return k
}

// skip passes over one more descriptor of a dropped frame, if it is done.
func (q *RxQueue) skip(i uint32) uint32 {
	s := q.descs[i].Status()
	if s&ring.RxDD == 0 {
		return 0
	}
	if s&ring.RxEOP != 0 {
		q.limit = uint32(q.bufs.Size())
	}
	q.arm(i)
	return 1
}

// lookInside completes what only the frame's bytes, or the queue's settings, can
// tell: the tag of a VLAN frame, and whether a bad UDP checksum is one.
func (q *RxQueue) lookInside(f *ring.Frame, s ring.RxStatus, info ring.Info) ring.Info {
	if info&ring.HasVLAN != 0 {
		switch {
		case q.strip != 0:
			f.VLAN = s.VLAN()
			info |= ring.Stripped
		case len(f.Data) >= 16:
			// Not stripped: the descriptor has no tag, the frame still has it.
			f.VLAN = binary.BigEndian.Uint16(f.Data[14:])
		default:
			info &^= ring.HasVLAN
		}
	}
	// The 82599 reports UDP over IPv4 sent without a checksum as a wrong
	// checksum (specification update, erratum "UDP checksum 0"; Linux and DPDK
	// distrust the bit for all UDP). Here the frame decides.
	if info&(ring.L4Bad|ring.UDP) == ring.L4Bad|ring.UDP && udpWithoutChecksum(f.Data) {
		info &^= ring.L4Checked | ring.L4Bad
	}
	return info
}

// udpWithoutChecksum tells whether the frame is UDP over IPv4 with a checksum
// field of 0, which means that the sender computed none (RFC 768).
func udpWithoutChecksum(b []byte) bool {
	const ipv4, vlan, svlan = 0x0800, 0x8100, 0x88a8
	at := 12
	for range 3 { // at most two tags
		if len(b) < at+2 {
			return false
		}
		switch binary.BigEndian.Uint16(b[at:]) {
		case vlan, svlan:
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
