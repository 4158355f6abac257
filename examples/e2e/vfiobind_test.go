package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVFIOBindChangesOwnersOfNodesAndRestoresThem(t *testing.T) {
	t.Parallel()
	h := newBindHost(t)
	h.locked(func() { h.cdev = true })
	h.write("dev/iommu", "")
	h.write("dev/vfio/vfio", "")
	require.NoError(t, os.Chmod(h.path("dev/iommu"), 0o660))
	require.NoError(t, os.Chmod(h.path("dev/vfio/vfio"), 0o666))

	out := h.bind(0, "bind", "eth2", "-u", "daemon")
	require.Equal(t, port0+" (eth2) is bound to vfio-pci, owner daemon: /dev/vfio/12, /dev/vfio/devices/vfio0\n", out)
	for range 2 {
		require.Equal(t, "vfio-pci", h.driver(port0))
		require.Equal(t, "1 600", h.mode("dev/vfio/12"))
		require.Equal(t, "1 600", h.mode("dev/vfio/devices/vfio0"))
		require.Equal(t, "1 660", h.mode("dev/iommu"))
		require.Equal(t, "0 666", h.mode("dev/vfio/vfio"), "open to all users already")
		require.Equal(t, "driver=ixgbe\ninterface=eth2", h.text("run/ixcap/vfio-bind/"+port0))
		require.Equal(t, "0 644", h.mode("run/ixcap/vfio-bind/"+port0))
		h.bind(0, "bind", port0, "-u", "daemon")
	}
	// The second port of the group, for another user: both use /dev/iommu.
	h.bind(0, "bind", port1, "-u", "bin")
	require.Equal(t, "2 600", h.mode("dev/vfio/devices/vfio1"))
	require.Equal(t, "1 666", h.mode("dev/iommu"))
	out = h.bind(0, "status")
	require.Contains(t, out, port0+"  [8086:10fb]\n  interface    none (was eth2)\n  driver       vfio-pci (was ixgbe)\n  IOMMU group  12, with 0000:03:00.1 (vfio-pci)\n")
	require.Contains(t, out, "/dev/iommu  daemon:root")

	require.Equal(t, port0+" is bound to ixgbe again, interface eth2\n", h.bind(0, "unbind", "eth2"))
	require.Equal(t, "ixgbe", h.driver(port0))
	require.Equal(t, "1 666", h.mode("dev/iommu"), "the other port needs it")
	require.Equal(t, port1+" is unbound, without driver as before\n", h.bind(0, "unbind", port1))
	require.Empty(t, h.driver(port1), "as before")
	require.Equal(t, "0 660", h.mode("dev/iommu"))
	require.Equal(t, "(null)", strings.TrimSpace(h.text("sys/bus/pci/devices/"+port0+"/driver_override") + "(null)")[:6])
	require.Contains(t, h.bind(0, "unbind", port0), "is not bound to vfio-pci (driver: ixgbe)")
	require.NoFileExists(t, h.path("run/ixcap/nodes"))
	records, err := os.ReadDir(h.path("run/ixcap/vfio-bind"))
	require.NoError(t, err)
	require.Empty(t, records)
}

