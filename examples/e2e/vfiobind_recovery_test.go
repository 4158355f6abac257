package e2e

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/internal/testtime"
)

// unbind restores the state after a killed run of bind.
func TestVFIOUnbindAfterAKilledRun(t *testing.T) {
	t.Parallel()
	h := newBindHost(t)
	record, override := "run/ixcap/vfio-bind/"+port0, "sys/bus/pci/devices/"+port0+"/driver_override"
	h.write(record, "driver=ixgbe\ninterface=eth2\n")
	h.write(override, "vfio-pci\n")
	h.locked(func() { h.detach(port0) }) // between the two drivers
	require.Equal(t, port0+" is bound to ixgbe again, interface eth2\n", h.bind(0, "unbind", "eth2"))
	require.Equal(t, "ixgbe", h.driver(port0))
	require.Empty(t, h.text(override))
	require.NoFileExists(t, h.path(record))

	h.write(record, "driver=ixgbe\ninterface=eth2\n")
	h.write(override, "vfio-pci\n") // before the first of them
	require.Contains(t, h.bind(0, "unbind", "eth2"), "is not bound to vfio-pci (driver: ixgbe)")
	require.Empty(t, h.text(override), "or ixgbe would not bind the port when it is loaded")
	require.NoFileExists(t, h.path(record))
}

func TestVFIOBindDistinguishesUnpluggedPorts(t *testing.T) {
	t.Parallel()
	h := newBindHost(t)
	h.write("dev/iommu", "")
	require.NoError(t, os.Chmod(h.path("dev/iommu"), 0o660))
	h.locked(func() { h.cdev = true })
	h.bind(0, "bind", "eth2", "-u", "daemon")
	// A port with the same interface name was unplugged.
	h.write("run/ixcap/vfio-bind/0000:09:00.0", "driver=ixgbe\ninterface=eth2\n")
	require.Contains(t, h.bind(0, "status", "eth2"), port0)
	require.Contains(t, h.bind(0, "unbind", "eth2"), port0+" is bound to ixgbe again")
	require.Equal(t, "1 660", h.mode("dev/iommu"), "needed by another record")
	require.Equal(t, "0000:09:00.0 was unplugged, record removed\n", h.bind(0, "unbind", "0000:09:00.0"))
	require.Equal(t, "0 660", h.mode("dev/iommu"), "no longer needed")
	require.NoFileExists(t, h.path("run/ixcap/nodes"))
}

func TestVFIOBindAcceptsUsersByNumber(t *testing.T) {
	t.Parallel()
	h := newBindHost(t)
	h.write("dev/iommu", "")
	require.NoError(t, os.Chmod(h.path("dev/iommu"), 0o660))
	h.locked(func() { h.cdev = true })
	for _, user := range []string{"1", "daemon", "1"} {
		h.bind(0, "bind", port0, "-u", user)
		require.Equal(t, "1 660", h.mode("dev/iommu"), "owned by one user, closed to others")
	}
}

func TestVFIOBindShowsAPortWithoutDriver(t *testing.T) {
	t.Parallel()
	h := newBindHost(t)
	h.locked(func() { h.detach(port0) })
	h.bind(0, "bind", port1)
	require.Contains(t, h.bind(0, "status", port1), "  interface    none\n  driver       vfio-pci\n")
	require.NoError(t, os.Remove(h.path("sys/bus/pci/devices/"+port0+"/iommu_group")))
	out := h.bind(0, "status", port0)
	require.Contains(t, out, "IOMMU group  none, the IOMMU is off\n")
	require.NotContains(t, out, "node ", "%s", out)
}

// Only root may write to the folder of records.
func TestVFIOBindTrustsFoldersOfRootOnly(t *testing.T) {
	t.Parallel()
	h := newBindHost(t)
	h.mkdir("run/ixcap/vfio-bind")
	require.NoError(t, os.Chown(h.path("run/ixcap"), 1, 1))
	h.link("run/ixcap/lock", "/run/victim")
	h.write("run/victim", "precious")
	require.Contains(t, h.bind(1, "bind", "eth2"), "/run/ixcap: must be writable by root only: daemon:daemon drwxr-xr-x")
	require.NoError(t, os.Chown(h.path("run/ixcap"), 0, 0))
	require.NoError(t, os.Chmod(h.path("run/ixcap/vfio-bind"), 0o777))
	require.Contains(t, h.bind(1, "bind", "eth2"), "/run/ixcap/vfio-bind: must be writable by root only")
	require.Equal(t, "precious", h.text("run/victim"))
	require.Equal(t, "ixgbe", h.driver(port0))
}

// A driver that blocks keeps neither vfio-bind nor its output open.
func TestVFIOBindTimesOut(t *testing.T) {
	t.Parallel()
	h := newBindHost(t)
	h.hasten()
	fifo := h.path("sys/bus/pci/drivers/ixgbe/unbind")
	require.NoError(t, os.Remove(fifo))
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	t.Cleanup(func() { // unblocks the writer
		if f, err := os.OpenFile(fifo, os.O_RDWR|syscall.O_NONBLOCK, 0); err == nil {
			time.Sleep(100 * time.Millisecond)
			f.Close()
		}
	})
	start := time.Now()
	out := h.bind(1, "bind", "eth2")
	require.Less(t, time.Since(start), 30*time.Second+testtime.Deadline, "the writer keeps the output open")
	require.Contains(t, out, "write to /sys/bus/pci/devices/"+port0+"/driver/unbind did not return within 30 s")
	require.Contains(t, out, "restored: driver ixgbe")
	out = h.bind(0, "unbind", "eth2") // the lock is free
	require.Contains(t, out, "is not bound to vfio-pci")
}
