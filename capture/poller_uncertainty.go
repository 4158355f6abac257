package capture

// uncertainty bounds the time between a frame's arrival in host memory and its stamp.
// A frame of a poll arrived after the latest of
//
//   - the start of the last poll that emptied the queue, or of the sleep after it;
//   - the start of a poll before which the poller had taken all frames up to this one
//     but as many as ring and packet buffer hold: more cannot wait at once.
//
// It arrived, and got its stamp, before the next poll. The frames of one queue are
// stamped in their order; for the frames of two queues the bounds tell how far the
// order of stamps may differ from the order of arrival. The time that a frame spends in
// the NIC before its write-back is not included.
type uncertainty struct {
	capacity uint64 // frames that ring and packet buffer hold; 0: not known
	marks    [uncertaintyMarks]mark
	newest   uint64 // number of the newest mark, modulo uncertaintyMarks its place
	back     uint64 // of the latest mark that lies the capacity back; 0: none, its tick is 0

	clear uint64 // start of the last poll that emptied the queue, or of the sleep after it, ticks
	since uint64 // the frames of the last poll arrived after it, ticks; 0: there were none

	ticks uint64 // the longest bound of a poll
	ns    uint64 // the longest bound of all
}

// mark is a poll: its start in ticks, and how many frames had been taken before it.
type mark struct{ tick, taken uint64 }

// uncertaintyMarks is twice the number of parts that the capacity is divided into, so
// that there are marks the whole capacity back.
const uncertaintyMarks = 32

// smallestFrame is the length of the shortest frame in a packet buffer, CRC included
// (IEEE 802.3, 3.2.8).
const smallestFrame = 64

// polled is called after a poll that started at now and returned n frames, all that had
// arrived unless it was full. Before it, taken frames had been polled.
func (u *uncertainty) polled(now, taken uint64, n int, full bool) {
	if n > 0 {
		u.since = u.clear
		if u.capacity != 0 {
			u.mark(now, taken)
		}
	}
	if !full {
		u.clear = now
	}
}

// mark adds a mark if the newest is far enough back, and moves since to the latest mark
// that lies the capacity back.
func (u *uncertainty) mark(now, taken uint64) {
	if newest := u.marks[u.newest%uncertaintyMarks]; newest.tick == 0 || taken-newest.taken >= 2*u.capacity/uncertaintyMarks {
		u.newest++
		u.marks[u.newest%uncertaintyMarks] = mark{now, taken}
	}
	for u.back < u.newest && taken-u.marks[(u.back+1)%uncertaintyMarks].taken >= u.capacity {
		u.back++
	}
	u.since = max(u.since, u.marks[u.back%uncertaintyMarks].tick)
}

// boundArrivals is called at the start of each poll: the frames of the poll before have
// their stamps.
func (p *poller) boundArrivals(now uint64) {
	u := &p.arrivals
	if u.since == 0 {
		return
	}
	if ticks := now - u.since; ticks > u.ticks {
		u.ticks = ticks
		p.raiseUncertainty(p.stamper.Nanoseconds(ticks))
	}
	u.since = 0
}

// raiseUncertainty publishes ns if that is the longest bound so far.
func (p *poller) raiseUncertainty(ns uint64) {
	if ns > p.arrivals.ns {
		p.arrivals.ns = ns
		p.producer.SetUncertainty(ns)
	}
}
