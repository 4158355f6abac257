package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/rawfile"
	"github.com/ixcap/ixcap/capture/stream"
)

// Source is what is stored: a stream.Listener that began at the start of a
// segment. The contracts are its.
type Source interface {
	ReadBlock(ctx context.Context, max int) ([]byte, error)
	SegmentEnd() bool
	Consume(n int) error
}

// Config says how a Storer works. Zero values stand for the defaults.
type Config struct {
	Port    string        // name of the port, for file names
	Queue   int           // its queue
	Segment int64         // bytes of a full file; default rawfile.DefaultSegment
	Depth   int           // blocks written at once; default 4
	Flush   time.Duration // what waits longer than this is written before its block is full; default 1 s
}

const (
	defaultDepth = 4
	defaultFlush = time.Second

	// glance is how long to wait for the next block while others are being
	// written, before looking whether they can be given back.
	glance = 2 * time.Millisecond

	// glimpse is how long to wait for what may be there.
	glimpse = 50 * time.Microsecond
)

// Storer writes one stream to files. Run it once.
type Storer struct {
	dir  *Dir
	cfg  Config
	stat counters

	jobs    chan job
	slots   []slot
	oldest  int // slot of the oldest block in flight
	flying  int // blocks in flight
	wait    patience
	bounce  []byte // one page-aligned block, for the stream's last bytes
	file    *file
	read    int64 // bytes of the file that were read from the stream
	written int64 // of these, from the file's start, what is known to be written
	files   int
	stamp   time.Time // of the first record of the current file
	failure error     // the first write that failed
}

// slot is one block in flight.
type slot struct {
	n    int // bytes
	done chan struct{}

	// Set by the worker before done.
	written int
	err     error
}

type job struct {
	file *file
	b    []byte
	off  int64
	slot *slot
}

// New makes a Storer of files in dir.
func (d *Dir) New(cfg Config) (*Storer, error) {
	if cfg.Segment == 0 {
		cfg.Segment = rawfile.DefaultSegment
	}
	if cfg.Depth == 0 {
		cfg.Depth = defaultDepth
	}
	if cfg.Flush == 0 {
		cfg.Flush = defaultFlush
	}
	if cfg.Depth < 0 {
		return nil, fmt.Errorf("%d blocks in flight: choose at least 1", cfg.Depth)
	}
	s := &Storer{dir: d, cfg: cfg, jobs: make(chan job, cfg.Depth), slots: make([]slot, cfg.Depth)}
	for i := range s.slots {
		s.slots[i].done = make(chan struct{}, 1)
	}
	return s, nil
}

// Run stores what src gives until the stream ends, and closes the last file. Any
// other end is an error: ctx is done, src fails, or a write does. The file is then
// closed after its last whole record, and the caller must close src, which would
// hold the stream back.
func (s *Storer) Run(ctx context.Context, src Source) (err error) {
	s.bounce, err = unix.Mmap(-1, 0, Block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("allocate a block: %w", err)
	}
	var workers sync.WaitGroup
	for range s.cfg.Depth {
		workers.Go(s.work)
	}
	defer func() {
		close(s.jobs)
		workers.Wait()
		_ = unix.Munmap(s.bounce)
	}()
	err = s.store(ctx, src)
	for s.flying > 0 {
		if e := s.land(src); err == io.EOF && e != nil {
			err = e
		}
	}
	if s.failure != nil {
		return errors.Join(s.failure, s.giveUp())
	}
	if err == io.EOF {
		return s.end()
	}
	return errors.Join(err, s.giveUp())
}

