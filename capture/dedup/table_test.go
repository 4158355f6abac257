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

// stored is a store that keeps what a test stores, but for the frames before first.
type stored struct {
	frames []ring.Frame
	first  uint64
}

func (s *stored) Next() uint64 { return uint64(len(s.frames)) }

func (s *stored) Stored(number uint64) (ring.Frame, bool) {
	if number < s.first || number >= s.Next() {
		return ring.Frame{}, false
	}
	return s.frames[number], true
}

// add stores the frames that are kept, as a stream does.
func (s *stored) add(frames []ring.Frame, keep []uint32) {
	for i, f := range frames {
		if keep[i] == 0 {
			continue
		}
		whole := slices.Concat(append([][]byte{f.Data}, f.Rest...)...)
		f.Data, f.Rest = whole[:min(len(whole), int(keep[i]))], nil
		s.frames = append(s.frames, f)
	}
}

// subject is a table with its store.
type subject struct {
	*Table
	stored
}

func newTable(t testing.TB, c Config) *subject {
	table, err := New(c)
	require.NoError(t, err)
	return &subject{Table: table}
}

// Mark marks frames that are kept as far as keep says, and stores them.
func (s *subject) Mark(frames []ring.Frame, stamps []clock.Stamp, keep []uint32) int {
	n := s.Table.Mark(&s.stored, frames, stamps, keep)
	s.add(frames, keep)
	return n
}

// Duplicate marks and stores one frame.
func (s *subject) Duplicate(f *ring.Frame, ns uint64) bool { return s.cut(f, ns, 1<<32-1) }

// cut is Duplicate of a frame of which at most keep bytes are stored.
func (s *subject) cut(f *ring.Frame, ns uint64, keep uint32) bool {
	return s.Mark([]ring.Frame{*f}, []clock.Stamp{stampOf(ns)}, []uint32{keep}) == 1
}

