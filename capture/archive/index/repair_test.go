package index

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/archivetest"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

func only(t *testing.T, path string) archive.File {
	files, err := archive.List(path)
	require.NoError(t, err)
	require.Len(t, files, 1)
	return files[0]
}

// requireValid requires that a file has no problems and n records.
func requireValid(t *testing.T, f archive.File, n int) {
	t.Helper()
	r, err := Verify(f)
	require.NoError(t, err)
	require.Empty(t, r.Problems)
	require.Equal(t, Complete, r.Index)
	require.EqualValues(t, n, r.Frames)
	in, err := os.Open(f.Path)
	require.NoError(t, err)
	defer in.Close()
	x := rawfile.NewReader(in)
	for _, err := range x.Records() {
		require.NoError(t, err)
	}
	require.EqualValues(t, n, x.Count())
	require.True(t, x.Padded())
}

func TestRepairOfFilesAfterACrash(t *testing.T) {
	records := archivetest.Traffic(31, 2500, 20, archivetest.Day, time.Microsecond)
	raw := archivetest.Raw(t, records)
	whole := raw[:len(raw)-rawfile.HeaderLen]
	last := rawfile.HeaderLen + len(records[2499].Data)
	var full bytes.Buffer
	w, err := rawfile.NewWriter(&full, int64(len(raw)+30_000))
	require.NoError(t, err)
	for _, r := range records {
		require.NoError(t, w.Write(r))
	}
	require.NoError(t, w.Fill())
	hole := append(append(bytes.Clone(whole), make([]byte, 100_000)...), whole[:200_000]...)
	join := func(a []byte, b ...byte) []byte { return append(bytes.Clone(a), b...) }
	// As the stream does: several padding records.
	early := join(whole, append([]byte{8: 255, 9: 255, 10: 255, 11: 255}, make([]byte, 65535)...)...)
	early = join(early, append([]byte{8: 100, 9: 0, 10: 100, 11: 0}, make([]byte, 100)...)...)
	for name, c := range map[string]struct {
		part bool
		file []byte
		n    int    // complete records
		says string // of the problems; "" for none
		kept int    // bytes saved to a file
	}{
		"closed":                      {false, raw, 2500, "", 0},
		"full":                        {false, full.Bytes(), 2500, "", 0},
		"closed early":                {false, early, 2500, "", 0},
		"closed early, in one":        {false, join(whole, append([]byte{8: 255, 9: 255, 10: 255, 11: 255}, make([]byte, 300_000)...)...), 2500, "", 0},
		"full, not renamed":           {true, full.Bytes(), 2500, "not finished", 0},
		"cut in a record":             {false, whole[:len(whole)-1], 2499, "cut", 0},
		"cut in a record's header":    {true, whole[:len(whole)-last+5], 2499, "cut", 0},
		"cut in the padding's header": {false, raw[:len(raw)-4], 2500, "cut", 0},
		"cut in the padding":          {false, full.Bytes()[:full.Len()-9], 2500, "padding", 0},
		"cut behind a record":         {false, whole, 2500, "not closed", 0},
		"zeros follow":                {true, join(whole, make([]byte, 70_000)...), 2500, "not finished", 0},
		"a hole, and blocks after":    {true, hole, 2500, "not all zeros", len(hole) - len(whole)},
		"no record":                   {false, join(whole, bytes.Repeat([]byte("A"), 30)...), 2500, "not a RAW record", 0},
		"much of it":                  {false, join(whole, bytes.Repeat([]byte("A"), 70_000)...), 2500, "not a RAW record", 70_000},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			base := archive.FileName("eth2", 0, archivetest.Day, 0)
			suffix := ".raw"
			if c.part {
				suffix += ".part"
			}
			f := only(t, archivetest.Put(t, dir, base+suffix, c.file))
			before, err := Verify(f)
			require.NoError(t, err)
			require.Equal(t, c.says == "", len(before.Problems) == 0, "%v", before.Problems)
			require.Contains(t, strings.Join(before.Problems, "; "), c.says)

			_, planned, err := Repair(f, true)
			require.NoError(t, err)
			untouched, err := os.ReadFile(f.Path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(c.file, untouched))
			require.NotEmpty(t, planned)

			r, done, err := Repair(f, false)
			require.NoError(t, err)
			require.Equal(t, planned, done)
			require.Empty(t, r.Problems)
			f = only(t, filepath.Join(dir, base+".raw"))
			requireValid(t, f, c.n)
			got, err := os.ReadFile(f.Path)
			require.NoError(t, err)
			require.True(t, bytes.HasPrefix(got, c.file[:r.Records]))
			kept, err := os.ReadFile(filepath.Join(dir, base+suffix+archive.Cut))
			if c.kept == 0 {
				require.ErrorIs(t, err, fs.ErrNotExist)
			} else {
				require.NoError(t, err)
				require.True(t, bytes.Equal(c.file[r.Records:], kept))
			}
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, entries, 2+min(c.kept, 1), "no temporary files")

			_, done, err = Repair(f, false)
			require.NoError(t, err)
			require.Empty(t, done, "nothing to repair")
		})
	}
}

