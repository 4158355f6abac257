package retain

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/internal/mounttest"
	"github.com/ixcap/ixcap/internal/testtime"
)

func TestCleanDeletesTheOldestOfAllPortsQueuesAndFolders(t *testing.T) {
	a, b := t.TempDir(), filepath.Join(t.TempDir(), "b")
	require.NoError(t, os.Mkdir(b, 0o755))
	gone := []string{
		put(t, a, stem(50, 0, 0)+".raw", 1000),
		put(t, b, stem(45, 1, 0)+".pcapng.zst", 500),
		put(t, a, stem(40, 1, 0)+".pcap", 700),
		put(t, a, stem(39, 1, 0)+".raw.part", 1), // of a killed run
	}
	oldest := stem(60, 0, 0)
	put(t, b, oldest+".raw", 1000)
	put(t, b, oldest+".idx", 10)
	put(t, b, oldest+".raw.cut", 20)
	put(t, b, oldest+".raw.part.cut", 30)
	stays := []string{put(t, a, stem(30, 0, 1)+".raw", 100), put(t, b, stem(20, 0, 2)+".pcap.zst", 200)}

	k, events := cleaner(t, Policy{Size: 300}, a, b, a, filepath.Join(a, "..", filepath.Base(a)), filepath.Join(b, "missing"))
	k.Clean(t.Context())
	for _, path := range gone {
		require.NoFileExists(t, path)
	}
	for _, path := range stays {
		require.FileExists(t, path)
	}
	require.Len(t, names(t, a), 1)
	require.Len(t, names(t, b), 1)
	st := k.Stats()
	require.Equal(t, map[Reason]Count{ForSize: {Files: 5, Bytes: 1060 + 1000 + 500 + 700 + 1}}, st.Removed)
	require.Equal(t, Count{Files: 2, Bytes: 300}, st.Kept)
	require.Zero(t, st.Spared)
	require.Empty(t, st.Failed)
	all := events.take()
	require.Len(t, all, 5)
	require.Equal(t, Event{Path: filepath.Join(b, oldest+".raw"), Bytes: 1060, Reason: ForSize}, all[0])
	require.Contains(t, all[0].String(), "deleted "+filepath.Join(b, oldest+".raw"))

	k.Clean(t.Context())
	require.Empty(t, events.take(), "the limits hold")
}

func TestCleanTouchesNothingThatIsNotNamedAsStored(t *testing.T) {
	dir := t.TempDir()
	s := stem(100, 0, 0)
	for _, name := range []string{
		"x.raw", "notes.pcap", s, s + ".txt", s + ".raw.bak", s + ".raw.zst", s + ".pcap.gz", s + ".idx.raw.old", "." + s + ".raw", s + ".raw~",
		strings.Replace(s, "T", "X", 1) + ".raw", "2026" + s + ".raw", s[:len(s)-1] + ".raw", s + ".idx", s + ".raw.cut", s + ".pcapngx", s + ".part",
		"20261399T999999.000000000Z-eth2-q00-000000.raw",
	} {
		put(t, dir, name, 10)
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, stem(99, 0, 0)+".raw"), 0o755))
	target := put(t, t.TempDir(), "precious", 100)
	require.NoError(t, os.Symlink(target, filepath.Join(dir, stem(98, 0, 0)+".raw")))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, stem(97, 0, 0)+".raw"), 0o600))
	before := names(t, dir)
	k, events := cleaner(t, Policy{Size: 1, Age: time.Nanosecond, Free: 1}, dir)
	k.Clean(t.Context())
	require.Equal(t, before, names(t, dir))
	require.Empty(t, events.take())
	require.FileExists(t, target)
}

