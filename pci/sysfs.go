package pci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Sysfs is the folder where the kernel's sysfs is mounted.
const Sysfs = "/sys"

// NoGroup is the group of a function that is in no IOMMU group.
const NoGroup = -1

// ErrNoFunction reports that there is no PCI function at an address. It matches
// fs.ErrNotExist.
var ErrNoFunction error = notExist("no such PCI function")

// notExist is an error that matches fs.ErrNotExist.
type notExist string

func (e notExist) Error() string      { return string(e) }
func (notExist) Is(target error) bool { return target == fs.ErrNotExist }

// Function describes a PCI function, from sysfs.
type Function struct {
	Address    Address
	ID         ID
	BARs       []BAR    // those that exist, in order of index
	NUMANode   int      // -1: not known
	Driver     string   // kernel driver bound to it, "" for none
	Group      int      // IOMMU group, or NoGroup
	GroupPeers []string // other devices of the IOMMU group
	Interfaces []string // its network interfaces in this network namespace
	VFToken    *VFToken `json:"-"` // of the name that it was found by, nil: none
}

// BAR is a base address register.
type BAR struct {
	Index int    // 0-5
	Start uint64 // physical address
	Size  uint64 // bytes
	Flags uint64 // the kernel's IORESOURCE bits
}

// Bits of a BAR's flags, from Linux's include/linux/ioport.h.
const (
	flagIO       = 0x0000_0100
	flagMemory   = 0x0000_0200
	flagPrefetch = 0x0000_2000
	flagMemory64 = 0x0010_0000
)

// Memory reports whether the BAR is memory, not I/O ports.
func (b BAR) Memory() bool { return b.Flags&flagMemory != 0 }

// Prefetchable reports whether reads have no side effects.
func (b BAR) Prefetchable() bool { return b.Flags&flagPrefetch != 0 }

// Wide reports whether the BAR has a 64-bit address, which uses the next index too.
func (b BAR) Wide() bool { return b.Flags&flagMemory64 != 0 }

// String describes the function in one line: kind, driver and IOMMU group.
func (f Function) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s [%s]", f.Address, className(f.ID.Class), f.ID)
	if len(f.Interfaces) > 0 {
		fmt.Fprintf(&b, ", interface %s", strings.Join(f.Interfaces, " "))
	}
	if f.Driver == "" {
		b.WriteString(", no driver")
	} else {
		fmt.Fprintf(&b, ", kernel driver %s", f.Driver)
	}
	switch {
	case f.Group == NoGroup:
		b.WriteString(", no IOMMU group")
	case len(f.GroupPeers) == 0:
		fmt.Fprintf(&b, ", IOMMU group %d", f.Group)
	default:
		fmt.Fprintf(&b, ", IOMMU group %d with %s", f.Group, strings.Join(f.GroupPeers, " "))
	}
	return b.String()
}

// Find lists the PCI functions of the machine in order of address.
func Find(root string) ([]Function, error) {
	dir := filepath.Join(root, "bus/pci/devices")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("find PCI functions: no PCI bus: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("find PCI functions: %w", err)
	}
	var found []Function
	for _, e := range entries {
		a, err := ParseAddress(e.Name())
		if err != nil {
			return nil, fmt.Errorf("find PCI functions: %s: %w", dir, err)
		}
		f, err := Lookup(root, a)
		if errors.Is(err, ErrNoFunction) {
			continue // unplugged since ReadDir
		}
		if err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	slices.SortFunc(found, func(x, y Function) int { return x.Address.Compare(y.Address) })
	return found, nil
}

// Lookup describes the function at an address. The error wraps ErrNoFunction if
// there is none.
func Lookup(root string, a Address) (Function, error) {
	dir := filepath.Join(root, "bus/pci/devices", a.String())
	if _, err := os.Stat(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrNoFunction
		}
		return Function{}, fmt.Errorf("look up %s: %w", a, err)
	}
	f, err := describe(dir, a)
	if err != nil {
		// The function may have been unplugged while its files were read.
		if _, gone := os.Stat(dir); errors.Is(gone, fs.ErrNotExist) {
			err = ErrNoFunction
		}
		return Function{}, fmt.Errorf("look up %s: %w", a, err)
	}
	return f, nil
}

