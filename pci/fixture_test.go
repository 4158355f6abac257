package pci

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// tree builds a sysfs in a folder. It is not in testdata because the names of
// functions hold colons, which a Go module's files must not.
type tree struct {
	t    *testing.T
	root string
}

func (s tree) write(name, text string) {
	s.t.Helper()
	file := filepath.Join(s.root, name)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(s.t, os.WriteFile(file, []byte(text), 0o644))
}

// link makes name a link to target, relative as the kernel's are.
func (s tree) link(name, target string) {
	s.t.Helper()
	from := filepath.Join(s.root, name)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(from), 0o755))
	require.NoError(s.t, os.MkdirAll(filepath.Join(s.root, target), 0o755))
	to, err := filepath.Rel(filepath.Dir(from), filepath.Join(s.root, target))
	require.NoError(s.t, err)
	require.NoError(s.t, os.Symlink(to, from))
}

// function adds a function and gives its folder.
func (s tree) function(addr string, vendor, device, class uint32, resource string) (dir string) {
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
		s.write(filepath.Join(dir, file), text)
	}
	s.link(filepath.Join("bus/pci/devices", addr), dir)
	return dir
}

func (s tree) driver(dir, name string) {
	s.link(filepath.Join(dir, "driver"), filepath.Join("bus/pci/drivers", name))
}

func (s tree) group(number int, dirs ...string) {
	group := fmt.Sprintf("kernel/iommu_groups/%d", number)
	for _, dir := range dirs {
		s.link(filepath.Join(group, "devices", filepath.Base(dir)), dir)
		s.link(filepath.Join(dir, "iommu_group"), group)
	}
}

// netif adds a network interface to a device, or a virtual one with device "".
func (s tree) netif(name, device string) {
	dir := filepath.Join("devices/virtual/net", name)
	if device != "" {
		dir = filepath.Join(device, "net", name)
		s.link(filepath.Join(dir, "device"), device)
	}
	s.write(filepath.Join(dir, "ifindex"), "2\n")
	s.link(filepath.Join("class/net", name), dir)
}

const noBARs = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"

// resource82599 is what a dual-port 82599 shows: registers, I/O ports, MSI-X.
const resource82599 = "0x00000000df800000 0x00000000df87ffff 0x000000000014220c\n" +
	noBARs +
	"0x000000000000e020 0x000000000000e03f 0x0000000000040101\n" +
	noBARs +
	"0x00000000df904000 0x00000000df907fff 0x000000000014220c\n" +
	noBARs +
	"0x00000000df500000 0x00000000df57ffff 0x0000000000046200\n" +
	noBARs + noBARs + noBARs + noBARs + noBARs + noBARs

// machine is a host with a bridge, a dual-port 82599 of which one port belongs
// to ixgbe and one to nobody, a virtio NIC and a veth.
func machine(t *testing.T) tree {
	s := tree{t, t.TempDir()}
	none := noBARs + noBARs + noBARs + noBARs + noBARs + noBARs
	s.driver(s.function("0000:00:01.0", 0x8086, 0x3c02, 0x060400, none), "pcieport")

	port0 := s.function("0000:03:00.0", 0x8086, 0x10fb, 0x020000, resource82599)
	s.write(filepath.Join(port0, "numa_node"), "1\n")
	s.driver(port0, "ixgbe")
	s.netif("eth2", port0)
	port1 := s.function("0000:03:00.1", 0x8086, 0x10fb, 0x020000, resource82599)
	s.group(12, port0, port1)

	alone := s.function("10000:e1:00.0", 0x8086, 0x0a54, 0x010802, none)
	s.group(3, alone)
	require.NoError(t, os.Remove(filepath.Join(s.root, alone, "numa_node"))) // kernel without NUMA

	virtio := s.function("0000:00:05.0", 0x1af4, 0x1041, 0x020000, none)
	s.driver(virtio, "virtio-pci")
	s.netif("ens5", filepath.Join(virtio, "virtio0"))

	s.netif("veth0", "")
	return s
}

// links is a linkFinder that knows the fixture's interfaces.
func links(name string) (link, error) {
	switch name {
	case "eth2", "ens5", "elsewhere":
		return link{name, "device"}, nil
	case "enp3s0f0": // an alternative name
		return link{"eth2", "device"}, nil
	case "veth0":
		return link{name, "veth"}, nil
	default:
		return link{}, ErrNoInterface
	}
}
