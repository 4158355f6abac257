package pci

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/pci/pcitest"
)

// withKernel registers a kernel transport for one test.
func withKernel(t *testing.T, open KernelOpener) {
	RegisterKernel(open)
	t.Cleanup(func() { kernelOpener = nil })
}

func TestOpenExplainsWhyAFunctionCannotBeOpened(t *testing.T) {
	r := Resolver{pcitest.Host(t).Root, t.TempDir(), links}
	const instead = ": this program has no transport for PCI functions of this machine. Import pci/vfio, or use sim:... or vfio-user:PATH"
	for name, want := range map[string]string{
		"0000:03:00.0": "open device 0000:03:00.0: 0000:03:00.0 Ethernet controller [8086:10fb], interface eth2, kernel driver ixgbe, IOMMU group 12 with 0000:03:00.1" + instead,
		"eth2":         "open device eth2: 0000:03:00.0 Ethernet controller [8086:10fb], interface eth2, kernel driver ixgbe, IOMMU group 12 with 0000:03:00.1" + instead,
		"0000:03:00.1": "open device 0000:03:00.1: 0000:03:00.1 Ethernet controller [8086:10fb], no driver, IOMMU group 12 with 0000:03:00.0" + instead,
		"0000:09:00.0": "open device 0000:09:00.0: look up 0000:09:00.0: no such PCI function",
		"eth9":         `open device eth9: interface "eth9": no such interface`,
		"veth0":        `open device veth0: interface "veth0": is virtual (veth), no PCI function behind it`,
		"03:00.0":      `open device: PCI address "03:00.0": the domain is missing (most likely 0000:03:00.0); want domain:bus:device.function in hexadecimal, such as 0000:03:00.0`,
		"0000:03:00.9": `open device: PCI address "0000:03:00.9": a device has functions 0 to 7; want domain:bus:device.function in hexadecimal, such as 0000:03:00.0`,
	} {
		_, err := open(name, r)
		require.EqualError(t, err, want)
	}
	_, err := open("eth2", r)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = open("eth9", r)
	require.ErrorIs(t, err, ErrNoInterface)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, ErrNoFunction)
	_, err = open("0000:09:00.0", r)
	require.ErrorIs(t, err, ErrNoFunction)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, ErrNoInterface)
}

func TestTheKernelTransportOpensFunctions(t *testing.T) {
	s := pcitest.Host(t)
	r := Resolver{s.Root, t.TempDir(), links}
	refused := errors.New("refused")
	var got []string
	withKernel(t, func(name string, f Function) (Device, error) {
		got = append(got, name+" "+f.Address.String())
		return nil, refused
	})
	for _, name := range []string{"0000:03:00.0", "eth2", "enp3s0f0"} {
		_, err := open(name, r)
		require.ErrorIs(t, err, refused)
	}
	require.Equal(t, []string{"0000:03:00.0 0000:03:00.0", "eth2 0000:03:00.0", "enp3s0f0 0000:03:00.0"}, got)
	require.Panics(t, func() { RegisterKernel(nil) })
}

// vfio-bind unbinds the kernel's driver, which removes the interface.
func TestAFormerInterfaceNameResolves(t *testing.T) {
	s := pcitest.Host(t)
	r := Resolver{s.Root, filepath.Join(s.Root, "run"), links}
	s.Write("run/0000:03:00.1", "driver=ixgbe\ninterface=eth3\n")
	s.Write("run/0000:09:00.0", "driver=ixgbe\ninterface=eth7\n") // unplugged
	s.Write("run/0000:00:05.0", "driver=virtio-pci\ninterface=ens6\n")
	s.Write("run/lock", "interface=eth8\n")
	for name, want := range map[string]string{
		"eth3": "no such interface", // its function has no driver: no longer bound
		"eth7": "no such interface",
		"ens6": "no such interface", // unbound
		"eth8": "no such interface",
		"":     "no such interface",
	} {
		_, err := r.Resolve(name)
		require.ErrorIs(t, err, ErrNoInterface, name)
		require.ErrorContains(t, err, want)
	}
	s.Driver("devices/pci0000:00/0000:03:00.1", "vfio-pci")
	f, err := r.Resolve("eth3")
	require.NoError(t, err)
	require.Equal(t, Address{Bus: 3, Function: 1}, f.Address)
	require.Equal(t, "vfio-pci", f.Driver)
	f, err = r.Resolve("eth2")
	require.NoError(t, err, "an existing interface has priority")
	require.Equal(t, Address{Bus: 3}, f.Address)
	_, err = r.Resolve("03:00.0")
	require.ErrorContains(t, err, "the domain is missing")
}

// opened lists the names opened by the scheme opentest. A scheme cannot be removed, so
// it is registered once for all runs of the tests.
var (
	opened     []string
	errRefusal = errors.New("refused")
)

func init() {
	Register("opentest", func(rest string) (Device, error) {
		opened = append(opened, rest)
		return nil, errRefusal
	})
}

func TestOpenCallsTheRegisteredScheme(t *testing.T) {
	opened = nil
	for _, name := range []string{"opentest:", "opentest:/run/nic.sock", "opentest:a=b:c"} {
		_, err := Open(name)
		require.ErrorIs(t, err, errRefusal)
	}
	require.Equal(t, []string{"", "/run/nic.sock", "a=b:c"}, opened)
	require.Panics(t, func() { Register("opentest", nil) })

	for _, name := range []string{"", "other:/run/nic.sock", "opentst:x", ":"} {
		_, err := Open(name)
		require.ErrorContains(t, err, "want a PCI address (0000:03:00.0), an interface name, or a scheme of this program (", name)
		require.ErrorContains(t, err, "opentest:", name)
	}
}
