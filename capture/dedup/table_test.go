package dedup

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

func newTable(t testing.TB, c Config) *Table {
	table, err := New(c)
	require.NoError(t, err)
	return table
}

// frame returns a frame of size bytes whose word at byte 40 is n.
func frame(size int, n uint64) *ring.Frame {
	b := make([]byte, size)
	binary.LittleEndian.PutUint64(b[40:], n)
	return &ring.Frame{Data: b, Len: uint32(size)}
}

func TestTheWindowIncludesItsEnd(t *testing.T) {
	for _, index := range []Index{IndexContent, IndexRSS} {
		tab := newTable(t, Config{Window: time.Microsecond, Index: index})
		f := frame(60, 1)
		require.False(t, tab.Duplicate(f, 5000))
		require.True(t, tab.Duplicate(f, 6000))
		require.True(t, tab.Duplicate(f, 7000), "the third copy is compared with the second")
		require.False(t, tab.Duplicate(f, 8001))
		require.Equal(t, Stats{Frames: 4, Duplicates: 2}, tab.Stats())
	}
}

func TestStampsThatGoBackLoseNoFrame(t *testing.T) {
	tab := newTable(t, Config{Records: 1, Pools: 1})
	require.False(t, tab.Duplicate(frame(60, 1), 1e18))
	require.False(t, tab.Duplicate(frame(60, 1), 1e18-1), "a record from the future does not count")
	require.True(t, tab.Duplicate(frame(60, 1), 1e18))
}

func TestOnlyEqualFramesAreDuplicates(t *testing.T) {
	base := func() *ring.Frame { return frame(200, 7) }
	for _, c := range []struct {
		name   string
		change func(f *ring.Frame)
		want   bool
	}{
		{"nothing changed", func(*ring.Frame) {}, true},
		{"other hash and information", func(f *ring.Frame) { f.Hash++; f.Info = ring.IPv4 | ring.FrameError }, true},
		{"a byte behind the compared ones", func(f *ring.Frame) { f.Data[96]++ }, true},
		{"the last of the compared bytes", func(f *ring.Frame) { f.Data[95]++ }, false},
		{"the first byte", func(f *ring.Frame) { f.Data[0]++ }, false},
		{"one byte shorter", func(f *ring.Frame) { f.Data, f.Len = f.Data[:199], 199 }, false},
		{"in three buffers", func(f *ring.Frame) { f.Data, f.Rest = f.Data[:50], [][]byte{f.Data[50:60], {}, f.Data[60:]} }, true},
		{"in two buffers, and another byte", func(f *ring.Frame) {
			f.Data, f.Rest = f.Data[:50], [][]byte{f.Data[50:]}
			f.Rest[0][3]++
		}, false},
		{"a tag in the frame and in VLAN", func(f *ring.Frame) { f.VLAN, f.Info = 5, ring.HasVLAN }, true},
		{"a tag stripped", func(f *ring.Frame) { f.VLAN, f.Info = 5, ring.HasVLAN|ring.Stripped }, false},
		{"tag 0 stripped", func(f *ring.Frame) { f.Info = ring.HasVLAN | ring.Stripped }, false},
	} {
		tab := newTable(t, Config{})
		require.False(t, tab.Duplicate(base(), 1000))
		f := base()
		c.change(f)
		require.Equal(t, c.want, tab.Duplicate(f, 2000), c.name)
	}
	tab := newTable(t, Config{})
	for i, tag := range []uint16{5, 6, 5, 7} {
		f := base()
		f.VLAN, f.Info = tag, ring.HasVLAN|ring.Stripped
		require.Equal(t, i == 2, tab.Duplicate(f, uint64(1000+i)), "stripped tags distinguish frames")
	}
}

func TestEveryLengthIsComparedWhole(t *testing.T) {
	for _, bytes := range []int{1, 7, 8, 15, 16, 17, 70, 96, 300, 2048} {
		for _, index := range []Index{IndexContent, IndexRSS} {
			tab := newTable(t, Config{Bytes: bytes, Records: 16, Pools: 4, Index: index})
			ns := uint64(0)
			for size := 1; size < 330; size++ {
				data := make([]byte, size)
				for i := range data {
					data[i] = byte(i*7 + size)
				}
				ns += 1e10
				f := &ring.Frame{Data: data, Len: uint32(size)}
				require.False(t, tab.Duplicate(f, ns))
				require.True(t, tab.Duplicate(f, ns), "%d bytes", size)
				other := slices.Clone(data)
				other[min(size, bytes)-1] ^= 0x80
				require.False(t, tab.Duplicate(&ring.Frame{Data: other, Len: uint32(size)}, ns), "%d of %d bytes", bytes, size)
			}
		}
	}
}

