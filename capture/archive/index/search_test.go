package index

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/pcapfilter"
)

// expressions are what people ask, and what moves the place where addresses are.
var expressions = []string{
	"", "host 10.0.3.21", "src host 10.0.3.21", "dst host 10.0.4.28 and udp port 53", "net 10.0.7.0/24", "net 10.1.0.0/16", "net 10.0.0.0/13",
	"host 10.0.3.21 and host 10.0.4.28", "host 2001:db8:5:0:100::5", "ip6 net 2001:db8:7::/48", "net 2001:db8::/29", "port 5060", "src port 443",
	"portrange 1024-1100", "udp portrange 50-60", "not host 10.0.3.21", "not port 53", "icmp", "sctp", "arp host 10.0.3.21", "ip proto 132",
	"vlan and host 10.0.3.21", "vlan and vlan and host 10.0.4.28", "mpls and host 10.0.3.21", "mpls and mpls and net 10.0.5.0/24", "vlan or host 10.0.3.21",
	"not vlan 7 and host 10.0.3.21", "pppoes and host 10.0.3.21", "pppoes and port 80", "host 203.0.113.9", "port 9", "host 10.0.3.21 or port 9",
	"greater 1000 and host 10.0.3.21", "less 64", "ether[0] & 1 = 1", "ip[8] = 64 and port 80", "tcp[2:2] = 80", "(host 10.0.3.21 or host 10.0.9.63) and not (port 80 or port 443)",
	"ether host 00:00:00:00:00:01 and port 53", "src net 10.0.6.0/26 and dst port 80",
}

func compile(t testing.TB, expr string) *pcapfilter.Filter {
	if expr == "" {
		return nil
	}
	f, err := pcapfilter.Compile(expr)
	require.NoError(t, err, expr)
	return f
}

// capFile is a file of a folder as the tests know it.
type capFile struct {
	name    string
	records []rawfile.Record
}

// folder makes a capture of two ports, one with three queues, in segments, with
// hosts that come and go.
func folder(t testing.TB, dir string) (files []capFile) {
	for queue := range 3 {
		at := day.Add(time.Duration(queue) * 100)
		for seq := range 3 {
			var records []rawfile.Record
			for part := range 4 {
				r := traffic(uint64(queue*100+seq*10+part), 400, 30+5*part, at, 300*time.Microsecond)
				records = append(records, r...)
				at = at.Add(400 * 300 * time.Microsecond)
			}
			files = append(files, capFile{nameOf("eth2", queue, records[0].Time(), seq), records})
		}
	}
	real := captured(t, "../../../testdata/hosts.pcap")
	for i := range real {
		at := day.Add(time.Duration(i) * 200 * time.Microsecond)
		real[i].Sec, real[i].Nsec = uint32(at.Unix()), uint32(at.Nanosecond())
	}
	files = append(files, capFile{nameOf("eth9", 0, real[0].Time(), 0), real})
	for _, f := range files {
		put(t, dir, f.name+".raw", rawOf(t, f.records))
	}
	return files
}

// build makes all indices of a folder.
func build(t testing.TB, dir string) {
	files, err := archive.List(dir)
	require.NoError(t, err)
	for _, f := range files {
		_, err := Build(f)
		require.NoError(t, err)
	}
}

// brute is the answer that a query must give: all records, looked at one by one.
func brute(files []capFile, q Query) (want []rawfile.Record) {
	for _, f := range files {
		for _, r := range f.records {
			if at := r.Time(); !at.Before(q.From) && (q.To.IsZero() || at.Before(q.To)) && (q.Filter == nil || q.Filter.Match(r.Data, int(r.Len))) {
				want = append(want, r)
			}
		}
	}
	slices.SortStableFunc(want, func(a, b rawfile.Record) int { return a.Time().Compare(b.Time()) })
	return want
}

// ask runs a query to its end.
func ask(t testing.TB, q Query, paths ...string) (got []rawfile.Record, s Stats, notices []string, faults error) {
	q.Notice = func(text string) { notices = append(notices, text) }
	if q.Queue == 0 {
		q.Queue = capture.AllQueues
	}
	x, err := Find(q, paths...)
	require.NoError(t, err)
	defer x.Close()
	for {
		r, err := x.Next()
		if err == io.EOF {
			return got, x.Stats(), notices, x.Faults()
		}
		require.NoError(t, err)
		r.Data = bytes.Clone(r.Data)
		got = append(got, r)
	}
}

