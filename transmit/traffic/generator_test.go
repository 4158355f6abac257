package traffic_test

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/transmit"
	"github.com/ixcap/ixcap/transmit/probe"
	"github.com/ixcap/ixcap/transmit/traffic"
)

// spec makes a Spec of texts.
func spec(t *testing.T, size, gaps, rate, src, dst, sport, dport string) (s traffic.Spec) {
	t.Helper()
	require.NoError(t, s.Sizes.Set(size))
	require.NoError(t, s.Rate.Set(rate))
	var err error
	s.Gaps, err = traffic.ParseGaps(gaps, func(name string) (io.ReadCloser, error) { return os.Open(name) })
	require.NoError(t, err)
	require.NoError(t, s.Src.Set(src))
	require.NoError(t, s.Dst.Set(dst))
	require.NoError(t, s.SrcPort.Set(sport))
	require.NoError(t, s.DstPort.Set(dport))
	return s
}

func generator(t *testing.T, s traffic.Spec) *traffic.Generator {
	t.Helper()
	g, err := traffic.New(s)
	require.NoError(t, err)
	return g
}

// tshark finds no wrong length or checksum in frames of each kind, and each carries its
// mark.
func TestFramesAreValid(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is missing: apt-get install tshark")
	}
	name := filepath.Join(t.TempDir(), "frames.pcap")
	f, err := os.Create(name)
	require.NoError(t, err)
	w := pcapgo.NewWriter(f)
	require.NoError(t, w.WriteFileHeader(65536, layers.LinkTypeEthernet))
	for _, tcp := range []bool{false, true} {
		for _, v6 := range []bool{false, true} {
			for _, vlan := range []uint16{0, 100} {
				s := spec(t, "90-1514", "constant", "1Mpps", "10.1.0.0/28", "10.2.0.1-10.2.0.3", "40000-40009", "9")
				if v6 {
					s = spec(t, "110-1514", "constant", "1Mpps", "fd00::/124", "fd01::1-fd01::3", "40000-40009", "9")
				}
				s.TCP, s.VLAN, s.Count, s.Flows, s.Stream = tcp, vlan, 50, 37, 9
				g := generator(t, s)
				for i := range uint64(50) {
					n, at, ok := g.Next()
					require.True(t, ok)
					b := make([]byte, n)
					g.Write(b, 1_700_000_000_000_000_000+at/1000)
					m, ok := probe.Parse(b)
					require.True(t, ok)
					require.Equal(t, probe.Mark{Stream: 9, Seq: i, Sent: 1_700_000_000_000_000_000 + at/1000}, m)
					require.NoError(t, w.WritePacket(gopacket.CaptureInfo{Length: n, CaptureLength: n}, b))
				}
				_, _, ok := g.Next()
				require.False(t, ok)
			}
		}
	}
	require.NoError(t, f.Close())
	count := func(filter string) int {
		cmd := exec.Command(tshark, "-r", name, "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-Y", filter, "-T", "fields", "-e", "frame.number")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		require.NoError(t, err)
		return bytes.Count(out, []byte("\n"))
	}
	require.Equal(t, 200, count("udp.checksum.status == 1 && (ip.checksum.status == 1 || ipv6)"))
	require.Equal(t, 200, count("tcp.checksum.status == 1 && (ip.checksum.status == 1 || ipv6)"))
	require.Zero(t, count("_ws.malformed"))
}

func TestFlowsAreDistinctAndComeInTurn(t *testing.T) {
	s := spec(t, "60", "constant", "line", "10.0.0.0/30", "10.9.0.1", "1-5", "7-9")
	s.Flows = 60
	g := generator(t, s)
	var order []string
	for range 120 {
		n, _, _ := g.Next()
		b := make([]byte, n)
		g.Write(b, 0)
		p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.NoCopy)
		order = append(order, fmt.Sprint(p.NetworkLayer().NetworkFlow(), p.TransportLayer().TransportFlow()))
	}
	seen := map[string]bool{}
	for i, flow := range order[:60] {
		require.False(t, seen[flow], flow)
		seen[flow] = true
		require.Equal(t, flow, order[60+i])
	}
	s.Flows = 61
	_, err := traffic.New(s)
	require.ErrorContains(t, err, "60 combinations")
	s = spec(t, "70", "constant", "line", "fd00::1", "fd00::2", "1", "2")
	_, err = traffic.New(s)
	require.ErrorContains(t, err, "take 80")
	s = spec(t, "70", "constant", "line", "fd00::1", "10.0.0.1", "1", "2")
	_, err = traffic.New(s)
	require.ErrorContains(t, err, "two families")
}

// times returns the first n departures in ps, and the sizes.
func times(t *testing.T, s traffic.Spec, n int) (at []int64, sizes []int) {
	g := generator(t, s)
	for range n {
		size, one, ok := g.Next()
		require.True(t, ok)
		at, sizes = append(at, one), append(sizes, size)
	}
	return at, sizes
}

