//go:build vmtest

package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// keep writes the output of a program to the folder $VMTEST_KEEP, for documents.
func keep(t *testing.T, name, text string) {
	t.Helper()
	if dir := os.Getenv("VMTEST_KEEP"); dir != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".txt"), []byte(text), 0o644))
	}
}

// bound is a machine with a port for vfio-bind.
type bound struct {
	*vm
	addr, group string
}

func newBound(t *testing.T, v *vm) bound {
	b := bound{vm: v, addr: v.nic(0).addr(t)}
	b.run(t, "modprobe ixgbe")
	b.group = strings.TrimSpace(b.run(t, "basename $(readlink /sys/bus/pci/devices/"+b.addr+"/iommu_group)"))
	return b
}

// refused runs a command that must end with status 1, and returns its output.
func (b bound) refused(t *testing.T, command string) string {
	t.Helper()
	out, err := b.try(command)
	require.EqualError(t, err, "status 1", "%s: %s", command, out)
	return out
}

func (b bound) driver(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(b.run(t, "basename $(readlink /sys/bus/pci/devices/"+b.addr+"/driver || echo none)"))
}

// nodes returns the device nodes of the bound port, and /dev/iommu if it needs it.
func (b bound) nodes(t *testing.T) []string {
	nodes := []string{"/dev/vfio/" + b.group}
	if out, err := b.try("ls -d /sys/bus/pci/devices/" + b.addr + "/vfio-dev/vfio*/dev"); err == nil {
		nodes = append(nodes, "/dev/vfio/devices/"+filepath.Base(filepath.Dir(strings.TrimSpace(out))), "/dev/iommu")
	}
	return nodes
}

// state returns everything that vfio-bind may change. A failure must not change it.
func (b bound) state(t *testing.T) string {
	t.Helper()
	out := b.run(t, `cd /sys/bus/pci/devices/`+b.addr+` && basename $(readlink driver) && cat driver_override
for i in net/*; do ip -o address show dev ${i#net/} | grep -v inet6; ip route show dev ${i#net/} | sed 's/ *linkdown *//; s/ *$//'; cat $i/mtu $i/flags; done
cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages; stat -c '%n %a %U' /dev/iommu /dev/vfio/* 2>/dev/null; ls /run/ixcap/vfio-bind 2>/dev/null; true`)
	return regexp.MustCompile(`(?m)^\d+: `).ReplaceAllString(out, "") // a new interface has another index
}

func TestBind(t *testing.T) {
	t.Parallel()
	for kernel := range bases {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			n := newPeer(t, 0, "192.0.2.1/24")
			b := newBound(t, boot(t, machine{Kernel: kernel, NICs: []nic{{Wire: "packet=" + n.Wire}}}))
			bindAndUnbind(t, b)
			if kernel == "6.1" { // independent of the kernel
				bindRefuses(t, b)
				bindUndoes(t, b)
			}
		})
	}
}

