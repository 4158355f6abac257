//go:build vmtest

package vmtest

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// bindForUser binds a port for the user, who opens it by its former interface name.
func bindForUser(t *testing.T, r rig) {
	addr := r.nic(portPeer).addr(t)
	name := fmt.Sprintf("nic%d", portPeer)
	require.Contains(t, r.run(t, "ethtool -i "+name), "driver: ixgbe")
	r.run(t, "vfio-bind bind "+name+" -u probe --hugepages 64")
	require.Equal(t, "vfio-pci", filepath.Base(strings.TrimSpace(r.run(t, "readlink /sys/bus/pci/devices/"+addr+"/driver"))))
	out := r.runAs(t, "probe", "/share/hpcapdd -i "+name+dry)
	require.Contains(t, out, "the ledger balances")
	require.Equal(t, r.form, strings.TrimSpace(r.run(t, "/share/vfioprobe form "+name)), "the form that is selected")
}

// Flags of hpcapdd for a moment, and for a capture that stores nothing.
const (
	null = " -w null --buffer 16MiB --progress"
	dry  = null + " --duration 1s"
)

// failuresExplained checks that errors name the obstacle and the command that removes it.
func failuresExplained(t *testing.T, r rig) {
	addr := r.nic(portLoop).addr(t)
	out, err := r.tryAs("probe", "/share/hpcapdd -i "+addr+dry)
	require.Error(t, err)
	require.Contains(t, out, "kernel driver ixgbe")
	require.Contains(t, out, "sudo examples/vfio-bind bind "+addr+" -u $USER")

	r.run(t, "vfio-bind bind "+addr) // for root
	out, err = r.tryAs("probe", "/share/hpcapdd -i "+r.name(t, portLoop)+dry)
	require.Error(t, err)
	require.Contains(t, out, "permission denied: owner root:root, mode 0600. Bind it for this user: sudo examples/vfio-bind bind "+addr+" -u $USER")

	r.bind(t, portLoop)
	out, err = r.tryAs("probe", "ulimit -l 4096; /share/hpcapdd -i "+r.name(t, portLoop)+dry)
	require.Error(t, err)
	require.Regexp(t, `cannot allocate memory \(\d+ bytes at IOVA 0x\d+\): RLIMIT_MEMLOCK is 4 MiB`, out)
	require.Contains(t, out, "sudo prlimit --pid $$ --memlock=unlimited")

	other := r.startAs(t, "probe", "exec /share/hpcapdd -i "+r.name(t, portLoop)+null)
	defer func() { _ = other.kill(unix.SIGKILL) }()
	other.waitFor(t, "Mpps", time.Minute)
	out, err = r.tryAs("probe", "/share/hpcapdd -i "+r.name(t, portLoop)+dry)
	require.Error(t, err)
	// A device's own node can be opened twice, but bound only once.
	require.Regexp(t, `(device or resource busy|VFIO_DEVICE_BIND_IOMMUFD: invalid argument): .*process \d+ \(hpcapdd\)`, out)
	other.signal("INT")
	other.wait(t, time.Minute)
}

// byteForByte compares the captured frames with the replayed file.
func byteForByte(t *testing.T, r rig, port int, file string, flags ...string) {
	r.bind(t, port)
	sent := readPcap(t, file)
	c := r.capture(t, r.name(t, port), flags...)
	r.until(t, port, "at the end of the file", 2*time.Minute, func(s counters) bool { return s.Delivered == uint64(len(sent)) })
	out := c.end(t)
	require.Regexp(t, fmt.Sprintf(`(?m)^ *%d +frames +received$`, len(sent)), out)
	sameFrames(t, sent, readRaw(t, c.dir))
}

