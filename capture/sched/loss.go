package sched

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ixcap/ixcap/capture/units"
)

// Loss is the frames that a port missed within an interval, and their cause.
type Loss struct {
	Frames uint64        `json:"frames"`
	Cause  Cause         `json:"cause"`
	End    time.Time     `json:"end"`     // of the interval
	Over   time.Duration `json:"over_ns"` // length of the interval
	Queue  int           `json:"queue"`   // whose poller was judged
	Evidence
}

// Evidence is what the cause of a loss was judged by: what one poller's thread did in
// the interval. Zero values are left out.
type Evidence struct {
	Offered   uint64        `json:"offered_fps,omitempty"`   // frames per second: polled and missed
	Processed uint64        `json:"processed_fps,omitempty"` // frames polled per second that the poller was free to poll
	Busy      time.Duration `json:"busy_ns,omitempty"`       // polls returned full batches, one after the other, for longer than a full buffer takes
	Waited    time.Duration `json:"waited_ns,omitempty"`     // the thread was runnable and had no core
	Absent    time.Duration `json:"absent_ns,omitempty"`     // in gaps of 100 us or more the thread neither waited for a core nor for room
	Gaps      time.Duration `json:"gaps_ns,omitempty"`       // sum of the poll gaps of the cause that exceeded the buffer
	Longest   time.Duration `json:"longest_gap_ns,omitempty"`

	Throttling

	Stolen    time.Duration `json:"stolen_ns,omitempty"`    // the hypervisor ran others, added up over the cores
	Suspended time.Duration `json:"suspended_ns,omitempty"` // the machine was suspended

	Backpressure time.Duration `json:"backpressure_ns,omitempty"` // the stream accepted no frame
	Listener     string        `json:"listener,omitempty"`        // lossless, that held the poller back
	PID          int           `json:"pid,omitempty"`             // of the listener
	Unread       uint64        `json:"unread,omitempty"`          // frames of the listener
	Writing      int           `json:"writing,omitempty"`         // blocks that its disks had not written
	WriteMean    time.Duration `json:"write_mean_ns,omitempty"`   // of a write that ended in the interval
}

// Throttling is what the kernel counts of a control group that was throttled because it
// had used up its CPU time.
type Throttling struct {
	Quota     string        `json:"quota,omitempty"`             // the control group and its limit
	Throttled time.Duration `json:"throttled_ns,omitempty"`      // the group was throttled, added up over the cores
	Periods   uint64        `json:"throttled_periods,omitempty"` // of the limit, in which that was so

	file string // that sets the limit
}

// text is the throttling in words.
func (t *Throttling) text() string {
	return fmt.Sprintf("%s, throttled for %v in %s", t.Quota, Short(t.Throttled), units.Plural(t.Periods, "period"))
}

// Listener describes the lossless listener that holds a poller back most.
type Listener struct {
	ID     uint64 // unique in its queue
	Name   string
	PID    int
	Unread uint64 // frames

	// Disk has the counters of its writes, if it stores to disks; else nil.
	Disk *Disk
}

// Disk is the state of a storer's disks.
type Disk struct {
	Writing int           // blocks read and not written yet
	Writes  uint64        // ended so far
	Time    time.Duration // of these, added up
}

// queueInterval is what one poller did within an interval.
type queueInterval struct {
	Frames                             uint64 // polled
	Busy, Waited, Backpressure, Absent time.Duration

	Gaps     map[Cause]time.Duration // that exceeded the buffer
	Longest  time.Duration           // of these
	Listener Listener
	Writes   Disk // of the listener, since the report before
}

// interval is the time between two reports.
type interval struct {
	Over      time.Duration
	Missed    uint64
	Throttled Throttling
	Stolen    time.Duration
	Suspended time.Duration
	Queues    []queueInterval
}

// judge returns the cause of the frames that a port missed within an interval, the queue
// whose poller it is about, and the evidence. Of several pollers the one with the most
// time lost to its cause is taken: the port's count is of all queues.
func (i *interval) judge() (queue int, cause Cause, e Evidence) {
	var most time.Duration
	for n := range i.Queues {
		c, length, evidence := i.judgeQueue(&i.Queues[n])
		if n == 0 || length > most {
			queue, cause, e, most = n, c, evidence, length
		}
	}
	return queue, cause, e
}

// judgeQueue judges one poller:
//
//	time of the interval = waiting + backpressure + absent (other gaps) + free to poll
//
// Frames that arrive faster than the poller processes them in its free time overload it,
// whatever else took time. Else the gaps that exceeded the buffer are what frames were
// lost in, and the cause of most of their time is that of the loss. Without such gaps it
// is what took most time.
func (i *interval) judgeQueue(q *queueInterval) (Cause, time.Duration, Evidence) {
	e := Evidence{Throttling: i.Throttled}
	e.Busy, e.Waited, e.Backpressure = q.Busy, q.Waited, q.Backpressure
	e.Absent, e.Longest, e.Stolen, e.Suspended = q.Absent, q.Longest, i.Stolen, i.Suspended
	free := max(i.Over-q.Waited-q.Backpressure-q.Absent, q.Busy) // a wait that ends belongs in part to an interval before
	if free > 0 {
		e.Processed = perSecond(q.Frames, uint64(free))
	}
	e.Offered = perSecond(q.Frames+i.Missed, uint64(max(i.Over, 1)))
	if free > 0 && q.Busy > free/2 && e.Offered > e.Processed {
		return CauseOverload, q.Busy, e
	}
	lost := q.Gaps
	if len(lost) == 0 {
		lost = i.counted(q)
	}
	cause, most := CauseUnknown, time.Duration(LongGap)
	for _, c := range causes {
		if lost[c] > most {
			cause, most = c, lost[c]
		}
	}
	switch {
	case cause == CauseUnknown && q.Busy > 0:
		return CauseOverload, q.Busy, e // a burst
	case cause == CauseUnknown:
		return cause, 0, e
	case blocking(cause):
		e.Listener, e.PID, e.Unread = q.Listener.Name, q.Listener.PID, q.Listener.Unread
		if d := q.Listener.Disk; d != nil {
			e.Writing = d.Writing
			e.WriteMean = q.Writes.Time / time.Duration(max(q.Writes.Writes, 1))
		}
	}
	e.Gaps = q.Gaps[cause]
	return cause, most, e
}

