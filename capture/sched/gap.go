package sched

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/ixcap/ixcap/capture/units"
)

// LongGap is the length in ns from which the cause of a gap is determined.
// Shorter gaps are only counted.
const LongGap = 100_000

// Gap is a time between two polls of at least LongGap.
type Gap struct {
	End    time.Time     `json:"end"`
	Length time.Duration `json:"length_ns"`
	Cause  Cause         `json:"cause"` // of more than half of it, as far as the kernel reports

	Frames    uint64 `json:"frames"`           // that had accumulated: polled until a batch was not full
	Rate      uint64 `json:"rate_fps"`         // frames per second in some 10 ms before, or including the gap if that is higher
	FrameSize uint64 `json:"frame_size_bytes"` // mean length without CRC

	// Capacity is for how long the port's ring and packet buffer hold frames that
	// arrive at that rate; 0 if none arrived or the port does not report its limits.
	Capacity time.Duration `json:"capacity_ns"`
	// Excessive reports that the gap was longer than that: frames may be lost.
	Excessive bool `json:"excessive"`

	Preempted    uint64        `json:"preempted,omitempty"`       // involuntary context switches of the thread
	Blocked      uint64        `json:"blocked,omitempty"`         // voluntary context switches
	Waited       time.Duration `json:"waited_ns,omitempty"`       // the thread was runnable and had no core
	Backpressure time.Duration `json:"backpressure_ns,omitempty"` // the stream accepted no frame
	Paused       time.Duration `json:"paused_ns,omitempty"`       // the poller yielded or slept because it had no frames
	Listener     string        `json:"listener,omitempty"`        // lossless, that held the poller back
	PID          int           `json:"pid,omitempty"`             // of the listener

	Throttling // around the gap, if its cause is a quota

	explained bool // compared with the garbage collections
}

// cause returns what accounts for more than half of a gap.
func (g *Gap) cause(u usage, fifo bool) Cause {
	half := g.Length / 2
	switch {
	case g.Backpressure > half:
		return CauseBackpressure
	case u.counted && g.Waited > half || !u.timed && g.Preempted > 0:
		switch {
		case g.Preempted == 0:
			return CauseWoken
		case fifo:
			return CauseThrottled
		}
		return CausePreempted
	case g.Paused > half:
		return CausePaused
	case !u.counted:
		return CauseUnknown
	case g.Blocked > 0:
		return CauseBlocked
	}
	return CauseOutside
}

// Limits are the limits of a receive queue. Zero values mean unknown or none.
type Limits struct {
	LineRate     uint64 // bits per second
	Descriptors  uint64 // of the ring
	PacketBuffer uint64 // bytes that hold frames while the ring is full
	BufferStep   uint64 // bytes: granularity of the packet buffer
}

// Room is how many frames of the smallest size fit into ring and packet buffer.
func (l *Limits) Room() int {
	const smallest = 64 // bytes with CRC
	return int(l.Descriptors + l.PacketBuffer/roundUp(smallest, l.BufferStep))
}

// assess computes rate, capacity and Excessive from the frames and bytes that were
// polled within ns around the gap, and from Rate, the one before the gap. Both
// rates can be wrong: lost frames are missing from the first, a burst may have
// begun after the second, and accumulated frames are polled faster than they
// arrived. So the higher one counts, limited by the line rate. A frame takes one
// descriptor, or its length with CRC in the packet buffer.
func (g *Gap) assess(frames, bytes, ns uint64, l *Limits) {
	if frames != 0 && ns != 0 {
		g.FrameSize = bytes / frames
		g.Rate = max(g.Rate, perSecond(frames, ns))
	}
	const crc, ifg = 4, 20 // bytes; ifg: preamble and pause between frames
	var wire float64       // ns of a frame at line rate
	if l.LineRate != 0 {
		wire = 8e9 / float64(l.LineRate) * float64(max(g.FrameSize, 60)+crc+ifg)
		g.Rate = min(g.Rate, uint64(1e9/wire))
	}
	if frames == 0 || l.Descriptors == 0 || g.Rate == 0 {
		return
	}
	room := l.Descriptors + l.PacketBuffer/roundUp(g.FrameSize+crc, l.BufferStep)
	g.Capacity = time.Duration(float64(room) / float64(g.Rate) * 1e9)
	// The mean rate does not show a burst within the gap. The number of accumulated
	// frames does, if the line can deliver them in that time.
	fill := time.Duration(float64(room) * wire)
	g.Excessive = g.Length > g.Capacity || g.Frames >= room && g.Length > fill
}

