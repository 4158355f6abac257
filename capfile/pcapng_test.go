package capfile_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
)

func TestStampsOfAllResolutionsAreExact(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 11))
	second := big.NewInt(1e9)
	for unit := range 256 {
		base := big.NewInt(10)
		if unit >= 128 {
			base = big.NewInt(2)
		}
		scale := new(big.Int).Exp(base, big.NewInt(int64(unit&127)), nil)
		offsets := []int64{0, 0, 0, 1, -1, 1_700_000_000, -1_700_000_000, math.MaxInt64, math.MinInt64, random.Int64() - random.Int64()}
		f := newNG(orders[unit&1])
		var want []int64
		var out uint64
		for i, offset := range offsets {
			f.iface(1, 0, f.option(9, byte(unit)), f.option(14, f.AppendUint64(nil, uint64(offset))...), f.option(0))
			for _, stamp := range []uint64{0, 1, 999_999_999, 1 << 53, math.MaxUint64, random.Uint64(), random.Uint64() >> random.IntN(64)} {
				f.packet(uint32(i), stamp, 60, frame(1, 60))
				ns := new(big.Int).Mul(new(big.Int).SetUint64(stamp), second)
				ns.Div(ns, scale) // rounds down
				ns.Add(ns, new(big.Int).Mul(big.NewInt(offset), second))
				if sec := new(big.Int).Div(ns, second); sec.CmpAbs(big.NewInt(math.MaxInt64/1_000_000_000-1)) > 0 {
					out++
					continue
				}
				want = append(want, ns.Int64())
			}
		}
		list, r := whole(t, f.b)
		require.Len(t, list, len(want), "unit %#x", unit)
		for i, p := range list {
			require.Equal(t, want[i], p.Nano, "unit %#x", unit)
		}
		require.Equal(t, out, r.LeftOut())
	}
}

func TestThirdsOfASecond(t *testing.T) {
	for _, e := range []uint{20, 24, 30, 63} {
		stamp := new(big.Int).Div(new(big.Int).Lsh(big.NewInt(1000*3+1), e), big.NewInt(3))
		if !stamp.IsUint64() {
			continue
		}
		f := newNG(binary.LittleEndian)
		f.iface(1, 0, f.option(9, byte(0x80|e))).packet(0, stamp.Uint64(), 60, frame(1, 60))
		list, _ := whole(t, f.b)
		require.InDelta(t, int64(1000_333_333_333), list[0].Nano, float64(int64(1e9)>>e)+1)
	}
}

