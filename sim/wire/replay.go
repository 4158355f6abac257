package wire

import (
	"io"
	"sync/atomic"
	"time"
)

// DefaultBurst is how much wire time may be due at once. A device thread that
// polls comes every few microseconds; 32 us are 476 of the shortest frames,
// which the smallest ring in use (512) and a port's packet buffer take in one
// go. Were more let through after the operating system had taken the thread
// away for a while, the port would see frames faster than any line carries them
// and lose them for a reason that is not its own.
const DefaultBurst = 32 * time.Microsecond

// play is how a train is sent.
type play struct {
	total        int64 // frames; forever for a wire without end
	burst        time.Duration
	backpressure bool
}

// clock gives a replay its time; tests put their own in.
type clock interface {
	// Start sets the instant that Since counts from and returns it as
	// CLOCK_REALTIME nanoseconds.
	Start() int64

	// Since is the monotonic time since Start in nanoseconds.
	Since() int64
}

type systemClock struct{ start time.Time }

func (c *systemClock) Start() int64 {
	c.start = time.Now()
	return c.start.UnixNano()
}

func (c *systemClock) Since() int64 { return int64(time.Since(c.start)) }

// replay sends a train on schedule, round after round. All fields but the
// atomic ones belong to the device thread.
type replay struct {
	*train
	clock        clock
	left         int64 // frames to come; forever never runs out (29000 years at line rate)
	burst        int64 // ticks
	backpressure bool

	i       int   // slot of the next frame
	next    int64 // ticks from the start until its last bit has arrived
	nominal int64 // the same if the line had no limit
	frac    int64 // den-ths of a tick to be added to nominal
	shift   int64 // ticks that the schedule was shifted by
	start   int64 // CLOCK_REALTIME ns
	begun   bool
	held    bool // the next frame is due and waits for room

	seq  uint64 // sequence number of the next frame, generated frames only
	mark *marks // where sequence numbers go, nil for a file's frames

	late   atomic.Int64 // = shift in ns, for others to read
	closed atomic.Bool
}

func newReplay(t *train, p play, c clock) *replay {
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
		return 0, ErrClosed
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
		r.held = true
		return 0, nil
	}
	if r.held {
		r.held = false
		now -= r.delay(lag)
	} else if lag > r.burst {
		now -= r.delay(lag - r.burst)
	}

	// A slot is sent once per call: its bytes are the caller's until the next.
	most := int(min(int64(len(frames)), r.left, int64(len(r.slots))))
	n, i, next, nominal, frac := 0, r.i, r.next, r.nominal, r.frac
	for n < most && next <= now {
		s := &r.slots[i]
		data := r.arena[s.off : s.off+int64(s.len) : s.off+int64(s.len)]
		if r.backpressure {
			if room -= max(len(data), minFrame); room < 0 {
				r.held = true
				break
			}
		}
		if r.mark != nil {
			r.mark.write(data, i, r.seq)
			r.seq++
		}
		frames[n] = Frame{Data: data, At: r.start + (next+r.shift)/10}
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

// delay shifts the rest of the schedule.
func (r *replay) delay(ticks int64) int64 {
	r.shift += ticks
	r.late.Store(r.shift / 10)
	return ticks
}

// Late implements Scheduled.
func (r *replay) Late() time.Duration { return time.Duration(r.late.Load()) }

// Send implements Wire. Nobody listens at the far end of a replay.
func (r *replay) Send([]byte) error {
	if r.closed.Load() {
		return ErrClosed
	}
	return nil
}

// Up implements Wire. The sender is there until the wire is closed, also when
// it has nothing more to send.
func (r *replay) Up() bool { return !r.closed.Load() }

// Close implements Wire. The frames stay in memory as long as the device thread
// refers to them.
func (r *replay) Close() error {
	r.closed.Store(true)
	return nil
}
