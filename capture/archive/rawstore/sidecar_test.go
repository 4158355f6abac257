package rawstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/internal/testtime"
)

// indexed requires that all RAW files of a folder have correct sidecars.
func indexed(t *testing.T, dir string) {
	t.Helper()
	for _, path := range entries(t, dir, ".raw") {
		f, ok := archive.ParseName(path)
		require.True(t, ok)
		r, err := index.Verify(f)
		require.NoError(t, err)
		require.Equal(t, index.Complete, r.Index, path)
		require.Empty(t, r.Problems, path)
	}
}

func TestEveryFileHasItsSidecarWhateverItsEnd(t *testing.T) {
	d, disk := openFaulty(t)
	r := startIn(t, rawstore.Config{}, d)
	r.send(t, 3000, 1500) // full ones
	r.stream.Rotate()
	r.send(t, 0, 0)
	r.send(t, 1000, 1500)
	disk.healthy.Store(1)
	disk.short.Store(true)
	disk.write.Store(int32(unix.EIO))
	r.until(t, "one fails", func() bool { return len(r.warnings()) > 0 })
	disk.write.Store(0)
	r.until(t, "storing goes on", func() bool { return len(r.warnings()) > 1 })
	require.ErrorIs(t, r.finish(t), unix.EIO)
	st := r.balanced(t, d.Path())
	require.Equal(t, st.Files, st.Indexed)
	require.Zero(t, st.Unindexed)
	require.ElementsMatch(t, entries(t, d.Path(), ".raw"), r.closedFiles())
	indexed(t, d.Path())
}

// A sidecar whose indexer lags does not delay storing, and is made afterwards.
func TestSidecarThatLagsIsDeferred(t *testing.T) {
	dir := t.TempDir()
	d, err := store.OpenDir(dir)
	require.NoError(t, err)
	release := make(chan struct{})
	r := startWith(t, rawstore.Config{Buffer: 4 << 20}, func(s *rawstore.Storer) { s.StallIndex(release) }, d)
	r.send(t, 14000, 1500) // five buffers
	require.Eventually(t, func() bool { return r.storer.Stats().Unindexed > 0 }, testtime.Deadline, time.Millisecond)
	close(release)
	require.Eventually(t, func() bool { return r.storer.Stats().Unindexed == 0 }, testtime.Deadline, time.Millisecond)
	require.NoError(t, r.finish(t))
	st := r.balanced(t, dir)
	require.Equal(t, st.Files, st.Indexed+st.Unindexed)
	require.Greater(t, st.Indexed, 5)
	for _, path := range entries(t, dir, ".idx") {
		f, ok := archive.ParseName(path[:len(path)-len(".idx")] + ".raw")
		require.True(t, ok)
		report, err := index.Verify(f)
		require.NoError(t, err)
		require.Equal(t, index.Complete, report.Index)
		require.Empty(t, report.Problems)
	}
}

func TestNoIndexMakesNoSidecar(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, rawstore.Config{NoIndex: true})
	r.send(t, 3000, 1500)
	require.NoError(t, r.finish(t))
	require.Empty(t, entries(t, dir, ".idx"))
	st := r.balanced(t, dir)
	require.Zero(t, st.Indexed+st.Unindexed)
}
