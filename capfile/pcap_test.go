package capfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
)

// oldFile makes a pcap file with two packets of 60 bytes of 100: in records of any
// variant.
func oldFile(o order, magic uint32, major, minor uint16) []byte {
	b := oldHeader(o, magic, major, minor, 1)
	if magic == 0x1c0001ac || magic == 0x1c0001ab {
		b = u32(b, o, 2*(16+60))
	}
	for i := range uint32(2) {
		b = u32(b, o, 1_700_000_000+i, 999_999)
		if major == 543 || minor < 3 || minor == 3 && i == 1 {
			b = u32(b, o, 100, 60)
		} else {
			b = u32(b, o, 60, 100)
		}
		if magic == 0xa1b2cd34 {
			b = append(b, 1, 2, 3, 4, 5, 6, 7, 8) // interface, protocol, packet type
		}
		b = append(b, frame(byte(i), 60)...)
	}
	return b
}

func TestAllVariantsOfPcap(t *testing.T) {
	for _, o := range orders {
		for _, magic := range []uint32{0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34, 0x1c0001ac, 0x1c0001ab} {
			for _, version := range [][2]uint16{{2, 0}, {2, 1}, {2, 2}, {2, 3}, {2, 4}, {543, 0}} {
				name := fmt.Sprintf("%v %08x %v", o, magic, version)
				list, r := whole(t, oldFile(o, magic, version[0], version[1]))
				unit := int64(1000)
				if magic == 0xa1b23c4d {
					unit = 1
				}
				require.Len(t, list, 2, name)
				for i, p := range list {
					want := capfile.Packet{
						Nano: (1_700_000_000+int64(i))*1e9 + 999_999*unit, Len: 100, Data: frame(byte(i), 60), Number: uint64(i + 1),
					}
					require.Equal(t, want, p, name)
				}
				require.Empty(t, r.Counts(), name)
				require.Equal(t, "pcap", r.Format())
			}
		}
	}
}

func TestPcapVersionsThatDoNotExist(t *testing.T) {
	for _, v := range [][2]uint16{{1, 0}, {2, 5}, {3, 0}, {543, 1}, {0, 0}} {
		_, _, err := all(t, oldFile(binary.LittleEndian, 0xa1b2c3d4, v[0], v[1]), capfile.Options{})
		require.ErrorContains(t, err, fmt.Sprintf("pcap version %d.%d", v[0], v[1]))
	}
}

func TestLinkTypeBits(t *testing.T) {
	o := binary.LittleEndian
	file := func(link uint32, caplen int) []byte {
		b := oldHeader(o, 0xa1b23c4d, 2, 4, link)
		return append(u32(b, o, 1, 0, uint32(caplen), 64), append(frame(9, 60), 0xde, 0xad, 0xbe, 0xef)[:caplen]...)
	}
	const present = 1 << 26
	for _, c := range []struct {
		link   uint32
		caplen int
		data   int
		length uint32
	}{
		{1, 64, 64, 64},
		{2<<28 | present | 1, 64, 60, 60},
		{2<<28 | present | 1, 62, 60, 60}, // half of the FCS captured
		{2<<28 | present | 1, 50, 50, 60}, // nothing of it
		{1<<28 | present | 1, 64, 62, 62},
		{15<<28 | present | 1, 64, 34, 34},
		{present | 1, 64, 64, 64}, // a length of 0
		{2<<28 | 1, 64, 64, 64},   // not valid without the flag
	} {
		list, r := whole(t, file(c.link, c.caplen))
		require.Len(t, list, 1)
		require.Equal(t, c.length, list[0].Len, "%#x", c.link)
		require.Len(t, list[0].Data, c.data, "%#x", c.link)
		if c.length == 64 {
			require.Empty(t, r.Counts())
			continue
		}
		require.Equal(t, []string{fmt.Sprintf("1 packet with a frame check sequence, removed: %d bytes, interface 0. First: packet 1", 64-c.length)}, lines(r))
	}

	list, r, err := all(t, file(2<<28|present|1, 64), capfile.Options{KeepFCS: true, Strict: true})
	require.NoError(t, err)
	require.Len(t, list[0].Data, 64)
	require.EqualValues(t, 64, list[0].Len)
	require.Equal(t, capfile.FCSKept, r.Counts()[0].Cause)

	_, _, err = all(t, file(0x00050001, 64), capfile.Options{})
	require.EqualError(t, err, "pcap link type 0x00050001: the reserved bits 0x00050000 are set")
	_, _, err = all(t, file(101, 64), capfile.Options{})
	require.EqualError(t, err, "link type 101 (raw IP): Ethernet frames only")
	list, r, err = all(t, file(101, 64), capfile.Options{Select: func(i *capfile.Interface) bool { return i.Link == 101 }})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.EqualValues(t, 101, r.Interfaces()[0].Link)
	list, r, err = all(t, file(101, 64), capfile.Options{Select: func(i *capfile.Interface) bool { return false }})
	require.NoError(t, err)
	require.Empty(t, list)
	require.Zero(t, r.LeftOut(), "as asked for")
	require.Equal(t, []string{"1 packet not selected: interface 0 has link type 101 (raw IP). First: packet 1"}, lines(r))
}