func TestRepairDeletesFilesWithoutACompleteRecord(t *testing.T) {
	raw := archivetest.Raw(t, archivetest.Traffic(30, 1, 5, archivetest.Day, time.Microsecond))
	for _, file := range [][]byte{{}, make([]byte, 5), make([]byte, 100_000), raw[:9], raw[:20]} {
		dir := t.TempDir()
		f := only(t, archivetest.Put(t, dir, "x.raw.part", file))
		archivetest.Put(t, dir, "x.idx", sidecarOf(t, nil, 1))
		_, done, err := Repair(f, false)
		require.NoError(t, err)
		require.Contains(t, strings.Join(done, ""), "no complete record")
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, entries)
	}
}

func TestRepairBuildsMissingAndWrongIndices(t *testing.T) {
	records := archivetest.Traffic(32, 3000, 20, archivetest.Day, time.Microsecond)
	raw := archivetest.Raw(t, records)
	good := sidecarOf(t, raw, Block)
	for state, side := range map[State][]byte{
		Complete:   good,
		Missing:    nil,
		Partial:    good[:len(good)-trailerLen],
		Damaged:    good[:len(good)-trailerLen-1],
		"damaged ": append(bytes.Clone(good), make([]byte, 200_000)...), // longer than any index
		Stale:      sidecarOf(t, archivetest.Raw(t, records[1:]), Block),
	} {
		t.Run(string(state), func(t *testing.T) {
			state := State(strings.TrimSpace(string(state)))
			dir := t.TempDir()
			f := only(t, archivetest.Put(t, dir, "x.raw", raw))
			if side != nil {
				archivetest.Put(t, dir, "x.idx", side)
			}
			r, err := Verify(f)
			require.NoError(t, err)
			require.Equal(t, state, r.Index)
			require.Equal(t, state == Complete || state == Missing, len(r.Problems) == 0)
			i, err := Inspect(f)
			require.NoError(t, err)
			require.Equal(t, state, i.Index)
			require.EqualValues(t, 3000, i.Frames)
			require.Equal(t, r.Earliest, i.Earliest)
			require.Equal(t, r.Latest, i.Latest)
			_, done, err := Repair(f, false)
			require.NoError(t, err)
			require.Equal(t, state == Complete, len(done) == 0)
			requireValid(t, f, 3000)
			made, err := os.ReadFile(f.Sidecar())
			require.NoError(t, err)
			require.Equal(t, good, made)
		})
	}
}

// Verify finds changes that Fits does not, in the file or in a set.
func TestVerifyComparesTheWholeIndexWithTheData(t *testing.T) {
	dir := t.TempDir()
	raw := archivetest.Raw(t, archivetest.Traffic(33, 6000, 20, archivetest.Day, time.Microsecond))
	side := sidecarOf(t, raw, Block)
	archivetest.Put(t, dir, "x.idx", side)
	s, err := Parse(bytes.Clone(side))
	require.NoError(t, err)
	e := &s.Entries[1]
	changed := bytes.Clone(raw)
	changed[e.First+int64(rawfile.HeaderLen)+int64(rawfile.DecodeHeader(e.Head[:]).Caplen)+4] ^= 1
	f := only(t, archivetest.Put(t, dir, "x.raw", changed))
	r, err := Verify(f)
	require.NoError(t, err)
	require.Equal(t, Stale, r.Index)
	require.Contains(t, strings.Join(r.Problems, ""), "does not agree")

	archivetest.Put(t, dir, "x.raw", raw)
	requireValid(t, f, 6000)
	e.ports.n--
	out := appendHeader(nil)
	for i := range s.Entries {
		out = s.Entries[i].encode(out)
	}
	archivetest.Put(t, dir, "x.idx", s.Trailer.encode(out, int64(len(out))))
	r, err = Verify(f)
	require.NoError(t, err)
	require.Equal(t, Stale, r.Index)
}

func TestVerifyReportsStampsThatGoBackwards(t *testing.T) {
	records := archivetest.Traffic(34, 100, 5, archivetest.Day, time.Microsecond)
	records[50].Nsec = 1
	f := only(t, archivetest.Put(t, t.TempDir(), "x.raw", archivetest.Raw(t, records)))
	r, err := Verify(f)
	require.NoError(t, err)
	require.Contains(t, strings.Join(r.Problems, ""), "1 of 100 stamps are earlier than the one before")
	repaired, done, err := Repair(f, false)
	require.NoError(t, err)
	require.Equal(t, []string{"index built"}, done)
	require.Equal(t, r.Problems, repaired.Problems, "repair does not reorder records")
}