// unmappedDMA checks that the IOMMU stops and reports a write to an unmapped address.
func unmappedDMA(t *testing.T, r rig) {
	r.run(t, "dmesg -C")
	r.bind(t, portCount)
	out := r.run(t, "/share/vfioprobe unmapped "+r.name(t, portCount)) // root, for a physical address
	m := regexp.MustCompile(`the page at (0x[0-9a-f]+) is untouched`).FindStringSubmatch(out)
	require.NotNil(t, m, out)
	fault := fmt.Sprintf(`DMAR: \[DMA Write.*%s\] fault addr %s`, strings.TrimPrefix(r.nic(portCount).addr(t), "0000:"), m[1])
	waitDmesg(t, r, fault)
	s := r.nic(portCount).stats(t)
	require.EqualValues(t, 1, s.Unwritten, "frames that the model could not write: %+v", s)
	require.NoError(t, s.Balanced())
}

// waitDmesg waits for a line in the log of the VM's kernel.
func waitDmesg(t *testing.T, r rig, pattern string) {
	t.Helper()
	line := regexp.MustCompile(pattern)
	for start := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		if log := r.dmesg(t); line.MatchString(log) {
			return
		} else if time.Since(start) > 20*time.Second {
			t.Fatalf("the VM's kernel does not report %q:\n%s", pattern, log)
		}
	}
}

// killed checks that a port can be used after its process was killed.
func killed(t *testing.T, r rig) {
	r.run(t, "dmesg -C")
	r.bind(t, portCount)
	for range 2 {
		before := r.nic(portCount).stats(t).Delivered
		p := r.startAs(t, "probe", "exec /share/hpcapdd -i "+r.name(t, portCount)+null)
		r.until(t, portCount, "receiving", time.Minute, func(s counters) bool { return s.Delivered > before+1000 })
		p.signal("KILL")
		_, err := p.end(30 * time.Second)
		require.ErrorContains(t, err, "SIGKILL")
	}
	c := r.capture(t, r.name(t, portCount))
	before := r.nic(portCount).stats(t).Delivered
	r.until(t, portCount, "receiving again", time.Minute, func(s counters) bool { return s.Delivered > before+1000 })
	c.end(t)
	require.GreaterOrEqual(t, len(readRaw(t, c.dir)), 1000)
	log := r.dmesg(t)
	require.False(t, strings.Contains(log, "timed out"), log)
}

// theirsToOurs checks frames from Linux's ixgbe to the driver of ixcap.
func theirsToOurs(t *testing.T, r rig) {
	ixgbe := fmt.Sprintf("nic%d", portPairA)
	r.bind(t, portPairB)
	r.run(t, "ip link set "+ixgbe+" up; ip addr replace 198.51.100.1/24 dev "+ixgbe+
		"; ip neigh replace 198.51.100.2 lladdr 02:00:00:00:00:99 dev "+ixgbe)
	c := r.capture(t, r.name(t, portPairB))
	c.waitFor(t, "Mpps", time.Minute)
	r.waitLink(t, ixgbe)
	const pings = 200
	out, _ := r.try(fmt.Sprintf("ping -c %d -i 0.01 -s 1000 -W 1 -p c0ffee 198.51.100.2", pings)) // there is no reply
	require.Contains(t, out, fmt.Sprintf("%d packets transmitted", pings))
	time.Sleep(time.Second)
	text := c.end(t)
	n := 0
	for _, f := range readRaw(t, c.dir) {
		if isPing(f.data, 1000) {
			require.EqualValues(t, n+1, uint16(f.data[40])<<8|uint16(f.data[41]), "sequence number")
			n++
		}
	}
	require.Equal(t, pings, n, text)
}

// isPing reports whether a frame is an echo request of size bytes with the pattern of the
// test.
func isPing(f []byte, size int) bool {
	if len(f) != 14+20+8+size || f[12] != 8 || f[13] != 0 || f[23] != 1 || f[34] != 8 {
		return false
	}
	for i := 42 + 16; i < len(f); i++ { // ping puts the time before the pattern
		if f[i] != [3]byte{0xc0, 0xff, 0xee}[(i-42)%3] {
			return false
		}
	}
	return true
}