// store moves blocks until there are no more, or one fails.
func (s *Storer) store(ctx context.Context, src Source) error {
	for s.failure == nil {
		patience := s.cfg.Flush
		if s.flying > 0 {
			patience = glance
		}
		b, err := src.ReadBlock(s.wait.until(ctx, patience), Block)
		switch {
		case err == nil:
			err = s.launch(src, b)
		case errors.Is(err, stream.ErrReadAhead) && s.flying > 0:
			err = s.land(src)
		case errors.Is(err, errPatience) && s.flying > 0:
			err = s.landed(src)
		case errors.Is(err, errPatience):
			err = s.flush(ctx, src)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// flush writes the whole sectors of a block that is slow to fill, so that little
// is lost should the program be killed. The block's rest follows from there: what
// is read up to its end begins at a sector.
func (s *Storer) flush(ctx context.Context, src Source) error {
	for size := Block / 4; size >= sector && s.failure == nil; {
		b, err := src.ReadBlock(s.wait.until(ctx, glimpse), size)
		switch {
		case errors.Is(err, errPatience):
			size /= 4
			continue
		case errors.Is(err, stream.ErrReadAhead) && s.flying > 0:
			err = s.land(src)
		case err == nil:
			err = s.launch(src, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// launch passes one block to the workers.
func (s *Storer) launch(src Source, b []byte) error {
	if s.flying == len(s.slots) {
		if err := s.land(src); err != nil {
			return err
		}
	}
	s.stat.read.Add(uint64(len(b)))
	last := src.SegmentEnd()
	if s.file == nil {
		if err := s.open(b); err != nil {
			s.failure = err
			s.fail(len(b), err)
			return src.Consume(len(b))
		}
	}
	out := b
	if s.dir.direct && len(b)%sector != 0 {
		// The stream's last bytes: O_DIRECT takes whole sectors. The zeros behind
		// them are cut off again, or read as padding.
		whole := (len(b) + sector - 1) &^ (sector - 1)
		clear(s.bounce[copy(s.bounce, b):whole])
		out = s.bounce[:whole]
	}
	s.file.reserve(s.read+int64(len(out)), s.cfg.Segment)
	for s.file.scarce && s.flying > 0 && s.failure == nil {
		// On a full disk blocks must not take each other's room: a file is of use
		// up to its first gap.
		if err := s.land(src); err != nil {
			s.fail(len(b), err)
			return err
		}
	}
	slot := &s.slots[(s.oldest+s.flying)%len(s.slots)]
	slot.n = len(b)
	s.jobs <- job{file: s.file, b: out, off: s.read, slot: slot}
	s.flying++
	s.read += int64(len(b))
	if !last {
		return nil
	}
	for s.flying > 0 {
		if err := s.land(src); err != nil {
			return err
		}
	}
	if s.failure != nil {
		return nil
	}
	f := s.file
	s.file = nil
	s.failure = f.finish(s.read, s.read) // all of it is written: the segment's end
	return nil
}

// open begins the next file, named after the record that b begins with.
func (s *Storer) open(b []byte) (err error) {
	if h := rawfile.DecodeHeader(b); !h.IsPadding() {
		s.stamp = rawfile.Record{Sec: h.Sec, Nsec: h.Nsec}.Time()
	}
	s.file, err = s.dir.create(FileName(s.cfg.Port, s.cfg.Queue, s.stamp, s.files))
	if err != nil {
		return err
	}
	s.files++
	s.stat.files.Add(1)
	s.read, s.written = 0, 0
	return nil
}

// work writes blocks.
func (s *Storer) work() {
	for j := range s.jobs {
		j.slot.written, j.slot.err = j.file.writeAt(j.b, j.off)
		j.slot.done <- struct{}{}
	}
}

// landed gives back the blocks that are written, without waiting.
func (s *Storer) landed(src Source) error {
	for s.flying > 0 && len(s.slots[s.oldest].done) > 0 {
		if err := s.land(src); err != nil {
			return err
		}
	}
	return nil
}

// land waits for the oldest block and gives it back to the stream.
func (s *Storer) land(src Source) error {
	slot := &s.slots[s.oldest]
	<-slot.done
	s.oldest = (s.oldest + 1) % len(s.slots)
	s.flying--
	kept := 0
	if s.failure == nil {
		// What lies behind a block that failed is not counted as written, even if
		// it was: the file ends there.
		kept = min(slot.written, slot.n)
		s.failure = slot.err
	}
	s.written += int64(kept)
	s.stat.written.Add(uint64(kept))
	if s.failure != nil {
		s.fail(slot.n-kept, s.failure)
	}
	return src.Consume(slot.n)
}

// end closes the last file after its last record, with a padding record of
// length 0: twelve zeros.
func (s *Storer) end() error {
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.finish(s.written, s.written+rawfile.HeaderLen)
}

// giveUp keeps what is whole of a file that is not written on.
func (s *Storer) giveUp() error {
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	kept, err := f.salvage(s.written)
	s.stat.written.Add(-uint64(s.written - kept))
	s.fail(int(s.written-kept), cmp.Or(s.failure, errCut))
	if kept == 0 {
		s.stat.files.Add(-1)
	}
	return err
}

// errCut stands for bytes of a record whose rest was not stored.
var errCut = errors.New("record cut")
