package query

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/archivetest"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

func TestQueryByIndexIsQueryByScan(t *testing.T) {
	dir := t.TempDir()
	files := folder(t, dir)
	spans := []Request{
		{},
		{From: archivetest.Day.Add(300 * time.Millisecond), To: archivetest.Day.Add(900 * time.Millisecond)},
		{From: files[1].records[0].Time(), To: files[1].records[0].Time().Add(1)},
		{To: archivetest.Day.Add(time.Millisecond)},
		{From: archivetest.Day.Add(time.Hour)},
	}
	found, ruled := 0, 0
	for _, indexed := range []bool{false, true} {
		if indexed {
			build(t, dir)
		}
		for n, expr := range archivetest.Expressions {
			if !indexed && n%8 != 0 {
				continue
			}
			for i, q := range spans {
				q.Filter = compile(t, expr)
				want := brute(files, q)
				got, s, warned, faults := ask(t, q, dir)
				text := fmt.Sprintf("index %v, filter %q, span %d", indexed, expr, i)
				same(t, want, got, text)
				require.NoError(t, faults, text)
				require.EqualValues(t, len(want), s.Matched, text)
				if indexed {
					require.Empty(t, warned)
					require.Zero(t, s.Unindexed)
					found += len(got)
					ruled += s.BlocksRuled
				} else {
					require.Len(t, warned, s.Unindexed)
				}
			}
		}
	}
	require.NotZero(t, found)
	require.NotZero(t, ruled)
}

func TestOnlyBlocksThatCanMatchAreRead(t *testing.T) {
	dir := t.TempDir()
	files := folder(t, dir)
	build(t, dir)
	_, s, _, _ := ask(t, Request{Filter: compile(t, "host 203.0.113.9")}, dir)
	require.Less(t, s.Read, int64(100*len(files)), "only headers")
	require.Equal(t, s.Blocks, s.BlocksRuled)
	_, s, _, _ = ask(t, Request{From: archivetest.Day.Add(time.Hour)}, dir)
	require.Equal(t, len(files), s.FilesOutside)
	require.Zero(t, s.Blocks)
	_, s, _, _ = ask(t, Request{}, dir)
	require.LessOrEqual(t, s.Read, s.Bytes+int64(100*len(files)))
	n := 0
	for _, f := range files {
		n += len(f.records)
	}
	require.EqualValues(t, n, s.Frames)
}

func TestPortAndQueueAreSelected(t *testing.T) {
	dir := t.TempDir()
	files := folder(t, dir)
	got, s, _, _ := ask(t, Request{Port: "eth2", Queue: 2}, dir)
	same(t, brute(files[6:9], Request{}), got, "queue 2")
	require.Equal(t, 3, s.Files)
	got, _, _, _ = ask(t, Request{Port: "eth9"}, dir)
	same(t, files[9].records, got, "port eth9")
	got, s, _, _ = ask(t, Request{Port: "eth7"}, dir)
	require.Empty(t, got)
	require.Zero(t, s.Files)
}

func TestEqualStampsAreOrderedByPortQueueAndCapture(t *testing.T) {
	dir := t.TempDir()
	var files []capFile
	for queue := range 3 {
		for seq := range 2 {
			var records []rawfile.Record
			for i := range 50 {
				at := archivetest.Day.Add(time.Duration(seq*10+i/10) * time.Microsecond) // ten of each stamp
				records = append(records, archivetest.Record(at, []byte{byte(queue), byte(seq), byte(i), 13: 0}, 60))
			}
			files = append(files, capFile{archive.FileName("eth2", queue, records[0].Time(), seq), records})
		}
	}
	for i := len(files) - 1; i >= 0; i-- {
		archivetest.Put(t, dir, files[i].name+".raw", archivetest.Raw(t, files[i].records))
	}
	want := brute(files, Request{})
	got, _, _, _ := ask(t, Request{}, dir)
	same(t, want, got, "scanned")
	build(t, dir)
	got, _, _, _ = ask(t, Request{}, dir)
	same(t, want, got, "indexed")
}

