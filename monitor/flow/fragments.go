package flow

const (
	fragmentSets = 1024
	fragmentWays = 4

	// fragmentTimeout is how long the fragments of a datagram are expected, in ns: as long
	// as Linux does (ipfrag_time).
	fragmentTimeout = 30e9
)

// fragments remembers the flows of datagrams of which the first fragment was seen, 4096 at
// most: an older one makes room.
type fragments [fragmentSets][fragmentWays]fragment

type fragment struct {
	id      uint64 // of the datagram; 0: none
	key     key
	time    int64 // when the last fragment came
	swapped bool
}

// find returns a datagram, nil if it is not known.
func (f *fragments) find(id uint64, now int64) *fragment {
	set := &f[id>>32%fragmentSets]
	for i := range set {
		if set[i].id == id && now-set[i].time <= fragmentTimeout {
			return &set[i]
		}
	}
	return nil
}

// put remembers the flow of a datagram in place of the one seen longest ago.
func (f *fragments) put(id uint64, p *packet) {
	set := &f[id>>32%fragmentSets]
	to := &set[0]
	for i := range set {
		x := &set[i]
		if x.id == id || x.id == 0 {
			to = x
			break
		}
		if x.time < to.time {
			to = x
		}
	}
	*to = fragment{id, p.key, p.time, p.swapped}
}
