package store_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/rawfile"
	"github.com/ixcap/ixcap/capture/store"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

const segment = 2 << 20

// rig is a stream with a lossless listener that is being stored.
type rig struct {
	stream   *stream.Stream
	listener *stream.Listener
	storer   *store.Storer
	stop     context.CancelFunc
	done     chan error
	sent     int
}

func start(t *testing.T, dir string, cfg store.Config) *rig {
	t.Helper()
	s, err := stream.New(stream.Config{Interface: "test", Size: 4 << 20, Segment: segment, Node: hugepage.AnyNode})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	l, err := s.Listen("store", stream.Options{Policy: stream.Lossless, Start: stream.FromOldest, Aligned: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	d, err := store.OpenDir(dir)
	require.NoError(t, err)
	cfg.Port, cfg.Segment = "test", segment
	st, err := d.New(cfg)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	r := &rig{stream: s, listener: l, storer: st, stop: stop, done: make(chan error, 1)}
	go func() {
		err := st.Run(ctx, l)
		if err != nil {
			l.Close() // else it would hold the producer back
		}
		r.done <- err
	}()
	return r
}

// frame is the n-th frame: it names itself.
func frame(n, size int) []byte {
	b := bytes.Repeat([]byte{byte(n)}, size)
	binary.BigEndian.PutUint32(b, uint32(n))
	return b
}

func (r *rig) send(t *testing.T, frames, size int) {
	t.Helper()
	p := r.stream.Producer()
	for range frames {
		f := ring.Frame{Data: frame(r.sent, size), Len: uint32(size)}
		for end := time.Now().Add(20 * time.Second); !p.Append(uint32(1+r.sent/1e6), uint32(r.sent%1e6), &f, 0); {
			require.True(t, time.Now().Before(end), "held back for 20 s")
			time.Sleep(10 * time.Microsecond)
		}
		r.sent++
	}
	p.Publish()
}

func (r *rig) finish(t *testing.T) error {
	t.Helper()
	r.stream.Producer().Finish()
	select {
	case err := <-r.done:
		return err
	case <-time.After(20 * time.Second):
		require.Fail(t, "storer did not end within 20 s of the stream")
		return nil
	}
}

// files reads all files of a folder, in the order of their names, and requires
// that they hold frames 0, 1, ... and that all but the last are full segments.
func files(t *testing.T, dir string, size int) (names []string, frames int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for i, e := range entries {
		path := filepath.Join(dir, e.Name())
		require.True(t, strings.HasSuffix(path, ".raw"), path)
		names = append(names, path)
		info, err := e.Info()
		require.NoError(t, err)
		if i < len(entries)-1 {
			require.EqualValues(t, segment, info.Size(), path)
		}
		frames += readFile(t, path, frames, size)
	}
	return names, frames
}

// readFile requires that a file holds frames first, first+1, ... and was closed.
func readFile(t *testing.T, path string, first, size int) (frames int) {
	t.Helper()
	in, err := os.Open(path)
	require.NoError(t, err)
	defer in.Close()
	r := rawfile.NewReader(in)
	for rec, err := range r.Records() {
		require.NoError(t, err, path)
		require.True(t, bytes.Equal(frame(first+frames, size), rec.Data), "%s: frame %d differs", path, first+frames)
		frames++
	}
	require.True(t, r.Padded(), path)
	return frames
}

func TestStreamIsStoredByteForByteInFilesOfOneSegment(t *testing.T) {
	for name, depth := range map[string]int{"one at a time": 1, "four in flight": 4} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "made")
			r := start(t, dir, store.Config{Depth: depth})
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

func TestStreamEndingAtAnyPlaceOfABlockIsClosedInOrder(t *testing.T) {
	for _, frames := range []int{0, 1, 2, 3, 4, 683, 684, 1381, 1387, 1388} {
		dir := t.TempDir()
		r := start(t, dir, store.Config{})
		r.send(t, frames, 1524) // 1536 bytes a record: 683 fit into a MiB but for 512 bytes
		require.NoError(t, r.finish(t))
		_, got := files(t, dir, 1524)
		require.Equal(t, frames, got)
	}
}

func TestSlowTrafficReachesTheDiskWithinTheFlushTime(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, store.Config{Flush: 10 * time.Millisecond})
	r.send(t, 100, 1500)
	var part string
	require.Eventually(t, func() bool {
		all, _ := filepath.Glob(filepath.Join(dir, "*.raw.part"))
		if len(all) != 1 {
			return false
		}
		part = all[0]
		info, err := os.Stat(part)
		return err == nil && info.Size() >= 100*1512-4096
	}, 10*time.Second, 5*time.Millisecond, "whole sectors are on disk before their block is full")

	// What a killed program would have left can be read up to its last whole record.
	file, err := os.ReadFile(part)
	require.NoError(t, err)
	reader := rawfile.NewReader(bytes.NewReader(file))
	for {
		if _, err := reader.Next(); err != nil {
			require.True(t, err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
			break
		}
	}
	require.GreaterOrEqual(t, reader.Count(), uint64(96))

	r.send(t, 3000, 1500) // the rest follows without a seam
	require.NoError(t, r.finish(t))
	_, frames := files(t, dir, 1500)
	require.Equal(t, 3100, frames)
}

func TestFullDiskKeepsWhatWasStored(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=5m"); err != nil {
		t.Skipf("a small file system cannot be mounted: %v; run the tests as root", err)
	}
	defer func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
	r := start(t, dir, store.Config{})
	r.send(t, 7000, 1500) // 10 MB; not held back by a storer that gave up
	err := r.finish(t)
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NotContains(t, err.Error(), "\n", "one line")
	names, frames := files(t, dir, 1500)
	require.Len(t, names, 3)
	require.Greater(t, frames, 3000)
	st := r.storer.Stats()
	require.Equal(t, st.Read, st.Written+st.Failed["ENOSPC"])
	require.Equal(t, 3, st.Files)
}

func TestStoppingInTheMiddleLeavesWholeRecords(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, store.Config{Flush: time.Millisecond})
	r.send(t, 1000, 1500)
	require.Eventually(t, func() bool { return r.storer.Stats().Written > 1<<20 }, 10*time.Second, time.Millisecond)
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
	if err := unix.Mount("ramfs", dir, "ramfs", 0, ""); err != nil {
		t.Skipf("a file system without O_DIRECT cannot be mounted: %v; run the tests as root", err)
	}
	defer func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
	d, err := store.OpenDir(dir)
	require.NoError(t, err)
	require.False(t, d.Direct())
	require.Equal(t, dir, d.Path())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "the probe leaves nothing behind")

	r := start(t, dir, store.Config{})
	r.send(t, 3000, 1500)
	require.NoError(t, r.finish(t))
	names, frames := files(t, dir, 1500)
	require.Equal(t, 3000, frames)
	require.Len(t, names, 3)
}

