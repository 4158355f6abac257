package store

import (
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Stats are a Storer's side of the ledger, in bytes of the stream: Read is
// Written plus all of Failed, Filtered and Cut, once no block is in flight.
type Stats struct {
	Read    uint64
	Written uint64            // and kept; less than before when what was written turns out to be lost
	Failed  map[string]uint64 // by the name of the errno, "ENOSPC"
	Files   int               // begun, and not removed again

	// Left out on request, by storers that look at packets; Read includes them.
	Filtered uint64 // did not match
	Cut      uint64 // ends of packets

	Wrote     uint64 // what the disks took, whatever became of it; it only grows
	Indexed   int    // files closed that have their sidecar
	Unindexed int    // files closed that have none yet
	Failing   bool   // what comes is not stored for the moment
	Latency   Latency
	Dirs      []DirStats // as given to New
}

// DirStats is what became of one folder's share.
type DirStats struct {
	Path    string
	Direct  bool   // O_DIRECT
	Files   int    // begun, and not removed again
	Wrote   uint64 // bytes; it only grows
	Waiting int    // blocks read and not written yet
	Failing string // why nothing can be stored there for the moment; "": it can
	Latency Latency
}

// counters may be read while a Storer works.
type counters struct {
	read, written      atomic.Uint64
	indexed, unindexed atomic.Int64
	failing            atomic.Bool

	mu     sync.Mutex // guards failed
	failed map[string]uint64
}

// Stats may be called from any goroutine.
func (s *Storer) Stats() Stats {
	c := &s.stat
	st := Stats{
		Written: c.written.Load(), Read: c.read.Load(), Failing: c.failing.Load(),
		Indexed: int(c.indexed.Load()), Unindexed: int(c.unindexed.Load()),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for cause, n := range c.failed {
		if st.Failed == nil {
			st.Failed = map[string]uint64{}
		}
		st.Failed[cause] = n
	}
	for _, l := range s.lanes {
		d := DirStats{
			Path: l.dir.path, Direct: l.dir.direct, Files: int(l.files.Load()), Wrote: l.wrote.Load(),
			Waiting: int(l.waiting.Load()), Latency: l.latency.read(),
		}
		if why := l.failing.Load(); why != nil {
			d.Failing = why.err.Error()
		}
		st.Files += d.Files
		st.Wrote += d.Wrote
		st.Latency.add(&d.Latency)
		st.Dirs = append(st.Dirs, d)
	}
	return st
}

// fail counts bytes that could not be stored.
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
	if s.firstLoss == nil {
		s.firstLoss = err
	}
}

// lost is how many bytes could not be stored so far, and the first reason.
func (s *Storer) lost() (n uint64, first error) {
	s.stat.mu.Lock()
	defer s.stat.mu.Unlock()
	for _, m := range s.stat.failed {
		n += m
	}
	return n, s.firstLoss
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
