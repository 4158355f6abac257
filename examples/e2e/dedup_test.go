package e2e

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
)

// overlayFlow writes frames of one flow in VXLAN whose first 96 bytes are equal: the
// outer header has identification 0 and no checksum of UDP, as VXLAN's senders write
// it (RFC 6864; RFC 7348, 5).
func overlayFlow(t *testing.T, frames int) string {
	file := filepath.Join(t.TempDir(), "overlay.pcap")
	f, err := os.Create(file)
	require.NoError(t, err)
	w := pcapgo.NewWriter(f)
	require.NoError(t, w.WriteFileHeader(65535, layers.LinkTypeEthernet))
	for i := range frames {
		b := make([]byte, 224)
		copy(b, []byte{
			2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0,
			0x45, 0, 0, 210, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
			0xc3, 0x50, 0x12, 0xb5, 0, 190, 0, 0, 8, 0, 0, 0, 0, 0, 1, 0,
			2, 0, 0, 0, 0, 0x12, 2, 0, 0, 0, 0, 0x11, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 120, 6, 64,
		})
		binary.BigEndian.PutUint32(b[108:], uint32(1000+100*i)) // the sequence number of TCP
		ci := gopacket.CaptureInfo{Timestamp: time.Unix(1_700_000_000, int64(i)*1e6), CaptureLength: len(b), Length: len(b)}
		require.NoError(t, w.WritePacket(ci, b))
	}
	require.NoError(t, f.Close())
	return file
}

// hpcapdd --dedup stores what editcap -D keeps, byte for byte and in order, with a
// window longer than each capture.
func TestDuplicatesAreThoseThatEditcapRemoves(t *testing.T) {
	program := tool(t, "editcap")
	for _, file := range append(captures(t), overlayFlow(t, 10)) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			sent := readPcap(t, file)
			unique := filepath.Join(t.TempDir(), "unique.pcap")
			out, err := exec.Command(program, "-F", "pcap", "-D", "30000", file, unique).CombinedOutput()
			require.NoError(t, err, "%s", out)
			want := readPcap(t, unique)

			dir := filepath.Join(t.TempDir(), "capture")
			r := succeed(t, "hpcapdd", "-i", "sim:pcap="+file+",rate=line,backpressure", "-w", dir,
				"--dedup=window=1h,records=524288", "--buffer", "64MiB", "--json")
			l := ledger(t, r)
			require.EqualValues(t, len(sent), l.Account.Wire)
			require.Zero(t, l.Lost())
			require.EqualValues(t, len(want), l.Frames())
			require.EqualValues(t, len(sent)-len(want), l.Queues[0].Duplicates)
			got, _ := readRaw(t, dir)
			requireSameFrames(t, want, got)
		})
	}
}

// The default settings drop no frame of an overlay's flow.
func TestFramesOfAnOverlayAreNoDuplicates(t *testing.T) {
	l := ledger(t, succeed(t, "hpcapdd", "-i", "sim:pcap="+overlayFlow(t, 10)+",rate=line,backpressure", "-w", "null", "--dedup", "--json"))
	require.EqualValues(t, 10, l.Frames())
}

// Settings that lose frames say which at the start.
func TestSettingsOfDedupThatLoseFramesAreTold(t *testing.T) {
	for settings, want := range map[string]string{
		"bytes=70":        "duplicates: of frames of the same length that differ only behind the first 70 bytes, only the first is stored",
		"ignore=vlan+ttl": "duplicates: of frames that differ only in vlan+ttl, only the first is stored",
	} {
		r := succeed(t, "hpcapdd", "-i", "sim:pcap="+overlayFlow(t, 10)+",backpressure", "-w", "null", "--dedup="+settings)
		require.Contains(t, r.stderr, want)
	}
}
