package recorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/asynclog"
)

// Null is the folder that means none: frames are captured and dropped.
const Null = "null"

// Listener is the name of the listeners that New attaches.
const Listener = "storer"

// Config says what to record and where.
type Config struct {
	Dirs    []string        // folders, which take turns; Null, or none: frames are dropped
	Queue   int             // the queue, or capture.AllQueues
	Segment int64           // bytes of a full file, the same as in the engine's streams
	Every   time.Duration   // begin new files at multiples of this since midnight UTC; 0: only when they are full
	Store   rawstore.Config // Queue, Segment, Every, Buffer, Rotate and Logger are filled in

	// NewStorer makes the storer of a queue, in place of RAW files; Dirs is then
	// only its name in the ledger. nil: a rawstore.Storer.
	NewStorer func(queue int, s *stream.Stream) (Storer, error)

	// Progress is called every second while the capture runs, with the counters then
	// and a second before; nil: not called.
	Progress func(before, now capture.Counters)

	// Linger is how long Run waits at the end while listeners of other programs have
	// unread frames and none of them reads. 0: not at all. The ledger is made after
	// that.
	Linger time.Duration

	Logger *slog.Logger // for failures that the capture survives; nil discards
}

// Storer stores a queue. Any goroutine may call its methods, except Run.
type Storer interface {
	// Run stores what a listener that began at the start of a segment reads, until
	// the stream ends.
	Run(ctx context.Context, l *stream.Listener) error
	Stats() store.Stats
	Rotate()                      // begin a new file soon
	SetEvery(time.Duration) error // begin new files at multiples of this since midnight UTC; 0: only when they are full
}

// Recorder is a capture to disk. Run it once; any goroutine may call the other
// methods.
type Recorder struct {
	engine *capture.Engine
	cfg    Config
	queues []*queue
}

// queue is one queue being recorded.
type queue struct {
	number   int
	listener *stream.Listener
	storer   Storer
	err      error
}

