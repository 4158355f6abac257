package convert_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
)

var records = []rawfile.Record{
	{Sec: 1, Nsec: 999999999, Len: 3, Data: []byte("abc")},
	{Sec: 1<<32 - 1, Nsec: 1, Len: 65535, Data: []byte("cut short")},
	{Sec: 0, Nsec: 1, Len: 0, Data: []byte{}},
	{Sec: 7, Nsec: 0, Len: 65535, Data: bytes.Repeat([]byte{0xa5}, 65535)},
}

func rawOf(t *testing.T, records []rawfile.Record) []byte {
	var out bytes.Buffer
	w, err := rawfile.NewWriter(&out, 0)
	require.NoError(t, err)
	for _, r := range records {
		require.NoError(t, w.Write(r))
	}
	require.NoError(t, w.End())
	return out.Bytes()
}

func capture(t *testing.T, format pcapfile.Format, records []rawfile.Record) []byte {
	var out bytes.Buffer
	w, err := convert.NewWriter(&out, format)
	require.NoError(t, err)
	n, err := w.Copy(bytes.NewReader(rawOf(t, records)))
	require.NoError(t, err)
	require.EqualValues(t, len(records), n)
	require.NoError(t, w.Flush())
	return out.Bytes()
}

func readAll(r *convert.Reader) ([]rawfile.Record, error) {
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

func TestRecordsAreTheSameAfterBothConversions(t *testing.T) {
	for _, format := range []pcapfile.Format{pcapfile.Pcap, pcapfile.Pcapng} {
		t.Run(string(format), func(t *testing.T) {
			r, err := convert.NewReader(bytes.NewReader(capture(t, format, records)))
			require.NoError(t, err)
			all, err := readAll(r)
			require.Equal(t, io.EOF, err)
			require.Len(t, all, len(records))
			for i := range records {
				require.Equal(t, records[i], all[i], "record %d", i)
			}
			require.EqualValues(t, len(records), r.Count())
			require.Zero(t, r.Moved())
		})
	}
}

func TestCutCapturesGiveTheWholePacketsAndAnError(t *testing.T) {
	small := []rawfile.Record{records[0], records[0], records[0]}
	for _, format := range []pcapfile.Format{pcapfile.Pcap, pcapfile.Pcapng} {
		file := capture(t, format, small)
		clean := 0
		for cut := range file {
			r, err := convert.NewReader(bytes.NewReader(file[:cut]))
			if err != nil {
				require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%s cut at %d", format, cut)
				continue
			}
			all, err := readAll(r)
			require.Less(t, len(all), len(small)+1)
			if err == io.EOF {
				clean++
				continue
			}
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%s cut at %d", format, cut)
		}
		require.Equal(t, len(small), clean, "%s: only cuts between packets look like the end", format)
	}
}

func TestReaderRefusesWhatRAWCannotHold(t *testing.T) {
	file := func(link layers.LinkType, at time.Time, length int) []byte {
		var out bytes.Buffer
		w := pcapgo.NewWriterNanos(&out)
		require.NoError(t, w.WriteFileHeader(1<<18, link))
		require.NoError(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: length, Length: length}, make([]byte, length)))
		return out.Bytes()
	}
	_, err := convert.NewReader(bytes.NewReader(file(layers.LinkTypeRaw, time.Unix(1, 0), 1)))
	require.ErrorContains(t, err, "Ethernet frames only")

	r, err := convert.NewReader(bytes.NewReader(file(layers.LinkTypeEthernet, time.Unix(1, 0), 65536)))
	require.NoError(t, err)
	_, err = r.Next()
	require.ErrorContains(t, err, "65536 bytes")
	_, again := r.Next()
	require.Equal(t, err, again, "an error stays")

	r, err = convert.NewReader(bytes.NewReader(file(layers.LinkTypeEthernet, time.Unix(0, 0), 60)))
	require.NoError(t, err)
	rec, err := r.Next()
	require.NoError(t, err)
	require.EqualValues(t, 1, rec.Nsec, "a stamp of 0 would read as padding")
	require.EqualValues(t, 1, r.Moved())

	for _, text := range []string{"", "abc", "this is no capture, whatever its name says"} {
		_, err := convert.NewReader(bytes.NewReader([]byte(text)))
		require.Error(t, err)
	}
}

func TestCopyWritesTheWholeRecordsOfACutFile(t *testing.T) {
	raw := rawOf(t, []rawfile.Record{records[0], records[0]})
	var out bytes.Buffer
	w, err := convert.NewWriter(&out, pcapfile.Pcap)
	require.NoError(t, err)
	n, err := w.Copy(bytes.NewReader(raw[:20]))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorAs(t, err, new(*rawfile.Error))
	require.EqualValues(t, 1, n)
	require.NoError(t, w.Flush())
	r, err := convert.NewReader(&out)
	require.NoError(t, err)
	all, err := readAll(r)
	require.Equal(t, io.EOF, err)
	require.Len(t, all, 1)

	_, err = convert.NewWriter(&out, "doc")
	require.ErrorContains(t, err, "must be pcap or pcapng")
}

// FuzzReader: no bytes make the Reader panic, and its records can be written as RAW.
func FuzzReader(f *testing.F) {
	for _, format := range []pcapfile.Format{pcapfile.Pcap, pcapfile.Pcapng} {
		var out bytes.Buffer
		w, err := convert.NewWriter(&out, format)
		require.NoError(f, err)
		require.NoError(f, w.Write(records[0]))
		require.NoError(f, w.Write(records[1]))
		require.NoError(f, w.Flush())
		f.Add(out.Bytes())
		f.Add(out.Bytes()[:out.Len()-3])
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := convert.NewReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		w, err := rawfile.NewWriter(io.Discard, 0)
		require.NoError(t, err)
		for {
			rec, err := r.Next()
			if err != nil {
				return
			}
			if err := w.Write(rec); err != nil && !errors.Is(err, rawfile.ErrFormat) {
				require.NoError(t, err)
			}
		}
	})
}
