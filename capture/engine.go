package capture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/sched/topology"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
)

// AllQueues stands for every queue of an engine.
const AllQueues = -1

// AnyCore stands for a poller that is not pinned to a core.
const AnyCore = topology.AnyCore

// Config configures a capture. Zero values stand for the defaults.
type Config struct {
	Buffer  int           // bytes of each queue's stream, a power of two; default 256 MiB; not of one with a pool
	Entries int           // index entries of each stream, a power of two; default one per 256 bytes
	Segment int64         // bytes of a segment, a multiple of 1 MiB; default 2 GiB
	SnapLen int           // bytes kept of a frame; 0: all
	Pages   hugepage.Size // of the streams' memory; default the port's
	Node    *int          // NUMA node of that memory; default the port's
	Cores   []int         // core of each queue's poller, or AnyCore; default by topology.Machine.Choose, if there are enough
	Taken   []int         // cores that the default does not choose: other engines' pollers have them
	FIFO    int           // SCHED_FIFO priority of the pollers, 1 to 99; 0: the ordinary policy
	Batch   int           // frames polled at once; default 64
	Idle    Idle          // what pollers do while no frames arrive

	Stamps clock.Policy  // how frames are stamped; default packet by packet
	Rules  *rules.Rules  // what is kept of which frames, limited by SnapLen; nil: everything. SetRules changes it
	Dedup  *dedup.Config // remove duplicates within each queue; nil: keep them

	// Count ends the capture (Wait) once so many frames are stored, over all queues.
	// Frames after that count as filtered. 0: no limit. With a limit frames take the
	// slow path.
	Count uint64

	// StallTimeout is how long a lossless listener that reads nothing may keep Stop
	// from draining a queue; default 5 s. After that, a listener of another process
	// is detached. For one of this process the frames left in the queue are
	// abandoned, and the ledger counts them as refused; those that stay in the port, whose
	// pool it holds, as missed.
	StallTimeout time.Duration

	// KeepGOMAXPROCS: New does not raise GOMAXPROCS (see sched.AddPollers). It does
	// not either if the environment sets GOMAXPROCS.
	KeepGOMAXPROCS bool

	// Logger gets a warning for poll gaps that may have cost frames, for scheduling
	// settings that cause such gaps, and for clients that Stop detaches. Pollers do
	// not log, and nothing waits for a logger that blocks: messages are dropped and
	// counted then. nil discards.
	Logger *slog.Logger
}

// DefaultBuffer is the default of Config.Buffer.
const DefaultBuffer = 256 << 20

const (
	defaultStallTimeout = 5 * time.Second

	// accountEvery is how often the port's counters are read, before any of them
	// can wrap: the 82599's of 32 bits take 288 s at 14.88 Mpps.
	accountEvery = time.Second
)

// Engine captures what a port receives: each queue has one poller, on a thread of
// its own, and one stream. Any goroutine may call its methods.
//
//	New ─► Stream(q).Listen ─► Start ─► Wait ─► Stop ─► (listeners read to io.EOF) ─► Ledger ─► Close
//
// Methods that cannot be called any more return an error that wraps os.ErrClosed.
type Engine struct {
	port    Port
	cfg     Config
	clock   *clock.Clock
	streams []*stream.Stream
	pollers []*poller
	sources []Source

	choices    []topology.Choice // of cores, by queue
	processors int               // counted by sched.AddPollers
	count      *frameCount       // Config.Count; nil: no limit
	heartbeat  sched.Heartbeat   // with FIFO
	device     *deviceComparer   // nil: the port's device has no clock
	reporter   *sched.Reporter   // used by watch, then by Stop, as held is
	held       []heldTimes       // at the last report, by queue
	unspread   [spreads]bool     // logged, see reportSpread
	flushLog   func()

	quit                chan struct{}  // closed to end the goroutines of background
	failed              chan struct{}  // closed when a poller could not start
	stopped             chan struct{}  // closed when Stop is done
	background, running sync.WaitGroup // running: pollers

	mu         sync.Mutex // guards the following fields
	state      state
	closed     bool
	began      time.Time
	ended      time.Time
	account    Account  // as read last
	accountErr error    // of the last reading
	abandoned  []uint64 // frames, by queue
	failure    error    // of the first poller that could not start
	stopErr    error
	disks      map[diskKey]func() sched.Disk
}