func describe(dir string, a Address) (Function, error) {
	f := Function{Address: a, NUMANode: -1, Group: NoGroup}
	for _, n := range []struct {
		file string
		bits int
		set  func(uint64)
	}{
		{"vendor", 16, func(v uint64) { f.ID.Vendor = uint16(v) }},
		{"device", 16, func(v uint64) { f.ID.Device = uint16(v) }},
		{"subsystem_vendor", 16, func(v uint64) { f.ID.SubVendor = uint16(v) }},
		{"subsystem_device", 16, func(v uint64) { f.ID.SubDevice = uint16(v) }},
		{"class", 24, func(v uint64) { f.ID.Class = uint32(v) }},
		{"revision", 8, func(v uint64) { f.ID.Revision = uint8(v) }},
	} {
		v, err := readHex(filepath.Join(dir, n.file), n.bits)
		if err != nil {
			return f, err
		}
		n.set(v)
	}
	var err error
	if f.BARs, err = readBARs(filepath.Join(dir, "resource")); err != nil {
		return f, err
	}
	if f.NUMANode, err = readNode(filepath.Join(dir, "numa_node")); err != nil {
		return f, err
	}
	if f.Driver, err = linkBase(filepath.Join(dir, "driver")); err != nil {
		return f, err
	}
	if f.Group, f.GroupPeers, err = readGroup(dir, a); err != nil {
		return f, err
	}
	f.Interfaces, err = readInterfaces(dir)
	return f, err
}

// readHex reads a file with one hexadecimal number, such as 0x8086.
func readHex(file string, bits int) (uint64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	digits, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "0x")
	if !ok {
		return 0, fmt.Errorf("%s: %q is not a hexadecimal number", file, strings.TrimSpace(string(text)))
	}
	v, err := strconv.ParseUint(digits, 16, bits)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return v, nil
}

// readNode reads numa_node, -1 if there is no such file: a kernel without NUMA.
func readNode(file string) (int, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return 0, err
	}
	node, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || node < -1 {
		return 0, fmt.Errorf("%s: %q is not a NUMA node", file, strings.TrimSpace(string(text)))
	}
	return node, nil
}

// readBARs reads a resource file. A line has first address, last address and flags;
// the first six lines are the BARs.
func readBARs(file string) ([]BAR, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	const bars = 6
	var out []BAR
	index := 0
	for line := range strings.Lines(string(text)) {
		if index == bars {
			break
		}
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s: line %d: want first address, last address, flags", file, index+1)
		}
		var v [3]uint64
		for i, f := range fields {
			if v[i], err = strconv.ParseUint(f, 0, 64); err != nil {
				return nil, fmt.Errorf("%s: line %d: %w", file, index+1, err)
			}
		}
		first, last, flags := v[0], v[1], v[2]
		// A BAR without address (not assigned by firmware) has flags and size.
		if flags&(flagIO|flagMemory) != 0 {
			if last < first || last-first == 1<<64-1 {
				return nil, fmt.Errorf("%s: line %d: range %#x-%#x", file, index+1, first, last)
			}
			out = append(out, BAR{Index: index, Start: first, Size: last - first + 1, Flags: flags})
		}
		index++
	}
	if index < bars {
		return nil, fmt.Errorf("%s: %d lines: want at least %d", file, index, bars)
	}
	return out, nil
}

// readGroup returns the IOMMU group of a function and the group's other devices.
func readGroup(dir string, a Address) (group int, peers []string, err error) {
	link := filepath.Join(dir, "iommu_group")
	name, err := linkBase(link)
	if err != nil || name == "" {
		return NoGroup, nil, err
	}
	if group, err = strconv.Atoi(name); err != nil || group < 0 {
		return 0, nil, fmt.Errorf("%s: %q is not a group number", link, name)
	}
	members, err := os.ReadDir(filepath.Join(link, "devices"))
	if err != nil {
		return 0, nil, err
	}
	for _, m := range members {
		if m.Name() != a.String() {
			peers = append(peers, m.Name())
		}
	}
	return group, peers, nil
}

// linkBase returns the last element of a link's target, "" if there is no link.
func linkBase(link string) (string, error) {
	target, err := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return filepath.Base(target), nil
}
