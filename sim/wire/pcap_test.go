package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gopacket/gopacket/layers"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// classicFile makes a µs little-endian pcap of n frames of size bytes (60).
func classicFile(t testing.TB, n int, size ...int) []byte {
	t.Helper()
	length := 60
	if len(size) > 0 {
		length = size[0]
	}
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, 262144)
	b = binary.LittleEndian.AppendUint32(b, uint32(layers.LinkTypeEthernet))
	for i := range n {
		b = appendRecord(b, binary.LittleEndian, uint32(100+i), 7, length, length, byte(i))
	}
	return b
}

type appender interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

func appendRecord(b []byte, order appender, sec, fraction uint32, caplen, length int, fill byte) []byte {
	b = order.AppendUint32(b, sec)
	b = order.AppendUint32(b, fraction)
	b = order.AppendUint32(b, uint32(caplen))
	b = order.AppendUint32(b, uint32(length))
	for range caplen {
		b = append(b, fill)
	}
	return b
}

// whole refuses truncated frames and other packets.
var whole = loading{most: maxArena}

func parse(data []byte) (*frameFile, error) { return parseFrames(data, cutRefuse, maxArena) }

func parseFrames(data []byte, cut cutPolicy, most int64) (*frameFile, error) {
	return readFrames(bytes.NewReader(data), int64(len(data)), loading{cut: cut, most: most})
}

func (f *frameFile) frame(i int) []byte {
	s := f.slots[i]
	return f.arena[s.off : s.off+int64(s.len)]
}

func TestClassicFilesOfAllByteOrdersAndUnits(t *testing.T) {
	for _, c := range []struct {
		order appender
		magic uint32
		unit  int64
	}{
		{binary.LittleEndian, 0xa1b2c3d4, 1000}, {binary.BigEndian, 0xa1b2c3d4, 1000},
		{binary.LittleEndian, 0xa1b23c4d, 1}, {binary.BigEndian, 0xa1b23c4d, 1},
	} {
		b := c.order.AppendUint32(nil, c.magic)
		b = c.order.AppendUint16(b, 2)
		b = c.order.AppendUint16(b, 4)
		b = append(b, make([]byte, 12)...)
		b = c.order.AppendUint32(b, uint32(layers.LinkTypeEthernet))
		b = appendRecord(b, c.order, 1_600_000_000, 999_999, 60, 60, 1)
		b = appendRecord(b, c.order, 4_294_967_295, 5, 1514, 1514, 2)
		f, err := parse(b)
		require.NoError(t, err)
		require.Equal(t, []int64{1_600_000_000e9 + 999_999*c.unit, 4_294_967_295e9 + 5*c.unit}, f.stamps)
		require.Equal(t, repeat(1, 60), f.frame(0))
		require.Equal(t, repeat(2, 1514), f.frame(1))
	}
}

