package sched

// Cause is what a gap between two polls, or a loss, comes from.
type Cause string

// Causes of gaps and of losses.
const (
	CausePreempted    Cause = "core preempted"
	CauseThrottled    Cause = "core preempted: real-time throttling or a thread of higher priority"
	CauseWoken        Cause = "late wakeup: other threads occupied the core"
	CauseQuota        Cause = "CPU quota of a control group"
	CauseOverload     Cause = "overload"
	CauseBackpressure Cause = "backpressure of a lossless listener"
	CauseDisk         Cause = "backpressure of a slow disk"
	CausePaused       Cause = "idle pause: the poller has no core of its own"
	CauseCollection   Cause = "garbage collection of this program"
	CauseStopped      Cause = "process stopped or machine suspended"
	CauseBlocked      Cause = "thread blocked: page fault or Go scheduler"
	CauseStolen       Cause = "core taken by the hypervisor"
	CauseOutside      Cause = "interrupt, firmware or hypervisor"
	CauseUnknown      Cause = "unknown"

	// CausePending is that of frames that no report has judged yet.
	CausePending Cause = "not judged yet"
)

const numCauses = 14

// causes are all but CausePending, in the order of reports.
var causes = [numCauses]Cause{
	CauseOverload, CauseQuota, CausePreempted, CauseThrottled, CauseWoken, CauseBackpressure, CauseDisk, CausePaused,
	CauseCollection, CauseStopped, CauseBlocked, CauseStolen, CauseOutside, CauseUnknown,
}

// index is the place of a cause in causes.
func (c Cause) index() int {
	for i := range causes {
		if causes[i] == c {
			return i
		}
	}
	return numCauses - 1 // CauseUnknown
}
