package capfile_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"os/exec"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
)

// compressors make one gzip member, zstd frame, lz4 frame or bzip2 stream.
func compressors(t testing.TB) map[string]func([]byte) []byte {
	closed := func(out *bytes.Buffer, w io.WriteCloser, b []byte) []byte {
		_, err := w.Write(b)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return out.Bytes()
	}
	return map[string]func([]byte) []byte{
		"gzip": func(b []byte) []byte {
			var out bytes.Buffer
			return closed(&out, gzip.NewWriter(&out), b)
		},
		"zstd": func(b []byte) []byte {
			var out bytes.Buffer
			z, err := zstd.NewWriter(&out)
			require.NoError(t, err)
			return closed(&out, z, b)
		},
		"lz4": func(b []byte) []byte {
			var out bytes.Buffer
			return closed(&out, lz4.NewWriter(&out), b)
		},
	}
}

// skippableFrame is one of zstd and of lz4.
func skippableFrame(n int) []byte {
	return append(u32(nil, binary.LittleEndian, 0x184d2a50, uint32(n)), make([]byte, n)...)
}

func TestCompressedFiles(t *testing.T) {
	f := newNG(binary.LittleEndian).iface(1, 0)
	for i := range 1000 {
		f.packet(0, uint64(i), 600, frame(byte(i), 600))
	}
	want, _ := whole(t, f.b)
	half := len(f.b)/2 + 3
	for name, compress := range compressors(t) {
		one := compress(f.b)
		files := [][]byte{one, append(compress(f.b[:half]), compress(f.b[half:])...)}
		if name != "gzip" {
			files = append(files, append(skippableFrame(100), one...), append(append(skippableFrame(5), skippableFrame(7)...), one...))
		}
		if name == "zstd" {
			files = append(files, append(skippableFrame(1<<20), one...), append(one, skippableFrame(9)...))
		}
		for n, file := range files {
			list, r := whole(t, file)
			require.Equal(t, want, list, "%s %d", name, n)
			require.Equal(t, "pcapng in "+name, r.Format())

			again, err := capfile.NewReader(iotest.OneByteReader(bytes.NewReader(file)), capfile.Options{})
			require.NoError(t, err)
			p, err := again.Next()
			require.NoError(t, err)
			require.Equal(t, want[0], p)
			again.Close()
		}
		for _, cut := range []int{1, 5, len(one) / 2} {
			list, _, err := all(t, one[:len(one)-cut], capfile.Options{})
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%s without its last %d bytes", name, cut)
			require.LessOrEqual(t, len(list), len(want))
		}
		for _, at := range []int{len(one) / 3, len(one) / 2} {
			bad := bytes.Clone(one)
			for i := range 8 {
				bad[at+i] ^= 0x55
			}
			_, _, err := all(t, bad, capfile.Options{})
			require.Error(t, err, name)
		}
	}
}

// The compressors that people use, not those of this program's libraries.
func TestFilesOfCompressionPrograms(t *testing.T) {
	f := newNG(binary.LittleEndian).iface(1, 0)
	for i := range 1000 {
		f.packet(0, uint64(i), 600, frame(byte(i), 600))
	}
	want, _ := whole(t, f.b)
	for _, command := range [][]string{
		{"gzip", "-9"}, {"bzip2", "-1"}, {"zstd", "-19"}, {"zstd", "--long=27"}, {"lz4", "-9"}, {"lz4", "-l"}, {"lz4", "-BD"},
	} {
		if _, err := exec.LookPath(command[0]); err != nil {
			t.Logf("%s is not installed: its files are not read here", command[0])
			continue
		}
		cmd := exec.Command(command[0], append(command[1:], "-c")...)
		cmd.Stdin = bytes.NewReader(f.b)
		out, err := cmd.Output()
		require.NoError(t, err)
		list, r := whole(t, out)
		require.Equal(t, want, list, "%v", command)
		require.Equal(t, "pcapng in "+command[0], r.Format())
	}
}

// A file of 4 GiB of zeros in few bytes takes no memory.
func TestBombsTakeBoundedMemory(t *testing.T) {
	f := newNG(binary.LittleEndian).iface(1, 0)
	f.b = u32(f.b, f.order, 0x80000001, 400<<20)
	file := append(bytes.Clone(f.b), make([]byte, 200<<20)...)
	for name, compress := range compressors(t) {
		bomb := compress(file)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		_, _, err := all(t, bomb, capfile.Options{})
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(80<<20), name)
	}
	// A window of 1 GiB is more than zstd itself accepts.
	_, _, err := all(t, append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 20 << 3}, make([]byte, 100)...), capfile.Options{})
	require.ErrorContains(t, err, "window")
}

// What follows the members of a gzip file is passed, as by gzip -d.
func TestBytesBehindGzipAreTold(t *testing.T) {
	f := newNG(binary.LittleEndian).iface(1, 0).packet(0, 1, 60, frame(1, 60))
	want, _ := whole(t, f.b)
	compress := compressors(t)["gzip"]
	two := append(compress(f.b[:50]), compress(f.b[50:])...)
	for _, tail := range [][]byte{make([]byte, 512), []byte("garbage"), {0x1f}} {
		list, r := whole(t, append(bytes.Clone(two), tail...))
		require.Equal(t, want, list)
		require.Len(t, r.Counts(), 1)
		require.Equal(t, capfile.TrailingBytes, r.Counts()[0].Cause)
		require.EqualValues(t, len(tail), r.Counts()[0].N)
	}
	_, _, err := all(t, append(bytes.Clone(two), 0x1f, 0x8b, 8), capfile.Options{})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}
