package pci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/pci/pcitest"
)

func TestFindListsFunctionsByAddress(t *testing.T) {
	found, err := Find(pcitest.Host(t).Root)
	require.NoError(t, err)
	var lines []string
	for _, f := range found {
		lines = append(lines, f.String())
	}
	require.Equal(t, []string{
		"0000:00:01.0 PCI bridge [8086:3c02], kernel driver pcieport, no IOMMU group",
		"0000:00:05.0 Ethernet controller [1af4:1041], interface ens5, kernel driver virtio-pci, no IOMMU group",
		"0000:03:00.0 Ethernet controller [8086:10fb], interface eth2, kernel driver ixgbe, IOMMU group 12 with 0000:03:00.1",
		"0000:03:00.1 Ethernet controller [8086:10fb], no driver, IOMMU group 12 with 0000:03:00.0",
		"10000:e1:00.0 storage controller [8086:0a54], no driver, IOMMU group 3",
	}, lines)
}

func TestLookupReadsAllFields(t *testing.T) {
	f, err := Lookup(pcitest.Host(t).Root, Address{Bus: 3})
	require.NoError(t, err)
	require.Equal(t, Function{
		Address: Address{Bus: 3},
		ID:      ID{Vendor: 0x8086, Device: 0x10fb, SubVendor: 0x8086, SubDevice: 3, Class: 0x020000, Revision: 1},
		BARs: []BAR{
			{Index: 0, Start: 0xdf800000, Size: 512 << 10, Flags: 0x14220c},
			{Index: 2, Start: 0xe020, Size: 32, Flags: 0x40101},
			{Index: 4, Start: 0xdf904000, Size: 16 << 10, Flags: 0x14220c},
		},
		NUMANode:   1,
		Driver:     "ixgbe",
		Group:      12,
		GroupPeers: []string{"0000:03:00.1"},
		Interfaces: []string{"eth2"},
	}, f)
	require.True(t, f.BARs[0].Memory() && f.BARs[0].Wide() && f.BARs[0].Prefetchable())
	require.False(t, f.BARs[1].Memory() || f.BARs[1].Wide() || f.BARs[1].Prefetchable())
}

func TestLookupWithoutNUMADriverOrGroup(t *testing.T) {
	s := pcitest.Host(t)
	f, err := Lookup(s.Root, Address{Domain: 0x10000, Bus: 0xe1})
	require.NoError(t, err)
	require.Equal(t, -1, f.NUMANode)
	require.Empty(t, f.Driver)
	f, err = Lookup(s.Root, Address{Device: 1})
	require.NoError(t, err)
	require.Equal(t, NoGroup, f.Group)
	require.Empty(t, f.BARs)
}

func TestLookupOfAMissingFunction(t *testing.T) {
	_, err := Lookup(pcitest.Host(t).Root, Address{Bus: 9})
	require.ErrorIs(t, err, ErrNoFunction)
	require.EqualError(t, err, "look up 0000:09:00.0: no such PCI function")
}

func TestFindOnAMachineWithoutPCI(t *testing.T) {
	_, err := Find(t.TempDir())
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "no PCI bus")
}

