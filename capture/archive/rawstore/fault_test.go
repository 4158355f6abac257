package rawstore_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/internal/mounttest"
	"github.com/ixcap/ixcap/internal/testtime"
)

// faultyDisk is a disk with faults that can be switched on.
type faultyDisk struct {
	write, reserve, sync, truncate atomic.Int32 // errno, 0: none
	delay                          atomic.Int64 // of a write, ns
	short                          atomic.Bool  // failing writes write half of their bytes
	healthy                        atomic.Int32 // writes that succeed before the first failure
	reserves                       atomic.Int32 // calls
}

type faultyFile struct {
	store.Handle
	disk *faultyDisk
}

func (d *faultyDisk) wrap(h store.Handle) store.Handle { return faultyFile{h, d} }

func errno(e *atomic.Int32) error {
	if n := e.Load(); n != 0 {
		return unix.Errno(n)
	}
	return nil
}

func (f faultyFile) WriteAt(b []byte, off int64) (int, error) {
	time.Sleep(time.Duration(f.disk.delay.Load()))
	if err := errno(&f.disk.write); err != nil && f.disk.healthy.Add(-1) < 0 {
		if f.disk.short.Load() {
			n, _ := f.Handle.WriteAt(b[:len(b)/2&^4095], off)
			return n, err
		}
		return 0, err
	}
	return f.Handle.WriteAt(b, off)
}

func (f faultyFile) Reserve(off, n int64, grow bool) error {
	f.disk.reserves.Add(1)
	if err := errno(&f.disk.reserve); err != nil {
		return err
	}
	return f.Handle.Reserve(off, n, grow)
}

func (f faultyFile) Sync() error {
	if err := errno(&f.disk.sync); err != nil {
		return err
	}
	return f.Handle.Sync()
}

func (f faultyFile) Truncate(size int64) error {
	if err := errno(&f.disk.truncate); err != nil {
		return err
	}
	return f.Handle.Truncate(size)
}

// openFaulty opens a folder on a faultyDisk.
func openFaulty(t *testing.T) (*store.Dir, *faultyDisk) {
	t.Helper()
	d, err := store.OpenDir(t.TempDir())
	require.NoError(t, err)
	disk := &faultyDisk{}
	d.Wrap(disk.wrap)
	return d, disk
}

// inOrder returns the frames of all files of folders. It requires that no file has a
// gap, and no frame is stored twice.
func inOrder(t *testing.T, size int, dirs ...string) map[int]bool {
	t.Helper()
	all := map[int]bool{}
	for _, dir := range dirs {
		for _, f := range specFiles(t, dir) {
			numbers := f.frames(t, size)
			for i, n := range numbers {
				if n != numbers[0]+i || all[n] {
					require.Fail(t, "a gap, or a frame again", "%s: frame %d after %d", f.path, n, numbers[0]+i-1)
				}
				all[n] = true
			}
		}
	}
	return all
}

// requireFrames requires the frames from (inclusive) to to (exclusive).
func requireFrames(t *testing.T, stored map[int]bool, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if !stored[n] {
			require.Fail(t, "a frame is missing", "frame %d of %d", n, to)
		}
	}
}

func TestWriteErrorEndsItsFileAndStoringGoesOnAfterIt(t *testing.T) {
	for name, c := range map[string]struct {
		errno   unix.Errno
		name    string
		short   bool
		healthy int32
		depth   int
	}{
		"at once":            {unix.EIO, "EIO", false, 0, 4},
		"after three blocks": {unix.EIO, "EIO", false, 3, 1},
		"among four blocks":  {unix.EIO, "EIO", false, 3, 4},
		"within a block":     {unix.ENOSPC, "ENOSPC", true, 1, 1},
		"quota exceeded":     {unix.EDQUOT, "EDQUOT", true, 0, 4},
	} {
		t.Run(name, func(t *testing.T) {
			d, disk := openFaulty(t)
			disk.short.Store(c.short)
			disk.healthy.Store(c.healthy)
			disk.write.Store(int32(c.errno))
			r := startIn(t, rawstore.Config{Depth: c.depth}, d)
			r.send(t, 8000, 1500) // the failing disk does not block the producer
			require.Eventually(t, func() bool { return len(r.warnings()) > 0 }, testtime.Deadline, time.Millisecond)
			require.Contains(t, r.warnings()[0], d.Path())
			require.Contains(t, r.warnings()[0], "the capture goes on, and what is not stored is counted")
			require.Contains(t, r.warnings()[0], c.errno.Error())
			r.until(t, "nothing is stored", func() bool { return r.storer.Stats().Failing })
			require.Contains(t, r.storer.Stats().Dirs[0].Failing, c.errno.Error())

			disk.write.Store(0)
			files := len(r.closedFiles())
			r.until(t, "storing goes on", func() bool { return len(r.closedFiles()) > files+1 && len(r.warnings())%2 == 0 })
			lines := r.warnings()
			require.LessOrEqual(t, len(lines), 4, "one line at the failure and one at the recovery; writes were in flight: %v", lines)
			require.Contains(t, lines[1], "storing goes on after")
			from := r.sent
			r.send(t, 4000, 1500)
			err := r.finish(t)
			require.ErrorIs(t, err, c.errno)
			require.ErrorContains(t, err, "bytes were not stored")
			require.NotContains(t, err.Error(), "\n", "one line")
			require.Equal(t, lines, r.warnings())

			st := r.balanced(t, d.Path())
			require.Positive(t, st.Failed[c.name])
			require.Len(t, st.Failed, 1)
			require.False(t, st.Failing)
			require.Empty(t, st.Dirs[0].Failing)
			stored := inOrder(t, 1500, d.Path())
			requireFrames(t, stored, from, r.sent)
			if c.depth == 1 { // else blocks are written out of order
				requireFrames(t, stored, 0, int(c.healthy)*690) // the earlier writes are kept
			}
		})
	}
}

