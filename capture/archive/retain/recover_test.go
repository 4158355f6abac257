package retain

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// inOrder requires that a folder's RAW files are closed, whole and indexed, and
// returns the number of their frames.
func inOrder(t *testing.T, dir string) (frames uint64) {
	t.Helper()
	files, err := archive.List(dir)
	require.NoError(t, err)
	for _, f := range files {
		r, err := index.Verify(f)
		require.NoError(t, err)
		require.Empty(t, r.Problems)
		require.Equal(t, index.Complete, r.Index)
		require.False(t, f.Part)
		frames += r.Frames
	}
	require.Len(t, names(t, dir), 2*len(files), "files and indices, and nothing else")
	return frames
}

func TestRecoverClosesFilesOfAKilledRun(t *testing.T) {
	whole, ends := raw(t, 40)
	body := whole[:len(whole)-rawfile.HeaderLen]
	for name, c := range map[string]struct {
		left   []byte
		frames uint64 // 0: it is deleted
	}{
		"closed, not renamed":        {whole, 40},
		"not closed":                 {body, 40},
		"cut in a record":            {whole[:ends[29]+5], 30},
		"cut in a frame":             {whole[:ends[38]-1], 38},
		"reserved and never written": {append(slices.Clone(body), make([]byte, 100_000)...), 40},
		"one record":                 {whole[:ends[0]], 1},
		"no whole record":            {whole[:5], 0},
		"nothing":                    {nil, 0},
		"zeros":                      {make([]byte, 5000), 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, stem(1000, 0, 3)+".raw.part")
			require.NoError(t, os.WriteFile(path, c.left, 0o644))
			all := Recover(t.Context(), dir)
			require.Len(t, all, 1)
			require.NoError(t, all[0].Err)
			require.NotEmpty(t, all[0].Done)
			require.Equal(t, c.frames, all[0].Frames)
			require.NotContains(t, all[0].String(), "\n")
			require.EqualValues(t, c.frames, inOrder(t, dir))
			require.Empty(t, Recover(t.Context(), dir), "there is nothing left to do")
			if c.frames == 0 {
				require.Equal(t, path, all[0].Path)
				return
			}
			require.Equal(t, strings.TrimSuffix(path, ".part"), all[0].Path)
			st, err := os.Stat(all[0].Path)
			require.NoError(t, err)
			f, err := os.ReadFile(all[0].Path)
			require.NoError(t, err)
			require.Equal(t, whole[:ends[c.frames-1]], f[:ends[c.frames-1]])
			var last time.Time
			r := rawfile.NewReader(bytes.NewReader(f))
			for rec, err := range r.Records() {
				require.NoError(t, err)
				last = rec.Time()
			}
			require.WithinDuration(t, last, st.ModTime(), time.Microsecond, "the file is as old as its last record")
		})
	}
}

func TestRecoverDeletesOrphans(t *testing.T) {
	dir := t.TempDir()
	file, _ := raw(t, 10)
	kept := stem(50, 0, 0)
	put(t, dir, kept+".raw", 0)
	require.NoError(t, os.WriteFile(filepath.Join(dir, kept+".raw"), file, 0o644))
	f, _ := archive.ParseName(filepath.Join(dir, kept+".raw"))
	_, err := index.Build(f)
	require.NoError(t, err)
	gone := []string{
		put(t, dir, stem(40, 0, 1)+".idx", 10), put(t, dir, ".ixcap-probe-123", 0), put(t, dir, "."+stem(30, 0, 2)+".idx.991", 100),
		put(t, dir, "."+stem(30, 0, 2)+".idx.new", 100),
	}
	stays := []string{
		"x.idx", "x.raw.part", "notes.part", ".profile", "." + stem(30, 0, 2) + ".idx.swp", "." + stem(30, 0, 2) + ".idx.", "..idx.7", ".idx.7",
		stem(20, 0, 2) + ".idx.old",
	}
	for _, name := range stays {
		put(t, dir, name, 10)
	}
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, stem(10, 0, 7)+".raw.part")))
	before := names(t, dir)
	all := Recover(t.Context(), filepath.Join(dir, "missing"), dir)
	require.Len(t, all, len(gone))
	for _, r := range all {
		require.NoError(t, r.Err)
		require.Contains(t, r.String(), "deleted")
	}
	for _, path := range gone {
		require.NoFileExists(t, path)
	}
	require.Len(t, names(t, dir), len(before)-len(gone))
}

