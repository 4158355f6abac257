package series

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var twoNames = []string{"all", "web"}

// secondPoint makes a second of random counts.
func secondPoint(at int64, random *rand.Rand) *Point {
	p := &Point{Time: at, Step: 1, Seconds: 1, Series: make([]Sum, len(twoNames))}
	for i := range p.Series {
		n := Count{random.Uint64N(1e6), random.Uint64N(1e9)}
		p.Series[i] = Sum{n, n}
	}
	p.Late = Count{random.Uint64N(5), random.Uint64N(5000)}
	p.Early = Count{random.Uint64N(5), random.Uint64N(5000)}
	p.Lost, p.New, p.Active = random.Uint64N(9), random.Uint64N(1000), random.Uint64N(100_000)
	p.PeakActive = p.Active
	return p
}

// folded computes the points of a step from the seconds.
func folded(seconds []*Point, step int64) map[int64]*Point {
	all := map[int64]*Point{}
	for _, p := range seconds {
		at := p.Time / step * step
		q := all[at]
		if q == nil {
			q = &Point{Time: at, Step: step, Series: make([]Sum, len(p.Series))}
			all[at] = q
		}
		q.Seconds++
		q.Partial += p.Partial
		for i, s := range p.Series {
			q.Series[i].Packets += s.Packets
			q.Series[i].Bytes += s.Bytes
			q.Series[i].Peak = Count{max(q.Series[i].Peak.Packets, s.Packets), max(q.Series[i].Peak.Bytes, s.Bytes)}
		}
		q.Late = Count{q.Late.Packets + p.Late.Packets, q.Late.Bytes + p.Late.Bytes}
		q.Early = Count{q.Early.Packets + p.Early.Packets, q.Early.Bytes + p.Early.Bytes}
		q.Lost, q.New, q.Active = q.Lost+p.Lost, q.New+p.New, q.Active+p.Active
		q.PeakActive = max(q.PeakActive, p.Active)
	}
	return all
}

// requireStore compares a store with the seconds that were added to it.
func requireStore(t *testing.T, s *Store, seconds []*Point, from, to int64) {
	t.Helper()
	for _, step := range []time.Duration{Second, Minute, Hour, Day} {
		want := folded(seconds, int64(step/time.Second))
		span, err := Span(step)
		require.NoError(t, err)
		first := max(from, to-int64(span/time.Second))
		if step < Hour {
			first = max(first, seconds[0].Time/60*60-120)
		}
		n := 0
		for p, err := range s.Points(time.Unix(first, 0), time.Unix(to, 0), step) {
			require.NoError(t, err)
			q := want[p.Time]
			if q == nil {
				require.True(t, p.Missing())
				q = &Point{Time: p.Time, Step: p.Step, Series: make([]Sum, len(twoNames))}
			}
			require.Equal(t, q, p, "%v", step)
			n++
		}
		require.Greater(t, n, 0)
	}
}

const monday = 1_700_438_400 // 2023-11-20 00:00 UTC

// Seconds with gaps, over several restarts and the turn of a day; the ring of seconds is
// read and written by two stores.
func TestStoreKeepsEverySpan(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	var seconds []*Point
	at := int64(monday + 86400 - 2000)
	begin := at
	for run := range 4 {
		s, err := Create(dir, "eth0", twoNames)
		require.NoError(t, err)
		_, err = Create(dir, "eth0", twoNames)
		require.ErrorContains(t, err, "another process writes it")
		for range 800 {
			p := secondPoint(at, random)
			seconds = append(seconds, p)
			require.NoError(t, s.Add(p))
			if at++; random.IntN(500) == 0 {
				at += random.Int64N(300)
			}
		}
		reader, err := Open(dir, "eth0")
		require.NoError(t, err)
		require.Equal(t, twoNames, reader.Names())
		requireStore(t, reader, seconds, begin/86400*86400, at)
		require.NoError(t, reader.Close())
		require.NoError(t, s.Close())
		at += []int64{0, 17, 4000, 0}[run]
	}
	infos, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, infos, len(levels), "no temporary files")
}