func TestAllBlocksOfPcapng(t *testing.T) {
	var file []byte
	var want []capfile.Packet
	for n, o := range []order{binary.LittleEndian, binary.BigEndian, binary.LittleEndian} {
		f := newNG(o)
		f.block(4, f.words(0)).block(10, f.words(0x544c534b, 4), []byte("keys")).block(9, []byte("__CURSOR=x\n")).
			block(0xbad, f.words(32473)).block(0x40000bad, f.words(32473), []byte("private")).
			block(7, f.words(1)).block(0x80000123, []byte("local use")).block(0x80000123)
		f.iface(1, 65535, f.option(2, []byte("eth0")...), f.option(3, []byte("queue 0")...), f.option(8, f.AppendUint64(nil, 1e10)...),
			f.option(9, 9), f.option(11, []byte("\x00udp port 53")...), f.option(12, []byte("Linux\x00")...), f.option(2988, 1, 2, 3), f.option(0))
		f.iface(1, 40)
		f.packet(0, 1_700_000_000_000_000_001, 60, frame(1, 60),
			f.option(1, []byte("one")...), f.option(1, []byte("two")...), f.option(3, 2, 0, 0, 0, 0), f.option(4, f.AppendUint64(nil, 77)...), f.option(0))
		f.packet(1, 5, 61, frame(2, 61)) // longer than the snaplen
		old := f.AppendUint16(f.AppendUint16(nil, 1), 3)
		f.block(2, old, f.words(0, 9, 62, 62), frame(3, 62))
		unknown := f.AppendUint16(f.AppendUint16(nil, 1), 0xffff)
		f.block(2, unknown, f.words(0, 10, 63, 99), frame(4, 63))
		f.block(3, f.words(64), frame(5, 64))
		half := func(ns uint64) []byte { return f.words(uint32(ns>>32), uint32(ns)) }
		f.block(5, f.words(0, 0, 0), f.option(2, half(5e18)...), f.option(3, half(6e18)...), f.option(4, f.AppendUint64(nil, 100)...),
			f.option(5, f.AppendUint64(nil, 7)...), f.option(8, f.AppendUint64(nil, 93)...))
		file = append(file, f.b...)
		first, number := 2*n, uint64(5*n)
		want = append(want,
			capfile.Packet{Nano: 1_700_000_000_000_000_001, Len: 60, Data: frame(1, 60), Interface: first, Number: number + 1, Dropped: 77, Comment: "one\ntwo"},
			capfile.Packet{Nano: 5000, Len: 61, Data: frame(2, 61), Interface: first + 1, Number: number + 2},
			capfile.Packet{Nano: 9000, Len: 62, Data: frame(3, 62), Interface: first + 1, Number: number + 3, Dropped: 3},
			capfile.Packet{Nano: 10000, Len: 99, Data: frame(4, 63), Interface: first + 1, Number: number + 4},
			capfile.Packet{Len: 64, Data: frame(5, 64), Interface: first, Number: number + 5, NoStamp: true})
	}
	list, r := whole(t, file)
	require.Equal(t, want, list)
	require.Equal(t, []string{
		"3 blocks skipped: type 0x00000007",
		"6 blocks skipped: type 0x80000123",
		"3 packets without a stamp, which becomes 0. First: packet 5",
	}, lines(r))
	require.Len(t, r.Interfaces(), 6)
	for n := range 3 {
		i := r.Interfaces()[2*n]
		require.Equal(t, n, i.Section)
		require.Equal(t, []any{2 * n, "eth0", "queue 0", uint64(1e10), "udp port 53", "Linux", uint32(65535)},
			[]any{i.Number, i.Name, i.Description, i.Speed, i.Filter, i.OS, i.Snaplen})
		require.Equal(t, []int64{5e18, 6e18}, []int64{i.Stats.Start, i.Stats.End})
		require.Equal(t, []uint64{100, 7, 93}, []uint64{*i.Stats.Received, *i.Stats.Dropped, *i.Stats.Delivered})
		require.Nil(t, i.Stats.Accepted)
		require.Nil(t, r.Interfaces()[2*n+1].Stats)
	}
}

func TestSimplePacketsEndAtTheSnaplen(t *testing.T) {
	f := newNG(binary.BigEndian).iface(1, 42)
	f.block(3, f.words(100), frame(1, 42)).block(3, f.words(30), frame(2, 30))
	list, _ := whole(t, f.b)
	require.Equal(t, frame(1, 42), list[0].Data)
	require.EqualValues(t, 100, list[0].Len)
	require.Equal(t, frame(2, 30), list[1].Data)
	_, _, err := all(t, f.b, capfile.Options{Strict: true})
	require.EqualError(t, err, "strict: 1 packet without a stamp, which becomes 0. First: packet 1")
}

