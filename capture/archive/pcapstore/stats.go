package pcapstore

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ixcap/ixcap/capture/archive/store"
)

// Packets are a Storer's counters. Once Run has returned
//
//	Read = Written + Filtered + all of Failed, in packets
//	Read = Written + Filtered + all of Failed + Cut, in bytes of frames
type Packets struct {
	Read     store.Amount
	Filtered store.Amount            // did not match
	Written  store.Amount            // on disk; it falls when what was written turns out to be lost
	Failed   map[string]store.Amount // by the name of the errno, such as "ENOSPC"
	Cut      uint64                  // bytes left out by Config.SnapLen

	Overrun uint64 // packets never read: the listener was too slow
}

// Balanced returns nil if every packet and byte is accounted for.
func (p Packets) Balanced() error {
	var failed store.Amount
	for _, f := range p.Failed {
		failed.Add(f)
	}
	var wrong []error
	if p.Read.Packets != p.Written.Packets+p.Filtered.Packets+failed.Packets {
		wrong = append(wrong, fmt.Errorf("%d packets read, but %d written + %d filtered + %d failed",
			p.Read.Packets, p.Written.Packets, p.Filtered.Packets, failed.Packets))
	}
	if p.Read.Bytes != p.Written.Bytes+p.Filtered.Bytes+failed.Bytes+p.Cut {
		wrong = append(wrong, fmt.Errorf("%d bytes read, but %d written + %d filtered + %d failed + %d cut",
			p.Read.Bytes, p.Written.Bytes, p.Filtered.Bytes, failed.Bytes, p.Cut))
	}
	return errors.Join(wrong...)
}

// counters may be read while a Storer works.
type counters struct {
	mu      sync.Mutex // guards all
	read    counts
	written store.Amount
}

// addRead counts a batch.
func (c *counters) addRead(n counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.read.Add(n.read)
	c.read.filtered.Add(n.filtered)
	c.read.cut += n.cut
	c.read.overrun += n.overrun
}

// addWritten counts packets that are in a file.
func (c *counters) addWritten(n store.Amount) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written.Add(n)
}

// loseWritten counts packets that were written, and are in no file.
func (s *Storer) loseWritten(n store.Amount, err error) {
	s.stat.mu.Lock()
	defer s.stat.mu.Unlock()
	s.stat.written = s.stat.written.Sub(n)
	s.losses.Add(n, err)
}

// Packets returns the counters. Any goroutine may call it.
func (s *Storer) Packets() Packets {
	c := &s.stat
	c.mu.Lock()
	defer c.mu.Unlock()
	return Packets{
		Read: c.read.read, Filtered: c.read.filtered, Written: c.written, Failed: s.losses.ByCause(),
		Cut: c.read.cut, Overrun: c.read.overrun,
	}
}

// Stats returns the counters in bytes of frames, and those of the folders. Any
// goroutine may call it.
func (s *Storer) Stats() store.Stats {
	p := s.Packets()
	st := store.Stats{Read: p.Read.Bytes, Written: p.Written.Bytes, Filtered: p.Filtered.Bytes, Cut: p.Cut, Failing: s.failing.Load()}
	st.AddLosses(p.Failed)
	st.AddDirs(s.dirs)
	return st
}
