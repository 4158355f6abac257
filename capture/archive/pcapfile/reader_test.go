package pcapfile_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
)

func TestZstdUnpacksToTheFileThatIsNotCompressed(t *testing.T) {
	for _, format := range formats {
		e := pcapfile.Encoder{Format: format, Interface: described}
		packets := some(300)
		plain := write(t, e, 0, 0, packets, &statistics)
		path := save(t, "x.zst", write(t, e, 1, 50, packets, &statistics))
		run(t, "zstd", "-q", "-t", path)
		require.Equal(t, string(plain), run(t, "zstd", "-q", "-dc", path))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Less(t, info.Size(), int64(len(plain)))
	}
}

// TestSeekTableIsThatOfTheSeekableFormat reads the table as zstd's
// contrib/seekable_format describes it, without this package.
func TestSeekTableIsThatOfTheSeekableFormat(t *testing.T) {
	file := write(t, pcapfile.Encoder{Format: pcapfile.Pcapng}, 1, 40, some(200), &statistics)
	le := binary.LittleEndian
	foot := file[len(file)-9:]
	require.EqualValues(t, 0x8f92eab1, le.Uint32(foot[5:]))
	require.Zero(t, foot[4], "no checksums, no reserved bits")
	n := int(le.Uint32(foot))
	require.Equal(t, 8, n, "header, 5 of packets, statistics, times")
	table := file[len(file)-9-8*n-8:]
	require.EqualValues(t, 0x184d2a5e, le.Uint32(table))
	require.EqualValues(t, 8*n+9, le.Uint32(table[4:]))
	at, unpacked := 0, 0
	for i := range n {
		size := int(le.Uint32(table[8+8*i:]))
		frame := save(t, "frame.zst", file[at:at+size])
		out := run(t, "zstd", "-q", "-dc", frame)
		require.EqualValues(t, le.Uint32(table[8+8*i+4:]), len(out), "each frame unpacks alone")
		at += size
		unpacked += len(out)
	}
	require.Equal(t, len(file)-len(table), at, "the frames are the file up to the table")
	require.Greater(t, unpacked, 200*60)
}

// after returns the packets that a Reader must return after a seek to nano.
func after(packets []pcapfile.Packet, nano int64) []pcapfile.Packet {
	return packets[sort.Search(len(packets), func(i int) bool { return packets[i].Nano >= nano }):]
}

func TestSeekingFindsTheFirstPacketOfATime(t *testing.T) {
	packets := some(400)
	for i := 120; i < 280; i++ {
		packets[i].Nano = packets[120].Nano // one stamp over several frames
	}
	for _, format := range formats {
		for _, c := range []struct {
			name  string
			level int
		}{{"x", 0}, {"x.zst", 1}} {
			path := save(t, c.name, write(t, pcapfile.Encoder{Format: format}, c.level, 50, packets, &statistics))
			r, err := pcapfile.Open(path)
			require.NoError(t, err)
			all, err := drain(r)
			require.Equal(t, io.EOF, err)
			require.Equal(t, packets, all)
			if c.level != 0 {
				require.GreaterOrEqual(t, len(r.Frames()), 8)
			} else {
				require.Nil(t, r.Frames())
			}
			for _, nano := range []int64{0, origin, origin + 1, packets[49].Nano, packets[50].Nano, packets[119].Nano, packets[120].Nano, packets[120].Nano + 1,
				packets[280].Nano, packets[399].Nano, packets[399].Nano + 1, packets[0].Nano} {
				require.NoError(t, r.SeekTime(time.Unix(0, nano)))
				got, err := drain(r)
				require.Equal(t, io.EOF, err)
				want := after(packets, nano)
				require.Len(t, got, len(want), "%s from %d", format, nano)
				if len(want) != 0 {
					require.Equal(t, want, got)
				}
			}
			require.NoError(t, r.Close())
			_, err = r.Next()
			require.ErrorIs(t, err, os.ErrClosed)
		}
	}
}

