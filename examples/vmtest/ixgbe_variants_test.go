//go:build vmtest

package vmtest

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// controller is a NIC of the VM of TestIxgbeVariants.
type controller struct {
	id    string
	nic   int
	peer  *peer
	probe string // what ixgbe says of it
	width string // of the PCI Express link
	port  string // ethtool's
	reta  int    // entries of the indirection table
}

func (c *controller) peerAddress() string { return fmt.Sprintf("192.0.2.%d", 16*c.nic+1) }
func (c *controller) vmAddress() string   { return fmt.Sprintf("192.0.2.%d", 16*c.nic+2) }

// variants is a VM whose ixgbe drives them.
type variants struct {
	vm          *vm
	controllers []*controller
}

// TestIxgbeVariants tests the controllers of option id with Linux's driver: the model has
// what the driver of each looks for.
func TestIxgbeVariants(t *testing.T) {
	t.Parallel()
	for _, kernel := range []string{"6.1", "7.2"} {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			x := &variants{controllers: []*controller{
				{id: "1517", probe: "MAC: 2, PHY: 1,", width: "5.0 GT/s PCIe x8", port: "Other", reta: 128},
				{id: "x540", probe: "MAC: 3, PHY: 0,", width: "5.0 GT/s PCIe x8", port: "Twisted Pair", reta: 128},
				{id: "x550", probe: "MAC: 4, PHY: 0,", width: "8.0 GT/s PCIe x4", port: "Twisted Pair", reta: 512},
			}}
			var nics []nic
			for i, c := range x.controllers {
				c.nic = i
				c.peer = newPeer(t, 1500, c.peerAddress()+"/28")
				nics = append(nics, nic{Wire: fmt.Sprintf("mac=02:1b:21:00:00:%02x,id=%s,packet=%s", i+1, c.id, c.peer.Wire)})
			}
			x.vm = boot(t, machine{Kernel: kernel, NICs: nics})
			if !step(t, "probe without a warning", x.probes) {
				t.FailNow()
			}
			for _, c := range x.controllers {
				if step(t, c.id+" link", func(t *testing.T) { x.links(t, c) }) {
					step(t, c.id+" ping and TCP", func(t *testing.T) { x.traffic(t, c) })
					step(t, c.id+" ethtool", func(t *testing.T) { x.settings(t, c) })
				}
			}
			step(t, "no warnings", func(t *testing.T) { require.Empty(t, kernelWarnings(t, x.vm)) })
		})
	}
}

func (x *variants) probes(t *testing.T) {
	for i := range x.controllers {
		must(t, probe(x.vm, i))
	}
	log := x.vm.run(t, "dmesg | grep ixgbe")
	for _, c := range x.controllers {
		addr := regexp.QuoteMeta(x.vm.nic(c.nic).addr(t))
		require.Regexp(t, addr+`.*`+c.probe, log)
		require.Regexp(t, addr+`.*`+regexp.QuoteMeta(c.width), log)
	}
	require.Empty(t, kernelWarnings(t, x.vm))
}

func (x *variants) links(t *testing.T, c *controller) {
	must(t, linkUp(x.vm, c.nic))
	out := x.vm.run(t, fmt.Sprintf("ethtool nic%d", c.nic))
	for _, want := range []string{"Speed: 10000Mb/s", "Duplex: Full", "Port: " + c.port, "Link detected: yes"} {
		require.Contains(t, out, want)
	}
	x.vm.run(t, fmt.Sprintf("ip addr add %s/28 dev nic%d", c.vmAddress(), c.nic))
}

func (x *variants) traffic(t *testing.T, c *controller) {
	must(t, writtenBack(x.vm, c.nic, c.peerAddress()))
	const size = 8 << 20
	file, sum := randomFile(t, x.vm.share, size)
	sink := c.peer.sink(t, c.peerAddress())
	x.vm.start(t, fmt.Sprintf("nc.openbsd -N %s %d < /share/%s", c.peerAddress(), sink.port, filepath.Base(file))).wait(t, transferDeadline)
	require.Equal(t, sum, sink.wait(t, size))
	port := c.peer.source(t, c.peerAddress(), file)
	p := x.vm.start(t, fmt.Sprintf("nc.openbsd -d %s %d | sha256sum", c.peerAddress(), port))
	require.Equal(t, sum, strings.Fields(p.wait(t, transferDeadline))[0])
	s, err := nicStats(x.vm, c.nic)
	must(t, err)
	for _, name := range []string{"rx_errors", "rx_crc_errors", "rx_csum_offload_errors", "rx_missed_errors"} {
		require.Zero(t, s[name], name)
	}
	truth := x.vm.nic(c.nic).stats(t)
	require.NoError(t, truth.Balanced())
	require.Zero(t, truth.Faults, truth.LastFault)
}

func (x *variants) settings(t *testing.T, c *controller) {
	name := fmt.Sprintf("nic%d", c.nic)
	require.Regexp(t, `(?m)^firmware-version: 0x800030d4`, x.vm.run(t, "ethtool -i "+name))
	table := x.vm.run(t, "ethtool -x "+name)
	require.Len(t, regexp.MustCompile(`(?m)^ +\d+:( +\d+){8}$`).FindAllString(table, -1), c.reta/8, "entries of RETA")
	require.Regexp(t, `^0x0041:\s+00$`, lastLine(x.vm.run(t, "ethtool -e "+name+" offset 0x41 length 1")))
	if c.port != "Twisted Pair" {
		return
	}
	out := x.vm.run(t, "ethtool -s "+name+" advertise 0x020") // 1000BASE-T, full duplex
	require.Empty(t, strings.TrimSpace(out))
	require.Eventually(t, func() bool {
		out, err := x.vm.try("ethtool " + name)
		return err == nil && strings.Contains(out, "Speed: 1000Mb/s") && strings.Contains(out, "Link detected: yes")
	}, linkDeadline, linkDeadline/60, "at the speed that is offered")
	must(t, writtenBack(x.vm, c.nic, c.peerAddress()))
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndex(text, "\n")+1:]
}
