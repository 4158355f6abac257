package packetsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture/stream"
)

// DefaultHold is a hold for ports whose queues are polled without a pause.
const DefaultHold = 10 * time.Millisecond

// Merge reads several sources, of queues or of ports, in the order of their packets'
// stamps:
//
//	queue 0 ─► Source ─┐
//	queue 1 ─► Source ─┼─► Merge ─► the packet with the lowest stamp
//	queue 2 ─► Source ─┘
//
// A source without a packet may still get one with a lower stamp: a packet is published
// a little after its stamp. Merge waits for that as long as hold says, counted from the
// delay of the packet that was published the fastest. The wait costs no throughput: a
// reader that is behind by hold does not wait. A packet that comes later than that is
// returned at once, out of order, and counted.
//
// All methods but Late and Close belong to one goroutine at a time. The sources' own reading
// methods must not be mixed with them.
type Merge struct {
	lanes []lane
	hold  int64 // ns
	delay int64 // ns, the least seen from a packet's stamp to its reading
	last  int64 // the highest stamp returned
	late  atomic.Uint64
	err   error
}

// lane is one source.
type lane struct {
	source *Source
	name   string // of port and queue
	next   int    // of source.packets: the next one
	n      int    // how many there are
	clear  int64  // no packet with a lower stamp is expected
	ended  bool
}

// NewMerge returns a merge of sources, which it closes. Hold is how much longer than
// the fastest a packet may take from its stamp to a reader.
func NewMerge(hold time.Duration, sources ...*Source) *Merge {
	m := &Merge{hold: int64(hold), delay: math.MaxInt64, last: math.MinInt64}
	for _, s := range sources {
		port, queue := s.Source()
		m.lanes = append(m.lanes, lane{source: s, name: fmt.Sprintf("%s queue %d", port, queue), clear: math.MinInt64})
	}
	return m
}

// Late returns the number of packets that were returned after one with a higher stamp.
// Any goroutine may call it.
func (m *Merge) Late() uint64 { return m.late.Load() }

// Close closes the sources. A call that waits in another goroutine returns
// stream.ErrClosed.
func (m *Merge) Close() error {
	var all []error
	for i := range m.lanes {
		all = append(all, m.lanes[i].source.Close())
	}
	return errors.Join(all...)
}

// Next returns the next packet that matches its source's filter, and the source. The
// packet is valid until the next call. Once all sources have ended it returns io.EOF;
// another error of one source ends the merge. It does not allocate.
func (m *Merge) Next(ctx context.Context) (*stream.Packet, *Source, error) {
	for pause := time.Duration(0); ; {
		first := m.lowest()
		ready, news, err := m.await(first)
		switch {
		case err != nil:
			return nil, nil, err
		case ready && first == nil:
			return nil, nil, io.EOF
		case ready:
			p, err := m.take(first)
			return p, first.source, err
		case news:
			pause = 0
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		pause = min(max(2*pause, 5*time.Microsecond), 200*time.Microsecond)
		time.Sleep(pause)
	}
}

// head is the next packet of a lane that has one.
func (l *lane) head() *stream.Packet { return &l.source.packets[l.next] }

// lowest returns the lane whose next packet has the lowest stamp, nil if none has one.
func (m *Merge) lowest() (first *lane) {
	lowest := int64(math.MaxInt64)
	for i := range m.lanes {
		l := &m.lanes[i]
		if l.next == l.n {
			continue
		}
		if stamp := l.head().UnixNano(); stamp < lowest {
			first, lowest = l, stamp
		}
	}
	return first
}

// await reads the lanes without a packet that may yet get one before that of first. It
// is ready if there are none, and has news if a lane has changed.
func (m *Merge) await(first *lane) (ready, news bool, err error) {
	ready = true
	for i := range m.lanes {
		l := &m.lanes[i]
		if l.next < l.n || l.ended || first != nil && l.clear >= first.head().UnixNano() {
			continue
		}
		changed, err := m.fill(l)
		if err != nil {
			return false, false, err
		}
		if changed {
			news = true
		}
		if changed || first == nil || l.clear < first.head().UnixNano() {
			ready = false
		}
	}
	return ready, news, nil
}

// fill reads a lane's next packets. It reports whether there were any, or the lane has
// ended.
func (m *Merge) fill(l *lane) (changed bool, err error) {
	now := time.Now().UnixNano()
	s := l.source
	n, err := s.TryReadBatch(s.packets)
	l.next, l.n = 0, 0
	if err == io.EOF {
		l.ended = true
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", l.name, err)
	}
	if n == 0 {
		if m.delay != math.MaxInt64 {
			l.clear = max(l.clear, now-m.delay-m.hold)
		}
		return false, nil
	}
	last := s.packets[n-1].UnixNano()
	l.clear = max(l.clear, last)
	m.delay = min(m.delay, now-last)
	l.n = s.keep(n)
	return true, nil
}

// keep moves those of the first n packets that match to the front, counts the others
// and returns the number left.
func (s *Source) keep(n int) (kept int) {
	if s.filter == nil {
		return n
	}
	for i := range n {
		if p := &s.packets[i]; s.filter.Match(p.Data, int(p.Len)) {
			s.packets[kept] = *p
			kept++
		}
	}
	s.filtered.Add(uint64(n - kept))
	return kept
}

// take returns a lane's next packet.
func (m *Merge) take(l *lane) (*stream.Packet, error) {
	if l.source.closed.Load() { // the rest of the batch is not mapped any more
		return nil, stream.ErrClosed
	}
	p := l.head()
	l.next++
	if stamp := p.UnixNano(); stamp < m.last {
		m.late.Add(1)
	} else {
		m.last = stamp
	}
	return p, nil
}

// Packets returns an iterator over the packets with their sources until all have ended,
// ctx is done or the merge is closed; Err then returns why. A packet is valid until the
// next iteration. When ctx is done the sources are closed, as by Source.Packets.
func (m *Merge) Packets(ctx context.Context) iter.Seq2[*Source, stream.Packet] {
	return func(yield func(*Source, stream.Packet) bool) {
		for m.err = nil; ; {
			err := ctx.Err()
			var p *stream.Packet
			var s *Source
			if err == nil {
				p, s, err = m.Next(ctx)
			}
			switch {
			case err == io.EOF:
				return
			case err != nil:
				m.err = err
				if ctx.Err() != nil {
					_ = m.Close() // the first close of an attached listener cannot fail
				}
				return
			case !yield(s, *p):
				return
			}
		}
	}
}

// Err returns why the last loop over Packets ended: nil at the end of the streams and
// after a break.
func (m *Merge) Err() error { return m.err }