func repeat(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

// Block types and options of pcapng.
const (
	ngSection   = 0x0a0d0d0a
	ngInterface = 1
	ngPacket    = 2
	ngSimple    = 3
	ngNames     = 4
	ngEnhanced  = 6

	ngByteOrder = 0x1a2b3c4d

	ngOptResol  = 9
	ngOptOffset = 14
)

// ngFile builds pcapng files.
type ngFile struct {
	appender
	b []byte
}

func (f *ngFile) block(kind uint32, body ...[]byte) *ngFile {
	b := bytes.Join(body, nil)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	f.b = f.AppendUint32(f.b, kind)
	f.b = f.AppendUint32(f.b, uint32(len(b)+12))
	f.b = append(f.b, b...)
	f.b = f.AppendUint32(f.b, uint32(len(b)+12))
	return f
}

func (f *ngFile) u32(v ...uint32) (b []byte) {
	for _, x := range v {
		b = f.AppendUint32(b, x)
	}
	return b
}

func (f *ngFile) section() *ngFile {
	version := f.AppendUint16(f.AppendUint16(nil, 1), 0)
	return f.block(ngSection, f.u32(ngByteOrder), version, repeat(0xff, 8))
}

func (f *ngFile) iface(link uint16, snaplen uint32, options ...[]byte) *ngFile {
	return f.block(ngInterface, f.AppendUint16(nil, link), []byte{0, 0}, f.u32(snaplen), bytes.Join(options, nil))
}

func (f *ngFile) option(code uint16, value []byte) []byte {
	b := f.AppendUint16(f.AppendUint16(nil, code), uint16(len(value)))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func (f *ngFile) packet(iface uint32, units uint64, length uint32, data []byte) *ngFile {
	return f.block(ngEnhanced, f.u32(iface, uint32(units>>32), uint32(units), uint32(len(data)), length), data)
}

func TestPcapngOfBothByteOrdersAndAllStamps(t *testing.T) {
	for _, order := range []appender{binary.LittleEndian, binary.BigEndian} {
		f := &ngFile{appender: order}
		f.section().
			iface(1, 0).
			iface(1, 262144, f.option(2, []byte("eth0")), f.option(ngOptResol, []byte{9}), f.option(ngOptOffset, order.AppendUint64(nil, 100)), f.option(0, nil)).
			iface(1, 0, f.option(ngOptResol, []byte{3})).
			iface(1, 0, f.option(ngOptResol, []byte{12})).
			block(0x0bad, []byte("an unknown block")).
			packet(0, 1_600_000_000_000_001, 60, repeat(1, 60)).
			packet(1, 1_600_000_000_000_000_007, 61, repeat(2, 61)).
			packet(2, 3500, 62, repeat(3, 62)).
			packet(3, 5_000_000_001_999, 63, repeat(4, 63)).
			block(ngPacket, order.AppendUint16(nil, 1), []byte{0, 0}, f.u32(0, 9, 64, 64), repeat(5, 64)).
			section().
			iface(1, 0).
			packet(0, 8, 65, repeat(6, 65))
		got, err := parse(f.b)
		require.NoError(t, err)
		require.Equal(t, []int64{1_600_000_000_000_001_000, 1_600_000_100_000_000_007, 3_500_000_000, 5_000_000_001, 100_000_000_009, 8000}, got.stamps)
		for i := range got.slots {
			require.Equal(t, repeat(byte(i+1), 60+i), got.frame(i))
		}
		require.Zero(t, got.timeless)
	}
}

func TestSimplePacketsHaveNoStamps(t *testing.T) {
	f := &ngFile{appender: binary.LittleEndian}
	f.section().iface(1, 64).block(ngSimple, f.u32(60), repeat(1, 60))
	got, err := parse(f.b)
	require.NoError(t, err)
	require.Equal(t, 1, got.timeless)
	f.block(ngSimple, f.u32(100), repeat(2, 64))
	_, err = parse(f.b)
	require.ErrorContains(t, err, "record 2 at byte 124: truncated to 64 of 100 bytes")
}

func TestCutFileIsRefusedAtEveryOffset(t *testing.T) {
	classic := classicFile(t, 3)
	f := &ngFile{appender: binary.LittleEndian}
	f.section().iface(1, 0).packet(0, 1, 60, repeat(1, 60)).packet(0, 1, 60, repeat(2, 60))
	for name, c := range map[string]struct {
		data  []byte
		whole map[int]int // by offset: a cut here leaves a valid file of n frames
	}{
		"classic": {classic, map[int]int{24: 0, 24 + 76: 1, 24 + 2*76: 2}},
		"pcapng":  {f.b, map[int]int{48: 0, 48 + 92: 1}},
	} {
		for n := range c.data {
			got, err := parse(c.data[:n])
			frames, ends := c.whole[n]
			switch {
			case frames > 0:
				require.NoError(t, err)
				require.Len(t, got.slots, frames)
			case ends:
				require.ErrorContains(t, err, "file holds no frames", "%s cut to %d", name, n)
			default:
				require.ErrorContains(t, err, "cut", "%s cut to %d", name, n)
			}
		}
	}
	_, err := parse(classic[:len(classic)-1])
	require.EqualError(t, err, "file is cut within record 3 at byte 176; 2 whole frames before it (editcap IN OUT saves those)")
	_, err = parse(classic[:24+76+9])
	require.EqualError(t, err, "file is cut within record 2 at byte 100; 1 whole frames before it (editcap IN OUT saves those)")
	_, err = parse(classic[:24+76+16])
	require.ErrorContains(t, err, "file is cut within record 2 at byte 100", "between header and first byte")
	_, err = parse(f.b[:len(f.b)-1])
	require.ErrorContains(t, err, "file is cut within record 2 at byte 140; 1 whole frames before it")
}

func TestTruncatedFramesAreRefusedPaddedOrSkipped(t *testing.T) {
	b := classicFile(t, 1)
	b = appendRecord(b, binary.LittleEndian, 200, 0, 20, 1000, 8)
	b = appendRecord(b, binary.LittleEndian, 201, 0, 64, 64, 9)
	b = appendRecord(b, binary.LittleEndian, 202, 0, 0, 100, 9)
	_, err := parse(b)
	require.ErrorContains(t, err, "record 2 at byte 100: truncated to 20 of 1000 bytes (snaplen): cut=pad pads such frames with zeros, cut=skip skips them")

	f, err := parseFrames(b, cutSkip, maxArena)
	require.NoError(t, err)
	require.Len(t, f.slots, 2)
	require.Equal(t, repeat(9, 64), f.frame(1))
	require.Len(t, f.stamps, 2)

	f, err = parseFrames(b, cutPad, maxArena)
	require.NoError(t, err)
	require.Len(t, f.slots, 4)
	require.Equal(t, append(repeat(8, 20), make([]byte, 980)...), f.frame(1))
	require.Equal(t, repeat(9, 64), f.frame(2))
	require.Equal(t, make([]byte, 100), f.frame(3))

	_, err = parseFrames(b, cutPad, 60+1000+64+99)
	require.ErrorContains(t, err, "record 4 at byte 216: frames up to it take more than 1223 bytes, the limit of a replayed file in memory")

	only := appendRecord(classicFile(t, 0), binary.LittleEndian, 1, 1, 20, 60, 1)
	_, err = parseFrames(only, cutSkip, maxArena)
	require.ErrorContains(t, err, "all 1 frames are truncated")
}

func TestUnsuitableFilesAreRefused(t *testing.T) {
	change := func(off int, v uint32) []byte {
		b := classicFile(t, 1)
		binary.LittleEndian.PutUint32(b[off:], v)
		return b
	}
	ng := func(build func(f *ngFile)) []byte {
		f := &ngFile{appender: binary.LittleEndian}
		build(f.section())
		return f.b
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"text":        {[]byte("hello world"), "neither pcap nor pcapng: it begins with 68 65 6c 6c"},
		"xz":          {[]byte("\xfd7zXZ\x00"), "xz -d"},
		"broken gzip": {append([]byte{0x1f, 0x8b}, make([]byte, 100)...), "gzip: "},
		"version":     {change(4, 2|5<<16), "pcap version 2.5: 2.0 to 2.4 are known"},
		"link":        {change(20, 113), "link type 113 (Linux cooked capture): Ethernet frames only"},
		"link bits":   {change(20, 1|1<<20), "the reserved bits 0x00100000 are set"},
		"caplen":      {change(24+8, 300_000), "packet 1, at byte 24: damaged: 300000 bytes captured, the limit of libpcap is 262144"},
		"hostile":     {change(24+12, 1<<31), "record 1 at byte 24: 60 bytes captured of a frame of 2147483648, longer than 262144"},
		"no header":   {appendRecord(classicFile(t, 0), binary.LittleEndian, 1, 1, 13, 13, 1), "a frame of 13 bytes is shorter than an Ethernet header"},
		"ng link":     {ng(func(f *ngFile) { f.iface(101, 0).packet(0, 0, 60, repeat(1, 60)) }), "packet 1 cannot be replayed: interface 0 has link type 101 (raw IP). A port carries valid Ethernet frames: interface=NAME or its number replays one interface, other=skip skips such packets"},
		"ng no iface": {ng(func(f *ngFile) { f.packet(0, 0, 60, repeat(1, 60)) }), "packet 1 cannot be replayed: its interface is not described in the file, number 0 of its section"},
		"ng future":   {ng(func(f *ngFile) { f.iface(1, 0).packet(0, 1<<63, 60, repeat(1, 60)) }), "packet 1 cannot be replayed: its stamp is out of range, "},
		"ng past": {ng(func(f *ngFile) {
			f.iface(1, 0, f.option(ngOptOffset, f.AppendUint64(nil, 1<<64-5))).packet(0, 1, 60, repeat(1, 60))
		}), "record 1 at byte 60: stamp before 1970 or after 2242"},
		"ng short block": {ng(func(f *ngFile) { f.iface(1, 0).block(ngEnhanced, make([]byte, 8)) }), "packet 1 cannot be replayed: damaged, a packet block of 20 bytes"},
		"ng caplen":      {ng(func(f *ngFile) { f.iface(1, 0).block(ngEnhanced, f.u32(0, 0, 0, 60, 60), make([]byte, 8)) }), "packet 1 cannot be replayed: damaged, 60 bytes captured, in a block of 40"},
		"ng version":     {ng(func(f *ngFile) { f.b[12] = 2 }), "pcapng version 2.0: 1.0 is known"},
	} {
		_, err := parse(c.data)
		require.ErrorContains(t, err, c.want, name)
	}
}

func TestFilesOverTheLimitAreNotRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f.pcap")
	require.NoError(t, os.WriteFile(name, classicFile(t, 2), 0o600))
	_, err := loadPcap(name, loading{most: 100})
	require.ErrorContains(t, err, "file of 176 bytes: the limit of a replayed file in memory is 100 bytes")
}

func TestInterfacesWithoutFramesMayBeOfAnyLinkType(t *testing.T) {
	f := &ngFile{appender: binary.BigEndian}
	f.section().iface(101, 0).iface(1, 0).packet(1, 1, 60, repeat(1, 60))
	got, err := parse(f.b)
	require.NoError(t, err)
	require.Len(t, got.slots, 1)
}

func TestFoldersAndMissingFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	_, err := loadPcap(dir, whole)
	require.EqualError(t, err, "pcap="+dir+": is a folder, want a pcap or pcapng file")
	_, err = loadPcap(filepath.Join(dir, "none"), whole)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "pcap="+dir)
}