func TestOldestOfASlotIsReplaced(t *testing.T) {
	// One slot, so only the order counts.
	for _, c := range []struct {
		index   Index
		order   string
		want    string // d: duplicate
		evicted uint64
	}{
		{IndexContent, "abcdabcd", "....dddd", 0},
		{IndexContent, "abcdeabcde", "..........", 6}, // each is replaced just before it comes again
		{IndexContent, "abcdaaaabcd", "....ddddddd", 0},
		{IndexRSS, "abcdabcd", "....dddd", 0},
		{IndexRSS, "abcdeabcde", "..........", 6},
		{IndexRSS, "abcdaaaabcd", "....dddd...", 6}, // copies replace the others
	} {
		tab := newTable(t, Config{Records: 4, Pools: 4, Index: c.index})
		got := ""
		for i, r := range c.order {
			got += map[bool]string{true: "d", false: "."}[tab.Duplicate(frame(60, uint64(r)), uint64(1000+i))]
		}
		require.Equal(t, c.want, got, "%v %s", c.index, c.order)
		require.Equal(t, c.evicted, tab.Stats().Evicted, "%v %s", c.index, c.order)
	}
}

func TestRecordsThatAreTooOldAreNotEvicted(t *testing.T) {
	tab := newTable(t, Config{Records: 1, Pools: 1, Window: time.Second})
	for i := range uint64(10) {
		require.False(t, tab.Duplicate(frame(60, i), (i+1)*1e9+i))
	}
	require.Zero(t, tab.Stats().Evicted)
	tab.Duplicate(frame(60, 77), 11*1e9)
	require.Equal(t, uint64(1), tab.Stats().Evicted)
}

func TestFramesWithoutAHashShareASlotOnlyWithIndexRSS(t *testing.T) {
	for index, want := range map[Index]bool{IndexRSS: false, IndexContent: true} {
		tab := newTable(t, Config{Index: index, Pools: 1})
		tab.Duplicate(frame(60, 1), 1)
		tab.Duplicate(frame(60, 2), 2)
		require.Equal(t, want, tab.Duplicate(frame(60, 1), 3), "%v", index)
	}
}

func TestConfigIsChecked(t *testing.T) {
	tab := newTable(t, Config{})
	require.Equal(t, Config{Window: 200 * time.Millisecond, Records: 32768, Pools: 4, Bytes: 96, Index: IndexContent}, tab.Config())
	for _, c := range []struct {
		c    Config
		want string
	}{
		{Config{Window: -1}, "dedup: window of -1ns: choose more than 0 and at most 1h0m0s"},
		{Config{Window: 2 * time.Hour}, "window of 2h0m0s"},
		{Config{Records: -1}, "-1 records: choose 1 to 16777216"},
		{Config{Records: 1 << 25}, "33554432 records"},
		{Config{Pools: -1}, "-1 pools: choose 1 to 1024"},
		{Config{Pools: 2048}, "2048 pools"},
		{Config{Records: 4, Pools: 8}, "8 pools: choose 1 to 4"},
		{Config{Records: 1000, Pools: 1}, "1000 records in 1 pools: choose a power of two for each pool, as 512 records"},
		{Config{Records: 1000, Pools: 3}, "1000 records in 3 pools: choose a power of two for each pool, as 768 records"},
		{Config{Bytes: -1}, "-1 bytes compared: choose 1 to 2048"},
		{Config{Bytes: 2049}, "2049 bytes compared"},
		{Config{Index: 2}, "unknown index 2: choose IndexContent or IndexRSS"},
	} {
		_, err := New(c.c)
		require.ErrorContains(t, err, c.want)
		require.Equal(t, err, c.c.Check())
	}
	require.NoError(t, Config{Records: 768, Pools: 3}.Check())
	for _, x := range []Index{IndexContent, IndexRSS} {
		again, err := ParseIndex(x.String())
		require.NoError(t, err)
		require.Equal(t, x, again)
	}
	_, err := ParseIndex("RSS")
	require.EqualError(t, err, `index "RSS": choose content or rss`)
}

// naive implements the rule of the package's documentation, with slots in a map.
type naive struct {
	c     Config
	slots map[uint64][]memory
}

type memory struct {
	key string
	ns  uint64
}