func TestCleanTakesTheTimeOfChangeWhereTheNameHasNone(t *testing.T) {
	dir := t.TempDir()
	nameless := put(t, dir, "00010101T000000.000000000Z-eth2-q00-000000.raw", 10)
	require.NoError(t, os.Chtimes(nameless, time.Time{}, time.Now().Add(-10*time.Second)))
	older := put(t, dir, stem(20, 0, 0)+".raw", 10)
	younger := put(t, dir, stem(5, 0, 1)+".raw", 10)
	k, _ := cleaner(t, Policy{Size: 10}, dir)
	k.Clean(t.Context())
	require.NoFileExists(t, nameless)
	require.NoFileExists(t, older)
	require.FileExists(t, younger)
}

func TestCleanDeletesByAge(t *testing.T) {
	dir := t.TempDir()
	gone := put(t, dir, stem(7300, 0, 0)+".raw", 10)
	long := put(t, dir, stem(7200, 0, 1)+".raw", 10)
	require.NoError(t, os.Chtimes(long, time.Time{}, time.Now().Add(-100*time.Second))) // it was written for two hours
	young := put(t, dir, stem(100, 0, 2)+".raw", 10)
	k, events := cleaner(t, Policy{Age: time.Hour}, dir)
	k.Clean(t.Context())
	require.NoFileExists(t, gone)
	require.FileExists(t, long)
	require.FileExists(t, young)
	require.Equal(t, []Event{{Path: gone, Bytes: 10, Reason: ForAge}}, events.take())
}

func TestCleanFreesSpaceOnEachFileSystem(t *testing.T) {
	full, roomy := mounttest.Tmpfs(t, "8m"), mounttest.Tmpfs(t, "8m")
	for i := range 7 {
		put(t, full, stem(100-i, 0, i)+".raw", 1<<20)
	}
	put(t, roomy, stem(200, 0, 0)+".raw", 1<<20)
	k, events := cleaner(t, Policy{Free: 3 << 20}, full, roomy)
	k.Clean(t.Context())
	require.Len(t, names(t, roomy), 1, "what is older elsewhere does not help")
	require.Len(t, names(t, full), 5)
	s, err := statfs(full)
	require.NoError(t, err)
	require.GreaterOrEqual(t, s.Free, int64(3<<20))
	require.Len(t, events.take(), 2)
	require.Equal(t, map[Reason]Count{ForFree: {Files: 2, Bytes: 2 << 20}}, k.Stats().Removed)
}

// A deleted file that a process has open takes its space until it is closed.
func TestSpaceThatIsFreedLateIsWaitedFor(t *testing.T) {
	dir := mounttest.Tmpfs(t, "8m")
	for i := range 7 {
		put(t, dir, stem(100-i, 0, i)+".raw", 1<<20)
	}
	reader, err := os.Open(filepath.Join(dir, names(t, dir)[0])) // without a lock, as cp does
	require.NoError(t, err)
	defer reader.Close()
	k, _ := cleaner(t, Policy{Free: 3 << 19}, dir)
	for range 3 {
		k.Clean(t.Context())
		require.Len(t, names(t, dir), 6)
	}
	put(t, dir, stem(1, 0, 9)+".raw", 100<<10) // a new file is not mistaken for it
	k.Clean(t.Context())
	require.Len(t, names(t, dir), 7)
	require.NoError(t, reader.Close())
	k.Clean(t.Context())
	require.Len(t, names(t, dir), 7)
	require.Empty(t, k.pending, "all is free")
}

func TestPendingSpaceIsNotWaitedForWhenSpaceIsShortNorForever(t *testing.T) {
	k, _ := cleaner(t, Policy{}, t.TempDir())
	for name, c := range map[string]struct {
		free int64
		wait time.Duration
		want int64
	}{
		"not free yet": {60, time.Second, 90},
		"a part":       {75, time.Second, 90},
		"all":          {90, time.Second, 90},
		"more":         {95, time.Second, 95},
		"timeout":      {60, freeTimeout + time.Second, 60},
		"short":        {49, time.Second, 49},
	} {
		t.Run(name, func(t *testing.T) {
			l := Listing{Spaces: map[uint64]Space{1: {Free: c.free, Size: 1000}}, Files: []File{{FS: 1, Frees: 10}}}
			k.pending = map[uint64]pendingFree{}
			k.expect(1, 100, 30, noon)
			k.addPending(&l, Policy{Free: 100}, noon.Add(c.wait))
			require.Equal(t, c.want, l.Spaces[1].Free)
		})
	}
}

