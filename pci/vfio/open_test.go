package vfio

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/pci"
)

const port = "0000:03:00.0"

func TestFormIsSelected(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(r *rig)
		want form
	}{
		"both exist":               {func(*rig) {}, formIOMMUFD},
		"no /dev/iommu":            {func(r *rig) { _ = os.Remove(r.iommuNode()) }, formGroup},
		"no access to /dev/iommu":  {func(r *rig) { r.k.nodes[r.iommuNode()] = syscall.EACCES }, formGroup},
		"no device node":           {func(r *rig) { _ = os.Remove(r.deviceNode(r.lookup(port))) }, formGroup},
		"no access to device node": {func(r *rig) { r.k.nodes[r.deviceNode(r.lookup(port))] = syscall.EACCES }, formGroup},
		"old kernel": {func(r *rig) {
			_ = os.RemoveAll(filepath.Join(r.sys, "bus/pci/devices", port, "vfio-dev"))
		}, formGroup},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c.set(r)
			d := r.dial(formAuto)
			require.Equal(t, c.want.String(), d.Form())
		})
	}
}

func TestFailuresNameTheRemedy(t *testing.T) {
	const bind = "sudo examples/vfio-bind bind 0000:03:00.0 -u $USER"
	for name, c := range map[string]struct {
		form form
		set  func(r *rig)
		want []string
	}{
		"IOMMU off": {formAuto, func(r *rig) {
			require.NoError(t, os.Remove(filepath.Join(r.sys, "bus/pci/devices", port, "iommu_group")))
		}, []string{"no IOMMU group: the IOMMU is off", "intel_iommu=on (Intel)", "amd_iommu=off"}},
		"another driver": {formAuto, func(r *rig) { r.bind(port, "ixgbe") },
			[]string{"kernel driver ixgbe", "not bound to vfio-pci", bind}},
		"no driver": {formAuto, func(r *rig) { r.bind(port, "") }, []string{"no driver", bind}},
		"no container": {formGroup, func(r *rig) { _ = os.Remove(r.containerNode()) },
			[]string{"vfio/vfio: no such file or directory", "sudo modprobe vfio-pci"}},
		"no type 1": {formGroup, func(r *rig) { r.k.noType1 = true },
			[]string{"VFIO_CHECK_EXTENSION", "sudo modprobe vfio_iommu_type1"}},
		"no access to group": {formGroup, func(r *rig) { r.k.nodes[r.groupNode(12)] = syscall.EACCES },
			[]string{"vfio/12: permission denied: owner root:root, mode 0644", bind}},
		"no access to device node": {formIOMMUFD, func(r *rig) { r.k.nodes[r.deviceNode(r.lookup(port))] = syscall.EPERM },
			[]string{"vfio/devices/vfio3: operation not permitted: owner ", bind}},
		"no iommufd": {formIOMMUFD, func(r *rig) { _ = os.Remove(r.iommuNode()) },
			[]string{"sudo modprobe iommufd (Linux 6.2), or use vfio-group:0000:03:00.0"}},
		"no device node": {formIOMMUFD, func(r *rig) {
			_ = os.RemoveAll(filepath.Join(r.sys, "bus/pci/devices", port, "vfio-dev"))
		}, []string{"has no vfio-dev: VFIO device nodes need Linux 6.6 with CONFIG_VFIO_DEVICE_CDEV"}},
		"not viable": {formGroup, func(r *rig) {
			r.k.viable = false
			r.bind("0000:03:00.1", "ixgbe")
		}, []string{"VFIO_GROUP_GET_STATUS: group not viable", "VFIO needs all functions of IOMMU group 12, and the kernel uses 0000:03:00.1 (ixgbe)",
			"sudo examples/vfio-bind bind 0000:03:00.1 -u $USER"}},
		"not viable, by node": {formIOMMUFD, func(r *rig) {
			r.k.viable = false
			r.bind("0000:03:00.1", "ixgbe")
		}, []string{"VFIO_DEVICE_BIND_IOMMUFD: operation not permitted", "the kernel uses 0000:03:00.1 (ixgbe)"}},
		"no PCI": {formGroup, func(r *rig) { r.k.card.deviceFlags = 0 }, []string{"VFIO_DEVICE_GET_INFO: not a PCI function"}},
		"not in D0": {formGroup, func(r *rig) {
			for i := range r.k.card.config {
				r.k.card.config[i] = 0xff
			}
		}, []string{"configuration space reads as all ones"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c.set(r)
			_, err := r.host.open("eth2", c.form, r.lookup(port))
			require.ErrorContains(t, err, "open device eth2: 0000:03:00.0 Ethernet controller [8086:10fb], ")
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			if name == "not in D0" { // undo for the clean-up
				clear(r.k.card.config[commandAt:6])
			}
		})
	}
}

