package capture

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// spareCores is how many cores must be left for everything else (listeners, the
// model, the rest of the machine) before pollers are pinned unasked. With fewer
// the kernel places threads better than a fixed choice does: see docs/PERF.md.
const spareCores = 2

// pollerCores are the cores of that many pollers: the last ones that this process
// may use and, where that is known, that belong to the port's NUMA node, for the
// first cores of a machine are where interrupts and other programs are. Without
// cores to spare it is AnyCore for all.
func pollerCores(pollers int, allowed, onNode []int) []int {
	cores := make([]int, pollers)
	for i := range cores {
		cores[i] = AnyCore
	}
	candidates := allowed
	if len(onNode) > 0 {
		candidates = nil
		for _, c := range allowed {
			for _, n := range onNode {
				if c == n {
					candidates = append(candidates, c)
				}
			}
		}
	}
	if len(candidates) < pollers || len(allowed) < pollers+spareCores {
		return cores
	}
	copy(cores, candidates[len(candidates)-pollers:])
	return cores
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

// nodeCores are the cores of a NUMA node, none when it is not known.
func nodeCores(node int) []int {
	if node < 0 {
		return nil
	}
	list, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/node/node%d/cpulist", node))
	if err != nil {
		return nil
	}
	cores, err := parseCores(strings.TrimSpace(string(list)))
	if err != nil {
		return nil
	}
	return cores
}

// parseCores reads the kernel's form of a list of cores, such as 0-3,8.
func parseCores(list string) (cores []int, err error) {
	for part := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		a, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("list of cores %q: %w", list, err)
		}
		b, err := strconv.ParseUint(last, 10, 16)
		if err != nil || b < a {
			return nil, fmt.Errorf("list of cores %q: %q is no range", list, part)
		}
		for c := a; c <= b; c++ {
			cores = append(cores, int(c))
		}
	}
	return cores, nil
}
