package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesFollowTheRootPort(t *testing.T) {
	for device, want := range map[string]string{
		"/sys/devices/pci0000:00/0000:00:10.0/0000:01:00.0/":        "nic0",
		"/sys/devices/pci0000:00/0000:00:1a.0/0000:0b:00.0/":        "nic10",
		"/sys/devices/pci0000:00/0000:00:03.0/virtio0/":             "", // not a root port of the tests
		"/sys/devices/pci0000:00/0000:00:10.1/0000:01:00.0/":        "",
		"/sys/devices/virtual/net/lo/":                              "",
		"/sys/devices/pci0001:00/0001:00:10.0/0001:01:00.0/virtio/": "",
	} {
		name, ok := nicName(device)
		require.Equal(t, want, name, device)
		require.Equal(t, want != "", ok, device)
	}
}

func TestOtherInterfacesAreNotRenamed(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "sys/class/net/lo"), 0o755)) // virtual: no device
	device := filepath.Join(root, "sys/devices/pci0000:00/0000:00:10.0/0000:01:00.0")
	require.NoError(t, os.MkdirAll(device, 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "sys/class/net/nic0"), 0o755))
	require.NoError(t, os.Symlink(device, filepath.Join(root, "sys/class/net/nic0/device")))
	require.NoError(t, nameInterfaces(root), "nic0 has its name")

	require.NoError(t, nameInterfaces(filepath.Join(root, "none")), "no interface at all")
}

func TestPortIsFoundByItsName(t *testing.T) {
	root := t.TempDir()
	for dir, name := range map[string]string{"vport0p1": "other", "vport0p2": portName} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, "sys/class/virtio-ports", dir), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, "sys/class/virtio-ports", dir, "name"), []byte(name+"\n"), 0o644))
	}
	require.NoError(t, os.Mkdir(filepath.Join(root, "dev"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "dev/vport0p2"), nil, 0o644))
	f, err := openPort(root)
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, "vport0p2", filepath.Base(f.Name()))
}