func TestOtherInterfacesAreCounted(t *testing.T) {
	f := newNG(binary.LittleEndian).iface(1, 0)
	f.iface(101, 0, f.option(2, []byte("tun0")...)).iface(113, 0)
	f.packet(0, 1, 60, frame(1, 60)).packet(1, 2, 46, frame(2, 46)).packet(2, 3, 46, frame(3, 46)).packet(1, 4, 46, frame(4, 46)).packet(0, 5, 60, frame(5, 60))
	list, r := whole(t, f.b)
	require.Len(t, list, 2)
	require.EqualValues(t, 5, list[1].Number)
	require.EqualValues(t, 3, r.LeftOut())
	require.Equal(t, []string{
		"2 packets left out: interface 1 (tun0) has link type 101 (raw IP). First: packet 2",
		"1 packet left out: interface 2 has link type 113 (Linux cooked capture). First: packet 3",
	}, lines(r))

	list, r, err := all(t, f.b, capfile.Options{Strict: true, Select: func(i *capfile.Interface) bool { return i.Name == "tun0" }})
	require.NoError(t, err, "strict is about what was asked for")
	require.Len(t, list, 2)
	require.Zero(t, r.LeftOut())
	require.Equal(t, []string{
		"2 packets not selected: interface 0 has link type 1 (Ethernet). First: packet 1",
		"1 packet not selected: interface 2 has link type 113 (Linux cooked capture). First: packet 3",
	}, lines(r))

	_, _, err = all(t, f.b, capfile.Options{Strict: true})
	require.EqualError(t, err, "strict: 1 packet left out: interface 1 (tun0) has link type 101 (raw IP). First: packet 2")
}

func TestFCSOfPcapng(t *testing.T) {
	for _, c := range []struct {
		option []byte
		flags  uint32
		cut    int
	}{{nil, 0, 0}, {[]byte{4}, 0, 4}, {[]byte{32}, 0, 4}, {[]byte{16}, 0, 2}, {nil, 4 << 5, 4}, {[]byte{32}, 2 << 5, 2}, {[]byte{0}, 0, 0}} {
		f := newNG(binary.LittleEndian)
		if c.option != nil {
			f.iface(1, 0, f.option(13, c.option...))
		} else {
			f.iface(1, 0)
		}
		f.packet(0, 1, 64, frame(1, 64), f.option(2, f.words(c.flags)...))
		list, _ := whole(t, f.b)
		require.Len(t, list[0].Data, 64-c.cut, "%v", c)
		require.EqualValues(t, 64-c.cut, list[0].Len)
	}
	f := newNG(binary.LittleEndian)
	f.iface(1, 0, f.option(13, 33))
	f.packet(0, 1, 60, frame(1, 60))
	list, r := whole(t, f.b)
	require.Len(t, list, 1)
	require.EqualValues(t, 1000, list[0].Nano)
	require.Equal(t, []string{"1 interface with damaged options, which are not used: interface 0 (option 13: 21)"}, lines(r))
	_, _, err := all(t, f.b, capfile.Options{Strict: true})
	require.ErrorContains(t, err, "strict: 1 interface with damaged options")
}

// A packet whose block is damaged within its length costs this packet only.
func TestDamagedPacketsAreCounted(t *testing.T) {
	f := newNG(binary.LittleEndian).iface(1, 0)
	f.packet(0, 1, 60, frame(1, 60))
	f.packet(9, 1, 60, frame(1, 60))                                       // an interface that is not there
	f.block(6, f.words(0, 0, 1, 61, 61), frame(1, 60))                     // more captured than there is
	f.block(6, f.words(0, 0, 1))                                           // too short
	f.block(3).block(2, f.words(0))                                        // too
	f.packet(0, math.MaxUint64, 60, frame(1, 60))                          // year 586524
	f.packet(0, 2, 60, frame(2, 60), []byte{1, 0, 0xff, 0xff, 1, 2, 3, 4}) // options cut
	f.block(5, f.words(7, 0, 0)).block(5)                                  // statistics of no interface
	list, r := whole(t, f.b)
	require.Len(t, list, 2)
	require.EqualValues(t, 6, r.LeftOut())
	require.Equal(t, []string{
		"1 packet left out, of an interface that the file does not describe: number 9 of its section. First: packet 2",
		"4 packets left out, damaged: 61 bytes captured, in a block of 92. First: packet 3",
		"1 packet left out, stamped out of range: 18446744073709551615 units of 10^-6 s. First: packet 7",
	}, lines(r))
}