func TestVFIOBindRejects(t *testing.T) {
	t.Parallel()
	h := newBindHost(t)
	h.write("sys/bus/pci/devices/0000:00:1f.0/class", "0x060100\n")
	before := h.all()
	for _, c := range []struct{ args, want string }{
		{"bind eth9", "eth9: no such interface, and no bound port had that name"},
		{"bind lo", "interface lo: is virtual"},
		{"bind 03:00.0", "the domain is missing (most likely 0000:03:00.0)"},
		{"bind 0000:03:20.0", "want domain:bus:device.function in hexadecimal, such as 0000:03:00.0"},
		{"bind 0000:04:00.0", "0000:04:00.0: no such PCI function"},
		{"bind 0000:00:1f.0", "not a network function (class 0x060100)"},
		{"bind eth2 -u no-such-user", "no such user"},
		{"bind eth2 -u -n", "no such user: -n"},
	} {
		require.Contains(t, h.bind(1, strings.Fields(c.args)...), c.want, c.args)
	}
	for _, c := range []struct{ args, want string }{
		{"", "usage: vfio-bind"},
		{"bind", "bind: port missing"},
		{"bind eth2 eth3", "only one port at a time: eth3"},
		{"take eth2", "no such command: take"},
		{"bind eth2 -x", "no such option: -x"},
		{"bind eth2 -u", "-u: value missing"},
		{"bind eth2 --hugepages 0", "want N or N@NODE"},
		{"bind eth2 --hugepages 1@x", "want N or N@NODE"},
		{"bind eth2 --hugepages 18446744073709551616", "want N or N@NODE"},
		{"unbind eth2 -u daemon", "need bind"},
	} {
		require.Contains(t, h.bind(2, strings.Fields(c.args)...), c.want, c.args)
	}
	require.Contains(t, h.bind(2, "bind", "eth2", "-u", ""), "-u: value missing", "$USER is not set")
	require.Contains(t, h.bind(0, "-h"), "usage: vfio-bind")

	_, status := h.in("sh", "-c", "ip address add 192.0.2.2/24 dev eth2 && ip link set eth2 up && ip route add default via 192.0.2.1")
	require.Zero(t, status)
	require.Contains(t, h.bind(1, "bind", "eth2"), "eth2 is in use: address 192.0.2.2/24, route default via 192.0.2.1. Move the configuration to another port, or use --force")
	_, status = h.in("ip", "address", "flush", "dev", "eth2")
	require.Zero(t, status)

	h.locked(func() { h.attach(port1, "ixgbe") })
	require.Contains(t, h.bind(1, "bind", "eth2"), "VFIO needs all functions of IOMMU group 12, and the kernel uses 0000:03:00.1 (ixgbe)")
	h.locked(func() { h.detach(port1) })
	require.NoError(t, os.Rename(h.path("sys/bus/pci/devices/"+port0+"/net"), h.path("sys/net-of-a-container")))
	require.Contains(t, h.bind(1, "bind", port0), "it is in another network namespace")
	require.NoError(t, os.Rename(h.path("sys/net-of-a-container"), h.path("sys/bus/pci/devices/"+port0+"/net")))
	h.write("sys/bus/pci/devices/"+port0+"/sriov_numvfs", "2\n")
	require.Contains(t, h.bind(1, "bind", "eth2"), "has virtual functions")
	require.NoError(t, os.Remove(h.path("sys/bus/pci/devices/"+port0+"/sriov_numvfs")))

	group := h.path("sys/bus/pci/devices/" + port0 + "/iommu_group")
	require.NoError(t, os.Remove(group))
	require.Contains(t, h.bind(1, "bind", "eth2"), "not behind an IOMMU, which VFIO needs: boot the kernel with intel_iommu=on iommu=pt")
	require.NoError(t, os.Symlink("/sys/kernel/iommu_groups/12", group))
	h.write("sys/kernel/iommu_groups/12/name", "vfio-noiommu\n")
	require.Contains(t, h.bind(1, "bind", "eth2"), "not behind an IOMMU")
	require.NoError(t, os.Remove(h.path("sys/kernel/iommu_groups/12/name")))
	h.write("bin/modprobe", "#!/bin/sh\nexit 1\n")
	require.Contains(t, h.bind(1, "bind", "eth2"), "the module vfio-pci cannot be loaded")
	h.write("bin/modprobe", strings.SplitN(before[strings.Index(before, "#!/bin/sh"):], "\n/dev", 2)[0]+"\n")
	after := h.all()
	for _, s := range []*string{&before, &after} { // the lock of vfio-bind
		*s = strings.ReplaceAll(*s, "/run/ixcap/lock 0 600 \n", "")
	}
	require.Equal(t, before, after)
}

func TestVFIOBindUndoesAfterAFailedStep(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		want   string
		inject func(h *bindHost)
	}{
		"the driver does not unbind": {"ixgbe does not release 0000:03:00.0", func(h *bindHost) { h.ignored = "ixgbe/unbind" }},
		"vfio-pci does not bind":     {"vfio-pci does not bind 0000:03:00.0", func(h *bindHost) { h.ignored = "vfio-pci/bind" }},
		"no device nodes":            {"no device node within 10 s: want /dev/vfio/12", func(h *bindHost) { h.noNode = true }},
		"no file of the override": {"the kernel rejected", func(h *bindHost) {
			file := h.path("sys/bus/pci/devices/" + port0 + "/driver_override")
			require.NoError(h.t, os.Remove(file))
			require.NoError(h.t, os.Mkdir(file, 0o755))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newBindHost(t)
			h.hasten()
			h.locked(func() { c.inject(h) })
			out := h.bind(1, "bind", "eth2", "-u", "daemon")
			require.Contains(t, out, c.want)
			require.Equal(t, "ixgbe", h.driver(port0))
			require.NoFileExists(t, h.path("run/ixcap/vfio-bind/"+port0))
			require.NoFileExists(t, h.path("run/ixcap/nodes"))
			require.NotContains(t, h.text("sys/bus/pci/devices/"+port0+"/driver_override"), "vfio")
			work, err := filepath.Glob(h.path("run/ixcap/work*"))
			require.NoError(t, err)
			require.Empty(t, work)
		})
	}
}

func TestVFIOBindContinuesAfterAKilledRun(t *testing.T) {
	t.Parallel()
	h := newBindHost(t)
	// The state after a run that was killed between the two drivers.
	h.write("run/ixcap/vfio-bind/"+port0, "driver=ixgbe\ninterface=eth2\n")
	h.locked(func() { h.detach(port0) })
	h.bind(0, "bind", "eth2", "-u", "daemon")
	require.Equal(t, "vfio-pci", h.driver(port0))
	require.Equal(t, port0+" is bound to ixgbe again, interface eth2\n", h.bind(0, "unbind", "eth2"))

	h.write("run/ixcap/vfio-bind/0000:09:00.0", "driver=ixgbe\ninterface=eth7\n")
	require.Equal(t, "0000:09:00.0 was unplugged, record removed\n", h.bind(0, "unbind", "eth7"))
	require.NoFileExists(t, h.path("run/ixcap/vfio-bind/0000:09:00.0"))
}
