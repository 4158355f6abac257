//go:build vmtest

package vmtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestVfioForward forwards between two ports over the kernel's VFIO. Each device has an address
// space of its own, and reads the packet buffers of the other.
func TestVfioForward(t *testing.T) {
	t.Parallel()
	t.Run("group", func(t *testing.T) { forwardCases(t, "6.1", "vfio-group") })
	t.Run("iommufd", func(t *testing.T) { forwardCases(t, "iommufd", "vfio-iommufd") })
}

// Ports of a VM of these tests.
const (
	forwardFile = iota // a pcap file, once
	forwardLoop        // the same in a loop, slowly
	forwardExit        // frames leave through it, connected to
	forwardEnd         // this, which captures them
)

func forwardCases(t *testing.T, kernel, form string) {
	t.Parallel()
	file := captures(t)[0]
	v := boot(t, machine{Kernel: kernel, Memlock: "unlimited", AddressBits: 39, NICs: []nic{
		forwardFile: {Wire: "pcap=" + file + once}, forwardLoop: {Wire: "pcap=" + file + ",rate=" + loopRate + ",loop=forever"},
		forwardExit: {Wire: "pair"}, forwardEnd: {Wire: "pair"},
	}})
	r := rig{vm: v, kernel: kernel, form: form}
	build(t, v, "hpcapdd")
	build(t, v, "forward")
	v.run(t, "modprobe ixgbe")
	for port := range forwardEnd + 1 {
		r.bind(t, port)
	}
	step(t, "a file byte for byte", func(t *testing.T) {
		sent := readPcap(t, file)
		c := r.capture(t, r.name(t, forwardEnd))
		c.waitFor(t, "Mpps", time.Minute)
		out := r.runAs(t, "probe", fmt.Sprintf("/share/forward -c %d %s %s", len(sent), r.name(t, forwardFile), r.name(t, forwardExit)))
		require.Regexp(t, fmt.Sprintf(`(?m)^ *%d  frames  sent$`, len(sent)), out)
		require.Contains(t, out, "the counters of the ports balance")
		r.until(t, forwardEnd, "at the end of the file", time.Minute, func(s counters) bool { return s.Delivered == uint64(len(sent)) })
		c.end(t)
		sameFrames(t, sent, readRaw(t, c.dir))
	})
	step(t, "killed while forwarding, and started again", func(t *testing.T) {
		for range 2 {
			before := r.nic(forwardExit).stats(t).Sent
			p := r.startAs(t, "probe", fmt.Sprintf("exec /share/forward %s %s", r.name(t, forwardLoop), r.name(t, forwardExit)))
			r.until(t, forwardExit, "sending", time.Minute, func(s counters) bool { return s.Sent > before+500 })
			p.signal("KILL")
			_, err := p.end(30 * time.Second)
			require.ErrorContains(t, err, "SIGKILL")
		}
		out := r.runAs(t, "probe", fmt.Sprintf("/share/forward -c 500 --push-vlan 7 %s %s", r.name(t, forwardLoop), r.name(t, forwardExit)))
		require.Contains(t, out, "the counters of the ports balance")
	})
	for _, port := range []int{forwardFile, forwardLoop, forwardExit} {
		s := r.nic(port).stats(t)
		require.NoError(t, s.Balanced())
		require.Zero(t, s.Faults, s.LastFault)
	}
}
