package pcapfilter

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkMatch shows the cost of a frame of testdata/hosts.pcap: by Match, and by
// golang.org/x/net/bpf's interpreter with the same filter as a BPF program. The two
// alternate over the whole file, so that other load affects both.
func BenchmarkMatch(b *testing.B) {
	frames := readPcap(b, hostsPcap)
	for _, e := range []string{
		"tcp", "host 192.0.2.1", "tcp port 80", "net 10.0.0.0/8 and udp portrange 5000-6000", "vlan 5 and host 198.51.100.1",
		"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
		"tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
		"host 192.0.2.1 or 192.0.2.7 or 192.0.2.9 or 198.51.100.77 or 2001:db8::77",
	} {
		b.Run(e, func(b *testing.B) {
			f, err := compile(b, e)
			require.NoError(b, err)
			var ours, interpreter time.Duration
			passes := 0
			for b.Loop() {
				start := time.Now()
				for i := range frames {
					f.Match(frames[i].data, frames[i].wire)
				}
				turn := time.Now()
				for i := range frames {
					_, _ = f.vm.Run(frames[i].data)
				}
				ours += turn.Sub(start)
				interpreter += time.Since(turn)
				passes++
			}
			n := float64(passes * len(frames))
			b.ReportMetric(0, "ns/op") // of both, which means nothing
			b.ReportMetric(float64(ours)/n, "Match-ns/frame")
			b.ReportMetric(float64(interpreter)/n, "bpf-ns/frame")
			b.ReportMetric(float64(interpreter)/float64(ours), "bpf/Match")
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		if _, err := Compile("tcp port 80 or (udp port 53 and not host 192.0.2.1)"); err != nil {
			b.Fatal(err)
		}
	}
}
