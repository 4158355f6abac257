package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/sched/topology"
)

// spare is how many cores must be left for the rest of the machine before one is
// kept free, or taken by a poller unasked (package capture does the same).
const spare = 2

// holds is how long the port holds frames, for reasons.
func (e examiner) holds() time.Duration { return e.spec.Family.Holds.Round(time.Microsecond) }

// nodeCores are the cores of a node, or of the machine.
func (e examiner) nodeCores(m topology.Machine, node int) (cores []int, where string) {
	if cores = m.Node(node); len(cores) > 0 {
		return cores, fmt.Sprintf("on NUMA node %d", node)
	}
	return m.Online, "on this machine"
}

// cores: whether the kernel keeps cores of the port's node free of other work.
func (e examiner) cores(m topology.Machine, node int) (c Check, free []int) {
	n := e.spec.Needs
	c = Check{Name: "isolated cores", State: OK}
	own, where := e.nodeCores(m, node)
	var elsewhere []int
	for _, core := range m.Isolated {
		if slices.Contains(own, core) {
			free = append(free, core)
		} else {
			elsewhere = append(elsewhere, core)
		}
	}
	if len(free) >= n.Cores {
		c.Found = fmt.Sprintf("%s %s", topology.FormatList(free), where)
		if missing := without(free, m.Tickless); len(missing) > 0 {
			c.State = Warning
			c.Found += fmt.Sprintf(", but %s with the timer tick (nohz_full)", topology.FormatList(missing))
			c.Why = "the tick interrupts a polling core up to a thousand times a second"
			c.Fix = fmt.Sprintf("boot the kernel with: nohz_full=%[1]s rcu_nocbs=%[1]s", topology.FormatList(free))
		}
		return c, free
	}
	c.State = Warning
	c.Why = fmt.Sprintf("other work on a polling core causes poll gaps, and the port holds %v of minimum-size frames", e.holds())
	c.Found = "none " + where
	if len(free) > 0 {
		c.Found = fmt.Sprintf("only %s %s, a capture polls on %d", topology.FormatList(free), where, n.Cores)
	}
	if len(elsewhere) > 0 {
		c.Found += fmt.Sprintf("; %s on other nodes, across the processors' link", topology.FormatList(elsewhere))
	}
	if len(own) < n.Cores+spare {
		c.Fix = fmt.Sprintf("with %d cores %s there is none to keep free: a larger machine", len(own), where)
		return c, free
	}
	choice := topology.FormatList(own[len(own)-n.Cores:])
	c.Fix = fmt.Sprintf("boot the kernel with: isolcpus=managed_irq,domain,%[1]s nohz_full=%[1]s rcu_nocbs=%[1]s", choice)
	return c, free
}

// pollers: where a capture's pollers would run, and why there. That it is not an
// isolated core is another check's business; two on one core's hyperthreads is
// this one's.
func (e examiner) pollers(m topology.Machine, node int) Check {
	c := Check{Name: "poller cores", State: OK}
	own, where := e.nodeCores(m, node)
	all := "cores " + topology.FormatList(own) + " " + where
	var words []string
	for _, choice := range m.Choose(e.spec.Needs.Cores, m.Online, node, spare) {
		if choice.Core == topology.AnyCore {
			c.Found = fmt.Sprintf("%s; pollers are not pinned: %s", all, choice.Reason)
			return c
		}
		words = append(words, fmt.Sprintf("%d (%s)", choice.Core, choice.Reason))
	}
	c.Found = fmt.Sprintf("%s of %s", strings.Join(words, ", "), all)
	return c
}

// realTime: whether a capture may use SCHED_FIFO. It need not where cores are
// isolated, for there is nothing on them to come before.
func (e examiner) realTime(r topology.RealTime, isolated bool) Check {
	c := Check{Name: "SCHED_FIFO", State: OK}
	switch {
	case r.Capability:
		c.Found = fmt.Sprintf("%s may use it (CAP_SYS_NICE)", e.user())
	case r.Priority > 0:
		c.Found = fmt.Sprintf("%s may use it, up to priority %d", e.user(), r.Priority)
	case isolated:
		c.Found = fmt.Sprintf("%s may not use it, and need not on isolated cores", e.user())
	default:
		c.State = Warning
		c.Found = fmt.Sprintf("%s may not use it", e.user())
		c.Why = "on a core that is not isolated only a real-time policy puts the poller before other work"
		c.Fix = "sudo setcap cap_sys_nice+ep PROGRAM    # for one program\n" +
			`echo "$USER - rtprio 50" | sudo tee /etc/security/limits.d/ixcap-rt.conf    # for logins to come; in systemd LimitRTPRIO=50`
	}
	return c
}

// throttling: the kernel stops real-time threads that never pause, unless told
// otherwise. Without SCHED_FIFO it concerns nobody.
func (e examiner) throttling(r topology.RealTime, isolated bool) Check {
	c := Check{Name: "RT throttling", State: OK}
	stop := r.StopTime()
	switch {
	case !r.Known:
		c.State, c.Found = Unknown, "the limit cannot be read"
	case stop == 0:
		c.Found = "off"
	case r.Priority == 0:
		c.Found = "on; of no concern without SCHED_FIFO"
	case isolated:
		c.Found = "on; of no concern without SCHED_FIFO, which isolated cores do not need"
	default:
		c.State = Warning
		c.Found = fmt.Sprintf("a thread with SCHED_FIFO is stopped for %v of each %v", stop, r.Period)
		c.Why = fmt.Sprintf("a stopped poller loses frames: the port holds %v of minimum-size frames", e.holds())
		c.Fix = topology.ThrottlingFix
	}
	return c
}

// governor: a core whose frequency follows its load starts each burst slowly.
func (e examiner) governor(m topology.Machine, node int) Check {
	c := Check{Name: "governor", State: OK}
	cores, where := e.nodeCores(m, node)
	var slow []int
	found := map[string]bool{}
	for _, core := range cores {
		g := m.Governor(core)
		if g == "" {
			continue
		}
		found[g] = true
		if g != "performance" {
			slow = append(slow, core)
		}
	}
	switch {
	case len(found) == 0:
		c.Found = "the kernel does not scale frequencies here"
	case len(slow) == 0:
		c.Found = "performance on all cores " + where
	default:
		delete(found, "performance")
		var names []string
		for name := range found {
			names = append(names, name)
		}
		slices.Sort(names)
		c.State = Warning
		c.Found = fmt.Sprintf("%s on cores %s", strings.Join(names, ", "), topology.FormatList(slow))
		c.Why = fmt.Sprintf("a core needs milliseconds to raise its frequency, and the port holds %v of minimum-size frames", e.holds())
		c.Fix = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
	}
	return c
}

func without(list, remove []int) (rest []int) {
	for _, n := range list {
		if !slices.Contains(remove, n) {
			rest = append(rest, n)
		}
	}
	return rest
}