// New attaches to every queue to be recorded, so that the files begin with the first
// frame. Close the Recorder if it is never run.
func New(e *capture.Engine, cfg Config) (_ *Recorder, err error) {
	if err := store.CheckPeriod(cfg.Every); err != nil {
		return nil, err
	}
	cfg.Logger, _ = asynclog.Wrap(cfg.Logger)
	r := &Recorder{engine: e, cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	first, last := 0, e.Queues()-1
	if cfg.Queue != capture.AllQueues {
		if cfg.Queue < 0 || cfg.Queue > last {
			return nil, fmt.Errorf("queue %d: the port has %d, numbered from 0", cfg.Queue, e.Queues())
		}
		first, last = cfg.Queue, cfg.Queue
	}
	dirs, err := r.open()
	if err != nil {
		return nil, err
	}
	for n := first; n <= last; n++ {
		q := &queue{number: n}
		if q.storer, err = r.newStorer(n, dirs); err != nil {
			return nil, err
		}
		q.listener, err = e.Stream(n).Listen(Listener, stream.Options{Policy: stream.Lossless, Start: stream.FromOldest, Aligned: true})
		if err != nil {
			return nil, err
		}
		r.queues = append(r.queues, q)
		e.AddDisk(n, q.listener.Stats().ID, q.disk)
	}
	return r, nil
}

// open opens the folders; none if nothing is stored there.
func (r *Recorder) open() (dirs []*store.Dir, err error) {
	if r.cfg.NewStorer != nil {
		return nil, nil
	}
	for _, path := range r.cfg.Dirs {
		if path == Null {
			if len(r.cfg.Dirs) > 1 {
				return nil, fmt.Errorf("folder %s: it means none, and cannot be one of %d", Null, len(r.cfg.Dirs))
			}
			return nil, nil
		}
		d, err := store.OpenDir(path)
		if err != nil {
			return nil, err
		}
		if !d.Direct() {
			r.cfg.Logger.Warn(path + ": the file system does not support O_DIRECT; writing through the page cache")
		}
		dirs = append(dirs, d)
	}
	return dirs, nil
}

// newStorer makes the storer of a queue.
func (r *Recorder) newStorer(n int, dirs []*store.Dir) (Storer, error) {
	s := r.engine.Stream(n)
	if r.cfg.NewStorer != nil {
		st, err := r.cfg.NewStorer(n, s)
		if err == nil && r.cfg.Every != 0 {
			err = st.SetEvery(r.cfg.Every)
		}
		return st, err
	}
	if len(dirs) == 0 {
		return &discarder{}, nil
	}
	c := r.cfg.Store
	c.Queue, c.Segment, c.Every, c.Buffer, c.Rotate = n, r.cfg.Segment, r.cfg.Every, s.BlockBytes(), s.Rotate
	c.Logger = r.cfg.Logger
	if r.engine.Queues() > 1 {
		c.Logger = c.Logger.With("queue", n)
	}
	st, err := rawstore.New(c, dirs...)
	if err != nil {
		return nil, err
	}
	return raw{st}, nil
}

// raw is a rawstore.Storer as a Storer.
type raw struct{ *rawstore.Storer }

func (r raw) Run(ctx context.Context, l *stream.Listener) error { return r.Storer.Run(ctx, l) }

// discarder is the Storer of Null.
type discarder struct{ bytes atomic.Uint64 }

func (d *discarder) Run(ctx context.Context, l *stream.Listener) error {
	n, err := rawstore.Discard(ctx, l)
	d.bytes.Store(n)
	return err
}

func (d *discarder) Stats() store.Stats {
	return store.Stats{Read: d.bytes.Load(), Written: d.bytes.Load()}
}

func (d *discarder) Rotate() {}

func (d *discarder) SetEvery(time.Duration) error { return nil }

// Close detaches from all queues. Run does so at its end.
func (r *Recorder) Close() (err error) {
	for _, q := range r.queues {
		err = errors.Join(err, q.listener.Close())
	}
	return err
}

// Run is New and Recorder.Run.
func Run(ctx context.Context, e *capture.Engine, cfg Config) (l capture.Ledger, err error) {
	r, err := New(e, cfg)
	if err != nil {
		return l, err
	}
	return r.Run(ctx)
}

// Run starts the engine and records until the wire ends, ctx is done (which is
// no error) or a stream cannot be read. Then it stops the engine and stores what
// was received. Write errors do not end the capture; the error at the end reports
// them. The ledger is valid with any error. The caller closes the engine.
func (r *Recorder) Run(ctx context.Context) (l capture.Ledger, err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	e := r.engine
	ctx, end := context.WithCancel(ctx)
	defer end()
	var storing sync.WaitGroup
	for _, q := range r.queues {
		storing.Go(func() {
			if q.run(); q.err != nil {
				end() // this queue has no reader any more
			}
		})
	}
	ticking := make(chan struct{})
	if r.cfg.Progress != nil {
		storing.Go(func() { tick(e, r.cfg.Progress, ticking) })
	}
	l, err = e.Run(ctx, r.cfg.Linger)
	close(ticking)
	storing.Wait()
	var lerr error
	if l, lerr = e.Ledger(); err == nil { // with what the storers read last
		err = lerr
	}
	for _, q := range r.queues {
		l.Storers = append(l.Storers, q.account(r.name()))
	}
	return l, errors.Join(err, joinErrors(r.queues))
}

// name is what the ledger calls the storers.
func (r *Recorder) name() string {
	if len(r.cfg.Dirs) == 0 {
		return Null
	}
	return strings.Join(r.cfg.Dirs, " ")
}

// Rotate makes every queue begin a new file.
func (r *Recorder) Rotate() {
	for _, q := range r.queues {
		q.storer.Rotate()
	}
}

// SetEvery changes Config.Every.
func (r *Recorder) SetEvery(every time.Duration) error {
	for _, q := range r.queues {
		if err := q.storer.SetEvery(every); err != nil {
			return err
		}
	}
	return nil
}

// QueueStats are the counters of one recorded queue.
type QueueStats struct {
	Queue    int
	Listener stream.ListenerStats
	Store    store.Stats
}

// Stats returns the counters of every recorded queue.
func (r *Recorder) Stats() []QueueStats {
	var all []QueueStats
	for _, q := range r.queues {
		all = append(all, QueueStats{Queue: q.number, Listener: q.listener.Stats(), Store: q.storer.Stats()})
	}
	return all
}

// run stores a queue until its stream ends. The capture's context does not end it:
// what was received is stored after that.
func (q *queue) run() {
	if q.err = q.storer.Run(context.Background(), q.listener); q.err != nil {
		q.err = errors.Join(q.err, q.listener.Close()) // else it would block the producer
	}
}

// disk is the state of the disks that a queue is stored to.
func (q *queue) disk() (d sched.Disk) {
	st := q.storer.Stats()
	for i := range st.Dirs {
		d.Writing += st.Dirs[i].Waiting
	}
	d.Writes, d.Time = st.Latency.Count, st.Latency.Sum
	return d
}

// account returns a queue's part of the ledger.
func (q *queue) account(name string) capture.StorerAccount {
	st := q.storer.Stats()
	a := capture.StorerAccount{
		Name: fmt.Sprintf("%s q%d", name, q.number), Queue: q.number,
		Read: st.Read, Written: st.Written, Files: st.Files, Filtered: st.Filtered, Cut: st.Cut, FailedFrames: st.FailedFrames,
	}
	for _, cause := range slices.Sorted(maps.Keys(st.Failed)) {
		a.Failed = append(a.Failed, capture.ByteCount{Cause: cause, Bytes: st.Failed[cause]})
	}
	return a
}

// joinErrors returns one error for all queues that failed: on a full disk they all
// do, for the same reason.
func joinErrors(all []*queue) error {
	var first *queue
	n := 0
	for _, q := range all {
		if q.err != nil {
			if n++; first == nil {
				first = q
			}
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("queue %d: %w (what was stored is kept)", first.number, first.err)
	case 2:
		return fmt.Errorf("queue %d, and 1 other: %w (what was stored is kept)", first.number, first.err)
	}
	return fmt.Errorf("queue %d, and %d others: %w (what was stored is kept)", first.number, n-1, first.err)
}

// tick calls report once a second until done.
func tick(e *capture.Engine, report func(before, now capture.Counters), done <-chan struct{}) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	before := e.Counters()
	for {
		select {
		case <-done:
			return
		case <-every.C:
		}
		now := e.Counters()
		report(before, now)
		before = now
	}
}