func TestMemoryStoreAndTheRingsEnd(t *testing.T) {
	s := NewMemory(twoNames)
	random := rand.New(rand.NewPCG(1, 2))
	var seconds []*Point
	for i := int64(0); i < 86400+5000; i += 8 {
		p := secondPoint(monday+i, random)
		seconds = append(seconds, p)
		require.NoError(t, s.Add(p))
	}
	requireStore(t, s, seconds[72_000/8:], monday+72_000, monday+86400+5000)
	for p, err := range s.Points(time.Unix(monday, 0), time.Unix(monday+5, 0), Second) {
		require.NoError(t, err)
		require.True(t, p.Missing(), "overwritten a day later")
	}
	require.Error(t, s.Add(&Point{Time: -1, Step: 1, Series: make([]Sum, 2)}))
	require.Error(t, s.Add(&Point{Time: 1, Step: 60, Series: make([]Sum, 2)}))
	require.Error(t, s.Add(&Point{Time: 1, Step: 1}))
	require.NoError(t, s.Close())
}

// A process that ends within a second and one that begins in it have parts of it.
func TestTwoPartsOfASecond(t *testing.T) {
	s := NewMemory(twoNames)
	one := &Point{Time: monday + 5, Step: 1, Seconds: 1, Partial: 1, Series: []Sum{{Count{10, 900}, Count{10, 900}}, {}}, Active: 7, PeakActive: 7, New: 3}
	two := &Point{Time: monday + 5, Step: 1, Seconds: 1, Partial: 1, Series: []Sum{{Count{5, 4000}, Count{5, 4000}}, {}}, Active: 9, PeakActive: 9, New: 1}
	require.NoError(t, s.Add(one))
	require.NoError(t, s.Add(two))
	for _, step := range []time.Duration{Second, Minute, Day} {
		for p, err := range s.Points(time.Unix(monday, 0), time.Unix(monday+6, 0), step) {
			require.NoError(t, err)
			if step == Second && p.Time != monday+5 {
				continue
			}
			require.Equal(t, Sum{Count{15, 4900}, Count{15, 4900}}, p.Series[0])
			require.EqualValues(t, []uint64{1, 1, 9, 9, 4}, []uint64{uint64(p.Seconds), uint64(p.Partial), p.Active, p.PeakActive, p.New})
		}
	}
}

// What a crash tears fails its checksum: it is missing, and the rest is there. The current
// minute, hour and day are computed from the rings below.
func TestTornSlotsAreMissing(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	s, err := Create(dir, "p", twoNames)
	require.NoError(t, err)
	var seconds []*Point
	for i := range int64(100) {
		seconds = append(seconds, secondPoint(monday+i, random))
		require.NoError(t, s.Add(seconds[i]))
	}
	require.NoError(t, s.Close())
	slot := int64(slotHeader + slotSeries*len(twoNames))
	for i, tear := range []int64{monday + 50, monday / 60, monday/60 + 1, monday / 3600, monday / 86400} {
		l := levels[max(0, min(i, 4)-1)]
		if i < 2 {
			l = levels[i]
		}
		f, err := os.OpenFile(filepath.Join(dir, "p."+l.name), os.O_RDWR, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{0xaa}, ringHeader+tear%l.slots*slot+random.Int64N(slot-8)+8)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	s, err = Create(dir, "p", twoNames)
	require.NoError(t, err)
	last := secondPoint(monday+100, random)
	require.NoError(t, s.Add(last))
	without := slices.Concat(seconds[:50], seconds[51:], []*Point{last})
	for p, err := range s.Points(time.Unix(monday, 0), time.Unix(monday+101, 0), Second) {
		require.NoError(t, err)
		require.Equal(t, p.Time == monday+50, p.Missing())
	}
	for p, err := range s.Points(time.Unix(monday, 0), time.Unix(monday+101, 0), Minute) {
		require.NoError(t, err)
		if p.Time == monday {
			require.True(t, p.Missing(), "torn, and not the current one")
			continue
		}
		require.Equal(t, folded(without, 60)[p.Time], p)
	}
	for p, err := range s.Points(time.Unix(monday, 0), time.Unix(monday+101, 0), Day) {
		require.NoError(t, err)
		require.Equal(t, folded(slices.Concat(seconds[60:], []*Point{last}), 86400)[p.Time], p, "of the minute that is left")
	}
	require.NoError(t, s.Close())
}

func TestFilesThatAreNoRings(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir, "p")
	require.ErrorIs(t, err, os.ErrNotExist)
	s, err := Create(dir, "p", twoNames)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = Create(dir, "p", []string{"all", "mail"})
	require.ErrorContains(t, err, "move it away")
	_, err = Create(dir, "a/b", twoNames)
	require.ErrorContains(t, err, "of a port")
	path := filepath.Join(dir, "p.hours")
	require.NoError(t, os.Truncate(path, ringHeader+100))
	reader, err := Open(dir, "p")
	require.NoError(t, err)
	for p, err := range reader.Points(time.Unix(monday, 0), time.Unix(monday+7200, 0), Hour) {
		require.NoError(t, err)
		require.True(t, p.Missing(), "a file that was cut")
	}
	require.NoError(t, reader.Close())
	for _, content := range []string{"", "ixseries", strings.Repeat("x", 5000)} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
		_, err = Open(dir, "p")
		require.ErrorIs(t, err, errNotRing)
		_, err = Create(dir, "p", twoNames)
		require.ErrorIs(t, err, errNotRing)
	}
}

