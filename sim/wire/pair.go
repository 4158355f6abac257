package wire

import (
	"fmt"
	"sync/atomic"
	"time"
)

const (
	pairFrames = 4096    // frames under way in one direction
	pairBytes  = 4 << 20 // ... and their bytes
)

// NewPair returns the two ends of a cable: what one port sends, the other
// receives, at once. Each direction holds 4096 frames or 4 MiB; then Send
// returns ErrBusy until the other port has taken some. An end is up while neither
// is closed and the other one's transmitter is on; frames sent to an end that has
// been closed are lost.
func NewPair() (a, b Wire) { return newPair(false, realClock) }

// NewLinePair is NewPair with a line of 10 Gb/s between the ends: a frame
// arrives when its last bit would. A port that sends faster gets ErrBusy.
func NewLinePair() (a, b Wire) { return newPair(true, realClock) }

// realClock returns monotonic ns since the pair was made, and what to add for
// CLOCK_REALTIME.
func realClock() (since func() int64, realtime int64) {
	start := time.Now()
	return func() int64 { return int64(time.Since(start)) }, start.UnixNano()
}

func newPair(paced bool, clock func() (func() int64, int64)) (a, b *end) {
	since, realtime := clock()
	cable := &cable{since: since, realtime: realtime, paced: paced}
	ab, ba := newQueue(), newQueue()
	a = &end{cable: cable, out: ab, in: ba}
	b = &end{cable: cable, out: ba, in: ab}
	a.peer, b.peer = b, a
	return a, b
}

// cable is what both ends share and neither changes.
type cable struct {
	since    func() int64
	realtime int64
	paced    bool
}

// end is one end of a pair.
type end struct {
	*cable
	peer   *end
	out    *queue
	in     *queue
	closed atomic.Bool
	dark   atomic.Bool // this end's port has turned its transmitter off

	lineFree int64 // ticks: when the last frame sent has passed; sender's thread only
}

// queue carries frames one way, from one thread to one other, without locks.
// Positions grow for ever; their remainders are places.
type queue struct {
	entries []entry
	bytes   []byte

	tail  atomic.Uint64 // entries put in; stored by the sender after it has filled one
	_     [56]byte      // the two ends' positions on cache lines of their own
	head  atomic.Uint64 // entries taken out; stored by the receiver once it is done with their bytes
	_     [56]byte
	given uint64 // entries handed out by the last Receive; receiver only
	free  uint64 // position in bytes up to which the sender has written; sender only
}

type entry struct {
	at  int64  // ticks on the cable's clock when the last bit arrives
	pos uint64 // of its first byte
	len int
}

func newQueue() *queue {
	return &queue{entries: make([]entry, pairFrames), bytes: make([]byte, pairBytes)}
}

// put copies a frame in and returns false when there is no room.
func (q *queue) put(data []byte, at int64) bool {
	tail := q.tail.Load()
	head := q.head.Load() // pairs with the Store in release: the bytes before it are not read any more
	if tail-head == pairFrames {
		return false
	}
	pos := q.free
	if rest := pairBytes - pos%pairBytes; rest < uint64(len(data)) {
		pos += rest // a frame does not wrap
	}
	oldest := pos
	if head != tail {
		oldest = q.entries[head%pairFrames].pos
	}
	if pos+uint64(len(data))-oldest > pairBytes {
		return false
	}
	copy(q.bytes[pos%pairBytes:], data)
	q.free = pos + uint64(len(data))
	q.entries[tail%pairFrames] = entry{at: at, pos: pos, len: len(data)}
	q.tail.Store(tail + 1) // publishes the entry and its bytes to take
	return true
}

// release gives back what the last Receive handed out.
func (q *queue) release() {
	if q.given > 0 {
		q.head.Store(q.head.Load() + q.given)
		q.given = 0
	}
}

// Receive implements Wire.
func (e *end) Receive(frames []Frame, _ int) (int, error) {
	if e.closed.Load() {
		return 0, ErrClosed
	}
	q := e.in
	q.release()
	head := q.head.Load()
	tail := q.tail.Load() // pairs with the Store in put
	if head == tail {
		return 0, nil
	}
	now := e.since() * 10
	n := 0
	for n < len(frames) && head != tail {
		f := &q.entries[head%pairFrames]
		if f.at > now {
			break
		}
		place := f.pos % pairBytes
		frames[n] = Frame{Data: q.bytes[place : place+uint64(f.len) : place+uint64(f.len)], At: e.realtime + f.at/10}
		n++
		head++
	}
	q.given = uint64(n)
	return n, nil
}

// Send implements Wire.
func (e *end) Send(data []byte) error {
	if e.closed.Load() {
		return ErrClosed
	}
	if e.peer.closed.Load() {
		return nil // no carrier
	}
	if len(data) > maxFrame {
		return fmt.Errorf("send frame of %d bytes: at most %d", len(data), maxFrame)
	}
	at := e.since() * 10
	if e.paced {
		if e.lineFree-at > int64(DefaultBurst)*10 {
			return ErrBusy
		}
		at = max(at, e.lineFree) + wireTicks(len(data))
	}
	if !e.out.put(data, at) {
		return ErrBusy
	}
	e.lineFree = at
	return nil
}

// Up implements Wire.
func (e *end) Up() bool { return !e.closed.Load() && !e.peer.closed.Load() && !e.peer.dark.Load() }

// SetCarrier implements CarrierSetter.
func (e *end) SetCarrier(on bool) { e.dark.Store(!on) }

// Close implements Wire.
func (e *end) Close() error {
	e.closed.Store(true)
	return nil
}
