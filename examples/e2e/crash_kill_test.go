package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/internal/testtime"
)

// A capture is killed and restarted on the same directory at random moments, also
// during recovery. After each kill all files can be read, and a search finds all whole
// frames. After a run that is not killed all files are closed, without gaps, and hold
// all frames found before.
func TestCaptureKilledAtRandomMomentsLosesNothingThatWasOnDisk(t *testing.T) {
	const inARow = 4
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for done := 0; done < crashes(t); done += inARow {
		t.Run(fmt.Sprint(done), func(t *testing.T) { killInARow(t, random, min(inARow, crashes(t)-done)) })
	}
}

// killedRun describes the files of a killed run.
type killedRun struct {
	stems  map[string]bool // true: the file was closed
	frames int             // found by a search
}

func killInARow(t *testing.T, random *rand.Rand, n int) {
	wire := endlessWire(t, "400Mbps")
	dir := t.TempDir()
	args := []string{"-w", dir, "--segment", "2MiB", "--buffer", "4MiB", "-i"}
	known := map[string]bool{}
	newFiles := func() (k killedRun) {
		k.stems = map[string]bool{}
		for _, file := range inDir(t, dir) {
			if s := stem(file); !known[s] {
				k.stems[s] = strings.HasSuffix(file, ".raw")
			}
		}
		return k
	}
	var runs []killedRun
	for range n {
		dd := launch(t, command(t, "hpcapdd", append(args, wire.device)...))
		if random.IntN(2) == 0 { // at any time, maybe before the first file
			time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
		} else { // while it writes
			files := random.IntN(6)
			require.Eventually(t, func() bool { return len(newFiles().stems) > files }, testtime.Deadline, time.Millisecond, "%s", &dd.stderr)
			time.Sleep(time.Duration(random.IntN(50_000)) * time.Microsecond)
		}
		dd.end(unix.SIGKILL)
		k := newFiles()
		var paths []string
		for _, file := range inDir(t, dir) {
			if _, ok := k.stems[stem(file)]; ok {
				paths = append(paths, file)
				known[stem(file)] = true
			}
		}
		k.frames = requireReadable(t, paths)
		runs = append(runs, k)
	}

	// The next start recovers the files by itself.
	dd := launch(t, command(t, "hpcapdd", append(args, endlessWire(t, "20Mbps").device, "--json")...))
	require.Eventually(t, func() bool {
		last := newFiles().stems
		for _, file := range inDir(t, dir) {
			if _, ok := last[stem(file)]; !ok && strings.HasSuffix(file, ".part") {
				return false
			}
		}
		return len(last) > 0
	}, testtime.Deadline, 5*time.Millisecond, "files of killed runs are not recovered: %s", &dd.stderr)
	r := dd.end(unix.SIGINT)
	require.Zero(t, r.status, r.stderr)
	l := ledger(t, r)
	require.Empty(t, failedBytes(l))
	requireIntact(t, dir)
	last := newFiles()
	last.frames = int(l.Frames())
	for i, k := range append(runs, last) {
		var files []string
		for _, file := range inDir(t, dir) {
			if _, ok := k.stems[stem(file)]; ok {
				files = append(files, file)
			}
		}
		got := wire.checkFiles(t, files)
		for _, before := range got.gaps {
			// Blocks of two files may be in flight at once, and the kill may have lost the
			// earlier one.
			require.False(t, k.stems[stem(before)], "run %d: frames are missing after %s, which was closed", i, before)
		}
		require.Equal(t, k.frames, got.frames, "run %d", i)
	}
}

// The same with four queues: all files are closed, without errors, and hold frames of
// the wire's length.
func TestKilledCaptureOfSeveralQueuesIsRecovered(t *testing.T) {
	dir := t.TempDir()
	args := []string{"-i", "sim:gen,size=1000,flows=64,rate=500Mbps,backpressure", "--queues", "4", "-w", dir, "--segment", "1MiB", "--buffer", "4MiB"}
	for range 2 {
		dd := launch(t, command(t, "hpcapdd", args...))
		before := len(inDir(t, dir))
		require.Eventually(t, func() bool { return len(inDir(t, dir)) > before+8 }, testtime.Deadline, time.Millisecond, "%s", &dd.stderr)
		dd.end(unix.SIGKILL)
	}
	parts := func() (n int) {
		for _, file := range inDir(t, dir) {
			if filepath.Ext(file) == ".part" {
				n++
			}
		}
		return n
	}
	recoverDir(t, dir)
	require.Zero(t, parts())
	requireIntact(t, dir)
	for _, file := range inDir(t, dir) {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		frames := search(t, []string{file})
		require.Positive(t, frames)
		require.Equal(t, frames, (len(b)-12)/1012)
	}
}
