package topology

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// RealTime is how the kernel keeps threads of a real-time policy (SCHED_FIFO)
// from taking a core for good, and whether this process may use them.
type RealTime struct {
	Known   bool          // the kernel says what follows
	Runtime time.Duration // that such threads may run
	Period  time.Duration // in each of these; Runtime >= Period, or negative: without end

	// Fair: the kernel has a fair server (Linux 6.12 and later), which gives the
	// threads that wait for such a thread's core 50 ms of each second besides.
	Fair bool

	Priority   int  // highest that this process may ask for; 0: none
	Capability bool // it has CAP_SYS_NICE
}

// ReadRealTime reads it from the files below root.
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
	r.Fair = major > 6 || major == 6 && minor >= 12
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

// Stopped is how long a real-time thread that never pauses is stopped in each
// Period.
func (r RealTime) Stopped() time.Duration {
	if !r.Known || r.Runtime < 0 {
		return 0
	}
	return max(r.Period-r.Runtime, 0)
}

// Mend is the command that ends that.
const Mend = "echo -1 | sudo tee /proc/sys/kernel/sched_rt_runtime_us"

// MendFair is the command that takes the fair server from a core. A thread that
// never pauses then has it for good, so it must be one that nothing else needs.
func MendFair(core int) string {
	return fmt.Sprintf("echo 0 | sudo tee /sys/kernel/debug/sched/fair_server/cpu%d/runtime", core)
}
