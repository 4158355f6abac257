package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/internal/mounttest"
	"github.com/ixcap/ixcap/internal/testtime"
)

// diskCapture is a capture to a disk that fails.
type diskCapture struct {
	*program
	t    *testing.T
	wire sender
}

// startDiskCapture starts a capture of an endless wire to a directory.
func startDiskCapture(t *testing.T, dir string, more ...string) *diskCapture {
	t.Helper()
	wire := endlessWire(t, "100Mbps")
	args := append([]string{"-i", wire.device, "-w", dir, "--segment", "2MiB", "--buffer", "4MiB", "--json"}, more...)
	return &diskCapture{launch(t, command(t, "hpcapdd", args...)), t, wire}
}

// waitError waits until frames cannot be stored.
func (c *diskCapture) waitError() {
	c.t.Helper()
	c.waitStderr("the capture goes on, and what is not stored is counted")
}

// waitRecovered waits until storing continues, and then for two more files.
func (c *diskCapture) waitRecovered(dir string) {
	c.t.Helper()
	c.waitStderr("storing goes on after")
	known := map[string]bool{}
	for _, file := range inDir(c.t, dir) {
		known[stem(file)] = true
	}
	require.Eventually(c.t, func() bool {
		n := 0
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if name, closed := strings.CutSuffix(e.Name(), ".raw"); closed && !known[filepath.Join(dir, name)] {
				n++
			}
		}
		return n >= 2
	}, testtime.Deadline, time.Millisecond, "no more files: %s", &c.stderr)
}

// interrupt ends the capture, which must report the bytes that were not stored, and
// their cause.
func (c *diskCapture) interrupt(cause string) capture.Ledger {
	c.t.Helper()
	r := c.end(unix.SIGINT)
	require.Equal(c.t, 1, r.status, r.stderr)
	require.Contains(c.t, r.stderr, "bytes were not stored")
	require.Contains(c.t, r.stderr, cause)
	l := ledger(c.t, r)
	require.Len(c.t, l.Storers, 1)
	require.NotEmpty(c.t, failedBytes(l))
	require.Zero(c.t, l.Lost(), "an error of the disk stalls the port")
	return l
}

// checkWritten requires that directories hold exactly the bytes that the ledger counts
// as written, without those deleted since, and that frames are missing between files
// only.
func (c *diskCapture) checkWritten(l capture.Ledger, deleted int64, dirs ...string) stored {
	c.t.Helper()
	got := c.wire.checkFiles(c.t, inDir(c.t, dirs...))
	require.EqualValues(c.t, l.Storers[0].Written, got.bytes+deleted, "%+v\n%s", l.Storers[0], &c.stderr)
	return got
}

func TestCaptureGoesOnWhenAFullDiskHasRoomAgain(t *testing.T) {
	dir := filepath.Join(mounttest.Tmpfs(t, "12m"), "files")
	c := startDiskCapture(t, dir)
	c.waitError()
	require.NoError(t, unix.Mount("", filepath.Dir(dir), "", unix.MS_REMOUNT, "size=2g"))
	c.waitRecovered(dir)
	l := c.interrupt("no space left on device")
	require.NotZero(t, failedBytes(l)["ENOSPC"])
	requireIntact(t, dir)
	got := c.checkWritten(l, 0, dir)
	require.NotEmpty(t, got.gaps)
	require.Less(t, uint64(got.frames), l.Frames())
}

// Retention deletes the oldest files, which the ledger does not count as lost.
func TestCaptureUnderRetentionKeepsTheNewestFiles(t *testing.T) {
	const segment, size = 2 << 20, 16 << 20
	dir := filepath.Join(t.TempDir(), "files")
	c := startDiskCapture(t, dir, "--keep-size", "16MiB")
	seq := func(path string) int {
		f, ok := archive.ParseName(path)
		require.True(t, ok)
		return f.Seq
	}
	require.Eventually(t, func() bool { files := inDir(t, dir); return len(files) > 0 && seq(files[0]) > 12 }, testtime.Deadline, time.Millisecond,
		"old files are not deleted: %s", &c.stderr)
	r := c.end(unix.SIGINT)
	require.Zero(t, r.status, r.stderr)
	l := ledger(t, r)
	require.Empty(t, failedBytes(l))
	requireIntact(t, dir)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	kept := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		kept += info.Size()
	}
	require.LessOrEqual(t, kept, int64(size))
	require.Greater(t, kept, int64(size-segment-100<<10), "more than needed was deleted")
	files := inDir(t, dir)
	all := l.Storers[0].Files
	for i, path := range files[len(files)-6:] { // an older file may remain while its index is built
		require.Equal(t, all-6+i, seq(path))
	}
	c.checkWritten(l, int64(all-len(files))*segment, dir)
}