func TestABusyGroupNamesItsProcess(t *testing.T) {
	r := newRig(t)
	other, err := r.k.open(r.groupNode(12)) // another process
	require.NoError(t, err)
	_, err = r.host.open("eth2", formGroup, r.lookup(port))
	require.ErrorIs(t, err, syscall.EBUSY)
	require.ErrorContains(t, err, "only one process at a time may open it. It is open in a process of another user: sudo fuser -v ")
	r.write(filepath.Join(r.proc, "4711/comm"), "hpcapdd\n")
	require.NoError(t, os.MkdirAll(filepath.Join(r.proc, "4711/fd"), 0o755))
	require.NoError(t, os.Symlink(r.groupNode(12), filepath.Join(r.proc, "4711/fd/7")))
	_, err = r.host.open("eth2", formGroup, r.lookup(port))
	require.ErrorContains(t, err, "only one process at a time may open it: process 4711 (hpcapdd)")
	require.NoError(t, r.k.close(other))
}

// A node can be opened twice, but bound only once.
func TestABusyDeviceNamesItsProcess(t *testing.T) {
	r := newRig(t)
	d := r.dial(formIOMMUFD)
	node := r.deviceNode(r.lookup(port))
	self := filepath.Join(r.proc, fmt.Sprint(os.Getpid()), "fd")
	require.NoError(t, os.MkdirAll(self, 0o755))
	require.NoError(t, os.Symlink(node, filepath.Join(self, "5"))) // opened by the call under test
	r.write(filepath.Join(r.proc, "4711/comm"), "hpcapdd\n")
	require.NoError(t, os.MkdirAll(filepath.Join(r.proc, "4711/fd"), 0o755))
	require.NoError(t, os.Symlink(node, filepath.Join(r.proc, "4711/fd/7")))
	other := &host{k: r.k, sys: r.sys, dev: r.dev, proc: r.proc, limits: r.limits, memlock: r.memlock, reachable: r.reachable, spaces: map[spaceKey]*space{}}
	_, err := other.open("eth2", formIOMMUFD, r.lookup(port))
	require.ErrorIs(t, err, syscall.EINVAL)
	require.ErrorContains(t, err, "VFIO_DEVICE_BIND_IOMMUFD: invalid argument: function or group in use: process 4711 (hpcapdd)")
	require.NotContains(t, err.Error(), "this process")
	require.NoError(t, os.Symlink(node, filepath.Join(self, "6")))
	_, err = other.open("eth2", formIOMMUFD, r.lookup(port))
	require.ErrorContains(t, err, "this process")
	require.NoError(t, d.Close())
}

// This machine has no such function; the registered openers report that.
func TestSchemesAreRegistered(t *testing.T) {
	for _, scheme := range []string{"vfio-group:", "vfio-iommufd:"} {
		_, err := pci.Open(scheme + "ffff:ff:1f.7")
		require.ErrorIs(t, err, pci.ErrNoFunction, scheme)
		require.ErrorContains(t, err, "open device "+scheme+"ffff:ff:1f.7: ")
		_, err = pci.Open(scheme + "no-such-if")
		require.ErrorIs(t, err, pci.ErrNoInterface)
	}
	_, err := pci.Open("ffff:ff:1f.7")
	require.ErrorIs(t, err, pci.ErrNoFunction)
}

// The system calls that work on a machine without VFIO.
func TestLinuxCalls(t *testing.T) {
	k := linux{}
	_, err := k.open("/nonexistent/node")
	require.ErrorIs(t, err, syscall.ENOENT)
	fd, err := k.open("/dev/null")
	require.NoError(t, err)
	_, err = k.ioctl(fd, getAPIVersion, 0, nil)
	require.ErrorIs(t, err, syscall.ENOTTY)
	arg := make([]byte, 16)
	mem := []byte{1}
	_, err = k.ioctl(fd, iommuMapDMA, 0, arg, ref{8, mem})
	require.ErrorIs(t, err, syscall.ENOTTY)
	require.Equal(t, uint64(addressOf(mem)), order.Uint64(arg[8:]))
	n, err := k.pwrite(fd, mem, 0)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = k.mmap(fd, 0, 4096, nil)
	require.Error(t, err)
	require.NoError(t, k.close(fd))
	_, err = os.Stat(fmt.Sprintf("/proc/self/fd/%d", fd))
	require.Error(t, err)
	limit, _ := readMemlock()
	require.NotZero(t, limit)
}
