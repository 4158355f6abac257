package rawstore

import (
	"time"

	"github.com/ixcap/ixcap/capture/archive/store"
)

// maxInFlight is how many blocks can be in the queue: as many as a stream's
// listener hands out.
const maxInFlight = 256

// block is one block of the stream in the queue.
type block struct {
	b      []byte // in the stream's memory
	out    []byte // what is written: b, except for the stream's last bytes
	n      int    // length of b
	frames int    // that begin in b
	off    int64  // in the file
	last   bool   // of its file

	file  *file // nil: it is not stored
	cause error // why not

	done    chan struct{} // written, or failed
	written int           // bytes; set before done
	err     error         // set before done

	indexing bool          // the indexer has it, or has finished it
	indexed  chan struct{} // the indexer has finished it
}

// queue holds the blocks in flight, in the order of the stream:
//
//	oldest ........ completed ........ next
//	  being indexed,         being written,
//	  or done                or written out of order
type queue struct {
	blocks                  [maxInFlight]block
	oldest, completed, next uint
	behind                  int64       // bytes completed and not indexed yet
	toIndex                 chan *block // to the indexer
	lagging                 time.Time   // since when the indexer lags; zero: it does not
	timer                   *time.Timer
}

func (q *queue) init() {
	for i := range q.blocks {
		q.blocks[i].done = make(chan struct{}, 1)
		q.blocks[i].indexed = make(chan struct{}, 1)
	}
	q.toIndex = make(chan *block, maxInFlight)
	q.timer = time.NewTimer(time.Hour)
}

func (q *queue) at(n uint) *block { return &q.blocks[n%maxInFlight] }

func (q *queue) empty() bool { return q.oldest == q.next }

func (q *queue) full() bool { return q.next-q.oldest == maxInFlight }

// stage is what can be done about the queue.
type stage uint8

const (
	nothing  stage = iota // the queue is empty
	writing               // the oldest block is being written
	written               // the next block to be completed is written, or is not stored
	indexing              // the oldest block is completed, and with the indexer
	finished              // the oldest block can be released
)

func (q *queue) stage() stage {
	if q.empty() {
		return nothing
	}
	if q.completed != q.next {
		if x := q.at(q.completed); x.file == nil || len(x.done) > 0 {
			return written
		}
	}
	switch {
	case q.oldest == q.completed:
		return writing
	case q.at(q.oldest).indexing:
		return indexing
	}
	return finished
}

// push appends a block: it is written to f or, if that is nil, counted as lost for
// a cause.
func (s *Storer) push(f *file, b []byte, frames int, last bool, cause error) {
	x := s.at(s.next)
	s.next++
	s.unreleased.Add(int64(len(b)))
	x.b, x.out, x.n, x.frames, x.last, x.indexing = b, b, len(b), frames, last, false
	if x.file, x.cause = f, cause; f == nil {
		return
	}
	if f.Dir.Direct() && len(b)%store.Sector != 0 {
		// The stream's last bytes: O_DIRECT writes whole sectors. The zeros after them
		// are cut off again, or read as padding.
		whole := (len(b) + store.Sector - 1) &^ (store.Sector - 1)
		clear(s.bounce[copy(s.bounce, b):whole])
		x.out = s.bounce[:whole]
	}
	x.off = f.read
	f.read += int64(len(b))
	f.frames += frames
	f.writing++
	f.Dir.AddWaiting(1)
	s.jobs[f.Dir] <- x
}

// work writes blocks of one folder.
func work(jobs <-chan *block) {
	for b := range jobs {
		f := b.file
		if f.failed.Load() {
			b.written, b.err = 0, nil // the file ends before this block
		} else {
			b.written, b.err = f.Write(b.out, b.off)
			f.Dir.AddWrote(min(b.written, b.n))
			if b.err == nil && f.Deleted() {
				b.err = f.Error("write", store.ErrDeleted)
			}
		}
		f.Dir.AddWaiting(-1)
		b.done <- struct{}{}
	}
}