func TestMoreCapturedThanOnTheWire(t *testing.T) {
	o := binary.LittleEndian
	b := oldHeader(o, 0xa1b23c4d, 2, 4, 1)
	for i, n := range []int{60, 64, 70, 60} {
		b = append(u32(b, o, uint32(i), 0, uint32(n), 60), frame(byte(i), n)...)
	}
	list, r := whole(t, b)
	require.Len(t, list, 4)
	require.EqualValues(t, 64, list[1].Len)
	require.Equal(t, frame(1, 64), list[1].Data)
	require.Equal(t, []string{"2 packets with more bytes captured than on the wire, all kept: 64 captured of 60. First: packet 2"}, lines(r))
	require.Zero(t, r.LeftOut())

	list, _, err := all(t, b, capfile.Options{Strict: true})
	require.ErrorAs(t, err, new(*capfile.StrictError))
	require.ErrorContains(t, err, "64 captured of 60. First: packet 2")
	require.Len(t, list, 1)
}

// Zeros are the end of a file that was not written further; a header is no packet.
func TestZerosAndHeadersWithinAFile(t *testing.T) {
	o := binary.LittleEndian
	one := append(u32(oldHeader(o, 0xa1b23c4d, 2, 4, 1), o, 1, 0, 60, 60), frame(1, 60)...)
	ng := newNG(o).iface(1, 0).packet(0, 1, 60, frame(1, 60)).b
	for at, file := range map[int][]byte{len(one): one, len(ng): ng} {
		list, _, err := all(t, append(bytes.Clone(file), make([]byte, 4096)...), capfile.Options{})
		require.Len(t, list, 1)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.EqualError(t, err, fmt.Sprintf("packet 2, at byte %d: zeros: unexpected EOF", at))
	}

	for _, second := range orders {
		list, _, err := all(t, append(bytes.Clone(one), oldFile(second, 0xa1b2c3d4, 2, 4)...), capfile.Options{})
		require.Len(t, list, 1)
		require.EqualError(t, err, "packet 2, at byte 100: a second pcap header: files were joined. mergecap joins them")
	}

	list, _ := whole(t, u32(one, o, 2, 0, 0, 0)) // a packet of no bytes, with a stamp
	require.Len(t, list, 2)
}

func TestCaptureLengthLimit(t *testing.T) {
	o := binary.LittleEndian
	file := func(link, n uint32) []byte {
		return append(u32(oldHeader(o, 0xa1b23c4d, 2, 4, link), o, 1, 0, n, n), make([]byte, n)...)
	}
	every := capfile.Options{Select: func(*capfile.Interface) bool { return true }}
	list, _ := whole(t, file(1, 262144))
	require.Len(t, list[0].Data, 262144)
	_, _, err := all(t, file(1, 262145), capfile.Options{})
	require.EqualError(t, err, "packet 1, at byte 24: damaged: 262145 bytes captured, the limit of libpcap is 262144")
	list, _, err = all(t, file(220, 1<<20), every)
	require.NoError(t, err)
	require.Len(t, list[0].Data, 1<<20)
}

func TestWhatIsNoCaptureFile(t *testing.T) {
	for _, text := range []string{"", "a", "abc", "\xd4\xc3\xb2\xa1", "\x0a\x0d\x0d\x0a", "\x1f\x8b", "\x28\xb5\x2f\xfd"} {
		_, _, err := all(t, []byte(text), capfile.Options{})
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%q", text)
	}
	_, _, err := all(t, []byte("this is a text"), capfile.Options{})
	require.ErrorIs(t, err, capfile.ErrFormat)
	_, _, err = all(t, []byte("\xfd7zXZ\x00abc"), capfile.Options{})
	require.ErrorContains(t, err, "xz -d")
	broken := errors.New("disk on fire")
	r, err := capfile.NewReader(io.MultiReader(&oneRead{oldFile(binary.LittleEndian, 0xa1b2c3d4, 2, 4)[:150]}, failing{broken}), capfile.Options{})
	require.NoError(t, err)
	_, err = r.Next()
	require.NoError(t, err)
	_, err = r.Next()
	require.ErrorIs(t, err, broken)
	_, again := r.Next()
	require.Equal(t, err, again)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type oneRead struct{ b []byte }

func (o *oneRead) Read(b []byte) (int, error) {
	if len(o.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, o.b)
	o.b = o.b[n:]
	return n, nil
}

// tcpdump prints the fraction as it is stored.
func TestLongFractionsAreTold(t *testing.T) {
	f := oldHeader(binary.LittleEndian, 0xa1b2c3d4, 2, 4, 1)
	f = append(u32(f, binary.LittleEndian, 5, 1_500_000, 60, 60), frame(1, 60)...)
	list, r := whole(t, f)
	require.EqualValues(t, 6_500_000_000, list[0].Nano)
	require.Equal(t, []string{"1 packet with a fraction of a second that is a second or more, added: 1500000 units of 1000 ns. First: packet 1"}, lines(r))
	_, _, err := all(t, f, capfile.Options{Strict: true})
	require.ErrorContains(t, err, "strict: 1 packet with a fraction")
}