func TestSeekingUnpacksNoEarlierFrame(t *testing.T) {
	packets := some(3000)
	for _, tables := range []bool{true, false} {
		file := write(t, pcapfile.Encoder{Format: pcapfile.Pcapng}, 1, 400, packets, &statistics)
		path := save(t, "x.pcapng.zst", file)
		r, err := pcapfile.Open(path)
		require.NoError(t, err)
		frames := r.Frames()
		require.NoError(t, r.Close())
		if !tables {
			last := frames[len(frames)-1]
			file = file[:last.Offset+last.Compressed]
		}
		// The earlier frames are damaged after their first packet: the search in a file
		// without tables reads the first packets.
		for _, f := range frames[:5] {
			clear(file[f.Offset+f.Compressed-8 : f.Offset+f.Compressed])
		}
		replace(t, path, file)
		r, err = pcapfile.Open(path)
		require.NoError(t, err)
		require.Len(t, r.Frames(), len(frames))
		require.NoError(t, r.SeekTime(packets[2500].Time()))
		got, err := drain(r)
		require.Equal(t, io.EOF, err)
		require.Equal(t, packets[2500:], got)

		require.NoError(t, r.SeekTime(time.Unix(0, 0)), "they are damaged")
		got, err = drain(r)
		require.ErrorContains(t, err, fmt.Sprintf("zstd frame at byte %d is damaged: ", frames[0].Offset))
		require.Len(t, strings.Split(err.Error(), "\n"), 5)
		require.NotErrorIs(t, err, io.EOF)
		require.Equal(t, packets[len(packets)-len(got):], got, "the others are whole")
		require.GreaterOrEqual(t, len(got), len(packets)-5*400)
		require.NoError(t, r.Close())
	}
}

func TestStreamCannotSeek(t *testing.T) {
	r, err := pcapfile.NewReader(bytes.NewReader(write(t, pcapfile.Encoder{Format: pcapfile.Pcap}, 1, 0, some(1), nil)))
	require.NoError(t, err)
	require.ErrorContains(t, r.SeekTime(time.Unix(0, 0)), "Use Open")
}

func TestFilesOfOtherProgramsAreReadFromTheirStart(t *testing.T) {
	packets := some(100)
	plain := save(t, "x.pcapng", write(t, pcapfile.Encoder{Format: pcapfile.Pcapng}, 0, 0, packets, nil))
	run(t, "zstd", "-q", plain, "-o", plain+".zst")
	r, err := pcapfile.Open(plain + ".zst")
	require.NoError(t, err)
	defer r.Close()
	require.Nil(t, r.Frames())
	require.NoError(t, r.SeekTime(packets[60].Time()))
	got, err := drain(r)
	require.Equal(t, io.EOF, err)
	require.Equal(t, packets[60:], got)
}

func TestFileThatIsCutIsReadUpToTheCut(t *testing.T) {
	for _, format := range formats {
		e := pcapfile.Encoder{Format: format, Interface: described}
		packets := sizes()[:7]
		file := write(t, e, 0, 0, packets, &statistics)
		header := len(write(t, e, 0, 0, nil, nil))
		ends := []int{header}
		for i := range packets {
			ends = append(ends, len(write(t, e, 0, 0, packets[:i+1], nil)))
		}
		for size := range file {
			whole := sort.SearchInts(ends, size+1) - 1 // whole packets of a file of so many bytes
			var got []pcapfile.Packet
			r, err := pcapfile.NewReader(bytes.NewReader(file[:size]))
			if whole >= 0 {
				require.NoError(t, err)
				got, err = drain(r)
			}
			require.Len(t, got, max(whole, 0), "%s cut at %d", format, size)
			if whole < 0 || size != ends[whole] {
				require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%s cut at %d", format, size)
			} else {
				require.Equal(t, io.EOF, err)
			}
			require.Equal(t, max(whole, 0), oracle(file[:size], format), "%s cut at %d: gopacket", format, size)
		}
	}
}

// oracle counts the packets that gopacket reads before the end or an error.
func oracle(file []byte, format pcapfile.Format) (n int) {
	if format == pcapfile.Pcap {
		r, err := pcapgo.NewReader(bytes.NewReader(file))
		for err == nil {
			if _, _, err = r.ReadPacketData(); err == nil {
				n++
			}
		}
		return n
	}
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
	for err == nil {
		if _, _, err = r.ReadPacketData(); err == nil {
			n++
		}
	}
	return n
}