func TestHardLinksAreNotDeletedForSpaceTheyDoNotFree(t *testing.T) {
	dir := mounttest.Tmpfs(t, "8m")
	linked := put(t, dir, stem(100, 0, 0)+".raw", 4<<20)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "evidence"), 0o755))
	require.NoError(t, os.Link(linked, filepath.Join(dir, "evidence", "case1")))
	next := put(t, dir, stem(90, 0, 0)+".raw", 3<<20)
	k, _ := cleaner(t, Policy{Free: 2 << 20}, dir)
	k.Clean(t.Context())
	require.FileExists(t, linked)
	require.NoFileExists(t, next)
}

func TestFilesBeingWrittenAreSparedAndTheNextIsDeleted(t *testing.T) {
	dir := t.TempDir()
	written := put(t, dir, stem(90, 1, 0)+".raw.part", 10)
	unlocked := put(t, dir, stem(80, 2, 0)+".pcapng.part", 10)
	empty := put(t, dir, stem(70, 2, 0)+".raw.part", 0)
	a, b := put(t, dir, stem(60, 0, 1)+".raw", 10), put(t, dir, stem(50, 0, 2)+".raw", 10)
	writer := store(t, written)
	for _, path := range []string{unlocked, empty} {
		writer, err := os.OpenFile(path, os.O_WRONLY, 0)
		require.NoError(t, err)
		defer writer.Close()
	}
	k, events := cleaner(t, Policy{Size: 30, Age: time.Minute + time.Second}, dir)
	for range 3 {
		k.Clean(t.Context())
		for _, path := range []string{written, unlocked, empty, b} {
			require.FileExists(t, path)
		}
		require.NoFileExists(t, a)
	}
	st := k.Stats()
	require.EqualValues(t, 3, st.Spared, "each is counted once")
	require.Equal(t, map[Reason]Count{ForSize: {Files: 1, Bytes: 10}}, st.Removed)
	all := events.take()
	require.Len(t, all, 4)
	for _, e := range all {
		require.Equal(t, e.Err == nil, e.Path == a)
		if e.Err != nil {
			require.ErrorIs(t, e.Err, archive.ErrBusy)
			require.Contains(t, e.String(), "not deleted for")
		}
	}

	require.NoError(t, writer.Close())
	k.Clean(t.Context())
	require.NoFileExists(t, written)
	require.EqualValues(t, 3, k.Stats().Spared)
	require.Equal(t, []Event{{Path: written, Bytes: 10, Reason: ForAge}}, events.take())
}

func TestFilesBeingWrittenAreNotDeletedForNumberSizeOrFreeSpace(t *testing.T) {
	for name, p := range map[string]Policy{"files": {Files: 1}, "size": {Size: 1}, "free": {Free: 6 << 20}} {
		t.Run(name, func(t *testing.T) {
			dir := mounttest.Tmpfs(t, "8m")
			var written []string
			for queue := range 3 {
				written = append(written, put(t, dir, stem(90, queue, 0)+".raw.part", 1<<20))
				store(t, written[queue])
			}
			closed := put(t, dir, stem(60, 0, 1)+".raw", 10)
			left := put(t, dir, stem(50, 3, 1)+".raw.part", 10) // of a storer that was killed
			k, events := cleaner(t, p, dir)
			for range 3 {
				k.Clean(t.Context())
			}
			for _, path := range written {
				require.FileExists(t, path)
			}
			require.NoFileExists(t, closed)
			require.NoFileExists(t, left)
			require.Zero(t, k.Stats().Spared)
			for _, e := range events.take() {
				require.NoError(t, e.Err)
			}
		})
	}
}