func stampOf(ns uint64) clock.Stamp { return clock.Stamp(ns/1e9 | ns%1e9<<32) }

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
	require.False(t, tab.Duplicate(frame(60, 1), 0), "the clock is set back to 1970")
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
		{"a byte behind the headers", func(f *ring.Frame) { f.Data[96]++ }, false},
		{"the last byte", func(f *ring.Frame) { f.Data[199]++ }, false},
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
	for _, bytes := range []int{0, 1, 7, 8, 15, 16, 17, 70, 96, 300, 2048} {
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
				last := size
				if bytes != 0 {
					last = min(size, bytes)
				}
				if other[last-1] ^= 0x80; last < size {
					other[size-1] ^= 0x80
				}
				require.False(t, tab.Duplicate(&ring.Frame{Data: other, Len: uint32(size)}, ns), "%d of %d bytes", bytes, size)
				if last < size {
					data[size-1] ^= 0x80
					require.True(t, tab.Duplicate(f, ns), "%d of %d bytes, which are equal", bytes, size)
				}
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
	require.Equal(t, Config{Window: 200 * time.Millisecond, Records: 32768, Pools: 8, Index: IndexContent}, tab.Config())
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
		{Config{Bytes: -1}, "-1 bytes compared: choose 1 to 65535"},
		{Config{Bytes: 65536}, "65536 bytes compared: choose 1 to 65535, or 0 for whole frames"},
		{Config{Ignore: 16}, "dedup: ignore fields 0x10: choose of vlan+ttl+checksum+mac"},
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
	key := fmt.Sprint(len(whole), whole)
	if n.c.Bytes != 0 {
		key = fmt.Sprint(len(whole), whole[:min(len(whole), n.c.Bytes)])
	}
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

// slotOf returns the slot that a table has just used for a frame.
func (s *subject) slotOf(f *ring.Frame) uint64 {
	if s.index == IndexRSS {
		return uint64(f.Hash) & s.mask
	}
	return s.hashes[0] & s.mask
}

// FuzzTable compares single frames and batches with naive, for similar frames, some of
// which are stored in part.
func FuzzTable(f *testing.F) {
	f.Add([]byte("ababcdcdabcdeeeaaabbbccc0123456789"), uint8(0), uint8(1), uint16(70), uint16(500))
	f.Add([]byte("aAbBaAbBxyzaAbBaAbBxyz"), uint8(1), uint8(4), uint16(60), uint16(9000))
	f.Add([]byte("the same and the same and the same again"), uint8(2), uint8(2), uint16(5), uint16(40))
	f.Add([]byte("the same and the same and the same again"), uint8(8), uint8(4), uint16(99), uint16(4000))
	f.Add([]byte("abababcdcdefefgghihijabcdefghijk"), uint8(0), uint8(7), uint16(70), uint16(5000))
	f.Add([]byte("abababcdcdefefgghihijabcdefghijk"), uint8(96), uint8(7), uint16(70), uint16(5000))
	f.Fuzz(func(t *testing.T, script []byte, kind, pools uint8, size, window uint16) {
		defer func(aes, avx2 bool) { useAES, useAVX2 = aes, avx2 }(useAES, useAVX2)
		useAES, useAVX2 = useAES && kind&64 == 0, useAVX2 && kind&32 == 0
		c := Config{Index: Index(kind % 2), Pools: int(pools%8) + 1, Bytes: int(size % 100), Window: time.Duration(window) + 1}
		c.Records = c.Pools * (1 << (kind / 2 % 4))
		table, marks := newTable(t, c), newTable(t, c)
		marks.secrets, marks.hash.keys = table.secrets, table.hash.keys // the same slots
		n := &naive{c: table.Config(), slots: map[uint64][]memory{}}
		var frames []ring.Frame
		var stamps []clock.Stamp
		var want, keep []uint32
		ns, dups := uint64(5e9), 0
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
			kept := uint32(1<<32 - 1)
			if b&4 != 0 {
				kept = 1 + uint32(i%50)
			}
			keep, want = append(keep, kept), append(want, kept)
			dup := table.cut(&f, ns, kept)
			require.Equal(t, n.duplicate(table.slotOf(&f), &f, ns), dup, "frame %d", i)
			if dup {
				want[i] = 0
				dups++
			}
			frames = append(frames, f)
			stamps = append(stamps, stampOf(ns))
		}
		got := 0
		for at := 0; at < len(frames); at += MaxBatch {
			to := min(at+MaxBatch, len(frames))
			got += marks.Mark(frames[at:to], stamps[at:to], keep[at:to])
		}
		require.Equal(t, want, keep)
		require.Equal(t, dups, got)
		require.Equal(t, table.Stats(), marks.Stats())
		require.Equal(t, uint64(dups), marks.Stats().Duplicates)
		require.Zero(t, marks.Stats().Overwritten)
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
				tab.hashChunk([]ring.Frame{*f}, []uint32{1})
				counts[tab.hashes[0]&tab.mask]++
			}
			// Poisson with mean 16: more than 60 in one of 1024 slots has odds of 1e-13.
			require.Less(t, slices.Max(counts[:]), 60, "frames of %d bytes, changed at %d", size, at)
		}
	}
}

func TestTableDoesNotAllocate(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	store := &stored{}
	var frames []ring.Frame
	for range 100 {
		f := frame(60+rnd.IntN(1400), rnd.Uint64N(50))
		if rnd.IntN(2) == 0 {
			f.Data, f.Rest = f.Data[:33], [][]byte{f.Data[33:]}
		}
		frames = append(frames, *f, *f)
	}
	stamps, keep := make([]clock.Stamp, len(frames)), make([]uint32, len(frames))
	for _, c := range []Config{{}, {Index: IndexRSS}, {Ignore: allFields}} {
		tab := newTable(t, c)
		duplicates := 0
		require.Zero(t, testing.AllocsPerRun(20, func() {
			for i := range keep {
				keep[i] = 40 + uint32(i%2)<<20
			}
			duplicates += tab.Table.Mark(store, frames, stamps, keep)
		}))
		require.NotZero(t, duplicates)
	}
}