func TestFullDiskGetsNoMoreFiles(t *testing.T) {
	d, disk := openFaulty(t)
	disk.write.Store(int32(unix.ENOSPC))
	disk.reserve.Store(int32(unix.ENOSPC))
	disk.healthy.Store(1)
	r := startIn(t, rawstore.Config{}, d)
	r.send(t, 2000, 1500)
	require.Eventually(t, func() bool { return len(r.warnings()) > 0 }, testtime.Deadline, time.Millisecond)
	disk.healthy.Store(1 << 20) // blocks become free, but never enough for a file
	tries := disk.reserves.Load()
	r.until(t, "another attempt", func() bool { return disk.reserves.Load() > tries+5 })
	require.ErrorIs(t, r.finish(t), unix.ENOSPC)
	require.Len(t, entries(t, d.Path(), ".raw"), 1)
	require.Len(t, r.warnings(), 1)
	r.balanced(t, d.Path())
}

func TestFullFileSystemIsWrittenAgainWhenThereIsSpace(t *testing.T) {
	dir := t.TempDir()
	mounttest.Mount(t, "tmpfs", dir, "size=5m")
	r := start(t, dir, rawstore.Config{NoIndex: true})
	r.send(t, 7000, 1500) // 10 MB; the full disk does not block the producer
	require.Eventually(t, func() bool { return len(r.warnings()) > 0 }, testtime.Deadline, time.Millisecond)
	require.Contains(t, r.warnings()[0], "no space left on device")
	full := inRoot(t, dir)
	require.Greater(t, full, int64(4<<20), "what was stored is kept")
	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "size=64m"))
	r.until(t, "storing goes on", func() bool { return len(r.warnings()) > 1 })
	from := r.sent
	r.send(t, 3000, 1500)
	require.ErrorIs(t, r.finish(t), unix.ENOSPC)
	stored := inOrder(t, 1500, dir)
	requireFrames(t, stored, from, r.sent)
	require.True(t, stored[0])
	require.Positive(t, r.balanced(t, dir).Failed["ENOSPC"])
}

// inRoot returns the number of bytes in the files of a folder.
func inRoot(t *testing.T, dir string) (n int64) {
	t.Helper()
	for _, path := range entries(t, dir, "") {
		if info, err := os.Stat(path); err == nil { // else it was renamed
			n += info.Size()
		}
	}
	return n
}

func TestRemovedFolderIsMadeAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	r := start(t, dir, rawstore.Config{Flush: 10 * time.Millisecond})
	r.send(t, 1000, 1500)
	require.Eventually(t, func() bool { return r.storer.Stats().Written > 1<<20 }, testtime.Deadline, time.Millisecond)
	for os.RemoveAll(dir) != nil { // the storer may make files at the same time
	}
	r.until(t, "the loss is logged", func() bool { return len(r.warnings()) > 0 })
	require.Contains(t, r.warnings()[0], "it was deleted")
	r.until(t, "storing goes on", func() bool { return len(r.warnings()) > 1 })
	from := r.sent
	r.send(t, 3000, 1500)
	require.ErrorIs(t, r.finish(t), unix.ENOENT)
	st := r.balanced(t, dir)
	require.Greater(t, st.Failed["ENOENT"], uint64(1<<20), "written and deleted bytes are lost")
	require.Greater(t, st.Wrote, st.Written)
	stored := inOrder(t, 1500, dir)
	requireFrames(t, stored, from, r.sent)
}

