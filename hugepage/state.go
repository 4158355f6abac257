package hugepage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Sysfs is where the kernel's sysfs is mounted.
const Sysfs = "/sys"

// State has the numbers of huge pages of one size, on one node or, with
// Node = AnyNode, on the machine.
type State struct {
	Size     Size
	Node     int
	Total    int // pages in the pool, surplus included
	Free     int // unused pages
	Reserved int // free pages reserved for mappings; known for the machine only
	Surplus  int // pages beyond the pool's set size (overcommit), released when freed
}

// Available returns the number of pages that a new mapping can have. On a node it
// may be too high by the pages reserved for mappings that have not accessed them.
func (s State) Available() int { return max(0, s.Free-s.Reserved) }

// ReadState reads the state of the pool of one page size from the sysfs mounted
// at root (see Sysfs). On a kernel without NUMA, node 0 is the machine.
func ReadState(root string, size Size, node int) (State, error) {
	if size == Ordinary {
		return State{}, errors.New("huge page state: ordinary pages have no pool")
	}
	s := State{Size: size, Node: node}
	dir, reserved := pool(root, size, node)
	counts := []struct {
		file string
		to   *int
	}{{"nr_hugepages", &s.Total}, {"free_hugepages", &s.Free}, {"surplus_hugepages", &s.Surplus}}
	if reserved {
		counts = append(counts, struct {
			file string
			to   *int
		}{"resv_hugepages", &s.Reserved})
	}
	for _, c := range counts {
		text, err := os.ReadFile(filepath.Join(dir, c.file))
		if errors.Is(err, fs.ErrNotExist) && c.file == "nr_hugepages" {
			if node != AnyNode && supported(root, size) {
				return State{}, fmt.Errorf("huge page state: no NUMA node %d (online: %s): %w", node, onlineNodes(root), err)
			}
			return State{}, fmt.Errorf("huge page state: this kernel or processor has no pages of %s: %w", size, err)
		}
		if err != nil {
			return State{}, fmt.Errorf("huge page state: %w", err)
		}
		if *c.to, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
			return State{}, fmt.Errorf("huge page state: %s: %w", filepath.Join(dir, c.file), err)
		}
	}
	return s, nil
}

// PoolFile returns the path of the file that sets the size of the pool.
func PoolFile(root string, size Size, node int) string {
	dir, _ := pool(root, size, node)
	return filepath.Join(dir, "nr_hugepages")
}

// pool returns the directory of a pool, and whether it counts reservations.
func pool(root string, size Size, node int) (dir string, machine bool) {
	name := fmt.Sprintf("hugepages-%dkB", int(size)>>10)
	all := filepath.Join(root, "kernel/mm/hugepages", name)
	nodes := filepath.Join(root, "devices/system/node")
	if node == AnyNode {
		return all, true
	}
	if node == 0 {
		if _, err := os.Stat(filepath.Join(nodes, "node0")); errors.Is(err, fs.ErrNotExist) {
			return all, true
		}
	}
	return filepath.Join(nodes, fmt.Sprintf("node%d", node), "hugepages", name), false
}

// supported reports whether the kernel has pages of that size.
func supported(root string, size Size) bool {
	dir, _ := pool(root, size, AnyNode)
	_, err := os.Stat(dir)
	return err == nil
}

// onlineNodes returns the kernel's list of NUMA nodes, such as "0-1".
func onlineNodes(root string) string {
	text, err := os.ReadFile(filepath.Join(root, "devices/system/node/online"))
	if err != nil {
		return "0"
	}
	return strings.TrimSpace(string(text))
}

// MissingError is the error of an allocation for which huge pages are missing.
type MissingError struct {
	For     string // what the memory was for
	Need    int    // pages asked for
	Missing int    // pages missing
	State   State
	Command string // reserves them if run as root
	err     error
}

func (e *MissingError) Error() string {
	where := "on this machine"
	if e.State.Node != AnyNode {
		where = fmt.Sprintf("on NUMA node %d", e.State.Node)
	}
	hint := ""
	if e.State.Size == Size1G {
		hint = fmt.Sprintf("; if too few come, boot with hugepagesz=1G hugepages=%d", e.State.Total+e.Missing)
	}
	return fmt.Sprintf("allocate %s: %d of %d huge pages of %s are missing %s (%d free); reserve them as root: %s%s",
		e.For, e.Missing, e.Need, e.State.Size, where, e.State.Available(), e.Command, hint)
}

func (e *MissingError) Unwrap() error { return e.err }

// diagnose returns why need pages could not be allocated, nil if the pool is not
// the reason (a cgroup's limit, for example).
func diagnose(root string, size Size, node, need int) *MissingError {
	s, err := ReadState(root, size, node)
	if err != nil {
		return nil
	}
	if node != AnyNode {
		// Reserved pages are counted over all nodes. All of them are assumed to be
		// on this node, so that the command reserves too many rather than too few.
		if all, err := ReadState(root, size, AnyNode); err == nil {
			s.Reserved = min(all.Reserved, s.Free)
		}
	}
	missing := need - s.Available()
	if missing <= 0 {
		return nil
	}
	return &MissingError{
		Need:    need,
		Missing: missing,
		State:   s,
		Command: fmt.Sprintf("echo %d > %s", s.Total+missing, PoolFile(root, size, node)),
	}
}

// enough returns an error for ordinary memory that the machine does not have:
// populating it would not fail but start the out-of-memory killer.
func enough(size Size, length int) error {
	if size != Ordinary {
		return nil
	}
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			if length>>10 > kib {
				return fmt.Errorf("%w: %d MiB asked for, the machine has %d MiB available", unix.ENOMEM, length>>20, kib>>10)
			}
			return nil
		}
	}
	return errors.New("/proc/meminfo has no MemAvailable")
}
