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
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// memoryDir is a folder in memory, where there is one: what is repaired is synced,
// and these tests repair hundreds of files.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "ixcap-index-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// headers is where the headers of the last n of a file's records are.
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

// repaired requires that Repair does what it said it would do, leaves a file whose
// index is whole, and has nothing more to do. It gives the file.
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
	require.Equal(t, IndexWhole, again.Index, text)
	require.Equal(t, r.Problems, again.Problems, text)
	raw, err = os.ReadFile(r.Path)
	require.NoError(t, err, text)
	return again, raw
}

func TestFileCutAtEveryByteOfItsLastTwoRecordsIsRepaired(t *testing.T) {
	records := traffic(70, 40, 8, day, time.Microsecond)
	for i := range records {
		records[i].Data = records[i].Data[:min(len(records[i].Data), 60)]
	}
	raw := rawOf(t, records)
	side := sidecarOf(t, raw, Block)
	at := headers(records, 2)
	for _, suffix := range []string{".raw", ".raw.part"} {
		for cut := at[0]; cut < len(raw); cut++ {
			dir := memoryDir(t)
			text := fmt.Sprintf("%s cut at %d of %d", suffix, cut, len(raw))
			path := put(t, dir, nameOf("eth2", 0, day, 0)+suffix, raw[:cut])
			put(t, dir, nameOf("eth2", 0, day, 0)+archive.Index, side)
			whole := len(records) - 2
			for whole < len(records) && cut >= at[whole-len(records)+3] {
				whole++
			}
			r, got := repaired(t, only(t, path), text)
			require.EqualValues(t, whole, r.Frames, text)
			require.Empty(t, r.Problems, text)
			end := at[whole-len(records)+2]
			require.True(t, bytes.Equal(append(bytes.Clone(raw[:end]), make([]byte, rawfile.HeaderLen)...), got), text)
			require.NoError(t, os.RemoveAll(dir))
		}
	}
}

// Whatever byte of the last records changes, those before it stay, and a header
// that is not what it was is noticed.
func TestFileChangedInItsLastTwoRecordsIsToldAndRepaired(t *testing.T) {
	records := traffic(71, 40, 8, day, time.Microsecond)
	for i := range records {
		records[i].Data = records[i].Data[:min(len(records[i].Data), 60)]
	}
	raw := rawOf(t, records)
	side := sidecarOf(t, raw, Block)
	at := headers(records, 2)
	for i := at[0]; i < len(raw); i++ {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			dir := memoryDir(t)
			text := fmt.Sprintf("byte %d of %d ^ %#x", i, len(raw), flip)
			bad := bytes.Clone(raw)
			bad[i] ^= flip
			path := put(t, dir, nameOf("eth2", 0, day, 0)+".raw", bad)
			put(t, dir, nameOf("eth2", 0, day, 0)+archive.Index, side)
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

// Blocks are written several at once. Where one is missing the file has a hole, or
// room that is reserved, and a record that begins before it is not whole, though its
// bytes can be read, and have been.
func TestRecordThatReachesIntoAHoleIsNotWhole(t *testing.T) {
	const room = 64 << 10
	records := traffic(72, 400, 8, day, time.Microsecond)
	raw := rawOf(t, records)
	whole, end := 0, 0
	for end+rawfile.HeaderLen+len(records[whole].Data) <= room {
		end += rawfile.HeaderLen + len(records[whole].Data)
		whole++
	}
	for name, mode := range map[string]uint32{"hole": unix.FALLOC_FL_PUNCH_HOLE, "reserved": unix.FALLOC_FL_ZERO_RANGE} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := put(t, dir, nameOf("eth2", 0, day, 0)+".raw.part", raw)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			require.NoError(t, err)
			err = unix.Fallocate(int(f.Fd()), mode|unix.FALLOC_FL_KEEP_SIZE, room, room)
			require.NoError(t, f.Sync())
			require.NoError(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
			hole, _ := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE)
			if err != nil || hole != room {
				t.Skipf("the file system of %s tells no holes (%v): set TMPDIR to a folder on ext4 or xfs", dir, err)
			}
			require.NoError(t, f.Close())
			_, err = os.ReadFile(path)
			require.NoError(t, err)
			got, _, _, faults := ask(t, Query{}, dir)
			require.NoError(t, faults)
			same(t, records[:whole], got, "search")
			_, err = os.ReadFile(path)
			require.NoError(t, err)
			r, err := Verify(only(t, path))
			require.NoError(t, err)
			require.EqualValues(t, whole, r.Frames)
			r, fixed := repaired(t, only(t, path), "hole")
			require.EqualValues(t, whole, r.Frames)
			require.True(t, bytes.Equal(raw[:end], fixed[:end]))
			require.Len(t, fixed, end+rawfile.HeaderLen)
			_, err = os.Stat(path + archive.Cut)
			require.NoError(t, err, "what lies behind the hole is kept")
		})
	}
}

func TestFileWhoseFirstBlockWasNeverWrittenIsSetAside(t *testing.T) {
	dir := t.TempDir()
	raw := rawOf(t, traffic(73, 400, 8, day, time.Microsecond))
	path := put(t, dir, nameOf("eth2", 0, day, 0)+".raw.part", nil)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(raw, 1<<20)
	require.NoError(t, errors.Join(err, f.Sync(), f.Close()))
	part := only(t, path)
	put(t, dir, filepath.Base(part.Sidecar()), []byte("of what was written"))

	_, said, err := Repair(part, true)
	require.NoError(t, err)
	require.FileExists(t, path, "a dry run")
	_, done, err := Repair(part, false)
	require.NoError(t, err)
	require.Equal(t, said, done)
	require.Contains(t, done[0], "it does not begin with a record")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no file without a record, no index")
	kept, err := os.ReadFile(path + archive.Cut)
	require.NoError(t, err)
	require.True(t, bytes.Equal(raw, kept[1<<20:]))
}

// FuzzRepair: any bytes, with any bytes as their index, are verified and repaired
// without a panic; all records that rawfile reads stay, and no more needs to be done.
func FuzzRepair(f *testing.F) {
	raw := rawOf(f, traffic(73, 20, 5, day, time.Microsecond))
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
				return // there was nothing worth keeping
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
