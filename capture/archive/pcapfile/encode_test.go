package pcapfile_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
)

func TestPacketsAreReadAsTheyWereWritten(t *testing.T) {
	for _, format := range formats {
		for _, level := range []int{0, 1, 3, 22} {
			t.Run(fmt.Sprintf("%s level %d", format, level), func(t *testing.T) {
				e := pcapfile.Encoder{Format: format}
				for _, packets := range [][]pcapfile.Packet{nil, sizes(), some(100)} {
					got := readAll(t, write(t, e, level, 30, packets, &statistics))
					require.Len(t, got, len(packets))
					for i := range packets {
						require.Equal(t, packets[i], got[i], "packet %d", i)
					}
				}
			})
		}
	}
}

func TestGopacketReadsWhatIsWritten(t *testing.T) {
	packets := sizes()
	r, err := pcapgo.NewReader(bytes.NewReader(write(t, pcapfile.Encoder{Format: pcapfile.Pcap}, 0, 0, packets, nil)))
	require.NoError(t, err)
	require.Equal(t, layers.LinkTypeEthernet, r.LinkType())
	require.EqualValues(t, 65535, r.Snaplen())
	require.Equal(t, gopacket.TimestampResolutionNanosecond, r.Resolution())
	for i, p := range packets {
		data, info, err := r.ReadPacketData()
		require.NoError(t, err)
		require.Equal(t, p.Data, data, "packet %d", i)
		require.EqualValues(t, p.Len, info.Length)
		require.Equal(t, p.Nano, info.Timestamp.UnixNano())
	}
	_, _, err = r.ReadPacketData()
	require.Equal(t, io.EOF, err)
}

func TestGopacketReadsTheOptionsOfPcapng(t *testing.T) {
	packets := sizes()
	packets[2].Dropped, packets[2].Comment = 17, "17 frames were lost before this one"
	packets[4].Dropped = 1 << 40
	packets[5].Comment = "a comment alone"
	file := write(t, pcapfile.Encoder{Format: pcapfile.Pcapng, Interface: described}, 0, 0, packets, &statistics)
	var got []pcapgo.NgInterfaceStatistics
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{StatisticsCallback: func(_ int, s pcapgo.NgInterfaceStatistics) { got = append(got, s) }})
	require.NoError(t, err)
	require.Equal(t, "Linux 6.1", r.SectionInfo().OS)
	require.Equal(t, pcapfile.Application, r.SectionInfo().Application)
	require.Equal(t, "a comment of the file", r.SectionInfo().Comment)
	i, err := r.Interface(0)
	require.NoError(t, err)
	require.Equal(t, "eth2", i.Name)
	require.Equal(t, "queue 3", i.Description)
	require.Equal(t, "tcp port 80", i.Filter)
	require.EqualValues(t, 1600, i.SnapLength)
	require.EqualValues(t, 9, i.TimestampResolution)
	for n, p := range packets {
		data, info, options, err := r.ReadPacketDataWithOptions()
		require.NoError(t, err)
		require.Equal(t, p.Data, data, "packet %d", n)
		require.Equal(t, p.Nano, info.Timestamp.UnixNano())
		require.Equal(t, p.Comment, strings.Join(options.Comments, ""))
		if p.Dropped == 0 {
			require.Nil(t, options.DropCount)
		} else {
			require.Equal(t, p.Dropped, *options.DropCount)
		}
	}
	_, _, err = r.ReadPacketData()
	require.ErrorIs(t, err, io.EOF)
	require.Len(t, got, 1)
	require.EqualValues(t, 1000, got[0].PacketsReceived)
	require.EqualValues(t, 17, got[0].PacketsDropped)
	require.True(t, statistics.Start.Equal(got[0].StartTime))
	require.True(t, statistics.End.Equal(got[0].EndTime))
}