func TestFilesBeingWrittenAreReadUpToTheirEnd(t *testing.T) {
	dir := t.TempDir()
	records := archivetest.Traffic(11, 6000, 50, archivetest.Day, time.Microsecond)
	raw := archivetest.Raw(t, records)
	raw = raw[:len(raw)-rawfile.HeaderLen]
	side := sidecarOf(raw[:2*index.Block])
	side = side[:len(side)-trailerLen]
	complete, err := index.Parse(side)
	require.NoError(t, err)
	name := archive.FileName("eth2", 0, archivetest.Day, 0)
	q := Request{Filter: compile(t, "host 10.0.3.21")}
	for what, file := range map[string][]byte{
		"in the middle of a record": raw[:len(raw)-7],
		"block by block":            raw[:2*index.Block+index.Block/2],
		"with reserved space":       append(bytes.Clone(raw[:2*index.Block]), make([]byte, index.Block)...),
		"index ahead of the file":   raw[:index.Block+5000],
		"empty":                     {},
	} {
		var want []rawfile.Record
		for r := range rawfile.NewReader(bytes.NewReader(file)).Records() {
			if r.Data != nil {
				r.Data = bytes.Clone(r.Data)
				want = append(want, r)
			}
		}
		want = brute([]capFile{{"", want}}, q)
		path := archivetest.Put(t, dir, name+".raw.part", file)
		for _, indexed := range []bool{true, false} {
			text := fmt.Sprintf("%s, index %v", what, indexed)
			if indexed {
				archivetest.Put(t, dir, name+archive.Index, side)
			} else {
				require.NoError(t, os.Remove(archive.SidecarName(path)))
			}
			got, s, _, faults := ask(t, q, dir)
			same(t, want, got, text)
			require.NoError(t, faults, text)
			if indexed && len(file) > 2*index.Block {
				require.Equal(t, len(complete.Entries), s.Blocks, text)
			}
		}
	}
}

func TestFilesClosedOrDeletedDuringAQuery(t *testing.T) {
	for _, open := range []bool{true, false} {
		dir := t.TempDir()
		records := archivetest.Traffic(12, 100, 5, archivetest.Day, time.Microsecond)
		path := archivetest.Put(t, dir, archive.FileName("eth2", 0, archivetest.Day, 0)+".raw.part", archivetest.Raw(t, records))
		deleted := archivetest.Put(t, dir, archive.FileName("eth2", 1, archivetest.Day, 0)+".raw", archivetest.Raw(t, records))
		var warned []string
		s, err := Find(Request{Queue: capture.AllQueues, Logger: slog.New(warnings{&warned})}, dir)
		require.NoError(t, err)
		for _, c := range s.pending {
			f, err := os.Open(c.file.Path)
			require.NoError(t, err)
			require.ErrorIs(t, archive.LockExclusive(f), archive.ErrBusy, "locked against repair")
			require.NoError(t, f.Close())
			if !open {
				c.in.close() // as with more files than may be open
			}
		}
		require.NoError(t, os.Rename(path, strings.TrimSuffix(path, ".part")))
		require.NoError(t, os.Remove(deleted))
		n := 0
		for {
			if _, err := s.Next(); err == io.EOF {
				break
			}
			require.NoError(t, err)
			n++
		}
		require.NoError(t, s.Faults())
		if open {
			require.Equal(t, 200, n)
		} else {
			require.Equal(t, 100, n)
			require.Contains(t, strings.Join(warned, "\n"), "was deleted during the query")
		}
		free, err := os.Open(strings.TrimSuffix(path, ".part"))
		require.NoError(t, err)
		require.NoError(t, archive.LockExclusive(free))
		require.NoError(t, free.Close())
	}
}

