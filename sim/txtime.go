package sim

import (
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/sim/wire"
)

// The line has a time of its own, in ticks of 0.1 ns since the port was made. Each frame
// gets its place on it when it is fetched: after the frame before it, not before software
// has posted it, and not before the rate limiter of its queue lets it go. So the times are
// those of the chip even if the device thread runs late; it then catches up.

const (
	ticksPerNano = 10

	txPreamble   = 8 // bytes before a frame, with the start delimiter
	txGap        = 12
	txBufferSize = 160 << 10 // bytes of the transmit packet buffer (datasheet 7.2.1.2)

	rateShift  = 14 // bits of RTTBCNRC.RF_DEC
	rateMask   = 1<<24 - 1
	rateEnable = 1 << 31 // RTTBCNRC.RS_ENA
)

// txLine is the line of the transmitter.
type txLine struct {
	clock func() time.Time
	start time.Time
	zero  int64 // start in ns since 1970
	now   int64 // time of the pass
	free  int64 // end of the gap behind the last frame
	bit   int64 // ticks of a bit: 1 at 10 Gb/s
	mmw   int64 // RTTBCNRM.MMW_SIZE in bits
	rate  [queues]uint32
}

func (l *txLine) init() {
	l.clock = time.Now
	l.start = startTime()
	l.zero = l.start.UnixNano()
	l.bit = 1
}

// startTime is time.Now. That reads the wall clock and then the monotonic one, and a thread
// may wait for a processor in between: of several readings the least apart counts.
func startTime() time.Time {
	best := time.Now()
	for range 16 {
		if t := time.Now(); t.UnixNano()-best.UnixNano() > int64(t.Sub(best)) {
			best = t
		}
	}
	return best
}

func (l *txLine) setSpeed(speed uint32) {
	l.bit = 1
	switch speed {
	case speed1G:
		l.bit = 10
	case speed100M:
		l.bit = 100
	}
}

func (l *txLine) ticks(t time.Time) int64 { return int64(t.Sub(l.start)) * ticksPerNano }

// wall is a time of the line in ns since 1970.
func (l *txLine) wall(ticks int64) int64 { return l.zero + ticks/ticksPerNano }

// txTiming is when a queue's frames may be sent.
type txTiming struct {
	rate      int64 // rate factor with rateShift fraction bits, 0: not limited
	limitFree int64 // ticks: the rate limiter lets the next frame go
	limitFrac int64 // ... and its fraction, rateShift bits
	ready     int64 // when the descriptors at head were posted
	late      int64 // ticks for which the rate limiter waited for the last frame to be posted
}

func (t *txTiming) restart() { t.limitFree, t.limitFrac, t.ready, t.late = 0, 0, 0, 0 }

// postTimes are the ticks at which descriptors of a queue were posted. A client in this
// process enters the time at which it stores the tail (tailClock), for others the device
// thread does when it sees the tail.
type postTimes struct {
	at []atomic.Int64 // by the first descriptor of a posting; 0: none begins there

	// held is how late the device thread is. A client that keeps the ring of a limited
	// queue full waits for it: it would have posted so much earlier.
	held atomic.Int64
}

// post enters a posting, the first time that it is called for it.
func (p *postTimes) post(first uint32, now int64) {
	p.at[first].CompareAndSwap(0, now-p.held.Load())
}

// fetched is called for each descriptor before it is fetched.
func (q *txQueue) fetched(i uint32, now int64) {
	if at := q.posted.at[i].Load(); at > 0 {
		q.ready = at
		q.posted.at[i].Store(0) // before the write-back that passes the descriptor to the client
	}
	if q.rate == 0 {
		return
	}
	held, late := q.posted.held.Load(), int64(0)
	if q.limitFree > 0 && (held > 0 || 2*ringDistance(q.head, q.tail, q.ring.size) > q.ring.size) {
		late = max(now-q.limitFree, 0)
	}
	if late != held {
		q.posted.held.Store(late)
	}
}

func ringDistance(from, to, size uint32) uint32 {
	if to < from {
		to += size
	}
	return to - from
}

