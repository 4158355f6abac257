package retain

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/internal/mounttest"
	"github.com/ixcap/ixcap/internal/testtime"
)

// asReader makes this test's binary a reader of the files in a folder.
const asReader = "IXCAP_RETAIN_READER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asReader); dir != "" {
		read(dir)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// read opens and locks the files of a folder, waits for a line, and prints the bytes
// that it can read of each.
func read(dir string) {
	entries, _ := os.ReadDir(dir)
	var files []*os.File
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err == nil {
			err = unix.Flock(int(f.Fd()), []int{unix.LOCK_SH, unix.LOCK_EX}[len(files)%2]) // a reader's, and one that means harm
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		files = append(files, f)
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	for _, f := range files {
		b, _ := io.ReadAll(f)
		fmt.Println(len(b), len(bytes.Trim(b, "\x07")), archive.Reclaimed(f))
	}
}

// reader is a process that has files open and locked.
type reader struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// stopped starts a reader of the files of a folder and stops it.
func stopped(t *testing.T, dir string) *reader {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	r := &reader{t: t, cmd: exec.CommandContext(t.Context(), self)}
	r.cmd.Env = append(os.Environ(), asReader+"="+dir)
	r.in, err = r.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := r.cmd.StdoutPipe()
	require.NoError(t, err)
	r.out = bufio.NewScanner(out)
	require.NoError(t, r.cmd.Start())
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	})
	require.True(t, r.out.Scan())
	require.Equal(t, "ready", r.out.Text())
	require.NoError(t, r.cmd.Process.Signal(unix.SIGSTOP))
	require.Eventually(t, func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.cmd.Process.Pid))
		return bytes.Contains(b, []byte(") T "))
	}, testtime.Deadline, time.Millisecond)
	return r
}

// finish continues the reader and returns its lines.
func (r *reader) finish() (lines []string) {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Process.Signal(unix.SIGCONT))
	require.NoError(r.t, r.in.Close())
	for r.out.Scan() {
		lines = append(lines, r.out.Text())
	}
	require.NoError(r.t, r.cmd.Wait())
	return lines
}

// A stopped reader that has locked all files costs no newer file, and reads on.
func TestFilesOfAStoppedReaderAreDeletedOldestFirst(t *testing.T) {
	for name, p := range map[string]Policy{"size": {Size: 2 << 20}, "files": {Files: 2}, "age": {Age: 75 * time.Second}, "free": {Free: 3 << 20}} {
		t.Run(name, func(t *testing.T) {
			dir := mounttest.Tmpfs(t, "8m")
			for i := range 5 {
				put(t, dir, stem(100-10*i, 0, i)+".raw", 1<<20)
			}
			r := stopped(t, dir)
			gone := 3
			if name == "free" {
				put(t, dir, stem(1, 0, 9)+".raw", 1<<20) // of the tmpfs of 8 MiB 2 are left
				gone = 1
			}
			before := names(t, dir)
			k, events := cleaner(t, p, dir)
			for range 3 {
				k.Clean(t.Context())
				require.Equal(t, before[gone:], names(t, dir), "the oldest are deleted, and no more")
			}
			st := k.Stats()
			require.Equal(t, Count{Files: uint64(gone), Bytes: uint64(gone) << 20}, st.Open)
			require.Zero(t, st.Spared)
			all := events.take()
			require.Len(t, all, gone)
			for i, e := range all {
				require.NoError(t, e.Err)
				require.True(t, e.Open)
				require.Equal(t, before[i], filepath.Base(e.Path))
				require.Contains(t, e.String(), "a reader has it open: it may read on for 1m0s")
			}
			require.Equal(t, []string{"1048576 0 false", "1048576 0 false", "1048576 0 false", "1048576 0 false", "1048576 0 false"}, r.finish())
			k.Clean(t.Context())
			require.Zero(t, k.Stats().Open)
			require.Zero(t, k.Stats().Reclaimed)
			require.Equal(t, before[gone:], names(t, dir))
		})
	}
}

