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
)

// troubled is a capture that a disk gives trouble.
type troubled struct {
	*program
	t    *testing.T
	wire sender
}

func capturing(t *testing.T, dir string, more ...string) *troubled {
	t.Helper()
	wire := generated(t, "100Mbps")
	args := append([]string{"-i", wire.device, "-w", dir, "--segment", "2MiB", "--buffer", "4MiB", "--json"}, more...)
	return &troubled{launch(t, command(t, "hpcapdd", args...)), t, wire}
}

// stumbles waits until something cannot be stored.
func (c *troubled) stumbles() {
	c.t.Helper()
	c.says("the capture goes on, and what is not stored is counted")
}

// recovers waits until storing goes on, and then for some more files.
func (c *troubled) recovers(dir string) {
	c.t.Helper()
	c.says("storing goes on after")
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
	}, deadline, time.Millisecond, "no more files: %s", &c.stderr)
}

// interrupt ends the capture, which says how much it could not store, and why.
func (c *troubled) interrupt(why string) capture.Ledger {
	c.t.Helper()
	r := c.end(unix.SIGINT)
	require.Equal(c.t, 1, r.status, r.stderr)
	require.Contains(c.t, r.stderr, "bytes were not stored")
	require.Contains(c.t, r.stderr, why)
	l := ledger(c.t, r)
	require.Len(c.t, l.Storers, 1)
	require.NotEmpty(c.t, failed(l))
	require.Zero(c.t, l.Lost(), "a disk in trouble does not hold up the port")
	return l
}

// accounted requires that folders hold exactly what the ledger calls written but
// for what somebody deleted, in bytes, and that frames are missing only between
// files.
func (c *troubled) accounted(l capture.Ledger, deleted int64, dirs ...string) stored {
	c.t.Helper()
	got := c.wire.closed(c.t, inDir(c.t, dirs...))
	require.EqualValues(c.t, l.Storers[0].Written, got.bytes+deleted, "%+v\n%s", l.Storers[0], &c.stderr)
	return got
}

func TestCaptureGoesOnWhenAFullDiskHasRoomAgain(t *testing.T) {
	dir := filepath.Join(mounttest.Tmpfs(t, "12m"), "files")
	c := capturing(t, dir)
	c.stumbles()
	require.NoError(t, unix.Mount("", filepath.Dir(dir), "", unix.MS_REMOUNT, "size=2g"))
	c.recovers(dir)
	l := c.interrupt("no space left on device")
	require.NotZero(t, failed(l)["ENOSPC"])
	sound(t, dir)
	got := c.accounted(l, 0, dir)
	require.NotEmpty(t, got.gaps)
	require.Less(t, uint64(got.frames), l.Frames())
}

// What retention deletes beside a capture is the oldest, and no loss to the ledger.
func TestCaptureUnderRetentionKeepsTheNewestFiles(t *testing.T) {
	const segment, size = 2 << 20, 16 << 20
	dir := filepath.Join(t.TempDir(), "files")
	c := capturing(t, dir, "--keep-size", "16MiB")
	seq := func(path string) int {
		f, ok := archive.ParseName(path)
		require.True(t, ok)
		return f.Seq
	}
	require.Eventually(t, func() bool { files := inDir(t, dir); return len(files) > 0 && seq(files[0]) > 12 }, deadline, time.Millisecond,
		"what is old stays: %s", &c.stderr)
	r := c.end(unix.SIGINT)
	require.Zero(t, r.status, r.stderr)
	l := ledger(t, r)
	require.Empty(t, failed(l))
	sound(t, dir)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	kept := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		kept += info.Size()
	}
	require.LessOrEqual(t, kept, int64(size))
	require.Greater(t, kept, int64(size-segment-100<<10), "no more than needed")
	files := inDir(t, dir)
	all := l.Storers[0].Files
	for i, path := range files[len(files)-6:] { // of older ones one may be spared, while its index is made
		require.Equal(t, all-6+i, seq(path))
	}
	c.accounted(l, int64(all-len(files))*segment, dir)
}

func TestCaptureGoesOnWhenItsFolderIsMovedAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files")
	c := capturing(t, dir)
	written(t, dir, 5<<20)
	moved := dir + ".old"
	require.NoError(t, os.Rename(dir, moved))
	require.Eventually(t, func() bool { entries, _ := os.ReadDir(dir); return len(entries) > 2 }, deadline, time.Millisecond, "the folder is made again")
	r := c.end(unix.SIGINT)
	require.Zero(t, r.status, "nothing is lost by moving files away: %s", r.stderr)
	l := ledger(t, r)
	sound(t, dir)
	sound(t, moved)
	require.Empty(t, c.accounted(l, 0, dir, moved).gaps)
}