// duplicate keeps each slot in the order of age, the oldest first.
func (n *naive) duplicate(slot uint64, f *ring.Frame, ns uint64) bool {
	whole := slices.Concat(append([][]byte{f.Data}, f.Rest...)...)
	key := fmt.Sprint(len(whole), whole[:min(len(whole), n.c.Bytes)])
	if f.Info&ring.Stripped != 0 && f.Info&ring.HasVLAN != 0 {
		key += fmt.Sprint(" tag ", f.VLAN)
	}
	list := n.slots[slot]
	same := -1
	for i, m := range list {
		if m.key == key && ns-m.ns <= uint64(n.c.Window) {
			same = i
		}
	}
	switch {
	case same >= 0 && n.c.Index == IndexContent:
		list = slices.Delete(list, same, same+1)
	case len(list) == n.c.Pools:
		list = list[1:]
	}
	n.slots[slot] = append(list, memory{key: key, ns: ns})
	return same >= 0
}

// FuzzTable compares Duplicate and Mark with naive, for similar frames.
func FuzzTable(f *testing.F) {
	f.Add([]byte("ababcdcdabcdeeeaaabbbccc0123456789"), uint8(0), uint8(1), uint16(70), uint16(500))
	f.Add([]byte("aAbBaAbBxyzaAbBaAbBxyz"), uint8(1), uint8(4), uint16(60), uint16(9000))
	f.Add([]byte("the same and the same and the same again"), uint8(2), uint8(2), uint16(5), uint16(40))
	f.Fuzz(func(t *testing.T, script []byte, kind, pools uint8, size, window uint16) {
		c := Config{Index: Index(kind % 2), Pools: int(pools%8) + 1, Bytes: int(size%100) + 1, Window: time.Duration(window) + 1}
		c.Records = c.Pools * (1 << (kind / 2 % 4))
		table, marks := newTable(t, c), newTable(t, c)
		n := &naive{c: table.Config(), slots: map[uint64][]memory{}}
		var frames []ring.Frame
		var stamps []clock.Stamp
		var want []bool
		ns := uint64(5e9)
		for i, b := range script {
			ns += uint64(b>>3) + 1 // no two alike, so that the oldest is unique
			data := make([]byte, 1+int(size)%128+int(b&3))
			data[min(len(data)-1, i%2*c.Bytes)] = b & 7
			f := ring.Frame{Data: data, Len: uint32(len(data)), Hash: uint32(b & 15)}
			switch b >> 6 {
			case 1:
				f.Data, f.Rest = data[:len(data)/2], [][]byte{data[len(data)/2:]}
			case 2:
				f.Info, f.VLAN = ring.HasVLAN|ring.Stripped, uint16(b>>4&1)
			}
			slot := table.locate(&f).slot
			want = append(want, n.duplicate(slot, &f, ns))
			require.Equal(t, want[i], table.Duplicate(&f, ns), "frame %d", i)
			frames = append(frames, f)
			stamps = append(stamps, clock.Stamp(ns/1e9|ns%1e9<<32))
		}
		got := make([]bool, len(frames))
		dups := marks.Mark(frames, stamps, got)
		require.Equal(t, len(want), len(got))
		for i := range want {
			require.Equal(t, want[i], got[i], "frame %d of the batch", i)
		}
		require.Equal(t, table.Stats(), marks.Stats())
		require.Equal(t, uint64(dups), marks.Stats().Duplicates)
	})
}

func TestHashSpreadsFramesThatDifferInOneWord(t *testing.T) {
	const n, slots = 1 << 14, 1 << 10
	for _, size := range []int{60, 64, 200} {
		tab := newTable(t, Config{Records: slots, Pools: 1})
		f := frame(size, 0)
		for at := range 53 {
			clear(f.Data)
			var counts [slots]int
			for i := range uint64(n) {
				binary.LittleEndian.PutUint64(f.Data[at:], i)
				counts[tab.locate(f).slot]++
			}
			// Poisson with mean 16: more than 60 in one of 1024 slots has odds of 1e-13.
			require.Less(t, slices.Max(counts[:]), 60, "frames of %d bytes, changed at %d", size, at)
		}
	}
}

func TestTableDoesNotAllocate(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var frames []ring.Frame
	for range 100 {
		f := frame(60+rnd.IntN(1400), rnd.Uint64N(50))
		if rnd.IntN(2) == 0 {
			f.Data, f.Rest = f.Data[:33], [][]byte{f.Data[33:]}
		}
		frames = append(frames, *f)
	}
	stamps, dup := make([]clock.Stamp, len(frames)), make([]bool, len(frames))
	for _, index := range []Index{IndexContent, IndexRSS} {
		tab := newTable(t, Config{Index: index})
		require.Zero(t, testing.AllocsPerRun(20, func() {
			tab.Mark(frames, stamps, dup)
			tab.Duplicate(&frames[0], 1)
		}))
	}
}
