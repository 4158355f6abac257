package e2e

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/query"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/retain"
	"github.com/ixcap/ixcap/sim/wire"
)

// crashes returns how many times a capture is killed: IXCAP_CRASHES, default 12, or 3
// with -short.
func crashes(t *testing.T) int {
	t.Helper()
	text := os.Getenv("IXCAP_CRASHES")
	switch {
	case text != "":
		n, err := strconv.Atoi(text)
		require.NoError(t, err, "IXCAP_CRASHES")
		return n
	case testing.Short():
		return 3
	}
	return 12
}

// sender is a generated wire: it reproduces frame n.
type sender struct {
	*wire.Generator
	device string
}

// endlessWire returns a wire that never ends and pauses while there is no capture, so
// that captures miss no frame.
func endlessWire(t *testing.T, rate string) sender {
	t.Helper()
	o := []wire.Option{{Key: "gen"}, {Key: "size", Value: "60-1514"}, {Key: "flows", Value: "8"}, {Key: "seed", Value: "5"}, {Key: "rate", Value: rate}}
	g, err := wire.NewGenerator(o)
	require.NoError(t, err)
	return sender{g, "sim:gen,size=60-1514,flows=8,seed=5,rate=" + rate + ",backpressure"}
}

// stored is the content of the files of one run and one queue.
type stored struct {
	frames int
	bytes  int64    // of the stream, without the padding at the end of files
	gaps   []string // files after which frames are missing; "": before the first
	next   uint64   // number of the next frame
}

// checkFiles reads the closed files of one queue in capture order and requires that
// each holds the frames as sent, without a gap.
func (s sender) checkFiles(t *testing.T, files []string) (sum stored) {
	t.Helper()
	var want []byte
	for i, name := range files {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		r := rawfile.NewReader(bytes.NewReader(b))
		first := true
		var last time.Time
		for rec, err := range r.Records() {
			require.NoError(t, err, name)
			want = s.Append(want[:0], sum.next)
			for from := sum.next; first && !bytes.Equal(want, rec.Data); want = s.Append(want[:0], sum.next) {
				sum.next++
				require.Less(t, sum.next-from, uint64(5_000_000), "the first frame of %s is none of the following frames of the wire", name)
				if sum.next == from+1 {
					before := ""
					if i > 0 {
						before = files[i-1]
					}
					sum.gaps = append(sum.gaps, before)
				}
			}
			if !bytes.Equal(want, rec.Data) {
				require.Failf(t, "frame differs", "%s: frame %d of the wire, %d of the file", name, sum.next, r.Count())
			}
			require.False(t, rec.Time().Before(last), name)
			last = rec.Time()
			first = false
			sum.next++
			sum.frames++
		}
		require.NotZero(t, r.Count(), "%s holds no frame", name)
		size := int64(len(b))
		if size%rawstore.Block != 0 && r.Padded() {
			size -= rawfile.HeaderLen
		}
		sum.bytes += size
	}
	return sum
}

// requireReadable requires that the files of a killed run can be read before recovery:
// closed files to their end, others, which may have gaps, by a search. It returns the
// number of frames.
func requireReadable(t *testing.T, files []string) (frames int) {
	t.Helper()
	for _, name := range files {
		if !strings.HasSuffix(name, ".raw") {
			continue
		}
		f, err := os.Open(name)
		require.NoError(t, err)
		r := rawfile.NewReader(f)
		for _, err := range r.Records() {
			require.NoError(t, err, name)
		}
		require.True(t, r.Padded(), name)
		require.NoError(t, f.Close())
	}
	return search(t, files)
}

// search returns the number of frames that a query finds in files.
func search(t *testing.T, files []string) (frames int) {
	t.Helper()
	if len(files) == 0 {
		return 0
	}
	s, err := query.Find(query.Request{Queue: capture.AllQueues}, files...)
	require.NoError(t, err)
	defer s.Close()
	for {
		if _, err := s.Next(); err != nil {
			require.ErrorIs(t, err, io.EOF)
			require.NoError(t, s.Faults())
			return frames
		}
		frames++
	}
}

// inDir lists the RAW files of directories, closed or not, in capture order. A
// directory that does not exist has none.
func inDir(t *testing.T, dirs ...string) (files []string) {
	t.Helper()
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if !errors.Is(err, os.ErrNotExist) {
			require.NoError(t, err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".raw") || strings.HasSuffix(e.Name(), ".raw.part") {
				files = append(files, filepath.Join(dir, e.Name()))
			}
		}
	}
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	return files
}

// stem returns the path without .raw or .raw.part.
func stem(path string) string { return strings.TrimSuffix(strings.TrimSuffix(path, ".part"), ".raw") }

// requireIntact requires that a directory holds closed RAW files without errors, their
// sidecars, which may be missing, and nothing else.
func requireIntact(t *testing.T, dir string) {
	t.Helper()
	files, err := archive.List(dir)
	require.NoError(t, err)
	n := 0
	for _, f := range files {
		r, err := index.Verify(f)
		require.NoError(t, err)
		require.Empty(t, r.Problems, f.Path)
		require.False(t, f.Part, f.Path)
		if r.Index == index.Complete {
			n++
		} else {
			require.Equal(t, index.Missing, r.Index, f.Path)
		}
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries { // recovery keeps the data after a gap
		if strings.HasSuffix(e.Name(), ".raw.part.cut") {
			n++
		}
	}
	require.Len(t, entries, len(files)+n, "unexpected files: %v", entries)
}

// recoverDir recovers the files of a directory, as the next start of a capture does.
func recoverDir(t *testing.T, dir string) {
	t.Helper()
	for _, r := range retain.Recover(t.Context(), dir) {
		require.NoError(t, r.Err, r.Path)
	}
}

// failedBytes returns the bytes that a ledger's storers could not store, by cause.
func failedBytes(l capture.Ledger) map[string]uint64 {
	m := map[string]uint64{}
	for _, s := range l.Storers {
		for _, f := range s.Failed {
			m[f.Cause] += f.Bytes
		}
	}
	return m
}
