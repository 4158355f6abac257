package pci

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/hugepage"
)

// pcie: whether the slot carries 10 Gb/s of small frames with their descriptors.
// Ok is false when the kernel does not say.
func (e examiner) pcie(p PortReport) (c Check, ok bool) {
	dir := filepath.Join("sys/bus/pci/devices", p.Address.String())
	var rate float64
	var width int
	if _, err := fmt.Sscanf(e.text(dir, "current_link_speed"), "%g GT/s", &rate); err != nil {
		return c, false
	}
	if _, err := fmt.Sscan(e.text(dir, "current_link_width"), &width); err != nil || width == 0 {
		return c, false
	}
	const encoding = 0.8 // 8b/10b, at the 2.5 and 5 GT/s that an 82599 has
	gigabits := rate * float64(width) * encoding
	c = Check{Name: "slot", State: OK, Found: fmt.Sprintf("PCI Express %g GT/s x%d, %g Gb/s", rate, width, gigabits)}
	if gigabits < 16 {
		c.State = Warning
		c.Why = "a port at line rate with small frames needs more than 10 Gb/s of the bus: frames would be lost (RXMPC)"
		c.Fix = "put the card into a slot of 5 GT/s with 8 lanes (x8)"
	}
	return c, true
}

// hugePages looks at the port's node, or the whole machine where nodes are not known.
func (e examiner) hugePages(n Needs, p *PortReport, node int) (c Check, gigantic bool) {
	c = Check{Name: "huge pages", State: OK}
	where, at := "on this machine", ""
	if node >= 0 {
		where, at = fmt.Sprintf("on NUMA node %d", node), fmt.Sprintf("@%d", node)
	}
	small, err := hugepage.ReadState(e.path("sys"), hugepage.Size2M, node)
	if err != nil {
		c.State, c.Found = Unknown, err.Error()
		return c, false
	}
	large, err := hugepage.ReadState(e.path("sys"), hugepage.Size1G, node)
	if err != nil {
		large = hugepage.State{} // a processor without them
	}
	c.Found = fmt.Sprintf("%d of 2 MiB free %s, a capture takes %d", small.Available(), where, n.Pages2M)
	if small.Available() >= n.Pages2M {
		return c, false
	}
	if large.Available() >= n.Pages1G && small.Available() >= n.Small2M {
		c.Found = fmt.Sprintf("%d of 1 GiB and %d of 2 MiB free %s, a capture takes %d and %d",
			large.Available(), small.Available(), where, n.Pages1G, n.Small2M)
		return c, true
	}
	c.State = Failed
	c.Why = "rings, packet buffers and streams lie in huge pages of the port's own node"
	pages := small.Total + n.Pages2M - small.Available()
	if p == nil {
		c.Fix = fmt.Sprintf("echo %d | sudo tee %s", pages, hugepage.PoolFile("/sys", hugepage.Size2M, node))
	} else {
		c.Fix = fmt.Sprintf("sudo examples/vfio-bind bind %s -u $USER --hugepages %d%s", p.Address, pages, at)
	}
	return c, false
}

// memlock: memory that a device reaches is pinned, and pinned memory counts
// against the user's limit unless the process may lock what it likes.
func (e examiner) memlock(n Needs, gigantic bool) Check {
	c := Check{Name: "memlock", State: OK}
	need := n.Lock2M
	if gigantic {
		need = n.Lock1G
	}
	if caps := e.status("CapEff"); len(caps) == 1 {
		if bits, err := strconv.ParseUint(caps[0], 16, 64); err == nil && bits>>unix.CAP_IPC_LOCK&1 != 0 {
			c.Found = "no limit for " + e.user()
			return c
		}
	}
	limit := ""
	for line := range strings.Lines(e.text("proc/self/limits")) {
		if rest, ok := strings.CutPrefix(line, "Max locked memory"); ok && len(strings.Fields(rest)) > 0 {
			limit = strings.Fields(rest)[0]
		}
	}
	bytes, err := strconv.ParseInt(limit, 10, 64)
	switch {
	case limit == "unlimited":
		c.Found = "no limit"
	case err != nil:
		c.State, c.Found = Unknown, "the limit cannot be read"
	default:
		c.Found = fmt.Sprintf("%s may lock %s, a capture pins %s", e.user(), mebi(bytes), mebi(need))
		if bytes < need {
			c.State = Failed
			c.Why = "the kernel pins the memory that the port writes to, and counts it as locked"
			c.Fix = "sudo prlimit --pid $$ --memlock=unlimited    # for this shell\n" +
				`echo "$USER - memlock unlimited" | sudo tee /etc/security/limits.d/ixcap.conf    # for logins to come`
		}
	}
	return c
}

func mebi(bytes int64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return strconv.FormatFloat(float64(bytes)/(1<<20), 'f', -1, 64) + " MiB"
}

