//go:build vmtest

package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBoot shows that the machine is what the other tests take it for.
func TestBoot(t *testing.T) {
	t.Parallel()
	for _, kernel := range kernels {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			n := newPeer(t, 0, "192.0.2.1/24")
			g := boot(t, machine{Kernel: kernel, NICs: []nic{{Wire: "packet=" + n.Wire}, {Wire: "pair"}, {Wire: "pair"}}, AddressBits: 39})
			if kernel != "iommufd" {
				require.True(t, strings.HasPrefix(g.release, kernel), "kernel %s", g.release)
			}
			step(t, "the NICs are there, behind an IOMMU", func(t *testing.T) { sees82599s(t, g, 3) })
			step(t, "ixgbe takes them, vfio-pci takes one", func(t *testing.T) { takesDrivers(t, g, kernel) })
		})
	}
}

func sees82599s(t *testing.T, g *guest, n int) {
	for i := range n {
		at := "/sys/bus/pci/devices/" + g.nic(i).addr(t)
		require.Equal(t, "0x8086 0x10fb 0x020000", strings.Join(strings.Fields(g.run(t, fmt.Sprintf("cd %s && cat vendor device class", at))), " "))
		require.Equal(t, g.nic(i).addr(t)+"\n", g.run(t, "ls "+at+"/iommu_group/devices"), "it has a group of its own")
	}
	require.Equal(t, "39", strings.TrimSpace(g.run(t, "echo $(( (0x$(tail -c 9 /sys/class/iommu/dmar0/intel-iommu/cap) >> 16 & 63) + 1 ))")),
		"address bits: MGAW of the IOMMU's capability register")
}

func takesDrivers(t *testing.T, g *guest, kernel string) {
	g.run(t, "modprobe ixgbe")
	for i := range g.ports {
		require.Contains(t, g.run(t, fmt.Sprintf("ethtool -i nic%d", i)), "bus-info: "+g.nic(i).addr(t))
		mac := strings.TrimSpace(g.run(t, fmt.Sprintf("cat /sys/class/net/nic%d/address", i)))
		require.Equal(t, g.nic(i).stats(t).MAC, mac)
	}
	g.run(t, "modprobe vfio-pci && (modprobe iommufd || true)")
	addr := g.nic(0).addr(t)
	g.run(t, fmt.Sprintf("cd /sys/bus/pci/devices/%s && echo vfio-pci > driver_override && echo %[1]s > driver/unbind && echo %[1]s > /sys/bus/pci/drivers_probe", addr))
	require.Equal(t, "vfio-pci\n", g.run(t, fmt.Sprintf("basename $(readlink /sys/bus/pci/devices/%s/driver)", addr)))
	g.run(t, fmt.Sprintf("test -c /dev/vfio/$(basename $(readlink /sys/bus/pci/devices/%s/iommu_group))", addr))
	_, err := g.try("test -c /dev/vfio/devices/vfio0 -a -c /dev/iommu")
	if kernel == "iommufd" {
		require.NoError(t, err, "a cdev")
	} else {
		require.Error(t, err, "groups only")
	}
}

// TestHarness shows that what the tests rely on can fail, and does so at once.
func TestHarness(t *testing.T) {
	t.Parallel()
	g := boot(t, machine{Kernel: "6.1", Memlock: "64"})
	step(t, "output and status", func(t *testing.T) {
		out, err := g.try("echo one; echo two >&2; exit 3")
		require.EqualError(t, err, "status 3")
		require.Equal(t, "one\ntwo\n", out)
		out = g.run(t, "seq 100000")
		require.True(t, strings.HasPrefix(out, "1\n2\n") && strings.HasSuffix(out, "\n100000\n") && len(out) == 588895, "%d bytes", len(out))
		_, err = g.try("/no/such/program")
		require.EqualError(t, err, "status 127")
	})
	step(t, "jobs at once, signals", func(t *testing.T) {
		slow := g.start(t, "echo ready; sleep 100; echo not reached")
		slow.waitFor(t, "ready", time.Minute)
		require.Equal(t, "fast\n", g.run(t, "echo fast"))
		require.NoError(t, slow.signal("KILL"))
		out, err := slow.end(time.Minute)
		require.EqualError(t, err, "ended by SIGKILL")
		require.Equal(t, "ready\n", out)
		_, err = g.start(t, "sleep 100").end(100 * time.Millisecond)
		require.EqualError(t, err, "not done after 100ms")
	})
	step(t, "an unprivileged user", func(t *testing.T) {
		require.Equal(t, "probe 1000 64 /home/probe\n", g.runAs(t, "probe", `echo $(id -un) $(id -u) $(ulimit -l) "$PWD"`))
		_, err := g.tryAs("probe", "cat /proc/1/environ")
		require.Error(t, err)
		require.Contains(t, g.runAs(t, "probe", "grep CapEff /proc/self/status"), "0000000000000000")
	})
	step(t, "the shared folder", func(t *testing.T) {
		require.NoError(t, os.WriteFile(filepath.Join(g.share, "from-host"), []byte("hello"), 0o644))
		require.Equal(t, "hello", g.runAs(t, "probe", "cat /share/from-host"))
		g.runAs(t, "probe", "head -c 3000000 /dev/zero > /share/from-guest")
		b, err := os.ReadFile(filepath.Join(g.share, "from-guest"))
		require.NoError(t, err)
		require.Len(t, b, 3000000)
	})
	step(t, "a kernel's crash fails what runs", func(t *testing.T) {
		g.mayBreak = true
		_, err := g.try("echo c > /proc/sysrq-trigger; sleep 100")
		require.ErrorContains(t, err, "the guest's kernel is in trouble: ")
		require.ErrorContains(t, err, "sysrq", "the end of the console is in it")
		start := time.Now()
		_, err = g.try("true")
		require.Error(t, err)
		require.Less(t, time.Since(start), 10*time.Second)
	})
}

// TestPeer shows that a namespace and a wire are private to a test.
func TestPeer(t *testing.T) {
	t.Parallel()
	step(t, "a namespace with an address", func(t *testing.T) {
		n := newPeer(t, 9000, "192.0.2.1/24", "2001:db8::1/64")
		out := n.run(t, "ip -brief address")
		require.Contains(t, out, "192.0.2.1/24")
		require.Contains(t, out, "2001:db8::1/64")
		require.Contains(t, n.run(t, "ip link show eth0"), "mtu 9000")
		_, err := n.try("ip link show " + n.Wire)
		require.Error(t, err, "the model's end is outside")
	})
}
