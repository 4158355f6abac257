package sched

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/sched/topology"
)

// AnyCore stands for a thread that is not pinned to a core.
const AnyCore = topology.AnyCore

// spareCores is how many cores must remain for other threads before pollers are
// pinned by default. With fewer, the kernel places threads better than a fixed
// choice: see docs/PERF.md.
const spareCores = 2

// spareFIFO is the same for SCHED_FIFO. The kernel cannot run other threads on such
// a poller's core, so an unpinned one blocks them on changing cores.
const spareFIFO = 1

// Place gives each poller a core: the requested ones, or a choice of the usable
// ones (topology.Machine.Choose).
func Place(pollers, fifo int, requested []int, node int, m topology.Machine, usable []int) []topology.Choice {
	if len(requested) > 0 {
		choices := make([]topology.Choice, len(requested))
		for i, c := range requested {
			choices[i] = topology.Choice{Core: c, Reason: "requested"}
		}
		return choices
	}
	spare := spareCores
	if fifo != 0 {
		spare = spareFIFO
	}
	return m.Choose(pollers, usable, node, spare)
}

// UsableCores returns the cores that a poller can be pinned to. Isolated cores are
// in no default affinity, and a control group may exclude them.
func UsableCores(m topology.Machine) []int {
	affinity := allowedCores()
	return slices.DeleteFunc(slices.Clone(m.Allowed(affinity)), func(c int) bool {
		return !slices.Contains(affinity, c) && !reachable(c)
	})
}

// allowedCores returns the affinity of this process, ascending; nil if the kernel
// does not report it.
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

// pin binds the calling thread to one core.
func pin(core int) error {
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin poller to core %d: %w", core, err)
	}
	return nil
}

// reachable reports whether a thread of this process can be pinned to a core: a
// control group may exclude cores of the machine. The thread that tries it ends.
func reachable(core int) bool {
	done := make(chan bool)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- pin(core) == nil
	}()
	return <-done
}

// CheckCores returns an error for a requested core that no poller can be pinned to.
func CheckCores(requested []int, m topology.Machine) error {
	for _, c := range requested {
		switch {
		case c == AnyCore || reachable(c):
		case len(m.Online) > 0 && !slices.Contains(m.Online, c):
			return fmt.Errorf("core %d for a poller: this machine has the cores %s. Choose one of them", c, topology.FormatList(m.Online))
		default:
			return fmt.Errorf("core %d for a poller: this process may not use it. Choose one of %s, or allow it to the process's control group (cpuset, in systemd AllowedCPUs)",
				c, topology.FormatList(UsableCores(m)))
		}
	}
	return nil
}

// MaxFIFO is the highest priority of SCHED_FIFO.
const MaxFIFO = 99

// CheckFIFO rejects settings that could lock up the machine: a real-time thread
// that polls without a pause leaves nothing of its core to other threads, whatever
// it does while idle, because under load it is not idle.
func CheckFIFO(priority int, choices []topology.Choice, usable []int) error {
	switch {
	case priority == 0:
		return nil
	case priority < 0 || priority > MaxFIFO:
		return fmt.Errorf("SCHED_FIFO priority %d: out of range. Choose 1 to %d, or 0 for the ordinary policy", priority, MaxFIFO)
	}
	var taken []int
	floating := 0
	for _, c := range choices {
		if c.Core == AnyCore {
			floating++
		} else if slices.Contains(taken, c.Core) {
			return fmt.Errorf("SCHED_FIFO for two pollers on core %d: only one of them would run. Give each a core of its own", c.Core)
		} else {
			taken = append(taken, c.Core)
		}
	}
	rest := slices.DeleteFunc(slices.Clone(usable), func(c int) bool { return slices.Contains(taken, c) })
	if len(rest) <= floating {
		return fmt.Errorf("SCHED_FIFO for %d pollers on the %d cores that this process may use: none would be left for listeners and other threads. Use fewer queues, or no SCHED_FIFO", len(choices), len(usable))
	}
	return nil
}

// TryFIFO returns an error if threads of this process may not have SCHED_FIFO. The
// thread that tries it ends.
func TryFIFO(priority int) error {
	if priority == 0 {
		return nil
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- setFIFO(priority)
	}()
	return <-done
}

// setFIFO gives the calling thread SCHED_FIFO. Threads that it starts do not inherit
// the policy.
func setFIFO(priority int) error {
	err := unix.SchedSetAttr(0, &unix.SchedAttr{
		Policy: unix.SCHED_FIFO, Priority: uint32(priority), Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("SCHED_FIFO priority %d for a poller: %w. Allow it to the program (sudo setcap cap_sys_nice+ep PROGRAM) or to its user (ulimit -r %[1]d, in systemd LimitRTPRIO=%[1]d)", priority, err)
	case err != nil:
		return fmt.Errorf("SCHED_FIFO priority %d for a poller: %w", priority, err)
	}
	return nil
}