// oursToTheirs checks frames in the other direction, with tcpdump on ixgbe's interface.
func oursToTheirs(t *testing.T, r rig) {
	ixgbe := fmt.Sprintf("nic%d", portPairA)
	r.bind(t, portPairB)
	r.run(t, "ip link set "+ixgbe+" up")
	const frames = 300
	dump := r.start(t, fmt.Sprintf("tcpdump -Z root -i %s -s 2000 -B 8192 -U -c %d -w /share/ours-%s.pcap ether proto 0x88b5", ixgbe, frames, r.form+r.kernel))
	dump.waitFor(t, "listening on", time.Minute)
	out := r.run(t, fmt.Sprintf("/share/vfioprobe send %s %d", r.name(t, portPairB), frames))
	require.Contains(t, out, fmt.Sprintf("sent %d frames", frames))
	if text, err := dump.end(time.Minute); err != nil {
		t.Fatalf("tcpdump: %v\n%s\n%s\n%d frames in its file", err, text, r.run(t, "ethtool -S "+ixgbe+" | grep -v ': 0$'"),
			len(readPcap(t, filepath.Join(r.share, "ours-"+r.form+r.kernel+".pcap"))))
	}
	got := readPcap(t, filepath.Join(r.share, "ours-"+r.form+r.kernel+".pcap"))
	require.Len(t, got, frames)
	for i, f := range got {
		require.Len(t, f.data, 14+4+60+i%1400)
		require.Equal(t, []byte{0, 0, byte(i >> 8), byte(i)}, f.data[14:18])
		for j, b := range f.data[18:] {
			require.Equal(t, byte(i+j), b, "frame %d, byte %d", i, j)
		}
	}
}

// oursOffloaded checks checksums, tags and segments that the device makes for our driver:
// tshark and the kernel of the VM, whose port leaves them to it, find nothing wrong.
func oursOffloaded(t *testing.T, r rig) {
	ixgbe := fmt.Sprintf("nic%d", portPairA)
	r.bind(t, portPairB)
	r.run(t, "ip link set "+ixgbe+" up; ip addr replace 198.51.100.1/24 dev "+ixgbe+"; ethtool -K "+ixgbe+" rx off gro off lro off")
	mac := strings.TrimSpace(r.run(t, "cat /sys/class/net/"+ixgbe+"/address"))
	const datagrams, tagged, segments = 20, 5, 10 * 6 // see vfioprobe/offload.go
	file := "offload-" + r.form + r.kernel + ".pcap"
	dump := r.start(t, fmt.Sprintf("tcpdump -Z root -i %s -s 2000 -B 8192 -U -c %d -w /share/%s 'src host 198.51.100.2 or (vlan and src host 198.51.100.2)'",
		ixgbe, datagrams+tagged+segments, file))
	dump.waitFor(t, "listening on", time.Minute)
	snmp := "awk '/^Tcp: [0-9]/ {print $11, $16} /^Udp: [0-9]/ {print $3, $8}' /proc/net/snmp" // received, wrong checksums
	before := r.run(t, snmp)
	require.Contains(t, r.run(t, fmt.Sprintf("/share/vfioprobe offload %s %s", r.name(t, portPairB), mac)), "sent all packets")
	if text, err := dump.end(time.Minute); err != nil {
		t.Fatalf("tcpdump: %v\n%s", err, text)
	}
	after := r.run(t, snmp)
	var was, is [4]int
	_, err := fmt.Sscan(before, &was[0], &was[1], &was[2], &was[3])
	require.NoError(t, err, before)
	_, err = fmt.Sscan(after, &is[0], &is[1], &is[2], &is[3])
	require.NoError(t, err, after)
	require.GreaterOrEqual(t, is[0]-was[0], segments, "segments of TCP that the kernel took")
	require.GreaterOrEqual(t, is[2]-was[2], datagrams, "datagrams of UDP that the kernel took")
	require.Equal(t, [2]int{was[1], was[3]}, [2]int{is[1], is[3]}, "wrong checksums")

	right := tshark(t, filepath.Join(r.share, file), "ip.checksum.status == 1 && (udp.checksum.status == 1 || tcp.checksum.status == 1)", "vlan.id", "udp.length", "tcp.seq_raw", "tcp.len")
	// ixgbe has several queues, which keep no order between flows.
	var want []string
	for i := range datagrams + tagged + segments {
		switch {
		case i >= datagrams+tagged:
			k := i - datagrams - tagged
			size := 1400
			if k%6 == 5 {
				size = 8000 - 5*1400
			}
			want = append(want, fmt.Sprintf(",,%d,%d", (datagrams+tagged+k/6)*8000+k%6*1400, size))
		case i >= datagrams:
			want = append(want, "7,1008,,")
		default:
			want = append(want, ",1008,,")
		}
	}
	require.ElementsMatch(t, want, right)
}

