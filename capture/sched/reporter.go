package sched

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/sched/topology"
)

// repeatEvery is how often warnings of one cause are logged.
const repeatEvery = time.Minute

// Queue is one queue's part of a report.
type Queue struct {
	Monitor *Monitor
	Slowest string // the lossless listener with most unread frames, "" for none
}

// Reporter logs excessive gaps: the first of each cause on each queue, then once a
// minute their number. One goroutine at a time uses it.
type Reporter struct {
	logger  *slog.Logger
	pending map[gapKind]*gapCount
	demoted map[int]bool  // by queue: logged
	missed  uint64        // by the port, in the last report
	gc      debug.GCStats // of this program
}

// NewReporter returns a Reporter that logs to l.
func NewReporter(l *slog.Logger) *Reporter {
	return &Reporter{logger: l, pending: map[gapKind]*gapCount{}, demoted: map[int]bool{}}
}

type gapKind struct {
	queue int
	cause string
}

type gapCount struct {
	count  int    // not logged yet
	missed uint64 // frames, by the port, in the seconds of these gaps
	at     time.Time
	worst  Gap
	logged time.Time
}

// Report takes the gaps since the last report. missed is the number of frames that
// the port has missed so far. final: the capture has ended, and pending warnings
// are logged.
func (r *Reporter) Report(queues []Queue, missed uint64, now time.Time, final bool) {
	lost := missed - r.missed
	r.missed = missed
	debug.ReadGCStats(&r.gc)
	for n, q := range queues {
		for _, g := range q.Monitor.log.take(func(g *Gap) { g.explain(&r.gc, q.Slowest) }) {
			r.count(gapKind{n, g.Cause}, g, lost, now)
		}
	}
	for n, q := range queues {
		for _, cause := range causes {
			c := r.pending[gapKind{n, cause}]
			if c == nil || c.count == 0 || !final && now.Sub(c.logged) < repeatEvery {
				continue
			}
			r.logger.Warn(warning(q.Monitor.config.Core, c), "queue", n)
			*c = gapCount{logged: now, at: c.at}
		}
		if q.Monitor.Demoted() && !r.demoted[n] {
			r.demoted[n] = true
			r.logger.Warn(fmt.Sprintf("poller demoted from SCHED_FIFO: no other goroutine ran for %v. Keep a core free of real-time threads (cores), or do not use SCHED_FIFO", q.Monitor.after), "queue", n)
		}
	}
}

func (r *Reporter) count(kind gapKind, g Gap, lost uint64, now time.Time) {
	c := r.pending[kind]
	if c == nil {
		c = &gapCount{}
		r.pending[kind] = c
	}
	c.count++
	if c.at != now { // once for all gaps of a report
		c.missed += lost
		c.at = now
	}
	if c.count == 1 || g.Length > c.worst.Length {
		c.worst = g
	}
}

// warning is the text for gaps of one cause: number, longest, capacity, cause,
// consequence and remedy.
func warning(core int, c *gapCount) string {
	g := &c.worst
	var b strings.Builder
	gaps := "1 poll gap"
	if c.count != 1 {
		gaps = fmt.Sprintf("%d poll gaps", c.count)
	}
	fmt.Fprintf(&b, "%s exceeded the NIC buffer (longest %v, capacity %v): %s", gaps, Short(g.Length), Short(g.Capacity), g.Cause)
	if g.Listener != "" {
		fmt.Fprintf(&b, " (%s)", g.Listener)
	}
	fmt.Fprintf(&b, "; %d frames missed, rate %.3g Mpps, mean frame %d bytes, end %s. %s",
		c.missed, float64(g.Rate)/1e6, g.FrameSize, g.End.Format("15:04:05.000000"), g.remedy(core))
	return b.String()
}

// Short rounds a time to three digits.
func Short(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

// remedy returns what prevents gaps of this cause.
func (g *Gap) remedy(core int) string {
	switch g.Cause {
	case CausePreempted, CauseWoken, CausePaused:
		if core == AnyCore {
			return "Give the poller a core of its own (cores, isolcpus): docs/SCHEDULING.md"
		}
		return fmt.Sprintf("Keep core %d free of other threads (isolcpus=%[1]d, or SCHED_FIFO): docs/SCHEDULING.md", core)
	case CauseThrottled:
		if core == AnyCore {
			return "Remove the limit: " + topology.ThrottlingFix
		}
		return fmt.Sprintf("Remove the limit: %s; from Linux 6.12 also the fair server: %s", topology.ThrottlingFix, topology.FairServerFix(core))
	case CauseBackpressure:
		return "Attach listeners as lossy, enlarge the buffer, or set detach-after"
	case CauseCollection:
		return "Allocate less, or collect less often (GOGC)"
	case CauseBlocked:
		return "Raise GOMAXPROCS above the number of cores and pollers: docs/SCHEDULING.md"
	}
	return "Check interrupts (/proc/interrupts), firmware, and other load of the host: docs/SCHEDULING.md"
}

// WarnFIFO logs settings that keep pollers with SCHED_FIFO from polling.
func WarnFIFO(l *slog.Logger, fifo int, choices []topology.Choice, rt topology.RealTime) {
	if fifo == 0 {
		return
	}
	if stop := rt.StopTime(); stop > 0 {
		l.Warn(fmt.Sprintf("real-time throttling stops SCHED_FIFO pollers for %v in each %v. Remove the limit: %s", stop, rt.Period, topology.ThrottlingFix))
	}
	for q, c := range choices {
		if c.Core == AnyCore {
			l.Warn("the SCHED_FIFO poller is not pinned to a core and blocks other threads on any core. Pin it (cores)", "queue", q)
		}
	}
}
