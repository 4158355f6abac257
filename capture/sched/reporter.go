package sched

import (
	"cmp"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ixcap/ixcap/capture/sched/topology"
	"github.com/ixcap/ixcap/capture/units"
)

// repeatEvery is how often warnings of one cause are logged.
const repeatEvery = time.Minute

// Queue is one queue's part of a report.
type Queue struct {
	Monitor *Monitor
	Load    Load
	Holder  Listener // the lossless listener that held the poller back for longest since the last report; the zero value for none
}

// Load is what a poller has done since it began.
type Load struct {
	Frames       uint64        // polled
	Busy         time.Duration // polls returned full batches, one after the other, for longer than a full buffer takes
	Backpressure time.Duration // the stream accepted no frame
}

// Reporter judges what the frames that a port missed were lost to, adds them up by cause,
// and logs losses and excessive gaps: the first of each cause on each queue, then once a
// minute their number. One goroutine at a time uses it; any may call Losses and
// Continued.
type Reporter struct {
	logger  *slog.Logger
	pending map[kind]*pending
	demoted map[int]bool  // by queue: logged
	gc      debug.GCStats // of this program
	losses  lossLog

	machine func() machineState // replaced in tests
	earlier machineState        // two reports ago
	before  machineState        // at the last report
	at      time.Time           // of the last report
	queues  []queueState
	missed  uint64 // by the port, in the last report
	unclear uint64 // of these, without a cause so far

	mu        sync.Mutex // guards continued
	continued []time.Time
}

// queueState is a queue at the last report.
type queueState struct {
	load   Load
	waited time.Duration
	holder uint64 // Listener.ID
	disk   Disk   // of the holder
	gaps   gapTimes
}

// NewReporter returns a Reporter that logs to l.
func NewReporter(l *slog.Logger) *Reporter {
	return &Reporter{
		logger: l, pending: map[kind]*pending{}, demoted: map[int]bool{},
		machine: func() machineState { return readMachine("/") },
	}
}

// kind is what one warning is about.
type kind struct {
	queue int
	cause Cause
}

// pending is what has not been logged yet of a kind.
type pending struct {
	gaps    int
	longest Gap
	missed  uint64 // frames
	worst   Loss   // the interval with most of them
	logged  time.Time
}

// Begin begins the first interval, when the port begins to receive.
func (r *Reporter) Begin(now time.Time) {
	r.at, r.before = now, r.machine()
	r.earlier = r.before
}

// Continued reports that the process got SIGCONT: it may have been stopped until then.
func (r *Reporter) Continued(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	const most = 16
	if len(r.continued) == most {
		r.continued = slices.Delete(r.continued, 0, 1)
	}
	r.continued = append(r.continued, at)
}

// Report takes what happened since the last report. missed is the number of frames that
// the port has missed so far. final: the capture has ended, and pending warnings are
// logged.
func (r *Reporter) Report(queues []Queue, missed uint64, now time.Time, final bool) {
	i, gaps := r.observe(queues, now)
	lost := missed - r.missed
	r.missed = missed
	i.Missed = lost + r.unclear
	var judged *Loss
	if i.Missed > 0 {
		queue, cause, evidence := i.judge()
		if cause == CauseUnknown && r.unclear == 0 && !final {
			r.unclear = lost // a gap that is not over explains them with the next report
		} else {
			judged = &Loss{Frames: i.Missed, Cause: cause, End: now, Over: i.Over, Queue: queue, Evidence: evidence}
			r.losses.add(*judged)
			r.unclear = 0
		}
	}
	r.count(gaps, judged)
	r.log(queues, now, final)
}

// observe reads what the pollers did since the last report, and takes their gaps.
func (r *Reporter) observe(queues []Queue, now time.Time) (i interval, gaps [][]Gap) {
	debug.ReadGCStats(&r.gc)
	state := r.machine()
	i.Over = now.Sub(r.at)
	i.Throttled, i.Stolen, i.Suspended = state.since(&r.before)
	c := circumstances{gc: &r.gc, began: r.before.at, throttled: i.Throttled, stolen: i.Stolen, suspended: i.Suspended}
	c.across, _, _ = state.since(&r.earlier)
	r.at, r.earlier, r.before = now, r.before, state
	for len(r.queues) < len(queues) {
		r.queues = append(r.queues, queueState{})
	}
	r.mu.Lock()
	c.continued = slices.Clone(r.continued)
	r.mu.Unlock()
	for n := range queues {
		q, before := &queues[n], r.queues[n]
		after := queueState{load: q.Load, waited: q.Monitor.Waited()}
		qi := queueInterval{
			Frames: q.Load.Frames - before.load.Frames, Busy: q.Load.Busy - before.load.Busy, Waited: after.waited - before.waited,
			Backpressure: q.Load.Backpressure - before.load.Backpressure, Listener: q.Holder,
		}
		if d := q.Holder.Disk; d != nil {
			after.disk, after.holder = *d, q.Holder.ID
			if after.holder == before.holder { // else the writes of the interval are not known
				qi.Writes = Disk{Writes: d.Writes - before.disk.Writes, Time: d.Time - before.disk.Time}
			}
		}
		c.holder, c.disk = q.Holder, qi.disk()
		refined := map[Cause]Cause{} // what the poller judged: what it is
		taken, times := q.Monitor.log.take(func(g *Gap) {
			judged := g.Cause
			g.explain(&c)
			refined[judged] = g.Cause
			if g.Excessive && g.Periods > i.Throttled.Periods { // the throttling of a gap that began before this interval
				i.Throttled = g.Throttling
			}
		})
		after.gaps = times
		lost := times.since(&before.gaps)
		qi.addGaps(taken, &lost, refined)
		r.queues[n] = after
		gaps = append(gaps, taken)
		i.Queues = append(i.Queues, qi)
	}
	return i, gaps
}