func TestAnEventSaysForWhichLimit(t *testing.T) {
	for reason, want := range map[Reason]string{
		ForAge: "for age", ForFree: "for free space", ForSize: "for the size of all files", ForFiles: "for the number of files",
	} {
		require.Equal(t, "deleted a.raw, 10 bytes, "+want, Event{Path: "a.raw", Bytes: 10, Reason: reason}.String())
		require.Equal(t, "a.raw not deleted "+want+": another process is writing it",
			Event{Path: "a.raw", Reason: reason, Err: archive.ErrBusy}.String())
	}
}

func TestFileThatCannotBeDeletedIsReportedOnceAndTheNextIsDeleted(t *testing.T) {
	stuck, dir := t.TempDir(), t.TempDir()
	fixed := put(t, stuck, stem(100, 0, 0)+".raw", 10)
	mounttest.ReadOnly(t, stuck)
	next, last := put(t, dir, stem(90, 0, 0)+".raw", 10), put(t, dir, stem(80, 0, 0)+".raw", 10)
	k, events := cleaner(t, Policy{Size: 20}, stuck, dir)
	for range 3 {
		k.Clean(t.Context())
	}
	require.FileExists(t, fixed)
	require.NoFileExists(t, next)
	require.FileExists(t, last)
	require.Equal(t, map[string]uint64{"EROFS": 1}, k.Stats().Failed)
	all := events.take()
	require.Len(t, all, 2)
	require.ErrorIs(t, all[0].Err, unix.EROFS)
	require.Contains(t, all[0].String(), "read-only file system")
}

func TestFolderThatCannotBeReadDoesNotStopTheOthers(t *testing.T) {
	file := put(t, t.TempDir(), "file", 1)
	dir, gone := t.TempDir(), filepath.Join(t.TempDir(), "gone")
	old := put(t, dir, stem(100, 0, 0)+".raw", 10)
	k, events := cleaner(t, Policy{Size: 1}, file, gone, dir)
	for range 3 {
		k.Clean(t.Context())
	}
	require.NoFileExists(t, old)
	all := events.take()
	require.Len(t, all, 2)
	require.ErrorIs(t, all[0].Err, unix.ENOTDIR)
	require.Equal(t, map[string]uint64{"ENOTDIR": 1}, k.Stats().Failed)

	// A folder that was missing is there again.
	require.NoError(t, os.Mkdir(gone, 0o755))
	old = put(t, gone, stem(100, 0, 0)+".raw", 10)
	k.Clean(t.Context())
	require.NoFileExists(t, old)
}

func TestAFileInTheNameOfAnotherIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path := put(t, dir, stem(100, 0, 0)+".raw", 10)
	l := list([]string{dir}, func(_ string, err error) { require.NoError(t, err) })
	require.Len(t, l.Files, 1)
	other := put(t, dir, "other", 5)
	require.NoError(t, os.Rename(other, path))
	_, err := remove(&l.Files[0])
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.FileExists(t, path)
}

func TestCleanWaitsWhileAnotherScansTheFolder(t *testing.T) {
	dir := t.TempDir()
	old := put(t, dir, stem(100, 0, 0)+".raw", 10)
	k, _ := cleaner(t, Policy{Size: 1}, dir)
	other := lock(t, dir, unix.LOCK_EX)
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Clean(context.Background())
	}()
	require.Never(t, func() bool { _, err := os.Stat(old); return err != nil }, 100*time.Millisecond, 5*time.Millisecond)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	second, _ := cleaner(t, Policy{Size: 1}, dir)
	second.Clean(ctx) // stopped: it does not wait, and deletes nothing
	require.FileExists(t, old)
	require.NoError(t, other.Close())
	<-done
	require.NoFileExists(t, old)
}

