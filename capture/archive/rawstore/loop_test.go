package rawstore_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/internal/testtime"
)

// loopDisk is a file system on a disk whose end can be removed: writes there return
// EIO until it is added again.
type loopDisk struct {
	dir, image, device string
}

const loopSize = 48 << 20

func newLoopDisk(t *testing.T) loopDisk {
	t.Helper()
	for _, tool := range []string{"losetup", "mkfs.ext4"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: install the packages mount and e2fsprogs", tool)
		}
	}
	d := loopDisk{dir: t.TempDir(), image: filepath.Join(t.TempDir(), "image")}
	require.NoError(t, os.WriteFile(d.image, nil, 0o600))
	require.NoError(t, os.Truncate(d.image, loopSize))
	// Without a journal only writes near the end fail.
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-O", "^has_journal", d.image).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command("losetup", "-f", "--show", d.image).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device can be made: %s; run the tests as root", out)
	}
	d.device = strings.TrimSpace(string(out))
	t.Cleanup(func() { require.NoError(t, exec.Command("losetup", "-d", d.device).Run()) })
	require.NoError(t, unix.Mount(d.device, d.dir, "ext4", 0, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(d.dir, unix.MNT_DETACH)) })
	return d
}

func (d loopDisk) resize(t *testing.T, size int64) {
	t.Helper()
	unix.Sync() // the metadata
	require.NoError(t, os.Truncate(d.image, size))
	out, err := exec.Command("losetup", "-c", d.device).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func TestDiskWithEIOLosesOnlyTheFailedBytes(t *testing.T) {
	disk := newLoopDisk(t)
	dir := filepath.Join(disk.dir, "dir")
	r := start(t, dir, rawstore.Config{})
	r.send(t, 2000, 1500)
	require.Eventually(t, func() bool { return len(r.closedFiles()) > 0 }, testtime.Deadline, time.Millisecond)
	disk.resize(t, 12<<20)
	r.until(t, "the error is logged", func() bool { return len(r.warnings()) > 0 })
	require.Contains(t, r.warnings()[0], "input/output error")
	disk.resize(t, loopSize)
	r.until(t, "storing goes on", func() bool { return len(r.warnings()) > 1 })
	from := r.sent
	r.send(t, 3000, 1500)
	require.ErrorIs(t, r.finish(t), unix.EIO)
	st := r.storer.Stats()
	require.Equal(t, st.Read, st.Written+st.Failed["EIO"])
	stored := map[int]bool{}
	for _, path := range entries(t, dir, ".raw") {
		for _, n := range readSpec(t, path).frames(t, 1500) {
			require.False(t, stored[n])
			stored[n] = true
		}
	}
	requireFrames(t, stored, from, r.sent)
	requireFrames(t, stored, 0, 1300)
}
