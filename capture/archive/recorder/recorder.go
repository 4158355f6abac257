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
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/stream"
)

// Null is the folder that stands for none: frames are captured and dropped.
const Null = "null"

// Listener is the name of the listeners that New attaches.
const Listener = "storer"

// AllQueues records every queue, each to its own files.
const AllQueues = -1

// MinBuffer is the smallest stream in bytes that can be stored from, in blocks of
// the default size.
const MinBuffer = 2 * store.Block

// Config says what to record and where to.
type Config struct {
	Dirs    []string      // folders, which files go to in turn; Null, or none: frames are dropped
	Queue   int           // the queue, or AllQueues
	Segment int64         // bytes of a full file, as the engine's streams have it
	Every   time.Duration // begin new files at multiples of this since midnight UTC; 0: only when they are full
	Store   store.Config  // Queue, Segment, Buffer, Rotate and Logger are filled in

	// Storer makes what stores a queue in place of RAW files; Dirs is then only
	// what the ledger calls it by. nil: a store.Storer.
	Storer func(queue int, s *stream.Stream) (Storer, error)

	// Progress is called every second while the capture runs, when set, with the
	// counters then and a second before.
	Progress func(before, now capture.Counters)

	// Linger is how long the end waits for listeners of others that have frames
	// left to read and read none; those that go on reading are waited for. 0: not at
	// all. The ledger is made after that.
	Linger time.Duration

	Logger *slog.Logger // for failures that the capture survives; nil discards
}

// Storer stores what a listener that began at the start of a segment reads, until
// the stream ends.
type Storer interface {
	Run(ctx context.Context, l *stream.Listener) error
	Stats() store.Stats // from any goroutine
}

// turner is a Storer that begins files by itself: one that reads packets, and sees
// no segments. Its methods may be called from any goroutine.
type turner interface {
	Rotate()
	SetEvery(time.Duration) error
}

// Recorder is a capture to disk. Run it once; the other methods may be called from
// any goroutine.
type Recorder struct {
	engine *capture.Engine
	cfg    Config
	queues []*queue
	rotator
}

// queue is one queue being recorded.
type queue struct {
	number   int
	listener *stream.Listener
	storer   Storer // nil: discard
	read     uint64 // bytes discarded
	err      error
}

// New attaches to every queue wanted, so that what is recorded begins with the
// first frame. Close the Recorder if it is never run.
func New(e *capture.Engine, cfg Config) (_ *Recorder, err error) {
	if err := CheckEvery(cfg.Every); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Recorder{engine: e, cfg: cfg}
	r.rotator.init(cfg.Every, r.close)
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	first, last := 0, e.Queues()-1
	if cfg.Queue != AllQueues {
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
		if q.storer, err = r.storer(n, dirs); err != nil {
			return nil, err
		}
		if t, ok := q.storer.(turner); ok && cfg.Every != 0 {
			if err := t.SetEvery(cfg.Every); err != nil {
				return nil, err
			}
		}
		q.listener, err = e.Stream(n).Listen(Listener, stream.Options{Policy: stream.Lossless, Start: stream.FromOldest, Aligned: true})
		if err != nil {
			return nil, err
		}
		r.queues = append(r.queues, q)
	}
	return r, nil
}

