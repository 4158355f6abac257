package sched

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/sched/topology"
)

// machineState is what the kernel counts for the machine and this process's control
// groups, since boot.
type machineState struct {
	quotas    []topology.Quota
	at        time.Time     // when these had been read
	stolen    time.Duration // by the hypervisor, added up over the cores
	suspended time.Duration
}

// readMachine reads the state from the files below root.
func readMachine(root string) (m machineState) {
	m.quotas = topology.ReadQuotas(root)
	m.at = time.Now()
	stat, err := os.ReadFile(filepath.Join(root, "proc/stat"))
	if err == nil {
		m.stolen = stolenTime(string(stat))
	}
	var boot, monotonic unix.Timespec // the first goes on while the machine is suspended
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &monotonic) == nil && unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) == nil {
		m.suspended = time.Duration(boot.Nano() - monotonic.Nano())
	}
	return m
}

// stolenTime is the eighth number of the first line of /proc/stat (proc(5)), in units of
// 10 ms.
func stolenTime(stat string) time.Duration {
	const steal = 8
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) <= steal || fields[0] != "cpu" {
		return 0
	}
	n, _ := strconv.ParseUint(fields[steal], 10, 48)
	return time.Duration(n) * 10 * time.Millisecond
}

// minSuspend is what the difference of two clocks must grow by: they are not read at the
// same moment.
const minSuspend = 100 * time.Millisecond

// since returns what happened between two states: of the quota that throttled longest,
// what it did; and the time stolen and suspended.
func (m *machineState) since(before *machineState) (throttled Throttling, stolen, suspended time.Duration) {
	for _, q := range m.quotas {
		// A limit that was set since the state before has throttled nothing until then.
		var b topology.Quota
		for _, old := range before.quotas {
			if old.Group == q.Group && old.File == q.File {
				b = old
			}
		}
		if t := q.Throttled - b.Throttled; t > throttled.Throttled {
			throttled = Throttling{Quota: q.String(), Throttled: t, Periods: q.Periods - min(b.Periods, q.Periods), file: q.File}
		}
	}
	if suspended = m.suspended - before.suspended; suspended < minSuspend {
		suspended = 0
	}
	return throttled, max(m.stolen-before.stolen, 0), suspended
}
