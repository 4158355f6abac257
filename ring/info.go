package ring

// The fast path of a poll loop takes frames that are complete in one descriptor and
// have no VLAN tag, no error and no time stamp: nearly all frames.
const (
	FastMask  = RxDD | RxEOP | RxVP | RxTS | RxRXE | RxL4E | RxIPE
	FastValue = RxDD | RxEOP
)

// IsFast reports whether the descriptor is done and its frame can take the fast path,
// with DescribeFast.
func IsFast(t RxType, s RxStatus) bool {
	return s&FastMask == FastValue && t&PktETQF == 0
}

// fastInfo is the Info of a frame on the fast path, indexed by bits 9:0 of RxType
// (RSS type, IPv4 to UDP) and, above them, bits 6:4 of RxStatus (UDPCS, L4I, IPCS).
// One kind of traffic uses one or two cache lines of its 16 KiB.
var fastInfo = func() (t [1 << 13]Info) {
	for i := range t {
		_, t[i] = Describe(RxType(i&0x3ff), RxStatus(i>>10)<<4)
	}
	return t
}()

// FastInfo returns the table, for loops in assembly.
func FastInfo() *[1 << 13]Info { return &fastInfo }

// DescribeFast is Describe for a frame on the fast path, without a branch.
func DescribeFast(t RxType, s RxStatus) (hash uint32, info Info) {
	info = fastInfo[uint64(t)&0x3ff|uint64(s)<<6&0x1c00]
	hash = t.Hash()
	if t&0xf == 0 {
		hash = 0
	}
	return hash, info
}

// Describe returns the hash and the Info of a frame from the two words of its last
// descriptor, the one with EOP. HasVLAN means that the frame has a tag. The caller
// adds Stripped if the queue strips tags. hash is 0 without HasHash.
func Describe(t RxType, s RxStatus) (hash uint32, info Info) {
	info = describeType(t)
	if s&RxVP != 0 {
		info |= HasVLAN
	}
	if s&RxIPCS != 0 {
		info |= IPChecked
		if s&RxIPE != 0 {
			info |= IPBad
		}
	}
	if s&(RxL4I|RxUDPCS) != 0 {
		info |= L4Checked
		if s&RxL4E != 0 {
			info |= L4Bad
		}
	}
	if s&RxRXE != 0 {
		info |= FrameError
	}
	if info&HasHash != 0 {
		hash = t.Hash()
	}
	return hash, info
}

func describeType(t RxType) (info Info) {
	if t.RSS() != RSSNone {
		info |= HasHash
	}
	if t&PktETQF != 0 {
		return info // bits 6:4 are a filter's number
	}
	if t&(PktIPv4|PktIPv4Ex) != 0 {
		info |= IPv4
	}
	if t&(PktIPv6|PktIPv6Ex) != 0 {
		info |= IPv6
	}
	if t&PktTCP != 0 {
		info |= TCP
	}
	if t&PktUDP != 0 {
		info |= UDP
	}
	return info
}