func TestCaptureGoesOnWhenItsFolderIsMovedAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files")
	c := startDiskCapture(t, dir)
	waitBytes(t, dir, 5<<20)
	moved := dir + ".old"
	require.NoError(t, os.Rename(dir, moved))
	require.Eventually(t, func() bool { entries, _ := os.ReadDir(dir); return len(entries) > 2 }, testtime.Deadline, time.Millisecond, "the directory is not created again")
	r := c.end(unix.SIGINT)
	require.Zero(t, r.status, "moved files are no loss: %s", r.stderr)
	l := ledger(t, r)
	requireIntact(t, dir)
	requireIntact(t, moved)
	require.Empty(t, c.checkWritten(l, 0, dir, moved).gaps)
}

func TestCaptureGoesOnWhenItsFolderIsRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files")
	c := startDiskCapture(t, dir)
	waitBytes(t, dir, 5<<20)
	require.Eventually(t, func() bool { // the file that is being written
		parts, _ := filepath.Glob(filepath.Join(dir, "*.part"))
		return len(parts) > 0 && os.Remove(parts[0]) == nil
	}, testtime.Deadline, time.Millisecond)
	require.Eventually(t, func() bool { return os.RemoveAll(dir) == nil }, testtime.Deadline, time.Millisecond, "files are created during the removal")
	c.waitError()
	c.waitRecovered(dir)
	l := c.interrupt("not stored")
	requireIntact(t, dir)
	got := c.wire.checkFiles(t, inDir(t, dir))
	require.Less(t, uint64(got.bytes), l.Storers[0].Written, "Written includes files that were deleted after they were closed")
}

// disk is a file system on a block device with a limit: reads and writes behind it
// fail with EIO.
type disk struct {
	t    *testing.T
	loop *os.File
	dir  string // of the capture's files
}

// newDisk returns a disk of a size in bytes, mounted until the end of the test.
func newDisk(t *testing.T, size int64) *disk {
	t.Helper()
	mkfs := tool(t, "mkfs.ext4")
	image := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, size))
	// All metadata lies at the start, and there is no journal, which an error would abort.
	out, err := exec.Command(mkfs, "-q", "-F", "-b", "4096", "-N", "1024", "-m", "0",
		"-O", "^has_journal,^resize_inode,flex_bg", "-E", "lazy_itable_init=0,nodiscard,packed_meta_blocks=1", image).CombinedOutput()
	require.NoError(t, err, "%s", out)
	backing, err := os.OpenFile(image, os.O_RDWR, 0)
	require.NoError(t, err)
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no loop devices: %v; run the tests as root", err)
	}
	defer control.Close()
	root := t.TempDir()
	d := &disk{t: t, dir: root}
	for range 20 { // other processes allocate loop devices, too
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Skipf("no loop devices: %v; run the tests as root", err)
		}
		name := fmt.Sprintf("/dev/loop%d", n)
		if d.loop, err = os.OpenFile(name, os.O_RDWR, 0); err != nil {
			t.Skipf("no loop devices: %v", err)
		}
		err = unix.IoctlLoopConfigure(int(d.loop.Fd()), &unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}})
		if err == nil {
			break
		}
		d.loop.Close()
		require.ErrorIs(t, err, unix.EBUSY)
		d.loop = nil
	}
	require.NotNil(t, d.loop, "no free loop device after 20 attempts")
	t.Cleanup(func() { d.loop.Close() })
	require.NoError(t, unix.Mount(d.loop.Name(), d.dir, "ext4", 0, "errors=continue"))
	t.Cleanup(func() {
		d.limit(0)
		require.NoError(t, unix.Unmount(root, 0))
	})
	// The directory's blocks are allocated now, at the start of the disk.
	d.dir = filepath.Join(d.dir, "files")
	require.NoError(t, os.Mkdir(d.dir, 0o755))
	for _, done := range []func(name string) error{func(name string) error { return os.WriteFile(name, nil, 0o600) }, os.Remove} {
		for n := range 600 {
			require.NoError(t, done(filepath.Join(d.dir, fmt.Sprintf("20261121T000000.000000000Z-name_as_long_as_those_to_come-%d", n))))
		}
	}
	return d
}

