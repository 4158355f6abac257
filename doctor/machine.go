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

// slot checks the bandwidth of the port's slot. ok is false if the kernel does not
// report it.
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
	c = Check{Name: "slot", State: OK, Found: fmt.Sprintf("PCIe %g GT/s x%d, %.3g Gb/s", rate, width, gigabits)}
	if bus := e.spec.Family.Bus; gigabits < bus.Gbps {
		c.State, c.Why, c.Fix = Warning, bus.Why, bus.Fix
	}
	return c, true
}

// hugePages checks the free huge pages of the port's node, or of the machine if the
// node is not known. gigantic is set if only the pages of 1 GiB suffice.
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
	c.Found = fmt.Sprintf("%d of 2 MiB free %s, %d needed", small.Available(), where, n.Pages2M)
	if small.Available() >= n.Pages2M {
		return c, false
	}
	if large.Available() >= n.Pages1G && small.Available() >= n.Small2M {
		c.Found = fmt.Sprintf("%d of 1 GiB and %d of 2 MiB free %s, %d and %d needed",
			large.Available(), small.Available(), where, n.Pages1G, n.Small2M)
		return c, true
	}
	c.State = Failed
	c.Why = "descriptor rings, packet buffers and streams are in huge pages on the port's NUMA node"
	pages := small.Total + n.Pages2M - small.Available()
	if p == nil {
		c.Fix = fmt.Sprintf("echo %d | sudo tee %s", pages, hugepage.PoolFile("/sys", hugepage.Size2M, node))
	} else {
		c.Fix = e.spec.Bind(Binding{Address: p.Address.String(), HugePages: pages, Node: node})
	}
	return c, false
}

// memlock checks the limit of locked memory. Memory mapped for DMA, and that of AF_XDP
// sockets, is pinned, and pinned memory counts as locked unless the process has
// CAP_IPC_LOCK.
func (e examiner) memlock(gigantic bool) Check {
	n := e.spec.Needs
	c := Check{Name: "memlock", State: OK}
	need := n.Lock2M
	if gigantic {
		need = n.Lock1G
	}
	if caps := e.status("CapEff"); len(caps) == 1 {
		if bits, err := strconv.ParseUint(caps[0], 16, 64); err == nil && bits>>unix.CAP_IPC_LOCK&1 != 0 {
			c.Found = "no limit for " + e.user() + " (CAP_IPC_LOCK)"
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
		c.State, c.Found = Unknown, "limit not readable"
	default:
		c.Found = fmt.Sprintf("limit %s for %s, %s needed", mebi(bytes), e.user(), mebi(need))
		if bytes < need {
			c.State = Failed
			c.Why = "the kernel pins the memory that frames are received into, and counts it as locked"
			c.Fix = "sudo prlimit --pid $$ --memlock=unlimited    # this shell\n" +
				`echo "$USER - memlock unlimited" | sudo tee /etc/security/limits.d/ixcap.conf    # new logins`
		}
	}
	return c
}

// mebi formats bytes in MiB or KiB.
func mebi(bytes int64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return strconv.FormatFloat(float64(bytes)/(1<<20), 'f', -1, 64) + " MiB"
}

// tsc checks that the TSC, the clock of timestamps, is usable.
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
		c.Found = "none, not an x86 processor; clock source " + source
	case !slices.Contains(flags, "constant_tsc") || !slices.Contains(flags, "nonstop_tsc"):
		c.State = Warning
		c.Found = "not invariant; clock source " + source
		c.Why = "timestamps come from the kernel's clock, which is slower to read than the TSC"
		c.Fix = "use a processor with constant_tsc and nonstop_tsc; with QEMU: -cpu host,+invtsc"
	case source != "tsc":
		c.State = Warning
		c.Found = "invariant, but clock source " + source
		c.Why = "the kernel rejected the TSC: its clock is slow to read, and timestamps may step"
		c.Fix = "sudo dmesg | grep -i -e tsc -e clocksource    # shows the reason"
	default:
		c.Found = "invariant; clock source tsc"
	}
	return c
}

// openNode opens a device node for reading and writing, and closes it.
func openNode(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	return unix.Close(fd)
}
