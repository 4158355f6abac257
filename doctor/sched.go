package doctor

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/sched/topology"
)

// spare is how many cores other work needs before a core is isolated or selected for
// a poller by default, as in package capture.
const spare = 2

// holds returns how long the port holds minimum-size frames, in whole microseconds.
func (e examiner) holds() time.Duration { return e.spec.Family.Holds.Round(time.Microsecond) }

// nodeCores returns the cores of a node, or of the machine if the node is not known.
func (e examiner) nodeCores(m topology.Machine, node int) (cores []int, where string) {
	if cores = m.Node(node); len(cores) > 0 {
		return cores, fmt.Sprintf("on NUMA node %d", node)
	}
	return m.Online, "on this machine"
}

// cores checks that enough cores of the port's node are isolated, and returns them.
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
			c.Found += fmt.Sprintf(", %s with timer tick", topology.FormatList(missing))
			c.Why = "the tick interrupts a polling core up to 1000 times per second"
			c.Fix = fmt.Sprintf("boot the kernel with: nohz_full=%[1]s rcu_nocbs=%[1]s", topology.FormatList(free))
		}
		return c, free
	}
	c.State = Warning
	c.Why = fmt.Sprintf("other work on a polling core causes poll gaps, and the port holds %v of minimum-size frames", e.holds())
	c.Found = "none " + where
	if len(free) > 0 {
		c.Found = fmt.Sprintf("only %s %s, %d needed", topology.FormatList(free), where, n.Cores)
	}
	if len(elsewhere) > 0 {
		c.Found += fmt.Sprintf("; %s on other nodes", topology.FormatList(elsewhere))
	}
	if len(own) < n.Cores+spare {
		c.Fix = fmt.Sprintf("use a machine with more cores: %d %s are too few to isolate %d", len(own), where, n.Cores)
		return c, free
	}
	choice := topology.FormatList(own[len(own)-n.Cores:])
	c.Fix = fmt.Sprintf("boot the kernel with: isolcpus=managed_irq,domain,%[1]s nohz_full=%[1]s rcu_nocbs=%[1]s", choice)
	return c, free
}

// pollers reports the cores on which a capture would run its pollers, and why. It is
// never a warning: the check of isolated cores is.
func (e examiner) pollers(m topology.Machine, node int) Check {
	c := Check{Name: "poller cores", State: OK}
	own, where := e.nodeCores(m, node)
	all := "cores " + topology.FormatList(own)
	var words []string
	for _, choice := range m.Choose(e.spec.Needs.Cores, m.Online, node, spare) {
		if choice.Core == topology.AnyCore {
			c.Found = fmt.Sprintf("not pinned, %s %s: %s", all, where, choice.Reason)
			return c
		}
		words = append(words, fmt.Sprintf("%d (%s)", choice.Core, choice.Reason))
	}
	c.Found = fmt.Sprintf("%s of %s", strings.Join(words, ", "), all)
	return c
}

// realTime checks the permission to use SCHED_FIFO, which isolated cores do not need.
func (e examiner) realTime(r topology.RealTime, isolated bool) Check {
	c := Check{Name: "SCHED_FIFO", State: OK}
	switch {
	case r.Capability:
		c.Found = fmt.Sprintf("permitted for %s (CAP_SYS_NICE)", e.user())
	case r.Priority > 0:
		c.Found = fmt.Sprintf("permitted for %s up to priority %d", e.user(), r.Priority)
	case isolated:
		c.Found = fmt.Sprintf("not permitted for %s, not needed on isolated cores", e.user())
	default:
		c.State = Warning
		c.Found = fmt.Sprintf("not permitted for %s", e.user())
		c.Why = "on a core that is not isolated only a real-time policy gives the poller priority over other threads"
		c.Fix = "sudo setcap cap_sys_nice+ep PROGRAM    # one program; setcap replaces its other capabilities\n" +
			`echo "$USER - rtprio 50" | sudo tee /etc/security/limits.d/ixcap-rt.conf    # new logins; systemd: LimitRTPRIO=50`
	}
	return c
}

// throttling checks that the kernel does not stop real-time threads. It has no effect
// on pollers without SCHED_FIFO.
func (e examiner) throttling(r topology.RealTime, isolated bool) Check {
	c := Check{Name: "RT throttling", State: OK}
	stop := r.StopTime()
	switch {
	case !r.Known:
		c.State, c.Found = Unknown, "limit not readable"
	case stop == 0:
		c.Found = "off"
	case r.Priority == 0:
		c.Found = "on, no effect without SCHED_FIFO"
	case isolated:
		c.Found = "on, no effect on isolated cores without SCHED_FIFO"
	default:
		c.State = Warning
		c.Found = fmt.Sprintf("SCHED_FIFO threads stopped for %v per %v", stop, r.Period)
		c.Why = fmt.Sprintf("a stopped poller loses frames: the port holds %v of minimum-size frames", e.holds())
		c.Fix = topology.ThrottlingFix
	}
	return c
}

// quota checks that no control group limits the CPU time of this shell or of the
// service: at the limit, the kernel stops all its threads, ordinary pollers too.
func (e examiner) quota() Check {
	c := Check{Name: "CPU quota", State: OK, Found: "none"}
	all := topology.ReadQuotas(e.root)
	if e.spec.Service != "" {
		for _, q := range topology.ReadServiceQuotas(e.root, e.spec.Service) {
			if !slices.ContainsFunc(all, func(o topology.Quota) bool { return o.Group == q.Group && o.File == q.File }) {
				all = append(all, q)
			}
		}
	}
	if len(all) == 0 {
		return c
	}
	var found, fixes []string
	for _, q := range all {
		text := q.String()
		if q.Periods > 0 {
			text += fmt.Sprintf(", throttled in %d periods for %v", q.Periods, q.Throttled.Round(time.Millisecond))
		}
		found = append(found, text)
		unit := path.Base(q.Group)
		if strings.Contains(unit, ".") {
			fixes = append(fixes, "sudo systemctl set-property "+unit+" CPUQuota=")
		} else {
			fixes = append(fixes, "remove the limit of "+q.Group+" (of a container: docker run --cpus)")
		}
	}
	c.State, c.Found, c.Fix = Warning, strings.Join(found, "; "), strings.Join(fixes, "\n")
	c.Why = fmt.Sprintf("the kernel stops the pollers until the period ends, and the port holds %v of minimum-size frames", e.holds())
	return c
}

// governor checks that the cores run at full frequency.
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
		c.Found = "none, no frequency scaling"
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
