package index

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/archivetest"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

func TestRiceSetContainsExactlyItsMembers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, limit := range []uint64{1, 2, 100, 65536, 1 << 40} {
		for _, n := range []int{0, 1, 2, 10, 1000} {
			members := make([]uint64, n)
			for i := range members {
				members[i] = r.Uint64N(limit)
			}
			slices.Sort(members)
			w := riceWriter{k: riceBits(n, limit)}
			for _, v := range members {
				w.add(v)
			}
			b := w.end()
			require.LessOrEqual(t, len(b), riceSize(n, limit, w.k))
			s := riceSet{b: b, n: n, k: w.k}
			is := func(lo, hi uint64) bool {
				i, _ := slices.BinarySearch(members, lo)
				return i < n && members[i] <= hi
			}
			for range 500 {
				lo := r.Uint64N(limit)
				hi := lo + r.Uint64N(limit/8+1)
				require.Equal(t, is(lo, lo), s.contains(lo, lo))
				require.Equal(t, is(lo, hi), s.contains(lo, hi))
				require.Equal(t, is(lo, hi), s.containsSlow(lo, hi))
			}
			for _, v := range members {
				require.True(t, s.contains(v, v))
			}
			if len(b) > 0 { // a set that is cut may have any member
				cut := riceSet{b: b[:len(b)-1], n: n, k: w.k}
				for _, v := range members {
					require.True(t, cut.contains(v, v))
				}
			}
		}
	}
}

// FuzzRiceSet: any bytes are a set, and both implementations of contains agree.
func FuzzRiceSet(f *testing.F) {
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 3, uint8(4), uint64(70), uint64(90))
	f.Add([]byte{}, 1, uint8(0), uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, n int, k uint8, lo, hi uint64) {
		s := riceSet{b: b, n: n & 0xffff, k: k % 33}
		require.Equal(t, s.containsSlow(lo, hi), s.contains(lo, hi))
	})
}

func TestBuilderResultIsIndependentOfPieces(t *testing.T) {
	raw := archivetest.Raw(t, archivetest.Traffic(1, 6000, 300, archivetest.Day, time.Microsecond))
	want := sidecarOf(t, raw, len(raw))
	side, err := Parse(bytes.Clone(want))
	require.NoError(t, err)
	require.True(t, side.Complete)
	require.Greater(t, len(side.Entries), 2)
	require.EqualValues(t, 6000, side.Trailer.Frames)
	require.EqualValues(t, len(raw), side.Trailer.Length)
	require.EqualValues(t, len(raw)-rawfile.HeaderLen, side.Trailer.Records)
	for _, piece := range []int{1, 7, 4096, Block / 4, Block, Block + 1} {
		require.True(t, bytes.Equal(want, sidecarOf(t, raw, piece)), "pieces of %d", piece)
	}
	t.Logf("%d bytes of index for %d: %.2f %%", len(want), len(raw), 100*float64(len(want))/float64(len(raw)))
}

func TestEntriesDescribeTheRecords(t *testing.T) {
	records := archivetest.Traffic(2, 5000, 300, archivetest.Day, time.Microsecond)
	raw := archivetest.Raw(t, records)
	side, err := Parse(sidecarOf(t, raw, Block))
	require.NoError(t, err)
	r := rawfile.NewReader(bytes.NewReader(raw))
	at, i := int64(0), -1
	frames := make([]uint32, len(side.Entries))
	for rec, err := range r.Records() {
		require.NoError(t, err)
		if i < 0 || at/Block != side.Entries[i].First/Block {
			i++
			require.Equal(t, at, side.Entries[i].First)
			require.Equal(t, raw[at:at+rawfile.HeaderLen], side.Entries[i].Head[:])
			require.Equal(t, rec.Time().UnixNano(), side.Entries[i].Earliest)
		}
		at = r.Offset()
		frames[i]++
		require.LessOrEqual(t, rec.Time().UnixNano(), side.Entries[i].Latest)
	}
	for i, e := range side.Entries {
		require.Equal(t, frames[i], e.Frames)
		require.False(t, e.Backwards)
		require.True(t, e.Describes(raw[e.First:e.End]))
		require.False(t, e.Describes(raw[e.First:e.End-1]))
	}
}