type state uint8

const (
	idle state = iota
	started
	stopping
)

// Errors of a second Start and of a Start after Stop.
var (
	errStarted = errors.New("the engine was started before")
	errStopped = fmt.Errorf("the engine was stopped: %w", os.ErrClosed)
)

// Cores returns the core of each queue's poller, or AnyCore.
func (e *Engine) Cores() []int {
	cores := make([]int, len(e.choices))
	for q, c := range e.choices {
		cores[q] = c.Core
	}
	return cores
}

// Queues is the number of receive queues, each with its stream.
func (e *Engine) Queues() int { return len(e.streams) }

// Stream returns a queue's stream. Listeners that attach before Start read every
// frame.
func (e *Engine) Stream(queue int) *stream.Stream { return e.streams[queue] }

// Clock returns the clock of the stamps.
func (e *Engine) Clock() *clock.Clock { return e.clock }

// Times returns when the port began to receive and when the last frame had been
// polled; zero before.
func (e *Engine) Times() (began, ended time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.began, e.ended
}

// Start starts the port, then the pollers. In between, the rings hold arriving
// frames. A second Start fails, and wraps os.ErrClosed after Stop.
func (e *Engine) Start() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch e.state {
	case started:
		return fmt.Errorf("start capture on %s: %w. Make another engine", e.port.Name(), errStarted)
	case stopping:
		return fmt.Errorf("start capture on %s: %w. Make another engine", e.port.Name(), errStopped)
	}
	e.began = time.Now()
	for _, p := range e.pollers {
		p.arrivals.clear = p.stamper.Ticks() // no frame arrives before
	}
	if err := e.port.Start(); err != nil {
		e.began = time.Time{}
		return fmt.Errorf("start capture on %s: %w", e.port.Name(), err)
	}
	e.state = started
	e.reporter.Begin(e.began)
	for _, p := range e.pollers {
		e.running.Go(func() {
			if err := p.run(); err != nil {
				e.fail(err)
			}
		})
	}
	e.background.Go(e.watch)
	if e.device != nil {
		e.background.Go(func() { e.device.run(e.quit) })
	}
	if e.cfg.FIFO != 0 {
		e.background.Go(func() { e.heartbeat.Run(e.quit) })
	}
	return nil
}

// fail records that a poller could not start.
func (e *Engine) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failure == nil {
		e.failure = err
		close(e.failed)
	}
}

// watch reads the port's counters once a second and reports losses and poll gaps.
func (e *Engine) watch() {
	tick := time.NewTicker(accountEvery)
	defer tick.Stop()
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, unix.SIGCONT)
	defer signal.Stop(continued)
	for {
		select {
		case <-e.quit:
			return
		case <-continued:
			e.reporter.Continued(time.Now())
		case <-tick.C:
			e.awaitContinued(continued)
			a, _ := e.read() // Ledger returns the error
			e.report(a, false)
		}
	}
}

// signalTime is how long SIGCONT takes at most after a process goes on.
const signalTime = 200 * time.Millisecond

// awaitContinued waits for SIGCONT, so that the report after a tick knows of it: the tick
// of a process that was stopped may come first. A wait during which the process was stopped
// begins again.
func (e *Engine) awaitContinued(continued <-chan os.Signal) {
	for began := time.Now(); ; began = time.Now() {
		select {
		case <-continued:
			e.reporter.Continued(time.Now())
			return
		case <-time.After(signalTime):
			if time.Since(began) < 2*signalTime {
				return
			}
		case <-e.quit:
			return
		}
	}
}

// report judges what the frames missed since the last call were lost to, and logs it,
// poll gaps, and frames that the port does not spread by flow. final: the capture has ended.
func (e *Engine) report(a Account, final bool) {
	e.reportSpread()
	queues := make([]sched.Queue, len(e.pollers))
	for q, p := range e.pollers {
		queues[q] = sched.Queue{Monitor: p.monitor, Load: p.counters().Load, Holder: e.holder(q)}
	}
	e.reporter.Report(queues, sum(a.Missed), time.Now(), final)
}

