package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/retain"
)

// setClock changes the files of a run as if the clock had been ahead by a time: their
// names, timestamps and modification times.
func setClock(t *testing.T, dir string, ahead time.Duration) {
	t.Helper()
	for _, path := range inDir(t, dir) {
		f, ok := archive.ParseName(path)
		require.True(t, ok)
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		for at := 0; at < len(b); {
			h := rawfile.DecodeHeader(b[at:])
			if h.IsPadding() {
				break
			}
			h.Sec = uint32(int64(h.Sec) + int64(ahead/time.Second))
			h.Put(b[at:])
			at += rawfile.HeaderLen + int(h.Caplen)
		}
		name := filepath.Join(dir, archive.FileName(f.Port, f.Queue, f.First.Add(ahead), f.Seq)+strings.TrimPrefix(path, stem(path)))
		require.NoError(t, os.WriteFile(name, b, 0o644))
		changed := f.First.Add(ahead + time.Second)
		require.NoError(t, os.Chtimes(name, changed, changed))
		require.NoError(t, os.Remove(path))
		if err := os.Remove(f.Sidecar()); err != nil {
			require.ErrorIs(t, err, os.ErrNotExist)
		}
	}
}

// A test cannot set the machine's clock. After a step of the clock the timestamps of a
// run do not follow those of the run before: they are ahead, behind or overlap. All
// files are found and recovered, and retention deletes those captured first.
func TestFilesFromBeforeAStepOfTheClockAreFoundAndRetained(t *testing.T) {
	const frames = 6000
	for name, ahead := range map[string]time.Duration{
		"a year ahead": 365 * 24 * time.Hour, "two hours behind": -2 * time.Hour, "in 1970": -time.Since(time.Unix(90_000, 0)).Truncate(time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			args := []string{"-i", "sim:gen,size=1000,seed=1,backpressure,count=6000", "-w", dir, "--segment", "2MiB", "--buffer", "4MiB", "--json"}
			require.EqualValues(t, frames, ledger(t, succeed(t, "hpcapdd", args...)).Frames())
			setClock(t, dir, ahead)
			first := inDir(t, dir)
			last := first[len(first)-1] // as if the run had been killed
			require.NoError(t, os.Truncate(last, 1012*50+20))
			require.NoError(t, os.Rename(last, last+".part"))
			lost := frames - 2*((2<<20)/1012) - 50 // of three files
			require.Len(t, first, 3)
			require.Equal(t, frames-lost, search(t, inDir(t, dir)))

			require.EqualValues(t, frames, ledger(t, succeed(t, "hpcapdd", args...)).Frames())
			recoverDir(t, dir)
			require.Equal(t, 2*frames-lost, search(t, inDir(t, dir)))
			requireIntact(t, dir)
			all := inDir(t, dir)
			require.Len(t, all, 6)

			old := map[string]bool{}
			for _, path := range first {
				old[stem(path)] = true
			}
			size := int64(0) // of the files, and their indices, of the second run
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			for _, e := range entries {
				if info, err := e.Info(); err == nil && !old[strings.TrimSuffix(stem(filepath.Join(dir, e.Name())), archive.Index)] {
					size += info.Size()
				}
			}
			k, err := retain.New(retain.Config{Dirs: []string{dir}, Policy: retain.Policy{Size: size}})
			require.NoError(t, err)
			k.Clean(t.Context())
			for _, path := range inDir(t, dir) {
				require.False(t, old[stem(path)], "%s was captured before those that were deleted", path)
			}
			require.Len(t, inDir(t, dir), 3)
			require.Equal(t, frames, search(t, inDir(t, dir)))
		})
	}
}