// limit makes the device fail from this byte on; 0 removes the limit.
func (d *disk) limit(bytes uint64) {
	d.t.Helper()
	fd := int(d.loop.Fd())
	info, err := unix.IoctlLoopGetStatus64(fd)
	require.NoError(d.t, err)
	info.Sizelimit = bytes
	for end := time.Now().Add(testtime.Deadline); ; time.Sleep(time.Millisecond) {
		err := unix.IoctlLoopSetStatus64(fd, info)
		if err == nil {
			return
		}
		require.ErrorIs(d.t, err, unix.EAGAIN) // a write is in flight
		require.True(d.t, time.Now().Before(end), "the limit of the loop device cannot be changed")
	}
}

func TestCaptureGoesOnWhenAFullDiskOfBlocksHasRoomAgain(t *testing.T) {
	d := newDisk(t, 1<<30)
	filler := filepath.Join(d.dir, "..", "filler")
	f, err := os.Create(filler)
	require.NoError(t, err)
	defer f.Close()
	s := unix.Statfs_t{}
	require.NoError(t, unix.Statfs(d.dir, &s))
	require.NoError(t, unix.Fallocate(int(f.Fd()), 0, 0, int64(s.Bavail)*s.Bsize-9<<20-12345))
	c := startDiskCapture(t, d.dir)
	c.waitError()
	require.NoError(t, f.Truncate(0))
	c.waitRecovered(d.dir)
	l := c.interrupt("no space left on device")
	require.NotZero(t, failedBytes(l)["ENOSPC"])
	recoverDir(t, d.dir)
	requireIntact(t, d.dir)
	require.NotEmpty(t, c.checkWritten(l, 0, d.dir).gaps)
}

func TestCaptureGoesOnWhenADiskThatFailedWorksAgain(t *testing.T) {
	d := newDisk(t, 1<<30)
	dir := d.dir
	c := startDiskCapture(t, dir)
	waitBytes(t, dir, 12<<20)
	d.limit(8 << 20)
	c.waitError()
	d.limit(0)
	c.waitRecovered(dir)
	l := c.interrupt("input/output error")
	require.NotZero(t, failedBytes(l)["EIO"])
	requireReadable(t, inDir(t, dir))
	recoverDir(t, dir) // as the next start: closes the file that could not be closed
	requireIntact(t, dir)
	got := c.checkWritten(l, 0, dir)
	require.NotEmpty(t, got.gaps)
}

// When one of two disks fails, all frames go to the other.
func TestCaptureOnTwoDisksOutlivesOne(t *testing.T) {
	d := newDisk(t, 1<<30)
	bad, good := d.dir, filepath.Join(t.TempDir(), "files")
	c := startDiskCapture(t, bad, "-w", good)
	waitBytes(t, bad, 12<<20)
	waitBytes(t, good, 5<<20)
	d.limit(8 << 20)
	c.waitStderr("storing goes on in the other folders")
	before := len(inDir(t, good))
	require.Eventually(t, func() bool { return len(inDir(t, good)) > before+3 }, testtime.Deadline, time.Millisecond)
	d.limit(0)
	c.waitRecovered(bad)
	l := c.interrupt("input/output error")
	recoverDir(t, bad)
	requireIntact(t, bad)
	requireIntact(t, good)
	c.checkWritten(l, 0, bad, good)
}
