package rawstore_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/internal/testtime"
)

func TestFoldersTakeTurns(t *testing.T) {
	a, _ := openFaulty(t)
	b, _ := openFaulty(t)
	r := startIn(t, rawstore.Config{Depth: 2}, a, b)
	for i := range 6 { // one at a time: no block waits in a folder when the next segment begins
		r.send(t, 100, 1500)
		r.stream.Rotate()
		r.send(t, 0, 0)
		require.Eventually(t, func() bool { return len(r.closedFiles()) == i+1 }, testtime.Deadline, time.Millisecond)
	}
	require.NoError(t, r.finish(t))
	st := r.balanced(t, a.Path(), b.Path())
	require.Equal(t, 3, st.Dirs[0].Files)
	require.Equal(t, 3, st.Dirs[1].Files)
	require.Equal(t, a.Path(), st.Dirs[0].Path)
	require.Equal(t, st.Wrote, st.Dirs[0].Wrote+st.Dirs[1].Wrote)
	require.Len(t, inOrder(t, 1500, a.Path(), b.Path()), r.sent)
}

// gate is a disk that writes nothing until it is opened.
type gate struct {
	store.Handle
	entered chan<- string
	name    string
	open    <-chan struct{}
}

func (g gate) WriteAt(b []byte, off int64) (int, error) {
	g.entered <- g.name
	<-g.open
	return g.Handle.WriteAt(b, off)
}

// Two disks write at once: while the first is busy, the second writes the next segment.
func TestSeveralFoldersAreWrittenAtOnce(t *testing.T) {
	entered, open := make(chan string, 64), make(chan struct{})
	var dirs []*store.Dir
	for _, name := range []string{"a", "b"} {
		d, err := store.OpenDir(t.TempDir())
		require.NoError(t, err)
		d.Wrap(func(h store.Handle) store.Handle { return gate{h, entered, name, open} })
		dirs = append(dirs, d)
	}
	r := startIn(t, rawstore.Config{Depth: 1}, dirs...)
	r.send(t, 100, 1500)
	r.stream.Rotate()
	r.send(t, 0, 0)
	r.send(t, 100, 1500)
	r.stream.Rotate()
	r.send(t, 0, 0)
	seen := map[string]bool{}
	for len(seen) < 2 {
		select {
		case name := <-entered:
			seen[name] = true
		case <-time.After(testtime.Deadline):
			require.Fail(t, "one folder waits for the other", "%v", seen)
		}
	}
	st := r.storer.Stats()
	require.EqualValues(t, 1, st.Dirs[0].Waiting)
	require.EqualValues(t, 1, st.Dirs[1].Waiting)
	close(open)
	require.NoError(t, r.finish(t))
	r.balanced(t, dirs[0].Path(), dirs[1].Path())
}

func TestDegradedFolderIsSkipped(t *testing.T) {
	a, disk := openFaulty(t)
	b, _ := openFaulty(t)
	r := startIn(t, rawstore.Config{}, a, b)
	r.send(t, 1000, 1500)
	require.Eventually(t, func() bool { return r.storer.Stats().Written > 0 }, testtime.Deadline, time.Millisecond)
	disk.write.Store(int32(unix.EIO))
	disk.reserve.Store(int32(unix.EIO))
	r.until(t, "the failure shows", func() bool { return len(r.warnings()) > 0 })
	require.Contains(t, r.warnings()[0], "storing goes on in the other folders")
	written := r.storer.Stats().Written
	r.until(t, "the other takes over", func() bool { return r.storer.Stats().Written > written })
	require.Eventually(t, func() bool { // the failed file is cut after its last whole record
		parts, err := filepath.Glob(filepath.Join(a.Path(), "*"+archive.RawPart))
		return err == nil && len(parts) == 0
	}, testtime.Deadline, time.Millisecond)
	from, lost := r.sent, r.storer.Stats().Failed["EIO"]
	r.send(t, 8000, 1500)
	require.ErrorIs(t, r.finish(t), unix.EIO)
	st := r.balanced(t, a.Path(), b.Path())
	require.Equal(t, lost, st.Failed["EIO"], "only what came before the next segment")
	require.NotEmpty(t, st.Dirs[0].Failing)
	require.Empty(t, st.Dirs[1].Failing)
	requireFrames(t, inOrder(t, 1500, a.Path(), b.Path()), from, r.sent)
}

func TestWritesAreCountedByDuration(t *testing.T) {
	d, disk := openFaulty(t)
	disk.delay.Store(int64(3 * time.Millisecond))
	r := startIn(t, rawstore.Config{Depth: 1}, d)
	r.send(t, 2000, 1500)
	require.NoError(t, r.finish(t))
	l := r.storer.Stats().Latency
	require.Equal(t, r.storer.Stats().Dirs[0].Latency, l)
	require.GreaterOrEqual(t, l.Count, uint64(3))
	require.GreaterOrEqual(t, l.Sum, time.Duration(l.Count)*3*time.Millisecond)
	require.GreaterOrEqual(t, l.Longest, l.Sum/time.Duration(l.Count))
	sum := uint64(0)
	for i, n := range l.Counts {
		sum += n
		if l.Bound(i) <= 3*time.Millisecond {
			require.Zero(t, n, "less than %v", l.Bound(i))
		}
	}
	require.Equal(t, l.Count, sum)
}

func TestBlocksOfEverySizeGiveTheSameFiles(t *testing.T) {
	var want [][]byte
	for _, c := range []rawstore.Config{{}, {Block: 2 << 20}, {Depth: 16}, {Grow: true}, {Block: 2 << 20, Depth: 1, Sync: store.Sync(time.Millisecond), Flush: time.Millisecond}} {
		dir := t.TempDir()
		r := start(t, dir, c)
		r.send(t, 3500, 1500)
		require.NoError(t, r.finish(t))
		r.balanced(t, dir)
		var got [][]byte
		for _, path := range entries(t, dir, ".raw", ".idx") {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			got = append(got, b)
		}
		if want == nil {
			want = got
		}
		require.Equal(t, len(want), len(got))
		for i := range want {
			require.True(t, string(want[i]) == string(got[i]), "%+v: file %d differs", c, i)
		}
	}
}

func TestInvalidSettingsAreRefused(t *testing.T) {
	d, err := store.OpenDir(t.TempDir())
	require.NoError(t, err)
	for want, c := range map[string]rawstore.Config{
		"choose at least 1":         {Depth: -1},
		"choose at most 256":        {Depth: 257},
		"choose 1, 2, 3 or 4 MiB":   {Block: 5 << 20},
		"blocks of 1000 bytes":      {Block: 1000},
		"flush after -1s: must not": {Flush: -time.Second},
	} {
		_, err := rawstore.New(c, d)
		require.ErrorContains(t, err, want)
	}
	_, err = rawstore.New(rawstore.Config{})
	require.ErrorContains(t, err, "no folder")
	for text, want := range map[string]store.Sync{"close": store.SyncAtClose, "none": store.SyncNever, "10s": store.Sync(10 * time.Second), "2m": store.Sync(2 * time.Minute)} {
		got, err := store.ParseSync(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, text, got.String())
	}
	for _, text := range []string{"", "never", "-1s", "0s", "0", "10 s", "10q"} {
		_, err := store.ParseSync(text)
		require.ErrorContains(t, err, "choose close, none or a time")
	}
}