func same(t testing.TB, want, got []rawfile.Record, text string) {
	t.Helper()
	require.Equal(t, len(want), len(got), text)
	for i := range want {
		if want[i].Sec != got[i].Sec || want[i].Nsec != got[i].Nsec || want[i].Len != got[i].Len || !bytes.Equal(want[i].Data, got[i].Data) {
			require.Equal(t, want[i], got[i], "%s: packet %d", text, i)
		}
	}
}

func TestQueryByIndexIsQueryByScan(t *testing.T) {
	dir := t.TempDir()
	files := folder(t, dir)
	spans := []Query{
		{},
		{From: day.Add(300 * time.Millisecond), To: day.Add(900 * time.Millisecond)},
		{From: files[1].records[0].Time(), To: files[1].records[0].Time().Add(1)},
		{To: day.Add(time.Millisecond)},
		{From: day.Add(time.Hour)},
	}
	found, without := 0, 0
	for _, indexed := range []bool{false, true} {
		if indexed {
			build(t, dir)
		}
		for n, expr := range expressions {
			if !indexed && n%8 != 0 {
				continue
			}
			for i, q := range spans {
				q.Filter = compile(t, expr)
				want := brute(files, q)
				got, s, notices, faults := ask(t, q, dir)
				text := fmt.Sprintf("index %v, filter %q, span %d", indexed, expr, i)
				same(t, want, got, text)
				require.NoError(t, faults, text)
				require.EqualValues(t, len(want), s.Matched, text)
				if indexed {
					require.Empty(t, notices)
					require.Zero(t, s.Unindexed)
					found += len(got)
					without += s.Without
				} else {
					require.Len(t, notices, s.Unindexed)
				}
			}
		}
	}
	require.NotZero(t, found)
	require.NotZero(t, without)
}

func TestQueryReadsOnlyWhatCanMatch(t *testing.T) {
	dir := t.TempDir()
	files := folder(t, dir)
	build(t, dir)
	_, s, _, _ := ask(t, Query{Filter: compile(t, "host 203.0.113.9")}, dir)
	require.Less(t, s.Read, int64(100*len(files)), "only headers")
	require.Equal(t, s.Blocks, s.Without)
	_, s, _, _ = ask(t, Query{From: day.Add(time.Hour)}, dir)
	require.Equal(t, len(files), s.Outside)
	require.Zero(t, s.Blocks)
	_, s, _, _ = ask(t, Query{}, dir)
	require.LessOrEqual(t, s.Read, s.Bytes+int64(100*len(files)))
	n := 0
	for _, f := range files {
		n += len(f.records)
	}
	require.EqualValues(t, n, s.Frames)
}

func TestQueryKeepsToPortAndQueue(t *testing.T) {
	dir := t.TempDir()
	files := folder(t, dir)
	got, s, _, _ := ask(t, Query{Port: "eth2", Queue: 2}, dir)
	same(t, brute(files[6:9], Query{}), got, "queue 2")
	require.Equal(t, 3, s.Files)
	got, _, _, _ = ask(t, Query{Port: "eth9"}, dir)
	same(t, files[9].records, got, "port eth9")
	got, s, _, _ = ask(t, Query{Port: "eth7"}, dir)
	require.Empty(t, got)
	require.Zero(t, s.Files)
}

func TestEqualStampsComeByPortQueueAndCapture(t *testing.T) {
	dir := t.TempDir()
	var files []capFile
	for queue := range 3 {
		for seq := range 2 {
			var records []rawfile.Record
			for i := range 50 {
				at := day.Add(time.Duration(seq*10+i/10) * time.Microsecond) // ten of each stamp
				records = append(records, record(at, []byte{byte(queue), byte(seq), byte(i), 13: 0}, 60))
			}
			files = append(files, capFile{nameOf("eth2", queue, records[0].Time(), seq), records})
		}
	}
	for i := len(files) - 1; i >= 0; i-- {
		put(t, dir, files[i].name+".raw", rawOf(t, files[i].records))
	}
	want := brute(files, Query{})
	got, _, _, _ := ask(t, Query{}, dir)
	same(t, want, got, "scanned")
	build(t, dir)
	got, _, _, _ = ask(t, Query{}, dir)
	same(t, want, got, "indexed")
}

