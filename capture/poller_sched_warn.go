package capture

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/sched/topology"
	"github.com/ixcap/ixcap/capture/stream"
)

// sayAgain is how often a cause of stalls is told of that goes on.
const sayAgain = time.Minute

// warner tells of stalls that could have cost frames: the first of each cause on
// each queue, then once a minute how many there were. One goroutine at a time
// uses it.
type warner struct {
	logger *slog.Logger
	said   map[stallKind]*stallCount
	missed uint64        // by the port, at the last look
	pauses debug.GCStats // of this program's garbage collector
}

type stallKind struct {
	queue int
	cause string
}

type stallCount struct {
	since int    // not told of
	lost  uint64 // missed by the port in the seconds in which they were noted
	at    time.Time
	worst Stall
	said  time.Time
}

// stalled looks at what the pollers have noted since the last time. Last: the
// capture is over, and what was held back is told.
func (w *warner) stalled(pollers []*poller, streams []*stream.Stream, missed uint64, now time.Time, last bool) {
	lost := missed - w.missed
	w.missed = missed
	debug.ReadGCStats(&w.pauses)
	for q, p := range pollers {
		slowest := slowest(streams[q].Stats())
		fresh := p.stalls.book.take(func(s *Stall) { s.explain(&w.pauses, slowest) })
		for _, s := range fresh {
			w.count(stallKind{q, s.Cause}, s, lost, now)
		}
	}
	for q, p := range pollers {
		for _, cause := range causes {
			c := w.said[stallKind{q, cause}]
			if c == nil || c.since == 0 || !last && now.Sub(c.said) < sayAgain {
				continue
			}
			w.logger.Warn(warning(q, p.config.Core, c))
			*c = stallCount{said: now, at: c.at}
		}
	}
}

var causes = []string{CausePreempted, CauseThrottled, CauseWoken, CauseHeld, CausePaused, CauseCollection, CauseBlocked, CauseOutside, CauseUnknown}

func (w *warner) count(kind stallKind, s Stall, lost uint64, now time.Time) {
	if w.said == nil {
		w.said = map[stallKind]*stallCount{}
	}
	c := w.said[kind]
	if c == nil {
		c = &stallCount{}
		w.said[kind] = c
	}
	c.since++
	if c.at != now { // once for all of a second
		c.lost += lost
		c.at = now
	}
	if c.since == 1 || s.Length > c.worst.Length {
		c.worst = s
	}
}

// warning says what happened, what it could have cost and what to do.
func warning(queue, core int, c *stallCount) string {
	s := &c.worst
	var b strings.Builder
	fmt.Fprintf(&b, "queue %d was not polled for %v until %s", queue, short(s.Length), s.At.Format("15:04:05.000000"))
	if c.since > 1 {
		fmt.Fprintf(&b, " (the longest of %d times)", c.since)
	}
	fmt.Fprintf(&b, ", %s", s.Cause)
	if s.Listener != "" {
		fmt.Fprintf(&b, " (%s)", s.Listener)
	}
	fmt.Fprintf(&b, "; at %.3g Mpps of %d bytes the port holds %v. It missed %d frames around then. %s",
		float64(s.Rate)/1e6, s.Size, short(s.Holds), c.lost, s.remedy(core))
	return b.String()
}

// short is a time with three digits at most, for people.
func short(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

// remedy is what helps against a cause.
func (s *Stall) remedy(core int) string {
	switch s.Cause {
	case CausePreempted, CauseWoken, CausePaused:
		if core == AnyCore {
			return "Give the poller a core of its own (-cores, isolcpus): docs/SCHEDULING.md"
		}
		return fmt.Sprintf("Keep core %d free for it (isolcpus=%[1]d, or SCHED_FIFO): docs/SCHEDULING.md", core)
	case CauseThrottled:
		if core == AnyCore {
			return "Take the limit away: " + topology.ThrottlingFix
		}
		return fmt.Sprintf("Take the limit away: %s; from Linux 6.12 the fair server, too: %s", topology.ThrottlingFix, topology.FairServerFix(core))
	case CauseHeld:
		return "Attach listeners as lossy, give them a larger buffer, or have them let go (detach-after)"
	case CauseCollection:
		return "Allocate less, or collect less often (GOGC)"
	case CauseBlocked:
		return "GOMAXPROCS above the number of cores and pollers helps: docs/SCHEDULING.md"
	}
	return "Look at interrupts (/proc/interrupts), at the firmware, and at what else the host runs: docs/SCHEDULING.md"
}

// explain adds what the poller could not know without asking: that a garbage
// collection stopped the program meanwhile, and which listener was furthest
// behind.
func (s *Stall) explain(gc *debug.GCStats, slowest string) {
	switch s.Cause {
	case CauseHeld:
		s.Listener = slowest
	case CauseBlocked, CauseWoken:
		began := s.At.Add(-s.Length)
		for i := range min(len(gc.Pause), len(gc.PauseEnd)) {
			end := gc.PauseEnd[i]
			if end.After(began) && end.Add(-gc.Pause[i]).Before(s.At) {
				s.Cause = CauseCollection
				return
			}
		}
	}
}

// slowest is the lossless listener that has most still to read, "" for none.
func slowest(s stream.Stats) (name string) {
	var most uint64
	for _, l := range s.Listeners {
		if l.Policy == stream.Lossless && (name == "" || l.Unread > most) {
			name, most = l.Name, l.Unread
		}
	}
	return name
}

// scheduling tells before a capture what will keep its pollers from polling.
func scheduling(l *slog.Logger, fifo int, choices []topology.Choice, rt topology.RealTime) {
	if fifo == 0 {
		return
	}
	if stop := rt.StopTime(); stop > 0 {
		l.Warn(fmt.Sprintf("the kernel stops pollers of SCHED_FIFO for %v of each %v: %s", stop, rt.Period, topology.ThrottlingFix))
	}
	for q, c := range choices {
		if c.Core == AnyCore {
			l.Warn(fmt.Sprintf("queue %d's poller has SCHED_FIFO and no core of its own: it takes whatever core it is on away from everything else; pin it (-cores)", q))
		}
	}
}
