//go:build vmtest

package vmtest

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// settings checks the driver's output about the chip.
func (x *ixgbe) settings(t *testing.T) {
	has := func(command string, want ...string) string {
		t.Helper()
		out := x.vm.run(t, command)
		for _, w := range want {
			require.Regexp(t, `(?m)`+w, out, command)
		}
		return out
	}
	has("ethtool -i nic0", `^driver: ixgbe$`, `^firmware-version: 0x800030d4`, `^bus-info: `+x.vm.nic(0).addr(t)+`$`,
		`^supports-register-dump: yes$`)
	has("ethtool -k nic0", `^rx-checksumming: on$`, `^tx-checksumming: on$`, `^tcp-segmentation-offload: on$`,
		`^receive-hashing: on$`, `^rx-vlan-offload: on$`, `^tx-vlan-offload: on$`)
	table := has("ethtool -x nic0", `with 2 RX ring`, `toeplitz: on`)
	require.Len(t, regexp.MustCompile(`(?m)^ +\d+:( +[01]){8}$`).FindAllString(table, -1), 16, "128 entries of RETA")
	require.Regexp(t, `(?m)^([0-9a-f]{2}:){39}[0-9a-f]{2}$`, table, "RSSRK")
	has("ethtool -g nic0", `^RX:\s+(4096|8192)$`, `^TX:\s+(4096|8192)$`, `^RX:\s+512$`, `^TX:\s+512$`)
	has("ethtool -l nic0", `^Combined:\s+2$`, `^Other:\s+1$`)
	has("ethtool -a nic0", `^RX:\s+on$`, `^TX:\s+on$`)
	has("ethtool -m nic0", `Identifier\s+: 0x03 \(SFP\)`, `10G Ethernet: 10G Base-SR`, `Laser wavelength\s+: 850nm`,
		`Vendor name\s+: ixcap model`, `Vendor PN\s+: SOFTWARE SFP\+`)
	has("ethtool -T nic0", `hardware-transmit`, `hardware-receive`)

	regs := has("ethtool -d nic0", `LINKS .*0x7`, `Link Status:\s+up`, `Link Speed:\s+10G`, `Receive CRC Strip:\s+enabled`,
		`RXDCTL00 .*0x42000000`, `RDH01 `, `TDH00 `, `TDT00 `)
	require.Greater(t, strings.Count(regs, "\n"), 1000)
	require.Empty(t, kernelWarnings(t, x.vm))
}

// eeprom writes a byte of the EEPROM and the checksum that covers it. Linux clocks the bits
// through EEC, and reads words through EERD. The self-test verifies the checksum.
func (x *ixgbe) eeprom(t *testing.T) {
	const at, magic = "offset 0x41", "magic 0x10fb8086"
	read := func(what string) string {
		out := strings.TrimSpace(x.vm.run(t, "ethtool -e nic0 "+what+" length 1"))
		return out[strings.LastIndex(out, "\n")+1:]
	}
	require.Regexp(t, `^0x0041:\s+00$`, read(at))
	sum := read("offset 0x7e") + read("offset 0x7f")
	x.vm.run(t, "ethtool -E nic0 "+magic+" "+at+" value 0xa5")
	require.Regexp(t, `^0x0041:\s+a5$`, read(at))
	require.NotEqual(t, sum, read("offset 0x7e")+read("offset 0x7f"))
	require.Empty(t, kernelWarnings(t, x.vm))
}

// changes checks settings for which the driver rebuilds rings, vectors and filters.
func (x *ixgbe) changes(t *testing.T) {
	for _, change := range []string{
		"ethtool -G nic0 rx 4096 tx 4096",
		"ethtool -G nic0 rx 512 tx 512",
		"ethtool -L nic0 combined 1",
		"ethtool -L nic0 combined 2",
		x.spread(1),
		x.spread(2),
		"ethtool -K nic0 rxvlan off txvlan off tso off tx off rx off",
		"ethtool -K nic0 rxvlan on txvlan on tx on tso on rx on",
		"ethtool -K nic0 lro on",
		"ethtool -K nic0 lro off",
		"ethtool -K nic0 ntuple on",
		"ethtool -K nic0 ntuple off",
		"ethtool -C nic0 rx-usecs 100",
		"ethtool -C nic0 rx-usecs 1",
		"ethtool -A nic0 rx off tx off",
		"ethtool -A nic0 rx on tx on",
		"ethtool -s nic0 msglvl 7",
		"timeout 1 ethtool -p nic0 || true",
	} {
		x.vm.run(t, change)
		must(t, linkUp(x.vm, 0))
		out, err := x.vm.try("ping -c 2 -i 0.3 -w 30 " + peerAddress)
		require.NoError(t, err, "after %s: %s", change, out)
	}
	require.Empty(t, kernelWarnings(t, x.vm))
}

// spread returns the command by which RSS uses n queues. This ethtool also sets an input
// transformation, which the older kernel rejects.
func (x *ixgbe) spread(n int) string {
	if x.vm.machine.Kernel == "6.1" {
		return "true"
	}
	return fmt.Sprintf("ethtool -X nic0 equal %d", n)
}

var lateLoopback = regexp.MustCompile(`(?s)Register test\s.*?\s0\n.*Interrupt test\s.*?\s0\n.*Loopback test\s.*?\s13\n`)

// selftest runs the driver's test of registers, EEPROM, interrupts, loopback and link while
// the peer sends frames.
func (x *ixgbe) selftest(t *testing.T) {
	traffic := x.peer.background(t, vmAddress+":9")
	defer traffic()
	out, err := x.vm.try("ethtool -t nic0 offline")
	// The driver waits 200 ms for 64 frames, which may be too short for the model on
	// a busy host: 13 means that frames were missing.
	for try := 0; err != nil && try < 2 && lateLoopback.MatchString(out); try++ {
		t.Log("loopback test timed out, one more try")
		out, err = x.vm.try("ethtool -t nic0 offline")
	}
	require.NoError(t, err, out)
	require.Contains(t, out, "The test result is PASS")
	for _, part := range []string{"Register test", "Eeprom test", "Interrupt test", "Loopback test", "Link test"} {
		require.Regexp(t, part+` .*\s0\n`, out)
	}
	must(t, linkUp(x.vm, 0))
	x.ping(t)
}