// cores: whether the kernel keeps cores of the port's node free of other work.
func (e examiner) cores(n Needs, node int) (c Check, free []int) {
	c = Check{Name: "isolated cores", State: OK}
	own, where := e.nodeCores(node)
	isolated := coreList(e.text("sys/devices/system/cpu/isolated"))
	tickless := coreList(e.text("sys/devices/system/cpu/nohz_full"))
	var elsewhere []int
	for _, core := range isolated {
		if slices.Contains(own, core) {
			free = append(free, core)
		} else {
			elsewhere = append(elsewhere, core)
		}
	}
	if len(free) >= n.Cores {
		c.Found = fmt.Sprintf("%s %s", ranges(free), where)
		if missing := without(free, tickless); len(missing) > 0 {
			c.State = Warning
			c.Found += fmt.Sprintf(", but %s with the timer tick (nohz_full)", ranges(missing))
			c.Why = "the tick interrupts a polling core up to a thousand times a second"
			c.Fix = fmt.Sprintf("boot the kernel with: nohz_full=%[1]s rcu_nocbs=%[1]s", ranges(free))
		}
		return c, free
	}
	c.State = Warning
	c.Why = "other work on a polling core makes gaps, and the ring of 4096 descriptors holds 275 us of smallest frames"
	c.Found = "none " + where
	if len(free) > 0 {
		c.Found = fmt.Sprintf("only %s %s, a capture polls on %d", ranges(free), where, n.Cores)
	}
	if len(elsewhere) > 0 {
		c.Found += fmt.Sprintf("; %s on other nodes, across the processors' link", ranges(elsewhere))
	}
	const spare = 2 // for the rest of the machine
	if len(own) < n.Cores+spare {
		c.Fix = fmt.Sprintf("with %d cores %s there is none to keep free: a larger machine", len(own), where)
		return c, free
	}
	choice := ranges(own[len(own)-n.Cores:])
	c.Fix = fmt.Sprintf("boot the kernel with: isolcpus=managed_irq,domain,%[1]s nohz_full=%[1]s rcu_nocbs=%[1]s", choice)
	return c, free
}

// nodeCores are the cores of a node, or of the machine.
func (e examiner) nodeCores(node int) (cores []int, where string) {
	if node >= 0 {
		if cores = coreList(e.text(fmt.Sprintf("sys/devices/system/node/node%d/cpulist", node))); len(cores) > 0 {
			return cores, fmt.Sprintf("on NUMA node %d", node)
		}
	}
	return coreList(e.text("sys/devices/system/cpu/online")), "on this machine"
}

// coreList reads the kernel's form of a list, such as 0-3,8; nothing if it is none.
func coreList(text string) (cores []int) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil {
			return nil
		}
		for ; a <= b; a++ {
			cores = append(cores, int(a))
		}
	}
	return cores
}

// ranges is the kernel's form of a list in ascending order.
func ranges(cores []int) string {
	var parts []string
	for i := 0; i < len(cores); {
		j := i
		for j+1 < len(cores) && cores[j+1] == cores[j]+1 {
			j++
		}
		part := strconv.Itoa(cores[i])
		if j > i {
			part += "-" + strconv.Itoa(cores[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}

func without(list, remove []int) (rest []int) {
	for _, n := range list {
		if !slices.Contains(remove, n) {
			rest = append(rest, n)
		}
	}
	return rest
}

// tsc: the counter that frames are stamped with.
func (e examiner) tsc() Check {
	c := Check{Name: "TSC", State: OK}
	source := e.text("sys/devices/system/clocksource/clocksource0/current_clocksource")
	var flags []string
	for line := range strings.Lines(e.text("proc/cpuinfo")) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "flags" {
			flags = strings.Fields(value)
			break
		}
	}
	switch {
	case flags == nil:
		c.Found = "not an x86 processor; the kernel's clock is " + source
	case !slices.Contains(flags, "constant_tsc") || !slices.Contains(flags, "nonstop_tsc"):
		c.State = Warning
		c.Found = "not invariant; the kernel's clock is " + source
		c.Why = "frames are stamped by the kernel's clock then, which takes longer per frame than the TSC"
		c.Fix = "a processor with constant_tsc and nonstop_tsc; for QEMU: -cpu host,+invtsc"
	case source != "tsc":
		c.State = Warning
		c.Found = "invariant, but the kernel's clock is " + source
		c.Why = "the kernel did not trust the TSC: stamps follow a clock that steps, and reading it is slow"
		c.Fix = "sudo dmesg | grep -i -e tsc -e clocksource    # tells why"
	default:
		c.Found = "invariant, and the kernel's clock"
	}
	return c
}

// governor: a core whose frequency follows its load starts each burst slowly.
func (e examiner) governor(node int) Check {
	c := Check{Name: "governor", State: OK}
	cores, where := e.nodeCores(node)
	var slow []int
	found := map[string]bool{}
	for _, core := range cores {
		g := e.text(fmt.Sprintf("sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", core))
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
		c.Found = fmt.Sprintf("%s on cores %s", strings.Join(names, ", "), ranges(slow))
		c.Why = "a core that was slowed down needs milliseconds to get fast again, longer than the ring holds"
		c.Fix = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
	}
	return c
}

// tryOpen opens a device node as a capture would, and closes it again.
func tryOpen(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	return unix.Close(fd)
}
