package topology

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Machine describes a machine's cores, from sysfs. Lists are in ascending order; an
// empty list means none, or that the kernel does not report it.
type Machine struct {
	Online   []int
	Isolated []int // excluded from load balancing (isolcpus)
	Tickless []int // no timer tick while a single thread runs (nohz_full)

	root string
}

// Read reads the machine whose files are below root.
func Read(root string) Machine {
	m := Machine{root: root}
	m.Online = m.list("online")
	m.Isolated = m.list("isolated")
	m.Tickless = m.list("nohz_full")
	return m
}

// text returns a file's content without surrounding space, "" if it cannot be read.
func text(root, name string) string {
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (m Machine) list(name string) []int {
	return coreFile(m.root, "sys/devices/system/cpu/"+name)
}

// coreFile reads a file with a list, nil if there is none. A kernel without
// nohz_full writes "(null)".
func coreFile(root, name string) []int {
	cores, err := ParseList(text(root, name))
	if err != nil {
		return nil
	}
	return cores
}

// Node returns the cores of a NUMA node, nil if it is not known.
func (m Machine) Node(node int) []int {
	if node < 0 {
		return nil
	}
	return coreFile(m.root, fmt.Sprintf("sys/devices/system/node/node%d/cpulist", node))
}

// Siblings returns the other hyperthreads of a core.
func (m Machine) Siblings(core int) []int {
	all := coreFile(m.root, fmt.Sprintf("sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", core))
	return slices.DeleteFunc(all, func(c int) bool { return c == core })
}

// Governor returns the frequency governor of a core, "" without frequency scaling.
func (m Machine) Governor(core int) string {
	return text(m.root, fmt.Sprintf("sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", core))
}

// Allowed returns the cores that a process may use. The kernel excludes isolated
// cores from the default affinity; Allowed adds them. An affinity that was narrowed,
// by taskset for example, is returned as it is.
func (m Machine) Allowed(affinity []int) []int {
	if len(m.Isolated) == 0 || !slices.Equal(affinity, without(m.Online, m.Isolated)) {
		return affinity
	}
	return m.Online
}

func without(list, remove []int) (rest []int) {
	for _, c := range list {
		if !slices.Contains(remove, c) {
			rest = append(rest, c)
		}
	}
	return rest
}

func both(a, b []int) (all []int) {
	for _, c := range a {
		if slices.Contains(b, c) {
			all = append(all, c)
		}
	}
	return all
}
