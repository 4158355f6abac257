package rawfile_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// layout is a file written by hand after the table in the thesis: two records and
// three bytes of padding.
var layout = []byte{
	0x78, 0x56, 0x34, 0x12, 0xff, 0xc9, 0x9a, 0x3b, 3, 0, 4, 1, 'a', 'b', 'c',
	1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 3, 0, 0, 0, 0,
}

var records = []rawfile.Record{
	{Sec: 0x12345678, Nsec: 999999999, Len: 0x104, Data: []byte("abc")},
	{Sec: 1, Nsec: 0, Len: 60, Data: []byte{}},
}

func readAll(r *rawfile.Reader) ([]rawfile.Record, error) {
	var all []rawfile.Record
	for {
		rec, err := r.Next()
		if err != nil {
			return all, err
		}
		rec.Data = bytes.Clone(rec.Data)
		all = append(all, rec)
	}
}

func TestReaderDecodesTheLayoutByteExact(t *testing.T) {
	for name, src := range map[string]io.Reader{
		"whole":            bytes.NewReader(layout),
		"byte by byte":     iotest.OneByteReader(bytes.NewReader(layout)),
		"end with data":    iotest.DataErrReader(bytes.NewReader(layout)),
		"more after it":    io.MultiReader(bytes.NewReader(layout), bytes.NewReader(layout)),
		"no padding bytes": bytes.NewReader(layout[:len(layout)-3]),
	} {
		t.Run(name, func(t *testing.T) {
			r := rawfile.NewReader(src)
			all, err := readAll(r)
			require.Equal(t, io.EOF, err)
			require.Equal(t, records, all)
			require.True(t, r.Padded())
			require.EqualValues(t, 2, r.Count())
			require.EqualValues(t, 27, r.Offset())
			_, err = r.Next()
			require.Equal(t, io.EOF, err, "the end stays")
		})
	}
}

func TestReaderOfAFileWithoutPaddingEndsAfterItsLastRecord(t *testing.T) {
	r := rawfile.NewReader(bytes.NewReader(layout[:27]))
	all, err := readAll(r)
	require.Equal(t, io.EOF, err)
	require.Len(t, all, 2)
	require.False(t, r.Padded())
}

func TestReaderDeliversTheWholeRecordsOfAFileCutAnywhere(t *testing.T) {
	for cut := range 39 {
		whole, offset := 0, 0
		for _, end := range []int{15, 27} {
			if cut >= end {
				whole++
				offset = end
			}
		}
		r := rawfile.NewReader(bytes.NewReader(layout[:cut]))
		all, err := readAll(r)
		require.Len(t, all, whole, "cut at %d", cut)
		require.Equal(t, records[:whole], append([]rawfile.Record{}, all...))
		if cut == offset {
			require.Equal(t, io.EOF, err, "cut at %d", cut)
			continue
		}
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut at %d", cut)
		var e *rawfile.Error
		require.ErrorAs(t, err, &e)
		require.EqualValues(t, offset, e.Offset)
		require.EqualValues(t, whole, e.Records)
	}
}

func TestReaderDistinguishesInvalidFromCut(t *testing.T) {
	for name, header := range map[string]rawfile.Header{
		"nanoseconds":       {Sec: 1, Nsec: 1e9, Caplen: 1, Len: 1},
		"caplen above len":  {Sec: 1, Caplen: 61, Len: 60},
		"uneven padding":    {Caplen: 4, Len: 5},
		"text instead, 'A'": {Sec: 0x41414141, Nsec: 0x41414141, Caplen: 0x4141, Len: 0x4141},
	} {
		t.Run(name, func(t *testing.T) {
			file := bytes.Clone(layout[:27])
			var h [rawfile.HeaderLen]byte
			header.Put(h[:])
			r := rawfile.NewReader(bytes.NewReader(append(file, h[:]...)))
			all, err := readAll(r)
			require.Len(t, all, 2)
			require.ErrorIs(t, err, rawfile.ErrFormat)
			require.NotErrorIs(t, err, io.ErrUnexpectedEOF)
			require.ErrorContains(t, err, "at byte 27, after 2 whole records")
		})
	}
}