// tshark prints fields of the packets of a file that match a filter, with commas.
func tshark(t *testing.T, file, filter string, fields ...string) []string {
	t.Helper()
	args := []string{"-r", file, "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE",
		"-Y", filter, "-T", "fields", "-E", "separator=,"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.CommandContext(t.Context(), "tshark", args...).Output()
	require.NoError(t, err, "tshark: apt-get install tshark")
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// waitLink waits until ixgbe's interface has a link.
func (r rig) waitLink(t *testing.T, name string) {
	t.Helper()
	r.run(t, "for i in $(seq 150); do [ \"$(cat /sys/class/net/"+name+"/carrier)\" = 1 ] && exit; sleep 0.2; done; exit 1")
}

// unbound checks that ixgbe works after unbinding.
func unbound(t *testing.T, r rig, n *peer) {
	name := fmt.Sprintf("nic%d", portPeer)
	r.bind(t, portPeer)
	c := r.capture(t, r.name(t, portPeer))
	c.waitFor(t, "Mpps", time.Minute)
	n.run(t, "ip neigh replace 192.0.2.7 lladdr 02:00:00:00:00:07 dev eth0; ping -c 5 -i 0.2 -W 1 -s 1000 192.0.2.7 || true")
	time.Sleep(time.Second)
	c.end(t)
	seen := 0
	for _, f := range readRaw(t, c.dir) {
		if len(f.data) == 14+20+8+1000 && f.data[23] == 1 {
			seen++
		}
	}
	require.Equal(t, 5, seen, "echo requests of the peer")

	r.run(t, "vfio-bind unbind "+name)
	require.Contains(t, r.run(t, "ethtool -i "+name), "driver: ixgbe")
	r.run(t, "ip addr replace 192.0.2.2/24 dev "+name+"; ip link set "+name+" up")
	r.waitLink(t, name)
	r.run(t, "ping -c 20 -i 0.05 -s 1400 192.0.2.1")
	n.run(t, "ping -c 5 -i 0.1 192.0.2.2")
}

// removed checks that a capture ends with an error when its device is removed, and that
// all captured frames are in its files.
func removed(t *testing.T, r rig, file string) {
	r.bind(t, portLoop)
	addr := r.nic(portLoop).addr(t)
	before := r.nic(portLoop).stats(t)
	c := r.capture(t, r.name(t, portLoop))
	r.until(t, portLoop, "receiving", time.Minute, func(s counters) bool { return s.Delivered > before.Delivered+1000 })
	r.qmp(t, "device_del", map[string]any{"id": fmt.Sprintf("nic%d", portLoop)})
	out, err := c.process.end(time.Minute) // the slot waits 5 s
	var status *statusError
	require.ErrorAs(t, err, &status, out)
	require.Equal(t, 1, status.Code, out)
	require.Contains(t, out, "the kernel requested it (VFIO request interrupt)")

	got, sent := readRaw(t, c.dir), readPcap(t, file)
	require.Greater(t, len(got), 1000)
	// The wire loops since the first use of the port.
	at := 0
	for ; at < len(sent); at++ {
		if same(sent[at:], got, min(50, len(got))) {
			break
		}
	}
	var want []packet
	for len(want) < at+len(got) {
		want = append(want, sent...)
	}
	sameFrames(t, want[at:at+len(got)], got)
	require.Regexp(t, fmt.Sprintf(`(?m)^ *%d +frames +read$`, len(got)), out, "the ledger agrees with the files")
	r.run(t, "for i in $(seq 150); do [ -e /sys/bus/pci/devices/"+addr+" ] || exit 0; sleep 0.2; done; exit 1")
}
