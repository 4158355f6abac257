//go:build vmtest

package vmtest

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
)

var xstat = regexp.MustCompile(`(?m)^(\w+): (\d+)\r?$`)

// TestDpdkCounters plays the script of TestIxgbeCounters to DPDK's driver, which shows
// counters that ethtool does not have.
func TestDpdkCounters(t *testing.T) {
	t.Parallel()
	m := newMix()
	played := m.wire(t)
	ours := playToOurs(t, played, driver.Config{MaxFrame: 1514}, len(m.frames)-int(m.bad))
	// testpmd is promiscuous only after it has started the port: the link comes up later.
	v := boot(t, machine{Kernel: "6.1", DPDK: true, NICs: []nic{{Wire: played + ",linkdelay=15s"}}})
	x := &testpmd{vm: v}
	step(t, "counters equal our driver's", func(t *testing.T) {
		addr := v.nic(0).addr(t)
		v.run(t, "vfio-bind bind "+addr+" --hugepages 64")
		v.run(t, "mkfifo /tmp/commands")
		x.process = v.start(t, "exec testpmd -l 0-1 -n 1 -a "+addr+" --no-telemetry --file-prefix vmtest -- "+testpmdOptions+" --disable-link-check <>/tmp/commands")
		x.waitFor(t, prompt, testpmdDeadline)
		x.read = len(x.output())
		require.Contains(t, x.command(t, "show port info 0"), "Promiscuous mode: enabled")
		require.Zero(t, v.nic(0).stats(t).Offered, "the link is still down")
		x.awaitStats(t, "the wire has ended", func(map[string]uint64) bool { return v.nic(0).stats(t).Offered == uint64(len(m.frames)) })
		theirs := map[string]uint64{}
		for _, s := range xstat.FindAllStringSubmatch(x.command(t, "show port xstats 0"), -1) {
			theirs[s[1]], _ = strconv.ParseUint(s[2], 10, 64)
		}
		for _, name := range []string{
			"rx_crc_errors", "rx_illegal_byte_errors", "rx_error_bytes", "rx_fragment_errors", "rx_jabber_errors",
			"rx_size_64_packets", "rx_size_128_to_255_packets", "rx_size_512_to_1023_packets", "rx_size_1024_to_max_packets",
			"rx_total_packets", "rx_l3_l4_xsum_error", "mac_local_errors", "rx_mac_short_packet_dropped",
		} {
			require.Contains(t, theirs, name)
			require.Equal(t, ours[name], theirs[name], name)
		}
		for our, their := range map[string]string{
			"broadcast": "rx_broadcast_packets", "multicast": "rx_multicast_packets",
			"rx_short_length_errors": "rx_undersize_errors", "rx_long_length_errors": "rx_oversize_errors",
		} {
			require.Contains(t, theirs, their)
			require.Equal(t, ours[our], theirs[their], their)
		}
		// DPDK subtracts the CRCs from TOR, which counts them.
		require.Equal(t, ours["rx_total_bytes"]-4*ours["rx_total_packets"], theirs["rx_total_bytes"])
		// Frames with a wrong length field are bad for the chip's default.
		require.Equal(t, m.llc, theirs["rx_length_errors"])
		require.Equal(t, ours["rx_size_65_to_127_packets"]-m.llc, theirs["rx_size_65_to_127_packets"])
		require.EqualValues(t, 6, theirs["rx_fragment_errors"])
		require.EqualValues(t, 2, theirs["rx_jabber_errors"])
	})
}
