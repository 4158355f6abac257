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

// TestBoot checks the properties of a VM that the other tests need.
func TestBoot(t *testing.T) {
	t.Parallel()
	for _, kernel := range kernels {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			n := newPeer(t, 0, "192.0.2.1/24")
			v := boot(t, machine{Kernel: kernel, NICs: []nic{{Wire: "packet=" + n.Wire}, {Wire: "pair"}, {Wire: "pair"}}, AddressBits: 39})
			if kernel != "iommufd" {
				require.True(t, strings.HasPrefix(v.release, kernel), "kernel %s", v.release)
			}
			step(t, "NICs behind an IOMMU", func(t *testing.T) { checkNICs(t, v, 3) })
			step(t, "ixgbe binds all, vfio-pci binds one", func(t *testing.T) { checkDrivers(t, v, kernel) })
		})
	}
}

func checkNICs(t *testing.T, v *vm, n int) {
	for i := range n {
		at := "/sys/bus/pci/devices/" + v.nic(i).addr(t)
		require.Equal(t, "0x8086 0x10fb 0x020000", strings.Join(strings.Fields(v.run(t, fmt.Sprintf("cd %s && cat vendor device class", at))), " "))
		require.Equal(t, v.nic(i).addr(t)+"\n", v.run(t, "ls "+at+"/iommu_group/devices"), "alone in its group")
	}
	require.Equal(t, "39", strings.TrimSpace(v.run(t, "echo $(( (0x$(tail -c 9 /sys/class/iommu/dmar0/intel-iommu/cap) >> 16 & 63) + 1 ))")),
		"address bits: MGAW of the IOMMU's capability register")
}

func checkDrivers(t *testing.T, v *vm, kernel string) {
	v.run(t, "modprobe ixgbe")
	for i := range v.ports {
		require.Contains(t, v.run(t, fmt.Sprintf("ethtool -i nic%d", i)), "bus-info: "+v.nic(i).addr(t))
		mac := strings.TrimSpace(v.run(t, fmt.Sprintf("cat /sys/class/net/nic%d/address", i)))
		require.Equal(t, v.nic(i).stats(t).MAC, mac)
	}
	v.run(t, "modprobe vfio-pci && (modprobe iommufd || true)")
	addr := v.nic(0).addr(t)
	v.run(t, fmt.Sprintf("cd /sys/bus/pci/devices/%s && echo vfio-pci > driver_override && echo %[1]s > driver/unbind && echo %[1]s > /sys/bus/pci/drivers_probe", addr))
	require.Equal(t, "vfio-pci\n", v.run(t, fmt.Sprintf("basename $(readlink /sys/bus/pci/devices/%s/driver)", addr)))
	v.run(t, fmt.Sprintf("test -c /dev/vfio/$(basename $(readlink /sys/bus/pci/devices/%s/iommu_group))", addr))
	_, err := v.try("test -c /dev/vfio/devices/vfio0 -a -c /dev/iommu")
	if kernel == "iommufd" {
		require.NoError(t, err, "a cdev")
	} else {
		require.Error(t, err, "groups only")
	}
}

// TestHarness checks that failures are detected, without delay.
func TestHarness(t *testing.T) {
	t.Parallel()
	v := boot(t, machine{Kernel: "6.1", Memlock: "64"})
	step(t, "output and status", func(t *testing.T) {
		out, err := v.try("echo one; echo two >&2; exit 3")
		require.EqualError(t, err, "status 3")
		require.Equal(t, "one\ntwo\n", out)
		out = v.run(t, "seq 100000")
		require.True(t, strings.HasPrefix(out, "1\n2\n") && strings.HasSuffix(out, "\n100000\n") && len(out) == 588895, "%d bytes", len(out))
		_, err = v.try("/no/such/program")
		require.EqualError(t, err, "status 127")
	})
	step(t, "jobs at once, signals", func(t *testing.T) {
		slow := v.start(t, "echo ready; sleep 100; echo not reached")
		slow.waitFor(t, "ready", time.Minute)
		require.Equal(t, "fast\n", v.run(t, "echo fast"))
		require.NoError(t, slow.signal("KILL"))
		out, err := slow.end(time.Minute)
		require.EqualError(t, err, "ended by SIGKILL")
		require.Equal(t, "ready\n", out)
		_, err = v.start(t, "sleep 100").end(100 * time.Millisecond)
		require.EqualError(t, err, "not done after 100ms")
	})
	step(t, "an unprivileged user", func(t *testing.T) {
		require.Equal(t, "probe 1000 64 /home/probe\n", v.runAs(t, "probe", `echo $(id -un) $(id -u) $(ulimit -l) "$PWD"`))
		_, err := v.tryAs("probe", "cat /proc/1/environ")
		require.Error(t, err)
		require.Contains(t, v.runAs(t, "probe", "grep CapEff /proc/self/status"), "0000000000000000")
	})
	step(t, "the shared folder", func(t *testing.T) {
		require.NoError(t, os.WriteFile(filepath.Join(v.share, "from-host"), []byte("hello"), 0o644))
		require.Equal(t, "hello", v.runAs(t, "probe", "cat /share/from-host"))
		v.runAs(t, "probe", "head -c 3000000 /dev/zero > /share/from-vm")
		b, err := os.ReadFile(filepath.Join(v.share, "from-vm"))
		require.NoError(t, err)
		require.Len(t, b, 3000000)
	})
	step(t, "a crash of the kernel fails running commands", func(t *testing.T) {
		v.mayBreak = true
		_, err := v.try("echo c > /proc/sysrq-trigger; sleep 100")
		require.ErrorContains(t, err, "error of the VM's kernel: ")
		require.ErrorContains(t, err, "sysrq", "contains the end of the console")
		start := time.Now()
		_, err = v.try("true")
		require.Error(t, err)
		require.Less(t, time.Since(start), 10*time.Second)
	})
}

// TestPeer checks that namespace and wire are private to a test.
func TestPeer(t *testing.T) {
	t.Parallel()
	step(t, "a namespace with an address", func(t *testing.T) {
		n := newPeer(t, 9000, "192.0.2.1/24", "2001:db8::1/64")
		out := n.run(t, "ip -brief address")
		require.Contains(t, out, "192.0.2.1/24")
		require.Contains(t, out, "2001:db8::1/64")
		require.Contains(t, n.run(t, "ip link show eth0"), "mtu 9000")
		_, err := n.try("ip link show " + n.Wire)
		require.Error(t, err, "the model's end is not in the namespace")
	})
}