// A reader gets each span as one of its writes left it, or as missing, never a part of two.
func TestReaderSeesWholeSpans(t *testing.T) {
	dir := t.TempDir()
	names := make([]string, 200) // slots of several pages
	for i := range names {
		names[i] = fmt.Sprint("n", i)
	}
	writer, err := Create(dir, "p", names)
	require.NoError(t, err)
	reader, err := Open(dir, "p")
	require.NoError(t, err)
	const writes = 1000
	done := make(chan error)
	go func() {
		p := &Point{Step: 1, Seconds: 1, Series: make([]Sum, len(names))}
		for i := range p.Series {
			p.Series[i].Count = Count{1, 2}
		}
		var err error
		for i := range writes {
			p.Time = monday + int64(i)
			err = errors.Join(err, writer.Add(p))
		}
		done <- err
	}()
	whole := 0
	for running := true; running; {
		select {
		case err := <-done:
			require.NoError(t, err)
			running = false
		default:
		}
		for p, err := range reader.Points(time.Unix(monday, 0), time.Unix(monday+1, 0), Day) {
			require.NoError(t, err)
			want := Count{uint64(p.Seconds), 2 * uint64(p.Seconds)}
			require.False(t, slices.ContainsFunc(p.Series, func(s Sum) bool { return s.Count != want }), "%+v", p)
			if !p.Missing() {
				whole++
			}
		}
	}
	require.NotZero(t, whole)
	require.NoError(t, writer.Close())
	require.NoError(t, reader.Close())
}

func TestIntervals(t *testing.T) {
	s := NewMemory(twoNames)
	times := func(from, to time.Time, step time.Duration) (all []int64, err error) {
		for p, e := range s.Points(from, to, step) {
			if err = e; err == nil {
				all = append(all, p.Time-monday)
			}
		}
		return all, err
	}
	got, err := times(time.Unix(monday, 1), time.Unix(monday+3, 1), Second)
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2, 3}, got)
	got, err = times(time.Unix(monday+1, 0), time.Unix(monday+121, 0), Minute)
	require.NoError(t, err)
	require.Equal(t, []int64{60, 120}, got)
	got, err = times(time.Unix(monday+5, 0), time.Unix(monday, 0), Second)
	require.NoError(t, err)
	require.Empty(t, got)
	_, err = times(time.Unix(monday, 0), time.Unix(monday+86401, 0), Second)
	require.ErrorContains(t, err, "shorter interval")
	_, err = times(time.Unix(monday, 0), time.Unix(monday+1, 0), time.Millisecond)
	require.ErrorContains(t, err, "want 1s, 1m, 1h or 24h")
	_, err = times(time.Unix(-5, 0), time.Unix(1, 0), Second)
	require.Error(t, err)
	_, err = Span(5 * time.Second)
	require.Error(t, err)
}