func TestFilesBeingWrittenAreReadAsFarAsTheyGo(t *testing.T) {
	dir := t.TempDir()
	records := traffic(11, 6000, 50, day, time.Microsecond)
	raw := rawOf(t, records)
	raw = raw[:len(raw)-rawfile.HeaderLen]
	side := sidecarOf(t, raw[:2*Block], Block)
	side = side[:len(side)-trailerLen]
	whole, err := Parse(side)
	require.NoError(t, err)
	name := nameOf("eth2", 0, day, 0)
	q := Query{Filter: compile(t, "host 10.0.3.21")}
	for what, file := range map[string][]byte{
		"in the middle of a record": raw[:len(raw)-7],
		"block by block":            raw[:2*Block+Block/2],
		"with room reserved":        append(bytes.Clone(raw[:2*Block]), make([]byte, Block)...),
		"index ahead of the file":   raw[:Block+5000],
		"nothing yet":               {},
	} {
		var want []rawfile.Record
		for r := range rawfile.NewReader(bytes.NewReader(file)).Records() {
			if r.Data != nil {
				r.Data = bytes.Clone(r.Data)
				want = append(want, r)
			}
		}
		want = brute([]capFile{{"", want}}, q)
		path := put(t, dir, name+".raw.part", file)
		for _, indexed := range []bool{true, false} {
			text := fmt.Sprintf("%s, index %v", what, indexed)
			if indexed {
				put(t, dir, name+archive.Index, side)
			} else {
				require.NoError(t, os.Remove(archive.SidecarName(path)))
			}
			got, s, _, faults := ask(t, q, dir)
			same(t, want, got, text)
			require.NoError(t, faults, text)
			if indexed && len(file) > 2*Block {
				require.Equal(t, len(whole.Entries), s.Blocks, text)
			}
		}
	}
}

func TestFilesThatAreClosedOrDeletedMeanwhile(t *testing.T) {
	for _, held := range []bool{true, false} {
		dir := t.TempDir()
		records := traffic(12, 100, 5, day, time.Microsecond)
		path := put(t, dir, nameOf("eth2", 0, day, 0)+".raw.part", rawOf(t, records))
		gone := put(t, dir, nameOf("eth2", 1, day, 0)+".raw", rawOf(t, records))
		var notices []string
		s, err := Find(Query{Queue: capture.AllQueues, Notice: func(text string) { notices = append(notices, text) }}, dir)
		require.NoError(t, err)
		for _, c := range s.pending {
			f, err := os.Open(c.file.Path)
			require.NoError(t, err)
			require.ErrorIs(t, archive.LockExclusive(f), archive.ErrBusy, "nobody deletes it")
			require.NoError(t, f.Close())
			if !held {
				c.release() // as if there were more of them than may be held
			}
		}
		require.NoError(t, os.Rename(path, strings.TrimSuffix(path, ".part")))
		require.NoError(t, os.Remove(gone))
		n := 0
		for {
			if _, err := s.Next(); err == io.EOF {
				break
			}
			require.NoError(t, err)
			n++
		}
		require.NoError(t, s.Faults())
		if held {
			require.Equal(t, 200, n)
		} else {
			require.Equal(t, 100, n)
			require.Contains(t, strings.Join(notices, "\n"), "deleted meanwhile")
		}
		free, err := os.Open(strings.TrimSuffix(path, ".part"))
		require.NoError(t, err)
		require.NoError(t, archive.LockExclusive(free))
		require.NoError(t, free.Close())
	}
}

