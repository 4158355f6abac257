package wire

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
)

// sameAs compares what the loader found with what gopacket's reader finds.
func sameAs(t *testing.T, data []byte, r gopacket.PacketDataSource) {
	t.Helper()
	f, err := parse(data)
	require.NoError(t, err)
	n := 0
	for {
		want, info, err := r.ReadPacketData()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		require.Less(t, n, len(f.slots))
		require.Equal(t, info.Timestamp.UnixNano(), f.stamps[n], "frame %d", n)
		if !bytes.Equal(want, f.frame(n)) {
			require.Equal(t, want, f.frame(n), "frame %d", n)
		}
		n++
	}
	require.Len(t, f.slots, n)
}

func TestLoaderAgreesWithGopacketOnRealCaptures(t *testing.T) {
	for _, name := range captures(t) {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		r, err := pcapgo.NewReader(bytes.NewReader(data))
		require.NoError(t, err)
		sameAs(t, data, r)
	}
}

func TestLoaderAgreesWithGopacketOnWhatItWrites(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	frames := make([][]byte, 200)
	infos := make([]gopacket.CaptureInfo, len(frames))
	for i := range frames {
		frames[i] = repeat(byte(i), 14+random.IntN(9000))
		infos[i] = gopacket.CaptureInfo{
			Timestamp:     time.Unix(1_700_000_000+int64(i), random.Int64N(1e9)),
			CaptureLength: len(frames[i]), Length: len(frames[i]), InterfaceIndex: i % 2,
		}
	}
	var classic, nano, ng bytes.Buffer
	w := pcapgo.NewWriter(&classic)
	require.NoError(t, w.WriteFileHeader(65535, layers.LinkTypeEthernet))
	wn := pcapgo.NewWriterNanos(&nano)
	require.NoError(t, wn.WriteFileHeader(65535, layers.LinkTypeEthernet))
	wg, err := pcapgo.NewNgWriter(&ng, layers.LinkTypeEthernet)
	require.NoError(t, err)
	_, err = wg.AddInterface(pcapgo.NgInterface{Name: "b", LinkType: layers.LinkTypeEthernet, TimestampResolution: 6, TimestampOffset: 3})
	require.NoError(t, err)
	for i, f := range frames {
		require.NoError(t, w.WritePacket(infos[i], f))
		require.NoError(t, wn.WritePacket(infos[i], f))
		require.NoError(t, wg.WritePacket(infos[i], f))
	}
	require.NoError(t, wg.Flush())

	for _, file := range [][]byte{classic.Bytes(), nano.Bytes()} {
		r, err := pcapgo.NewReader(bytes.NewReader(file))
		require.NoError(t, err)
		sameAs(t, file, r)
	}
	r, err := pcapgo.NewNgReader(bytes.NewReader(ng.Bytes()), pcapgo.DefaultNgReaderOptions)
	require.NoError(t, err)
	sameAs(t, ng.Bytes(), r)
}

func TestLoaderAgreesWithGopacketOnHandMadeFiles(t *testing.T) {
	for _, order := range []appender{binary.LittleEndian, binary.BigEndian} {
		f := &ngFile{appender: order}
		f.section().
			iface(1, 0, f.option(ngOptResol, []byte{9}), f.option(ngOptOffset, order.AppendUint64(nil, 77))).
			iface(1, 0, f.option(ngOptResol, []byte{3})).
			packet(0, 1_600_000_000_123_456_789, 61, repeat(3, 61)).
			packet(1, 1_600_000_000_123, 62, repeat(4, 62)).
			section().iface(1, 0).packet(0, 8, 65, repeat(6, 65))
		r, err := pcapgo.NewNgReader(bytes.NewReader(f.b), pcapgo.DefaultNgReaderOptions)
		require.NoError(t, err)
		sameAs(t, f.b, r)
	}
}

// Why the loader does not use gopacket's reader: a file that is cut right after
// a record's header ends there as far as that one is concerned.
func TestCutAfterRecordHeaderIsNotAnEnd(t *testing.T) {
	data := classicFile(t, 2)[:24+76+16]
	r, err := pcapgo.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	_, _, err = r.ReadPacketData()
	require.NoError(t, err)
	_, _, err = r.ReadPacketData()
	require.ErrorIs(t, err, io.EOF, "gopacket's reader tells the two apart now: the loader might use it")
	_, err = parse(data)
	require.ErrorContains(t, err, "file is cut: record 2 at byte 100")
}
