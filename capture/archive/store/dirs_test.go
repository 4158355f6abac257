package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/internal/mounttest"
)

var first = time.Unix(1_700_000_000, 5)

type rig struct {
	paths  []string
	dirs   *store.Dirs
	losses store.Losses
	log    logtest.Recorder
}

func newRig(t *testing.T, folders int) *rig {
	t.Helper()
	var paths []string
	for range folders {
		paths = append(paths, t.TempDir())
	}
	return newRigIn(t, paths...)
}

func newRigIn(t *testing.T, paths ...string) *rig {
	t.Helper()
	r := &rig{}
	var all []*store.Dir
	for _, path := range paths {
		d, err := store.OpenDir(path)
		require.NoError(t, err)
		all = append(all, d)
		r.paths = append(r.paths, d.Path())
	}
	var err error
	r.dirs, err = store.NewDirs(store.DirsConfig{
		Port: "eth2", Queue: 1, Suffix: ".pcap", Beside: []string{".idx"}, FileSize: 1 << 20, Buffered: true,
		Losses: &r.losses, Text: func(a store.Amount) string { return fmt.Sprintf("%d packets", a.Packets) }, Logger: r.log.Logger(),
	}, all...)
	require.NoError(t, err)
	return r
}

func (r *rig) create(t *testing.T) *store.File {
	t.Helper()
	f := r.dirs.Create(first, nil)
	require.NotNil(t, f)
	return f
}

func TestFileHasItsTemporaryNameUntilItIsPublished(t *testing.T) {
	r := newRig(t, 1)
	f := r.create(t)
	require.Equal(t, filepath.Join(r.paths[0], archive.FileName("eth2", 1, first, 0)+".pcap"), f.Path())
	n, err := f.Write([]byte("text"), 0)
	require.NoError(t, err)
	require.Equal(t, 4, n)
	require.NoFileExists(t, f.Path())
	in, err := os.Open(f.Path() + ".part")
	require.NoError(t, err)
	defer in.Close()
	require.ErrorIs(t, archive.LockShared(in), archive.ErrBusy)
	renamed, err := f.Publish(store.SyncAtClose)
	require.NoError(t, err)
	require.True(t, renamed)
	f.Close()
	require.NoError(t, archive.LockShared(in))
	got, err := os.ReadFile(f.Path())
	require.NoError(t, err)
	require.Equal(t, "text", string(got))
	var st store.Stats
	st.AddDirs(r.dirs)
	require.Equal(t, 1, st.Files)
	require.EqualValues(t, 1, st.Latency.Count)
	require.False(t, st.Dirs[0].Direct)
}

func TestNamesThatAreTakenAreSkipped(t *testing.T) {
	r := newRig(t, 1)
	for seq, suffix := range []string{".pcap", ".pcap.part", ".idx"} {
		require.NoError(t, os.WriteFile(filepath.Join(r.paths[0], archive.FileName("eth2", 1, first, seq)+suffix), nil, 0o600))
	}
	f := r.create(t)
	require.Equal(t, archive.FileName("eth2", 1, first, 3)+".pcap", filepath.Base(f.Path()))
	f.Remove()
	left, err := os.ReadDir(r.paths[0])
	require.NoError(t, err)
	require.Len(t, left, 3)
	var st store.Stats
	st.AddDirs(r.dirs)
	require.Zero(t, st.Files)
}

func TestDegradedFolderIsSkippedUntilItsRetry(t *testing.T) {
	r := newRig(t, 2)
	r.dirs.SetRetry(time.Hour)
	f := r.create(t)
	defer f.Close()
	r.losses.Add(store.Amount{Packets: 5, Bytes: 300}, unix.EIO)
	r.dirs.Fail(f.Dir, f.Error("write", unix.EIO))
	r.dirs.Fail(f.Dir, errors.New("again"))
	require.Len(t, r.log.Lines(), 1)
	require.Contains(t, r.log.Take()[0], "input/output error; storing goes on in the other folders")
	for range 3 {
		other := r.create(t)
		require.Equal(t, r.paths[1], filepath.Dir(other.Path()))
		other.Close()
	}
	require.True(t, r.dirs.Ready())
	r.dirs.Fail(r.dirs.Writers()[1], unix.ENOSPC)
	require.Contains(t, r.log.Take()[0], "the capture goes on")
	require.False(t, r.dirs.Ready())
	require.Nil(t, r.dirs.Create(first, nil))
	require.ErrorIs(t, r.dirs.LastError(), unix.EIO)
	r.dirs.Recovered(f)
	require.Empty(t, r.log.Lines(), "the file was begun before the failure")

	r.dirs.SetRetry(0)
	r.dirs.Fail(f.Dir, unix.EIO)
	again := r.create(t)
	defer again.Close()
	require.EqualValues(t, 1<<20, again.Reserved, "a degraded folder must have space")
	r.losses.Add(store.Amount{Packets: 7, Bytes: 700}, unix.EIO)
	r.dirs.Recovered(again)
	require.Contains(t, r.log.Take()[0], "7 packets were not stored")
	var st store.Stats
	st.AddDirs(r.dirs)
	st.AddLosses(r.losses.ByCause())
	require.Empty(t, st.Dirs[0].Failing)
	require.NotEmpty(t, st.Dirs[1].Failing)
	require.Equal(t, map[string]uint64{"EIO": 1000}, st.Failed)
	require.EqualValues(t, 12, st.FailedFrames)
}

// The first file that would not fit on a disk loses nothing if another disk has room.
func TestFolderWithTooLittleSpaceIsSkipped(t *testing.T) {
	r := newRigIn(t, mounttest.Tmpfs(t, "256k"), t.TempDir())
	for range 3 {
		f := r.create(t)
		require.Equal(t, r.paths[1], filepath.Dir(f.Path()))
		f.Close()
	}
	require.Contains(t, r.log.Text(), "reserve disk space for")
	require.Contains(t, r.log.Text(), "no space left on device; storing goes on in the other folders")

	alone := newRigIn(t, mounttest.Tmpfs(t, "256k"))
	f := alone.create(t)
	require.Zero(t, f.Reserved, "the only folder is written until it is full")
	f.Close()
}

func TestFileWhoseStartCannotBeWrittenIsRemoved(t *testing.T) {
	r := newRig(t, 2)
	calls := 0
	f := r.dirs.Create(first, func(*store.File) error {
		if calls++; calls == 1 {
			return unix.ENOSPC
		}
		return nil
	})
	require.NotNil(t, f)
	defer f.Close()
	require.Equal(t, r.paths[1], filepath.Dir(f.Path()))
	left, err := os.ReadDir(r.paths[0])
	require.NoError(t, err)
	require.Empty(t, left)
	_, err = store.NewDirs(store.DirsConfig{})
	require.ErrorContains(t, err, "no folder")
}

func TestTimeoutEndsWithItsParentOrItsTime(t *testing.T) {
	var timeout store.Timeout
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, timeout.Reset(ctx, time.Hour).Err())
	require.ErrorIs(t, timeout.Reset(ctx, -1).Err(), store.ErrTimeout)
	cancel()
	require.ErrorIs(t, timeout.Reset(ctx, -1).Err(), context.Canceled)
	require.Zero(t, testing.AllocsPerRun(100, func() { timeout.Reset(t.Context(), time.Hour) }))
}
