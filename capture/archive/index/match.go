package index

import (
	"math/bits"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/pcapfilter"
)

// May reports whether the block may have a frame that a filter with these needs
// matches. False is certain; true is wrong for about one block in 500.
func (e *Entry) May(n pcapfilter.Needs) bool { return n.May(e.has) }

// has returns false if no frame of the block has the term.
func (e *Entry) has(t pcapfilter.Term) bool {
	switch t.Kind {
	case pcapfilter.Net:
		return e.hasNet(t)
	case pcapfilter.Port:
		return e.ports.contains(uint64(t.Lo>>e.portShift), uint64(t.Hi>>e.portShift))
	case pcapfilter.Proto:
		return e.protos.contains(uint64(t.Lo), uint64(t.Lo))
	}
	return true
}

// hasNet searches the set for the longest prefix of the network of which it has keys.
func (e *Entry) hasNet(t pcapfilter.Term) bool {
	a := t.Net.Masked().Addr()
	for l := hosts; l < levels; l++ {
		if e.addrLevels>>l&1 != 0 && l.length(a.Is6()) <= t.Net.Bits() {
			v, _ := bits.Mul64(max(prefixKey(a, l), 1), uint64(e.addrs.n)<<e.addrBits)
			return e.addrs.contains(v, v)
		}
	}
	return true
}

// Describes reports whether b is the block's records, by their headers.
func (e *Entry) Describes(b []byte) bool {
	s, frames := uint64(0), uint32(0)
	for len(b) > 0 {
		if len(b) < rawfile.HeaderLen {
			return false
		}
		n := rawfile.HeaderLen + int(rawfile.DecodeHeader(b).Caplen)
		if n > len(b) {
			return false
		}
		s = sum(s, b)
		b = b[n:]
		frames++
	}
	return s == e.Sum && frames == e.Frames
}