func bindAndUnbind(t *testing.T, b bound) {
	before := b.state(t)
	step(t, "makes a user the owner of the nodes, twice", func(t *testing.T) {
		keep(t, "bind "+b.machine.Kernel, b.run(t, "vfio-bind bind nic0 -u probe --hugepages 24"))
		for range 2 {
			require.Equal(t, "vfio-pci", b.driver(t))
			require.Equal(t, "driver=ixgbe\ninterface=nic0\n", b.run(t, "cat /run/ixcap/vfio-bind/"+b.addr))
			require.Equal(t, "644", strings.TrimSpace(b.run(t, "stat -c %a /run/ixcap/vfio-bind/"+b.addr)))
			for _, node := range b.nodes(t) {
				require.Regexp(t, "^probe", b.run(t, "stat -c %U "+node), node)
				b.runAs(t, "probe", "exec 3<>"+node)
			}
			b.runAs(t, "probe", "exec 3<>/dev/vfio/vfio")
			require.Equal(t, "24", strings.TrimSpace(b.run(t, "cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")))
			b.run(t, "vfio-bind bind "+b.addr+" -u probe --hugepages 8") // never fewer
		}
	})
	step(t, "shows the state to all users", func(t *testing.T) {
		out := b.runAs(t, "probe", "vfio-bind status")
		keep(t, "status "+b.machine.Kernel, out)
		for _, want := range []string{b.addr + "  [8086:10fb]", "none (was nic0)", "vfio-pci (was ixgbe)", "/dev/vfio/" + b.group + "  probe:root", "huge pages of 2 MiB"} {
			require.Contains(t, out, want)
		}
	})
	step(t, "does not unbind an open port", func(t *testing.T) {
		p := b.startAs(t, "probe", "exec 3<>/dev/vfio/"+b.group+"; echo open; read -r never </dev/zero; sleep 100")
		p.waitFor(t, "open", time.Minute)
		require.Contains(t, b.refused(t, "vfio-bind unbind nic0"), "is open in process")
		require.NoError(t, p.signal("KILL"))
		<-p.done
	})
	step(t, "unbinds the port, twice, and it carries traffic", func(t *testing.T) {
		keep(t, "unbind "+b.machine.Kernel, b.run(t, "vfio-bind unbind nic0"))
		require.Contains(t, b.run(t, "vfio-bind unbind nic0"), "is not bound to vfio-pci")
		b.run(t, "echo 0 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
		after := b.state(t)
		require.NotContains(t, after, "probe")
		// Loaded modules and the container's node remain.
		after = strings.ReplaceAll(after, "/dev/vfio/vfio 666 root\n", "")
		after = strings.ReplaceAll(after, "/dev/vfio/devices 755 root\n", "")
		if !strings.Contains(before, "/dev/iommu") {
			after = strings.ReplaceAll(after, "/dev/iommu 660 root\n", "")
		}
		require.Equal(t, before, after)
		b.run(t, "ip address add 192.0.2.2/24 dev nic0 && ip link set nic0 up")
		b.ping(t)
		b.run(t, "ip address flush dev nic0")
	})
}

// ping waits until the peer answers, because link-up takes seconds.
func (b bound) ping(t *testing.T) {
	t.Helper()
	b.run(t, "for i in $(seq 30); do ping -c 1 -W 2 192.0.2.1 >/dev/null && exit 0; done; exit 1")
}

func bindRefuses(t *testing.T, b bound) {
	step(t, "rejects other functions", func(t *testing.T) {
		_, err := b.tryAs("probe", "vfio-bind bind nic0")
		require.Error(t, err)
		for command, want := range map[string]string{
			"vfio-bind bind nic9":                                   "nic9: no such interface",
			"vfio-bind bind lo":                                     "is virtual",
			"vfio-bind bind 0000:7f:00.0":                           "no such PCI function",
			"vfio-bind bind 0000:00:10.0":                           "not a network function",
			"vfio-bind bind " + strings.TrimPrefix(b.addr, "0000:"): "the domain is missing (most likely " + b.addr + ")",
			"vfio-bind bind nic0 -u no-such-user":                   "no such user",
			"vfio-bind bind nic0 --hugepages 8@7":                   "no huge pages of 2 MiB on NUMA node 7",
		} {
			require.Contains(t, b.refused(t, command), want, command)
		}
		out, err := b.try("vfio-bind bind nic0 --huge 8")
		require.EqualError(t, err, "status 2", out)
	})
	step(t, "rejects a port in use", func(t *testing.T) {
		b.run(t, "modprobe 8021q; modprobe macvlan; modprobe bonding; modprobe bridge")
		for setup, c := range map[string]struct{ undo, want string }{
			"ip address add 192.0.2.2/24 dev nic0 && ip link set nic0 up && ip route add default via 192.0.2.1": {"ip address flush dev nic0", "address 192.0.2.2/24, route default via 192.0.2.1"},
			"ip link add link nic0 name nic0.5 type vlan id 5":                                                  {"ip link del nic0.5", "interface nic0.5 on top"},
			"ip link add link nic0 name over type macvlan":                                                      {"ip link del over", "interface over on top"},
			"ip link add bond7 type bond && ip link set nic0 down && ip link set nic0 master bond7":             {"ip link del bond7", "member of bond bond7"},
			"ip link add br7 type bridge && ip link set nic0 master br7":                                        {"ip link del br7", "member of bridge br7"},
		} {
			b.run(t, setup)
			out := b.refused(t, "vfio-bind bind nic0 -u probe")
			require.Contains(t, out, c.want)
			require.Contains(t, out, "--force")
			require.Equal(t, "ixgbe", b.driver(t))
			keep(t, "refused "+strings.Fields(c.want)[0], out)
			b.run(t, c.undo)
		}
	})
	step(t, "binds it with --force", func(t *testing.T) {
		b.run(t, "ip address add 192.0.2.2/24 dev nic0 && ip link set nic0 up")
		b.run(t, "vfio-bind bind nic0 --force")
		require.Equal(t, "vfio-pci", b.driver(t))
		require.Regexp(t, "^root", b.run(t, "stat -c %U /dev/vfio/"+b.group), "no user was named")
		b.run(t, "vfio-bind unbind "+b.addr)
		require.Equal(t, "ixgbe", b.driver(t))
		b.run(t, "test -e /sys/class/net/nic0")
	})
}

// A failed step restores the port and its configuration.
func bindUndoes(t *testing.T, b bound) {
	const sys = "/sys/bus/pci/"
	b.run(t, "ip address add 192.0.2.2/24 dev nic0; ip link set nic0 mtu 4000 up && ip route add 203.0.113.0/24 via 192.0.2.1 metric 7")
	before := b.state(t)
	for name, file := range map[string]string{
		"the driver does not bind": sys + "drivers/vfio-pci/bind",
		"the override is rejected": sys + "devices/" + b.addr + "/driver_override",
	} {
		step(t, "undoes: "+name, func(t *testing.T) {
			b.run(t, "modprobe vfio-pci; echo '(null)' >/tmp/over; mount --bind /tmp/over "+file+" && mount -o remount,bind,ro "+file)
			out := b.refused(t, "vfio-bind bind nic0 -u probe --force --hugepages 8")
			b.run(t, "umount "+file)
			require.Contains(t, out, "the kernel rejected")
			require.Contains(t, out, b.addr+" restored: driver ixgbe")
			require.Equal(t, before, b.state(t), out)
			b.ping(t)
		})
	}
	step(t, "undoes: more huge pages than memory", func(t *testing.T) {
		out := b.refused(t, "vfio-bind bind nic0 -u probe --force --hugepages 99999")
		require.Regexp(t, `huge pages of 2 MiB.*: \d+ of 99999`, out)
		require.Equal(t, before, b.state(t), out)
	})
	for _, signal := range []string{"TERM", "INT"} {
		step(t, "undoes: SIG"+signal, func(t *testing.T) {
			// A FIFO in place of the file: the step blocks until it is read.
			bind := sys + "drivers/vfio-pci/bind"
			b.run(t, "rm -f /tmp/fifo; mkfifo /tmp/fifo && mount --bind /tmp/fifo "+bind)
			p := b.start(t, "exec vfio-bind bind nic0 -u probe --force")
			b.run(t, "for i in $(seq 600); do [ -e /sys/class/net/nic0 ] || exit 0; sleep 0.1; done; exit 1")
			require.NoError(t, p.signal(signal))
			out, err := p.end(2 * time.Minute)
			require.Error(t, err)
			b.run(t, "umount "+bind+"; cat /tmp/fifo >/dev/null & sleep 1; kill $! 2>/dev/null; true")
			require.Contains(t, out, "restored: driver ixgbe")
			require.Equal(t, before, b.state(t), out)
			b.ping(t)
		})
	}
	step(t, "reports a missing module", func(t *testing.T) {
		module := strings.TrimSpace(b.run(t, "find /usr/lib/modules/ -name 'vfio-pci.ko*'"))
		require.NotEmpty(t, module)
		b.run(t, fmt.Sprintf("modprobe -r vfio-pci; mount --bind /dev/null %s", module))
		out := b.refused(t, "vfio-bind bind nic0 --force")
		b.run(t, "umount "+module)
		require.Contains(t, out, "the module vfio-pci cannot be loaded")
		require.Equal(t, "ixgbe", b.driver(t))
	})
}