func TestRecordsBelongToTheBlockTheyBeginIn(t *testing.T) {
	var records []rawfile.Record
	for i := range 40 {
		records = append(records, archivetest.Record(archivetest.Day.Add(time.Duration(i)), make([]byte, 65535-i*400), 0))
	}
	raw := archivetest.Raw(t, records)
	for _, piece := range []int{3, Block / 2, Block} {
		side, err := Parse(sidecarOf(t, raw, piece))
		require.NoError(t, err)
		n := uint32(0)
		for _, e := range side.Entries {
			require.True(t, e.Describes(raw[e.First:e.End]))
			n += e.Frames
		}
		require.EqualValues(t, 40, n)
	}
}

func TestBuilderFindsTheEndOfRecords(t *testing.T) {
	raw := archivetest.Raw(t, archivetest.Traffic(3, 100, 10, archivetest.Day, time.Microsecond))
	b := NewBuilder()
	_, err := b.Write(raw)
	require.NoError(t, err)
	_, err = b.Write([]byte("bytes after the padding are ignored"))
	require.NoError(t, err)
	require.EqualValues(t, len(raw)-rawfile.HeaderLen, b.Records())

	b = NewBuilder()
	_, err = b.Write(append(bytes.Clone(raw[:len(raw)-rawfile.HeaderLen]), bytes.Repeat([]byte{'A'}, 30)...))
	var e *rawfile.Error
	require.ErrorAs(t, err, &e)
	require.ErrorIs(t, err, rawfile.ErrFormat)
	require.EqualValues(t, len(raw)-rawfile.HeaderLen, e.Offset)
	require.EqualValues(t, 100, e.Records)
	_, again := b.Write(raw)
	require.Equal(t, err, again)
	side, err := Parse(b.Finish(int64(len(raw))))
	require.NoError(t, err)
	require.EqualValues(t, 100, side.Trailer.Frames)
}

func TestFileWithoutRecordsHasAnIndexWithoutEntries(t *testing.T) {
	for _, raw := range [][]byte{{}, make([]byte, 12), make([]byte, 5)} {
		side, err := Parse(sidecarOf(t, raw, 100))
		require.NoError(t, err)
		require.True(t, side.Complete)
		require.Empty(t, side.Entries)
		require.EqualValues(t, len(raw), side.Trailer.Length)
	}
}

func TestManyAddressesDoNotExceedTheEntrySize(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	var records []rawfile.Record
	for i := range 40_000 {
		f := archivetest.Flow{Proto: 6, Sport: uint16(r.Uint32()), Dport: uint16(r.Uint32()), V6: i%5 == 0}
		for j := range f.Src {
			f.Src[j], f.Dst[j] = byte(r.Uint32()), byte(r.Uint32())
		}
		records = append(records, archivetest.Record(archivetest.Day.Add(time.Duration(i)*67), f.Frame(60), 0))
	}
	raw := archivetest.Raw(t, records)
	out := sidecarOf(t, raw, Block)
	require.Less(t, float64(len(out)), 0.008*float64(len(raw)))
	side, err := Parse(out)
	require.NoError(t, err)
	requireFound(t, side, records, 97)
}

// requireFound requires that every n-th record is not ruled out by its own addresses and ports.
func requireFound(t *testing.T, side *Sidecar, records []rawfile.Record, every int) {
	t.Helper()
	at, i := int64(0), 0
	for n, rec := range records {
		for at >= side.Entries[i].End {
			i++
		}
		at += int64(rawfile.HeaderLen + len(rec.Data))
		if n%every != 0 {
			continue
		}
		for _, term := range termsOf(rec.Data) {
			if !side.Entries[i].has(term) {
				t.Fatalf("record %d is ruled out by %v\n%x", n, term, rec.Data)
			}
		}
	}
}

