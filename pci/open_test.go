package pci

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOpenExplainsWhyAFunctionCannotBeOpened(t *testing.T) {
	root := machine(t).root
	const instead = ": the kernel VFIO transport is not part of this version; open a model (sim:...) or a server (vfio-user:PATH) instead"
	for name, want := range map[string]string{
		"0000:03:00.0": "open device 0000:03:00.0: 0000:03:00.0 Ethernet controller [8086:10fb], interface eth2, held by the kernel driver ixgbe, in IOMMU group 12 with 0000:03:00.1" + instead,
		"eth2":         "open device eth2: 0000:03:00.0 Ethernet controller [8086:10fb], interface eth2, held by the kernel driver ixgbe, in IOMMU group 12 with 0000:03:00.1" + instead,
		"0000:03:00.1": "open device 0000:03:00.1: 0000:03:00.1 Ethernet controller [8086:10fb], held by no driver, in IOMMU group 12 with 0000:03:00.0" + instead,
		"0000:09:00.0": "open device 0000:09:00.0: look up 0000:09:00.0: no such PCI function",
		"eth9":         `open device: interface "eth9": no such interface`,
		"veth0":        `open device: interface "veth0": is virtual (veth), no PCI function is behind it`,
		"03:00.0":      `open device: PCI address "03:00.0": the domain is missing (most likely 0000:03:00.0); want domain:bus:device.function in hexadecimal, such as 0000:03:00.0`,
		"0000:03:00.9": `open device: PCI address "0000:03:00.9": a device has functions 0 to 7; want domain:bus:device.function in hexadecimal, such as 0000:03:00.0`,
	} {
		_, err := open(name, root, links)
		require.EqualError(t, err, want)
	}
	_, err := open("eth2", root, links)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = open("eth9", root, links)
	require.ErrorIs(t, err, ErrNoInterface)
	_, err = open("0000:09:00.0", root, links)
	require.ErrorIs(t, err, ErrNoFunction)
}

func TestOpenHandsARegisteredSchemeWhatFollowsIt(t *testing.T) {
	refusal := errors.New("refused")
	var got []string
	Register("opentest", func(rest string) (Device, error) {
		got = append(got, rest)
		return nil, refusal
	})
	for _, name := range []string{"opentest:", "opentest:/run/nic.sock", "opentest:a=b:c"} {
		_, err := Open(name)
		require.ErrorIs(t, err, refusal)
	}
	require.Equal(t, []string{"", "/run/nic.sock", "a=b:c"}, got)
	require.Panics(t, func() { Register("opentest", nil) })

	for _, name := range []string{"", "other:/run/nic.sock", "opentst:x", ":"} {
		_, err := Open(name)
		require.ErrorContains(t, err, "want a PCI address (0000:03:00.0), an interface name, or a scheme of this program (", name)
		require.ErrorContains(t, err, "opentest:", name)
	}
}