// A sidecar that is cut or changed anywhere does not change a result, and is logged.
func TestDamagedSidecarsAreDetectedAndIgnored(t *testing.T) {
	dir := t.TempDir()
	records := archivetest.Traffic(13, 5000, 20, archivetest.Day, time.Microsecond)
	f := capFile{archive.FileName("eth2", 0, archivetest.Day, 0), records}
	archivetest.Put(t, dir, f.name+".raw", archivetest.Raw(t, records))
	good := sidecarOf(archivetest.Raw(t, records))
	q := Request{Filter: compile(t, "host 10.0.3.21 or port 80"), From: archivetest.Day.Add(time.Millisecond)}
	want := brute([]capFile{f}, q)
	require.NotEmpty(t, want)
	try := func(side []byte, text string) {
		archivetest.Put(t, dir, f.name+archive.Index, side)
		got, _, warned, faults := ask(t, q, dir)
		same(t, want, got, text)
		require.NoError(t, faults, text)
		require.NotEmpty(t, warned, text)
	}
	step := max(1, len(good)/60)
	for at := 0; at < len(good); at += step {
		try(good[:at], fmt.Sprintf("cut at %d", at))
		bad := bytes.Clone(good)
		bad[at] ^= 0x10
		try(bad, fmt.Sprintf("changed at %d", at))
	}
	try(sidecarOf(archivetest.Raw(t, records[:4000])), "of an earlier state")
	try(sidecarOf(archivetest.Raw(t, archivetest.Traffic(14, 5000, 20, archivetest.Day, time.Microsecond))), "of another file")
	try([]byte("something else"), "no index")
	future := bytes.Clone(good)
	future[8] = 2
	try(future, "of a later version")

	// Of another file of the same length: only its records differ.
	other := slices.Clone(records)
	for i := range other {
		other[i].Nsec++
	}
	try(sidecarOf(archivetest.Raw(t, other)), "of another file of this length")
}

func TestIndexThatDoesNotFitInTheMiddleIsAFault(t *testing.T) {
	dir := t.TempDir()
	records := archivetest.Traffic(15, 8000, 20, archivetest.Day, time.Microsecond)
	raw := archivetest.Raw(t, records)
	name := archive.FileName("eth2", 0, archivetest.Day, 0)
	archivetest.Put(t, dir, name+archive.Index, sidecarOf(raw))
	side, err := index.Parse(sidecarOf(raw))
	require.NoError(t, err)
	e := side.Entries[1]
	changed := bytes.Clone(raw)
	second := e.First + int64(rawfile.HeaderLen) + int64(rawfile.DecodeHeader(e.Head[:]).Caplen)
	changed[second+4] ^= 1 // a nanosecond
	archivetest.Put(t, dir, name+".raw", changed)
	got, _, _, faults := ask(t, Request{}, dir)
	require.ErrorIs(t, faults, index.ErrStale)
	require.Len(t, got, len(records), "read without the index from there")
}

func TestDamagedFilesAreReadUpToTheDamageAndAreFaults(t *testing.T) {
	dir := t.TempDir()
	records := archivetest.Traffic(16, 3000, 20, archivetest.Day, time.Microsecond)
	raw := archivetest.Raw(t, records)
	name := filepath.Join(dir, "anything.raw")
	for what, c := range map[string]struct {
		file  []byte
		fault error
		n     int
	}{
		"cut in a record":    {raw[:len(raw)-20], io.ErrUnexpectedEOF, 2999},
		"cut behind one":     {raw[:len(raw)-rawfile.HeaderLen], nil, 3000},
		"cut in the padding": {raw[:len(raw)-3], io.ErrUnexpectedEOF, 3000},
		"no record":          {append(bytes.Clone(raw[:len(raw)-12]), bytes.Repeat([]byte("A"), 100)...), rawfile.ErrFormat, 3000},
		"empty":              {nil, nil, 0},
	} {
		require.NoError(t, os.WriteFile(name, c.file, 0o644))
		got, _, _, faults := ask(t, Request{}, dir)
		require.Len(t, got, c.n, what)
		if c.fault == nil {
			require.NoError(t, faults, what)
		} else {
			require.ErrorIs(t, faults, c.fault, what)
			require.ErrorContains(t, faults, name)
		}
	}
}

func TestInvalidRequestsAreErrors(t *testing.T) {
	_, err := Find(Request{From: archivetest.Day, To: archivetest.Day.Add(-1)}, t.TempDir())
	require.ErrorContains(t, err, "before it begins")
	_, err = Find(Request{}, filepath.Join(t.TempDir(), "nosuch"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Find(Request{}, archivetest.Put(t, t.TempDir(), "x.txt", nil))
	require.ErrorContains(t, err, ".raw")
}
