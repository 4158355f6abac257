//go:build vmtest

package vmtest

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
)

// TestMonitorFunction is the virtual network monitoring agent (VNMA) of the thesis,
// chapter 6: our driver in a VM captures from a virtual function, over the kernel's
// VFIO, what mirror rules copy from two others, which Linux drives.
func TestMonitorFunction(t *testing.T) {
	t.Parallel()
	const monitor = 2
	n := newPeer(t, 0, peerAddress+"/24")
	v := boot(t, machine{Kernel: "7.2", NICs: []nic{{Wire: "packet=" + n.Wire, VFs: 3}}, Memlock: "unlimited"})
	port := openPort(t, openDevice(t, v), driver.Config{VFs: []driver.VF{{MAC: vfMAC(0)}, {MAC: vfMAC(1)}, {MAC: vfMAC(2)}}})
	r := rig{vm: v, kernel: "7.2", form: "vfio-group"}
	build(t, v, "hpcapdd")
	x := &ixgbevf{vm: v, peer: n, port: port}
	if !step(t, "two functions of ixgbevf", func(t *testing.T) { joinFunctions(t, v, 2); x.pings(t) }) {
		t.FailNow()
	}
	if !step(t, "vfio-bind binds a function", func(t *testing.T) { r.bind(t, monitor) }) {
		t.FailNow()
	}
	// a is function 0, b function 1, the peer is on the wire. a and b are also in VLAN 5.
	const a, b, peer = "192.0.2.2", "192.0.2.3", peerAddress
	const tagged, other = "198.51.100.1", "198.51.100.2"
	if !step(t, "VLAN of the functions", x.joinVLAN) {
		t.FailNow()
	}
	for _, c := range []struct {
		name string
		rule driver.MirrorRule
		want map[string]int
	}{
		{"no rule: nothing", driver.MirrorRule{}, map[string]int{}},
		{"frames for function 0", driver.MirrorRule{To: monitor, Functions: []int{0}}, map[string]int{b + " > " + a: 5, peer + " > " + a: 5, other + " > " + tagged: 5}},
		{"frames for both", driver.MirrorRule{To: monitor, Functions: []int{0, 1}}, map[string]int{
			a + " > " + b: 5, b + " > " + a: 5, peer + " > " + a: 5, tagged + " > " + other: 5, other + " > " + tagged: 5}},
		{"uplink", driver.MirrorRule{To: monitor, Uplink: true}, map[string]int{peer + " > " + a: 5}},
		{"downlink", driver.MirrorRule{To: monitor, Downlink: true}, map[string]int{a + " > " + peer: 5}},
		{"VLAN 5", driver.MirrorRule{To: monitor, VLANs: []uint16{5}}, map[string]int{tagged + " > " + other: 5, other + " > " + tagged: 5}},
	} {
		step(t, "mirror rule: "+c.name, func(t *testing.T) {
			must(t, port.Mirror(0, c.rule))
			p := r.capture(t, r.name(t, monitor), "-F", "pcap")
			p.waitFor(t, "Mpps", time.Minute)
			for _, to := range []string{b, peer, other} {
				require.Contains(t, x.in(t, "a", "ping -c 5 -i 0.2 -w 60 "+to), "5 received")
			}
			p.end(t)
			require.Equal(t, c.want, pingsIn(t, p.dir))
		})
	}
	s := v.nic(0).stats(t)
	require.NoError(t, s.Balanced())
	require.Zero(t, s.Faults, s.LastFault)
}

var icmpLine = regexp.MustCompile(`IP (\S+ > \S+): ICMP echo`)

// pingsIn returns the number of ICMP echo messages in the pcap files of a directory, by
// source and destination. A capture without frames has no file.
func pingsIn(t *testing.T, dir string) map[string]int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.pcap"))
	must(t, err)
	counts := map[string]int{}
	for _, f := range files {
		out, err := exec.Command("tcpdump", "-nr", f, "icmp or (vlan and icmp)").Output()
		must(t, err)
		for _, m := range icmpLine.FindAllStringSubmatch(string(out), -1) {
			counts[m[1]]++
		}
	}
	return counts
}
