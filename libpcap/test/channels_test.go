package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// inNamespace moves the test's thread, and the programs that it starts, to a network
// namespace of its own with a veth pair ixv0, ixv1 of four queues.
func inNamespace(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root: sudo go test")
	}
	settings(t)
	runtime.LockOSThread()
	home, err := netns.Get()
	require.NoError(t, err)
	ns, err := netns.New()
	if err != nil {
		t.Skipf("no network namespace can be made (%v): run as root with CAP_SYS_ADMIN", err)
	}
	t.Cleanup(func() {
		require.NoError(t, netns.Set(home))
		ns.Close()
		home.Close()
		runtime.UnlockOSThread()
	})
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "ixv0", NumTxQueues: 4, NumRxQueues: 4}, PeerName: "ixv1", PeerNumTxQueues: 4, PeerNumRxQueues: 4}
	require.NoError(t, netlink.LinkAdd(link))
}

func TestChannelsOfADevice(t *testing.T) {
	inNamespace(t)
	channels := func() string { return host{}.run(t, "channels", "ixv0") }
	apply := func(env ...string) string { return host{env: env}.run(t, "apply", "ixv0") }
	require.Equal(t, "rx 4/4 tx 4/4 other 0/0 combined 0/0\n", channels())

	require.Empty(t, host{etc: "rx_channels@ixv0 = 2\ntx_channels@ixv0 = 3\n"}.run(t, "apply", "ixv0"))
	require.Equal(t, "rx 2/4 tx 3/4 other 0/0 combined 0/0\n", channels())

	// A veth has no combined channels; those that receive are meant.
	require.Empty(t, apply("PCAP_CHANNEL_ixv0=3"))
	require.Equal(t, "rx 3/4 tx 3/4 other 0/0 combined 0/0\n", channels())

	require.Equal(t, "warning set rx channels of ixv0 to 5: the device has at most 4.\n", apply("PCAP_CHANNEL_ixv0=5"))
	require.Equal(t, "warning set other channels of ixv0 to 1: the device has at most 0.\n", host{etc: "other_channels@ixv0 = 1"}.run(t, "apply", "ixv0"))
	require.Equal(t, "rx 3/4 tx 3/4 other 0/0 combined 0/0\n", channels())

	require.Equal(t, "error get channels of ixv9: No such device. Is it a network interface of this host?\n", host{}.run(t, "channels", "ixv9"))
	require.Equal(t, "error get channels of "+strings.Repeat("x", 16)+": No such device. Is it a network interface of this host?\n", host{}.run(t, "channels", strings.Repeat("x", 16)))
}

// Packet sockets of the system join a group by the same texts, as PACKET_FANOUT has them.
func TestPacketSocketsJoinAGroup(t *testing.T) {
	inNamespace(t)
	for text, mode := range map[string]int{"hash": 0, "flow": 0, "lb": 1, "round_robin": 1, "cpu": 2, "rollover": 3, "rnd": 4, "qm": 5, "hash+defrag": 0x8000, "lb+rollover": 0x1001} {
		require.Equal(t, fmt.Sprintf("joined 4711 mode %#x\n", mode), host{}.run(t, "packet", text), text)
	}
	require.Equal(t, "joined 4711 mode 0x1\nerror join group 4711 as rnd: Invalid argument. All members of a group need one mode and one device.\n", host{}.run(t, "packet", "lb", "rnd"))
	require.Equal(t, "error mode consistent: packet sockets of the system have hash, lb, rnd, cpu, rollover, qm.\n", host{}.run(t, "packet", "consistent"))
	require.Equal(t, "error group 4711: packet sockets of the system have no weight, tunnels, threshold, departed, member.\n", host{}.run(t, "packet", "hash, weight=2"))
}

