package sim

// Counters are 64-bit numbers beside the register file, by the word of their
// register; a wide counter by the word of its low half.
//
// 32-bit counters stick at all ones (datasheet 8.2.3.23). Octet counters have 36
// bits in two words; reading the high word clears both, so it is read last. What
// arrives between the two reads is not lost: reading the low word latches what
// the high one returns and subtracts.

// counters is indexed by register word. Only the words of counters are used;
// the slice keeps the receive path at one addition per counter.
type counters struct {
	v       []uint64
	latched map[uint32]uint64 // by low word: wide counters whose low word has been read
}

func newCounters() counters {
	return counters{v: make([]uint64, bar0Size/4), latched: map[uint32]uint64{}}
}

func (c *counters) clear() {
	clear(c.v)
	clear(c.latched)
}

// add adds to the counter at BAR 0 offset off.
func (n *NIC) add(off uint32, by uint64) { n.ctr.v[off/4] += by }

func clamp32(v uint64) uint32 { return uint32(min(v, 0xffffffff)) }

// clearCounter reads and clears the counter at word w.
func (n *NIC) clearCounter(w uint32) uint32 {
	v := n.ctr.v[w]
	n.ctr.v[w] = 0
	return clamp32(v)
}

const wideMax = 1<<36 - 1

// readLow reads and latches the wide counter whose low word is w.
func (n *NIC) readLow(w uint32) uint32 {
	v := min(n.ctr.v[w], wideMax)
	n.ctr.latched[w] = v
	return uint32(v)
}

// clearWide reads the high word w of a wide counter and subtracts what was
// latched, or all where the low word has not been read.
func (n *NIC) clearWide(w uint32) uint32 {
	low := w - 1
	v, latched := n.ctr.latched[low]
	if !latched {
		v = min(n.ctr.v[low], wideMax)
	}
	delete(n.ctr.latched, low)
	if n.ctr.v[low] > wideMax {
		n.ctr.v[low] = 0
	} else {
		n.ctr.v[low] -= min(v, n.ctr.v[low])
	}
	return uint32(v >> 32)
}