func TestMissingSegmentsAreReported(t *testing.T) {
	at := func(port string, queue, seq int, from time.Duration) Report {
		return Report{File: archive.File{Port: port, Queue: queue, Seq: seq}, Frames: 1, Earliest: archivetest.Day.Add(from), Latest: archivetest.Day.Add(from + time.Second)}
	}
	reports := []Report{
		at("a", 0, 4, 0), at("a", 0, 5, 3*time.Second), at("a", 0, 8, 5*time.Second), at("a", 0, 0, 9*time.Second),
		at("a", 0, 1, 9*time.Second), at("a", 1, 3, 0), at("b", 0, 2, 0),
	}
	missing := make([]int, len(reports))
	for i := 1; i < len(reports); i++ {
		reports[i].After(&reports[i-1])
		missing[i] = reports[i].MissingSegments
	}
	require.Equal(t, []int{0, 0, 2, 0, 0, 0, 0}, missing)
	require.EqualValues(t, 2*time.Second, reports[1].Gap)
	require.Contains(t, reports[2].Problems[0], "2 segments")
	require.Contains(t, reports[4].Problems[0], "before")
}

func TestRepairLeavesFilesThatAreBeingWritten(t *testing.T) {
	raw := archivetest.Raw(t, archivetest.Traffic(35, 100, 5, archivetest.Day, time.Microsecond))
	f := only(t, archivetest.Put(t, t.TempDir(), "x.raw.part", raw[:len(raw)-30]))

	writer, err := os.OpenFile(f.Path, os.O_WRONLY, 0)
	require.NoError(t, err)
	lease, err := os.Open(f.Path)
	require.NoError(t, err)
	defer lease.Close()
	if archive.BeingWritten(lease, int64(len(raw)-30)) { // a file system with leases detects a writer without lock
		r, done, err := Repair(f, false)
		require.NoError(t, err)
		require.True(t, r.Writing)
		require.Empty(t, r.Problems)
		require.Empty(t, done)
	}
	require.NoError(t, writer.Close())
	require.False(t, archive.BeingWritten(lease, int64(len(raw)-30)))

	holder, err := os.Open(f.Path)
	require.NoError(t, err)
	require.NoError(t, archive.LockExclusive(holder))
	require.True(t, archive.BeingWritten(lease, int64(len(raw)-30)))
	require.ErrorIs(t, archive.LockExclusive(lease), archive.ErrBusy)
	_, done, err := Repair(f, false)
	require.NoError(t, err)
	require.Empty(t, done)
	require.NoError(t, holder.Close())

	reader, err := os.Open(f.Path)
	require.NoError(t, err)
	require.NoError(t, archive.LockShared(reader))
	_, _, err = Repair(f, false)
	require.ErrorIs(t, err, archive.ErrBusy)
	require.NoError(t, reader.Close())
	r, _, err := Repair(f, false)
	require.NoError(t, err)
	require.Empty(t, r.Problems)
}

func TestRepairNeverReplacesAnotherFile(t *testing.T) {
	dir := t.TempDir()
	raw := archivetest.Raw(t, archivetest.Traffic(36, 100, 5, archivetest.Day, time.Microsecond))
	part := archivetest.Put(t, dir, "x.raw.part", raw)
	precious := archivetest.Put(t, dir, "x.raw", []byte("precious"))
	f, ok := archive.ParseName(part)
	require.True(t, ok)
	_, _, err := Repair(f, false)
	require.ErrorIs(t, err, fs.ErrExist)
	got, err := os.ReadFile(precious)
	require.NoError(t, err)
	require.Equal(t, "precious", string(got))
	_, err = os.Stat(part)
	require.NoError(t, err)
}

// For every byte of its last two blocks at which a file ends, Builder and Measure find
// the same complete records.
func TestFileCutAtEveryByteOfItsLastTwoBlocks(t *testing.T) {
	raw := archivetest.Raw(t, archivetest.Traffic(37, 6500, 20, archivetest.Day, time.Microsecond))
	from := len(raw) - 2*rawfile.Block
	b := NewBuilder()
	_, err := b.Write(raw[:from])
	require.NoError(t, err)
	start := int(b.Records())
	for end := from + 1; end <= len(raw); end++ {
		if _, err := b.Write(raw[end-1 : end]); err != nil {
			t.Fatal(err)
		}
		n, err := rawfile.Measure(raw[start:end])
		if err == nil {
			start += n
		} else if err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF && end != len(raw) {
			t.Fatalf("cut at %d: %v", end, err)
		}
		if b.Records() != int64(start) {
			t.Fatalf("cut at %d: records end at %d, not at %d", end, b.Records(), start)
		}
	}
	require.Equal(t, len(raw)-rawfile.HeaderLen, start)
}
