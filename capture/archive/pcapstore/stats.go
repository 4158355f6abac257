package pcapstore

import (
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/ixcap/ixcap/capture/archive/store"
)

// Count is a number of packets, and of the bytes of them that are meant.
type Count struct{ Packets, Bytes uint64 }

func (c *Count) add(packets, bytes uint64) {
	c.Packets += packets
	c.Bytes += bytes
}

// Packets are a Storer's side of the ledger. Once Run has returned
//
//	Read = Written + Filtered + all of Failed, in packets
//	Read = Written + Filtered + all of Failed + Cut, in bytes of frames
type Packets struct {
	Read     Count
	Filtered Count            // did not match
	Written  Count            // and kept; less than before when what was written turns out to be lost
	Failed   map[string]Count // by the name of the errno, "ENOSPC"
	Cut      uint64           // bytes left out by Config.CapLen

	Overrun uint64 // packets that the listener was too slow for, and never read
}

// Balanced is nil when every packet and byte is accounted for.
func (p Packets) Balanced() error {
	var failed Count
	for _, f := range p.Failed {
		failed.add(f.Packets, f.Bytes)
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
	mu    sync.Mutex // guards all
	p     Packets
	first error // that packets failed with
}

// Packets may be called from any goroutine.
func (s *Storer) Packets() Packets {
	s.stat.mu.Lock()
	defer s.stat.mu.Unlock()
	p := s.stat.p
	p.Failed = maps.Clone(p.Failed)
	return p
}

// Stats are the same in bytes of frames, in the words of RAW files' storer, and how
// the folders do. It may be called from any goroutine.
func (s *Storer) Stats() store.Stats {
	p := s.Packets()
	st := store.Stats{Read: p.Read.Bytes, Written: p.Written.Bytes, Filtered: p.Filtered.Bytes, Cut: p.Cut, Failing: s.failing.Load()}
	for cause, n := range p.Failed {
		if st.Failed == nil {
			st.Failed = map[string]uint64{}
		}
		st.Failed[cause] = n.Bytes
	}
	for _, l := range s.lanes {
		d := store.DirStats{
			Path: l.dir.Path(), Files: int(l.files.Load()), Wrote: l.wrote.Load(), Latency: l.clock.Read(),
		}
		if why := l.failing.Load(); why != nil {
			d.Failing = why.err.Error()
		}
		st.Files += d.Files
		st.Wrote += d.Wrote
		st.Latency.Add(&d.Latency)
		st.Dirs = append(st.Dirs, d)
	}
	return st
}

// took counts what was read since the last call.
func (c *counters) took(t tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.p.Read.add(t.read.Packets, t.read.Bytes)
	c.p.Filtered.add(t.filtered.Packets, t.filtered.Bytes)
	c.p.Cut += t.cut
	c.p.Overrun += t.overtaken
}

// wrote counts packets that are in a file.
func (c *counters) wrote(n Count) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.p.Written.add(n.Packets, n.Bytes)
}

// failed counts packets that are in no file; written: they were, as it seemed.
func (c *counters) failed(n Count, err error, written bool) {
	if n == (Count{}) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if written {
		c.p.Written.Packets -= n.Packets
		c.p.Written.Bytes -= n.Bytes
	}
	if c.p.Failed == nil {
		c.p.Failed = map[string]Count{}
	}
	f := c.p.Failed[store.Cause(err)]
	f.add(n.Packets, n.Bytes)
	c.p.Failed[store.Cause(err)] = f
	if c.first == nil {
		c.first = err
	}
}

// lost is how many packets could not be stored so far, and the first reason.
func (c *counters) lost() (n Count, first error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.p.Failed {
		n.add(f.Packets, f.Bytes)
	}
	return n, c.first
}