// interrupts is /proc/interrupts of a host; the drivers' names are those of ixgbe, i40e,
// virtio_net, mlx5, e1000e and a device of one interrupt.
const interrupts = `            CPU0       CPU1
  9:          0          0   IO-APIC   9-fasteoi   acpi
 30:          1          0   PCI-MSI 524288-edge      eth0-TxRx-0
 31:          0          2   PCI-MSI 524289-edge      eth0-TxRx-1
 32:          0          2   PCI-MSI 524290-edge      eth0
 33:          0          2   PCI-MSI 524291-edge      eth01-TxRx-1
 40:          0          1  PCI-MSIX-0000:00:05.0   1-edge      virtio4-input.0
 41:          0          1  PCI-MSIX-0000:00:05.0   2-edge      virtio4-output.0
 42:          0          1  PCI-MSIX-0000:00:05.0   3-edge      virtio4-input.1
 43:          0          1  PCI-MSIX-0000:00:05.0   0-edge      virtio4-config
 44:          0          1  PCI-MSIX-0000:00:06.0   1-edge      virtio5-input.0
 50:          0          1   PCI-MSI 1-edge      i40e-enp3s0f1-TxRx-7
 51:          0          1   PCI-MSI 2-edge      i40e-enp3s0f1-fdir-TxRx-0
 60:          0          1   PCI-MSI 3-edge      mlx5_async@pci:0000:5e:00.0
 61:          0          1   PCI-MSI 4-edge      mlx5_comp0@pci:0000:5e:00.0
 62:          0          1   PCI-MSI 5-edge      mlx5_comp1@pci:0000:5e:00.0
 70:          0          1   PCI-MSI 6-edge      enp4s0-rx-0
 71:          0          1   PCI-MSI 7-edge      enp4s0-tx-0
 72:          0          1   PCI-MSI 8-edge      enp5s1
NMI:          0          0   Non-maskable interrupts
`

func TestAffinityOfAChannel(t *testing.T) {
	program := settings(t)
	root := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	write("proc/interrupts", interrupts)
	for irq := range 80 {
		write(fmt.Sprintf("proc/irq/%d/smp_affinity_list", irq), "0-7\n")
	}
	for dev, irqs := range map[string][]int{"ens5": {40, 41, 42, 43}, "mlx0": {60, 61, 62}} {
		for _, irq := range irqs {
			write(fmt.Sprintf("sys/class/net/%s/device/msi_irqs/%d", dev, irq), "msix\n")
		}
	}
	run := func(args ...string) string {
		out, err := exec.Command(program, append([]string{root}, args...)...).CombinedOutput()
		if err != nil {
			require.NotEmpty(t, out)
		}
		return string(out)
	}
	list := func(irq int) string {
		text, err := os.ReadFile(filepath.Join(root, "proc/irq", fmt.Sprint(irq), "smp_affinity_list"))
		require.NoError(t, err)
		return string(text)
	}
	for _, c := range []struct {
		dev          string
		channel, irq int
	}{
		{"eth0", 0, 30}, {"eth0", 1, 31}, {"ens5", 0, 40}, {"ens5", 1, 42}, {"enp3s0f1", 7, 50},
		{"mlx0", 0, 61}, {"mlx0", 1, 62}, {"enp4s0", 0, 70}, {"enp5s1", 0, 72},
	} {
		channel := fmt.Sprint(c.channel)
		require.Equal(t, "1 0-7\n", run("getaffinity", c.dev, channel), c)
		require.Equal(t, "1 1,4-6\n", run("setaffinity", c.dev, channel, "1,4-6"), c)
		require.Equal(t, "1,4-6\n", list(c.irq), c)
		require.Equal(t, "1 1,4-6\n", run("getaffinity", c.dev, channel), c)
	}
	for _, irq := range []int{9, 32, 33, 41, 43, 44, 51, 60, 71} {
		require.Equal(t, "0-7\n", list(irq), "interrupt %d is another's or no receive channel's", irq)
	}

	for _, c := range [][]string{{"eth0", "2"}, {"ens5", "2"}, {"enp3s0f1", "0"}, {"enp5s1", "1"}, {"lo", "0"}} {
		require.Equal(t, "error -1 No such file or directory\n", run("getaffinity", c[0], c[1]), c)
	}
	for _, c := range [][]string{{"eth0", "-1"}, {"../eth0", "0"}, {"", "0"}} {
		require.Equal(t, "error -1 Invalid argument\n", run("getaffinity", c[0], c[1]), c)
	}

	// The configuration file says the same.
	write("etc/pcap.conf", "irq@eth0.0 = 2\nirq@eth0.1 = 3\nirq@eth0.2 = 4\n")
	require.Equal(t, "warning set affinity of eth0 channel 2: /proc/interrupts has no such channel\n", run("apply", "eth0"))
	require.Equal(t, "2\n", list(30))
	require.Equal(t, "3\n", list(31))
}
