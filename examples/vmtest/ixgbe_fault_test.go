//go:build vmtest

package vmtest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestIxgbeOnBrokenModels tests the tests: they must detect a fault of the model, and name
// it. make vmtest FAULT=NAME runs all tests with a fault.
func TestIxgbeOnBrokenModels(t *testing.T) {
	t.Parallel()
	if *fault != "" {
		t.Skip("all models have a fault: -fault " + *fault)
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
			v := boot(t, machine{Kernel: "6.1", NICs: []nic{{Wire: "fault=" + test.fault + ",packet=" + p.Wire}}})
			step(t, "found out", func(t *testing.T) {
				err := works(v)
				require.Error(t, err, "ixgbe runs on a model with the fault %s", test.fault)
				require.ErrorContains(t, err, test.says)
			})
		})
	}
}

// works runs the first checks of TestIxgbe in the same order.
func works(v *vm) error {
	for _, check := range []func() error{
		func() error { return probe(v, 0) },
		func() error { return linkUp(v, 0) },
		func() error { return vectorsFire(v, 0) },
		func() error {
			if _, err := v.try("ip addr add " + vmAddress + "/24 dev nic0"); err != nil {
				return err
			}
			return writtenBack(v, 0, peerAddress)
		},
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// TestIxgbeUnmappedDMA checks that the IOMMU stops and reports a write of the chip to an
// unmapped address, without other effects.
func TestIxgbeUnmappedDMA(t *testing.T) {
	t.Parallel()
	p := newPeer(t, 0, peerAddress+"/24")
	v := boot(t, machine{Kernel: "7.2", NICs: []nic{{Wire: "fault=dma:5,packet=" + p.Wire}}})
	step(t, "the IOMMU reports it and traffic goes on", func(t *testing.T) {
		must(t, works(v))
		v.run(t, "ping -c 20 -i 0.1 -w 30 "+peerAddress)
		require.Eventually(t, func() bool {
			out := v.run(t, "dmesg | grep DMAR: || true")
			return strings.Contains(out, "[DMA Write") && strings.Contains(out, "fault addr 0xdead")
		}, 10*time.Second, 500*time.Millisecond, "DMAR: [DMA Write ...] ... fault addr 0xdead...")
		require.Contains(t, v.nic(0).log(), "not mapped")
		must(t, writtenBack(v, 0, peerAddress))
	})
}

// TestIxgbeWithoutMSIX checks INTx, including ethtool's interrupt test.
func TestIxgbeWithoutMSIX(t *testing.T) {
	t.Parallel()
	p := newPeer(t, 0, peerAddress+"/24")
	v := boot(t, machine{Kernel: "6.1", NICs: []nic{{Wire: "packet=" + p.Wire}}, Append: "pci=nomsi"})
	x := &ixgbe{vm: v, peer: p}
	step(t, "link and ping by INTx", func(t *testing.T) {
		must(t, works(v))
		x.ping(t)
		require.Contains(t, v.run(t, "grep nic0 /proc/interrupts"), "IO-APIC")
	})
	step(t, "ethtool -t offline", x.selftest)
	step(t, "no unhandled interrupt", func(t *testing.T) {
		require.NotContains(t, v.dmesg(t), " cared (try booting")
	})
}
