package rawstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/stream"
)

const (
	// pollInterval is how long to wait for the next block while others are being
	// written, before the queue is advanced; lazyInterval, while so few bytes are not
	// released that the producer does not need the room.
	pollInterval = 2 * time.Millisecond
	lazyInterval = 100 * time.Millisecond

	// flushPoll is how long to wait for a part of a block.
	flushPoll = 50 * time.Microsecond
)

// Storer writes one stream to files. Run it once.
type Storer struct {
	cfg        Config
	dirs       *store.Dirs
	jobs       map[*store.DirWriter]chan *block // to the workers of each folder
	stat       counters
	losses     store.Losses
	unreleased atomic.Int64 // bytes read and not released
	rotator    rotator

	queue
	timeout store.Timeout
	bounce  []byte // one page-aligned block, for the stream's last bytes

	file      *file     // that the next block is written to; nil: none
	dropping  error     // why the next block is not stored; nil: it is
	fresh     bool      // the next block begins a segment
	requested bool      // the next segment is
	stamp     time.Time // of the first record of the newest file
	broken    error     // the first file that could not be closed, though no byte is lost
	backoff   backoff   // of sidecars

	uncertainty func() time.Duration // of the stamps so far; any goroutine may call it

	digest     func(x *sidecar, p []byte) error // indexes a piece; replaced in tests
	finalizers sync.WaitGroup
	deferred   *deferred
	mu         sync.Mutex // guards faults
	faults     []fault    // from finalizers
}

// counters may be read while a Storer works.
type counters struct {
	read, written      atomic.Uint64
	indexed, unindexed atomic.Int64
	failing            atomic.Bool
}

// New makes a Storer of files in dirs, one or more.
func New(cfg Config, dirs ...*store.Dir) (*Storer, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Storer{cfg: cfg, fresh: true, deferred: newDeferred(), digest: (*sidecar).digest, jobs: map[*store.DirWriter]chan *block{}}
	var err error
	s.dirs, err = store.NewDirs(store.DirsConfig{
		Port: cfg.Port, Queue: cfg.Queue, Suffix: archive.Raw, Beside: []string{archive.Index},
		FileSize: cfg.Segment, Grow: cfg.Grow, Losses: &s.losses, Logger: cfg.Logger,
		Text: func(a store.Amount) string { return fmt.Sprintf("%d bytes", a.Bytes) },
	}, dirs...)
	if err != nil {
		return nil, err
	}
	s.queue.init()
	s.rotator.init(cfg.Every, cfg.Rotate)
	for _, w := range s.dirs.Writers() {
		s.jobs[w] = make(chan *block, maxInFlight)
	}
	return s, nil
}

// Rotate requests that the current file ends soon. Any goroutine may call it.
func (s *Storer) Rotate() { s.cfg.Rotate() }

// SetEvery changes Config.Every. Any goroutine may call it; the current file goes
// on to the end of the new period that it lies in.
func (s *Storer) SetEvery(every time.Duration) error { return s.rotator.set(every) }

// Stats returns the counters. Any goroutine may call it.
func (s *Storer) Stats() store.Stats {
	c := &s.stat
	st := store.Stats{
		Written: c.written.Load(), Read: c.read.Load(), Failing: c.failing.Load(),
		Indexed: int(c.indexed.Load()), Unindexed: int(c.unindexed.Load()),
	}
	st.AddLosses(s.losses.ByCause())
	st.AddDirs(s.dirs)
	return st
}

// Run stores src until the stream ends, and closes the last file. Any other end of
// src is an error, as is ctx being done; the file is then closed after its last
// whole record, and the caller must close src, which would block the producer.
// Run goes on after write errors; the error at the end says how much was not
// stored.
func (s *Storer) Run(ctx context.Context, src Source) (err error) {
	s.uncertainty = src.Uncertainty
	s.bounce, err = unix.Mmap(-1, 0, s.cfg.Block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("allocate a block: %w", err)
	}
	defer unix.Munmap(s.bounce)
	stop := s.start()
	err = s.store(ctx, src)
	for err == io.EOF && !s.empty() {
		if e := s.advance(true, src.Consume); e != nil {
			err = e
		}
	}
	ended := err
	if err == io.EOF {
		ended = nil
		if f := s.file; f != nil {
			s.file = nil
			s.close(f, ending{size: f.read + rawfile.HeaderLen}) // 12 zeros: a padding record
		}
	} else {
		s.abort()
	}
	stop()
	switch lost := s.lossError(); {
	case ended == nil:
		return lost
	case lost == nil:
		return ended
	default:
		return fmt.Errorf("%w; %w", ended, lost)
	}
}

// start starts all goroutines. stop waits for their ends.
func (s *Storer) start() (stop func()) {
	var workers sync.WaitGroup
	for w, jobs := range s.jobs {
		n := s.cfg.Depth
		if !w.Direct() {
			n = 1 // in order, so that a killed program leaves no gap
		}
		for range n {
			workers.Go(func() { work(jobs) })
		}
	}
	workers.Go(s.index)
	done := make(chan struct{})
	workers.Go(func() { s.rotator.run(done) })
	go s.runDeferred()
	return func() {
		for _, jobs := range s.jobs {
			close(jobs)
		}
		close(s.toIndex)
		close(done)
		workers.Wait()
		s.finalizers.Wait()
		close(s.deferred.stop)
		<-s.deferred.done
		s.takeFaults()
	}
}

