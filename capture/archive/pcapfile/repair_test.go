package pcapfile_test

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
)

func repair(t *testing.T, path string) (pcapfile.Part, error) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	return pcapfile.Repair(f)
}

// whole reads a file that must be whole.
func whole(t *testing.T, path string) []pcapfile.Packet {
	t.Helper()
	r, err := pcapfile.Open(path)
	require.NoError(t, err)
	defer r.Close()
	all, err := drain(r)
	require.Equal(t, io.EOF, err)
	return all
}

func TestRepairKeepsTheWholePacketsWhereverTheFileIsCut(t *testing.T) {
	for _, format := range formats {
		for _, level := range []int{0, 1} {
			packets := some(6)
			for i := range packets {
				packets[i].Data = packets[i].Data[:20]
			}
			file := write(t, pcapfile.Encoder{Format: format}, level, 2, packets, &statistics)
			path := memory(t, nil)
			last := 0
			for size := range len(file) + 1 {
				replace(t, path, file[:size])
				part, err := repair(t, path)
				require.NoError(t, err, "%s level %d cut at %d", format, level, size)
				info, err := os.Stat(path)
				require.NoError(t, err)
				require.Equal(t, part.Bytes, info.Size())
				require.GreaterOrEqual(t, int(part.Packets), last, "more bytes, no fewer packets")
				last = int(part.Packets)
				if part.Packets == 0 {
					continue
				}
				require.Equal(t, packets[:last], whole(t, path))
				require.Equal(t, packets[0].Nano, part.First)
				require.Equal(t, packets[last-1].Nano, part.Last)
				require.EqualValues(t, 20*last, part.Kept)
				again, err := repair(t, path)
				require.NoError(t, err)
				require.Equal(t, part, again, "a repaired file stays the same")
			}
			require.Equal(t, 6, last)
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, file, got, "%s level %d: a whole file stays the same", format, level)
		}
	}
}

func TestRepairCutsAfterAPowerFailure(t *testing.T) {
	zeros := make([]byte, 5000)
	for _, format := range formats {
		for _, level := range []int{0, 1} {
			packets := some(40)
			file := write(t, pcapfile.Encoder{Format: format}, level, 10, packets, nil)
			path := save(t, "x", append(file[:len(file):len(file)], zeros...))
			part, err := repair(t, path)
			require.NoError(t, err)
			require.EqualValues(t, 40, part.Packets)
			require.Equal(t, packets, whole(t, path))

			clear(file[len(file)/2:])
			replace(t, path, file)
			part, err = repair(t, path)
			require.NoError(t, err)
			require.NotZero(t, part.Packets)
			require.Less(t, part.Packets, uint64(40))
			if level != 0 {
				require.Zero(t, part.Packets%10, "whole frames")
			}
			got := whole(t, path)
			require.Equal(t, packets[:len(got)-1], got[:len(got)-1])
		}
	}
}

func TestRepairLeavesOtherFilesAlone(t *testing.T) {
	for _, text := range []string{"what is this, if not a text?", "\x28\xb5\x2f\xfd\x04\x00\x09\x00\x00abc"} {
		path := save(t, "x", []byte(text))
		_, err := repair(t, path)
		if err == nil {
			continue // a frame that cannot be unpacked counts as cut
		}
		require.ErrorIs(t, err, pcapfile.ErrForeign)
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
	path := save(t, "x.zst", nil)
	plain := save(t, "text", []byte("some text that was compressed by another program"))
	run(t, "zstd", "-q", "-f", plain, "-o", path)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = repair(t, path)
	require.ErrorIs(t, err, pcapfile.ErrForeign)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, got)
}

// FuzzRepair: after Repair any file can be read to its end, and has as many packets
// as Repair returns.
func FuzzRepair(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, file []byte) {
		path := memory(t, file)
		part, err := repair(t, path)
		if err != nil || part.Packets == 0 {
			return
		}
		src, err := os.Open(path)
		require.NoError(t, err)
		defer src.Close()
		r, err := capfile.NewReader(src, capfile.Options{})
		if err != nil {
			return // for example another link type
		}
		defer r.Close()
		for err == nil {
			_, err = r.Next()
		}
		if err == io.EOF { // a stamp may be out of range, by other options of the interface
			require.Equal(t, part.Packets, r.Delivered()+r.LeftOut())
		}
	})
}