func TestGaps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gaps")
	require.NoError(t, os.WriteFile(file, []byte("# ns\n100\n\n 250.5 \n"), 0o600))
	plain := func(gaps, rate string) []int64 {
		at, _ := times(t, spec(t, "60", gaps, rate, "10.0.0.1", "10.0.0.2", "1", "2"), 10)
		return at
	}
	require.Equal(t, []int64{0, 333333, 666666, 1000000}, plain("constant", "3Mpps")[:4], "no error adds up")
	require.Equal(t, []int64{0, 134400, 268800}, plain("constant", "5Gbps")[:3])
	require.Equal(t, []int64{0, 1e6, 2e6, 2e6 + 1e9, 3e6 + 1e9}, plain("burst=3,1ms", "1Mpps")[:5])
	require.Equal(t, []int64{0, 1e6, 2e6, 3e6, 4e6 + 5e6, 5e6 + 5e6}, plain("on-off=4us,5us", "1Mpps")[:6])
	require.Equal(t, []int64{0, 100e3, 350.5e3, 450.5e3}, plain("file="+file, "line")[:4])

	at, _ := times(t, spec(t, "60", "poisson", "1Mpps", "10.0.0.1", "10.0.0.2", "1", "2"), 100_000)
	mean := float64(at[len(at)-1]) / float64(len(at)-1)
	require.InEpsilon(t, 1e6, mean, 0.02)
	var squares float64
	short := 0
	for i := 1; i < len(at); i++ {
		d := float64(at[i] - at[i-1])
		squares += (d - mean) * (d - mean)
		if d < 1e6*math.Ln2 {
			short++
		}
	}
	require.InEpsilon(t, mean, math.Sqrt(squares/float64(len(at))), 0.03, "an exponential distribution's deviation is its mean")
	require.InEpsilon(t, len(at)/2, short, 0.02, "half of it is below its median")
}

func TestSizes(t *testing.T) {
	count := func(size string, n int) map[int]int {
		_, sizes := times(t, spec(t, size, "constant", "line", "10.0.0.1", "10.0.0.2", "1", "2"), n)
		c := map[int]int{}
		for _, s := range sizes {
			c[s]++
		}
		return c
	}
	require.Equal(t, map[int]int{60: 700, 590: 400, 1514: 100}, count("imix", 1200))
	require.Equal(t, map[int]int{64: 1, 128: 2}, count("64:1,128:2", 3))
	require.Equal(t, map[int]int{999: 5}, count("999", 5))
	require.Len(t, count("100-109", 1000), 10)
}

func TestWrongTextsAreRefused(t *testing.T) {
	for _, text := range []string{"", "59", "15869", "100-60", "60-", "60:0", "60:1001", "60:1,", "a"} {
		var s traffic.Sizes
		require.Error(t, s.Set(text), text)
	}
	for _, text := range []string{"", "x", "10.0.0.2-10.0.0.1", "10.0.0.1-fd00::1", "10.0.0.0/33", "fd00::1-fe00::1"} {
		var a traffic.Addresses
		require.Error(t, a.Set(text), text)
	}
	for _, text := range []string{"", "65536", "2-1", "-"} {
		var p traffic.Ports
		require.Error(t, p.Set(text), text)
	}
	for _, text := range []string{"", "burst", "burst=0,1ms", "burst=2", "on-off=1ms", "on-off=0s,1s", "file=", "poisson=1"} {
		_, err := traffic.ParseGaps(text, nil)
		require.ErrorContains(t, err, "want constant", text)
	}
	open := func(text string) func(string) (io.ReadCloser, error) {
		return func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
	}
	for text, want := range map[string]string{"": "no distances", "1\n-2": "line 2", "1e300": "line 1", "NaN": "line 1"} {
		_, err := traffic.ParseGaps("file=x", open(text))
		require.ErrorContains(t, err, want)
	}
}

// Any text is refused or gives frames.
func FuzzSpec(f *testing.F) {
	for _, s := range [][5]string{
		{"60", "constant", "1Mpps", "10.0.0.0/24", "1-9"}, {"imix", "burst=3,1ms", "5Gbps", "fd00::1-fd00::9", "80"},
		{"60:1,61:2", "poisson", "line", "10.0.0.1", "0"}, {"100-200", "on-off=1ms,1s", "3kbps", "::/0", "65535"},
	} {
		f.Add(s[0], s[1], s[2], s[3], s[4])
	}
	f.Fuzz(func(t *testing.T, size, gaps, rate, addresses, ports string) {
		var s traffic.Spec
		var err error
		if s.Gaps, err = traffic.ParseGaps(gaps, func(string) (io.ReadCloser, error) { return nil, os.ErrNotExist }); err != nil {
			return
		}
		if s.Sizes.Set(size) != nil || s.Rate.Set(rate) != nil || s.Src.Set(addresses) != nil || s.Dst.Set(addresses) != nil || s.SrcPort.Set(ports) != nil || s.DstPort.Set(ports) != nil {
			return
		}
		g, err := traffic.New(s)
		if err != nil {
			return
		}
		buf, last := make([]byte, traffic.MaxSize), int64(0)
		for i := range uint64(20) {
			n, at, ok := g.Next()
			require.True(t, ok)
			require.GreaterOrEqual(t, at, last)
			last = at
			clear(buf)
			g.Write(buf[:n], 1)
			m, ok := probe.Parse(buf[:n])
			require.True(t, ok)
			require.Equal(t, i, m.Seq)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	var s traffic.Spec
	_ = s.Src.Set("10.0.0.0/24")
	_ = s.Dst.Set("10.1.0.1")
	_ = s.SrcPort.Set("1000-1999")
	_ = s.DstPort.Set("80")
	s.Flows, s.Rate = 1000, transmit.Rate{Frames: 1e6}
	g, err := traffic.New(s)
	require.NoError(b, err)
	buf := make([]byte, 60)
	for b.Loop() {
		n, at, _ := g.Next()
		g.Write(buf[:n], at)
	}
}