// blocking reports whether the time of a cause is time of backpressure.
func blocking(c Cause) bool { return c == CauseBackpressure || c == CauseDisk }

// counted is the time that causes took by counters: of gaps that go on, and of those that
// the capacity of the port is not known for.
func (i *interval) counted(q *queueInterval) map[Cause]time.Duration {
	quota := time.Duration(0)
	if i.Throttled.Periods > 0 {
		quota = min(q.Waited, i.Throttled.Throttled)
	}
	lost := map[Cause]time.Duration{CauseQuota: quota, CausePreempted: q.Waited - quota}
	if q.disk() {
		lost[CauseDisk] = q.Backpressure
	} else {
		lost[CauseBackpressure] = q.Backpressure
	}
	return lost
}

// disk reports whether the listener that held the poller back waited for its disks.
func (q *queueInterval) disk() bool {
	return q.Listener.Disk != nil && (q.Listener.Disk.Writing > 0 || q.Writes.Time > q.Backpressure/2)
}

// text is what happened, by what it was judged, and what to do. core is the poller's.
func (l *Loss) text(core int) string {
	return fmt.Sprintf("%s missed by the NIC: %s: %s. %s", units.Plural(l.Frames, "frame"), l.Cause, l.evidence(), l.Cause.remedy(core, l.file))
}

// evidence is the evidence in words.
func (l *Loss) evidence() string {
	switch l.Cause {
	case CauseOverload:
		return fmt.Sprintf("poller busy %.0f %%, %.3g Mpps offered, %.3g Mpps processed (%.0f ns a frame)",
			percent(l.Busy, l.Over), float64(l.Offered)/1e6, float64(l.Processed)/1e6, 1e9/float64(max(l.Processed, 1)))
	case CauseQuota:
		return fmt.Sprintf("%s; the poller had no core for %v of %v", l.Throttling.text(), Short(max(l.Waited, l.Gaps)), Short(l.Over))
	case CausePreempted, CauseThrottled, CauseWoken:
		return fmt.Sprintf("the poller was runnable and had no core for %v of %v", Short(max(l.Waited, l.Gaps)), Short(l.Over))
	case CauseBackpressure, CauseDisk:
		text := fmt.Sprintf("the stream was full for %v of %v; %s (pid %d) has %s unread", Short(l.Backpressure), Short(l.Over), l.Listener, l.PID, units.Plural(l.Unread, "frame"))
		if l.Cause == CauseDisk {
			text += fmt.Sprintf(", %s in flight, a write takes %v", units.Plural(uint64(l.Writing), "block"), Short(l.WriteMean))
		}
		return text
	case CauseUnknown, CausePending:
		return fmt.Sprintf("no gap, no backpressure, poller busy %.0f %%", percent(l.Busy, l.Over))
	}
	text := fmt.Sprintf("not polled for %v of %v", Short(l.Gaps), Short(l.Over))
	if l.Stolen > 0 {
		text += fmt.Sprintf(", %v stolen by the hypervisor", Short(l.Stolen))
	}
	if l.Suspended > 0 {
		text += fmt.Sprintf(", suspended for %v", Short(l.Suspended))
	}
	return text
}

func percent(part, whole time.Duration) float64 {
	return 100 * float64(part) / float64(max(whole, 1))
}

// LossCause is all frames missed for one cause.
type LossCause struct {
	Cause     Cause  `json:"cause"`
	Frames    uint64 `json:"frames"`
	Intervals uint64 `json:"intervals"` // in which frames were missed for it
	Worst     *Loss  `json:"worst,omitempty"`
}

// Text is the evidence of the worst interval in words, "" if there is none.
func (c *LossCause) Text() string {
	if c.Worst == nil {
		return ""
	}
	return c.Worst.evidence()
}

// lossLog adds losses up by cause.
type lossLog struct {
	mu     sync.Mutex
	causes []LossCause
}

func (g *lossLog) add(l Loss) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.causes, func(c LossCause) bool { return c.Cause == l.Cause })
	if i < 0 {
		g.causes = append(g.causes, LossCause{Cause: l.Cause})
		i = len(g.causes) - 1
	}
	c := &g.causes[i]
	c.Frames += l.Frames
	c.Intervals++
	if c.Worst == nil || l.Frames > c.Worst.Frames {
		l.End = l.End.UTC().Round(0) // as encoding/json decodes it
		c.Worst = &l
	}
}

// Losses returns the frames missed by cause, those with most frames first. missed is the
// number of all: what is not judged yet has CausePending.
func (r *Reporter) Losses(missed uint64) (all []LossCause) {
	r.losses.mu.Lock()
	all = slices.Clone(r.losses.causes)
	r.losses.mu.Unlock()
	slices.SortStableFunc(all, func(a, b LossCause) int { return cmp.Compare(b.Frames, a.Frames) })
	for _, c := range all {
		missed -= min(missed, c.Frames)
	}
	if missed > 0 {
		all = append(all, LossCause{Cause: CausePending, Frames: missed})
	}
	return all
}