// open opens the folders; none when nothing is stored there.
func (r *Recorder) open() (dirs []*store.Dir, err error) {
	if r.cfg.Storer != nil {
		return nil, nil
	}
	for _, path := range r.cfg.Dirs {
		if path == Null {
			if len(r.cfg.Dirs) > 1 {
				return nil, fmt.Errorf("folder %s: it stands for none, and cannot be one of %d", Null, len(r.cfg.Dirs))
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

// storer makes the storer of a queue; nil: discard.
func (r *Recorder) storer(n int, dirs []*store.Dir) (Storer, error) {
	s := r.engine.Stream(n)
	if r.cfg.Storer != nil {
		return r.cfg.Storer(n, s)
	}
	if len(dirs) == 0 {
		return nil, nil
	}
	c := r.cfg.Store
	c.Queue, c.Segment, c.Buffer, c.Rotate = n, r.cfg.Segment, s.Config().Size, s.Rotate
	c.Logger = r.cfg.Logger
	if r.engine.Queues() > 1 {
		c.Logger = c.Logger.With("queue", n)
	}
	if 2*c.Block > c.Buffer {
		return nil, fmt.Errorf("blocks of %d bytes: a buffer of %d bytes is too small for them, choose a larger buffer", c.Block, c.Buffer)
	}
	st, err := store.New(c, dirs...)
	if err != nil {
		return nil, err
	}
	return raw{st}, nil
}

// raw makes a store.Storer a Storer.
type raw struct{ *store.Storer }

func (r raw) Run(ctx context.Context, l *stream.Listener) error { return r.Storer.Run(ctx, l) }

// Close detaches from all queues, as Run does at its end.
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
// no error) or a stream cannot be read, and ends the capture in order. What could
// not be stored does not end it, and is an error then. The ledger is good whatever
// the error. The engine is stopped then, and remains the caller's to close.
func (r *Recorder) Run(ctx context.Context) (l capture.Ledger, err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	e := r.engine
	ctx, end := context.WithCancel(ctx)
	defer end()
	var storing sync.WaitGroup
	for _, q := range r.queues {
		storing.Go(func() {
			if q.run(); q.err != nil {
				end() // nobody reads this queue any more
			}
		})
	}
	err = e.Start()
	if err == nil {
		ticking := make(chan struct{})
		if r.cfg.Progress != nil {
			storing.Go(func() { tick(e, r.cfg.Progress, ticking) })
		}
		storing.Go(func() { r.rotator.run(ticking) })
		err = e.Wait(ctx)
		close(ticking)
	}
	if stopped := e.Stop(); err == nil {
		err = stopped // after another failure it would say the same again
	}
	storing.Wait()
	linger(e, r.cfg.Linger)

	l, lerr := e.Ledger()
	if err == nil {
		err = lerr
	}
	for _, q := range r.queues {
		q.enter(&l, r.name())
	}
	return l, errors.Join(err, failure(r.queues))
}

// name is where the ledger says that things are stored.
func (r *Recorder) name() string {
	if len(r.cfg.Dirs) == 0 {
		return Null
	}
	return strings.Join(r.cfg.Dirs, " ")
}

// Rotate has every queue that is recorded begin a new file.
func (r *Recorder) Rotate() {
	r.close()
	for _, q := range r.queues {
		if t, ok := q.storer.(turner); ok {
			t.Rotate()
		}
	}
}

// close ends the segment of every queue that is recorded.
func (r *Recorder) close() {
	for _, q := range r.queues {
		r.engine.Stream(q.number).Rotate()
	}
}

// SetEvery changes the time between rotations, see Config.Every.
func (r *Recorder) SetEvery(every time.Duration) error {
	if err := r.rotator.SetEvery(every); err != nil {
		return err
	}
	for _, q := range r.queues {
		if t, ok := q.storer.(turner); ok {
			if err := t.SetEvery(every); err != nil {
				return err
			}
		}
	}
	return nil
}

// QueueStats are the counters of one queue being recorded.
type QueueStats struct {
	Queue    int
	Listener stream.ListenerStats
	Store    store.Stats
}

// Stats are the counters of every queue that is recorded.
func (r *Recorder) Stats() []QueueStats {
	var all []QueueStats
	for _, q := range r.queues {
		st := QueueStats{Queue: q.number, Listener: q.listener.Stats()}
		if q.storer != nil {
			st.Store = q.storer.Stats()
		}
		all = append(all, st)
	}
	return all
}

// run moves a queue's bytes until its stream ends. It does not listen to the
// capture's context: what was received is still to be stored when that is done.
func (q *queue) run() {
	ctx := context.Background()
	if q.storer != nil {
		q.err = q.storer.Run(ctx, q.listener)
	} else {
		q.read, q.err = store.Discard(ctx, q.listener)
	}
	if q.err != nil {
		q.err = errors.Join(q.err, q.listener.Close()) // else it would hold the stream back
	}
}

// enter adds a queue's accounts to the ledger.
func (q *queue) enter(l *capture.Ledger, name string) {
	a := capture.StorerAccount{Name: fmt.Sprintf("%s q%d", name, q.number), Queue: q.number, Read: q.read, Written: q.read}
	if q.storer != nil {
		st := q.storer.Stats()
		a.Read, a.Written, a.Files = st.Read, st.Written, st.Files
		a.Filtered, a.Cut = st.Filtered, st.Cut
		for _, cause := range slices.Sorted(maps.Keys(st.Failed)) {
			a.Failed = append(a.Failed, capture.ByteCount{Cause: cause, Bytes: st.Failed[cause]})
		}
	}
	l.Storers = append(l.Storers, a)
}

// failure is one error for all queues that failed: when a disk is full they
// all do, for the same reason.
func failure(all []*queue) error {
	var first *queue
	n := 0
	for _, q := range all {
		if q.err != nil {
			if n++; first == nil {
				first = q
			}
		}
	}
	switch {
	case n == 0:
		return nil
	case n == 1:
		return fmt.Errorf("queue %d: %w (what was stored is kept)", first.number, first.err)
	}
	return fmt.Errorf("queue %d, and %d others: %w (what was stored is kept)", first.number, n-1, first.err)
}

// linger waits until listeners have read what is left, or until for so long none of
// them has read anything.
func linger(e *capture.Engine, patience time.Duration) {
	read, at := uint64(0), time.Now()
	for nap := time.Millisecond; patience > 0; nap = min(2*nap, 20*time.Millisecond) {
		left, now := false, uint64(0)
		for q := range e.Queues() {
			s := e.Stream(q).Stats()
			now += s.DetachedTotal // a detached listener is progress, too
			for _, l := range s.Listeners {
				left = left || l.Unread != 0
				now += l.Read + l.Overrun
			}
		}
		if now != read {
			read, at = now, time.Now()
		}
		if !left || time.Since(at) >= patience {
			return
		}
		time.Sleep(nap)
	}
}

// tick reports the progress once a second until done.
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
