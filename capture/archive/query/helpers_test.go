package query

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/archivetest"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/pcapfilter"
)

func compile(t testing.TB, expr string) *pcapfilter.Filter {
	if expr == "" {
		return nil
	}
	f, err := pcapfilter.Compile(expr)
	require.NoError(t, err, expr)
	return f
}

// capFile is a file of a test directory.
type capFile struct {
	name    string
	records []rawfile.Record
}

// folder writes a capture of two ports, one with three queues, in segments, with
// changing hosts.
func folder(t testing.TB, dir string) (files []capFile) {
	for queue := range 3 {
		at := archivetest.Day.Add(time.Duration(queue) * 100)
		for seq := range 3 {
			var records []rawfile.Record
			for part := range 4 {
				r := archivetest.Traffic(uint64(queue*100+seq*10+part), 400, 30+5*part, at, 300*time.Microsecond)
				records = append(records, r...)
				at = at.Add(400 * 300 * time.Microsecond)
			}
			files = append(files, capFile{archive.FileName("eth2", queue, records[0].Time(), seq), records})
		}
	}
	real := archivetest.Capture(t, "../../../testdata/hosts.pcap")
	for i := range real {
		at := archivetest.Day.Add(time.Duration(i) * 200 * time.Microsecond)
		real[i].Sec, real[i].Nsec = uint32(at.Unix()), uint32(at.Nanosecond())
	}
	files = append(files, capFile{archive.FileName("eth9", 0, real[0].Time(), 0), real})
	for _, f := range files {
		archivetest.Put(t, dir, f.name+".raw", archivetest.Raw(t, f.records))
	}
	return files
}

// build builds all indices of a directory.
func build(t testing.TB, dir string) {
	files, err := archive.List(dir)
	require.NoError(t, err)
	for _, f := range files {
		if f.Packets {
			continue
		}
		_, err := index.Build(f)
		require.NoError(t, err)
	}
}

// brute returns the expected result: all records, matched one by one.
func brute(files []capFile, q Request) (want []rawfile.Record) {
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

// warnings is a slog.Handler that collects messages.
type warnings struct{ texts *[]string }

func (w warnings) Enabled(context.Context, slog.Level) bool { return true }
func (w warnings) WithAttrs([]slog.Attr) slog.Handler       { return w }
func (w warnings) WithGroup(string) slog.Handler            { return w }
func (w warnings) Handle(_ context.Context, r slog.Record) error {
	*w.texts = append(*w.texts, r.Message)
	return nil
}

// ask runs a query to its end.
func ask(t testing.TB, q Request, paths ...string) (got []rawfile.Record, s Stats, warned []string, faults error) {
	q.Logger = slog.New(warnings{&warned})
	if q.Queue == 0 {
		q.Queue = capture.AllQueues
	}
	x, err := Find(q, paths...)
	require.NoError(t, err)
	defer x.Close()
	for {
		p, err := x.Next()
		if err == io.EOF {
			return got, x.Stats(), warned, x.Faults()
		}
		require.NoError(t, err)
		got = append(got, recordOf(p))
	}
}

// recordOf returns a packet as a RAW record.
func recordOf(p *Packet) rawfile.Record {
	return rawfile.Record{Sec: uint32(p.Nano / 1e9), Nsec: uint32(p.Nano % 1e9), Len: uint16(p.Len), Data: bytes.Clone(p.Data)}
}

// sidecarOf returns the sidecar of a RAW file's bytes.
func sidecarOf(raw []byte) (side []byte) {
	b := index.NewBuilder()
	if _, err := b.Write(raw); err == nil {
		side = append(side, b.Encoded()...)
	}
	return append(side, b.Finish(int64(len(raw)))...)
}

// trailerLen is the length of a sidecar's trailer in bytes.
const trailerLen = 80

func same(t testing.TB, want, got []rawfile.Record, text string) {
	t.Helper()
	require.Equal(t, len(want), len(got), text)
	for i := range want {
		if want[i].Sec != got[i].Sec || want[i].Nsec != got[i].Nsec || want[i].Len != got[i].Len || !bytes.Equal(want[i].Data, got[i].Data) {
			require.Equal(t, want[i], got[i], "%s: packet %d", text, i)
		}
	}
}