func TestTsharkAndCapinfosReadWhatIsWritten(t *testing.T) {
	packets := some(50)
	packets[7].Dropped, packets[7].Comment = 17, "17 frames were lost before this one"
	path := save(t, "x.pcapng", write(t, pcapfile.Encoder{Format: pcapfile.Pcapng, Interface: described}, 0, 0, packets, &statistics))
	info := run(t, "capinfos", "-M", path)
	require.Equal(t, "50", field(t, info, "Number of packets"))
	require.Equal(t, "nanoseconds (9)", field(t, info, "File timestamp precision"))
	require.Equal(t, "Linux 6.1", field(t, info, "Capture oper-sys"))
	require.Equal(t, "ixcap", field(t, info, "Capture application"))
	require.Equal(t, "eth2", field(t, info, "Name"))
	require.Equal(t, "queue 3", field(t, info, "Description"))
	require.Equal(t, "10000000000", field(t, info, "Speed"))
	require.Equal(t, "1600", field(t, info, "Capture length"))
	require.Equal(t, "tcp port 80", field(t, info, "Filter string"))
	require.Equal(t, "1", field(t, info, "Number of stat entries"))
	require.Contains(t, info, "a comment of the file")

	out := run(t, "tshark", "-r", path, "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len", "-e", "frame.comment")
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	require.Len(t, lines, 50)
	for i, p := range packets {
		require.Equal(t, fmt.Sprintf("%d.%09d\t%d\t%d\t%s", p.Nano/1e9, p.Nano%1e9, p.Len, len(p.Data), p.Comment), lines[i], "packet %d", i)
	}
	blocks := run(t, "tshark", "-r", path, "-X", "read_format:MIME Files Format", "-V")
	for _, line := range []string{
		"Drop Count = 17", "Number of Received Packets = 1000", "Number of Dropped Packets = 17",
		"Number of Accepted Packets = 900", "Number of Packets Dropped by OS = 3", "Number of Packets Delivered to the User = 890",
	} {
		require.True(t, strings.Contains(blocks, line), line)
	}
	require.False(t, strings.Contains(blocks, "Malformed"))

	path = save(t, "x.pcap", write(t, pcapfile.Encoder{Format: pcapfile.Pcap}, 0, 0, packets, &statistics))
	require.Equal(t, "50", field(t, run(t, "capinfos", path), "Number of packets"))
	dump := run(t, "tcpdump", "-n", "-tt", "--nano", "-r", path)
	require.Equal(t, 50, strings.Count(dump, fmt.Sprintf("%d.", origin/1_000_000_000)[:6]))
	require.True(t, strings.HasPrefix(dump, fmt.Sprintf("%d.%09d ", packets[0].Nano/1e9, packets[0].Nano%1e9)), dump[:60])
}

func TestCommentsOfAnyLengthAreKept(t *testing.T) {
	p := some(1)[0]
	p.Comment = strings.Repeat("x", 70000)
	got := readAll(t, write(t, pcapfile.Encoder{Format: pcapfile.Pcapng}, 0, 0, []pcapfile.Packet{p}, nil))
	require.Len(t, got[0].Comment, 65535, "an option has 16 bits for its length")
}

func TestEncodingAPacketAllocatesNothing(t *testing.T) {
	packets := some(64)
	packets[3].Dropped, packets[3].Comment = 4, "lost"
	for _, format := range formats {
		e := pcapfile.Encoder{Format: format}
		b := make([]byte, 0, pcapfile.FrameSize)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			b = b[:0]
			for i := range packets {
				b = e.Packet(b, &packets[i])
			}
		}))
	}
}

func TestWriterRefusesInvalidSettings(t *testing.T) {
	_, err := pcapfile.NewWriter(io.Discard, pcapfile.Encoder{Format: "doc"}, 0)
	require.EqualError(t, err, `format "doc": must be pcap or pcapng`)
	for _, level := range []int{-1, 23} {
		_, err = pcapfile.NewWriter(io.Discard, pcapfile.Encoder{Format: pcapfile.Pcap}, level)
		require.ErrorContains(t, err, "choose 1 (fast) to 22 (small)")
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, format := range formats {
		for _, size := range []int{60, 1514} {
			b.Run(fmt.Sprintf("%s/size=%d", format, size), func(b *testing.B) {
				e := pcapfile.Encoder{Format: format}
				p := pcapfile.Packet{Nano: time.Now().UnixNano(), Len: uint32(size), Data: make([]byte, size)}
				out := make([]byte, 0, pcapfile.FrameSize+2000)
				b.SetBytes(int64(size))
				for b.Loop() {
					if len(out) >= pcapfile.FrameSize {
						out = out[:0]
					}
					out = e.Packet(out, &p)
				}
			})
		}
	}
}
