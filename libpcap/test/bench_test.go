package test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

const (
	warmPackets  = 2000000 // more than a buffer holds: its pages are mapped then
	benchPackets = 1200000
	perMilli     = 600  // packets that are sent each millisecond
	fastPerMilli = 3000 // where a wake serves five times as many
)

// BenchmarkDispatch compares the CPU time per packet of a program that counts packets by
// pcap_dispatch, on a veth pair with the system's libpcap (TPACKET_V3) and on a shared
// stream with ours, as a listener and as the only member of a group: 60 bytes each, at the
// same rate, in turns. The same member at a higher rate, and the bare loads of what it reads
// of a frame, show where the time goes.
func BenchmarkDispatch(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("root is missing: a network namespace is needed")
	}
	needs(b, "ip")
	lib := build(b)
	count, flood, lines := filepath.Join(lib.dir, "count"), filepath.Join(lib.dir, "flood"), filepath.Join(lib.dir, "lines")
	compile(b, count, "testdata/count.c", false)
	compile(b, flood, "testdata/flood.c", false)
	compile(b, lines, "testdata/lines.c", false)
	space := fmt.Sprintf("ixfront%d", os.Getpid())
	ip := func(args ...string) {
		out, err := exec.Command("ip", args...).CombinedOutput()
		require.NoError(b, err, "%s", out)
	}
	ip("netns", "add", space)
	defer ip("netns", "del", space)
	ip("-n", space, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	ip("-n", space, "link", "set", "v0", "up")
	ip("-n", space, "link", "set", "v1", "up")

	var system, listener, member, fast, loads float64
	for range b.N {
		system += counted(b, exec.Command("ip", "netns", "exec", space, count, "v1", fmt.Sprint(warmPackets), fmt.Sprint(benchPackets)), os.Environ(), func(packets int) {
			out, err := exec.Command("ip", "netns", "exec", space, flood, "v0", fmt.Sprint(packets), fmt.Sprint(perMilli)).CombinedOutput()
			require.NoError(b, err, "%s", out)
		})
		s := single(b, benchStream(b))
		read := func(rate int, variables ...string) float64 {
			cmd := exec.Command(count, "ixcap:"+s.path, fmt.Sprint(warmPackets), fmt.Sprint(benchPackets))
			return counted(b, cmd, lib.environment(variables...), func(packets int) { s.flood(packets, rate) })
		}
		listener += read(perMilli)
		member += read(perMilli, "PCAP_GROUP=1", "PCAP_FANOUT=hash")
		fast += read(fastPerMilli, "PCAP_GROUP=1", "PCAP_FANOUT=hash")
		out, err := exec.Command(lines).CombinedOutput()
		require.NoError(b, err, "%s", out)
		var ns float64
		_, err = fmt.Sscan(string(out), &ns)
		require.NoError(b, err, "%s", out)
		loads += ns
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(system/float64(b.N), "libpcap-ns/packet")
	b.ReportMetric(listener/float64(b.N), "listener-ns/packet")
	b.ReportMetric(member/float64(b.N), "member-ns/packet")
	b.ReportMetric(fast/float64(b.N), "fast-member-ns/packet")
	b.ReportMetric(loads/float64(b.N), "loads-ns/packet")
	b.ReportMetric(member/system, "ratio")
}

// benchStream is a stream with as many entries as a capture has by default, and with huge pages if there are some.
func benchStream(b *testing.B) stream.Config {
	b.Helper()
	c := stream.Config{Size: 128 * stream.Block, Entries: 1 << 20, Pages: hugepage.Size2M, Node: hugepage.AnyNode}
	s, err := stream.New(c)
	if err != nil {
		b.Logf("ordinary pages: %v", err)
		c.Pages = hugepage.Ordinary
		return c
	}
	require.NoError(b, s.Close())
	return c
}

// counted runs count and sends packets to it. It returns its ns per packet.
func counted(b *testing.B, cmd *exec.Cmd, environment []string, send func(packets int)) float64 {
	b.Helper()
	cmd.Env, cmd.Stderr = environment, os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := bufio.NewReader(out)
	read := func() string {
		line, err := lines.ReadString('\n')
		require.NoError(b, err)
		return strings.TrimSpace(line)
	}
	require.Equal(b, "ready", read())
	send(warmPackets)
	require.Equal(b, "warm", read())
	send(benchPackets)
	line := read()
	require.InDelta(b, benchPackets, number(b, line, 0), benchPackets/100, line)
	require.Zero(b, number(b, line, 1), "packets lost: %s", line)
	return float64(number(b, line, 2)) / float64(number(b, line, 0))
}

// flood stores frames of 60 bytes, some each millisecond.
func (s *served) flood(frames, perMilli int) {
	data := make([]byte, 60)
	data[12], data[13] = 0x88, 0xb5
	f := ring.Frame{Data: data, Len: 60}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := range frames {
		if n%perMilli == 0 {
			<-tick.C
		}
		now := time.Now()
		s.Producer().Append(uint32(now.Unix()), uint32(now.Nanosecond()), &f, 0)
		if n%32 == 31 {
			s.Producer().Publish()
		}
	}
	s.Producer().Publish()
}
