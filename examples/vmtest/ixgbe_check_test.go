//go:build vmtest

package vmtest

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Basic checks of ixgbe on the model. An error names the cause in terms of the chip, so
// that a run on a broken model shows what is broken.

const linkDeadline = 30 * time.Second

// probe loads ixgbe and checks that NIC i has an interface.
func probe(v *vm, i int) error {
	// IPv6 would send additional frames.
	out, err := v.try("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 && modprobe ixgbe")
	if err != nil {
		return fmt.Errorf("modprobe ixgbe: %w\n%s", err, out)
	}
	if _, err = v.try(fmt.Sprintf("ip link show nic%d", i)); err == nil {
		return nil
	}
	log, err := v.try("dmesg | grep ixgbe")
	switch {
	case err != nil:
		return fmt.Errorf("ixgbe without messages: %w", err)
	case strings.Contains(log, "The EEPROM Checksum Is Not Valid"):
		return fmt.Errorf("the EEPROM's checksum is wrong: words 00h to 3Eh, the sections they point to and word 3Fh do not add up to BABAh\n%s", log)
	}
	return fmt.Errorf("ixgbe does not bind the device\n%s", log)
}

var rxdctl = regexp.MustCompile(`RXDCTL\.ENABLE on Rx queue (\d+) not set`)

// linkUp sets the interface up and waits for a link.
func linkUp(v *vm, i int) error {
	if out, err := v.try(fmt.Sprintf("ip link set nic%d up", i)); err != nil {
		return fmt.Errorf("set nic%d up: %w\n%s", i, err, out)
	}
	for end := time.Now().Add(linkDeadline); ; time.Sleep(200 * time.Millisecond) {
		log, err := v.try("dmesg | grep ixgbe")
		if err != nil {
			return err
		}
		if m := rxdctl.FindStringSubmatch(log); m != nil {
			return fmt.Errorf("RXDCTL.ENABLE of queue %s was written 1 and never read back 1\n%s", m[1], log)
		}
		// Reading carrier is an error while the interface is down.
		if out, err := v.try(fmt.Sprintf("cat /sys/class/net/nic%d/carrier", i)); err == nil && strings.TrimSpace(out) == "1" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("nic%d: no link after %v (LINKS is in ethtool -d)\n%s", i, linkDeadline, log)
		}
	}
}

// vectorCounts returns the interrupt counters of the VM's kernel by name: nic0 for other
// causes, nic0-TxRx-0 for a queue.
func vectorCounts(v *vm, i int) (map[string]int, error) {
	out, err := v.try(fmt.Sprintf("grep -w nic%d /proc/interrupts", i))
	if err != nil {
		return nil, fmt.Errorf("no interrupt belongs to nic%d: %w\n%s", i, err, out)
	}
	counts := map[string]int{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		name := f[len(f)-1]
		for _, n := range f[1:] {
			k, err := strconv.Atoi(n)
			if err != nil {
				break
			}
			counts[name] += k
		}
		if _, ok := counts[name]; !ok {
			return nil, fmt.Errorf("/proc/interrupts: %q", line)
		}
	}
	return counts, nil
}

// vectorsFire checks that each interrupt of the NIC has been counted. A link change raises
// that of the other causes; ixgbe raises those of the queues by EICS every two seconds, so
// no traffic is needed.
func vectorsFire(v *vm, i int) error {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		counts, err := vectorCounts(v, i)
		if err != nil {
			return err
		}
		var silent []string
		for name, n := range counts {
			if n == 0 {
				silent = append(silent, name)
			}
		}
		if len(silent) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d MSI-X vectors never fired, although the link came up and EICS was written: %s",
				len(silent), len(counts), strings.Join(silent, ", "))
		}
	}
}

// writtenBack sends a ping and checks that the driver sees the transmit descriptor and the
// reply. The chip's counters distinguish a lost frame from a descriptor that was not
// written back.
func writtenBack(v *vm, i int, address string) error {
	out, err := v.try("ping -c 1 -W 3 " + address)
	if err == nil {
		return nil
	}
	s, statErr := nicStats(v, i)
	if statErr != nil {
		return errors.Join(fmt.Errorf("ping %s: %w\n%s", address, err, out), statErr)
	}
	if s["rx_pkts_nic"] > 0 && s["rx_packets"] == 0 {
		return fmt.Errorf("descriptors are never written back: the port has received %d good frames (GPRC) and sent %d (GPTC), "+
			"the driver has seen none: DD stays clear", s["rx_pkts_nic"], s["tx_pkts_nic"])
	}
	return fmt.Errorf("ping %s: %w; GPRC %d, GPTC %d, received by the driver %d\n%s", address, err,
		s["rx_pkts_nic"], s["tx_pkts_nic"], s["rx_packets"], out)
}

var statLine = regexp.MustCompile(`(?m)^ +(\w+): (\d+)$`)

// nicStats returns the counters of ethtool -S.
func nicStats(v *vm, i int) (map[string]uint64, error) {
	out, err := v.try(fmt.Sprintf("ethtool -S nic%d", i))
	if err != nil {
		return nil, fmt.Errorf("ethtool -S nic%d: %w\n%s", i, err, out)
	}
	return readStats(out)
}

func readStats(out string) (map[string]uint64, error) {
	s := map[string]uint64{}
	for _, m := range statLine.FindAllStringSubmatch(out, -1) {
		v, err := strconv.ParseUint(m[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("ethtool -S: %s: %w", m[1], err)
		}
		s[m[1]] = v
	}
	return s, nil
}

func parseStats(t *testing.T, out string) map[string]uint64 {
	t.Helper()
	s, err := readStats(out)
	must(t, err)
	return s
}

// must ends the test if err is not nil.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kernelWarnings returns the kernel's warnings and errors about NICs, PCI and the IOMMU.
func kernelWarnings(t *testing.T, v *vm) string {
	t.Helper()
	out := v.run(t, "dmesg --level emerg,alert,crit,err,warn")
	var bad []string
	for line := range strings.Lines(out) {
		if about.MatchString(line) && !harmless.MatchString(line) {
			bad = append(bad, line)
		}
	}
	return strings.Join(bad, "")
}

var (
	about = regexp.MustCompile(`(?i)ixgbe|nic\d|eth\d|DMAR:|AER|vfio|netdev|irq \d+: .* cared`)
	// Features that the emulated IOMMU lacks, independent of its devices.
	harmless = regexp.MustCompile(`does not support EIM|VT-d Scalable Mode not enabled|hrtimer: interrupt took`)
)