// store moves blocks from the source to the queue until an error, io.EOF at the
// stream's end.
func (s *Storer) store(ctx context.Context, src Source) error {
	for {
		s.takeFaults()
		if err := s.advance(false, src.Consume); err != nil {
			return err
		}
		s.requestSegment()
		if s.full() {
			if err := s.advance(true, src.Consume); err != nil {
				return err
			}
			continue
		}
		idle := s.empty()
		b, err := src.ReadBlock(s.timeout.Reset(ctx, s.blockTimeout()), s.cfg.Block)
		switch {
		case err == nil:
			err = s.submit(src, b)
		case errors.Is(err, stream.ErrReadAhead) && !idle:
			err = s.advance(true, src.Consume)
		case errors.Is(err, store.ErrTimeout) && idle && s.dropping == nil:
			err = s.flush(ctx, src)
		case errors.Is(err, store.ErrTimeout):
			err = nil
		}
		if err != nil {
			return err
		}
	}
}

// blockTimeout is how long to wait for a block.
func (s *Storer) blockTimeout() time.Duration {
	switch {
	case !s.empty() && s.unreleased.Load() < int64(s.cfg.Buffer/8):
		return min(s.cfg.Flush, lazyInterval)
	case !s.empty():
		return pollInterval
	case s.dropping != nil:
		return min(s.cfg.Flush, s.dirs.Retry()/4)
	}
	return s.cfg.Flush
}

// flush writes the whole sectors of a block that fills slowly, so that little is
// lost if the program is killed. The next read goes up to the block's end and
// begins at a sector.
func (s *Storer) flush(ctx context.Context, src Source) error {
	for size := s.cfg.Block / 4; size >= store.Sector && !s.full(); {
		b, err := src.ReadBlock(s.timeout.Reset(ctx, flushPoll), size)
		switch {
		case errors.Is(err, store.ErrTimeout):
			size /= 4
			continue
		case errors.Is(err, stream.ErrReadAhead) && !s.empty():
			err = s.advance(true, src.Consume)
		case err == nil:
			err = s.submit(src, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// submit appends a block to the queue; the first one of a segment begins a file.
func (s *Storer) submit(src Source, b []byte) error {
	s.stat.read.Add(uint64(len(b)))
	last, frames := src.SegmentEnd(), src.BlockFrames()
	if s.fresh {
		s.fresh, s.requested = false, false
		s.open(b)
	}
	if f := s.file; f != nil {
		f.reserve(f.read+int64(len(b)), s.cfg.Segment, s.cfg.Grow)
		for f.scarce && f.writing > 0 && f.failure == nil {
			// On a full disk blocks must not take each other's space: the file ends at
			// its first gap.
			if err := s.advance(true, src.Consume); err != nil {
				s.losses.Add(store.Amount{Packets: uint64(frames), Bytes: uint64(len(b))}, err)
				return err
			}
		}
	}
	s.push(s.file, b, frames, last, s.dropping) // s.file: it may have failed
	if last {
		s.file, s.fresh = nil, true
	}
	return nil
}

// open begins the next file, named after the record at the start of b. Without a
// folder that takes it, blocks are dropped until the next segment.
func (s *Storer) open(b []byte) {
	if h := rawfile.DecodeHeader(b); !h.IsPadding() {
		s.stamp = rawfile.Record{Sec: h.Sec, Nsec: h.Nsec}.Time()
	}
	created := s.dirs.Create(s.stamp, nil)
	if created == nil {
		s.drop(s.dirs.LastError())
		return
	}
	f := &file{File: created, end: make(chan ending, 1)}
	if !s.cfg.NoIndex && s.backoff.next() {
		f.side = newSidecar()
	}
	s.finalizers.Add(1)
	go s.finalize(f)
	s.file, s.dropping = f, nil
	s.stat.failing.Store(false)
}

// closeIfDone closes a file that has ended, once none of its blocks is in flight.
func (s *Storer) closeIfDone(f *file) {
	if f.writing > 0 || f.indexing > 0 {
		return
	}
	switch {
	case f.failure != nil:
		s.close(f, ending{cause: f.failure})
	case f.complete:
		s.close(f, ending{size: f.read})
	}
}

// close gives a file's finalizer the ending.
func (s *Storer) close(f *file, e ending) {
	if f.closed {
		return
	}
	f.closed = true
	if f.side != nil {
		s.backoff.ended(f.side.off.Load())
	}
	e.frames = f.frames
	f.end <- e
}

// abort ends the current file after its last whole record. It waits for the blocks
// in flight, without the source.
func (s *Storer) abort() {
	f := s.file
	s.file = nil
	for !s.empty() {
		_ = s.advance(true, func(int) error { return nil })
	}
	if f != nil {
		s.close(f, ending{cause: errCut})
	}
}

// errCut is the cause of losing the start of a record whose rest was not read.
var errCut = errors.New("record cut")

// lossError returns the error about what was not stored.
func (s *Storer) lossError() error {
	n, first := s.losses.Total()
	switch {
	case n.Bytes > 0 && first != errCut:
		return fmt.Errorf("%d bytes were not stored: %w", n.Bytes, first)
	case s.broken != nil:
		return s.broken
	}
	return nil
}
