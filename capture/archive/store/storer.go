package store

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
	"github.com/ixcap/ixcap/capture/stream"
)

const (
	// glance is how long to wait for the next block while others are being
	// written, before looking whether they can be given back.
	glance = 2 * time.Millisecond

	// glimpse is how long to wait for what may be there.
	glimpse = 50 * time.Microsecond
)

// Storer writes one stream to files. Run it once.
type Storer struct {
	cfg   Config
	lanes []*lane
	stat  counters
	held  atomic.Int64 // bytes read and not given back

	firstLoss error // guarded by stat.mu

	flight
	wait   patience
	bounce []byte // one page-aligned block, for the stream's last bytes

	file     *file         // nil: none is open for what comes next
	dropping error         // why what comes is not stored; nil: it is
	fresh    bool          // what comes next begins a segment
	asked    bool          // for the next segment
	begun    int           // files
	turn     int           // lane that is next
	stamp    time.Time     // of the first record of the newest file
	broken   error         // the first file that could not be closed, though nothing is lost
	skip     skipping      // of sidecars
	retry    time.Duration // the least time between two files begun in a folder that fails

	digest  func(x *sidecar, p []byte) error // indexes a piece; another one in tests
	keepers sync.WaitGroup
	later   *later
	mu      sync.Mutex // guards reports
	reports []report   // from keepers
}

// New makes a Storer of files in dirs, one or more.
func New(cfg Config, dirs ...*Dir) (*Storer, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if len(dirs) == 0 {
		return nil, errors.New("no folder to store in")
	}
	s := &Storer{cfg: cfg.withDefaults(), fresh: true, later: newLater(), retry: time.Second, digest: (*sidecar).digest}
	s.flight.init()
	for _, d := range dirs {
		s.lanes = append(s.lanes, &lane{dir: d, jobs: make(chan *block, maxFlying)})
	}
	return s, nil
}

// Run stores what src gives until the stream ends, and closes the last file. Any
// other end of src is an error, as is ctx being done; the file is then closed after
// its last whole record, and the caller must close src, which would hold the stream
// back. Where a write fails Run goes on, and its error, in the end, says how much
// was not stored.
func (s *Storer) Run(ctx context.Context, src Source) (err error) {
	s.bounce, err = unix.Mmap(-1, 0, s.cfg.Block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("allocate a block: %w", err)
	}
	defer unix.Munmap(s.bounce)
	stop := s.start()
	err = s.store(ctx, src)
	for err == io.EOF && s.oldest != s.next {
		if e := s.advance(src, true); e != nil {
			err = e
		}
	}
	ended := err
	if err == io.EOF {
		ended = nil
		if f := s.file; f != nil {
			s.file = nil
			s.close(f, ending{size: f.read + rawfile.HeaderLen}) // twelve zeros: a padding record
		}
	} else {
		s.giveUp()
	}
	stop()
	switch v := s.verdict(); {
	case ended == nil:
		return v
	case v == nil:
		return ended
	default:
		return fmt.Errorf("%w; %w", ended, v)
	}
}

// start starts everybody, and returns what waits for their ends.
func (s *Storer) start() (stop func()) {
	var workers sync.WaitGroup
	for _, l := range s.lanes {
		n := s.cfg.Depth
		if !l.dir.direct {
			n = 1 // in order, so that a program that is killed leaves no gap
		}
		for range n {
			workers.Go(l.work)
		}
	}
	workers.Go(s.index)
	go s.catchUp()
	return func() {
		for _, l := range s.lanes {
			close(l.jobs)
		}
		close(s.indexing)
		workers.Wait()
		s.keepers.Wait()
		close(s.later.stop)
		<-s.later.done
		s.hear()
	}
}

// store moves blocks until there are no more.
func (s *Storer) store(ctx context.Context, src Source) error {
	for {
		s.hear()
		if err := s.advance(src, false); err != nil {
			return err
		}
		s.ask()
		idle := s.oldest == s.next
		patience := glance
		if idle {
			patience = s.patience()
		}
		if s.full() {
			if err := s.advance(src, true); err != nil {
				return err
			}
			continue
		}
		b, err := src.ReadBlock(s.wait.until(ctx, patience), s.cfg.Block)
		switch {
		case err == nil:
			err = s.launch(src, b)
		case errors.Is(err, stream.ErrReadAhead) && !idle:
			err = s.advance(src, true)
		case errors.Is(err, errPatience) && idle && s.dropping == nil:
			err = s.flush(ctx, src)
		case errors.Is(err, errPatience):
			err = nil
		}
		if err != nil {
			return err
		}
	}
}

