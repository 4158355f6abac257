package wire

import (
	"io"
	"os"
	"sync/atomic"
	"time"
)

// DefaultBurst is the wire time that may be due at once. A device thread polls every
// few microseconds; 32 us are 476 of the shortest frames, which a ring of 512 and the
// packet buffer hold. Without the limit, a preempted device thread would receive frames
// faster than a line carries them, and lose them.
const DefaultBurst = 32 * time.Microsecond

// playback describes how a train is sent.
type playback struct {
	total        int64 // frames; forever for a wire without end
	burst        time.Duration
	backpressure bool
}

// clock is the time of a replay. Tests have their own.
type clock interface {
	// Start sets the origin of Since and returns it as CLOCK_REALTIME ns.
	Start() int64

	// Since is the monotonic time since Start in ns.
	Since() int64
}

type systemClock struct{ start time.Time }

func (c *systemClock) Start() int64 {
	c.start = time.Now()
	return c.start.UnixNano()
}

func (c *systemClock) Since() int64 { return int64(time.Since(c.start)) }

// replay sends a train on schedule, round after round. The device thread owns all
// fields but the atomic ones.
type replay struct {
	*train
	clock        clock
	left         int64 // frames to come; forever never runs out (29000 years at line rate)
	burst        int64 // ticks
	backpressure bool

	i       int   // slot of the next frame
	next    int64 // ticks from the start until its last bit has arrived
	nominal int64 // the same without the limit of the line
	frac    int64 // fraction of nominal, of den
	shift   int64 // ticks of delay of the schedule
	start   int64 // CLOCK_REALTIME ns
	begun   bool
	blocked bool // the next frame is due and waits for room

	seq  uint64 // sequence number of the next frame, generated frames only
	mark *marks // nil for a file's frames

	late   atomic.Int64 // shift in ns, for other goroutines
	closed atomic.Bool

	notices []string // of a file
}

// Notices implements Noticer.
func (r *replay) Notices() []string { return r.notices }

func newReplay(t *train, p playback, c clock) *replay {
	r := &replay{train: t, clock: c, left: p.total, burst: int64(p.burst) * 10, backpressure: p.backpressure, mark: t.mark}
	first := &t.slots[0]
	r.next = int64(first.wire)
	r.nominal = r.next
	return r
}

// Receive implements Wire. It reads the clock once.
func (r *replay) Receive(frames []Frame, room int) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if r.closed.Load() {
		return 0, os.ErrClosed
	}
	if !r.begun {
		r.begun = true
		r.start = r.clock.Start()
		return 0, nil
	}
	now := r.clock.Since()*10 - r.shift
	lag := now - r.next
	if lag < 0 {
		return 0, nil
	}
	if r.backpressure && max(int(r.slots[r.i].len), minFrame) > room {
		r.blocked = true
		return 0, nil
	}
	if r.blocked {
		r.blocked = false
		now -= r.delay(lag)
	} else if lag > r.burst {
		now -= r.delay(lag - r.burst)
	}

	// A slot is sent once per call: the caller uses its bytes until the next call.
	most := int(min(int64(len(frames)), r.left, int64(len(r.slots))))
	n, i, next, nominal, frac := 0, r.i, r.next, r.nominal, r.frac
	for n < most && next <= now {
		s := &r.slots[i]
		data := r.arena[s.off : s.off+int64(s.len) : s.off+int64(s.len)]
		if r.backpressure {
			if room -= max(len(data), minFrame); room < 0 {
				r.blocked = true
				break
			}
		}
		if r.mark != nil {
			r.mark.write(data, i, r.seq)
			r.seq++
		}
		frames[n] = Frame{Data: data, At: r.start + (next+r.shift)/10, Damage: s.damage, CRC: s.crc}
		n++
		if i++; i == len(r.slots) {
			i = 0
		}
		s = &r.slots[i]
		nominal += s.step
		if frac += s.frac; frac >= r.den {
			frac -= r.den
			nominal++
		}
		next = max(nominal, next+int64(s.wire))
	}
	r.i, r.next, r.nominal, r.frac = i, next, nominal, frac
	if r.left != forever {
		r.left -= int64(n)
	}
	return n, nil
}

// delay delays the rest of the schedule.
func (r *replay) delay(ticks int64) int64 {
	r.shift += ticks
	r.late.Store(r.shift / 10)
	return ticks
}

// Late implements Scheduled.
func (r *replay) Late() time.Duration { return time.Duration(r.late.Load()) }

// Backpressure implements Scheduled.
func (r *replay) Backpressure() bool { return r.backpressure }

// Send implements Wire. The far end of a replay discards frames.
func (r *replay) Send([]byte) error {
	if r.closed.Load() {
		return os.ErrClosed
	}
	return nil
}

// Up implements Wire. The carrier is up until the wire is closed, also after the last
// frame.
func (r *replay) Up() bool { return !r.closed.Load() }

// Close implements Wire.
func (r *replay) Close() error {
	r.closed.Store(true)
	return nil
}