func TestDamagedFramingIsAnError(t *testing.T) {
	o := binary.LittleEndian
	good := func() *ng { return newNG(o).iface(1, 0).packet(0, 1, 60, frame(1, 60)) }
	for want, file := range map[string][]byte{
		"a block of 0 bytes":               u32(good().b, o, 6, 0, 0),
		"a block of 33 bytes":              u32(good().b, o, 6, 33, 0),
		"a block of 4294967292 bytes":      u32(good().b, o, 0x77, 0xfffffffc, 0),
		"a block of 16777220 bytes":        u32(good().b, o, 6, 16<<20+4, 0),
		"a block of 12 bytes ends as one":  u32(good().b, o, 0x77, 12, 16),
		"a block of 16 bytes ends as one":  u32(good().b, o, 6, 16, 0, 12),
		"byte order 01 02 03 04":           append(u32(good().b, o, 0x0a0d0d0a, 28), 1, 2, 3, 4, 5, 6, 7, 8),
		"pcapng version 2.0":               u32(good().b, o, 0x0a0d0d0a, 28, 0x1a2b3c4d, 2, 0, 0, 28),
		"a section header of 24 bytes":     u32(good().b, o, 0x0a0d0d0a, 24, 0x1a2b3c4d, 1, 0, 0),
		"an interface description of 16 b": good().block(1, []byte{1, 0, 0, 0}).b,
	} {
		list, _, err := all(t, file, capfile.Options{})
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "packet 2, at byte 140")
		require.Len(t, list, 1)
	}
}

func TestSectionsWithLengthAndMinorVersion(t *testing.T) {
	o := binary.LittleEndian
	b := u32(nil, o, 0x0a0d0d0a, 40, 0x1a2b3c4d, 1|2<<16, 20+92, 0, 4|2<<16, 'x', 0, 40) // 1.2, an option
	f := &ng{order: o, b: b}
	list, _ := whole(t, f.iface(1, 0).packet(0, 1, 60, frame(1, 60)).b)
	require.Len(t, list, 1)
}

func TestInterfacesTakeBoundedMemory(t *testing.T) {
	f := newNG(binary.LittleEndian)
	for range 65537 {
		f.iface(1, 0)
	}
	_, _, err := all(t, f.b, capfile.Options{})
	require.ErrorContains(t, err, "more than 65536 interfaces")
	f = newNG(binary.LittleEndian)
	for range 300 {
		f.iface(1, 0, f.option(2, []byte(strings.Repeat("x", 65535))...))
	}
	_, _, err = all(t, f.b, capfile.Options{})
	require.ErrorContains(t, err, "16777216 bytes of their names")

	f = newNG(binary.LittleEndian).iface(1, 0)
	for i := range uint32(5000) {
		f.block(0x80000000 + i)
	}
	_, r := whole(t, f.b)
	require.Len(t, r.Counts(), 1025)
	require.EqualValues(t, 5000-1024, r.Counts()[1024].N)
}

// A million comments of one packet take a time that grows with their bytes.
func TestManyCommentsOfAPacket(t *testing.T) {
	f := newNG(binary.LittleEndian).iface(1, 0)
	f.packet(0, 1, 60, frame(1, 60), bytes.Repeat(f.option(1, 'x'), 1_000_000))
	list, _ := whole(t, f.b)
	require.Len(t, list[0].Comment, 2_000_000-1)
}

func TestFileCutAnywhere(t *testing.T) {
	f := newNG(binary.BigEndian).iface(1, 0)
	ends := []int{len(f.b)}
	for i := range 3 {
		f.packet(0, uint64(i), 61, frame(byte(i), 61))
		ends = append(ends, len(f.b))
	}
	file := slices.Concat(f.b, f.b)
	for cut := range file {
		list, _, err := all(t, file[:cut], capfile.Options{})
		_, boundary := slices.BinarySearch(ends, cut)
		switch {
		case cut < ends[0]:
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut at %d", cut)
		case cut <= len(f.b) && boundary:
			require.NoError(t, err, "cut at %d", cut)
		case cut < len(f.b):
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut at %d", cut)
		}
		n := 0
		for _, end := range ends[1:] {
			if end <= cut {
				n++
			}
			if len(f.b)+end <= cut {
				n++
			}
		}
		require.Len(t, list, n, "cut at %d", cut)
	}
}