// flush writes the whole sectors of a block that is slow to fill, so that little
// is lost should the program be killed. The block's rest follows from there: what
// is read up to its end begins at a sector.
func (s *Storer) flush(ctx context.Context, src Source) error {
	for size := s.cfg.Block / 4; size >= sector && !s.full(); {
		b, err := src.ReadBlock(s.wait.until(ctx, glimpse), size)
		switch {
		case errors.Is(err, errPatience):
			size /= 4
			continue
		case errors.Is(err, stream.ErrReadAhead) && s.oldest != s.next:
			err = s.advance(src, true)
		case err == nil:
			err = s.launch(src, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// launch sends one block on its way.
func (s *Storer) launch(src Source, b []byte) error {
	s.stat.read.Add(uint64(len(b)))
	last := src.SegmentEnd()
	if s.fresh {
		s.fresh, s.asked = false, false
		s.open(b)
	}
	f := s.file
	if f != nil {
		f.reserve(f.read+int64(len(b)), s.cfg.Segment, s.cfg.Grow)
		for f.scarce && f.flying > 0 && f.failure == nil {
			// On a full disk blocks must not take each other's room: a file is of
			// use up to its first gap.
			if err := s.advance(src, true); err != nil {
				s.fail(len(b), err)
				return err
			}
		}
		f = s.file // it may have failed meanwhile
	}
	s.put(f, b, last, s.dropping)
	if last {
		s.file, s.fresh = nil, true
	}
	return nil
}

// open begins the next file, named after the record that b begins with, in the
// folder that has the least to write of those that can be written.
func (s *Storer) open(b []byte) {
	if h := rawfile.DecodeHeader(b); !h.IsPadding() {
		s.stamp = rawfile.Record{Sec: h.Sec, Nsec: h.Nsec}.Time()
	}
	now := time.Now()
	tried := make([]bool, len(s.lanes))
	for range s.lanes {
		best := -1
		for i := range s.lanes {
			n := (s.turn + i) % len(s.lanes)
			if !tried[n] && s.lanes[n].ready(now) && (best < 0 || s.lanes[n].waiting.Load() < s.lanes[best].waiting.Load()) {
				best = n
			}
		}
		if best < 0 {
			break
		}
		tried[best] = true
		l := s.lanes[best]
		f, err := s.create(l, now)
		if err != nil {
			s.trouble(l, err)
			continue
		}
		s.file, s.dropping, s.turn = f, nil, (best+1)%len(s.lanes)
		s.stat.failing.Store(false)
		return
	}
	s.drop(s.excuse())
}

// create begins a file in a folder.
func (s *Storer) create(l *lane, now time.Time) (f *file, err error) {
	l.tried = now
	const tries = 100
	for range tries {
		f, err = l.create(archive.FileName(s.cfg.Port, s.cfg.Queue, s.stamp, s.begun))
		s.begun++
		if !errors.Is(err, unix.EEXIST) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if l.failing.Load() != nil {
		// No file for each block that somebody frees on a full disk.
		room := min(ahead, s.cfg.Segment)
		if err := f.h.Reserve(0, room, s.cfg.Grow); err == nil {
			f.reserved = room
		} else if err != unix.EOPNOTSUPP {
			f.remove()
			return nil, f.error("reserve room for", err)
		}
	}
	if !s.cfg.NoIndex && s.skip.index() {
		f.side = newSidecar()
	}
	f.begun = now
	l.files.Add(1)
	s.keepers.Add(1)
	go s.keep(f)
	return f, nil
}

// settle closes a file that has ended, once none of its blocks is on its way.
func (s *Storer) settle(f *file) {
	if f.flying > 0 || f.pending > 0 {
		return
	}
	switch {
	case f.failure != nil:
		s.close(f, ending{cause: f.failure})
	case f.over:
		s.close(f, ending{size: f.read})
	}
}

// close tells a file's keeper how it ends.
func (s *Storer) close(f *file, e ending) {
	if f.closed {
		return
	}
	f.closed = true
	if f.side != nil {
		s.skip.ended(f.side.off.Load())
	}
	f.end <- e
}

// giveUp keeps what is whole of a file that is not written on. What is on its way
// is waited for; the source is not asked any more.
func (s *Storer) giveUp() {
	f := s.file
	s.file = nil
	for s.oldest != s.next {
		s.pass(true, func(int) error { return nil })
	}
	if f != nil {
		s.close(f, ending{cause: errCut})
	}
}

// errCut stands for bytes of a record whose rest was not stored.
var errCut = errors.New("record cut")

// verdict is the error about what was not stored.
func (s *Storer) verdict() error {
	n, first := s.lost()
	switch {
	case n > 0 && first != errCut:
		return fmt.Errorf("%d bytes were not stored: %w", n, first)
	case s.broken != nil:
		return s.broken
	}
	return nil
}
