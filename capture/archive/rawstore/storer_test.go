package rawstore_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/internal/mounttest"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
)

func TestStreamIsStoredByteForByteInFilesOfOneSegment(t *testing.T) {
	for name, depth := range map[string]int{"one at a time": 1, "four in flight": 4} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "made")
			r := start(t, dir, rawstore.Config{Depth: depth})
			r.send(t, 7000, 1500)
			require.NoError(t, r.finish(t))
			names, frames := files(t, dir, 1500)
			require.Equal(t, 7000, frames)
			require.Len(t, names, 6)
			last, err := os.Stat(names[5])
			require.NoError(t, err)
			inFull := (segment - 12) / (1500 + 12)
			require.EqualValues(t, (7000-5*inFull)*1512+12, last.Size(), "the last file ends with a padding record of length 0")

			st := r.storer.Stats()
			require.Equal(t, st.Read, st.Written)
			require.Empty(t, st.Failed)
			require.Equal(t, 6, st.Files)
			ls := r.listener.Stats()
			require.NoError(t, ls.Balanced())
			require.EqualValues(t, 7000, ls.Read)
			require.Equal(t, ls.ReadBytes, st.Read)
		})
	}
}

func TestStreamMayEndAnywhereInABlock(t *testing.T) {
	for _, frames := range []int{0, 1, 2, 3, 4, 683, 684, 1381, 1387, 1388} {
		dir := t.TempDir()
		r := start(t, dir, rawstore.Config{})
		r.send(t, frames, 1524) // 1536 bytes a record: 683 fit into a MiB but for 512 bytes
		require.NoError(t, r.finish(t))
		_, got := files(t, dir, 1524)
		require.Equal(t, frames, got)
	}
}

func TestSlowTrafficIsOnDiskAfterTheFlushTime(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, rawstore.Config{Flush: 10 * time.Millisecond})
	r.send(t, 100, 1500)
	var part string
	require.Eventually(t, func() bool {
		all, _ := filepath.Glob(filepath.Join(dir, "*.raw.part"))
		if len(all) != 1 {
			return false
		}
		part = all[0]
		return r.storer.Stats().Written >= 100*1512-4096
	}, testtime.Deadline, 5*time.Millisecond, "whole sectors are on disk before their block is full")

	// After a kill the file could be read up to its last whole record.
	file, err := os.ReadFile(part)
	require.NoError(t, err)
	require.Len(t, wholeFrames(t, file, 1500), min(len(file)/1512, 100))

	r.send(t, 3000, 1500) // the rest follows without a gap
	require.NoError(t, r.finish(t))
	_, frames := files(t, dir, 1500)
	require.Equal(t, 3100, frames)
}

func TestStoppingInTheMiddleLeavesWholeRecords(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, rawstore.Config{Flush: time.Millisecond})
	r.send(t, 1000, 1500)
	require.Eventually(t, func() bool { return r.storer.Stats().Written > 1<<20 }, testtime.Deadline, time.Millisecond)
	r.stop()
	err := <-r.done
	require.ErrorIs(t, err, context.Canceled)
	_, frames := files(t, dir, 1500)
	require.Greater(t, frames, 690)
	st := r.storer.Stats()
	require.Equal(t, st.Read, st.Written+st.Failed["record cut"])
}

func TestFileSystemWithoutDirectIOIsWrittenThroughTheCache(t *testing.T) {
	dir := t.TempDir()
	mounttest.Mount(t, "ramfs", dir, "")
	d, err := store.OpenDir(dir)
	require.NoError(t, err)
	require.False(t, d.Direct())
	require.Equal(t, dir, d.Path())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "the probe is deleted")

	r := start(t, dir, rawstore.Config{})
	r.send(t, 3000, 1500)
	require.NoError(t, r.finish(t))
	names, frames := files(t, dir, 1500)
	require.Equal(t, 3000, frames)
	require.Len(t, names, 3)
}

func TestClosedFileHasNoReservedSpaceAfterItsEnd(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, rawstore.Config{})
	r.send(t, 40, 1012) // ten whole sectors: the padding record extends the file
	require.NoError(t, r.finish(t))
	names, _ := files(t, dir, 1012)
	require.Len(t, names, 1)
	var st unix.Stat_t
	require.NoError(t, unix.Stat(filepath.Join(dir, filepath.Base(names[0])), &st))
	require.EqualValues(t, 40*1024+12, st.Size)
	require.LessOrEqual(t, st.Blocks*512, int64(64<<10), "bytes taken on disk")
}

func TestFileOfAnotherCaptureIsNeverReplaced(t *testing.T) {
	for _, suffix := range []string{".raw", ".raw.part", ".idx"} {
		dir := t.TempDir()
		name := func(seq int) string {
			return filepath.Join(dir, archive.FileName("test", 0, time.Unix(1, 0), seq))
		}
		require.NoError(t, os.WriteFile(name(0)+suffix, []byte("precious"), 0o644))
		r := start(t, dir, rawstore.Config{})
		r.send(t, 10, 60)
		require.NoError(t, r.finish(t))
		kept, err := os.ReadFile(name(0) + suffix)
		require.NoError(t, err)
		require.Equal(t, "precious", string(kept))
		require.Len(t, readSpec(t, name(1)+".raw").frames(t, 60), 10, "the next number is taken")
	}
}

func TestFolderThatCannotBeWrittenIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err := store.OpenDir(file)
	require.ErrorIs(t, err, unix.ENOTDIR)
	_, err = store.OpenDir(filepath.Join(file, "below"))
	require.ErrorIs(t, err, unix.ENOTDIR)
	_, err = store.OpenDir(filepath.Join(t.TempDir(), "no", "such"))
	require.ErrorIs(t, err, unix.ENOENT)
}

func TestDiscardConsumesTheWholeStream(t *testing.T) {
	s, err := stream.New(stream.Config{Interface: "test", Size: 4 << 20, Node: hugepage.AnyNode})
	require.NoError(t, err)
	defer s.Close()
	l, err := s.Listen("null", stream.Options{})
	require.NoError(t, err)
	defer l.Close()
	f := ring.Frame{Data: frame(0, 60), Len: 60}
	for range 1000 {
		require.True(t, s.Producer().Append(1, 1, &f, 0))
	}
	s.Producer().Finish()
	n, err := rawstore.Discard(t.Context(), l)
	require.NoError(t, err)
	require.EqualValues(t, 72000, n)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = rawstore.Discard(ctx, l)
	require.ErrorIs(t, err, context.Canceled)
}
