package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/query"
	"github.com/ixcap/ixcap/internal/nettest"
	"github.com/ixcap/ixcap/transmit"
	"github.com/ixcap/ixcap/transmit/trace"
	"github.com/ixcap/ixcap/transmit/traffic"
)

// BenchmarkSpacing measures the error of the spacing at recorded times: by each method on
// the model, by the clock of its line, and by tcpreplay on a veth pair, by the kernel's
// stamps at the other end, with the timer that does not sleep. The trace are two seconds of 10,000 frames a second with
// exponential distances, IMIX. See docs/SEND.md.
func BenchmarkSpacing(b *testing.B) {
	name := filepath.Join(b.TempDir(), "trace.pcap")
	asked := writeTrace(b, name, 20_000)
	frames, err := trace.Load(trace.Request{Paths: []string{name}, Query: query.Request{Queue: capture.AllQueues}, Memory: 1 << 30})
	require.NoError(b, err)
	for _, m := range []transmit.Method{transmit.Software, transmit.Limiter, transmit.Filler} {
		b.Run(m.String(), func(b *testing.B) {
			for range b.N {
				p, err := transmit.Open(b.Context(), "sim:sink", transmit.PortConfig{Queues: 1, MaxFrame: 1514})
				require.NoError(b, err)
				r, err := p.Run(b.Context(), transmit.Config{Method: m}, trace.NewPlayer(frames, trace.Times{Recorded: true, Scale: 1, Loops: 1}))
				require.NoError(b, err)
				require.NoError(b, p.Close())
				require.Len(b, r.Spacing, 1)
				metrics(b, r.Spacing[0])
			}
		})
	}
	b.Run("tcpreplay", func(b *testing.B) {
		for range b.N {
			metrics(b, transmit.Compare(asked, tcpreplay(b, name, len(asked))))
		}
	})
}

func metrics(b *testing.B, s transmit.Spacing) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(s.Mean, "mean-ns")
	b.ReportMetric(s.StdDev, "stddev-ns")
	b.ReportMetric(s.Median, "median-ns")
	b.ReportMetric(s.P999, "p999-ns")
	b.ReportMetric((s.Achieved/s.Asked-1)*100, "rate-%")
}

// writeTrace writes a trace of n frames and returns their times in ps.
func writeTrace(b *testing.B, name string, n uint64) (asked []int64) {
	s := traffic.Spec{Rate: transmit.Rate{Frames: 10_000}, Count: n, Seed: 1}
	require.NoError(b, s.Sizes.Set("imix"))
	require.NoError(b, s.Src.Set("10.0.0.1"))
	require.NoError(b, s.Dst.Set("10.0.0.2"))
	require.NoError(b, s.SrcPort.Set("1024"))
	require.NoError(b, s.DstPort.Set("9"))
	var err error
	s.Gaps, err = traffic.ParseGaps("poisson", func(string) (io.ReadCloser, error) { return nil, os.ErrNotExist })
	require.NoError(b, err)
	g, err := traffic.New(s)
	require.NoError(b, err)
	f, err := os.Create(name)
	require.NoError(b, err)
	defer f.Close()
	w := pcapgo.NewWriterNanos(f)
	require.NoError(b, w.WriteFileHeader(65536, layers.LinkTypeEthernet))
	const zero = 1_700_000_000_000_000_000
	var line int64
	for {
		size, at, ok := g.Next()
		if !ok {
			return asked
		}
		at = max(at, line)/1000*1000 + 1000 // as the file has it, and as the line can
		line = at + int64(transmit.WireBytes(size))*800
		data := make([]byte, size)
		g.Write(data, zero+at/1000)
		require.NoError(b, w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, zero+at/1000), CaptureLength: size, Length: size}, data))
		asked = append(asked, at)
	}
}

// tcpreplay sends a file of n frames through a veth pair and returns when the kernel got
// them, ns since 1970.
func tcpreplay(b *testing.B, name string, n int) (sent []int64) {
	nettest.Pair(b, nettest.Veth{})
	out := filepath.Join(b.TempDir(), "sent.pcap")
	dump := exec.CommandContext(b.Context(), "tcpdump", "-i", "ixb", "-c", strconv.Itoa(n), "-w", out, "-B", "262144", "-s", "64", "--nano")
	var text bytes.Buffer
	dump.Stderr = &text
	require.NoError(b, dump.Start(), "tcpdump: apt-get install tcpdump")
	time.Sleep(500 * time.Millisecond) // it says that it listens before it does
	replayed, err := exec.CommandContext(b.Context(), "tcpreplay", "-q", "--preload-pcap", "--timer=gtod", "-i", "ixa", name).CombinedOutput()
	require.NoError(b, err, "tcpreplay: apt-get install tcpreplay\n%s", replayed)
	time.AfterFunc(10*time.Second, func() { _ = dump.Process.Signal(os.Interrupt) })
	require.NoError(b, dump.Wait(), text.String())
	f, err := os.Open(out)
	require.NoError(b, err)
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	require.NoError(b, err)
	for {
		_, info, err := r.ZeroCopyReadPacketData()
		if err != nil {
			break
		}
		sent = append(sent, info.Timestamp.UnixNano())
	}
	require.Len(b, sent, n, "frames were lost: %s", text.String())
	return sent
}
