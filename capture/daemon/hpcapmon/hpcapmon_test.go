package hpcapmon_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon/hpcapmon"
	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/internal/mounttest"
)

// rig is a Writer with a port and a procfs that the test sets.
type rig struct {
	t    *testing.T
	dir  string
	proc string
	now  capture.Counters
	log  logtest.Recorder
	*hpcapmon.Writer
}

func start(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "data"), proc: t.TempDir()}
	r.now.At = time.Unix(0, 0)
	r.cores("cpu0 0 0 0 0 0 0 0 0", "cpu1 0 0 0 0 0 0 0 0")
	r.memory(1000, 100, 200)
	var err error
	r.Writer, err = hpcapmon.New(hpcapmon.Config{
		Dir: r.dir, Proc: r.proc, Logger: r.log.Logger(),
		Ports: []hpcapmon.Port{{Name: "hpcap0", Read: func() capture.Counters { return r.now }}},
	})
	require.NoError(t, err)
	return r
}

func (r *rig) cores(lines ...string) {
	text := "cpu  9 9 9 9 9 9 9 9 9 9\n" + strings.Join(lines, "\n") + "\nintr 1\nctxt 2\n"
	require.NoError(r.t, os.WriteFile(filepath.Join(r.proc, "stat"), []byte(text), 0o644))
}

func (r *rig) memory(total, free, cached int) {
	text := fmt.Sprintf("MemTotal: %d kB\nMemFree:  %d kB\nBuffers: 10 kB\nCached: %d kB\nSReclaimable: 5 kB\n", total, free, cached-15)
	require.NoError(r.t, os.WriteFile(filepath.Join(r.proc, "meminfo"), []byte(text), 0o644))
}

// second writes the lines of a second with these frames, bytes and losses.
func (r *rig) second(at time.Time, frames, bytes, lost uint64) {
	r.now.At = r.now.At.Add(time.Second)
	r.now.Polled += frames
	r.now.Bytes += bytes
	r.now.Lost += lost
	r.Write(at)
}

func (r *rig) lines(folder, name string) []string {
	text, err := os.ReadFile(filepath.Join(r.dir, folder, name))
	require.NoError(r.t, err)
	require.True(r.t, strings.HasSuffix(string(text), "\n"))
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func TestLinesAreRatesOfTheLastSecond(t *testing.T) {
	r := start(t)
	at := time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC)
	r.cores("cpu0 10 10 10 60 5 3 2 0 7 7", "cpu1 0 0 0 100 0 0 0 0")
	r.second(at, 1000, 60_000, 0)
	r.second(at.Add(time.Second), 0, 0, 0)
	r.now.At = r.now.At.Add(time.Second)
	r.second(at.Add(3*time.Second), 4000, 6_000_000, 10) // two seconds in one line, as after a suspend
	r.second(at.Add(4*time.Second), 0, 0, 2)             // only losses: the length is that of earlier frames
	require.Equal(t, []string{
		"1795276800 480000 1000 0 0",
		"1795276801 0 0 0 0",
		"1795276803 24000000 2000 60000 5",
		"1795276804 0 0 24000 2",
	}, r.lines("2026-47", "hpcap0"))
	require.Equal(t, "1795276800 35.0 0.0 1000 700 100 200", r.lines("2026-47", "cpus")[0])
}

func TestFolderFollowsTheWeekPastMidnightAndNewYear(t *testing.T) {
	r := start(t)
	for _, at := range []time.Time{
		time.Date(2026, 11, 22, 23, 59, 58, 0, time.UTC), // Sunday
		time.Date(2026, 11, 22, 23, 59, 59, 0, time.UTC),
		time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), // Monday
		time.Date(2026, 11, 23, 0, 0, 1, 0, time.FixedZone("", -3600)),
		time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC),
		time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), // Friday: still the old year's week
		time.Date(2027, 1, 4, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), // the clock was set back
	} {
		r.second(at, 1, 60, 0)
	}
	for folder, lines := range map[string]int{"2026-47": 3, "2026-48": 2, "2026-53": 2, "2027-01": 1} {
		require.Len(t, r.lines(folder, "hpcap0"), lines, folder)
		require.Len(t, r.lines(folder, "cpus"), lines, folder)
	}
	require.Equal(t, "2026-01", hpcapmon.Folder(time.Date(2025, 12, 29, 0, 0, 0, 0, time.UTC)))
}

func TestRemovedFilesAreCreatedAgain(t *testing.T) {
	r := start(t)
	at := time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC)
	r.second(at, 1, 60, 0)
	r.second(at, 2, 60, 0)
	require.NoError(t, os.RemoveAll(r.dir))
	r.second(at, 3, 60, 0)
	require.Equal(t, []string{"1795276800 480 3 0 0"}, r.lines("2026-47", "hpcap0"))
	require.Empty(t, r.log.Lines())
}

func TestFullDiskIsLoggedOnceAndLeavesWholeLines(t *testing.T) {
	r := start(t)
	mounttest.Mount(t, "tmpfs", r.dir, "size=64k")
	at := time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC)
	r.second(at, 1, 60, 0)
	ballast := filepath.Join(r.dir, "ballast")
	err := os.WriteFile(ballast, make([]byte, 64<<10), 0o644)
	require.ErrorIs(t, err, unix.ENOSPC)
	for range 300 { // more than fits into the files' last pages
		r.second(at, 1, 60, 0)
	}
	require.Len(t, r.log.Lines(), 1)
	require.Contains(t, r.log.Lines()[0], "no space left on device; no lines until it can be written again")
	require.NoError(t, os.Remove(ballast))
	r.second(at, 1, 60, 0)
	r.second(at, 1, 60, 0)
	require.Len(t, r.log.Lines(), 2)
	require.Contains(t, r.log.Lines()[1], "writing again; up to ")
	for _, name := range []string{"hpcap0", "cpus"} {
		for _, line := range r.lines("2026-47", name) {
			require.Regexp(t, `^\d+( [\d.]+){4,6}$`, line)
		}
	}
}

func TestBadFolderIsRefused(t *testing.T) {
	_, err := hpcapmon.New(hpcapmon.Config{Dir: filepath.Join(t.TempDir(), "no", "such")})
	require.ErrorIs(t, err, os.ErrNotExist)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err = hpcapmon.New(hpcapmon.Config{Dir: file})
	require.ErrorContains(t, err, "not a folder")
	_, err = hpcapmon.New(hpcapmon.Config{Dir: t.TempDir(), Ports: []hpcapmon.Port{{Name: hpcapmon.Cpus}}})
	require.ErrorContains(t, err, "port name cpus")
}

func TestRunWritesAtEachFullSecond(t *testing.T) {
	dir := t.TempDir()
	var n uint64
	w, err := hpcapmon.New(hpcapmon.Config{Dir: dir, Ports: []hpcapmon.Port{{Name: "p", Read: func() capture.Counters {
		n += 100
		return capture.Counters{At: time.Now(), Polled: n, Bytes: 60 * n}
	}}}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	require.Eventually(t, func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "*", "cpus"))
		return len(files) > 0
	}, 30*time.Second, 20*time.Millisecond)
	require.Eventually(t, func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "*", "cpus"))
		text, _ := os.ReadFile(files[0])
		line, _, whole := strings.Cut(string(text), "\n")
		return whole && len(strings.Fields(line)) >= 1+1+4
	}, 30*time.Second, 20*time.Millisecond)
}
