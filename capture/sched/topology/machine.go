package topology

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Machine is what sysfs says about a machine's cores. Lists are in ascending
// order; an empty one stands for none, or for a kernel that does not say.
type Machine struct {
	Online   []int
	Isolated []int // kept out of the scheduler's balancing (isolcpus)
	Tickless []int // without the timer tick while one thread runs (nohz_full)

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

// text is a file's content without the space around it, "" for none.
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

// coreFile reads a file with a list; a kernel without nohz_full writes "(null)".
func coreFile(root, name string) []int {
	cores, err := ParseList(text(root, name))
	if err != nil {
		return nil
	}
	return cores
}

// Node are the cores of a NUMA node, none when it is not known.
func (m Machine) Node(node int) []int {
	if node < 0 {
		return nil
	}
	return coreFile(m.root, fmt.Sprintf("sys/devices/system/node/node%d/cpulist", node))
}

// Siblings are the other hyperthreads of a core.
func (m Machine) Siblings(core int) []int {
	all := coreFile(m.root, fmt.Sprintf("sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", core))
	return slices.DeleteFunc(all, func(c int) bool { return c == core })
}

// Governor is what chooses a core's frequency, "" where nothing does.
func (m Machine) Governor(core int) string {
	return text(m.root, fmt.Sprintf("sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", core))
}

// Allowed are the cores that a process may choose from: those of its affinity,
// and the isolated ones with it, which the kernel leaves out of an affinity that
// nobody has set. An affinity that somebody narrowed is kept to.
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