// addGaps adds the time of gaps by cause. Those that were not kept have the causes of
// those that were.
func (q *queueInterval) addGaps(kept []Gap, lost *gapTimes, refined map[Cause]Cause) {
	q.Absent, q.Gaps = lost.absent, map[Cause]time.Duration{}
	for i := range kept {
		q.Longest = max(q.Longest, kept[i].Length)
	}
	for i, length := range lost.excessive {
		if length > 0 {
			q.Gaps[cmp.Or(refined[causes[i]], causes[i])] += length
		}
	}
}

// count adds a loss, and gaps, to what is to be logged. In an interval with a loss, gaps
// of other causes are not: they would look like the reason. The ledger has them.
func (r *Reporter) count(gaps [][]Gap, judged *Loss) {
	if judged != nil {
		p := r.of(kind{judged.Queue, judged.Cause})
		p.missed += judged.Frames
		if judged.Frames > p.worst.Frames {
			p.worst = *judged
		}
	}
	for queue, all := range gaps {
		for _, g := range all {
			if judged != nil && (judged.Cause != g.Cause || judged.Queue != queue) {
				continue
			}
			p := r.of(kind{queue, g.Cause})
			p.gaps++
			if g.Length > p.longest.Length {
				p.longest = g
			}
		}
	}
}

func (r *Reporter) of(k kind) *pending {
	p := r.pending[k]
	if p == nil {
		p = &pending{}
		r.pending[k] = p
	}
	return p
}

// log logs what is pending, each kind once a minute.
func (r *Reporter) log(queues []Queue, now time.Time, final bool) {
	for n, q := range queues {
		for _, cause := range causes {
			p := r.pending[kind{n, cause}]
			if p == nil || p.gaps == 0 && p.missed == 0 || !final && now.Sub(p.logged) < repeatEvery {
				continue
			}
			r.logger.Warn(p.warning(q.Monitor.config.Core), "queue", n)
			*p = pending{logged: now}
		}
		if q.Monitor.Demoted() && !r.demoted[n] {
			r.demoted[n] = true
			r.logger.Warn(fmt.Sprintf("poller demoted from SCHED_FIFO: no other goroutine ran for %v. Keep a core free of real-time threads (cores), or do not use SCHED_FIFO", q.Monitor.after), "queue", n)
		}
	}
}

// warning is the text for losses and gaps of one cause: number, evidence, consequence and
// remedy.
func (p *pending) warning(core int) string {
	if p.gaps == 0 {
		p.worst.Frames = p.missed
		return p.worst.text(core)
	}
	g := &p.longest
	var b strings.Builder
	fmt.Fprintf(&b, "%s exceeded the NIC buffer (longest %v, capacity %v): %s", units.Plural(uint64(p.gaps), "poll gap"), Short(g.Length), Short(g.Capacity), g.Cause)
	evidence, limit := g.Text(), g.file
	if p.missed > 0 {
		evidence, limit = p.worst.evidence(), p.worst.file
	}
	if evidence != "" {
		fmt.Fprintf(&b, ": %s", evidence)
	}
	fmt.Fprintf(&b, "; %d frames missed, rate %.3g Mpps, mean frame %d bytes, end %s. %s",
		p.missed, float64(g.Rate)/1e6, g.FrameSize, g.End.Format("15:04:05.000000"), g.Cause.remedy(core, limit))
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

// remedy returns what prevents gaps and losses of a cause. core is the poller's, limit the
// file that sets a quota.
func (c Cause) remedy(core int, limit string) string {
	switch c {
	case CauseOverload:
		return "Use more queues (queues), fewer or simpler rules, or a smaller snaplen: docs/SCHEDULING.md"
	case CauseQuota:
		return fmt.Sprintf("Raise or remove the limit (%s, in systemd CPUQuota=)", cmp.Or(limit, "cpu.max or cpu.cfs_quota_us"))
	case CauseDisk:
		return "Add directories on other disks, enlarge the buffer, or store less (rules, snaplen)"
	case CauseStopped:
		return "Do not stop, debug or suspend a capturing process"
	case CauseStolen:
		return "Give the virtual machine cores of its own"
	case CauseUnknown:
		return "A burst shorter than the counters show: use more queues or a larger ring, and check other load of the host: docs/SCHEDULING.md"
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