func TestDamagedFilesAreNamed(t *testing.T) {
	for _, c := range []struct{ file, text, want string }{
		{"vendor", "8086\n", "not a hexadecimal number"},
		{"device", "0x12345\n", "out of range"},
		{"class", "", "not a hexadecimal number"},
		{"revision", "0xzz\n", "invalid syntax"},
		{"numa_node", "-2\n", "not a NUMA node"},
		{"numa_node", "one\n", "not a NUMA node"},
		{"resource", "", "0 lines: want at least 6"},
		{"resource", pcitest.NoBAR, "1 lines: want at least 6"},
		{"resource", "0x0 0x0\n", "line 1: want first address, last address, flags"},
		{"resource", pcitest.NoBAR + "0x0 0x0 what\n", "line 2: strconv.ParseUint"},
		{"resource", "0x2000 0x1000 0x200\n", "line 1: range 0x2000-0x1000"},
		{"resource", "0x0 0xffffffffffffffff 0x200\n", "line 1: range"},
	} {
		t.Run(c.file+" "+c.want, func(t *testing.T) {
			s := pcitest.Host(t)
			s.Write(filepath.Join("devices/pci0000:00/0000:03:00.0", c.file), c.text)
			_, err := Lookup(s.Root, Address{Bus: 3})
			require.ErrorContains(t, err, "look up 0000:03:00.0: ")
			require.ErrorContains(t, err, c.file)
			require.ErrorContains(t, err, c.want)
			_, err = Find(s.Root)
			require.ErrorContains(t, err, c.want)
		})
	}
	t.Run("missing", func(t *testing.T) {
		s := pcitest.Host(t)
		require.NoError(t, os.Remove(filepath.Join(s.Root, "devices/pci0000:00/0000:03:00.0/class")))
		_, err := Lookup(s.Root, Address{Bus: 3})
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.NotErrorIs(t, err, ErrNoFunction)
	})
	t.Run("group", func(t *testing.T) {
		s := pcitest.Host(t)
		s.Link("devices/pci0000:00/0000:00:01.0/iommu_group", "kernel/iommu_groups/x")
		_, err := Lookup(s.Root, Address{Device: 1})
		require.ErrorContains(t, err, `"x" is not a group number`)
	})
}

func TestByInterfaceFindsTheFunction(t *testing.T) {
	s := pcitest.Host(t)
	for name, want := range map[string]Address{"eth2": {Bus: 3}, "enp3s0f0": {Bus: 3}, "ens5": {Device: 5}} {
		got, err := Resolver{Sysfs: s.Root, FindLink: links}.byInterface(name)
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
}

func TestByInterfaceExplainsWhyThereIsNoFunction(t *testing.T) {
	s := pcitest.Host(t)
	s.NetIF("usb0", "devices/platform/usb1/1-1")
	for name, want := range map[string]string{
		"eth9":      `interface "eth9": no such interface`,
		"veth0":     `interface "veth0": is virtual (veth), no PCI function behind it`,
		"elsewhere": `interface "elsewhere": ` + s.Root + ` does not show it: sysfs was mounted in another network namespace`,
		"usb0":      `interface "usb0": no PCI function behind it`,
	} {
		_, err := Resolver{Sysfs: s.Root, FindLink: func(name string) (Link, error) {
			if name == "usb0" {
				return Link{name, "device"}, nil
			}
			return links(name)
		}}.byInterface(name)
		require.EqualError(t, err, want)
	}
	_, err := Resolver{Sysfs: s.Root, FindLink: links}.byInterface("eth9")
	require.ErrorIs(t, err, ErrNoInterface)
	broken := errors.New("netlink is closed")
	_, err = Resolver{Sysfs: s.Root, FindLink: func(string) (Link, error) { return Link{}, broken }}.byInterface("eth2")
	require.ErrorIs(t, err, broken)
}

func TestFindLinkFindsThisMachinesInterfaces(t *testing.T) {
	l, err := FindLink("lo")
	require.NoError(t, err)
	require.Equal(t, "lo", l.Name)
	for _, name := range []string{"no-such-if", "longer-than-any-interface-name-may-be", "../etc", "a b", string(make([]byte, 300))} {
		_, err = FindLink(name)
		require.ErrorIs(t, err, ErrNoInterface, "%q", name)
	}
	_, err = Host().byInterface("lo")
	require.ErrorContains(t, err, `interface "lo": is virtual`)
}

func TestThisMachineCanBeListed(t *testing.T) {
	found, err := Find(Sysfs)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("needs a machine with a PCI bus: %v", err)
	}
	require.NoError(t, err)
	for _, f := range found {
		again, err := Lookup(Sysfs, f.Address)
		require.NoError(t, err)
		require.Equal(t, f, again)
		t.Log(f)
	}
}

// links is a Resolver's FindLink that knows the interfaces of pcitest.Host.
func links(name string) (Link, error) {
	switch name {
	case "eth2", "ens5", "elsewhere":
		return Link{name, "device"}, nil
	case "enp3s0f0": // an alternative name
		return Link{"eth2", "device"}, nil
	case "veth0":
		return Link{name, "veth"}, nil
	default:
		return Link{}, ErrNoInterface
	}
}
