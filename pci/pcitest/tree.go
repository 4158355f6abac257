package pcitest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Tree is a sysfs in a folder. It is not in testdata because the names of
// functions hold colons, which a Go module's files must not.
type Tree struct {
	T    testing.TB
	Root string
}

// Write writes a file, and creates the folders above it.
func (s Tree) Write(name, text string) {
	s.T.Helper()
	file := filepath.Join(s.Root, name)
	require.NoError(s.T, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(s.T, os.WriteFile(file, []byte(text), 0o644))
}

// Link makes name a symbolic link to target, relative as the kernel's are.
func (s Tree) Link(name, target string) {
	s.T.Helper()
	from := filepath.Join(s.Root, name)
	require.NoError(s.T, os.MkdirAll(filepath.Dir(from), 0o755))
	require.NoError(s.T, os.MkdirAll(filepath.Join(s.Root, target), 0o755))
	to, err := filepath.Rel(filepath.Dir(from), filepath.Join(s.Root, target))
	require.NoError(s.T, err)
	require.NoError(s.T, os.Symlink(to, from))
}

// Remove removes a file or a folder with all that is below it.
func (s Tree) Remove(name string) {
	s.T.Helper()
	require.NoError(s.T, os.RemoveAll(filepath.Join(s.Root, name)))
}

// Function adds a function and returns its folder.
func (s Tree) Function(addr string, vendor, device, class uint32, resource string) (dir string) {
	dir = filepath.Join("devices/pci0000:00", addr)
	for file, text := range map[string]string{
		"vendor":           fmt.Sprintf("0x%04x\n", vendor),
		"device":           fmt.Sprintf("0x%04x\n", device),
		"subsystem_vendor": "0x8086\n",
		"subsystem_device": "0x0003\n",
		"class":            fmt.Sprintf("0x%06x\n", class),
		"revision":         "0x01\n",
		"resource":         resource,
		"numa_node":        "-1\n",
	} {
		s.Write(filepath.Join(dir, file), text)
	}
	s.Link(filepath.Join("bus/pci/devices", addr), dir)
	return dir
}

// Driver binds a function's folder to a kernel driver.
func (s Tree) Driver(dir, name string) {
	s.Link(filepath.Join(dir, "driver"), filepath.Join("bus/pci/drivers", name))
}

// Group puts functions into an IOMMU group.
func (s Tree) Group(number int, dirs ...string) {
	group := fmt.Sprintf("kernel/iommu_groups/%d", number)
	for _, dir := range dirs {
		s.Link(filepath.Join(group, "devices", filepath.Base(dir)), dir)
		s.Link(filepath.Join(dir, "iommu_group"), group)
	}
}

// NetIF adds a network interface to a device, or a virtual one with device "".
func (s Tree) NetIF(name, device string) {
	dir := filepath.Join("devices/virtual/net", name)
	if device != "" {
		dir = filepath.Join(device, "net", name)
		s.Link(filepath.Join(dir, "device"), device)
	}
	s.Write(filepath.Join(dir, "ifindex"), "2\n")
	s.Link(filepath.Join("class/net", name), dir)
}

// NoBAR is the line of a resource file for a BAR that does not exist.
const NoBAR = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"

// Resource82599 is the resource file of a dual-port 82599: registers, I/O ports,
// MSI-X.
const Resource82599 = "0x00000000df800000 0x00000000df87ffff 0x000000000014220c\n" +
	NoBAR +
	"0x000000000000e020 0x000000000000e03f 0x0000000000040101\n" +
	NoBAR +
	"0x00000000df904000 0x00000000df907fff 0x000000000014220c\n" +
	NoBAR +
	"0x00000000df500000 0x00000000df57ffff 0x0000000000046200\n" +
	NoBAR + NoBAR + NoBAR + NoBAR + NoBAR + NoBAR

// Host is a machine with a bridge, a dual-port 82599 of which one port is bound
// to ixgbe and one to no driver, a virtio NIC and a veth.
func Host(t testing.TB) Tree {
	s := Tree{t, t.TempDir()}
	none := NoBAR + NoBAR + NoBAR + NoBAR + NoBAR + NoBAR
	s.Driver(s.Function("0000:00:01.0", 0x8086, 0x3c02, 0x060400, none), "pcieport")

	port0 := s.Function("0000:03:00.0", 0x8086, 0x10fb, 0x020000, Resource82599)
	s.Write(filepath.Join(port0, "numa_node"), "1\n")
	s.Driver(port0, "ixgbe")
	s.NetIF("eth2", port0)
	port1 := s.Function("0000:03:00.1", 0x8086, 0x10fb, 0x020000, Resource82599)
	s.Group(12, port0, port1)

	alone := s.Function("10000:e1:00.0", 0x8086, 0x0a54, 0x010802, none)
	s.Group(3, alone)
	require.NoError(t, os.Remove(filepath.Join(s.Root, alone, "numa_node"))) // kernel without NUMA

	virtio := s.Function("0000:00:05.0", 0x1af4, 0x1041, 0x020000, none)
	s.Driver(virtio, "virtio-pci")
	s.NetIF("ens5", filepath.Join(virtio, "virtio0"))

	s.NetIF("veth0", "")
	return s
}