// A frame of which only the beginning was stored is compared whole all the same.
func TestFramesThatAreStoredInPartAreComparedWhole(t *testing.T) {
	for _, c := range []Config{{}, {Index: IndexRSS}, {Bytes: 150}, {Ignore: allFields}} {
		tab := newTable(t, c)
		require.False(t, tab.cut(frame(200, 1), 1000, 64))
		other := frame(200, 1)
		other.Data[120]++
		require.False(t, tab.cut(other, 1001, 64), "differs behind what is stored")
		require.True(t, tab.cut(frame(200, 1), 1002, 64))
		require.True(t, tab.cut(other, 1003, 200), "stored whole now")
		require.True(t, tab.cut(frame(200, 1), 1004, 10))
		require.False(t, tab.cut(frame(201, 1), 1005, 64))
		require.True(t, tab.cut(other, 1006, 64))
		require.EqualValues(t, 4, tab.Stats().Duplicates)
		require.Zero(t, tab.Stats().Overwritten)
	}
}

// What can no longer be compared is no duplicate, and the frame takes its place.
func TestAFrameWhoseOriginalWasOverwrittenIsKept(t *testing.T) {
	for _, index := range []Index{IndexContent, IndexRSS} {
		tab := newTable(t, Config{Index: index})
		require.False(t, tab.Duplicate(frame(60, 1), 1000))
		tab.first = 1
		require.False(t, tab.Duplicate(frame(60, 1), 1001))
		require.True(t, tab.Duplicate(frame(60, 1), 1002), "a copy of the second, which is stored")
		require.Equal(t, Stats{Frames: 3, Duplicates: 1, Overwritten: 1}, tab.Stats())
	}
}

// A store that does not store what the table expects makes duplicates be missed, and
// loses nothing.
func TestNoFrameIsLostIfTheStoreStoresOthers(t *testing.T) {
	tab := newTable(t, Config{Window: time.Hour})
	stamp := []clock.Stamp{stampOf(1e9)}
	for i := range uint64(100) {
		f := []ring.Frame{*frame(60, i/2)}
		require.Zero(t, tab.Table.Mark(&tab.stored, f, stamp, []uint32{60}), "its original is not stored")
		tab.add([]ring.Frame{*frame(60, 1000+i)}, []uint32{60})
	}
	require.EqualValues(t, 100, tab.Stats().Frames)
}

// Frames that the stream refuses, and those that rules drop, are no originals.
func TestFramesThatAreNotStoredHaveNoCopies(t *testing.T) {
	tab := newTable(t, Config{})
	whole := uint32(1<<32 - 1)
	long := frame(MaxFrame+1, 1)
	short := frame(60, 2)
	short.Len = 61
	frames := []ring.Frame{*long, *short, *frame(60, 3), *frame(60, 4)}
	keep := []uint32{whole, whole, 0, whole}
	stamps := make([]clock.Stamp, 4)
	require.Zero(t, tab.Table.Mark(&tab.stored, frames, stamps, keep))
	tab.add(frames[3:], keep[3:]) // the others are refused
	keep = []uint32{whole, whole, whole, whole}
	require.Equal(t, 1, tab.Table.Mark(&tab.stored, frames, stamps, keep))
	require.Equal(t, []uint32{whole, whole, whole, 0}, keep)
	require.Equal(t, Stats{Frames: 3, Duplicates: 1}, tab.Stats())
}

