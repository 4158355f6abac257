package wire

// mixWheel orders the turns of flows: a timing wheel whose buckets are lists of chunks of
// flow numbers. Its time is that of the flows among each other; the schedule of packets
// is the clock's.
type mixWheel struct {
	buckets []wheelBucket
	now     uint32 // bucket whose flows have their turn
	chunks  []wheelChunk
	free    uint32 // first unused chunk, 0 for none
}

const wheelChunkFlows = 15 // a chunk is a cache line

type wheelBucket struct {
	head, tail uint32 // chunks, 0 for none
	taken      uint16 // flows of the head
	filled     uint16 // flows of the tail
}

type wheelChunk struct {
	next  uint32
	flows [wheelChunkFlows]uint32
}

const (
	minWheel = 64
	maxWheel = 4096
)

// newMixWheel makes a wheel for flows: full buckets take 64 bytes for 15 flows, and each
// bucket has up to two chunks that are not full.
func newMixWheel(flows int) mixWheel {
	n := minWheel
	for n < maxWheel && n*16 < flows {
		n *= 2
	}
	chunks := flows/wheelChunkFlows + 2*n + 2
	w := mixWheel{buckets: make([]wheelBucket, n), chunks: make([]wheelChunk, chunks)}
	for i := chunks - 1; i > 0; i-- {
		w.chunks[i].next = w.free
		w.free = uint32(i)
	}
	return w
}

// add appends a flow to the bucket that comes after the given number of others.
func (w *mixWheel) add(flow, after uint32) {
	b := &w.buckets[(w.now+after)&uint32(len(w.buckets)-1)]
	if b.tail == 0 || b.filled == wheelChunkFlows {
		c := w.free
		w.free = w.chunks[c].next
		w.chunks[c].next = 0
		if b.tail == 0 {
			b.head, b.taken = c, 0
		} else {
			w.chunks[b.tail].next = c
		}
		b.tail, b.filled = c, 0
	}
	w.chunks[b.tail].flows[b.filled] = flow
	b.filled++
}

// take removes as many flows as fit in. There must be as many.
func (w *mixWheel) take(flows []uint32) {
	for i := range flows {
		b := &w.buckets[w.now]
		for b.head == 0 {
			w.now = (w.now + 1) & uint32(len(w.buckets)-1)
			b = &w.buckets[w.now]
		}
		c := &w.chunks[b.head]
		flows[i] = c.flows[b.taken]
		if b.taken++; b.taken == wheelChunkFlows || b.head == b.tail && b.taken == b.filled {
			w.release(b)
		}
	}
}

// release takes the head, which is empty, from its bucket.
func (w *mixWheel) release(b *wheelBucket) {
	c := b.head
	b.head, b.taken = w.chunks[c].next, 0
	if b.head == 0 {
		b.tail = 0
	}
	w.chunks[c].next = w.free
	w.free = c
}
