package pcapfilter

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// writePcap writes frames as a pcap file.
func writePcap(t *testing.T, file string, frames []testFrame) {
	t.Helper()
	order := binary.LittleEndian
	b := order.AppendUint32(nil, 0xa1b2c3d4)
	b = order.AppendUint16(order.AppendUint16(b, 2), 4)
	for _, v := range []uint32{0, 0, 262144, 1} {
		b = order.AppendUint32(b, v)
	}
	for i, f := range frames {
		for _, v := range []uint32{uint32(i), 0, uint32(len(f.data)), uint32(f.wire)} {
			b = order.AppendUint32(b, v)
		}
		b = append(b, f.data...)
	}
	require.NoError(t, os.WriteFile(file, b, 0o600))
}

func TestKeepsTheFramesThatTcpdumpKeeps(t *testing.T) {
	tcpdump := needTcpdump(t)
	dir := t.TempDir()
	odd := filepath.Join(dir, "odd.pcap")
	var whole []testFrame
	for _, p := range oddFrames() {
		whole = append(whole, testFrame{p, len(p)})
	}
	writePcap(t, odd, whole)
	for n, file := range append(captures(t), odd) {
		frames := readPcap(t, file)
		for i, expr := range thinned([]string{
			"", "host 192.0.2.1", "net 10.0.0.0/8 or net 192.168.0.0/16", "tcp port 80 or 443", "udp and not port 53",
			"portrange 5000-6000", "ip6 and (tcp or udp)", "vlan 5 and tcp", "vlan and not host 198.51.100.1", "mpls and port 53", "pppoes",
			"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "ip[6:2] & 0x3fff != 0", "arp or icmp or icmp6", "less 100", "greater 1500",
			"not ip and not ip6", "ether[0] & 1 = 1", "ether host 00:1b:21:3c:9d:f8 or broadcast", "ip broadcast or ip multicast",
			"tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420", "ip proto 47 or ip6 proto 44", "src net 192.0.2.0/24 and dst port 80",
		}) {
			if len(frames) > 10000 && (i+n)%3 != 0 { // each takes tcpdump a while
				continue
			}
			f, err := Compile(expr)
			require.NoError(t, err, expr)
			var want []testFrame
			for _, frame := range frames {
				if f.Match(frame.data, frame.wire) {
					want = append(want, frame)
				}
			}
			kept := filepath.Join(dir, "kept.pcap")
			var stderr bytes.Buffer
			cmd := exec.Command(tcpdump, "-r", file, "-w", kept, "--", expr)
			cmd.Stderr = &stderr
			require.NoError(t, cmd.Run(), "%s: %s", expr, stderr.String())
			require.Equal(t, len(want), len(readPcap(t, kept)), "%s %q", file, expr)
			require.Equal(t, want, readPcap(t, kept), "%s, expression %d: %q", file, i, expr)
		}
	}
}
