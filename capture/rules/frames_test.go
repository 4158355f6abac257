package rules

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/ring"
)

// The captures: one that is always there, and real traffic that may be.
const hosts = "../../testdata/hosts.pcap"

var others = []string{"real-mix.pcap", "real-jumbo.pcap", "real-runt.pcap", "voip-rtp.pcap", "voip-sip.pcap"}

// readCapture skips the test if the file does not exist.
func readCapture(t testing.TB, file string) [][]byte {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("%s is missing: put any capture of real Ethernet traffic there", file)
	}
	require.NoError(t, err)
	defer f.Close()
	return packets(t, f)
}

func packets(t testing.TB, from io.Reader) (out [][]byte) {
	r, err := pcapgo.NewReader(from)
	require.NoError(t, err)
	for {
		data, _, err := r.ReadPacketData()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		out = append(out, data)
	}
}

func frameOf(b []byte) ring.Frame { return ring.Frame{Data: b, Len: uint32(len(b))} }

// mutants are the frames with tags, labels, fragment headers, cuts and other changes.
func mutants(frames [][]byte, rnd *rand.Rand) (out [][]byte) {
	for _, f := range frames {
		b := bytes.Clone(f)
		for range rnd.IntN(3) {
			b = mutant(b, rnd)
		}
		if len(b) > 0 {
			out = append(out, b)
		}
	}
	return out
}

var etherTypes = []uint16{0x0800, 0x86dd, 0x0806, 0x8035, 0x8847, 0x8100, 0x88a8, 0x9100, 6, 0xf0, 0x42, 1500, 1501}

func mutant(b []byte, rnd *rand.Rand) []byte {
	if len(b) < 34 {
		return b
	}
	switch rnd.IntN(9) {
	case 0, 1: // a tag
		tag := binary.BigEndian.AppendUint16(nil, []uint16{0x8100, 0x8100, 0x88a8, 0x9100}[rnd.IntN(4)])
		return slices.Concat(b[:12], binary.BigEndian.AppendUint16(tag, uint16(rnd.IntN(4)<<13|rnd.IntN(4)+4)), b[12:])
	case 2: // a label, the last of its stack or not
		label := binary.BigEndian.AppendUint32([]byte{0x88, 0x47}, uint32(rnd.IntN(3)+16)<<12|uint32(rnd.IntN(4)&1)<<8|64)
		rest := b[14:]
		if binary.BigEndian.Uint16(b[12:]) == 0x8847 {
			label[4] &^= 1
		}
		return slices.Concat(b[:12], label, rest)
	case 3:
		return b[:rnd.IntN(min(len(b), 80))]
	case 4:
		binary.BigEndian.PutUint16(b[12:], etherTypes[rnd.IntN(len(etherTypes))])
	case 5: // another protocol
		proto := []byte{1, 6, 17, 44, 58, 132, 89}[rnd.IntN(7)]
		if b[12] == 8 {
			b[23] = proto
		} else {
			b[20] = proto
		}
	case 6: // a fragment header
		if b[12] == 0x86 && len(b) > 54 {
			head := []byte{b[20], 0, 0, byte(rnd.IntN(2)), 1, 2, 3, 4}
			b[20] = 44
			return slices.Concat(b[:54], head, b[54:])
		}
		b[20] ^= byte(rnd.IntN(2))
		b[14] = b[14]&0xf0 | byte(rnd.IntN(16))
	case 7:
		at := rnd.IntN(min(len(b), 64))
		b[at] = byte(rnd.IntN(256))
	case 8: // LLC
		b[12], b[13] = 0, byte(len(b)-14)
		b[14] = []byte{0x06, 0xf0, 0x42, 0xfe}[rnd.IntN(4)]
		b[15] = []byte{b[14], 0x42}[rnd.IntN(2)]
	}
	return b
}

// stripped is a frame whose tag the device took out; ok is false if the frame has no
// tag that the device takes out.
func stripped(b []byte) (_ ring.Frame, ok bool) {
	if len(b) < 16 || binary.BigEndian.Uint16(b[12:]) != 0x8100 {
		return ring.Frame{}, false
	}
	f := frameOf(slices.Concat(b[:12], b[16:]))
	f.VLAN = binary.BigEndian.Uint16(b[14:])
	f.Info = ring.HasVLAN | ring.Stripped
	return f, true
}

// chained is a frame in buffers of size bytes.
func chained(b []byte, size int) ring.Frame {
	parts := slices.Collect(slices.Chunk(b, size))
	return ring.Frame{Data: parts[0], Rest: append([][]byte{}, parts[1:]...), Len: uint32(len(b))}
}
