package archive_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

func put(t *testing.T, path, text string) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func open(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestRenameNeverReplacesAFile(t *testing.T) {
	dir := t.TempDir()
	a, b := put(t, filepath.Join(dir, "a"), "a"), put(t, filepath.Join(dir, "b"), "b")
	folder := open(t, dir, os.O_RDONLY)
	require.ErrorIs(t, archive.Rename(int(folder.Fd()), "a", "b"), unix.EEXIST)
	require.ErrorIs(t, archive.RenamePath(a, b), unix.EEXIST)
	require.ErrorContains(t, archive.RenamePath(a, b), "rename to b")
	got, err := os.ReadFile(b)
	require.NoError(t, err)
	require.Equal(t, "b", string(got))
	require.NoError(t, archive.Rename(int(folder.Fd()), "a", "c"))
	require.True(t, archive.Exists(int(folder.Fd()), "c"))
	require.False(t, archive.Exists(int(folder.Fd()), "a"))
}

func TestLocksOfReadersAndWritersExcludeEachOther(t *testing.T) {
	path := put(t, filepath.Join(t.TempDir(), "x.raw"), "text")
	one, two, three := open(t, path, os.O_RDONLY), open(t, path, os.O_RDONLY), open(t, path, os.O_RDONLY)
	require.NoError(t, archive.LockShared(one))
	require.NoError(t, archive.LockShared(two))
	require.ErrorIs(t, archive.LockExclusive(three), archive.ErrBusy)
	require.ErrorContains(t, archive.LockExclusive(three), path)
	require.NoError(t, one.Close())
	require.NoError(t, two.Close())
	require.NoError(t, archive.LockExclusive(three))
	require.ErrorIs(t, archive.LockShared(open(t, path, os.O_RDONLY)), archive.ErrBusy)
}

func TestFilesWithAWriterAreDetected(t *testing.T) {
	path := put(t, filepath.Join(t.TempDir(), "x.raw.part"), "text")
	f := open(t, path, os.O_RDONLY)
	require.False(t, archive.BeingWritten(f, 4))
	locked := open(t, path, os.O_RDONLY)
	require.NoError(t, archive.LockExclusive(locked))
	require.True(t, archive.BeingWritten(f, 4), "by its lock")
	require.NoError(t, locked.Close())
	if _, known := archive.InUse(f); !known {
		t.Skip("the file system of TMPDIR has no leases: set TMPDIR to a directory on ext4, xfs or tmpfs")
	}
	writer := open(t, path, os.O_WRONLY)
	has, known := archive.HasWriter(f)
	require.True(t, has)
	require.True(t, known)
	require.True(t, archive.BeingWritten(f, 4), "without a lock")
	require.NoError(t, writer.Close())
	require.False(t, archive.BeingWritten(f, 4))
	used, known := archive.InUse(f)
	require.True(t, known)
	require.False(t, used)
	reader := open(t, path, os.O_RDONLY)
	used, _ = archive.InUse(f)
	require.True(t, used)
	require.NoError(t, reader.Close())
}

func TestAFileIsStoredUpToItsFirstHole(t *testing.T) {
	path := put(t, filepath.Join(t.TempDir(), "x.raw.part"), "")
	f := open(t, path, os.O_RDWR)
	const block = 1 << 20
	_, err := f.WriteAt(make([]byte, block), 2*block)
	require.NoError(t, err)
	if hole, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE); err != nil || hole != 0 {
		t.Skip("the file system of TMPDIR does not report holes: set TMPDIR to a directory on ext4, xfs or tmpfs")
	}
	require.Zero(t, archive.Stored(f, 3*block))
	_, err = f.WriteAt(make([]byte, block), 0)
	require.NoError(t, err)
	require.EqualValues(t, block, archive.Stored(f, 3*block))
	_, err = f.WriteAt(make([]byte, block), block)
	require.NoError(t, err)
	require.EqualValues(t, 3*block, archive.Stored(f, 3*block))
}

func TestListIsInTheOrderOfCapture(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	at := time.Unix(1_700_000_000, 0)
	name := func(port string, queue, n int, suffix string) string {
		return archive.FileName(port, queue, at.Add(time.Duration(n)*time.Second), n) + suffix
	}
	want := []string{
		put(t, filepath.Join(b, "anything.raw"), ""), put(t, filepath.Join(b, "other.pcapng.gz"), ""),
		put(t, filepath.Join(b, name("eth2", 0, 0, ".raw")), ""), put(t, filepath.Join(a, name("eth2", 0, 1, ".raw")), ""),
		put(t, filepath.Join(b, name("eth2", 0, 2, ".raw.part")), ""), put(t, filepath.Join(b, name("eth2", 0, 3, ".pcapng.zst.part")), ""),
		put(t, filepath.Join(a, name("eth2", 1, 0, ".raw")), ""),
		put(t, filepath.Join(a, name("eth3", 0, 0, ".raw")), ""),
	}
	put(t, filepath.Join(a, name("eth2", 0, 1, ".idx")), "")
	put(t, filepath.Join(a, name("eth2", 0, 1, ".pcap.cut")), "")
	require.NoError(t, unix.Mkfifo(filepath.Join(a, "pipe.pcap"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(a, "x.pcap"), 0o700))
	files, err := archive.List(a, b, a, want[4])
	require.NoError(t, err)
	var got []string
	for _, f := range files {
		got = append(got, f.Path)
	}
	require.Equal(t, want, got)
	_, err = archive.List(put(t, filepath.Join(a, "text"), ""))
	require.ErrorContains(t, err, "not a stored file")
	_, err = archive.List(filepath.Join(a, "pipe.pcap"))
	require.ErrorContains(t, err, "regular file")
	files, err = archive.List(put(t, filepath.Join(a, "known by its content"), "\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x4d\x3c\x2b\x1a"))
	require.NoError(t, err)
	require.True(t, files[0].Packets)
	_, err = archive.List(filepath.Join(a, "missing"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestReadFolderListsRegularFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "b"), "")
	put(t, filepath.Join(dir, "a"), "")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "c"), 0o700))
	require.NoError(t, os.Symlink("a", filepath.Join(dir, "d")))
	f, err := archive.ReadFolder(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, f.Names)
	require.True(t, f.Has("a"))
	require.False(t, f.Has("d"))
	_, err = archive.ReadFolder(filepath.Join(dir, "missing"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