func TestRecoverSkipsFilesInUse(t *testing.T) {
	dir := t.TempDir()
	whole, ends := raw(t, 40)
	left := func(n int) string {
		path := filepath.Join(dir, stem(100, n, 0)+".raw.part")
		require.NoError(t, os.WriteFile(path, whole[:ends[20]+3], 0o644))
		return path
	}
	writing := func(path string) *os.File {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	locked := left(0)
	store(t, locked)
	unlocked := writing(left(1))
	begun := writing(put(t, dir, stem(100, 2, 0)+".raw.part", 0))
	probe := writing(put(t, dir, ".ixcap-probe-55", 0))
	half := writing(put(t, dir, "."+stem(100, 3, 0)+".idx.7", 50))
	orphan := writing(put(t, dir, stem(100, 4, 0)+".idx", 50))
	before := names(t, dir)
	require.Empty(t, Recover(t.Context(), dir))
	require.Equal(t, before, names(t, dir))

	read := left(5)
	reader := lock(t, read, unix.LOCK_SH)
	all := Recover(t.Context(), dir)
	require.Len(t, all, 1)
	require.ErrorIs(t, all[0].Err, archive.ErrBusy)
	require.Contains(t, all[0].String(), "not repaired")
	require.FileExists(t, read)

	for _, f := range []*os.File{reader, unlocked, begun, probe, half, orphan} {
		require.NoError(t, f.Close())
	}
	all = Recover(t.Context(), dir)
	require.Len(t, all, 6)
	require.Equal(t, 5, len(names(t, dir)), "two files, their indices, and what is locked")
}

func TestRecoverGoesOnAfterErrors(t *testing.T) {
	dir := t.TempDir()
	whole, ends := raw(t, 40)
	taken := stem(100, 0, 0)
	put(t, dir, taken+".raw", 10) // another file has the final name
	for _, name := range []string{taken, stem(90, 1, 0)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".raw.part"), whole[:ends[20]+3], 0o644))
	}
	all := Recover(t.Context(), put(t, t.TempDir(), "file", 1), dir)
	require.Len(t, all, 3)
	require.ErrorIs(t, all[0].Err, unix.ENOTDIR)
	require.ErrorIs(t, all[1].Err, os.ErrExist)
	require.NoError(t, all[2].Err)
	require.EqualValues(t, 21, all[2].Frames)
	got, err := os.ReadFile(filepath.Join(dir, taken+".raw"))
	require.NoError(t, err)
	require.Len(t, got, 10)

	ctx, stop := context.WithCancel(t.Context())
	stop()
	require.Empty(t, Recover(ctx, dir), "it is stopped")
}

func TestRecoveringTwiceAtOnceDoesItOnce(t *testing.T) {
	whole, ends := raw(t, 40)
	for range 10 {
		dir := t.TempDir()
		for q := range 5 {
			require.NoError(t, os.WriteFile(filepath.Join(dir, stem(100, q, 0)+".raw.part"), whole[:ends[30]+q], 0o644))
			put(t, dir, stem(100, q+50, 0)+".idx", 10)
		}
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { Recover(context.Background(), dir) })
		}
		all.Wait()
		Recover(t.Context(), dir) // files that one had locked while the others tried
		require.EqualValues(t, 5*31, inOrder(t, dir))
	}
}

