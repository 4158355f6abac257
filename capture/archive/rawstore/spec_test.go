package rawstore_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/rawstore"
)

// specFile is the content of a RAW file, read by HPCAP's description and without
// the code under test: little-endian records of seconds u32, nanoseconds u32,
// caplen u16, len u16 and caplen bytes; a record with time 0 is padding of
// caplen = len bytes, and ends the file.
type specFile struct {
	path        string
	size        int64
	records     []specRecord
	padding     int64 // bytes at the end, padding's headers included
	streamBytes int64 // without the 12 zeros that only a last file has
}

type specRecord struct {
	sec, nsec uint32
	length    int
	data      []byte
}

// readSpec requires that a file keeps HPCAP's rules: it starts with a record, has
// whole records only, and only padding from the first padding to its last byte.
func readSpec(t *testing.T, path string) (f specFile) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	f.path, f.size = path, int64(len(b))
	u16 := func(at int) int { return int(b[at]) | int(b[at+1])<<8 }
	u32 := func(at int) uint32 { return uint32(u16(at)) | uint32(u16(at+2))<<16 }
	at := 0
	must := func(ok bool, what string) { // thousands of times
		if !ok {
			require.Fail(t, "against the rules", "%s: %s, at byte %d of %d", path, what, at, len(b))
		}
	}
	for {
		must(at+12 <= len(b), "no padding ends it")
		r := specRecord{sec: u32(at), nsec: u32(at + 4), length: u16(at + 10)}
		caplen := u16(at + 8)
		if r.sec == 0 && r.nsec == 0 {
			break
		}
		must(caplen <= r.length, "caplen exceeds len")
		must(at+12+caplen <= len(b), "a record is split")
		r.data = b[at+12 : at+12+caplen]
		f.records = append(f.records, r)
		at += 12 + caplen
	}
	must(len(f.records) > 0, "it does not start with a record")
	f.padding = int64(len(b) - at)
	for at < len(b) {
		must(at+12 <= len(b), "a header is cut")
		must(u32(at)|u32(at+4) == 0, "padding is followed by something else")
		n := u16(at + 8)
		must(n == u16(at+10), "padding of two lengths")
		must(at+12+n <= len(b), "padding is cut")
		must(bytes.Count(b[at+12:at+12+n], []byte{0}) == n, "padding is not zeros")
		at += 12 + n
	}
	f.streamBytes = f.size
	if f.size%(1<<20) != 0 {
		require.EqualValues(t, 12, f.padding, "%s is no multiple of 1 MiB: it ends after its last record", path)
		f.streamBytes -= 12
	}
	return f
}

// specFiles reads all RAW files of a folder, and requires that it has no others
// except their sidecars.
func specFiles(t *testing.T, dir string) (all []specFile) {
	t.Helper()
	for _, path := range entries(t, dir, ".raw") {
		all = append(all, readSpec(t, path))
	}
	require.Equal(t, len(entries(t, dir, "")), len(all)+len(entries(t, dir, ".idx")), "in %s: %v", dir, entries(t, dir, ""))
	return all
}

// frames returns the numbers of a file's frames, all of a size, which send sent.
func (f specFile) frames(t *testing.T, size int) (numbers []int) {
	t.Helper()
	for i, r := range f.records {
		n := int(r.sec-1)*1e6 + int(r.nsec)
		if r.length != size || !isFrame(r.data, n, size) {
			require.Fail(t, "changed", "%s: frame %d of the file differs from frame %d", f.path, i, n)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// These sizes end the last record of a segment of 2 MiB at every distance from its
// end that matters.
func TestFilesKeepHPCAPsRulesToTheByte(t *testing.T) {
	for _, size := range []int{60, 64, 1012, 1500, 1514, 1524, 9000, 65535} {
		dir := t.TempDir()
		r := start(t, dir, rawstore.Config{})
		perFile := (segment - 12) / (size + 12) // record + one more header must fit
		r.send(t, 2*perFile+3, size)
		r.stream.Rotate()
		r.send(t, 0, size)
		r.send(t, 5, size)
		r.stream.Rotate()
		r.stream.Rotate() // once is enough
		r.send(t, 0, size)
		r.stream.Rotate() // nothing to be closed
		r.send(t, 0, size)
		r.send(t, 7, size)
		require.NoError(t, r.finish(t))
		all := specFiles(t, dir)
		require.Len(t, all, 5, "two full ones, two rotated, one last, size %d", size)
		next := 0
		for i, f := range all {
			switch {
			case i < 2:
				require.EqualValues(t, segment, f.size, "a full segment")
				require.Len(t, f.records, perFile)
				require.EqualValues(t, segment-perFile*(size+12), f.padding)
			case i < len(all)-1:
				require.Zero(t, f.size%(1<<20), "a rotated one ends with its MiB")
			default:
				require.EqualValues(t, len(f.records)*(size+12)+12, f.size, "the last one ends after its last record")
			}
			for _, n := range f.frames(t, size) {
				if n != next {
					require.Equal(t, next, n)
				}
				next++
			}
		}
		require.Equal(t, r.sent, next)
		r.balanced(t, dir)
	}
}