func TestCompressedFileThatIsCutGivesItsWholeFrames(t *testing.T) {
	for _, format := range formats {
		packets := some(9)
		for i := range packets {
			packets[i].Data = packets[i].Data[:20]
		}
		file := write(t, pcapfile.Encoder{Format: format}, 1, 3, packets, &statistics)
		path := memory(t, file)
		r, err := pcapfile.Open(path)
		require.NoError(t, err)
		frames := r.Frames()
		require.NoError(t, r.Close())
		for size := range file {
			whole, any := 0, size >= int(frames[0].Offset)
			for _, f := range frames {
				if f.Offset+f.Compressed <= int64(size) {
					whole += int(f.Packets)
				}
			}
			r, err := pcapfile.NewReader(bytes.NewReader(file[:size]))
			if !any {
				require.Error(t, err, "%s cut at %d", format, size)
				continue
			}
			require.NoError(t, err, "%s cut at %d", format, size)
			got, err := drain(r)
			require.Error(t, err)
			require.GreaterOrEqual(t, len(got), whole, "%s cut at %d: %v", format, size, err)
			require.Equal(t, packets[:len(got)], append([]pcapfile.Packet{}, got...))

			// By time, without unpacking earlier frames.
			replace(t, path, file[:size])
			r, err = pcapfile.Open(path)
			require.NoError(t, err)
			require.NoError(t, r.SeekTime(packets[4].Time()))
			got, err = drain(r)
			require.Error(t, err)
			require.GreaterOrEqual(t, len(got), whole-4)
			if len(got) != 0 {
				require.Equal(t, packets[4:4+len(got)], got)
			}
			require.NoError(t, r.Close())
		}
	}
}

func TestReaderRefusesOtherFiles(t *testing.T) {
	for _, text := range []string{"", "abc", "this is no capture, whatever its name says"} {
		_, err := pcapfile.NewReader(bytes.NewReader([]byte(text)))
		require.Error(t, err, "%q", text)
		_, err = pcapfile.Open(save(t, "x.pcap", []byte(text)))
		require.ErrorContains(t, err, "x.pcap", "%q", text)
	}
	_, err := pcapfile.Open("/no/such/file.pcap")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// fuzzSeeds are files of each kind, whole and cut.
func fuzzSeeds(f *testing.F) {
	packets := sizes()[:7]
	packets[1].Dropped, packets[1].Comment = 3, "lost"
	for _, format := range formats {
		for _, level := range []int{0, 1} {
			file := write(f, pcapfile.Encoder{Format: format, Interface: described}, level, 3, packets, &statistics)
			f.Add(file)
			f.Add(file[:len(file)-3])
			f.Add(file[:len(file)/2])
		}
	}
}

// FuzzOpen: no bytes make a Reader panic, and a seek to the earliest time gives the
// same packets.
func FuzzOpen(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, file []byte) {
		path := memory(t, file)
		r, err := pcapfile.Open(path)
		if err != nil {
			return
		}
		defer r.Close()
		for _, f := range r.Frames() {
			require.LessOrEqual(t, f.Offset+f.Compressed, int64(len(file)))
		}
		want, _ := drain(r)
		if r.SeekTime(time.Unix(0, -1<<62)) == nil {
			got, _ := drain(r)
			require.Equal(t, fmt.Sprint(len(want)), fmt.Sprint(len(got)))
		}
		_ = r.SeekTime(time.Unix(0, origin+3))
		_, _ = drain(r)
	})
}

func TestAFileThatIsReclaimedIsNotTakenForItsEnd(t *testing.T) {
	path := save(t, "x.pcap", write(t, pcapfile.Encoder{Format: pcapfile.Pcap}, 0, 0, some(5000), nil))
	r, err := pcapfile.Open(path)
	require.NoError(t, err)
	defer r.Close()
	_, err = r.Next()
	require.NoError(t, err)
	reclaim, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	require.NoError(t, reclaim.Truncate(0))
	require.NoError(t, reclaim.Close())
	for err == nil {
		_, err = r.Next()
	}
	require.ErrorIs(t, err, archive.ErrReclaimed)
	require.Less(t, r.Count(), uint64(5000))
}
