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

// pacer keeps the schedule of a wire whose frames come from this process. The device
// thread owns all fields but the atomic ones.
type pacer struct {
	clock        clock
	burst        int64 // ticks
	backpressure bool

	shift   int64 // ticks of delay of the schedule
	start   int64 // CLOCK_REALTIME ns
	begun   bool
	blocked bool  // the next frame is due and waits for room
	early   int64 // ticks until the next frame arrives, 0: none or unknown

	late   atomic.Int64 // shift in ns, for other goroutines
	closed atomic.Bool
}

func newPacer(p playback, c clock) pacer {
	return pacer{clock: c, burst: int64(p.burst) * 10, backpressure: p.backpressure}
}

// due returns the time on the schedule, ticks since the start, and whether the next frame
// has arrived: it has size bytes, and its last bit comes at next. It reads the clock once.
func (p *pacer) due(next int64, size, room int) (now int64, arrived bool) {
	if !p.begun {
		p.begun = true
		p.start = p.clock.Start()
		return 0, false
	}
	now = p.clock.Since()*10 - p.shift
	lag := now - next
	if p.early = max(0, -lag); lag < 0 {
		return 0, false
	}
	if p.backpressure && max(size, minFrame) > room {
		p.blocked = true
		return 0, false
	}
	if p.blocked {
		p.blocked = false
		now -= p.delay(lag)
	} else if lag > p.burst {
		now -= p.delay(lag - p.burst)
	}
	return now, true
}

// delay delays the rest of the schedule.
func (p *pacer) delay(ticks int64) int64 {
	p.shift += ticks
	p.late.Store(p.shift / 10)
	return ticks
}

// Late implements Scheduled.
func (p *pacer) Late() time.Duration { return time.Duration(p.late.Load()) }

// Early implements Scheduled.
func (p *pacer) Early() time.Duration { return time.Duration(p.early / 10) }

// Backpressure implements Scheduled.
func (p *pacer) Backpressure() bool { return p.backpressure }

// Send implements Wire. The far end discards frames.
func (p *pacer) Send([]byte) error {
	if p.closed.Load() {
		return os.ErrClosed
	}
	return nil
}

// Up implements Wire. The carrier is up until the wire is closed, also after the last
// frame.
func (p *pacer) Up() bool { return !p.closed.Load() }

// Close implements Wire.
func (p *pacer) Close() error {
	p.closed.Store(true)
	return nil
}

// replay sends a train on schedule, round after round.
type replay struct {
	*train
	pacer
	left int64 // frames to come; forever never runs out (29000 years at line rate)

	i       int   // slot of the next frame
	next    int64 // ticks from the start until its last bit has arrived
	nominal int64 // the same without the limit of the line
	frac    int64 // fraction of nominal, of den

	seq  uint64 // sequence number of the next frame, generated frames only
	mark *marks // nil for a file's frames

	notices []string // of a file
}

// Notices implements Noticer.
func (r *replay) Notices() []string { return r.notices }

func newReplay(t *train, p playback, c clock) *replay {
	r := &replay{train: t, pacer: newPacer(p, c), left: p.total, mark: t.mark}
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
	now, arrived := r.due(r.next, int(r.slots[r.i].len), room)
	if !arrived {
		return 0, nil
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