func TestPipesAreReadToTheEnd(t *testing.T) {
	data := classicFile(t, 5000) // more than one buffer
	f, err := readFrames(iotest.HalfReader(bytes.NewReader(data)), 0, whole)
	require.NoError(t, err)
	require.Len(t, f.slots, 5000)
	_, err = readFrames(bytes.NewReader(data), 0, loading{most: 100 * 60})
	require.ErrorContains(t, err, "record 101 at byte 7624: frames up to it take more than 6000 bytes")
}

func TestReadErrorIsWrapped(t *testing.T) {
	broken := errors.New("disk on fire")
	_, err := readFrames(iotest.ErrReader(broken), 0, whole)
	require.ErrorIs(t, err, broken)
	_, err = readFrames(io.MultiReader(bytes.NewReader(classicFile(t, 3)), iotest.ErrReader(broken)), 0, whole)
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "packet 4, at byte 252")
}

func TestReplayDeliversTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a,b.pcap")
	require.NoError(t, os.WriteFile(name, classicFile(t, 300, 77), 0o600))
	o, err := ParseOptions(`loop=3,pcap=` + Quote(name))
	require.NoError(t, err)
	w, err := Parse(o)
	require.NoError(t, err)
	got := all(t, w)
	require.Len(t, got, 900)
	for i, f := range got {
		require.Equal(t, repeat(byte(i%300), 77), f)
	}
}