func TestReaderReturnsTheSourcesErrorAfterTheWholeRecords(t *testing.T) {
	broken := errors.New("broken disk")
	r := rawfile.NewReader(io.MultiReader(bytes.NewReader(layout[:20]), iotest.ErrReader(broken)))
	all, err := readAll(r)
	require.Len(t, all, 1)
	require.ErrorIs(t, err, broken)

	r = rawfile.NewReader(stuck{})
	_, err = r.Next()
	require.ErrorIs(t, err, io.ErrNoProgress)
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestRecordsStopsAtTheEndAndYieldsAnError(t *testing.T) {
	n := 0
	for _, err := range rawfile.NewReader(bytes.NewReader(layout)).Records() {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, 2, n)

	var last error
	for _, err := range rawfile.NewReader(bytes.NewReader(layout[:20])).Records() {
		last = err
	}
	require.ErrorIs(t, last, io.ErrUnexpectedEOF)

	for range rawfile.NewReader(bytes.NewReader(layout)).Records() {
		break
	}
}

func TestWriterWritesTheLayoutByteExact(t *testing.T) {
	var out bytes.Buffer
	w, err := rawfile.NewWriter(&out, 0)
	require.NoError(t, err)
	for _, r := range records {
		require.NoError(t, w.Write(r))
	}
	require.NoError(t, w.End())
	require.Equal(t, append(bytes.Clone(layout[:27]), make([]byte, 12)...), out.Bytes())
	require.EqualValues(t, out.Len(), w.Size())
}

func TestWriterKeepsToTheSegmentExactly(t *testing.T) {
	for _, left := range []int{0, 1, 11, 12, 13, 71, 72, 83} {
		var out bytes.Buffer
		w, err := rawfile.NewWriter(&out, rawfile.MinSegment)
		require.NoError(t, err)
		// First a record that leaves room for exactly one header and `left` bytes.
		first := rawfile.Record{Sec: 1, Len: rawfile.MaxData, Data: make([]byte, rawfile.MaxData-left)}
		require.NoError(t, w.Write(first))
		second := rawfile.Record{Sec: 2, Len: 60, Data: make([]byte, 60)}
		want := 1
		if left >= 72 { // header and 60 bytes, with one header to follow
			require.NoError(t, w.Write(second))
			want = 2
		} else {
			require.ErrorIs(t, w.Write(second), rawfile.ErrFull)
		}
		require.NoError(t, w.Fill())
		require.EqualValues(t, rawfile.MinSegment, out.Len(), "left %d", left)
		r := rawfile.NewReader(&out)
		all, err := readAll(r)
		require.Equal(t, io.EOF, err)
		require.Len(t, all, want)
		require.True(t, r.Padded())
	}
}

func TestWriterPadsMoreThanTheFieldHolds(t *testing.T) {
	var out bytes.Buffer
	w, err := rawfile.NewWriter(&out, 3*rawfile.MinSegment)
	require.NoError(t, err)
	require.NoError(t, w.Write(records[0]))
	require.NoError(t, w.Fill())
	require.EqualValues(t, 3*rawfile.MinSegment, out.Len())
	all, err := readAll(rawfile.NewReader(&out))
	require.Equal(t, io.EOF, err)
	require.Equal(t, records[:1], all)
}

func TestWriterRefusesWhatTheFormatCannotHold(t *testing.T) {
	_, err := rawfile.NewWriter(io.Discard, rawfile.MinSegment-1)
	require.ErrorContains(t, err, "must be at least")

	w, err := rawfile.NewWriter(io.Discard, 0)
	require.NoError(t, err)
	require.ErrorIs(t, w.Write(rawfile.Record{Len: 1, Data: []byte{1}}), rawfile.ErrNoTime)
	require.ErrorIs(t, w.Write(rawfile.Record{Nsec: 1e9}), rawfile.ErrFormat)
	require.ErrorContains(t, w.Write(rawfile.Record{Sec: 1, Len: 1, Data: []byte{1, 2}}), "2 bytes kept of a frame of 1")
	require.Zero(t, w.Size())

	w, err = rawfile.NewWriter(short{}, 0)
	require.NoError(t, err)
	require.ErrorIs(t, w.Write(records[0]), io.ErrShortWrite)
}

type short struct{}

func (short) Write(b []byte) (int, error) { return len(b) - 1, nil }

func TestNothingAllocatesPerRecord(t *testing.T) {
	file := bytes.Repeat(layout[:27], 4000)
	r := rawfile.NewReader(bytes.NewReader(file))
	w, err := rawfile.NewWriter(io.Discard, 0)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(2000, func() {
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(rec); err != nil {
			t.Fatal(err)
		}
	}))
}

// FuzzReader: any bytes are read without a panic, and the records read give the same
// bytes when they are written.
func FuzzReader(f *testing.F) {
	f.Add(layout)
	f.Add(layout[:27])
	f.Add(layout[:20])
	f.Add([]byte{})
	f.Add(make([]byte, 12))
	f.Add(bytes.Repeat([]byte{'A'}, 40))
	long := append([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, make([]byte, rawfile.MaxData)...)
	f.Add(append(long, long...))
	f.Fuzz(func(t *testing.T, file []byte) {
		var out bytes.Buffer
		w, err := rawfile.NewWriter(&out, 0)
		require.NoError(t, err)
		r := rawfile.NewReader(bytes.NewReader(file))
		var n uint64
		for {
			rec, err := r.Next()
			if err != nil {
				cut, invalid := errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, rawfile.ErrFormat)
				require.True(t, err == io.EOF || cut != invalid, "%v", err)
				break
			}
			n++
			require.NoError(t, w.Write(rec))
		}
		require.Equal(t, n, r.Count())
		require.EqualValues(t, out.Len(), r.Offset())
		require.True(t, bytes.Equal(file[:out.Len()], out.Bytes()))
	})
}