// The assembly enters frames exactly as the Go code does.
func TestWideSlotsAreSearchedLikeOthers(t *testing.T) {
	if !hasAVX2() {
		t.Skip("no AVX2 on this machine")
	}
	defer func() { useAVX2 = true }()
	rnd := rand.New(rand.NewPCG(5, 6))
	var tables [2]*subject
	for i := range tables {
		useAVX2 = i == 0
		tables[i] = newTable(t, Config{Records: 64, Window: 100 * time.Microsecond})
		tables[i].hash.keys, tables[i].secrets = tables[0].hash.keys, tables[0].secrets
	}
	require.True(t, tables[0].wide)
	require.False(t, tables[1].wide)
	ns := uint64(1_700_000_000e9)
	for range 2000 {
		frames := make([]ring.Frame, rnd.IntN(100))
		stamps := make([]clock.Stamp, len(frames))
		keep := make([]uint32, len(frames))
		for i := range frames {
			f := frame(60+rnd.IntN(3)*100, rnd.Uint64N(1000))
			switch rnd.IntN(20) {
			case 0:
				f.Data, f.Rest = f.Data[:50], [][]byte{f.Data[50:]}
			case 1:
				f.Info, f.VLAN = ring.HasVLAN|ring.Stripped, uint16(rnd.IntN(2))
			case 2:
				ns -= 20_000 // set back
			}
			keep[i] = []uint32{0, 64, 1 << 20}[min(2, rnd.IntN(20))]
			frames[i] = *f
			ns += 1 + rnd.Uint64N(5000)
			stamps[i] = stampOf(ns)
		}
		again := slices.Clone(keep)
		require.Equal(t, tables[0].Mark(frames, stamps, keep), tables[1].Mark(frames, stamps, again))
		require.Equal(t, again, keep)
		require.Equal(t, tables[1].Stats(), tables[0].Stats())
		require.Equal(t, tables[1].seen, tables[0].seen)
		require.Equal(t, tables[1].refs, tables[0].refs)
	}
	st := tables[0].Stats()
	require.NotZero(t, st.Duplicates)
	require.NotZero(t, st.Evicted)
	t.Logf("%+v", st)
}

// On machines with AES the table must work with the other hash, too.
func TestBothHashesFindTheSameDuplicates(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var p hashing
	p.most = MaxFrame
	for i := range 64 {
		p.keys[i/16][i%16] = byte(rnd.Uint32())
	}
	p.seen, p.refs = make([]uint64, 1), make([]uint64, 1)
	for _, size := range []int{0, 1, 7, 15, 16, 17, 31, 32, 33, 47, 48, 49, 60, 63, 64, 65, 80, 96, 111, 112, 128, 129, 200, 255, 256, 257, 272, 288, 352, 383} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		other := slices.Clone(data)
		f := []ring.Frame{{Data: data, Len: uint32(size)}, {Data: other, Len: uint32(size)}}
		for bit := range 8 * size {
			other[bit/8] ^= 1 << (bit % 8)
			for _, hash := range []func([]ring.Frame, []uint32, []uint64, *hashing) int{hashFramesAES, hashFramesGo} {
				var out [2]uint64
				if !hasAES() {
					hash = hashFramesGo
				}
				if n := hash(f, []uint32{1, 1}, out[:], &p); n == 0 {
					require.Less(t, size, shortest)
					continue
				}
				if out[0] == out[1] {
					require.Fail(t, "equal hashes", "%d bytes, bit %d", size, bit)
				}
			}
			other[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// Digests of frames that differ in a bit differ, and those of equal frames do not.
func TestDigestCoversEveryBit(t *testing.T) {
	secrets := newSecrets()
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, size := range []int{1, 7, 8, 9, 15, 16, 17, 31, 100, MaxFrame} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		d := secrets.digest(data)
		require.Equal(t, d, secrets.digest(slices.Clone(data)))
		for range 200 {
			bit := rnd.IntN(8 * size)
			data[bit/8] ^= 1 << (bit % 8)
			require.NotEqual(t, d, secrets.digest(data), "%d bytes, bit %d", size, bit)
			data[bit/8] ^= 1 << (bit % 8)
		}
		require.NotEqual(t, d, newSecrets().digest(data), "the words are secret")
	}
}