func TestCaptureGoesOnWhenItsFolderIsRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files")
	c := capturing(t, dir)
	written(t, dir, 5<<20)
	require.Eventually(t, func() bool { // the file that is being written, whenever there is one
		parts, _ := filepath.Glob(filepath.Join(dir, "*.part"))
		return len(parts) > 0 && os.Remove(parts[0]) == nil
	}, deadline, time.Millisecond)
	require.Eventually(t, func() bool { return os.RemoveAll(dir) == nil }, deadline, time.Millisecond, "files come while it is removed")
	c.stumbles()
	c.recovers(dir)
	l := c.interrupt("not stored")
	sound(t, dir)
	got := c.wire.closed(t, inDir(t, dir))
	require.Less(t, uint64(got.bytes), l.Storers[0].Written, "what was deleted after it was closed had been written")
}

// disk is a file system on a block device that can be made to fail: behind a
// limit it gives EIO, for what is read and what is written.
type disk struct {
	t    *testing.T
	loop *os.File
	dir  string // for a capture's files
}

func newDisk(t *testing.T, size int64) *disk {
	t.Helper()
	mkfs := tool(t, "mkfs.ext4")
	image := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, size))
	// All of its own bookkeeping lies at the start, and there is no journal that an
	// error would stop.
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
	for range 20 { // others look for a free one, too
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
	require.NotNil(t, d.loop, "every loop device was taken by somebody else")
	t.Cleanup(func() { d.loop.Close() })
	require.NoError(t, unix.Mount(d.loop.Name(), d.dir, "ext4", 0, "errors=continue"))
	t.Cleanup(func() {
		d.limit(0)
		require.NoError(t, unix.Unmount(root, 0))
	})
	// The folder gets as much room as it will need, at the start of the disk as well.
	d.dir = filepath.Join(d.dir, "files")
	require.NoError(t, os.Mkdir(d.dir, 0o755))
	for _, done := range []func(name string) error{func(name string) error { return os.WriteFile(name, nil, 0o600) }, os.Remove} {
		for n := range 600 {
			require.NoError(t, done(filepath.Join(d.dir, fmt.Sprintf("20261121T000000.000000000Z-name_as_long_as_those_to_come-%d", n))))
		}
	}
	return d
}

// limit makes the device fail from a byte on; 0 makes it work again.
func (d *disk) limit(bytes uint64) {
	d.t.Helper()
	fd := int(d.loop.Fd())
	info, err := unix.IoctlLoopGetStatus64(fd)
	require.NoError(d.t, err)
	info.Sizelimit = bytes
	for end := time.Now().Add(deadline); ; time.Sleep(time.Millisecond) {
		err := unix.IoctlLoopSetStatus64(fd, info)
		if err == nil {
			return
		}
		require.ErrorIs(d.t, err, unix.EAGAIN) // the disk was being written to
		require.True(d.t, time.Now().Before(end), "the disk's limit cannot be changed")
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
	c := capturing(t, d.dir)
	c.stumbles()
	require.NoError(t, f.Truncate(0))
	c.recovers(d.dir)
	l := c.interrupt("no space left on device")
	require.NotZero(t, failed(l)["ENOSPC"])
	recovered(t, d.dir)
	sound(t, d.dir)
	require.NotEmpty(t, c.accounted(l, 0, d.dir).gaps)
}

func TestCaptureGoesOnWhenADiskThatFailedWorksAgain(t *testing.T) {
	d := newDisk(t, 1<<30)
	dir := d.dir
	c := capturing(t, dir)
	written(t, dir, 12<<20)
	d.limit(8 << 20)
	c.stumbles()
	d.limit(0)
	c.recovers(dir)
	l := c.interrupt("input/output error")
	require.NotZero(t, failed(l)["EIO"])
	readable(t, inDir(t, dir))
	recovered(t, dir) // a file that could not be closed is, at the next start
	sound(t, dir)
	got := c.accounted(l, 0, dir)
	require.NotEmpty(t, got.gaps)
}

// Of two disks the one that works takes all that the other does not.
func TestCaptureOnTwoDisksOutlivesOne(t *testing.T) {
	d := newDisk(t, 1<<30)
	bad, good := d.dir, filepath.Join(t.TempDir(), "files")
	c := capturing(t, bad, "-w", good)
	written(t, bad, 12<<20)
	written(t, good, 5<<20)
	d.limit(8 << 20)
	c.says("storing goes on in the other folders")
	before := len(inDir(t, good))
	require.Eventually(t, func() bool { return len(inDir(t, good)) > before+3 }, deadline, time.Millisecond)
	d.limit(0)
	c.recovers(bad)
	l := c.interrupt("input/output error")
	recovered(t, bad)
	sound(t, bad)
	sound(t, good)
	c.accounted(l, 0, bad, good)
}
