package doctor

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
func (e examiner) slot(p Port) (c Check, ok bool) {
	dir := filepath.Join("sys/bus/pci/devices", p.Address.String())
	var rate float64
	var width int
	if _, err := fmt.Sscanf(e.text(dir, "current_link_speed"), "%g GT/s", &rate); err != nil {
		return c, false
	}
	if _, err := fmt.Sscan(e.text(dir, "current_link_width"), &width); err != nil || width == 0 {
		return c, false
	}
	encoding := 0.8 // 8b/10b, at 2.5 and 5 GT/s
	if rate > 5 {
		encoding = 128. / 130
	}
	gigabits := rate * float64(width) * encoding
	c = Check{Name: "slot", State: OK, Found: fmt.Sprintf("PCI Express %g GT/s x%d, %g Gb/s", rate, width, gigabits)}
	if bus := e.spec.Family.Bus; gigabits < bus.Gbps {
		c.State, c.Why, c.Fix = Warning, bus.Why, bus.Fix
	}
	return c, true
}

// hugePages looks at the port's node, or the whole machine where nodes are not known.
func (e examiner) hugePages(p *Port, node int) (c Check, gigantic bool) {
	n := e.spec.Needs
	c = Check{Name: "huge pages", State: OK}
	where := "on this machine"
	if node >= 0 {
		where = fmt.Sprintf("on NUMA node %d", node)
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
		c.Fix = e.spec.Bind(Binding{Address: p.Address.String(), HugePages: pages, Node: node})
	}
	return c, false
}

// memlock: memory that a device reaches is pinned, and pinned memory counts
// against the user's limit unless the process may lock what it likes.
func (e examiner) memlock(gigantic bool) Check {
	n := e.spec.Needs
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

// openNode opens a device node as a capture would, and closes it again.
func openNode(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	return unix.Close(fd)
}
