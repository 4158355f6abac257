package capture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/sched/topology"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
)

// Config says how a capture works. Zero values stand for the defaults.
type Config struct {
	Buffer  int           // bytes of each queue's stream, a power of two; default 256 MiB
	Entries int           // index entries of each stream, a power of two; default one per 256 bytes
	Segment int64         // bytes of a segment, a multiple of 1 MiB; default 2 GiB
	CapLen  int           // bytes kept of a frame; 0: all
	Pages   hugepage.Size // of the streams' memory; default what suits the port
	Node    *int          // NUMA node of that memory; default the port's
	Cores   []int         // core of each queue's poller, or AnyCore; default by topology.Machine.Choose, where there are enough
	Taken   []int         // cores that are not to be chosen: pollers of other engines have them
	FIFO    int           // SCHED_FIFO priority of the pollers, 1 to 99; 0: the ordinary policy
	Batch   int           // frames polled at once; default 64
	Idle    Idle          // what pollers do while nothing arrives

	Stamps clock.Policy  // how frames are stamped; default packet by packet
	Filter *rules.Rules  // what is kept of which frames, by at most CapLen; nil: everything. SetFilter changes it
	Dedup  *dedup.Config // leave out copies, each queue for itself; nil: keep them

	// StallTimeout is how long a lossless listener that reads nothing may keep Stop
	// from draining a queue; default 5 s. After that, a listener of another process
	// is detached. For one of this process the frames left in the queue are
	// abandoned, and the ledger counts them as refused.
	StallTimeout time.Duration

	// Logger gets a warning for poll gaps that may have cost frames, for scheduling
	// settings that cause such gaps, and for clients that Stop detaches. Pollers do
	// not log. nil discards.
	Logger *slog.Logger
}

const (
	defaultBuffer       = 256 << 20
	defaultStallTimeout = 5 * time.Second

	// accountEvery is how often the port's counters are read, before any of them
	// can wrap: the 82599's of 32 bits take 288 s at 14.88 Mpps.
	accountEvery = time.Second
)

// Engine captures what a port receives: for each queue one poller, on a thread
// of its own, and one stream. Its methods may be called from any goroutine.
//
//	New ─► Stream(q).Listen ─► Start ─► Wait ─► Stop ─► (listeners read to io.EOF) ─► Ledger ─► Close
type Engine struct {
	port    Port
	cfg     Config
	clock   *clock.Clock
	streams []*stream.Stream
	pollers []*poller
	sources []Source

	beats   atomic.Uint64 // see watchdog
	watcher chan struct{} // closed to end the background reader
	watched sync.WaitGroup
	running sync.WaitGroup
	failed  chan struct{} // closed when a poller could not start

	choices []topology.Choice // by queue
	warner  warner            // used by watch, then by Stop

	mu        sync.Mutex // guards what follows
	state     state
	began     time.Time
	ended     time.Time
	account   Account // as read last
	accountOK error   // why the last reading failed
	abandoned []uint64
	failure   error // why the first poller that could not start could not
	stopErr   error
	stopped   chan struct{} // closed when Stop is through
}

type state uint8

const (
	idle state = iota
	started
	stopping
)

// New allocates the streams of a capture on port. The engine owns the port from
// now on, unless New fails.
func New(port Port, cfg Config) (_ *Engine, err error) {
	cfg.Buffer = cmp.Or(cfg.Buffer, defaultBuffer)
	cfg.StallTimeout = cmp.Or(cfg.StallTimeout, defaultStallTimeout)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	node := hugepage.AnyNode
	if p, ok := port.(Placer); ok {
		cfg.Pages = cmp.Or(cfg.Pages, p.Pages())
		node = p.Node()
	}
	if cfg.Node != nil {
		node = *cfg.Node
	}
	sources := port.Sources()
	switch {
	case len(sources) == 0:
		return nil, fmt.Errorf("capture on %s: the port has no receive queue", port.Name())
	case cfg.CapLen < 0 || cfg.CapLen > stream.MaxFrame:
		return nil, fmt.Errorf("capture length %d: choose 1 to %d bytes, or 0 for whole frames", cfg.CapLen, stream.MaxFrame)
	case cfg.Batch < 0 || cfg.Batch > maxBatch:
		return nil, fmt.Errorf("batch of %d frames: choose 1 to %d, or 0 for %d", cfg.Batch, maxBatch, defaultBatch)
	case len(cfg.Cores) != 0 && len(cfg.Cores) != len(sources):
		return nil, fmt.Errorf("%d cores for %d queues: name one for each", len(cfg.Cores), len(sources))
	}
	e := &Engine{
		port: port, cfg: cfg, sources: sources, clock: clock.New(),
		watcher: make(chan struct{}), stopped: make(chan struct{}), failed: make(chan struct{}),
		abandoned: make([]uint64, len(sources)),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.free())
		}
	}()
	machine := topology.Read("/")
	usable := slices.DeleteFunc(usableCores(machine), func(c int) bool { return slices.Contains(cfg.Taken, c) })
	e.choices = placement(len(sources), cfg.FIFO, cfg.Cores, node, machine, usable)
	if err := checkFIFO(cfg.FIFO, e.choices, usable); err != nil {
		return nil, err
	}
	e.warner.logger = cfg.Logger
	asleep, sleepErr := sleepers(port, sources)
	switch {
	case cfg.Idle == IdleSleep && sleepErr != nil:
		return nil, sleepErr
	case cfg.Idle == IdleAuto && sleepErr == nil:
		cfg.Idle = IdleSleep
	case cfg.Idle == IdleAuto:
		cfg.Idle = idleFor(len(sources), runtime.NumCPU(), runtime.GOMAXPROCS(0))
	}
	for q, src := range sources {
		s, err := stream.New(stream.Config{
			Interface: shortName(port.Name()), Queue: q, Size: cfg.Buffer, Entries: cfg.Entries,
			Segment: cfg.Segment, Pages: cfg.Pages, Node: node,
		})
		if err != nil {
			return nil, err
		}
		e.streams = append(e.streams, s)
		st, err := e.clock.Stamper(cfg.Stamps)
		if err != nil {
			return nil, err
		}
		var table *dedup.Table
		if cfg.Dedup != nil {
			if table, err = dedup.New(*cfg.Dedup); err != nil {
				return nil, err
			}
		}
		pc := pollerConfig{Core: e.choices[q].Core, FIFO: cfg.FIFO, Batch: cfg.Batch, Caplen: cfg.CapLen, Idle: cfg.Idle}
		pc.Dedup, pc.Rules = table, newRuleSet(cfg.Filter)
		if l, ok := port.(Limited); ok {
			pc.Limits = l.Limits()
		}
		if cfg.FIFO != 0 {
			pc.Beat = &e.beats
		}
		if cfg.Idle == IdleSleep {
			pc.Sleeper = asleep[q]
		}
		e.pollers = append(e.pollers, newPoller(src, s.Producer(), st, pc))
	}
	scheduling(e.cfg.Logger, e.cfg.FIFO, e.choices, topology.ReadRealTime("/"))
	return e, nil
}