// schedule places a frame of n bytes, with CRC, on the line and returns when its last
// bit leaves the port. A limited queue's next frame may begin when the frame's length
// times the rate factor has passed since its begin; preamble and gap do not count. A queue
// that other frames on the line held up catches up, by at most MMW_SIZE; one that had no
// frames does not (datasheet 7.7.2.2, 8.2.3.10).
func (l *txLine) schedule(q *txTiming, n int) (end int64) {
	due := max(q.ready, q.limitFree)
	if q.late = 0; q.limitFree > 0 {
		q.late = due - q.limitFree
	}
	begin := max(l.free, due)
	end = begin + int64(txPreamble+n)*8*l.bit
	l.free = end + txGap*8*l.bit
	if q.rate != 0 {
		if due = max(due, begin-l.mmw*l.bit*q.rate>>rateShift); due > q.limitFree {
			q.limitFree, q.limitFrac = due, 0
		}
		q.limitFrac += int64(n) * 8 * l.bit * q.rate
		q.limitFree += q.limitFrac >> rateShift
		q.limitFrac &= 1<<rateShift - 1
	}
	return end
}

// txFrame is a frame in the packet buffer.
type txFrame struct {
	data   []byte
	end    int64 // ticks: its last bit leaves the port
	late   int64 // ticks: see txTiming
	queue  uint8
	stamp  bool // its descriptor asks for a time stamp
	badCRC bool
	crc    uint32 // of a frame with badCRC
}

func (f *txFrame) damage() wire.Damage {
	if f.badCRC {
		return wire.BadCRC
	}
	return 0
}

// txBuffer is the transmit packet buffer, a queue.
type txBuffer struct {
	frames []txFrame
	head   int
	bytes  int
}

func (b *txBuffer) len() int        { return len(b.frames) - b.head }
func (b *txBuffer) first() *txFrame { return &b.frames[b.head] }
func (b *txBuffer) hasRoom() bool   { return b.len() < txOutMax && b.bytes < txBufferSize }

func (b *txBuffer) put(f txFrame) {
	if b.head > txOutMax {
		n := copy(b.frames, b.frames[b.head:])
		clear(b.frames[n:])
		b.frames, b.head = b.frames[:n], 0
	}
	b.frames = append(b.frames, f)
	b.bytes += len(f.data)
}

func (b *txBuffer) drop() {
	f := b.first()
	b.bytes -= len(f.data)
	f.data = nil
	if b.head++; b.head == len(b.frames) {
		b.frames, b.head = b.frames[:0], 0
	}
}

// RTTDQSEL selects the queue whose rate factor RTTBCNRC is (datasheet 8.2.3.10).

func (n *NIC) readRTTBCNRC(int) uint32 { return n.tx.rate[n.reg[rRTTDQSEL/4]] }

func (n *NIC) writeRTTBCNRC(_ int, v uint32) {
	i := n.reg[rRTTDQSEL/4]
	v &= rateEnable | rateMask
	n.tx.rate[i] = v
	q := &n.tx.q[i].txTiming
	q.rate = 0
	if v&rateEnable != 0 {
		// A factor below 1 would be faster than the line, which limits anyway.
		q.rate = int64(v & rateMask)
	}
	if q.rate == 0 {
		q.limitFree, q.limitFrac = 0, 0
	}
}

func (n *NIC) writeRTTBCNRM(_ int, v uint32) {
	n.reg[rRTTBCNRM/4] = v
	n.tx.mmw = int64(v&0xfff) << 10 * 8
}

// departureLog records frames that were sent (NIC.RecordSent).
type departureLog struct {
	frames []pci.SentFrame
	more   uint64 // frames beyond the capacity
}

func (d *departureLog) add(l *txUnit, f *txFrame) {
	if len(d.frames) == cap(d.frames) {
		d.more++
		return
	}
	d.frames = append(d.frames, pci.SentFrame{At: l.wall(f.end), Len: len(f.data), Queue: int(f.queue), Late: f.late / ticksPerNano})
}

// RecordSent implements pci.SendRecorder: it forgets what was recorded and records the
// next so many frames.
func (n *NIC) RecordSent(frames int) {
	d := &departureLog{frames: make([]pci.SentFrame, frames)}
	for i := range d.frames {
		d.frames[i].Len = 1 // written now, so that no page fault delays a frame
	}
	d.frames = d.frames[:0]
	n.lock()
	defer n.mu.Unlock()
	n.departures = d
}

// Sent implements pci.SendRecorder.
func (n *NIC) Sent() (frames []pci.SentFrame, more uint64) {
	n.lock()
	defer n.mu.Unlock()
	if n.departures == nil {
		return nil, 0
	}
	return n.departures.frames, n.departures.more
}
