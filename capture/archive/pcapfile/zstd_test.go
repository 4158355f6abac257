package pcapfile_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
)

// BenchmarkFrame compresses the shipped capture in frames of the usual size, in
// one goroutine; ratio is packed by unpacked bytes.
func BenchmarkFrame(b *testing.B) {
	file, err := os.ReadFile("../../../testdata/hosts.pcap")
	require.NoError(b, err)
	file = file[:min(len(file), pcapfile.FrameSize)]
	for _, level := range []int{1, 3, 7} {
		b.Run(fmt.Sprintf("level=%d", level), func(b *testing.B) {
			c, err := pcapfile.NewCompressor(level, 1)
			require.NoError(b, err)
			var out []byte
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				out = c.Frame(out[:0], file)
			}
			b.ReportMetric(float64(len(out))/float64(len(file)), "ratio")
		})
	}
}
