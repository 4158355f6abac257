package wire

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

const (
	pairFrames = 4096    // frames in one direction
	pairBytes  = 4 << 20 // ... and their bytes
)

// NewPair returns the two ends of a cable: a frame sent at one end arrives at once at
// the other. Each direction holds 4096 frames or 4 MiB; then Send returns ErrBusy
// until the other port receives. An end is up while both are open and the other one's
// transmitter is on; frames sent to a closed end are lost.
func NewPair() (a, b Wire) { return newPair(false, realClock) }

// NewLinePair is NewPair with a line of 10 Gb/s: a frame arrives with its last bit. A
// port that sends faster gets ErrBusy.
func NewLinePair() (a, b Wire) { return newPair(true, realClock) }

// realClock returns a clock of monotonic ns since the call, and CLOCK_REALTIME at the
// call.
func realClock() (since func() int64, realtime int64) {
	start := time.Now()
	return func() int64 { return int64(time.Since(start)) }, start.UnixNano()
}

func newPair(line bool, clock func() (func() int64, int64)) (a, b *end) {
	since, realtime := clock()
	cable := &cable{since: since, realtime: realtime, line: line}
	ab, ba := newQueue(), newQueue()
	a = &end{cable: cable, out: ab, in: ba}
	b = &end{cable: cable, out: ba, in: ab}
	a.peer, b.peer = b, a
	return a, b
}

// cable is the immutable state that both ends share.
type cable struct {
	since    func() int64
	realtime int64
	line     bool // frames take their time on a line of 10 Gb/s
}

// end is one end of a pair.
type end struct {
	*cable
	peer   *end
	out    *queue
	in     *queue
	closed atomic.Bool
	txOff  atomic.Bool // this end's port has turned its transmitter off

	lineFree int64 // ticks: end of the last frame sent; sender only
}

// queue is a lock-free queue of frames from one thread to another. Positions only
// increase; modulo the size they are indices.
//
//	R1 release of tail in put      pairs with A1 acquire of tail in Receive
//	R2 release of head in release  pairs with A2 acquire of head in put
type queue struct {
	entries []entry
	bytes   []byte

	tail  atomic.Uint64 // entries put; sender stores
	_     [56]byte      // tail and head on separate cache lines
	head  atomic.Uint64 // entries released; receiver stores
	_     [56]byte
	taken uint64 // entries of the last Receive; receiver only
	free  uint64 // position of the next byte to write; sender only
}

type entry struct {
	at     int64  // ticks on the cable's clock when the last bit arrives
	pos    uint64 // of its first byte
	len    int
	damage Damage
	crc    uint32 // with BadCRC
}

func newQueue() *queue {
	return &queue{entries: make([]entry, pairFrames), bytes: make([]byte, pairBytes)}
}

// put copies a frame in and returns false when there is no room.
func (q *queue) put(f Frame, at int64) bool {
	tail := q.tail.Load()
	head := q.head.Load() // A2: the bytes before it are no longer read
	if tail-head == pairFrames {
		return false
	}
	pos := q.free
	if rest := pairBytes - pos%pairBytes; rest < uint64(len(f.Data)) {
		pos += rest // frames do not wrap
	}
	oldest := pos
	if head != tail {
		oldest = q.entries[head%pairFrames].pos
	}
	if pos+uint64(len(f.Data))-oldest > pairBytes {
		return false
	}
	copy(q.bytes[pos%pairBytes:], f.Data)
	q.free = pos + uint64(len(f.Data))
	q.entries[tail%pairFrames] = entry{at: at, pos: pos, len: len(f.Data), damage: f.Damage, crc: f.CRC}
	q.tail.Store(tail + 1) // R1: publishes the entry and its bytes
	return true
}

// release releases the entries of the last Receive.
func (q *queue) release() {
	if q.taken > 0 {
		q.head.Store(q.head.Load() + q.taken) // R2
		q.taken = 0
	}
}

// Receive implements Wire.
func (e *end) Receive(frames []Frame, _ int) (int, error) {
	if e.closed.Load() {
		return 0, os.ErrClosed
	}
	q := e.in
	q.release()
	head := q.head.Load()
	tail := q.tail.Load() // A1
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
		at := f.pos % pairBytes
		frames[n] = Frame{Data: q.bytes[at : at+uint64(f.len) : at+uint64(f.len)], At: e.realtime + f.at/10, Damage: f.damage, CRC: f.crc}
		n++
		head++
	}
	q.taken = uint64(n)
	return n, nil
}

// Send implements Wire.
func (e *end) Send(data []byte) error { return e.send(Frame{Data: data}, e.since()*10) }

// SendAt implements TimedSender.
func (e *end) SendAt(f Frame) error { return e.send(f, (f.At-e.realtime)*10) }

// send sends a frame whose last bit leaves the port at a time in ticks.
func (e *end) send(f Frame, at int64) error {
	if e.closed.Load() {
		return os.ErrClosed
	}
	if e.peer.closed.Load() {
		return nil // no carrier
	}
	if len(f.Data) > maxFrame {
		return fmt.Errorf("send frame of %d bytes: longer than %d", len(f.Data), maxFrame)
	}
	if e.line {
		if e.lineFree-at > int64(DefaultBurst)*10 {
			return ErrBusy
		}
		at = max(at, e.lineFree) + wireTicks(len(f.Data))
	}
	if !e.out.put(f, at) {
		return ErrBusy
	}
	e.lineFree = at
	return nil
}

// Up implements Wire.
func (e *end) Up() bool { return !e.closed.Load() && !e.peer.closed.Load() && !e.peer.txOff.Load() }

// SetCarrier implements CarrierSetter.
func (e *end) SetCarrier(on bool) { e.txOff.Store(!on) }

// Close implements Wire.
func (e *end) Close() error {
	e.closed.Store(true)
	return nil
}
