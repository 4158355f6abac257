package nic

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/pci/pcitest"
)

func TestAPortOfAnotherChipIsRejectedBeforeItIsOpened(t *testing.T) {
	r := pci.Resolver{Sysfs: pcitest.Host(t).Root, Records: t.TempDir(), FindLink: func(name string) (pci.Link, error) {
		if name == "eth9" {
			return pci.Link{}, pci.ErrNoInterface
		}
		return pci.Link{Name: name, Kind: "device"}, nil
	}}
	const what = "not a port of an Intel 82599 (Red Hat virtio chip [1af4:1041], virtio-pci). Name the interface or the PCI address of an 82599" +
		", or capture this interface with sockets of the kernel: xdp:ens5 or packet:ens5"
	for _, name := range []string{"ens5", "0000:00:05.0", "vfio-group:ens5", "vfio-iommufd:0000:00:05.0"} {
		require.EqualError(t, checkFamily(name, r), what, name)
	}
	require.ErrorContains(t, checkFamily("10000:e1:00.0", r), "(Intel chip [8086:0a54], no driver). Name the interface")
	require.EqualError(t, checkFamily("veth0", r), `interface "veth0": is virtual (device), no PCI function behind it. Name the interface or the PCI address of an 82599`+
		", or capture this interface with sockets of the kernel: xdp:veth0 or packet:veth0")
	for _, name := range []string{"eth2", "0000:03:00.0", "vfio-group:0000:03:00.1", "eth9", "03:00.0", "sim:gen", "vfio-user:/run/nic.sock", ""} {
		require.NoError(t, checkFamily(name, r), name)
	}
}
