package capture

import (
	"time"

	"golang.org/x/sys/unix"
)

// Stall is a gap between two polls that was long enough to ask what it was for.
type Stall struct {
	At     time.Time     `json:"at"`     // when it ended
	Length time.Duration `json:"length"` // ns
	Cause  string        `json:"cause"`  // as far as the kernel tells

	Frames uint64 `json:"frames"` // that had come together: taken until a poll was not full
	Rate   uint64 `json:"rate"`   // frames a second, in some 10 ms before, or with the stall if that was more
	Size   uint64 `json:"size"`   // their mean length, bytes without CRC

	// Holds is how long the port's ring and packet buffer hold what arrives at
	// that rate, ns; 0 when nothing arrived, or the port does not say.
	Holds time.Duration `json:"holds"`
	// Risky: the stall was longer than that, so it could have cost frames.
	Risky bool `json:"risky"`

	Preempted uint64        `json:"preempted,omitempty"` // times that the core was taken from the poller's thread
	Blocked   uint64        `json:"blocked,omitempty"`   // times that the thread gave it away
	Waited    time.Duration `json:"waited,omitempty"`    // ns that the thread could have run and had no core
	Held      time.Duration `json:"held,omitempty"`      // ns that the stream took no frame
	Paused    time.Duration `json:"paused,omitempty"`    // ns that the poller had chosen to pause
	Listener  string        `json:"listener,omitempty"`  // that held the stream, as it seemed within a second

	judged bool // compared with this program's garbage collections
}

// Causes of stalls.
const (
	CausePreempted  = "preempted: other threads had its core"
	CauseThrottled  = "preempted: the kernel limits real-time threads, or a higher one had its core"
	CauseWoken      = "woken late: other threads had its core"
	CauseHeld       = "held by a lossless listener"
	CausePaused     = "its own pause, for want of a core to itself"
	CauseCollection = "blocked: a garbage collection of this program"
	CauseBlocked    = "blocked: a page fault, or Go's scheduler"
	CauseOutside    = "not the scheduler: an interrupt, the firmware, or the host of a virtual machine"
	CauseUnknown    = "not known: the kernel does not count for threads"
)

const (
	stallAfter = 100_000    // ns; a shorter gap is only counted
	refresh    = 10_000_000 // ns between looks at the thread's usage
	rateOver   = 1_000_000  // ns that make a rate
)

// stalls watches one poller's thread. Only the poller uses it, but for the book.
type stalls struct {
	book   stallBook
	thread threadUsage
	fifo   bool

	descriptors uint64 // of the ring; 0: not known
	limits      Limits // of the port

	// As the thread was at some moment within the refresh before now.
	usage         usage
	at            uint64 // ticks
	frames, bytes uint64 // polled until then

	poll         uint64 // ticks of the poll after which what follows was spent
	held, paused uint64 // ticks

	open   bool
	opened uint64 // ticks
	rate   uint64 // frames a second before it
	now    Stall  // the one that is open
}

// spent notes why time passes after the poll that began at lastPoll.
func (s *stalls) spent(lastPoll, held, paused uint64) {
	if s.poll != lastPoll {
		s.poll, s.held, s.paused = lastPoll, 0, 0
	}
	s.held += held
	s.paused += paused
}

// stalled opens a stall: ns have passed from p.lastPoll to now.
func (p *poller) stalled(ns, now uint64) {
	s := &p.stalls
	u := s.thread.read()
	if s.open && ns < uint64(s.now.Length)/8 {
		s.usage = u // while what a much longer one left is still being taken: part of it
		return
	}
	p.settle(now)
	s.open, s.opened, s.rate = true, now, 0
	if before := p.stamper.Nanoseconds(p.lastPoll - s.at); before >= rateOver && p.lastPoll > s.at {
		s.rate = perSecond(p.polled-s.frames, before)
	}
	s.now = Stall{
		At: time.Now(), Length: time.Duration(ns),
		Preempted: u.preempted - s.usage.preempted, Blocked: u.blocked - s.usage.blocked,
		Waited: time.Duration(u.waited - s.usage.waited),
	}
	if s.poll == p.lastPoll {
		s.now.Held = time.Duration(p.stamper.Nanoseconds(s.held))
		s.now.Paused = time.Duration(p.stamper.Nanoseconds(s.paused))
	}
	s.now.Waited = min(s.now.Waited, s.now.Length) // some of it may be of a short gap before
	s.now.Cause = s.now.cause(u, s.fifo)
	s.usage = u
}

// cause is what explains more than half of a stall.
func (s *Stall) cause(u usage, fifo bool) string {
	half := s.Length / 2
	switch {
	case s.Held > half:
		return CauseHeld
	case u.counted && s.Waited > half || !u.timed && s.Preempted > 0:
		switch {
		case s.Preempted == 0:
			return CauseWoken
		case fifo:
			return CauseThrottled
		}
		return CausePreempted
	case s.Paused > half:
		return CausePaused
	case !u.counted:
		return CauseUnknown
	case s.Blocked > 0:
		return CauseBlocked
	}
	return CauseOutside
}

// found counts what a poll gave while a stall is open. The stall is over when a
// poll was not full, or when as much time has passed again.
func (p *poller) found(frames int) {
	s := &p.stalls
	s.now.Frames += uint64(frames)
	now := p.stamper.Ticks()
	if frames < len(p.frames) || p.stamper.Nanoseconds(now-s.opened) > max(uint64(s.now.Length), refresh) {
		p.settle(now)
	}
}

