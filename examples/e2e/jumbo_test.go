package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
)

// jumbos returns a pcap file of frames of one or several descriptors: the lengths
// at which the number of descriptors changes, up to the driver's longest frame.
func jumbos(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "jumbos.pcap")
	f, err := os.Create(name)
	require.NoError(t, err)
	defer f.Close()
	w := pcapgo.NewWriterNanos(f)
	require.NoError(t, w.WriteFileHeader(1<<18, layers.LinkTypeEthernet))
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 600 {
		lengths := []int{60, 1514, 2047, 2048, 2049, 4096, 4097, 9014, 14336, 15868}
		b := make([]byte, lengths[i%len(lengths)])
		for j := range b {
			b[j] = byte(rnd.Uint32())
		}
		b[12], b[13] = 0x88, 0xb5 // EtherType for local experiments
		info := gopacket.CaptureInfo{Timestamp: time.Unix(1, int64(i)), CaptureLength: len(b), Length: len(b)}
		require.NoError(t, w.WritePacket(info, b))
	}
	return name
}
