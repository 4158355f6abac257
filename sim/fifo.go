package sim

// fifo is the packet buffer: frames that wait for descriptors of their queue,
// oldest first. The port has one, so a queue without descriptors blocks the frames
// of all queues behind it, unless SRRCTL.DROP_EN is set (datasheet 8.2.3.8.7).
//
//	data  ....[frame][frame][frame]....    bytes, a frame never wraps
//	slots ....[slot ][slot ][slot ]....    offset, length and metadata
type fifo struct {
	data  []byte
	slots []slot

	first, count int // slots
	tail         int // where the next frame goes
	used         int // bytes, against RXPBSIZE
	done         int // bytes of the first frame that have been written to the host
}

// slot is one frame in the buffer.
type slot struct {
	at, size int
	charge   int // bytes on the wire without CRC
	failed   bool
	meta     meta
	arrived  int64  // ns since 1970
	seq      uint64 // number on the wire
}

const (
	fifoBytes  = 512 << 10
	fifoMargin = 32 << 10 // for the longest frame in one piece
)

func newFIFO() fifo {
	// RXPBSIZE goes up to 512 KiB. Twice that, since a frame that does not fit the
	// end leaves it unused.
	return fifo{data: make([]byte, 2*fifoBytes+fifoMargin), slots: make([]slot, fifoBytes/60+1)}
}

func (b *fifo) frames() int { return b.count }

func (b *fifo) clear() { b.first, b.count, b.tail, b.used, b.done = 0, 0, 0, 0, 0 }

// put stores a frame unless the buffer would exceed limit (RXPBSIZE in bytes).
func (b *fifo) put(f []byte, charge, limit int, m meta) bool {
	if b.used+charge > limit || b.count == len(b.slots) {
		return false
	}
	at := b.tail
	if b.count == 0 {
		at = 0
	} else if oldest := b.slots[b.first].at; at > oldest {
		if at+len(f) > len(b.data) {
			if at = 0; len(f) > oldest {
				return false
			}
		}
	} else if at+len(f) > oldest {
		return false
	}
	copy(b.data[at:], f)
	s := &b.slots[(b.first+b.count)%len(b.slots)]
	*s = slot{at: at, size: len(f), charge: charge, meta: m}
	b.count++
	b.tail = at + len(f)
	b.used += charge
	return true
}

// head is the oldest frame; the buffer must not be empty.
func (b *fifo) head() (*slot, []byte) {
	s := &b.slots[b.first]
	return s, b.data[s.at : s.at+s.size]
}

// newest is the last frame put.
func (b *fifo) newest() *slot { return &b.slots[(b.first+b.count-1)%len(b.slots)] }

func (b *fifo) pop() {
	b.used -= b.slots[b.first].charge
	b.first = (b.first + 1) % len(b.slots)
	b.count--
	b.done = 0
}