// holder returns the lossless listener that held the poller of a queue for longest since
// the last report; if none did, the one with the most unread frames.
func (e *Engine) holder(queue int) (holder sched.Listener) {
	s, id, most := e.streams[queue].Stats(), uint64(0), time.Duration(0)
	before, now := e.held[queue], heldTimes{}
	take := func(l *stream.ListenerStats) {
		id, holder = l.ID, sched.Listener{ID: l.ID, Name: l.Name, PID: l.PID, Unread: l.Unread}
	}
	for i := range s.Listeners {
		if l := &s.Listeners[i]; l.Policy == stream.Lossless && (holder.Name == "" || l.Unread > holder.Unread) {
			take(l)
		}
	}
	for _, some := range [][]stream.ListenerStats{s.Listeners, s.RecentDetached} {
		for i := range some {
			l := &some[i]
			now[l.ID] = l.Held
			if held := l.Held - before[l.ID]; held > most {
				most = held
				take(l)
			}
		}
	}
	e.held[queue] = now
	e.mu.Lock()
	disk := e.disks[diskKey{queue, id}]
	e.mu.Unlock()
	if holder.Name != "" && disk != nil {
		state := disk()
		holder.Disk = &state
	}
	return holder
}

// heldTimes are the ListenerStats.Held of a queue's listeners, by ID.
type heldTimes map[uint64]time.Duration

// diskKey identifies a listener that stores to disks.
type diskKey struct {
	queue    int
	listener uint64
}

// AddDisk makes known that a listener of a queue stores to disks: where it holds the
// poller back, state is what its disks do.
func (e *Engine) AddDisk(queue int, listener uint64, state func() sched.Disk) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.disks == nil {
		e.disks = map[diskKey]func() sched.Disk{}
	}
	e.disks[diskKey{queue, listener}] = state
}

// read reads the port's account.
func (e *Engine) read() (Account, error) {
	a, err := e.port.Account()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.accountErr = err; err == nil {
		e.account = a
		for _, s := range e.streams {
			s.SetMissed(sum(a.Missed))
		}
	}
	return e.account, err
}

// reached is closed when Config.Count frames are stored; nil without a limit.
func (e *Engine) reached() <-chan struct{} {
	if e.count == nil {
		return nil
	}
	return e.count.reached
}

// Wait waits for the end of the capture. It returns nil when the port's wire has
// ended, Config.Count is reached or Stop was called, the error of ctx, wrapped, when that is done, and an
// error when the device is gone or a poller could not start. The capture continues
// until Stop.
func (e *Engine) Wait(ctx context.Context) error {
	var err error
	select {
	case <-e.port.Ended():
	case <-e.reached():
	case <-ctx.Done():
		err = fmt.Errorf("capture on %s: %w", e.port.Name(), ctx.Err())
	case <-e.stopped:
	case <-e.port.Gone():
	case <-e.failed:
	}
	// A failure has priority over other events.
	select {
	case <-e.port.Gone():
		return fmt.Errorf("capture on %s: %w. Its counters are those of the last reading before, so that the ledger may not balance. Check the device and the kernel's log (dmesg)",
			e.port.Name(), cmp.Or(e.port.GoneErr(), errors.New("the device is gone")))
	case <-e.failed:
		e.mu.Lock()
		defer e.mu.Unlock()
		return fmt.Errorf("capture on %s: %w", e.port.Name(), e.failure)
	default:
		return err
	}
}

// Close stops the capture if necessary and releases port and memory. Listeners
// must have been closed or have read to io.EOF. A second Close returns os.ErrClosed.
func (e *Engine) Close() error {
	e.mu.Lock()
	closed, stopped := e.closed, e.state == stopping
	e.closed = true
	e.mu.Unlock()
	if closed {
		return fmt.Errorf("close capture on %s: %w", e.port.Name(), os.ErrClosed)
	}
	err := e.Stop()
	if stopped {
		err = nil // Stop has returned it before
	}
	for _, p := range e.pollers {
		if p.pooled != nil {
			p.pooled.Recycle(math.MaxInt) // so that the port frees the pool; its stream holds the memory
		}
	}
	err = errors.Join(err, e.port.Close(), e.free())
	e.flushLog()
	return err
}

func (e *Engine) free() error {
	sched.RemovePollers(e.processors)
	e.processors = 0
	var errs []error
	for _, s := range e.streams {
		errs = append(errs, s.Close())
	}
	e.clock.Close()
	return errors.Join(errs...)
}
