package fanout

const (
	fragmentSets = 1024
	fragmentWays = 4

	// fragmentTimeout is how long the fragments of a datagram are expected, in
	// seconds of the stamps: as long as Linux does (ipfrag_time).
	fragmentTimeout = 30
)

// fragments remembers the flows of datagrams of which fragments were seen, 4096 at
// most: an older one makes room. It is allocated once.
type fragments [fragmentSets][fragmentWays]fragment

type fragment struct {
	key   uint64 // addresses, identification, protocol, tunnels; 0: none
	hash  uint32 // of the flow
	sec   uint32 // stamp of the last fragment
	early bool   // no first fragment was seen
}

// find returns the datagram of a key, nil if there is none.
func (f *fragments) find(key uint64, sec uint32) *fragment {
	set := &f[key>>32%fragmentSets]
	for i := range set {
		if set[i].key == key && sec-set[i].sec <= fragmentTimeout {
			return &set[i]
		}
	}
	return nil
}

// put remembers a datagram in place of the one seen longest ago.
func (f *fragments) put(key uint64, hash, sec uint32, early bool) {
	set := &f[key>>32%fragmentSets]
	to := &set[0]
	for i := range set {
		x := &set[i]
		if x.key == key || x.key == 0 {
			to = x
			break
		}
		if sec-x.sec > sec-to.sec {
			to = x
		}
	}
	*to = fragment{key, hash, sec, early}
}

// fragment follows a fragment: proto is that of the datagram and at where its part
// begins. A later fragment has no ports. It belongs to the flow of the first one.
//
// If it comes before the first one, it goes by its addresses, and so do
// all others of the datagram, the first one included: a datagram that is reordered
// stays whole, but may leave its flow.
func (w *walker) fragment(src, dst, id uint64, first bool, proto uint8, at int) {
	if w.fragments == nil {
		if first {
			w.above(src, dst, proto, at)
		}
		return
	}
	key := mix(mix(src^keyEnd, dst^keyOther)^id<<8^uint64(w.tunnels), keyFinal) | 1
	known := w.fragments.find(key, w.sec)
	switch {
	case known != nil && (!first || known.early):
		w.given, w.hash = true, known.hash
		known.sec = w.sec
		if first {
			known.early = false // the next first one begins another datagram
		}
	case first:
		w.above(src, dst, proto, at)
		w.fragments.put(key, w.flow(), w.sec, false)
	default:
		w.fragments.put(key, w.flow(), w.sec, true)
	}
}
