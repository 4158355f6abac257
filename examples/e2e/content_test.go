package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
)

// Real traffic is sent at line rate through model, driver, engine and storer. The
// files hold each frame once, in order, byte for byte, and tshark reads them.
func TestEveryFrameArrivesOnceInOrderByteForByte(t *testing.T) {
	for _, file := range append(captures(t), jumbos(t)) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			sent := readPcap(t, file)
			dir := filepath.Join(t.TempDir(), "capture")
			device := "sim:pcap=" + file + ",rate=line"
			if descriptors(sent) > 4095 {
				// More than one ring holds: on a machine without a free core a sender
				// without backpressure may overrun the poller.
				device += ",backpressure"
			}
			r := succeed(t, "hpcapdd", "-i", device, "-w", dir,
				"--segment", "1MiB", "--buffer", "4MiB", "--json")
			l := ledger(t, r)
			require.EqualValues(t, len(sent), l.Account.Wire)
			require.EqualValues(t, len(sent), l.Frames())
			require.Zero(t, l.Lost())

			got, files := readRaw(t, dir)
			requireSameFrames(t, sent, got)
			requireSegments(t, files, 1<<20)

			for _, format := range []string{"pcap", "pcapng"} {
				out := filepath.Join(t.TempDir(), "out."+format)
				succeed(t, "raw2pcap", append([]string{"--format", format, "-w", out}, files...)...)
				converted := readPcap(t, out)
				require.Equal(t, got, converted, "the conversion keeps timestamps, lengths and bytes")
				dissect(t, out, len(sent))
			}
		})
	}
}

// descriptors returns the number of receive descriptors, of 2 KiB each, for the frames.
func descriptors(frames []packet) (n int) {
	for _, f := range frames {
		n += (max(f.len, 60) + 2047) / 2048
	}
	return n
}

// requireSegments requires that all files but the last have the size of a segment.
func requireSegments(t *testing.T, files []string, size int64) {
	t.Helper()
	for i, name := range files {
		st, err := os.Stat(name)
		require.NoError(t, err)
		if i < len(files)-1 {
			require.Equal(t, size, st.Size(), name)
		} else {
			require.LessOrEqual(t, st.Size(), size, name)
		}
	}
}

// dissect reads a file with tshark, which must find all frames and print no error.
func dissect(t *testing.T, file string, frames int) {
	t.Run("tshark"+filepath.Ext(file), func(t *testing.T) {
		c := exec.CommandContext(t.Context(), tool(t, "tshark"), "-n", "-r", file, "-T", "fields", "-e", "frame.number")
		var stdout, stderr bytes.Buffer
		c.Stdout, c.Stderr = &stdout, &stderr
		require.NoError(t, c.Run(), stderr.String())
		for line := range strings.Lines(stderr.String()) {
			require.Contains(t, line, "Running as user", "tshark prints an error")
		}
		require.Equal(t, frames, strings.Count(stdout.String(), "\n"))
	})
}

func TestSeveralQueuesTogetherHoldEveryFrameOnce(t *testing.T) {
	file := captures(t)[0]
	sent := readPcap(t, file)
	dir := t.TempDir()
	r := succeed(t, "hpcapdd", "-i", "sim:pcap="+file+",backpressure", "--queues", "4", "-w", dir, "--buffer", "4MiB", "--json")
	l := ledger(t, r)
	require.Len(t, l.Queues, 4)
	require.EqualValues(t, len(sent), l.Frames())
	got, files := readRaw(t, dir)
	require.LessOrEqual(t, len(files), 4)
	want, have := map[string]int{}, map[string]int{}
	for _, p := range sent {
		want[fmt.Sprintf("%x", padded(p.data))]++
	}
	for _, p := range got {
		have[fmt.Sprintf("%x", p.data)]++
	}
	require.Equal(t, want, have)

	// Of one queue only the frames are stored. The ledger has the others, too.
	one := filepath.Join(t.TempDir(), "one")
	r = succeed(t, "hpcapdd", "-i", "sim:pcap="+file+",backpressure", "--queues", "4", "--queue", "2", "-w", one, "--buffer", "4MiB", "--json")
	l = ledger(t, r)
	require.EqualValues(t, len(sent), l.Account.Received)
	got, _ = readRaw(t, one)
	require.EqualValues(t, l.Queues[2].Stored, len(got))
}

func TestSnaplenKeepsTheLengthOnTheWire(t *testing.T) {
	file := captures(t)[0]
	sent := readPcap(t, file)
	dir := t.TempDir()
	ledger(t, succeed(t, "hpcapdd", "-i", "sim:pcap="+file+",backpressure", "--snaplen", "64", "-w", dir, "--json"))
	got, _ := readRaw(t, dir)
	require.Len(t, got, len(sent))
	for i, p := range got {
		whole := padded(sent[i].data)
		require.Equal(t, len(whole), p.len)
		require.True(t, bytes.Equal(whole[:min(64, len(whole))], p.data), "frame %d", i)
	}
}

func TestNullStoresNothing(t *testing.T) {
	r := succeed(t, "hpcapdd", "-i", "sim:gen,size=60,count=1000,backpressure", "-w", "null", "--json")
	l := ledger(t, r)
	require.EqualValues(t, 1000, l.Frames())
	require.NoDirExists(t, "null")
}

func TestHPCAPsCommandLines(t *testing.T) {
	dir := t.TempDir()
	file := captures(t)[0]
	r := succeed(t, "hpcapdd", "sim:pcap="+file+",backpressure", "0", dir)
	require.Contains(t, r.stdout, "the ledger balances")
	files := rawFiles(t, dir)
	require.Len(t, files, 1)
	pcap, back := filepath.Join(t.TempDir(), "x.pcap"), filepath.Join(t.TempDir(), "x.raw")
	succeed(t, "raw2pcap", files[0], pcap)
	requireSameFrames(t, readPcap(t, file), readPcap(t, pcap))

	succeed(t, "pcap2raw", pcap, back)
	before, err := os.ReadFile(files[0])
	require.NoError(t, err)
	after, err := os.ReadFile(back)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after), "the conversion from RAW to pcap and back changes nothing")
}

func TestConvertersWorkInPipesAndSegments(t *testing.T) {
	dir := t.TempDir()
	file := captures(t)[0]
	out := filepath.Join(dir, "part.raw")
	succeed(t, "pcap2raw", "--segment", "256KiB", "-w", out, file, file)
	parts := rawFiles(t, dir)
	require.Greater(t, len(parts), 1)
	requireSegments(t, parts, 256<<10)
	sent := readPcap(t, file)
	twice := append(append([]packet{}, sent...), sent...)
	got, _ := readRaw(t, dir)
	require.Equal(t, twice, got)

	c := command(t, "raw2pcap", append([]string{"-w", "-"}, parts...)...)
	stream, err := c.Output()
	require.NoError(t, err)
	c = command(t, "pcap2raw", "-w", "-", "-")
	c.Stdin = bytes.NewReader(stream)
	raw, err := c.Output()
	require.NoError(t, err)
	c = command(t, "raw2pcap", "-w", "-", "-")
	c.Stdin = bytes.NewReader(raw)
	again, err := c.Output()
	require.NoError(t, err)
	require.True(t, bytes.Equal(stream, again))
}

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
