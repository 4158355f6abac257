package store

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Stats are a Storer's side of the ledger, in bytes of the stream: Read is
// Written plus all of Failed, once no block is in flight.
type Stats struct {
	Read    uint64
	Written uint64
	Failed  map[string]uint64 // by the name of the errno, "ENOSPC"
	Files   int               // begun, and not removed again
}

// counters may be read while a Storer works.
type counters struct {
	read, written atomic.Uint64
	files         atomic.Int64

	mu     sync.Mutex // guards failed
	failed map[string]uint64
}

// Stats may be called from any goroutine.
func (s *Storer) Stats() Stats { return s.stat.snapshot() }

func (c *counters) snapshot() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := Stats{Written: c.written.Load(), Read: c.read.Load(), Files: int(c.files.Load())}
	for cause, n := range c.failed {
		if st.Failed == nil {
			st.Failed = map[string]uint64{}
		}
		st.Failed[cause] = n
	}
	return st
}

// fail counts bytes that could not be written.
func (s *Storer) fail(n int, err error) {
	if n == 0 {
		return
	}
	s.stat.mu.Lock()
	defer s.stat.mu.Unlock()
	if s.stat.failed == nil {
		s.stat.failed = map[string]uint64{}
	}
	s.stat.failed[cause(err)] += uint64(n)
}

func cause(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	}
	return err.Error()
}

// Discard consumes what src gives until the stream ends or ctx is done, and says
// how many bytes that were.
func Discard(ctx context.Context, src Source) (n uint64, err error) {
	for {
		b, err := src.ReadBlock(ctx, Block)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += uint64(len(b))
		if err := src.Consume(len(b)); err != nil {
			return n, err
		}
	}
}
