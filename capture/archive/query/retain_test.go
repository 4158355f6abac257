package query

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/retain"
)

// rest reads the packets of a query that has begun.
func rest(t *testing.T, s *Result) (got []rawfile.Record) {
	t.Helper()
	for {
		p, err := s.Next()
		if err == io.EOF {
			return got
		}
		require.NoError(t, err)
		got = append(got, recordOf(p))
	}
}

func TestAQueryReadsToTheEndWhatRetentionDeletes(t *testing.T) {
	for _, indexed := range []bool{true, false} {
		dir := t.TempDir()
		files := folder(t, dir)
		if indexed {
			build(t, dir)
		}
		var warned []string
		q := Request{Queue: capture.AllQueues, Logger: slog.New(warnings{&warned})}
		s, err := Find(q, dir)
		require.NoError(t, err)
		p, err := s.Next()
		require.NoError(t, err)
		first := recordOf(p)

		k, err := retain.New(retain.Config{Dirs: []string{dir}, Policy: retain.Policy{Size: 1}})
		require.NoError(t, err)
		k.Clean(t.Context())
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
		require.EqualValues(t, len(files), k.Stats().Open.Files)

		got := append([]rawfile.Record{first}, rest(t, s)...)
		require.NoError(t, s.Faults())
		same(t, brute(files, q), got, "as if nothing had been deleted")
		require.Contains(t, strings.Join(warned, "\n"), files[1].name+".raw: was deleted during the query, with its index: read completely")
		require.NoError(t, s.Close())
		k.Clean(t.Context())
		require.Zero(t, k.Stats().Open)
	}
}

func TestAQuerySaysWhichFilesWereReclaimed(t *testing.T) {
	for _, indexed := range []bool{true, false} {
		dir := t.TempDir()
		files := folder(t, dir)
		if indexed {
			build(t, dir)
		}
		s, err := Find(Request{Queue: capture.AllQueues}, dir)
		require.NoError(t, err)
		_, err = s.Next()
		require.NoError(t, err)
		for _, f := range []capFile{files[0], files[2]} { // one that is being read, and a later one
			path := filepath.Join(dir, f.name+".raw")
			reclaim, err := os.OpenFile(path, os.O_RDWR, 0)
			require.NoError(t, err)
			require.NoError(t, os.Remove(path))
			require.NoError(t, reclaim.Truncate(0))
			require.NoError(t, reclaim.Close())
		}
		got, want := rest(t, s), len(brute(files, Request{}))-1-len(files[2].records)
		require.ErrorContains(t, s.Faults(), filepath.Join(dir, files[2].name+".raw")+": "+archive.ErrReclaimed.Error())
		if strings.Contains(s.Faults().Error(), files[0].name) {
			require.Less(t, len(got), want)
		} else {
			require.Len(t, got, want, "its packets were read before")
		}
		require.NoError(t, s.Close())
	}
}

func TestPacketFilesAreReadToTheEndOrNamed(t *testing.T) {
	for _, reclaimed := range []bool{false, true} {
		dir := t.TempDir()
		files := mixed(t, dir)
		s, err := Find(Request{Queue: capture.AllQueues}, dir)
		require.NoError(t, err)
		p, err := s.Next()
		require.NoError(t, err)
		first := recordOf(p)
		var gone []string
		for i, suffix := range []string{".pcap", ".pcapng", ".pcapng.zst", ".pcap.zst"} {
			path := filepath.Join(dir, files[3*(i+1)+2].name+suffix)
			gone = append(gone, path)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			require.NoError(t, err)
			require.NoError(t, os.Remove(path))
			if reclaimed {
				require.NoError(t, f.Truncate(0))
			}
			require.NoError(t, f.Close())
		}
		got := append([]rawfile.Record{first}, rest(t, s)...)
		if reclaimed {
			for _, path := range gone {
				require.ErrorContains(t, s.Faults(), path)
			}
			require.Equal(t, len(gone), strings.Count(s.Faults().Error(), archive.ErrReclaimed.Error()), s.Faults())
		} else {
			require.NoError(t, s.Faults())
			same(t, brute(files, Request{}), got, "as if nothing had been deleted")
		}
		require.NoError(t, s.Close())
	}
}