func TestOtherPacketsAreRefusedSkippedOrNotSelected(t *testing.T) {
	f := &ngFile{appender: binary.LittleEndian}
	f.section().iface(1, 0, f.option(2, []byte("eth0"))).iface(1, 0, f.option(2, []byte("eth1"))).iface(101, 0, f.option(2, []byte("tun0")))
	f.packet(0, 1, 60, repeat(1, 60)).packet(1, 2, 60, repeat(2, 60)).packet(2, 3, 60, repeat(3, 60)).packet(0, 4, 60, repeat(4, 60))
	load := func(how loading) (*frameFile, error) {
		how.most = maxArena
		return readFrames(bytes.NewReader(f.b), 0, how)
	}
	_, err := load(loading{})
	require.ErrorContains(t, err, "packet 3 cannot be replayed: interface 2 (tun0) has link type 101 (raw IP). A port")
	got, err := load(loading{other: true})
	require.NoError(t, err)
	require.Len(t, got.slots, 3)
	for _, name := range []string{"eth1", "1"} {
		got, err = load(loading{iface: name})
		require.NoError(t, err)
		require.Len(t, got.slots, 1)
		require.Equal(t, repeat(2, 60), got.frame(0))
	}
	for _, name := range []string{"tun0", "eth7"} {
		_, err = load(loading{iface: name})
		require.ErrorContains(t, err, "interface="+name+": the file has no frames of an Ethernet interface")
	}
	for option, want := range map[string]string{"interface=": "the name of an interface", "other=pad": "want skip"} {
		o, err := ParseOptions("pcap=x," + option)
		require.NoError(t, err)
		_, err = Parse(o)
		require.ErrorContains(t, err, want)
	}
}

