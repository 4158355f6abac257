package rawstore_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
)

const killEnv = "IXCAP_TEST_STORE_UNTIL_KILLED"

// The test below runs this program again, which then stores until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		storeUntilKilled(dir)
	}
	os.Exit(m.Run())
}

func storeUntilKilled(dir string) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	s, err := stream.New(stream.Config{Interface: "kill", Size: 16 << 20, Segment: 8 << 20, Node: hugepage.AnyNode})
	must(err)
	l, err := s.Listen("store", stream.Options{Policy: stream.Lossless, Start: stream.FromOldest, Aligned: true})
	must(err)
	d, err := store.OpenDir(dir)
	must(err)
	st, err := rawstore.New(rawstore.Config{Port: "kill", Segment: 8 << 20, Buffer: 16 << 20, Rotate: s.Rotate}, d)
	must(err)
	go func() { must(st.Run(context.Background(), l)) }()
	for n := 0; ; {
		f := ring.Frame{Data: frame(n, 1500), Len: 1500}
		if s.Producer().Append(uint32(1+n/1e6), uint32(n%1e6), &f, 0) {
			n++
		} else {
			time.Sleep(10 * time.Microsecond)
		}
	}
}

func TestKilledStorerLeavesFilesThatCanBeRead(t *testing.T) {
	parts := 0
	for round := range 6 {
		dir := t.TempDir()
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), killEnv+"="+dir)
		require.NoError(t, c.Start())
		require.Eventually(t, func() bool { return len(entries(t, dir, ".raw")) > round%3 }, testtime.Deadline, time.Millisecond)
		for _, path := range entries(t, dir, ".raw.part") {
			f, err := os.Open(path)
			if err != nil {
				continue // it has been closed
			}
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
			f.Close()
			if _, gone := os.Stat(path); gone == nil {
				require.ErrorIs(t, err, unix.EWOULDBLOCK, "%s is locked while it is written", path)
			}
		}
		require.NoError(t, c.Process.Kill())
		_ = c.Wait()
		// Several writes were in flight, perhaps of two files: a file may have a hole,
		// and ends there.
		gaps := map[string]bool{}
		for _, path := range entries(t, dir, ".raw.part") {
			parts++
			f, err := os.Open(path)
			require.NoError(t, err)
			require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), "the lock ended with the program")
			require.NoError(t, f.Close())
			part, ok := archive.ParseName(path)
			require.True(t, ok)
			repaired, _, err := index.Repair(part, false)
			require.NoError(t, err)
			require.LessOrEqual(t, repaired.Size, int64(8<<20))
			gaps[strings.TrimSuffix(path, ".part")] = true
		}
		all := entries(t, dir, ".raw")
		for path := range gaps {
			if !slices.Contains(all, path) { // it did not begin with a record
				all = append(all, path)
			}
		}
		slices.Sort(all)
		next, cut := 0, false
		for _, path := range all {
			if _, err := os.Stat(path); err == nil {
				for i, n := range readSpec(t, path).frames(t, 1500) {
					if n != next && !(i == 0 && cut && n > next) {
						require.Equal(t, next, n, "a gap in %s", path)
					}
					next = n + 1
				}
			}
			cut = gaps[path]
		}
		require.Greater(t, next*(rawfile.HeaderLen+1500), 7<<20)
	}
	require.Positive(t, parts, "no file was being written when its storer was killed")
}