// A sidecar that is cut or changed anywhere changes no answer; and it is told.
func TestDamagedSidecarsAreNoticedAndNeverBelieved(t *testing.T) {
	dir := t.TempDir()
	records := traffic(13, 5000, 20, day, time.Microsecond)
	f := capFile{nameOf("eth2", 0, day, 0), records}
	put(t, dir, f.name+".raw", rawOf(t, records))
	good := sidecarOf(t, rawOf(t, records), Block)
	q := Query{Filter: compile(t, "host 10.0.3.21 or port 80"), From: day.Add(time.Millisecond)}
	want := brute([]capFile{f}, q)
	require.NotEmpty(t, want)
	try := func(side []byte, text string) {
		put(t, dir, f.name+archive.Index, side)
		got, _, notices, faults := ask(t, q, dir)
		same(t, want, got, text)
		require.NoError(t, faults, text)
		require.NotEmpty(t, notices, text)
	}
	step := max(1, len(good)/60)
	for at := 0; at < len(good); at += step {
		try(good[:at], fmt.Sprintf("cut at %d", at))
		bad := bytes.Clone(good)
		bad[at] ^= 0x10
		try(bad, fmt.Sprintf("changed at %d", at))
	}
	try(sidecarOf(t, rawOf(t, records[:4000]), Block), "of an earlier state")
	try(sidecarOf(t, rawOf(t, traffic(14, 5000, 20, day, time.Microsecond)), Block), "of another file")
	try([]byte("something else"), "no index")
	future := bytes.Clone(good)
	future[8] = 2
	try(future, "of a later version")

	// Of another file that has the same length: nobody can tell but by its records.
	other := slices.Clone(records)
	for i := range other {
		other[i].Nsec++
	}
	try(sidecarOf(t, rawOf(t, other), Block), "of another file of this length")
}

func TestIndexThatDoesNotFitInTheMiddleIsAFault(t *testing.T) {
	dir := t.TempDir()
	records := traffic(15, 8000, 20, day, time.Microsecond)
	raw := rawOf(t, records)
	name := nameOf("eth2", 0, day, 0)
	put(t, dir, name+archive.Index, sidecarOf(t, raw, Block))
	side, err := Parse(sidecarOf(t, raw, Block))
	require.NoError(t, err)
	e := side.Entries[1]
	changed := bytes.Clone(raw)
	second := e.First + int64(rawfile.HeaderLen) + int64(rawfile.DecodeHeader(e.Head[:]).Caplen)
	changed[second+4] ^= 1 // a nanosecond
	put(t, dir, name+".raw", changed)
	got, _, _, faults := ask(t, Query{}, dir)
	require.ErrorIs(t, faults, ErrStale)
	require.Len(t, got, len(records), "read on without the index")
}

func TestDamagedFilesGiveWhatIsWholeAndAreFaults(t *testing.T) {
	dir := t.TempDir()
	records := traffic(16, 3000, 20, day, time.Microsecond)
	raw := rawOf(t, records)
	name := filepath.Join(dir, "anything.raw")
	for what, c := range map[string]struct {
		file  []byte
		fault error
		n     int
	}{
		"cut in a record":    {raw[:len(raw)-20], io.ErrUnexpectedEOF, 2999},
		"cut behind one":     {raw[:len(raw)-rawfile.HeaderLen], nil, 3000},
		"cut in the padding": {raw[:len(raw)-3], io.ErrUnexpectedEOF, 3000},
		"nonsense":           {append(bytes.Clone(raw[:len(raw)-12]), bytes.Repeat([]byte("A"), 100)...), rawfile.ErrFormat, 3000},
		"empty":              {nil, nil, 0},
	} {
		require.NoError(t, os.WriteFile(name, c.file, 0o644))
		got, _, _, faults := ask(t, Query{}, dir)
		require.Len(t, got, c.n, what)
		if c.fault == nil {
			require.NoError(t, faults, what)
		} else {
			require.ErrorIs(t, faults, c.fault, what)
			require.ErrorContains(t, faults, name)
		}
	}
}

func TestQuestionsThatMakeNoSenseAreErrors(t *testing.T) {
	_, err := Find(Query{From: day, To: day.Add(-1)}, t.TempDir())
	require.ErrorContains(t, err, "before it begins")
	_, err = Find(Query{}, filepath.Join(t.TempDir(), "nosuch"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Find(Query{}, put(t, t.TempDir(), "x.pcap", nil))
	require.ErrorContains(t, err, ".raw")
}
