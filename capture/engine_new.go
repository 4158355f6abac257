package capture

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/sched/topology"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/internal/asynclog"
)

// New allocates the streams of a capture on port. Unless New fails, the engine owns
// the port: Close closes it.
func New(port Port, cfg Config) (_ *Engine, err error) {
	flush := cfg.setDefaults(port)
	sources := port.Sources()
	if err := cfg.check(port, sources); err != nil {
		return nil, err
	}
	e := &Engine{
		port: port, cfg: cfg, sources: sources, clock: clock.New(), reporter: sched.NewReporter(cfg.Logger), flushLog: flush,
		device: newDeviceComparer(port),
		quit:   make(chan struct{}), stopped: make(chan struct{}), failed: make(chan struct{}),
		abandoned: make([]uint64, len(sources)), held: make([]heldTimes, len(sources)),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.free())
		}
	}()
	if err := e.place(); err != nil {
		return nil, err
	}
	if cfg.Count > 0 {
		e.count = newFrameCount(cfg.Count)
	}
	if !cfg.KeepGOMAXPROCS {
		sched.AddPollers(cfg.Logger, len(sources))
		e.processors = len(sources)
	}
	asleep, err := e.selectIdle()
	if err != nil {
		return nil, err
	}
	for q := range sources {
		if err := e.addQueue(q, asleep[q]); err != nil {
			return nil, err
		}
	}
	e.warnLostByDedup()
	e.logPools()
	sched.WarnFIFO(cfg.Logger, cfg.FIFO, e.choices, topology.ReadRealTime("/"))
	return e, nil
}

// setDefaults replaces zero values, and the logger by one that does not block, which
// flushLog flushes. The NUMA node and the pages of the streams are the port's, if it has
// a preference.
func (cfg *Config) setDefaults(port Port) (flushLog func()) {
	cfg.Buffer = cmp.Or(cfg.Buffer, DefaultBuffer)
	cfg.StallTimeout = cmp.Or(cfg.StallTimeout, defaultStallTimeout)
	cfg.Logger, flushLog = asynclog.Wrap(cfg.Logger)
	node := hugepage.AnyNode
	if p, ok := port.(Placer); ok {
		cfg.Pages = cmp.Or(cfg.Pages, p.Pages())
		node = p.Node()
	}
	cfg.Node = cmp.Or(cfg.Node, &node)
	return flushLog
}

// check returns an error for settings out of range.
func (cfg *Config) check(port Port, sources []Source) error {
	queues, stampedBy := len(sources), stampedBy(sources)
	switch {
	case queues == 0:
		return fmt.Errorf("capture on %s: the port has no receive queue", port.Name())
	case cfg.SnapLen < 0 || cfg.SnapLen > stream.MaxFrame:
		return fmt.Errorf("snaplen %d: out of range. Choose 1 to %d bytes, or 0 for whole frames", cfg.SnapLen, stream.MaxFrame)
	case cfg.Count > math.MaxInt64:
		return fmt.Errorf("count of %d frames: out of range. Choose up to %d, or 0 for no limit", cfg.Count, int64(math.MaxInt64))
	case cfg.Batch < 0 || cfg.Batch > maxBatch:
		return fmt.Errorf("batch of %d frames: out of range. Choose 1 to %d, or 0 for %d", cfg.Batch, maxBatch, defaultBatch)
	case stampedBy != "" && cfg.Stamps != clock.PerPacket:
		return fmt.Errorf("stamps %v: the frames of %s have stamps (%s). Leave the policy out", cfg.Stamps, port.Name(), stampedBy)
	case len(cfg.Cores) != 0 && len(cfg.Cores) != queues:
		return fmt.Errorf("cores %v: %d for %d queues. Name one for each queue", cfg.Cores, len(cfg.Cores), queues)
	}
	return nil
}

// stampedBy says who stamps the frames of a port's sources; empty: their pollers do.
func stampedBy(sources []Source) string {
	for _, src := range sources {
		if s, ok := src.(Stamped); ok {
			return s.StampedBy()
		}
	}
	return ""
}

// place chooses the pollers' cores. It returns an error if the pollers cannot have
// their cores or policy.
func (e *Engine) place() error {
	machine := topology.Read("/")
	if err := sched.CheckCores(e.cfg.Cores, machine); err != nil {
		return err
	}
	usable := slices.DeleteFunc(sched.UsableCores(machine), func(c int) bool { return slices.Contains(e.cfg.Taken, c) })
	e.choices = sched.Place(len(e.sources), e.cfg.FIFO, e.cfg.Cores, *e.cfg.Node, machine, usable)
	if err := sched.CheckFIFO(e.cfg.FIFO, e.choices, usable); err != nil {
		return err
	}
	return sched.TryFIFO(e.cfg.FIFO)
}

// selectIdle resolves IdleAuto. It returns the sources as Sleepers if the pollers
// sleep, else nils.
func (e *Engine) selectIdle() ([]Sleeper, error) {
	none := make([]Sleeper, len(e.sources))
	if e.cfg.Idle != IdleAuto && e.cfg.Idle != IdleSleep {
		return none, nil
	}
	asleep, err := sleepers(e.port, e.sources)
	switch {
	case err == nil:
		e.cfg.Idle = IdleSleep
		return asleep, nil
	case e.cfg.Idle == IdleSleep:
		return nil, err
	}
	e.cfg.Idle = idleFor(len(e.sources), runtime.NumCPU(), runtime.GOMAXPROCS(0))
	return none, nil
}

// addQueue allocates the stream and the poller of a queue.
func (e *Engine) addQueue(q int, asleep Sleeper) error {
	cfg := &e.cfg
	sc := stream.Config{
		Interface: shortName(e.port.Name()), Queue: q, Core: e.choices[q].Core, Size: cfg.Buffer, Entries: cfg.Entries,
		Segment: cfg.Segment, Pages: cfg.Pages, Node: *cfg.Node,
	}
	if p, ok := e.sources[q].(Pooled); ok {
		pool := p.Pool()
		sc.Pool = &pool
	}
	s, err := stream.New(sc)
	if err != nil {
		return err
	}
	e.streams = append(e.streams, s)
	stamper, err := e.clock.Stamper(cfg.Stamps)
	if err != nil {
		return err
	}
	pc := pollerConfig{
		Core: e.choices[q].Core, FIFO: cfg.FIFO, Batch: cfg.Batch, SnapLen: cfg.SnapLen, Idle: cfg.Idle,
		Sleeper: asleep, Rules: newRuleSet(cfg.Rules), Count: e.count, Spread: newSpreadWatch(e.port, len(e.sources)),
	}
	if cfg.Dedup != nil {
		if pc.Dedup, err = dedup.New(*cfg.Dedup); err != nil {
			return err
		}
	}
	if l, ok := e.port.(Limited); ok {
		pc.Limits = l.Limits()
	}
	if cfg.FIFO != 0 {
		pc.Heartbeat = &e.heartbeat
	}
	if e.device != nil {
		pc.Timed = e.device.queue(e.sources[q])
	}
	e.pollers = append(e.pollers, newPoller(e.sources[q], s.Producer(), stamper, pc))
	return nil
}

// shortName returns the end of a port's name that fits in a stream's header; the
// end of a long name distinguishes it better than its beginning.
func shortName(name string) string {
	const room = 64
	if len(name) > room {
		name = name[len(name)-room:]
	}
	return strings.ToValidUTF8(name, "")
}