func TestFileInAMovedFolderIsClosedThere(t *testing.T) {
	parent := t.TempDir()
	dir, moved := filepath.Join(parent, "dir"), filepath.Join(parent, "moved")
	r := start(t, dir, rawstore.Config{})
	r.send(t, 1000, 1500)
	require.Eventually(t, func() bool { return r.storer.Stats().Written > 1<<20 }, testtime.Deadline, time.Millisecond)
	require.NoError(t, os.Rename(dir, moved))
	r.send(t, 3000, 1500)
	require.NoError(t, r.finish(t), "nothing was lost")
	r.balanced(t, moved, dir)
	require.NotEmpty(t, entries(t, dir, ".raw"), "later files are in the original path")
	require.Len(t, inOrder(t, 1500, moved, dir), r.sent)
}

// When a disk is unmounted, the file system below must not be filled.
func TestUnmountedFolderIsNotWrittenBelow(t *testing.T) {
	point := t.TempDir()
	mounttest.Mount(t, "tmpfs", point, "size=64m")
	dir := filepath.Join(point, "dir")
	r := start(t, dir, rawstore.Config{})
	r.send(t, 100, 1500)
	r.stream.Rotate()
	r.send(t, 0, 0)
	require.Eventually(t, func() bool { return len(r.closedFiles()) == 1 }, testtime.Deadline, time.Millisecond)
	require.NoError(t, unix.Unmount(point, 0), "nothing is open there")
	r.until(t, "the loss is logged", func() bool { return len(r.warnings()) > 0 && r.storer.Stats().Failed["ENODEV"] > 0 })
	require.Contains(t, r.warnings()[0], "its file system is not mounted any more")
	require.Empty(t, entries(t, point, ""))
	mounttest.Mount(t, "tmpfs", point, "size=64m")
	r.until(t, "storing goes on", func() bool { return len(r.warnings()) > 1 })
	require.ErrorIs(t, r.finish(t), unix.ENODEV)
	require.NotEmpty(t, inOrder(t, 1500, dir))
}

func TestBytesWithoutASuccessfulSyncCountAsLost(t *testing.T) {
	for name, c := range map[string]store.Sync{"at close": store.SyncAtClose, "at an interval": store.Sync(time.Millisecond)} {
		t.Run(name, func(t *testing.T) {
			d, disk := openFaulty(t)
			r := startIn(t, rawstore.Config{Sync: c}, d)
			disk.sync.Store(int32(unix.EIO))
			r.until(t, "the loss is logged", func() bool { return len(r.warnings()) > 0 })
			require.Contains(t, r.warnings()[0], "sync "+d.Path())
			disk.sync.Store(0)
			r.until(t, "storing goes on", func() bool { return len(r.warnings()) > 1 })
			from := r.sent
			r.send(t, 3000, 1500)
			require.ErrorIs(t, r.finish(t), unix.EIO)
			st := r.storer.Stats()
			require.Equal(t, st.Read, st.Written+st.Failed["EIO"])
			stored := map[int]bool{}
			for _, path := range entries(t, d.Path(), ".raw", ".part") { // unclosed files are left for repair
				b, err := os.ReadFile(path)
				require.NoError(t, err)
				for _, n := range wholeFrames(t, b, 1500) {
					stored[n] = true
				}
			}
			requireFrames(t, stored, from, r.sent)
		})
	}
}

func TestSyncPolicyNoneNeverSyncs(t *testing.T) {
	d, disk := openFaulty(t)
	disk.sync.Store(int32(unix.EIO))
	r := startIn(t, rawstore.Config{Sync: store.SyncNever}, d)
	r.send(t, 3000, 1500)
	require.NoError(t, r.finish(t))
	r.balanced(t, d.Path())
}

// A file that cannot be cut keeps its temporary name, for repair. Its bytes before
// the first gap count as written.
func TestFileOnADeadDiskKeepsItsTemporaryName(t *testing.T) {
	d, disk := openFaulty(t)
	r := startIn(t, rawstore.Config{}, d)
	r.send(t, 1000, 1500)
	require.Eventually(t, func() bool { return r.storer.Stats().Written == 1<<20 }, testtime.Deadline, time.Millisecond)
	disk.write.Store(int32(unix.EIO))
	disk.truncate.Store(int32(unix.EIO))
	r.send(t, 3000, 1500)
	require.ErrorIs(t, r.finish(t), unix.EIO)
	parts := entries(t, d.Path(), ".raw.part")
	require.NotEmpty(t, parts)
	b, err := os.ReadFile(parts[0])
	require.NoError(t, err)
	require.Len(t, wholeFrames(t, b, 1500), (1<<20)/1512)
	st := r.storer.Stats()
	require.EqualValues(t, 1<<20, st.Written)
	require.Equal(t, st.Read, st.Written+st.Failed["EIO"])
	require.True(t, strings.HasPrefix(st.Dirs[0].Failing, "write "), st.Dirs[0].Failing)
}
