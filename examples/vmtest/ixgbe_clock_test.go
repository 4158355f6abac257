//go:build vmtest

package vmtest

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clockError is by how much the first port's oscillator is fast and the second one's slow,
// in ppm.
const clockError = 25

// stamps tests the clocks of both ports and their time stamps with the tools of linuxptp.
func (x *pair) stamps(t *testing.T) {
	phc := regexp.MustCompile(`(?:PTP Hardware Clock|Hardware timestamp provider index): (\d+)`)
	for i, ns := range []string{"a", "b"} {
		out := x.in(t, ns, fmt.Sprintf("ethtool -T nic%d", i))
		for _, want := range []string{"hardware-transmit", "hardware-receive", "hardware-raw-clock", "ptpv2-event", "ptpv1-l4-sync"} {
			require.Contains(t, out, want)
		}
		require.Regexp(t, phc, out)
		out = x.in(t, ns, fmt.Sprintf("hwstamp_ctl -i nic%d -t 1 -r 12", i))
		require.Regexp(t, `new settings:\s+tx_type 1\s+rx_filter 12`, out)
		out = x.in(t, ns, fmt.Sprintf("phc_ctl nic%d set cmp", i))
		m := regexp.MustCompile(`offset from CLOCK_REALTIME is (-?\d+)ns`).FindStringSubmatch(out)
		require.NotNil(t, m, out)
		offset, err := strconv.ParseInt(m[1], 10, 64)
		require.NoError(t, err)
		require.Less(t, max(offset, -offset), time.Second.Nanoseconds(), "the clock was set to the VM's time just before")
	}
	for _, transport := range []string{"-2", "-4"} {
		x.synchronises(t, transport)
	}
	for i, ns := range []string{"a", "b"} {
		x.in(t, ns, fmt.Sprintf("hwstamp_ctl -i nic%d -t 0 -r 0", i))
	}
	require.Empty(t, kernelWarnings(t, x.vm))
}

// synchronises lets port b follow port a by PTP, over Ethernet or UDP. What ptp4l finds is
// what the model knows: how the oscillators differ, and a wire without delay. Software's
// delays, which are milliseconds in an emulated machine, are not in the stamps.
func (x *pair) synchronises(t *testing.T, transport string) {
	t.Helper()
	const common = " -m --tx_timestamp_timeout 10000 --logSyncInterval -3 --logMinDelayReqInterval -3 --logAnnounceInterval -2 --summary_interval -3"
	server := x.vm.start(t, "exec ip netns exec a ptp4l -i nic0 --priority1 1 --uds_address /run/a --uds_ro_address /run/a-ro "+transport+common)
	client := x.vm.start(t, "exec ip netns exec b ptp4l -i nic1 -s --uds_address /run/b --uds_ro_address /run/b-ro "+transport+common)
	defer func() {
		for _, p := range []*process{server, client} {
			require.NoError(t, p.signal("INT"))
			_, _ = p.end(transferDeadline) // ptp4l ends with the signal's status
		}
	}()
	line := regexp.MustCompile(`master offset\s+(-?\d+) s2 freq\s+([+-]?\d+) path delay\s+(-?\d+)`)
	const settle, count = 80, 40
	var lines [][]string
	require.Eventually(t, func() bool {
		lines = line.FindAllStringSubmatch(client.output(), -1)
		return len(lines) >= settle+count
	}, 3*time.Minute, 500*time.Millisecond, "ptp4l %s follows the other port", transport)
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		require.NoError(t, err)
		return v
	}
	for _, l := range lines[settle:] {
		require.InDelta(t, 0, number(l[1]), 1000, "offset in ns: %s", l[0])
		require.InDelta(t, -2*clockError*1000, number(l[2]), 2000, "by how much the client's oscillator is fast in ppb: %s", l[0])
		require.InDelta(t, 0, number(l[3]), 100, "delay of the wire in ns: %s", l[0])
	}
}
