package store

import "time"

// maxFlying is how many blocks can be read and not given back: as many as a
// stream's listener can hold.
const maxFlying = 256

// block is one block of the stream on its way: being written, then indexed, then
// given back.
type block struct {
	b    []byte // as it lies in the stream
	out  []byte // what is written: b, but for the stream's last bytes
	n    int    // length of b
	off  int64  // in the file
	last bool   // of its file

	file  *file // nil: it is not to be stored
	cause error // why not

	done    chan struct{} // written, or not
	written int           // set before done
	err     error

	sent    bool          // to be indexed
	indexed chan struct{} // it is
}

// flight are the blocks on their way, in the order of the stream:
//
//	oldest ... landed ... next
//	 written, being      being
//	 indexed             written
type flight struct {
	blocks               [maxFlying]block
	oldest, landed, next uint
	behind               int64       // bytes written and not indexed yet
	indexing             chan *block // to the indexer
	lagging              time.Time   // since when the index does; zero: it does not
	grace                *time.Timer
}

func (f *flight) init() {
	for i := range f.blocks {
		f.blocks[i].done = make(chan struct{}, 1)
		f.blocks[i].indexed = make(chan struct{}, 1)
	}
	f.indexing = make(chan *block, maxFlying)
	f.grace = time.NewTimer(time.Hour)
}

func (f *flight) at(n uint) *block { return &f.blocks[n%maxFlying] }

func (f *flight) full() bool { return f.next-f.oldest == maxFlying }

// put sends a block on its way: to be written to file, or, if that is nil, to be
// given back for a reason.
func (s *Storer) put(f *file, b []byte, last bool, why error) {
	x := s.at(s.next)
	s.next++
	s.held.Add(int64(len(b)))
	x.b, x.out, x.n, x.last, x.sent = b, b, len(b), last, false
	if x.file, x.cause = f, why; f == nil {
		return
	}
	if f.lane.dir.direct && len(b)%sector != 0 {
		// The stream's last bytes: O_DIRECT takes whole sectors. The zeros behind
		// them are cut off again, or read as padding.
		whole := (len(b) + sector - 1) &^ (sector - 1)
		clear(s.bounce[copy(s.bounce, b):whole])
		x.out = s.bounce[:whole]
	}
	x.off = f.read
	f.read += int64(len(b))
	f.flying++
	f.lane.waiting.Add(1)
	f.lane.jobs <- x
}

// advance takes in what is written, and gives back what is through. With wait it
// waits until at least one block has been given back.
func (s *Storer) advance(src Source, wait bool) error { return s.pass(wait, src.Consume) }

func (s *Storer) pass(wait bool, consume func(int) error) error {
	for s.oldest != s.next {
		if s.landed != s.next {
			x := s.at(s.landed)
			if x.file == nil || len(x.done) > 0 || wait && s.landed == s.oldest {
				if x.file != nil {
					<-x.done
				}
				s.land(x)
				continue
			}
		}
		if s.oldest == s.landed {
			return nil
		}
		x := s.at(s.oldest)
		if x.sent {
			lags := s.lags()
			if lags && len(x.indexed) == 0 {
				x.file.side.off.Store(true) // then it takes no more than a piece's time
			}
			if !lags && len(x.indexed) == 0 {
				if !wait {
					return nil
				}
				if !s.awaitIndex(x) {
					continue // it may lag now
				}
			} else {
				<-x.indexed
			}
			s.behind -= int64(x.n)
			x.file.pending--
			s.settle(x.file)
		}
		s.oldest++
		s.held.Add(-int64(x.n))
		if err := consume(x.n); err != nil {
			return err
		}
		wait = false
	}
	return nil
}

// lagGrace is how long the index may lag before it is given up: blocks that were
// written may have come to it all at once.
const lagGrace = 20 * time.Millisecond

// lags tells whether the index is what keeps the stream from being emptied.
func (s *Storer) lags() bool {
	if !(s.behind > int64(max(s.cfg.Buffer/4, s.cfg.Block)) && s.held.Load() > int64(s.cfg.Buffer/2) ||
		s.next-s.oldest > maxFlying/2 && s.landed-s.oldest > maxFlying/4) {
		s.lagging = time.Time{}
		return false
	}
	now := time.Now()
	if s.lagging.IsZero() {
		s.lagging = now
	}
	return now.Sub(s.lagging) > lagGrace
}

// awaitIndex waits until a block is indexed; false when something else came of it:
// another block was written, or it took long.
func (s *Storer) awaitIndex(x *block) bool {
	var written chan struct{}
	if s.landed != s.next {
		written = s.at(s.landed).done
	}
	s.grace.Reset(lagGrace)
	defer s.grace.Stop()
	select {
	case <-x.indexed:
		return true
	case <-written:
		s.land(s.at(s.landed))
	case <-s.grace.C:
	}
	return false
}

// land takes in the next block that was written, or is not to be.
func (s *Storer) land(x *block) {
	s.landed++
	f := x.file
	if f == nil {
		s.fail(x.n, x.cause)
		return
	}
	f.flying--
	kept := 0
	if f.failure == nil {
		// What lies behind a block that failed is not counted as written, even if
		// it was: the file ends there.
		kept = min(x.written, x.n)
		f.stored.Add(int64(kept))
		s.stat.written.Add(uint64(kept))
		if x.err != nil {
			s.fileFails(f, x.err)
		} else {
			s.works(f)
		}
	}
	if f.failure != nil {
		s.fail(x.n-kept, f.failure)
	} else if f.side != nil {
		x.sent = true
		f.pending++
		s.behind += int64(x.n)
		s.indexing <- x
	}
	f.over = f.over || x.last
	s.settle(f)
}