func TestSeveralCleanersDeleteNoMoreThanOne(t *testing.T) {
	dir := t.TempDir()
	for round := range 10 {
		for i := range 50 {
			put(t, dir, stem(1000-i, 0, 100*round+i)+".raw", 100)
		}
		var all sync.WaitGroup
		removed := make([]uint64, 4)
		for i := range removed {
			k, _ := cleaner(t, Policy{Size: 1050}, dir, t.TempDir())
			all.Go(func() {
				k.Clean(context.Background())
				removed[i] = k.Stats().Removed[ForSize].Files
			})
		}
		all.Wait()
		require.Len(t, names(t, dir), 10)
		sum := uint64(0)
		for _, n := range removed {
			sum += n
		}
		require.EqualValues(t, 40, sum, "each file is counted once")
		for _, name := range names(t, dir) {
			require.NoError(t, os.Remove(filepath.Join(dir, name)))
		}
	}
}

func TestRunScansWhenAFileIsClosedAndWhenLimitsChange(t *testing.T) {
	dir := t.TempDir()
	first := put(t, dir, stem(100, 0, 0)+".raw", 10)
	put(t, dir, stem(90, 0, 1)+".raw", 10)
	k, _ := cleaner(t, Policy{Size: 10}, dir) // the next scan is in an hour
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	left := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return len(names(t, dir)) == n && k.Stats().Kept.Files == uint64(n) }, testtime.Deadline, time.Millisecond)
	}
	left(1)
	require.NoFileExists(t, first)
	for i := range 3 {
		put(t, dir, stem(80-i, 0, 2+i)+".raw", 10)
		k.Closed(put(t, dir, stem(70-i, 0, 12+i)+".raw", 10))
		left(1)
	}
	put(t, dir, stem(10, 0, 20)+".raw", 10)
	put(t, dir, stem(5, 0, 21)+".raw", 10)
	require.NoError(t, k.Set(Policy{Size: 20}))
	left(2)
	require.NoError(t, k.Set(Policy{}))
	stop()
	require.NoError(t, <-done)
	require.NoError(t, k.Run(ctx), "it was stopped before it began")
}

func TestRunScansAtItsInterval(t *testing.T) {
	dir := t.TempDir()
	k, err := New(Config{Dirs: []string{dir}, Policy: Policy{Size: 10}, Every: time.Millisecond})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	for i := range 5 {
		put(t, dir, stem(100-i, 0, i)+".raw", 10)
		require.Eventually(t, func() bool { return len(names(t, dir)) == 1 }, testtime.Deadline, time.Millisecond)
	}
	stop()
	require.NoError(t, <-done)
}

func TestLimitsThatMakeNoSenseAreRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := statfs(dir)
	require.NoError(t, err)
	for want, p := range map[string]Policy{
		"retain -1 bytes":    {Size: -1},
		"retain for -1ns":    {Age: -1},
		"keep -1 bytes free": {Free: -1},
		fmt.Sprintf("the file system of %s has %d in all", dir, s.Size): {Free: s.Size},
	} {
		require.ErrorContains(t, p.Check(filepath.Join(dir, "missing"), dir), want)
		_, err := New(Config{Dirs: []string{dir}, Policy: p})
		require.ErrorContains(t, err, want)
	}
	_, err = New(Config{})
	require.ErrorContains(t, err, "no folder")
	_, err = New(Config{Dirs: []string{dir}, Every: -1})
	require.ErrorContains(t, err, "Choose a time")
	k, _ := cleaner(t, Policy{Size: 5}, dir)
	require.Error(t, k.Set(Policy{Size: -1}))
	require.EqualValues(t, 5, k.policy.Size, "an invalid policy changes nothing")
}

// A file system that was mounted after the limits were checked may be too small
// for them. Then nothing is deleted.
func TestFreeSpaceThatCannotBeReachedDeletesNothing(t *testing.T) {
	dir := mounttest.Tmpfs(t, "8m")
	put(t, dir, stem(100, 0, 0)+".raw", 10)
	k, events := cleaner(t, Policy{}, dir)
	k.policy = Policy{Free: 1 << 40}
	k.Clean(t.Context())
	k.Clean(t.Context())
	require.Len(t, names(t, dir), 1)
	all := events.take()
	require.Len(t, all, 1)
	require.ErrorContains(t, all[0].Err, "Choose less")
}
