package query

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/archivetest"
	"github.com/ixcap/ixcap/capture/archive/index"
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
	r, err := index.Verify(f)
	require.NoError(t, err)
	require.Empty(t, r.Problems)
	require.Equal(t, index.Complete, r.Index)
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

// repaired requires that Repair does what a dry run reports, that the file has a
// complete index, and that a second Repair does nothing. It returns the file.
func repaired(t *testing.T, f archive.File, text string) (r index.Report, raw []byte) {
	t.Helper()
	_, planned, err := index.Repair(f, true)
	require.NoError(t, err, text)
	r, done, err := index.Repair(f, false)
	require.NoError(t, err, text)
	require.Equal(t, planned, done, text)
	again, done, err := index.Repair(r.File, false)
	require.NoError(t, err, text)
	require.Empty(t, done, text)
	require.Equal(t, index.Complete, again.Index, text)
	require.Equal(t, r.Problems, again.Problems, text)
	raw, err = os.ReadFile(r.Path)
	require.NoError(t, err, text)
	return again, raw
}

// Several blocks are written at once. If one is missing the file has a hole, or
// reserved space, and a record that begins before it is not complete although its
// bytes can be read.
func TestRecordThatReachesIntoAHoleIsNotComplete(t *testing.T) {
	const room = 64 << 10
	records := archivetest.Traffic(72, 400, 8, archivetest.Day, time.Microsecond)
	raw := archivetest.Raw(t, records)
	complete, end := 0, 0
	for end+rawfile.HeaderLen+len(records[complete].Data) <= room {
		end += rawfile.HeaderLen + len(records[complete].Data)
		complete++
	}
	for name, mode := range map[string]uint32{"hole": unix.FALLOC_FL_PUNCH_HOLE, "reserved": unix.FALLOC_FL_ZERO_RANGE} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := archivetest.Put(t, dir, archive.FileName("eth2", 0, archivetest.Day, 0)+".raw.part", raw)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			require.NoError(t, err)
			err = unix.Fallocate(int(f.Fd()), mode|unix.FALLOC_FL_KEEP_SIZE, room, room)
			require.NoError(t, f.Sync())
			require.NoError(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
			hole, _ := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE)
			if err != nil || hole != room {
				t.Skipf("the file system of %s does not report holes (%v): set TMPDIR to a directory on ext4 or xfs", dir, err)
			}
			require.NoError(t, f.Close())
			_, err = os.ReadFile(path)
			require.NoError(t, err)
			got, _, _, faults := ask(t, Request{}, dir)
			require.NoError(t, faults)
			same(t, records[:complete], got, "search")
			_, err = os.ReadFile(path)
			require.NoError(t, err)
			r, err := index.Verify(only(t, path))
			require.NoError(t, err)
			require.EqualValues(t, complete, r.Frames)
			r, fixed := repaired(t, only(t, path), "hole")
			require.EqualValues(t, complete, r.Frames)
			require.True(t, bytes.Equal(raw[:end], fixed[:end]))
			require.Len(t, fixed, end+rawfile.HeaderLen)
			_, err = os.Stat(path + archive.Cut)
			require.NoError(t, err, "the bytes after the hole are saved")
		})
	}
}

// For cuts at and around the ends of records and at other bytes, a query finds all
// complete records, and Repair completes the file.
func TestFilesCutNearTheirEndAreReadAndRepaired(t *testing.T) {
	records := archivetest.Traffic(38, 4000, 20, archivetest.Day, time.Microsecond)
	raw := archivetest.Raw(t, records)
	side := sidecarOf(raw)
	var ends []int
	at := 0
	for _, r := range records {
		at += rawfile.HeaderLen + len(r.Data)
		ends = append(ends, at)
	}
	cuts := map[int]int{} // byte: complete records
	whole := 0
	for cut := len(raw) - rawfile.Block; cut < len(raw); cut++ {
		for whole < len(ends) && ends[whole] <= cut {
			whole++
		}
		if near := cut - ends[whole-1]; whole%397 == 0 && (near == 0 || near == 1 || near == 12) || cut%99991 == 0 || cut > len(raw)-5 {
			cuts[cut] = whole
		}
	}
	require.Greater(t, len(cuts), 10)
	for cut, n := range cuts {
		dir := t.TempDir()
		f := only(t, archivetest.Put(t, dir, "x.raw", raw[:cut]))
		archivetest.Put(t, dir, "x.idx", side)
		got, _, _, _ := ask(t, Request{}, dir)
		require.Len(t, got, n, "cut at %d", cut)
		_, _, err := index.Repair(f, false)
		require.NoError(t, err, "cut at %d", cut)
		requireValid(t, f, n)
	}
}