// shortName is a port's name within what a stream's header has room for; the
// end of a long one says more than its beginning.
func shortName(name string) string {
	const room = 64
	if len(name) > room {
		name = name[len(name)-room:]
	}
	return strings.ToValidUTF8(name, "")
}

// Cores are those that the pollers are pinned to, or AnyCore, by queue.
func (e *Engine) Cores() []int {
	cores := make([]int, len(e.choices))
	for q, c := range e.choices {
		cores[q] = c.Core
	}
	return cores
}

// Queues is the number of receive queues, each with its stream.
func (e *Engine) Queues() int { return len(e.streams) }

// Stream is a queue's stream. Listeners that are to see every frame attach before Start.
func (e *Engine) Stream(queue int) *stream.Stream { return e.streams[queue] }

// Clock is what frames are stamped by.
func (e *Engine) Clock() *clock.Clock { return e.clock }

// Start starts the port, then the pollers. Until they poll, the rings hold what
// arrives; before the port has started the queues are its own.
func (e *Engine) Start() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state != idle {
		return errors.New("start capture: it has been started before")
	}
	e.began = time.Now()
	if err := e.port.Start(); err != nil {
		e.began = time.Time{}
		return fmt.Errorf("start capture on %s: %w", e.port.Name(), err)
	}
	e.state = started
	for _, p := range e.pollers {
		e.running.Go(func() {
			if err := p.run(); err != nil {
				e.fail(err)
			}
		})
	}
	e.watched.Go(e.watch)
	if e.cfg.FIFO != 0 {
		e.watched.Go(e.beat)
	}
	return nil
}

// fail notes that a poller could not start.
func (e *Engine) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failure == nil {
		e.failure = err
		close(e.failed)
	}
}

// watch reads the port's counters now and then.
func (e *Engine) watch() {
	tick := time.NewTicker(accountEvery)
	defer tick.Stop()
	for {
		select {
		case <-e.watcher:
			return
		case <-tick.C:
			a, _ := e.read() // Ledger tells when this fails
			e.warner.stalled(e.pollers, e.streams, sum(a.Missed), time.Now(), false)
			givenUp(e.cfg.Logger, e.pollers)
		}
	}
}

// read takes the port's account.
func (e *Engine) read() (Account, error) {
	a, err := e.port.Account()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.accountOK = err; err == nil {
		e.account = a
	}
	return e.account, err
}

// Wait waits until the capture is over: the port's wire has ended, or ctx is
// done, which is no error. It is one that the device is gone or that a poller
// could not start. The capture goes on until Stop.
func (e *Engine) Wait(ctx context.Context) error {
	select {
	case <-e.port.Ended():
	case <-ctx.Done():
	case <-e.stopped:
	case <-e.port.Gone():
	case <-e.failed:
	}
	// Of several at once what went wrong comes first.
	select {
	case <-e.port.Gone():
		return fmt.Errorf("capture on %s: %w", e.port.Name(), cmp.Or(e.port.GoneErr(), errors.New("the device is gone")))
	case <-e.failed:
		e.mu.Lock()
		defer e.mu.Unlock()
		return fmt.Errorf("capture on %s: %w", e.port.Name(), e.failure)
	default:
		return nil
	}
}

// Close stops the capture if need be and gives port and memory back. Listeners
// must have been closed or be at their end.
func (e *Engine) Close() error {
	e.mu.Lock()
	over := e.state == stopping
	e.mu.Unlock()
	err := e.Stop()
	if over {
		err = nil // whoever stopped has been told
	}
	return errors.Join(err, e.port.Close(), e.free())
}

func (e *Engine) free() error {
	var errs []error
	for _, s := range e.streams {
		errs = append(errs, s.Close())
	}
	e.clock.Close()
	return errors.Join(errs...)
}