// The space of deleted files is taken from a stopped reader after a time, or at once
// where the file system is short of it, instead of deleting newer files.
func TestSpaceIsReclaimedFromAStoppedReader(t *testing.T) {
	for name, late := range map[string]bool{"late": true, "short of space": false} {
		t.Run(name, func(t *testing.T) {
			dir := mounttest.Tmpfs(t, "8m")
			for i := range 6 {
				put(t, dir, stem(100-10*i, 0, i)+".raw", 1<<20)
			}
			all := names(t, dir)
			r := stopped(t, dir)
			k, events := cleaner(t, Policy{Free: 3 << 20}, dir)
			k.Clean(t.Context())
			require.Equal(t, all[1:], names(t, dir))
			if late {
				k.unlinked[0].until = time.Now().Add(-time.Second)
			} else {
				put(t, dir, stem(1, 0, 9)+".raw", 1<<20)
			}
			events.take()
			k.Clean(t.Context())
			e := events.take()
			require.NotEmpty(t, e)
			require.Positive(t, e[0].Reclaimed)
			require.Contains(t, e[0].String(), "reclaimed 1048576 bytes of "+filepath.Join(dir, all[0])+": a reader has kept it open")
			require.Equal(t, Count{Files: 1, Bytes: 1 << 20}, k.Stats().Reclaimed)
			s, err := statfs(dir)
			require.NoError(t, err)
			if late {
				require.Equal(t, all[1:], names(t, dir), "no other file is deleted")
				require.GreaterOrEqual(t, s.Free, int64(3<<20))
				require.Empty(t, k.unlinked)
			}
			lines := r.finish()
			require.Equal(t, "0 0 true", lines[0], "the reader is told")
			require.Equal(t, "1048576 0 false", lines[1])
		})
	}
}

func TestDataOfAHardLinkIsNotReclaimed(t *testing.T) {
	dir := mounttest.Tmpfs(t, "8m")
	old := put(t, dir, stem(100, 0, 0)+".raw", 1<<20)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "evidence"), 0o755))
	require.NoError(t, os.Link(old, filepath.Join(dir, "evidence", "case1")))
	lock(t, old, unix.LOCK_SH)
	k, _ := cleaner(t, Policy{Age: time.Second}, dir)
	k.Clean(t.Context())
	require.NoFileExists(t, old)
	for _, u := range k.unlinked {
		u.until = time.Now().Add(-time.Second)
	}
	k.Clean(t.Context())
	b, err := os.ReadFile(filepath.Join(dir, "evidence", "case1"))
	require.NoError(t, err)
	require.Len(t, b, 1<<20)
	require.Zero(t, k.Stats().Reclaimed)
}

func TestDeletedFilesThatAreOpenAreLimitedInNumber(t *testing.T) {
	dir := t.TempDir()
	for i := range maxUnlinked + 10 {
		lock(t, put(t, dir, stem(1000-i, 0, i)+".raw", 10), unix.LOCK_SH)
	}
	k, _ := cleaner(t, Policy{Size: 1}, dir)
	for range 2 {
		k.Clean(t.Context())
	}
	require.Empty(t, names(t, dir))
	require.Len(t, k.unlinked, maxUnlinked)
	require.EqualValues(t, 10, k.Stats().Reclaimed.Files)
	require.EqualValues(t, maxUnlinked, k.Stats().Open.Files)
}

// Any user may lock a folder that can be read.
func TestAFolderWhoseLockIsKeptIsScannedAllTheSame(t *testing.T) {
	dir := t.TempDir()
	old := put(t, dir, stem(100, 0, 0)+".raw", 10)
	other := lock(t, dir, unix.LOCK_EX)
	k, events := cleaner(t, Policy{Size: 1}, dir)
	began := time.Now()
	k.Clean(t.Context())
	require.GreaterOrEqual(t, time.Since(began), lockTimeout)
	require.NoFileExists(t, old)
	require.EqualValues(t, 1, k.Stats().Unlocked)
	all := events.take()
	require.Len(t, all, 2)
	require.ErrorIs(t, all[0].Err, errLocked)
	require.Contains(t, all[0].String(), "retention: "+dir+" is scanned without its lock: another process keeps it for longer than 2s")

	began = time.Now()
	k.Clean(t.Context())
	require.Less(t, time.Since(began), lockTimeout, "it is waited for once")
	require.EqualValues(t, 1, k.Stats().Unlocked)
	require.NoError(t, other.Close())
	k.Clean(t.Context())
	require.False(t, k.unlocked)
}

// The lock of a storer counts where a storer has the file open. Any user may lock what
// a killed run left.
func TestALockedFileOfAKilledRunIsDeletedInItsTurn(t *testing.T) {
	dir := t.TempDir()
	left := put(t, dir, stem(100, 0, 0)+".raw.part", 10)
	next := put(t, dir, stem(90, 0, 1)+".raw", 10)
	lock(t, left, unix.LOCK_EX)
	k, _ := cleaner(t, Policy{Size: 10}, dir)
	k.Clean(t.Context())
	require.NoFileExists(t, left)
	require.FileExists(t, next)
}
