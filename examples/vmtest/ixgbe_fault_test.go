//go:build vmtest

package vmtest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestIxgbeOnBrokenModels tests the tests: a model that is broken in one place
// must be found out, and the message must say where. make vmtest FAULT=NAME
// shows the same on the whole run.
func TestIxgbeOnBrokenModels(t *testing.T) {
	t.Parallel()
	if *fault != "" {
		t.Skip("every model is broken already: -fault " + *fault)
	}
	for _, test := range []struct{ fault, says string }{
		{"eeprom-checksum", "the EEPROM's checksum is wrong"},
		{"rxdctl", "RXDCTL.ENABLE of queue 0 was written 1 and never read back 1"},
		{"no-msix", "MSI-X vectors never fired"},
		{"no-writeback", "descriptors are never written back"},
	} {
		t.Run(test.fault, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, 0, peerAddress+"/24")
			g := boot(t, machine{Kernel: "6.1", NICs: []nic{{Wire: "fault=" + test.fault + ",packet=" + p.Wire}}})
			step(t, "found out", func(t *testing.T) {
				err := works(g)
				require.Error(t, err, "ixgbe runs on a model with the fault %s", test.fault)
				require.ErrorContains(t, err, test.says)
			})
		})
	}
}

// works is what TestIxgbe asks first, in the same order.
func works(g *guest) error {
	for _, check := range []func() error{
		func() error { return probe(g, 0) },
		func() error { return linkUp(g, 0) },
		func() error { return vectorsFire(g, 0) },
		func() error {
			if _, err := g.try("ip addr add " + guestAddress + "/24 dev nic0"); err != nil {
				return err
			}
			return writtenBack(g, 0, peerAddress)
		},
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// TestIxgbeStrayDMA: a write of the chip to an address that nobody mapped ends
// in the IOMMU, whose driver says so, and nothing else happens.
func TestIxgbeStrayDMA(t *testing.T) {
	t.Parallel()
	p := newPeer(t, 0, peerAddress+"/24")
	g := boot(t, machine{Kernel: "7.2", NICs: []nic{{Wire: "fault=dma:5,packet=" + p.Wire}}})
	step(t, "the IOMMU reports it and traffic goes on", func(t *testing.T) {
		must(t, works(g))
		g.run(t, "ping -c 20 -i 0.1 -w 30 "+peerAddress)
		require.Eventually(t, func() bool {
			out := g.run(t, "dmesg | grep DMAR: || true")
			return strings.Contains(out, "[DMA Write") && strings.Contains(out, "fault addr 0xdead")
		}, 10*time.Second, 500*time.Millisecond, "DMAR: [DMA Write ...] ... fault addr 0xdead...")
		require.Contains(t, g.nic(0).log(), "not mapped")
		must(t, writtenBack(g, 0, peerAddress))
	})
}

// TestIxgbeWithoutMSIX: the one interrupt of a machine without MSI is INTx, as
// ethtool's interrupt test wants it.
func TestIxgbeWithoutMSIX(t *testing.T) {
	t.Parallel()
	p := newPeer(t, 0, peerAddress+"/24")
	g := boot(t, machine{Kernel: "6.1", NICs: []nic{{Wire: "packet=" + p.Wire}}, Append: "pci=nomsi"})
	x := &ixgbe{g: g, peer: p}
	step(t, "link and ping by INTx", func(t *testing.T) {
		must(t, works(g))
		x.ping(t)
		require.Contains(t, g.run(t, "grep nic0 /proc/interrupts"), "IO-APIC")
	})
	step(t, "ethtool -t offline", x.selftest)
	step(t, "no interrupt that nobody cares for", func(t *testing.T) {
		require.NotContains(t, g.dmesg(t), "nobody cared")
	})
}