func TestLinesAreHPCAPs(t *testing.T) {
	dir := t.TempDir()
	l, err := NewLines(dir, "eth0")
	require.NoError(t, err)
	all := []Sum{{Count: Count{10, 1000}}}
	for _, p := range []*Point{
		{Time: 1_704_067_199, Series: all, Lost: 2, Active: 4, New: 3},   // Sunday, the last second of 2023
		{Time: 1_704_067_200, Series: []Sum{{}}, Lost: 1},                // Monday
		{Time: 1_704_067_202, Series: []Sum{{Count: Count{1, 1500}}}},    // a second is missing
		{Time: 1_704_672_000, Series: []Sum{{Count: Count{1, 1 << 60}}}}, // a week later
	} {
		require.NoError(t, l.Add(p))
	}
	require.NoError(t, l.Close())
	for name, want := range map[string]string{
		"2023-52/eth0": "1704067199 8000 10 1600 2 4 3\n",
		"2024-01/eth0": "1704067200 0 0 800 1 0 0\n1704067202 12000 1 0 0 0 0\n",
		"2024-02/eth0": "1704672000 9223372036854775808 1 0 0 0 0\n",
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, string(got))
		for _, line := range strings.Split(strings.TrimSpace(want), "\n") {
			p, err := ParseLine(line)
			require.NoError(t, err)
			require.Equal(t, line, fmt.Sprint(p.Time, p.Bits, p.Packets, p.LostBits, p.LostPackets, p.Active, p.New))
		}
	}
	p, err := ParseLine("1704067199 8000 10 1600 2")
	require.NoError(t, err)
	require.Equal(t, Line{Time: 1704067199, Bits: 8000, Packets: 10, LostBits: 1600, LostPackets: 2}, p)
	for _, bad := range []string{"", "1 2 3 4", "1 2 3 4 5 6", "x 2 3 4 5", "1 -2 3 4 5", "1 2 3 4 5 6 7 8"} {
		_, err := ParseLine(bad)
		require.Error(t, err)
	}
	_, err = NewLines(dir, "..")
	require.Error(t, err)
}

func FuzzParseLine(f *testing.F) {
	f.Add("1704067199 8000 10 1600 2 4 3")
	f.Add("1704067199 8000 10 1600 2")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseLine(text)
		if err != nil {
			return
		}
		again, err := ParseLine(fmt.Sprint(p.Time, p.Bits, p.Packets, p.LostBits, p.LostPackets, p.Active, p.New))
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}

// The fuzzed bytes are the fields of a header and of a slot; their checksums are right.
func FuzzRing(f *testing.F) {
	s := shape{60, 100, twoNames}
	slot := make([]byte, s.slotBytes())
	encodePoint(slot, secondPoint(monday, rand.New(rand.NewPCG(1, 2))))
	f.Add(s.encode()[:50], slot)
	f.Fuzz(func(t *testing.T, fields, values []byte) {
		head := make([]byte, ringHeader)
		copy(head, fields)
		clear(head[28:32])
		binary.LittleEndian.PutUint32(head[28:], crc32.Checksum(head, castagnoli))
		got, err := decodeShape(head)
		if err != nil {
			return
		}
		require.Equal(t, head[:28], got.encode()[:28])
		slot := make([]byte, got.slotBytes())
		copy(slot, values)
		clear(slot[8:12])
		clear(slot[20:24])
		binary.LittleEndian.PutUint32(slot[8:], crc32.Checksum(slot, castagnoli))
		var p Point
		p.reset(int64(binary.LittleEndian.Uint64(slot)), got.step, len(got.names))
		if decodePoint(slices.Clone(slot), &p) {
			again := make([]byte, len(slot))
			encodePoint(again, &p)
			require.Equal(t, slot, again)
		}
	})
}
