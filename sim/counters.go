package sim

// Counters are kept as 64-bit numbers beside the register file, by the word of
// their register; a wide counter by the word of its low half.
//
// 32-bit counters stick at all ones (datasheet 8.2.3.23). Octet counters are 36
// bits in two words: the low word is read first and the pair is cleared by
// reading the high one; Linux and DPDK both read them so. What arrives between
// the two reads is not lost: reading the low word freezes what the high one
// will return and take away.

// counters is indexed by register word. Only the words of counters are used;
// the array form keeps the receive path at one add per counter.
type counters struct {
	v      []uint64
	frozen map[uint32]uint64 // wide counters whose low word has been read
}

func newCounters() counters {
	return counters{v: make([]uint64, bar0Size/4), frozen: map[uint32]uint64{}}
}

func (c *counters) clear() {
	clear(c.v)
	clear(c.frozen)
}

// add counts on the register at BAR 0 offset off.
func (n *NIC) add(off uint32, by uint64) { n.ctr.v[off/4] += by }

func clamp32(v uint64) uint32 { return uint32(min(v, 0xffffffff)) }

func (n *NIC) takeCounter(w uint32) uint32 {
	v := n.ctr.v[w]
	n.ctr.v[w] = 0
	return clamp32(v)
}

const wideMax = 1<<36 - 1

// takeWide reads one half of a wide counter. The rows of both halves are named
// ...L and ...H and lie at consecutive words.
func (n *NIC) takeWide(r *register, i int, w uint32) uint32 {
	low := lowWord(r, w)
	if w == low {
		v := min(n.ctr.v[low], wideMax)
		n.ctr.frozen[low] = v
		return uint32(v)
	}
	v, seen := n.ctr.frozen[low]
	if !seen {
		v = min(n.ctr.v[low], wideMax)
	}
	delete(n.ctr.frozen, low)
	if n.ctr.v[low] > wideMax {
		n.ctr.v[low] = 0
	} else {
		n.ctr.v[low] -= min(v, n.ctr.v[low])
	}
	return uint32(v >> 32)
}

func lowWord(r *register, w uint32) uint32 {
	if r.name[len(r.name)-1] == 'H' {
		return w - 1
	}
	return w
}

// counterWord is a counter's word without the side effects of reading it.
func (n *NIC) counterWord(r *register, i int, w uint32) uint32 {
	switch r.mode {
	case rc:
		return clamp32(n.ctr.v[w])
	case rc2:
		low := lowWord(r, w)
		v := min(n.ctr.v[low], wideMax)
		if w == low {
			return uint32(v)
		}
		return uint32(v >> 32)
	}
	return 0
}
