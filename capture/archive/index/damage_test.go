package index

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/archivetest"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// memoryDir returns a directory in memory if there is one: repairs are synced, and
// these tests repair hundreds of files.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "ixcap-index-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// headers returns the offsets of the last n records of a file, and their end.
func headers(records []rawfile.Record, n int) (at []int) {
	off := 0
	for i, r := range records {
		if i >= len(records)-n {
			at = append(at, off)
		}
		off += rawfile.HeaderLen + len(r.Data)
	}
	return append(at, off)
}

// repaired requires that Repair does what a dry run reports, that the file has a
// complete index, and that a second Repair does nothing. It returns the file.
func repaired(t *testing.T, f archive.File, text string) (r Report, raw []byte) {
	t.Helper()
	_, planned, err := Repair(f, true)
	require.NoError(t, err, text)
	r, done, err := Repair(f, false)
	require.NoError(t, err, text)
	require.Equal(t, planned, done, text)
	again, done, err := Repair(r.File, false)
	require.NoError(t, err, text)
	require.Empty(t, done, text)
	require.Equal(t, Complete, again.Index, text)
	require.Equal(t, r.Problems, again.Problems, text)
	raw, err = os.ReadFile(r.Path)
	require.NoError(t, err, text)
	return again, raw
}

func TestFileCutAtEveryByteOfItsLastTwoRecordsIsRepaired(t *testing.T) {
	records := archivetest.Traffic(70, 40, 8, archivetest.Day, time.Microsecond)
	for i := range records {
		records[i].Data = records[i].Data[:min(len(records[i].Data), 60)]
	}
	raw := archivetest.Raw(t, records)
	side := sidecarOf(t, raw, Block)
	at := headers(records, 2)
	for _, suffix := range []string{".raw", ".raw.part"} {
		for cut := at[0]; cut < len(raw); cut++ {
			dir := memoryDir(t)
			text := fmt.Sprintf("%s cut at %d of %d", suffix, cut, len(raw))
			path := archivetest.Put(t, dir, archive.FileName("eth2", 0, archivetest.Day, 0)+suffix, raw[:cut])
			archivetest.Put(t, dir, archive.FileName("eth2", 0, archivetest.Day, 0)+archive.Index, side)
			complete := len(records) - 2
			for complete < len(records) && cut >= at[complete-len(records)+3] {
				complete++
			}
			r, got := repaired(t, only(t, path), text)
			require.EqualValues(t, complete, r.Frames, text)
			require.Empty(t, r.Problems, text)
			end := at[complete-len(records)+2]
			require.True(t, bytes.Equal(append(bytes.Clone(raw[:end]), make([]byte, rawfile.HeaderLen)...), got), text)
			require.NoError(t, os.RemoveAll(dir))
		}
	}
}

// If any byte of the last records changes, those before it stay, and a changed header
// is reported.
func TestFileChangedInItsLastTwoRecordsIsReportedAndRepaired(t *testing.T) {
	records := archivetest.Traffic(71, 40, 8, archivetest.Day, time.Microsecond)
	for i := range records {
		records[i].Data = records[i].Data[:min(len(records[i].Data), 60)]
	}
	raw := archivetest.Raw(t, records)
	side := sidecarOf(t, raw, Block)
	at := headers(records, 2)
	for i := at[0]; i < len(raw); i++ {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			dir := memoryDir(t)
			text := fmt.Sprintf("byte %d of %d ^ %#x", i, len(raw), flip)
			bad := bytes.Clone(raw)
			bad[i] ^= flip
			path := archivetest.Put(t, dir, archive.FileName("eth2", 0, archivetest.Day, 0)+".raw", bad)
			archivetest.Put(t, dir, archive.FileName("eth2", 0, archivetest.Day, 0)+archive.Index, side)
			before := at[0]
			if i >= at[1] {
				before = at[1]
			}
			r, err := Verify(only(t, path))
			require.NoError(t, err)
			if i < before+rawfile.HeaderLen || i >= at[2] {
				require.NotEmpty(t, r.Problems, text)
			}
			_, got := repaired(t, only(t, path), text)
			require.True(t, bytes.HasPrefix(got, raw[:before]), text)
			require.NoError(t, os.RemoveAll(dir))
		}
	}
}

func TestFileWhoseFirstBlockWasNeverWrittenIsSetAside(t *testing.T) {
	dir := t.TempDir()
	raw := archivetest.Raw(t, archivetest.Traffic(73, 400, 8, archivetest.Day, time.Microsecond))
	path := archivetest.Put(t, dir, archive.FileName("eth2", 0, archivetest.Day, 0)+".raw.part", nil)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(raw, 1<<20)
	require.NoError(t, errors.Join(err, f.Sync(), f.Close()))
	part := only(t, path)
	archivetest.Put(t, dir, filepath.Base(part.Sidecar()), []byte("index"))

	_, said, err := Repair(part, true)
	require.NoError(t, err)
	require.FileExists(t, path, "a dry run")
	_, done, err := Repair(part, false)
	require.NoError(t, err)
	require.Equal(t, said, done)
	require.Contains(t, done[0], "does not begin with a record")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no file without a record, no index")
	kept, err := os.ReadFile(path + archive.Cut)
	require.NoError(t, err)
	require.True(t, bytes.Equal(raw, kept[1<<20:]))
}

// FuzzRepair: any bytes, with any bytes as their index, are verified and repaired
// without a panic; all records that rawfile reads stay, and a second repair does
// nothing.
func FuzzRepair(f *testing.F) {
	raw := archivetest.Raw(f, archivetest.Traffic(73, 20, 5, archivetest.Day, time.Microsecond))
	side := sidecarOf(f, raw, len(raw))
	f.Add(raw, side, true)
	f.Add(raw, side[:len(side)-trailerLen], false)
	f.Add(raw[:len(raw)-30], side, true)
	f.Add(append(bytes.Clone(raw), bytes.Repeat([]byte("A"), 70_000)...), side[:50], false)
	f.Add(append(bytes.Clone(raw[:len(raw)-rawfile.HeaderLen]), bytes.Repeat([]byte("A"), 40)...), []byte{}, true)
	f.Add(make([]byte, 100), side, true)
	f.Add([]byte{}, []byte{}, true)
	f.Fuzz(func(t *testing.T, raw, side []byte, part bool) {
		if len(raw) > 1<<20 || len(side) > 1<<20 {
			return
		}
		dir := memoryDir(t)
		path := filepath.Join(dir, "x.raw")
		if part {
			path += ".part"
		}
		require.NoError(t, os.WriteFile(path, raw, 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "x.idx"), side, 0o644))
		_, _, err := Repair(only(t, path), true)
		require.NoError(t, err)
		untouched, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(raw, untouched))
		x := rawfile.NewReader(bytes.NewReader(raw))
		for {
			if _, err := x.Next(); err != nil {
				break
			}
		}
		_, _, err = Repair(only(t, path), false)
		require.NoError(t, err)
		if part && x.Count() == 0 {
			if _, err := os.Stat(filepath.Join(dir, "x.raw")); err != nil {
				return // deleted or renamed
			}
		}
		r, got := repaired(t, only(t, filepath.Join(dir, "x.raw")), "again")
		require.EqualValues(t, x.Count(), r.Frames)
		require.Equal(t, x.Offset(), r.Records)
		require.True(t, bytes.Equal(raw[:x.Offset()], got[:x.Offset()]))
		y := rawfile.NewReader(bytes.NewReader(got))
		for err == nil {
			_, err = y.Next()
		}
		require.Equal(t, io.EOF, err)
		require.True(t, y.Padded())
	})
}
