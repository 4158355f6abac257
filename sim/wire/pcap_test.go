package wire

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
	b = binary.LittleEndian.AppendUint32(b, linkEthernet)
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

func parse(data []byte) (*frameFile, error) { return parseFrames(data, cutRefuse, defaultLimits) }

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
		b = c.order.AppendUint32(b, linkEthernet)
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
			iface(1, 0, f.option(ngOptResol, []byte{0x80 | 20})).
			iface(1, 0, f.option(ngOptResol, []byte{12})).
			block(0x0bad, []byte("an unknown block")).
			packet(0, 1_600_000_000_000_001, 60, repeat(1, 60)).
			packet(1, 1_600_000_000_000_000_007, 61, repeat(2, 61)).
			packet(2, 3<<20|1<<19, 62, repeat(3, 62)).
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
	require.ErrorContains(t, err, "record 2 at byte 124: the capture holds 64 of the frame's 100 bytes")
}

func TestCutFileIsRefusedWhereverItIsCut(t *testing.T) {
	classic := classicFile(t, 3)
	f := &ngFile{appender: binary.LittleEndian}
	f.section().iface(1, 0).packet(0, 1, 60, repeat(1, 60)).packet(0, 1, 60, repeat(2, 60))
	for name, c := range map[string]struct {
		data  []byte
		whole map[int]int // a cut here leaves a whole file of so many frames
	}{
		"classic": {classic, map[int]int{24: 0, 24 + 76: 1, 24 + 2*76: 2}},
		"pcapng":  {f.b, map[int]int{28: 0, 48: 0, 48 + 92: 1}},
	} {
		for n := range c.data {
			got, err := parse(c.data[:n])
			frames, whole := c.whole[n]
			switch {
			case frames > 0:
				require.NoError(t, err)
				require.Len(t, got.slots, frames)
			case whole:
				require.ErrorContains(t, err, "file holds no frames", "%s cut to %d", name, n)
			case n == 0:
				require.ErrorContains(t, err, "file is empty")
			default:
				require.ErrorContains(t, err, "cut", "%s cut to %d", name, n)
			}
		}
	}
	_, err := parse(classic[:len(classic)-1])
	require.EqualError(t, err, "file is cut: record 3 at byte 176 has 59 of the 60 bytes of its frame; 2 whole frames before it (editcap IN OUT saves those)")
	_, err = parse(classic[:24+76+9])
	require.EqualError(t, err, "file is cut: record 2 at byte 100 has 9 of the 16 bytes of its header; 1 whole frames before it (editcap IN OUT saves those)")
	_, err = parse(classic[:24+76+16])
	require.ErrorContains(t, err, "record 2 at byte 100 has 0 of the 60 bytes of its frame")
}

func TestTruncatedFramesAreRefusedPaddedOrSkipped(t *testing.T) {
	b := classicFile(t, 1)
	b = appendRecord(b, binary.LittleEndian, 200, 0, 20, 1000, 8)
	b = appendRecord(b, binary.LittleEndian, 201, 0, 64, 64, 9)
	b = appendRecord(b, binary.LittleEndian, 202, 0, 0, 100, 9)
	_, err := parse(b)
	require.ErrorContains(t, err, "record 2 at byte 100: the capture holds 20 of the frame's 1000 bytes (snaplen): cut=pad fills such frames with zeros, cut=skip leaves them out")

	f, err := parseFrames(b, cutSkip, defaultLimits)
	require.NoError(t, err)
	require.Len(t, f.slots, 2)
	require.Equal(t, repeat(9, 64), f.frame(1))
	require.Len(t, f.stamps, 2)

	f, err = parseFrames(b, cutPad, defaultLimits)
	require.NoError(t, err)
	require.Len(t, f.slots, 4)
	require.Equal(t, append(repeat(8, 20), make([]byte, 980)...), f.frame(1))
	require.Equal(t, repeat(9, 64), f.frame(2))
	require.Equal(t, make([]byte, 100), f.frame(3))

	_, err = parseFrames(b, cutPad, limits{file: 1 << 20, arena: int64(len(b)) + 1099})
	require.ErrorContains(t, err, "record 4 at byte 216: with the zeros of cut=pad the file takes more than 1331 bytes of memory")

	only := appendRecord(classicFile(t, 0), binary.LittleEndian, 1, 1, 20, 60, 1)
	_, err = parseFrames(only, cutSkip, defaultLimits)
	require.ErrorContains(t, err, "every one of the 1 frames is cut")
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
		"text":           {[]byte("hello world"), "neither a pcap nor a pcapng file: it begins with 68 65 6c 6c"},
		"gzip":           {[]byte{0x1f, 0x8b, 8, 0, 0}, "gunzip it first"},
		"zstd":           {[]byte{0x28, 0xb5, 0x2f, 0xfd}, "unzstd it first"},
		"patched":        {[]byte{0x34, 0xcd, 0xb2, 0xa1}, "patched pcap format"},
		"version":        {change(4, 2|3<<16), "pcap version 2.3, want 2.4"},
		"link":           {change(20, 113), "link type 113, want 1 (Ethernet)"},
		"fcs":            {change(20, 1|1<<26|2<<28), "end in an FCS of 4 bytes"},
		"caplen":         {change(24+8, 300_000), "record 1 at byte 24: 300000 bytes captured of a frame of 60, at most 262144"},
		"hostile":        {change(24+12, 1<<31), "60 bytes captured of a frame of 2147483648"},
		"caplen>len":     {change(24+12, 59), "60 bytes captured of a frame of 59"},
		"no header":      {appendRecord(classicFile(t, 0), binary.LittleEndian, 1, 1, 13, 13, 1), "a frame of 13 bytes is shorter than an Ethernet header"},
		"ng link":        {ng(func(f *ngFile) { f.iface(101, 0).packet(0, 0, 60, repeat(1, 60)) }), "link type 101, want 1"},
		"ng no iface":    {ng(func(f *ngFile) { f.packet(0, 0, 60, repeat(1, 60)) }), "frame of interface 0, the section describes 0"},
		"ng fcs":         {ng(func(f *ngFile) { f.iface(1, 0, f.option(ngOptFCS, []byte{4})).packet(0, 0, 64, repeat(1, 64)) }), "FCS of 4 bytes"},
		"ng option":      {ng(func(f *ngFile) { f.iface(1, 0, f.AppendUint16(f.AppendUint16(nil, 2), 50)) }), "option 2 of 50 bytes runs past its block"},
		"ng future":      {ng(func(f *ngFile) { f.iface(1, 0).packet(0, 1<<63, 60, repeat(1, 60)) }), "time stamp before 1970 or after 2242"},
		"ng short block": {ng(func(f *ngFile) { f.iface(1, 0).block(ngEnhanced, make([]byte, 8)) }), "packet block of 20 bytes"},
		"ng caplen":      {ng(func(f *ngFile) { f.iface(1, 0).block(ngEnhanced, f.u32(0, 0, 0, 60, 60), make([]byte, 8)) }), "60 bytes captured in a block that has room for 8"},
		"ng ends":        {ng(func(f *ngFile) { f.iface(1, 0); f.b[len(f.b)-4]++ }), "block of 20 bytes at its start and 21 at its end"},
		"ng length":      {ng(func(f *ngFile) { f.b = append(f.b, f.u32(6, 13, 0, 0)...) }), "block of 13 bytes"},
		"ng version":     {ng(func(f *ngFile) { f.b[12] = 2 }), "pcapng version 2.0, want 1.x"},
	} {
		_, err := parse(c.data)
		require.ErrorContains(t, err, c.want, name)
	}
}

func TestFilesOverTheLimitAreNotRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f.pcap")
	require.NoError(t, os.WriteFile(name, classicFile(t, 2), 0o600))
	_, err := loadPcap(name, cutRefuse, limits{file: 100, arena: 100})
	require.ErrorContains(t, err, "file of 176 bytes: a replayed file is held in memory, at most 100 bytes")
}

func TestReplayedFileComesOutAsItWas(t *testing.T) {
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

// captures are the one in testdata and those beside the checkout.
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

func TestRealCapturesAreReplayedWhole(t *testing.T) {
	for _, name := range captures(t) {
		f, err := loadPcap(name, cutRefuse, defaultLimits)
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

func FuzzPcap(f *testing.F) {
	f.Add(classicFile(f, 3), byte(0))
	f.Add(appendRecord(classicFile(f, 1), binary.LittleEndian, 1, 1, 14, 2000, 1), byte(1))
	f.Add(appendRecord(classicFile(f, 1), binary.LittleEndian, 1, 1, 14, 2000, 1), byte(2))
	for _, order := range []appender{binary.LittleEndian, binary.BigEndian} {
		n := &ngFile{appender: order}
		n.section().iface(1, 40, n.option(ngOptResol, []byte{0x80 | 31}), n.option(ngOptOffset, make([]byte, 8))).
			packet(0, 99, 70, repeat(1, 66)).block(ngSimple, n.u32(60), repeat(1, 40)).
			block(ngPacket, n.u32(0, 0, 9, 64, 64), repeat(5, 64))
		f.Add(n.b, byte(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut byte) {
		lim := limits{file: 1 << 20, arena: 1 << 20}
		if len(data) > 1<<18 {
			return
		}
		got, err := parseFrames(data, cutPolicy(cut%3), lim)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n") {
				t.Fatalf("error of several lines: %q", err)
			}
			return
		}
		if len(got.slots) == 0 || len(got.stamps) != len(got.slots) || int64(len(got.arena)) > lim.arena {
			t.Fatalf("%d frames, %d stamps, %d bytes", len(got.slots), len(got.stamps), len(got.arena))
		}
		for i, s := range got.slots {
			if s.len < 14 || s.len > maxFrame || s.off < 0 || s.off+int64(s.len) > int64(len(got.arena)) || got.stamps[i] < 0 {
				t.Fatalf("frame %d: %+v at %d", i, s, got.stamps[i])
			}
		}
		// Whatever was loaded can be replayed in order.
		for _, r := range []rate{lineRate, {rateRecorded, 0}, {rateBits, 3_333_333_333}, {ratePackets, 3_000_000}} {
			tr, err := newTrain(got, r)
			if err != nil {
				continue
			}
			v := &virtual{}
			w := newReplay(tr, play{total: int64(len(got.slots)) + 1, burst: time.Second}, v)
			frames := make([]Frame, 16)
			sent := 0
			for last := int64(0); ; v.now = w.next/10 + 1 {
				n, err := w.Receive(frames, plenty)
				if err == io.EOF {
					break
				}
				for _, fr := range frames[:n] {
					if fr.At < last {
						t.Fatalf("frame %d goes back in time", sent)
					}
					last = fr.At
					sent++
				}
			}
			if sent != len(got.slots)+1 {
				t.Fatalf("sent %d of %d", sent, len(got.slots)+1)
			}
		}
	})
}
