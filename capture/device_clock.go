package capture

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture/clock"
)

// The device of a port may stamp PTP event messages with a clock of its own, at the moment
// when they arrive. The stamps that these frames have in the stream are compared with it:
//
//	poller:    batch with such a frame ─► slow path ─► timedLog: sequence, stamp
//	comparer:  every stampEvery, TakeStamp ─► same sequence: difference
//
// The poller loads no register. The device has room for one stamp, so a message that
// arrives before the comparer has taken that of the one before is not compared.

const (
	stampEvery  = 20 * time.Millisecond
	stampStale  = time.Second // after which a stamp without its frame is discarded
	timedFrames = 16          // of a timedLog, a power of two
)

// timedLog holds the last frames of a queue that its device has stamped. The poller writes,
// the comparer reads.
type timedLog struct {
	source Timed
	read   uint64 // entries that the comparer has read

	entries [timedFrames]struct{ sequence, stamp atomic.Uint64 }
	n       atomic.Uint64 // entries written. R1: stored behind its entry, pairs with A1 in next
}

// pending reports whether the last batch has such a frame.
func (l *timedLog) pending() bool { return len(l.source.Timed()) > 0 }

// note writes an entry for each frame of the group that the device has stamped.
func (l *timedLog) note(g *group) {
	for _, data := range l.source.Timed() {
		sequence, ok := ptpSequence(data)
		if !ok {
			continue
		}
		for i := range g.frames {
			if f := &g.frames[i]; len(f.Data) == len(data) && &f.Data[0] == &data[0] {
				l.put(sequence, g.stamps[i])
			}
		}
	}
}

func (l *timedLog) put(sequence uint16, stamp clock.Stamp) {
	n := l.n.Load()
	e := &l.entries[n%timedFrames]
	e.sequence.Store(uint64(sequence))
	e.stamp.Store(uint64(stamp))
	l.n.Store(n + 1) // R1
}

// next returns the next entry, leaving out those that were overwritten.
func (l *timedLog) next() (sequence uint16, stamp clock.Stamp, ok bool) {
	for l.read < l.n.Load() { // A1
		if n := l.n.Load(); n-l.read >= timedFrames {
			l.read = n - timedFrames + 1
		}
		e := &l.entries[l.read%timedFrames]
		sequence, stamp = uint16(e.sequence.Load()), clock.Stamp(e.stamp.Load())
		whole := l.n.Load()-l.read < timedFrames
		l.read++
		if whole {
			return sequence, stamp, true
		}
	}
	return 0, 0, false
}

// ptpSequence returns the sequence number of the PTP message in a frame, over Ethernet or
// UDP, behind up to two VLAN tags (IEEE 1588-2008, 13.3 and annexes D to F).
func ptpSequence(f []byte) (uint16, bool) {
	const (
		ptp, ipv4, ipv6 = 0x88f7, 0x0800, 0x86dd
		vlan, svlan     = 0x8100, 0x88a8
		udpHeader       = 8
		sequenceAt      = 30
	)
	at := 12
	for range 2 {
		if len(f) >= at+6 && (binary.BigEndian.Uint16(f[at:]) == vlan || binary.BigEndian.Uint16(f[at:]) == svlan) {
			at += 4
		}
	}
	if len(f) < at+3 {
		return 0, false
	}
	kind := binary.BigEndian.Uint16(f[at:])
	at += 2
	switch kind {
	case ptp:
	case ipv4:
		at += int(f[at]&0xf)*4 + udpHeader
	case ipv6:
		at += 40 + udpHeader
	default:
		return 0, false
	}
	if len(f) < at+sequenceAt+2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(f[at+sequenceAt:]), true
}

// deviceComparer compares the stamps of a port's frames with those of its device.
type deviceComparer struct {
	port   StampTaker
	queues []*timedLog
	taken  time.Time // the last stamp, or the last attempt after stampStale

	mu     sync.Mutex // guards the following fields
	result DeviceComparison
	total  float64 // of the differences
}

// newDeviceComparer returns the comparer of a port, nil if its device has no clock in use.
func newDeviceComparer(p Port) *deviceComparer {
	t, ok := p.(StampTaker)
	if !ok || !t.HasClock() {
		return nil
	}
	return &deviceComparer{port: t, taken: time.Now()}
}

// queue returns the log of a source, nil if it does not tell which frames are stamped.
func (d *deviceComparer) queue(s Source) *timedLog {
	t, ok := s.(Timed)
	if !ok {
		return nil
	}
	l := &timedLog{source: t}
	d.queues = append(d.queues, l)
	return l
}

// run compares until quit is closed.
func (d *deviceComparer) run(quit <-chan struct{}) {
	tick := time.NewTicker(stampEvery)
	defer tick.Stop()
	for {
		select {
		case <-quit:
			d.compare(time.Now())
			return
		case <-tick.C:
			d.compare(time.Now())
		}
	}
}

// compare matches the frames noted since the last call with the stamp that the device has.
func (d *deviceComparer) compare(now time.Time) {
	var frames []timedFrame
	for _, l := range d.queues {
		for sequence, stamp, ok := l.next(); ok; sequence, stamp, ok = l.next() {
			frames = append(frames, timedFrame{sequence, int64(stamp.UnixNano())})
		}
	}
	if len(frames) == 0 && now.Sub(d.taken) < stampStale {
		return
	}
	d.taken = now
	s, ok := d.port.TakeStamp()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range frames {
		if ok && f.sequence == s.Sequence {
			d.add(f.stamp-s.Time, s.Uncertainty)
			ok = false
			continue
		}
		d.result.Unmatched++
	}
	if ok {
		d.result.Unmatched++
	}
}

// timedFrame is a frame that the device has stamped, with its stamp in the stream.
type timedFrame struct {
	sequence uint16
	stamp    int64 // ns since 1970
}

// add adds a difference. The caller holds d.mu.
func (d *deviceComparer) add(difference, uncertainty int64) {
	r := &d.result
	if r.Messages == 0 {
		r.Least, r.Most = difference, difference
	}
	r.Messages++
	d.total += float64(difference)
	r.Mean = int64(d.total / float64(r.Messages))
	r.Least, r.Most = min(r.Least, difference), max(r.Most, difference)
	r.Uncertainty = max(r.Uncertainty, uncertainty)
}

// account returns the result so far, nil for a nil comparer.
func (d *deviceComparer) account() *DeviceComparison {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.result
	return &r
}