func TestClosedFileKeepsNoRoomBehindItsEnd(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, store.Config{})
	r.send(t, 40, 1012) // ten whole sectors: the padding record is added behind what was written
	require.NoError(t, r.finish(t))
	names, _ := files(t, dir, 1012)
	require.Len(t, names, 1)
	var st unix.Stat_t
	require.NoError(t, unix.Stat(filepath.Join(dir, filepath.Base(names[0])), &st))
	require.EqualValues(t, 40*1024+12, st.Size)
	require.LessOrEqual(t, st.Blocks*512, int64(64<<10), "bytes taken on disk")
}

func TestFileOfAnotherCaptureIsNeverReplaced(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, store.FileName("test", 0, time.Unix(1, 0), 0)+".raw")
	require.NoError(t, os.WriteFile(name, []byte("precious"), 0o644))
	r := start(t, dir, store.Config{})
	r.send(t, 10, 60)
	require.ErrorIs(t, r.finish(t), unix.EEXIST)
	kept, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "precious", string(kept))
}

func TestFolderThatCannotBeWrittenIsRefusedAtOnce(t *testing.T) {
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
	n, err := store.Discard(t.Context(), l)
	require.NoError(t, err)
	require.EqualValues(t, 72000, n)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = store.Discard(ctx, l)
	require.ErrorIs(t, err, context.Canceled)
}