// settle judges the stall that is open, if one is.
func (p *poller) settle(now uint64) {
	s := &p.stalls
	if !s.open {
		return
	}
	s.open = false
	s.now.Rate = s.rate
	s.now.judge(p.polled-s.frames, p.bytes-s.bytes, p.stamper.Nanoseconds(now-s.at), s.descriptors, &s.limits)
	if s.now.Frames > 0 || s.now.Cause != CausePaused { // else nothing had to be held
		s.book.put(&s.now)
	}
	s.at, s.frames, s.bytes = now, p.polled, p.bytes
}

// judge tells whether a stall could have cost frames, when so many frames of so
// many bytes were polled in ns around it, and Rate is the one before. What was lost
// is not among them, so the rate with the stall may be too low; before it there
// may have been none. Frames that had waited are polled faster than they came, so
// neither is believed beyond what the line carries. A frame takes one descriptor,
// and room in the packet buffer as Limits say.
func (s *Stall) judge(frames, bytes, ns, descriptors uint64, l *Limits) {
	if frames != 0 && ns != 0 {
		s.Size = bytes / frames
		s.Rate = max(s.Rate, perSecond(frames, ns))
	}
	const crc, gap = 4, 20 // gap: preamble and pause between frames, in bytes
	each := 0.0            // ns of a frame on the wire
	if l.LineRate != 0 {
		each = 8e9 / float64(l.LineRate) * float64(max(s.Size, 60)+crc+gap)
		s.Rate = min(s.Rate, uint64(1e9/each))
	}
	if frames == 0 || descriptors == 0 || s.Rate == 0 {
		return
	}
	room := descriptors + uint64(l.PacketBuffer)/roundUp(s.Size+crc, uint64(l.BufferStep))
	s.Holds = time.Duration(float64(room) / float64(s.Rate) * 1e9)
	// The mean rate does not know of a burst that came within the stall. That
	// shows by what was found, if the line could have brought it so fast.
	line := time.Duration(float64(room) * each)
	s.Risky = s.Length > s.Holds || s.Frames >= room && s.Length > line
}

func roundUp(n, step uint64) uint64 {
	step = max(step, 1)
	return (n + step - 1) / step * step
}

func perSecond(frames, ns uint64) uint64 { return uint64(float64(frames) / float64(ns) * 1e9) }

// look keeps what a stall is compared with recent.
func (p *poller) look() {
	s := &p.stalls
	if s.fifo {
		p.guard()
	}
	if s.open || p.stamper.Nanoseconds(p.lastPoll-s.at) < refresh {
		return
	}
	s.usage = s.thread.read()
	s.at, s.frames, s.bytes = p.lastPoll, p.polled, p.bytes
	s.book.retry()
}

// schedule gives the calling thread the core and the policy of the configuration,
// and begins to watch it; unschedule ends the watching.
func (p *poller) schedule() (err error) {
	if p.config.Core != AnyCore {
		if err := pin(p.config.Core); err != nil {
			return err
		}
	}
	if p.config.FIFO != 0 {
		if err := setFIFO(p.config.FIFO); err != nil {
			return err
		}
	}
	s := &p.stalls
	s.fifo = p.config.FIFO != 0
	s.thread.open()
	s.usage, s.at = s.thread.read(), p.stamper.Ticks()
	return nil
}

// unschedule ends the watching.
func (p *poller) unschedule() {
	p.settle(p.stamper.Ticks())
	p.stalls.thread.close()
	p.stalls.book.end()
}

// usage is what the kernel has counted for a thread.
type usage struct {
	counted bool   // preempted and blocked are known
	timed   bool   // waited is known
	waited  uint64 // ns on a run queue
	// context switches that it was made to do, and that it asked for
	preempted, blocked uint64
}

// threadUsage reads the usage of the thread that opened it. It does not allocate.
type threadUsage struct {
	file   int // /proc/thread-self/schedstat, or -1
	text   [64]byte
	rusage unix.Rusage
}

func (t *threadUsage) open() {
	var err error
	if t.file, err = unix.Open("/proc/thread-self/schedstat", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		t.file = -1 // a kernel without CONFIG_SCHED_INFO, or no /proc
	}
}

func (t *threadUsage) close() {
	if t.file > 0 {
		_ = unix.Close(t.file)
	}
	t.file = -1
}

func (t *threadUsage) read() (u usage) {
	if unix.Getrusage(unix.RUSAGE_THREAD, &t.rusage) == nil {
		u.counted = true
		u.preempted, u.blocked = uint64(t.rusage.Nivcsw), uint64(t.rusage.Nvcsw)
	}
	if t.file <= 0 {
		return u
	}
	n, err := unix.Pread(t.file, t.text[:], 0)
	if err != nil {
		return u
	}
	var ran uint64
	ran, u.waited = schedstat(t.text[:n])
	u.timed = ran != 0 // all zeros: the kernel was booted not to count
	return u
}

// schedstat reads "ran waited slices", the first two in ns.
func schedstat(text []byte) (ran, waited uint64) {
	field := 0
	for _, c := range text {
		switch {
		case c < '0' || c > '9':
			field++
		case field == 0:
			ran = ran*10 + uint64(c-'0')
		case field == 1:
			waited = waited*10 + uint64(c-'0')
		}
	}
	return ran, waited
}