func roundUp(n, step uint64) uint64 {
	step = max(step, 1)
	return (n + step - 1) / step * step
}

func perSecond(frames, ns uint64) uint64 { return uint64(float64(frames) / float64(ns) * 1e9) }

// circumstances are what the poller's thread cannot know of the time of a gap.
type circumstances struct {
	gc     *debug.GCStats // of this program
	holder Listener       // Queue.Holder
	disk   bool           // it waits for its disks

	began     time.Time  // when the throttling was read the last time
	throttled Throttling // since then
	across    Throttling // and in the interval before
	stolen    time.Duration
	suspended time.Duration
	continued []time.Time // when the process got SIGCONT
}

// afterStop is how long after the end of a gap its SIGCONT is known at the latest.
const afterStop = time.Second

// Text is the evidence for the cause in words, "" if there is none.
func (g *Gap) Text() string {
	switch g.Cause {
	case CauseQuota:
		if g.Waited <= g.Length/2 {
			return g.Throttling.text()
		}
		return fmt.Sprintf("%s; the poller had no core for %v of %v", g.Throttling.text(), Short(g.Waited), Short(g.Length))
	case CausePreempted, CauseThrottled, CauseWoken:
		if g.Waited > 0 { // else the kernel does not measure it
			return fmt.Sprintf("the poller was runnable and had no core for %v of %v", Short(g.Waited), Short(g.Length))
		}
		return units.Plural(g.Preempted, "involuntary context switch") + " of the poller"
	case CauseBackpressure, CauseDisk:
		text := fmt.Sprintf("the stream was full for %v of %v", Short(g.Backpressure), Short(g.Length))
		if g.Listener != "" { // else no report has looked yet
			text += fmt.Sprintf("; %s (pid %d) held it", g.Listener, g.PID)
		}
		return text
	}
	return ""
}

// quota gives a gap the cause CauseQuota if a group was throttled for most of a time.
func (c *circumstances) quota(g *Gap, most time.Duration) {
	// The report that ended the interval before may have run on another core, with the end
	// of the throttling, before the poller ended its gap.
	t := &c.throttled
	if g.End.Add(-g.Length).Before(c.began) {
		t = &c.across
	}
	if t.Periods > 0 && t.Throttled > most/2 {
		g.Cause, g.Throttling = CauseQuota, *t
	}
}

// explain refines the cause by the circumstances of the last second.
func (g *Gap) explain(c *circumstances) {
	switch g.Cause {
	case CauseBackpressure:
		g.Listener, g.PID = c.holder.Name, c.holder.PID
		if c.disk {
			g.Cause = CauseDisk
		}
	case CausePreempted, CauseWoken:
		c.quota(g, g.Waited)
	case CauseOutside:
		if c.stolen > g.Length/2 {
			g.Cause = CauseStolen
		} else {
			c.quota(g, g.Length) // the kernel need not count the wait of a throttled thread
		}
	}
	if g.Cause == CauseBlocked || g.Cause == CauseWoken {
		began := g.End.Add(-g.Length)
		for i := range min(len(c.gc.Pause), len(c.gc.PauseEnd)) {
			end := c.gc.PauseEnd[i]
			if end.After(began) && end.Add(-c.gc.Pause[i]).Before(g.End) {
				g.Cause = CauseCollection
				break
			}
		}
	}
	if !blocking(g.Cause) && g.Waited <= g.Length/2 {
		for _, at := range c.continued {
			if at.After(g.End.Add(-g.Length)) && at.Before(g.End.Add(afterStop)) {
				g.Cause = CauseStopped
			}
		}
		if c.suspended > 0 && g.Length > c.suspended/2 {
			g.Cause = CauseStopped
		}
	}
}
