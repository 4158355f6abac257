package ring

// A plain frame is what nearly every frame is: whole in one descriptor, without
// VLAN tag and without errors. A poll loop has a short way for them.
const (
	plainMask  = RxDD | RxEOP | RxVP | RxRXE | RxL4E | RxIPE
	plainFrame = RxDD | RxEOP
)

// IsPlain tells whether the descriptor is done and holds a plain frame, which
// DescribePlain may then describe.
func IsPlain(t RxType, s RxStatus) bool {
	return s&plainMask == plainFrame && t&PktETQF == 0
}

// plainInfo is indexed by what tells about a plain frame: bits 9:0 of RxType (RSS
// type, IPv4 to UDP) and, above them, bits 6:4 of RxStatus (UDPCS, L4I, IPCS). Of
// its 16 KiB any one kind of traffic uses a line or two.
var plainInfo = func() (t [1 << 13]Info) {
	for i := range t {
		_, t[i] = Describe(RxType(i&0x3ff), RxStatus(i>>10)<<4)
	}
	return t
}()

// DescribePlain is Describe for a plain frame, without a branch.
func DescribePlain(t RxType, s RxStatus) (hash uint32, info Info) {
	info = plainInfo[uint64(t)&0x3ff|uint64(s)<<6&0x1c00]
	hash = t.Hash()
	if t&0xf == 0 {
		hash = 0
	}
	return hash, info
}

// Describe is what the two words of a frame's last descriptor, the one with EOP,
// say about it. HasVLAN means that the frame has a tag; Stripped is for the
// caller to add, who knows the queue's setting. hash is 0 without HasHash.
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