func TestBuilderDoesNotAllocateOnceWarm(t *testing.T) {
	raw := archivetest.Raw(t, archivetest.Traffic(6, 8000, 300, archivetest.Day, time.Microsecond))
	raw = raw[:len(raw)-rawfile.HeaderLen]
	b := NewBuilder()
	feed := func() {
		for off := 0; off < len(raw); off += Block {
			if _, err := b.Write(raw[off:min(off+Block, len(raw))]); err != nil {
				t.Fatal(err)
			}
			b.Encoded()
		}
	}
	feed()
	feed()
	require.Zero(t, testing.AllocsPerRun(5, feed))
}

// FuzzBuilder: any bytes are indexed without a panic, as rawfile reads them, and equally
// in pieces.
func FuzzBuilder(f *testing.F) {
	raw := archivetest.Raw(f, archivetest.Traffic(7, 30, 5, archivetest.Day, time.Microsecond))
	f.Add(raw, 7)
	f.Add(raw[:100], 50)
	f.Add(make([]byte, 30), 12)
	f.Add(bytes.Repeat([]byte{'A'}, 40), 3)
	f.Fuzz(func(t *testing.T, raw []byte, piece int) {
		piece = max(piece&0xffff, 1)
		whole, pieces := NewBuilder(), NewBuilder()
		_, err := whole.Write(raw)
		var out []byte
		for off := 0; off < len(raw); off += piece {
			if _, e := pieces.Write(raw[off:min(off+piece, len(raw))]); e != nil {
				require.Error(t, err)
				break
			}
			out = append(out, pieces.Encoded()...)
		}
		out = append(out, pieces.Finish(int64(len(raw)))...)
		require.Equal(t, whole.Finish(int64(len(raw))), out)
		side, err := Parse(out)
		require.NoError(t, err)

		r := rawfile.NewReader(bytes.NewReader(raw))
		var records []rawfile.Record
		for rec, err := range r.Records() {
			if err == nil {
				rec.Data = bytes.Clone(rec.Data)
				records = append(records, rec)
			}
		}
		require.Equal(t, r.Count(), side.Trailer.Frames)
		require.Equal(t, r.Offset(), side.Trailer.Records)
		requireFound(t, side, records, 1)
	})
}

func BenchmarkBuilder(b *testing.B) {
	for _, c := range []struct {
		name        string
		size, flows int
	}{{"size=60", 60, 500}, {"size=1514", 1514, 500}, {"flood", 60, 1 << 30}} {
		b.Run(c.name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(8, 8))
			var records []rawfile.Record
			flows := make([]archivetest.Flow, min(c.flows, 16<<20/(c.size+rawfile.HeaderLen)))
			for i := range flows {
				flows[i] = archivetest.RandomFlow(r, 3000)
				flows[i].ARP = false
				if c.flows > 500 { // a new address for every frame
					binary.BigEndian.PutUint32(flows[i].Src[:], r.Uint32())
				}
			}
			for i := range 16 << 20 / (c.size + rawfile.HeaderLen) {
				f := &flows[r.IntN(len(flows))]
				if c.flows > 500 {
					f = &flows[i]
				}
				records = append(records, archivetest.Record(archivetest.Day.Add(time.Duration(i)*100), f.Frame(c.size), 0))
			}
			raw := archivetest.Raw(b, records)
			raw = raw[:len(raw)-rawfile.HeaderLen]
			x := NewBuilder()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				for off := 0; off < len(raw); off += Block {
					_, _ = x.Write(raw[off:min(off+Block, len(raw))])
					x.Encoded()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(records)), "ns/frame")
		})
	}
}
