package capture

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/sched/topology"
)

// AnyCore leaves a poller's thread where the kernel puts it.
const AnyCore = topology.AnyCore

// spareCores is how many cores must be left for everything else (listeners, the
// model, the rest of the machine) before pollers are pinned unasked. With fewer
// the kernel places threads better than a fixed choice does: see docs/PERF.md.
const spareCores = 2

// spareFIFO is the same for pollers of a real-time policy. The kernel cannot make
// room for anything else on such a thread's core, so one that wanders over the
// machine is worse than one that stays.
const spareFIFO = 1

// placement gives each poller a core: those asked for, or what the machine offers
// out of the usable cores (topology.Machine.Choose).
func placement(pollers, fifo int, asked []int, node int, m topology.Machine, usable []int) []topology.Choice {
	if len(asked) > 0 {
		choices := make([]topology.Choice, len(asked))
		for i, c := range asked {
			choices[i] = topology.Choice{Core: c, Reason: "as asked for"}
		}
		return choices
	}
	spare := spareCores
	if fifo != 0 {
		spare = spareFIFO
	}
	return m.Choose(pollers, usable, node, spare)
}

// usableCores are the cores that a poller can be pinned to. Of the isolated ones,
// which are in nobody's affinity, a control group may keep this process away.
func usableCores(m topology.Machine) []int {
	affinity := allowedCores()
	return slices.DeleteFunc(slices.Clone(m.Allowed(affinity)), func(c int) bool {
		return !slices.Contains(affinity, c) && !reachable(c)
	})
}

// allowedCores are the cores that this process may run on, ascending; none when
// the kernel does not say.
func allowedCores() (cores []int) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	for c := range len(set) * strconv.IntSize {
		if set.IsSet(c) {
			cores = append(cores, c)
		}
	}
	return cores
}

// pin keeps the calling thread on one core.
func pin(core int) error {
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin poller to core %d: %w", core, err)
	}
	return nil
}

// reachable tells whether a thread of this process may be pinned to a core: a
// control group may keep it from cores that the machine has. The thread that has
// tried ends.
func reachable(core int) bool {
	done := make(chan bool)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- pin(core) == nil
	}()
	return <-done
}

const maxFIFO = 99 // the highest priority of SCHED_FIFO

// checkFIFO refuses what could take a machine away from everybody: a thread of a
// real-time policy that polls without a break leaves nothing of its core to
// others, whatever it does while nothing arrives, for under load something does.
func checkFIFO(priority int, choices []topology.Choice, usable []int) error {
	switch {
	case priority == 0:
		return nil
	case priority < 0 || priority > maxFIFO:
		return fmt.Errorf("SCHED_FIFO priority %d: choose 1 to %d, or 0 for the ordinary policy", priority, maxFIFO)
	}
	var taken []int
	floating := 0
	for _, c := range choices {
		if c.Core == AnyCore {
			floating++
		} else if slices.Contains(taken, c.Core) {
			return fmt.Errorf("SCHED_FIFO for two pollers on core %d: only one of them would ever run; give each a core of its own", c.Core)
		} else {
			taken = append(taken, c.Core)
		}
	}
	rest := slices.DeleteFunc(slices.Clone(usable), func(c int) bool { return slices.Contains(taken, c) })
	if len(rest) <= floating {
		return fmt.Errorf("SCHED_FIFO for %d pollers on the %d cores that this process may use: none would be left for listeners and everything else; use fewer queues, or no SCHED_FIFO", len(choices), len(usable))
	}
	return nil
}

// setFIFO gives the calling thread a real-time policy, which no thread that it
// starts gets with it.
func setFIFO(priority int) error {
	err := unix.SchedSetAttr(0, &unix.SchedAttr{
		Policy: unix.SCHED_FIFO, Priority: uint32(priority), Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("SCHED_FIFO priority %d for a poller: %w: allow it to the program (sudo setcap cap_sys_nice+ep PROGRAM) or to its user (ulimit -r %[1]d, in systemd LimitRTPRIO=%[1]d)", priority, err)
	case err != nil:
		return fmt.Errorf("SCHED_FIFO priority %d for a poller: %w", priority, err)
	}
	return nil
}
