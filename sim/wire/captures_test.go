package wire

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
)

func TestFilesOfGopacketsWritersAreLoadedAsWritten(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var classic, nano, ng bytes.Buffer
	w, wn := pcapgo.NewWriter(&classic), pcapgo.NewWriterNanos(&nano)
	require.NoError(t, w.WriteFileHeader(65535, layers.LinkTypeEthernet))
	require.NoError(t, wn.WriteFileHeader(65535, layers.LinkTypeEthernet))
	wg, err := pcapgo.NewNgWriter(&ng, layers.LinkTypeEthernet)
	require.NoError(t, err)
	_, err = wg.AddInterface(pcapgo.NgInterface{Name: "b", LinkType: layers.LinkTypeEthernet, TimestampResolution: 6, TimestampOffset: 3})
	require.NoError(t, err)
	frames := make([][]byte, 200)
	micros, nanos := make([]int64, len(frames)), make([]int64, len(frames))
	for i := range frames {
		frames[i] = repeat(byte(i), 14+random.IntN(9000))
		at := time.Unix(1_700_000_000+int64(i), random.Int64N(1e9))
		nanos[i], micros[i] = at.UnixNano(), at.Truncate(time.Microsecond).UnixNano()
		info := gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(frames[i]), Length: len(frames[i])}
		require.NoError(t, w.WritePacket(info, frames[i]))
		require.NoError(t, wn.WritePacket(info, frames[i]))
		require.NoError(t, wg.WritePacket(info, frames[i]))
	}
	require.NoError(t, wg.Flush())
	for _, c := range []struct {
		file   []byte
		stamps []int64
	}{{classic.Bytes(), micros}, {nano.Bytes(), nanos}, {ng.Bytes(), nanos}} {
		f, err := parse(c.file)
		require.NoError(t, err)
		require.Equal(t, c.stamps, f.stamps)
		require.Equal(t, bytes.Join(frames, nil), f.arena)
		for i := range frames {
			require.Len(t, f.frame(i), len(frames[i]))
		}
	}
}

// captures returns the file in testdata and those beside the checkout.
func captures(t *testing.T) []string {
	t.Helper()
	files := []string{"../../testdata/hosts.pcap"}
	more, err := filepath.Glob("../../../shared/pcaps/*.pcap")
	require.NoError(t, err)
	if len(more) == 0 {
		t.Log("no captures in ../shared/pcaps, beside the checkout: only testdata/hosts.pcap is replayed; put pcap files there for more")
	}
	return append(files, more...)
}

func TestRealCapturesAreReplayedCompletely(t *testing.T) {
	for _, name := range captures(t) {
		f, err := loadPcap(name, whole)
		require.NoError(t, err)
		for _, rate := range []string{"line", "recorded", "100kpps", "1Gbps"} {
			w, err := Parse([]Option{{"pcap", name}, {"rate", rate}, {"burst", "1s"}})
			if span := slices.Max(f.stamps) - slices.Min(f.stamps); rate == "recorded" && span > int64(maxSpan) {
				require.ErrorContains(t, err, "more than 365 days after the first", name) // pieced together
				continue
			}
			require.NoError(t, err)
			r := w.(*replay)
			v := &virtual{}
			r.clock = v
			frames := make([]Frame, 512)
			last, sent, ticks := int64(0), 0, int64(0)
			for {
				n, err := r.Receive(frames, plenty)
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
				for _, got := range frames[:n] {
					want := f.frame(sent)
					if !bytes.Equal(want, got.Data) {
						require.Equal(t, want, got.Data, "%s frame %d", name, sent)
					}
					ticks += wireTicks(len(want))
					at := got.At - virtualStart
					if at < last || at < ticks/10 {
						t.Fatalf("%s frame %d at %d ns, the line needs %d and the one before came at %d", name, sent, at, ticks/10, last)
					}
					last = at
					sent++
				}
				v.now = r.next/10 + 1000
			}
			require.Equal(t, len(f.slots), sent)
			switch rate {
			case "line":
				require.Equal(t, ticks/10, last)
			case "recorded":
				span := slices.Max(f.stamps) - f.stamps[0]
				require.InDelta(t, span, last, 2e6, name)
			}
		}
	}
}

// Written again, the loaded frames are the same file.
func TestRealCapturesAreLoadedCompletely(t *testing.T) {
	for _, name := range captures(t) {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		f, err := loadPcap(name, whole)
		require.NoError(t, err)
		var again bytes.Buffer
		w := pcapgo.NewWriter(&again)
		if bytes.HasPrefix(data, []byte{0x4d, 0x3c, 0xb2, 0xa1}) {
			w = pcapgo.NewWriterNanos(&again)
		}
		require.NoError(t, w.WriteFileHeader(0, layers.LinkTypeEthernet))
		for i, stamp := range f.stamps {
			frame := f.frame(i)
			require.NoError(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, stamp), CaptureLength: len(frame), Length: len(frame)}, frame))
		}
		require.True(t, bytes.Equal(data[24:], again.Bytes()[24:]), name)
	}
}