// The last file of a killed run may end at any byte; its whole records are kept.
// Every 23rd byte is tried, or every one if IXCAP_CRASHES is more than 100.
func TestFileCutAtAnyByteIsRecoveredUpToItsLastWholeRecord(t *testing.T) {
	whole, ends := raw(t, 60)
	step := 23
	if n, _ := strconv.Atoi(os.Getenv("IXCAP_CRASHES")); n > 100 {
		step = 1
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err == nil { // fast syncs
		defer func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
	}
	name := filepath.Join(dir, stem(100, 0, 0)+".raw")
	for cut := len(whole); cut >= 0; cut -= step {
		require.NoError(t, os.WriteFile(name+archive.Part, whole[:cut], 0o644))
		all := Recover(t.Context(), dir)
		require.Len(t, all, 1)
		require.NoError(t, all[0].Err)
		n, _ := slices.BinarySearch(ends, cut+1)
		require.EqualValues(t, n, all[0].Frames, "cut at byte %d", cut)
		require.EqualValues(t, n, inOrder(t, dir), "cut at byte %d", cut)
		for _, left := range names(t, dir) {
			require.NoError(t, os.Remove(filepath.Join(dir, left)))
		}
	}
}

func TestRecoverClosesPacketFiles(t *testing.T) {
	for _, c := range []struct {
		format pcapfile.Format
		level  int
	}{{pcapfile.Pcap, 0}, {pcapfile.Pcapng, 0}, {pcapfile.Pcap, 1}, {pcapfile.Pcapng, 1}} {
		ending := "." + string(c.format)
		if c.level > 0 {
			ending += archive.Zstd
		}
		t.Run(ending, func(t *testing.T) {
			var out bytes.Buffer
			w, err := pcapfile.NewWriter(&out, pcapfile.Encoder{Format: c.format}, c.level)
			require.NoError(t, err)
			last := time.Now().Add(-time.Hour)
			for i := range 100 {
				last = last.Add(time.Second)
				require.NoError(t, w.Write(&pcapfile.Packet{Nano: last.UnixNano(), Len: 70, Data: bytes.Repeat([]byte{byte(i)}, 70)}))
				if i%10 == 9 {
					require.NoError(t, w.Flush())
				}
			}
			whole := out.Len() // without an end
			dir := t.TempDir()
			cut, empty, foreign, busy := stem(300, 0, 0)+ending, stem(200, 0, 0)+ending, stem(100, 0, 0)+ending, stem(50, 0, 0)+ending
			require.NoError(t, os.WriteFile(filepath.Join(dir, cut+archive.Part), out.Bytes()[:whole-5], 0o644))
			put(t, dir, empty+archive.Part, 0)
			put(t, dir, foreign+archive.Part, 1000)
			writer, err := os.OpenFile(put(t, dir, busy+archive.Part, 0), os.O_WRONLY, 0)
			require.NoError(t, err)
			defer writer.Close()

			all := Recover(t.Context(), dir)
			require.Len(t, all, 3)
			require.NoError(t, all[0].Err)
			require.Equal(t, filepath.Join(dir, cut), all[0].Path)
			require.GreaterOrEqual(t, all[0].Frames, uint64(90))
			require.Less(t, all[0].Frames, uint64(100))
			require.NoError(t, all[1].Err)
			require.Contains(t, all[1].String(), "deleted")
			require.ErrorIs(t, all[2].Err, pcapfile.ErrForeign)
			require.ElementsMatch(t, []string{cut, foreign + archive.Part, busy + archive.Part}, names(t, dir))

			r, err := pcapfile.Open(filepath.Join(dir, cut))
			require.NoError(t, err)
			defer r.Close()
			n := uint64(0)
			for ; ; n++ {
				if _, err := r.Next(); err != nil {
					require.ErrorIs(t, err, io.EOF)
					break
				}
			}
			require.Equal(t, all[0].Frames, n)
			st, err := os.Stat(filepath.Join(dir, cut))
			require.NoError(t, err)
			require.WithinDuration(t, last.Add(-time.Duration(100-n)*time.Second), st.ModTime(), time.Microsecond)
		})
	}
}
