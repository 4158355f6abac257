package topology

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// RealTime is the kernel's limit of threads with a real-time policy (SCHED_FIFO),
// and this process's permission to use such a policy.
type RealTime struct {
	Known   bool          // Runtime and Period could be read
	Runtime time.Duration // that such threads may run per Period; negative or >= Period: no limit
	Period  time.Duration

	// FairServer is set if the kernel has a fair server (Linux 6.12 and later). It
	// reserves 50 ms of each second for other threads that wait for the core.
	FairServer bool

	Priority   int  // highest that this process may set; 0: none
	Capability bool // the process has CAP_SYS_NICE
}

// ReadRealTime reads the limit from the files below root.
func ReadRealTime(root string) RealTime {
	var r RealTime
	runtime, errR := strconv.ParseInt(text(root, "proc/sys/kernel/sched_rt_runtime_us"), 10, 64)
	period, errP := strconv.ParseInt(text(root, "proc/sys/kernel/sched_rt_period_us"), 10, 64)
	if errR == nil && errP == nil {
		r.Known = true
		r.Runtime = time.Duration(runtime) * time.Microsecond
		r.Period = time.Duration(period) * time.Microsecond
	}
	var major, minor int
	_, _ = fmt.Sscanf(text(root, "proc/sys/kernel/osrelease"), "%d.%d", &major, &minor)
	r.FairServer = major > 6 || major == 6 && minor >= 12
	for line := range strings.Lines(text(root, "proc/self/limits")) {
		if rest, ok := strings.CutPrefix(line, "Max realtime priority"); ok && len(strings.Fields(rest)) > 0 {
			limit := strings.Fields(rest)[0]
			if r.Priority, _ = strconv.Atoi(limit); limit == "unlimited" {
				r.Priority = 99
			}
		}
	}
	for line := range strings.Lines(text(root, "proc/self/status")) {
		if caps, ok := strings.CutPrefix(line, "CapEff:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(caps), 16, 64)
			r.Capability = err == nil && bits>>unix.CAP_SYS_NICE&1 != 0
		}
	}
	if r.Capability {
		r.Priority = 99
	}
	r.Priority = min(r.Priority, 99)
	return r
}

// StopTime returns how long a real-time thread that never sleeps is stopped per Period.
func (r RealTime) StopTime() time.Duration {
	if !r.Known || r.Runtime < 0 {
		return 0
	}
	return max(r.Period-r.Runtime, 0)
}

// ThrottlingFix is the command that removes the limit.
const ThrottlingFix = "echo -1 | sudo tee /proc/sys/kernel/sched_rt_runtime_us"

// FairServerFix returns the command that disables the fair server of a core. A real-time
// thread that never sleeps then occupies the core entirely.
func FairServerFix(core int) string {
	return fmt.Sprintf("echo 0 | sudo tee /sys/kernel/debug/sched/fair_server/cpu%d/runtime", core)
}
