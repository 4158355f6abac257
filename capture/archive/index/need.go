package index

import (
	"math/bits"

	"github.com/ixcap/ixcap/capture/pcapfilter"
)

// may tells whether the block can hold a frame that the filter matches.
func (e *Entry) may(n pcapfilter.Needs) bool { return n.May(e.has) }

// has is false if no frame of the block has the term.
func (e *Entry) has(t pcapfilter.Term) bool {
	switch t.Kind {
	case pcapfilter.Net:
		return e.hasNet(t)
	case pcapfilter.Port:
		return e.ports.holds(uint64(t.Lo>>e.portShift), uint64(t.Hi>>e.portShift))
	case pcapfilter.Proto:
		return e.protos.holds(uint64(t.Lo), uint64(t.Lo))
	}
	return true
}

// hasNet looks for the longest prefix of the network that the set has keys of.
func (e *Entry) hasNet(t pcapfilter.Term) bool {
	a := t.Net.Masked().Addr()
	for l := hosts; l < levels; l++ {
		if e.addrLevels>>l&1 != 0 && l.length(a.Is6()) <= t.Net.Bits() {
			v, _ := bits.Mul64(max(prefixKey(a, l), 1), uint64(e.addrs.n)<<e.addrBits)
			return e.addrs.holds(v, v)
		}
	}
	return true
}