// A wire reads what every program reads: package capfile's tests have the formats.
func TestFilesOfAllKindsAreReplayed(t *testing.T) {
	f := &ngFile{appender: binary.BigEndian}
	f.section().iface(1, 0, f.option(ngOptResol, []byte{0x80 | 30})).packet(0, 1000<<30|1<<30/3, 60, repeat(1, 60))
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err := w.Write(f.b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	z, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	for _, file := range [][]byte{f.b, zipped.Bytes(), z.EncodeAll(f.b, nil)} {
		got, err := parse(file)
		require.NoError(t, err)
		require.Equal(t, []int64{1000_333_333_333}, got.stamps)
	}

	fcs := classicFile(t, 2, 64)
	binary.LittleEndian.PutUint32(fcs[20:], 2<<28|1<<26|1)
	got, err := parse(fcs)
	require.NoError(t, err)
	require.Equal(t, repeat(1, 60), got.frame(1), "without the FCS")

	old := classicFile(t, 2)
	old[6] = 3
	got, err = parse(old)
	require.NoError(t, err)
	require.Len(t, got.slots, 2)

	excess := classicFile(t, 3)
	binary.LittleEndian.PutUint32(excess[24+76+12:], 56)
	got, err = parse(excess)
	require.NoError(t, err)
	require.Len(t, got.slots, 3)
	require.Len(t, got.frame(1), 60)
}

func TestAWireTellsWhatItLeavesOutOrChanges(t *testing.T) {
	f := &ngFile{appender: binary.LittleEndian}
	f.section().iface(1, 0, f.option(13, []byte{4})).iface(101, 0).iface(1, 0)
	f.packet(0, 0, 64, repeat(1, 64)).packet(1, 0, 20, repeat(2, 20)).packet(2, 0, 60, repeat(3, 61)).packet(2, 0, 100, repeat(4, 60))
	name := filepath.Join(t.TempDir(), "a.pcapng")
	require.NoError(t, os.WriteFile(name, f.b, 0o600))
	for options, want := range map[string][]string{
		",interface=2,cut=pad": {
			"1 packet with more bytes captured than on the wire, all kept: 61 captured of 60. First: packet 3",
			"truncated frames padded with zeros: 1",
		},
		",other=skip,cut=skip": {
			"1 packet with a frame check sequence, removed: 4 bytes, interface 0. First: packet 1",
			"1 packet left out: interface 1 has link type 101 (raw IP). First: packet 2",
			"1 packet with more bytes captured than on the wire, all kept: 61 captured of 60. First: packet 3",
			"truncated frames skipped: 1",
		},
	} {
		all, err := ParseOptions("pcap=" + name + options)
		require.NoError(t, err)
		w, err := Parse(all)
		require.NoError(t, err)
		var texts []string
		for _, text := range w.(Noticer).Notices() {
			rest, found := strings.CutPrefix(text, "pcap="+name+": ")
			require.True(t, found)
			texts = append(texts, rest)
		}
		require.Equal(t, want, texts)
		require.NoError(t, w.Close())
	}
	all, err := ParseOptions("gen")
	require.NoError(t, err)
	w, err := Parse(all)
	require.NoError(t, err)
	require.Empty(t, w.(Noticer).Notices())
}

// withFCS makes a pcap of frames that end in their CRC, as the header says. Those in wrong
// have another one.
func withFCS(t testing.TB, frames [][]byte, wrong map[int]bool) []byte {
	le := binary.LittleEndian
	b := classicFile(t, 0)
	le.PutUint32(b[20:], uint32(layers.LinkTypeEthernet)|1<<26|2<<28) // 2 words of 16 bits
	for i, f := range frames {
		crc := crc32.ChecksumIEEE(f)
		if wrong[i] {
			crc ^= 1
		}
		b = appendRecord(b, le, 100, uint32(i), 0, len(f)+4, 0)
		le.PutUint32(b[len(b)-8:], uint32(len(f)+4))
		b = le.AppendUint32(append(b, f...), crc)
	}
	return b
}

func TestFramesOfTheFileWithTheirCRC(t *testing.T) {
	frames := [][]byte{make([]byte, 60), make([]byte, 100), make([]byte, 30), make([]byte, 40)}
	file := withFCS(t, frames, map[int]bool{1: true, 3: true})
	name := filepath.Join(t.TempDir(), "fcs.pcap")
	require.NoError(t, os.WriteFile(name, file, 0o600))
	w, err := Parse([]Option{{"pcap", name}, {"fcs", "file"}})
	require.NoError(t, err)
	defer w.Close()
	var got []Frame
	for {
		some := make([]Frame, 4)
		n, err := w.Receive(some, 1<<20)
		for _, f := range some[:n] {
			f.At = 0
			got = append(got, f)
		}
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
	}
	for i, damage := range []Damage{0, BadCRC, Unpadded, Unpadded | BadCRC} {
		require.Equal(t, frames[i], got[i].Data)
		require.Equal(t, damage, got[i].Damage)
		require.Equal(t, damage&BadCRC == 0, got[i].CRC == crc32.ChecksumIEEE(frames[i]))
	}
	require.Empty(t, w.(Noticer).Notices())

	plain, err := parse(file)
	require.NoError(t, err)
	for _, s := range plain.slots {
		require.Zero(t, s.damage, "without the option the frames are good")
	}
	_, err = Parse([]Option{{"pcap", name}, {"fcs", "yes"}})
	require.ErrorContains(t, err, `wire option fcs="yes": want file`)
}
