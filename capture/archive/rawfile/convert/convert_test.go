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

	"github.com/ixcap/ixcap/capfile"
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
	w, err := convert.NewWriter(&out, format, false)
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
			r, err := convert.NewReader(bytes.NewReader(capture(t, format, records)), capfile.Options{})
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
			r, err := convert.NewReader(bytes.NewReader(file[:cut]), capfile.Options{})
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
	_, err := convert.NewReader(bytes.NewReader(file(layers.LinkTypeRaw, time.Unix(1, 0), 1)), capfile.Options{})
	require.ErrorContains(t, err, "Ethernet frames only")

	r, err := convert.NewReader(bytes.NewReader(file(layers.LinkTypeEthernet, time.Unix(0, 0), 60)), capfile.Options{})
	require.NoError(t, err)
	rec, err := r.Next()
	require.NoError(t, err)
	require.EqualValues(t, 1, rec.Nsec, "a stamp of 0 would read as padding")
	require.EqualValues(t, 1, r.Moved())

	for _, text := range []string{"", "abc", "this is no capture, whatever its name says"} {
		_, err := convert.NewReader(bytes.NewReader([]byte(text)), capfile.Options{})
		require.Error(t, err)
	}
}

// What RAW cannot hold is left out and counted, and the rest is converted.
func TestPacketsBeyondRAWAreLeftOutAndCounted(t *testing.T) {
	packets := []pcapfile.Packet{
		{Nano: 1e9, Len: 3, Data: []byte("abc")},
		{Nano: 2e9, Len: 65535, Data: make([]byte, 65535)},
		{Nano: 3e9, Len: 65536, Data: make([]byte, 100)},
		{Nano: 4e9, Len: 200000, Data: make([]byte, 200000)},
		{Nano: -1, Len: 3, Data: []byte("abc")},
		{Nano: 1 << 32 * 1e9, Len: 3, Data: []byte("abc")},
		{Nano: 5e9, Len: 3, Data: []byte("end")},
	}
	var file bytes.Buffer
	ng, err := pcapgo.NewNgWriter(&file, layers.LinkTypeEthernet)
	require.NoError(t, err)
	for _, p := range packets {
		require.NoError(t, ng.WritePacket(gopacket.CaptureInfo{Timestamp: p.Time(), CaptureLength: len(p.Data), Length: int(p.Len)}, p.Data))
	}
	require.NoError(t, ng.Flush())
	r, err := convert.NewReader(bytes.NewReader(file.Bytes()), capfile.Options{})
	require.NoError(t, err)
	all, err := readAll(r)
	require.Equal(t, io.EOF, err)
	require.Len(t, all, 3)
	require.Equal(t, []byte("end"), all[2].Data)
	require.EqualValues(t, 3, r.Count())
	require.EqualValues(t, 4, r.LeftOut(), "all packets are accounted for")
	var text []string
	for _, c := range r.Counts() {
		text = append(text, c.String())
	}
	require.Equal(t, []string{
		"2 packets left out, too long for the output: 65536 bytes, RAW holds at most 65535. First: packet 3",
		"2 packets left out, stamped out of range: 18446744073709551615 units of 10^-9 s. First: packet 5",
	}, text)

	r, err = convert.NewReader(bytes.NewReader(file.Bytes()), capfile.Options{Strict: true})
	require.NoError(t, err)
	all, err = readAll(r)
	require.Len(t, all, 2)
	require.ErrorContains(t, err, "strict: 1 packet left out, too long for the output")
	_, again := r.Next()
	require.Equal(t, err, again, "an error stays")
}

func TestSelectedInterfaceMustBeEthernet(t *testing.T) {
	var out bytes.Buffer
	w := pcapgo.NewWriterNanos(&out)
	require.NoError(t, w.WriteFileHeader(1<<18, layers.LinkTypeRaw))
	require.NoError(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: 20, Length: 20}, make([]byte, 20)))
	r, err := convert.NewReader(&out, capfile.Options{Select: func(*capfile.Interface) bool { return true }})
	require.NoError(t, err)
	_, err = r.Next()
	require.ErrorContains(t, err, "interface 0 has link type 101 (raw IP): RAW holds Ethernet frames only")
}

func TestCopyWritesTheWholeRecordsOfACutFile(t *testing.T) {
	raw := rawOf(t, []rawfile.Record{records[0], records[0]})
	var out bytes.Buffer
	w, err := convert.NewWriter(&out, pcapfile.Pcap, false)
	require.NoError(t, err)
	n, err := w.Copy(bytes.NewReader(raw[:20]))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorAs(t, err, new(*rawfile.Error))
	require.EqualValues(t, 1, n)
	require.NoError(t, w.Flush())
	r, err := convert.NewReader(&out, capfile.Options{})
	require.NoError(t, err)
	all, err := readAll(r)
	require.Equal(t, io.EOF, err)
	require.Len(t, all, 1)

	_, err = convert.NewWriter(&out, "doc", false)
	require.ErrorContains(t, err, "must be pcap or pcapng")
}

// FuzzReader: no bytes make the Reader panic, and its records can be written as RAW.
func FuzzReader(f *testing.F) {
	for _, format := range []pcapfile.Format{pcapfile.Pcap, pcapfile.Pcapng} {
		var out bytes.Buffer
		w, err := convert.NewWriter(&out, format, false)
		require.NoError(f, err)
		require.NoError(f, w.Write(records[0]))
		require.NoError(f, w.Write(records[1]))
		require.NoError(f, w.Flush())
		f.Add(out.Bytes())
		f.Add(out.Bytes()[:out.Len()-3])
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := convert.NewReader(bytes.NewReader(file), capfile.Options{})
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

func TestFilesOfFramesWithTheirCRC(t *testing.T) {
	data := []byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x88\xb5 any frame and CRC\x01\x02\x03\x04")
	for _, format := range []pcapfile.Format{pcapfile.Pcap, pcapfile.Pcapng} {
		var out bytes.Buffer
		w, err := convert.NewWriter(&out, format, true)
		require.NoError(t, err)
		require.NoError(t, w.Write(rawfile.Record{Sec: 1, Len: uint16(len(data)), Data: data}))
		require.NoError(t, w.Flush())
		for keep, want := range map[bool][]byte{true: data, false: data[:len(data)-4]} {
			r, err := capfile.NewReader(bytes.NewReader(out.Bytes()), capfile.Options{KeepFCS: keep})
			require.NoError(t, err)
			p, err := r.Next()
			require.NoError(t, err)
			require.Equal(t, want, p.Data)
			require.EqualValues(t, len(want), p.Len)
			r.Close()
		}
	}
}
