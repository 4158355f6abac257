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
)

// A capture is killed at random moments, again and again, and started again over
// what it left, which may itself be killed while it puts that in order. Whatever
// the moment: all files can be read at once, a search finds all that is whole, and
// once a capture has been left alone for a while all files are closed, hold what
// was sent without a gap, and lack nothing that had been found before.
func TestCaptureKilledAtRandomMomentsLosesNothingThatWasOnDisk(t *testing.T) {
	const inARow = 4
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for done := 0; done < crashes(t); done += inARow {
		t.Run(fmt.Sprint(done), func(t *testing.T) { killInARow(t, random, min(inARow, crashes(t)-done)) })
	}
}

// killed is what a run left.
type killed struct {
	stems  map[string]bool // true: the file was closed
	frames int             // that a search found
}

func killInARow(t *testing.T, random *rand.Rand, n int) {
	wire := generated(t, "400Mbps")
	dir := t.TempDir()
	args := []string{"-w", dir, "--segment", "2MiB", "--buffer", "4MiB", "-i"}
	known := map[string]bool{}
	news := func() (k killed) {
		k.stems = map[string]bool{}
		for _, file := range inDir(t, dir) {
			if s := stem(file); !known[s] {
				k.stems[s] = strings.HasSuffix(file, ".raw")
			}
		}
		return k
	}
	var runs []killed
	for range n {
		dd := launch(t, command(t, "hpcapdd", append(args, wire.device)...))
		if random.IntN(2) == 0 { // some moment, be it before there is a file
			time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
		} else { // some moment while it writes
			files := random.IntN(6)
			require.Eventually(t, func() bool { return len(news().stems) > files }, deadline, time.Millisecond, "%s", &dd.stderr)
			time.Sleep(time.Duration(random.IntN(50_000)) * time.Microsecond)
		}
		dd.end(unix.SIGKILL)
		k := news()
		var paths []string
		for _, file := range inDir(t, dir) {
			if _, its := k.stems[stem(file)]; its {
				paths = append(paths, file)
				known[stem(file)] = true
			}
		}
		k.frames = readable(t, paths)
		runs = append(runs, k)
	}

	// A start needs no help.
	dd := launch(t, command(t, "hpcapdd", append(args, generated(t, "20Mbps").device, "--json")...))
	require.Eventually(t, func() bool {
		last := news().stems
		for _, file := range inDir(t, dir) {
			if _, its := last[stem(file)]; !its && strings.HasSuffix(file, ".part") {
				return false
			}
		}
		return len(last) > 0
	}, deadline, 5*time.Millisecond, "files of dead runs are left as they were: %s", &dd.stderr)
	r := dd.end(unix.SIGINT)
	require.Zero(t, r.status, r.stderr)
	l := ledger(t, r)
	require.Empty(t, failed(l))
	sound(t, dir)
	last := news()
	last.frames = int(l.Frames())
	for i, k := range append(runs, last) {
		var files []string
		for _, file := range inDir(t, dir) {
			if _, its := k.stems[stem(file)]; its {
				files = append(files, file)
			}
		}
		got := wire.closed(t, files)
		for _, before := range got.gaps {
			// Blocks of two files may be on their way to the disk at once, and the kill
			// may have kept the earlier one from being sent.
			require.False(t, k.stems[stem(before)], "run %d: frames are missing behind %s, which was closed", i, before)
		}
		require.Equal(t, k.frames, got.frames, "run %d", i)
	}
}

// The same with four queues, whose frames come in an order of their own each: all
// files are closed and without fault, and hold frames of the wire's lengths.
func TestCaptureOfSeveralQueuesIsKilledAndGoesOn(t *testing.T) {
	dir := t.TempDir()
	args := []string{"-i", "sim:gen,size=1000,flows=64,rate=500Mbps,backpressure", "--queues", "4", "-w", dir, "--segment", "1MiB", "--buffer", "4MiB"}
	for range 2 {
		dd := launch(t, command(t, "hpcapdd", args...))
		before := len(inDir(t, dir))
		require.Eventually(t, func() bool { return len(inDir(t, dir)) > before+8 }, deadline, time.Millisecond, "%s", &dd.stderr)
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
	recovered(t, dir)
	require.Zero(t, parts())
	sound(t, dir)
	for _, file := range inDir(t, dir) {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		frames := search(t, []string{file})
		require.Positive(t, frames)
		require.Equal(t, frames, (len(b)-12)/1012)
	}
}