// advance completes the blocks that are written, and releases those that are
// finished, in order. With wait it waits until at least one block is released.
func (s *Storer) advance(wait bool, release func(n int) error) error {
	for {
		switch s.stage() {
		case nothing:
			return nil
		case written:
			s.completeNext()
		case writing:
			if !wait {
				return nil
			}
			s.completeNext()
		case indexing:
			if !s.takeIndexed(wait) {
				return nil
			}
		case finished:
			x := s.at(s.oldest)
			s.oldest++
			s.unreleased.Add(-int64(x.n))
			if err := release(x.n); err != nil {
				return err
			}
			wait = false
		}
	}
}

// completeNext waits until the next block to be completed is written, and completes it.
func (s *Storer) completeNext() {
	x := s.at(s.completed)
	if x.file != nil {
		<-x.done
	}
	s.complete(x)
}

// complete accounts for the next block, which is written or not to be stored, and
// passes it to the indexer.
func (s *Storer) complete(x *block) {
	s.completed++
	f := x.file
	if f == nil {
		s.losses.Add(store.Amount{Packets: uint64(x.frames), Bytes: uint64(x.n)}, x.cause)
		return
	}
	f.writing--
	kept := 0
	if f.failure == nil {
		// Bytes after a block that failed do not count as written, even if they
		// were: the file ends there.
		kept = min(x.written, x.n)
		f.stored.Add(int64(kept))
		s.stat.written.Add(uint64(kept))
		if x.err != nil {
			s.failFile(f, x.err)
		} else {
			f.storedFrames.Add(int64(x.frames))
			s.dirs.Recovered(f.File)
		}
	}
	if f.failure != nil {
		s.losses.Add(store.Amount{Bytes: uint64(x.n - kept)}, f.failure) // its frames: when the file is closed
	} else if f.side != nil {
		x.indexing = true
		f.indexing++
		s.behind += int64(x.n)
		s.toIndex <- x
	}
	f.complete = f.complete || x.last
	s.closeIfDone(f)
}

// maxLag is how long the indexer may lag until the sidecar is given up: many
// written blocks may have been completed at once.
const maxLag = 20 * time.Millisecond

// takeIndexed takes the oldest block from the indexer. If that is not finished with
// it and wait is false, it returns false. A sidecar that lags is given up.
func (s *Storer) takeIndexed(wait bool) bool {
	x := s.at(s.oldest)
	lags := s.indexLags()
	switch {
	case len(x.indexed) > 0:
		<-x.indexed
	case lags:
		x.file.side.off.Store(true)
		<-x.indexed // in the time of one piece
	case !wait:
		return false
	default:
		if !s.awaitIndexed(x) {
			return true // another stage
		}
	}
	x.indexing = false
	s.behind -= int64(x.n)
	x.file.indexing--
	s.closeIfDone(x.file)
	return true
}

// awaitIndexed waits until a block is indexed. It returns false if another block
// was written first, or after maxLag.
func (s *Storer) awaitIndexed(x *block) bool {
	var done chan struct{}
	if s.completed != s.next {
		done = s.at(s.completed).done
	}
	s.timer.Reset(maxLag)
	defer s.timer.Stop()
	select {
	case <-x.indexed:
		return true
	case <-done:
		s.complete(s.at(s.completed))
	case <-s.timer.C:
	}
	return false
}

// indexLags reports whether the indexer is what keeps blocks from being released.
func (s *Storer) indexLags() bool {
	if !(s.behind > int64(max(s.cfg.Buffer/4, s.cfg.Block)) && s.unreleased.Load() > int64(s.cfg.Buffer/2) ||
		s.next-s.oldest > maxInFlight/2 && s.completed-s.oldest > maxInFlight/4) {
		s.lagging = time.Time{}
		return false
	}
	now := time.Now()
	if s.lagging.IsZero() {
		s.lagging = now
	}
	return now.Sub(s.lagging) > maxLag
}
