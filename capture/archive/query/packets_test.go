package query

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/archivetest"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// packetFile returns records as a packet file with a name's suffix.
func packetFile(t testing.TB, suffix string, records []rawfile.Record) []byte {
	format, level := pcapfile.Pcap, 0
	if strings.Contains(suffix, archive.Pcapng) {
		format = pcapfile.Pcapng
	}
	if strings.Contains(suffix, archive.Zstd) {
		level = 1
	}
	var out bytes.Buffer
	w, err := pcapfile.NewWriter(&out, pcapfile.Encoder{Format: format, Interface: pcapfile.Interface{Name: "eth2"}}, level)
	require.NoError(t, err)
	for i, r := range records {
		require.NoError(t, w.Write(&pcapfile.Packet{Nano: r.Time().UnixNano(), Len: uint32(r.Len), Data: r.Data}))
		if i%100 == 99 {
			require.NoError(t, w.Flush())
		}
	}
	require.NoError(t, w.Close())
	if strings.HasSuffix(suffix, ".gz") {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, err := z.Write(out.Bytes())
		require.NoError(t, err)
		require.NoError(t, z.Close())
		return packed.Bytes()
	}
	return out.Bytes()
}

// mixed writes a capture of a port whose queues are stored in different formats, each in
// three files, and files of other programs.
func mixed(t testing.TB, dir string) (files []capFile) {
	for queue, suffix := range []string{".raw", ".pcap", ".pcapng", ".pcapng.zst", ".pcap.zst"} {
		at := archivetest.Day.Add(time.Duration(queue) * 100)
		for seq := range 3 {
			records := archivetest.Traffic(uint64(queue*10+seq), 1000, 40, at, 300*time.Microsecond)
			at = at.Add(1000 * 300 * time.Microsecond)
			f := capFile{archive.FileName("eth2", queue, records[0].Time(), seq), records}
			files = append(files, f)
			if suffix == archive.Raw {
				archivetest.Put(t, dir, f.name+suffix, archivetest.Raw(t, records))
				continue
			}
			archivetest.Put(t, dir, f.name+suffix, packetFile(t, suffix, records))
		}
	}
	for i, name := range []string{"other.pcap", "other.pcapng.gz", "other.pcap.zst"} {
		records := archivetest.Traffic(uint64(90+i), 500, 40, archivetest.Day.Add(time.Duration(50+i)), 700*time.Microsecond)
		files = append(files, capFile{name, records})
		archivetest.Put(t, dir, name, packetFile(t, name, records))
	}
	build(t, dir)
	return files
}

func TestResultsOfAllFormatsInOneFolderEqualABruteForceSearch(t *testing.T) {
	dir := t.TempDir()
	files := mixed(t, dir)
	for i, expr := range []string{"", "host 10.0.3.21", "udp port 53", "not ip", "port 80 or vlan"} {
		for j, window := range [][2]time.Duration{{}, {300 * time.Millisecond, 300*time.Millisecond + 77*time.Microsecond}, {250 * time.Millisecond, 700 * time.Millisecond}, {899 * time.Millisecond, time.Hour}} {
			q := Request{Filter: compile(t, expr)}
			if window[1] != 0 {
				q.From, q.To = archivetest.Day.Add(window[0]), archivetest.Day.Add(window[1])
			}
			got, s, _, faults := ask(t, q, dir)
			require.NoError(t, faults)
			same(t, brute(files, q), got, fmt.Sprintf("%q %v", expr, window))
			require.Equal(t, len(files), s.Files)
			if i == 0 && j == 3 {
				require.GreaterOrEqual(t, s.FilesOutside, 8, "files before the window are not opened, in any format")
			}
		}
	}
	for format, n := range map[string]int{"raw": 3000, "pcap": 7000, "pcapng": 6500} {
		got, _, _, _ := ask(t, Request{Format: format}, dir)
		require.Len(t, got, n, format)
	}
	got, _, _, _ := ask(t, Request{Port: "eth2", Queue: 3}, dir)
	require.Len(t, got, 3000)
	got, _, _, faults := ask(t, Request{}, dir, dir, filepath.Join(dir, "other.pcap"), filepath.Join(dir, "..", filepath.Base(dir)))
	require.NoError(t, faults)
	require.Len(t, got, 16500, "each file once")
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	got, _, _, _ = ask(t, Request{}, dir, link)
	require.Len(t, got, 16500, "by another path, too")
}

// A compressed file is unpacked from the window on.
func TestSeekTablesLimitWhatIsRead(t *testing.T) {
	dir := t.TempDir()
	records := archivetest.Traffic(1, 20000, 40, archivetest.Day, time.Millisecond)
	name := archive.FileName("eth2", 0, archivetest.Day, 0)
	archivetest.Put(t, dir, name+".pcapng.zst", packetFile(t, ".pcapng.zst", records))
	q := Request{From: archivetest.Day.Add(15 * time.Second), To: archivetest.Day.Add(15*time.Second + 10*time.Millisecond)}
	got, s, _, faults := ask(t, q, dir)
	require.NoError(t, faults)
	same(t, records[15000:15010], got, "")
	require.Less(t, s.Read, s.Bytes/2)
	require.Less(t, s.Frames, uint64(300))
	require.Zero(t, s.Unindexed)
}

// Queues, and interfaces of other programs' files, are sources of their own, and drops
// before packets that do not match are added to those of the next one that does.
func TestPacketsHaveTheirSourceAndDrops(t *testing.T) {
	dir := t.TempDir()
	records := archivetest.Traffic(2, 100, 4, archivetest.Day, time.Millisecond)
	archivetest.Put(t, dir, archive.FileName("eth2", 0, archivetest.Day, 0)+".raw", archivetest.Raw(t, records))
	enc := pcapfile.Encoder{Format: pcapfile.Pcapng, Interface: pcapfile.Interface{Name: "wan"}}
	b := enc.AddInterface(enc.Header(nil), &pcapfile.Interface{Name: "lan"})
	for i, r := range records {
		b = enc.Packet(b, &pcapfile.Packet{Nano: r.Time().UnixNano() + 1, Len: uint32(1000 + i), Data: r.Data[:min(len(r.Data), 60)], Interface: uint32(i % 2), Dropped: uint64(i % 4)})
	}
	archivetest.Put(t, dir, "other.pcapng", b)
	s, err := Find(Request{Queue: capture.AllQueues, Filter: compile(t, "greater 1050")}, dir)
	require.NoError(t, err)
	defer s.Close()
	n, drops := map[string]int{}, map[string]uint64{}
	var first []string
	for {
		p, err := s.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if n[p.Source.Name]++; n[p.Source.Name] == 1 {
			require.Equal(t, len(first), p.Source.Number)
			first = append(first, p.Source.Name)
		}
		drops[p.Source.Name] += p.Dropped
	}
	require.NoError(t, s.Faults())
	require.Equal(t, 25, n["wan"])
	require.Equal(t, 25, n["lan"])
	require.EqualValues(t, 25*2, drops["wan"], "0 and 2 of each four")
	require.EqualValues(t, 25*4, drops["lan"], "1 and 3")
	got, _, _, _ := ask(t, Request{}, dir)
	require.Len(t, got, 200)
	x, err := Find(Request{Queue: 0, Port: "eth2"}, dir)
	require.NoError(t, err)
	defer x.Close()
	p, err := x.Next()
	require.NoError(t, err)
	require.Equal(t, Source{Name: "eth2:0", Description: "queue 0"}, *p.Source)
}

func TestTheSameTrafficInTwoFilesIsDetected(t *testing.T) {
	dir := t.TempDir()
	records := archivetest.Traffic(3, 300, 4, archivetest.Day, time.Millisecond)
	name := archive.FileName("eth2", 0, archivetest.Day, 0)
	archivetest.Put(t, dir, name+".raw", archivetest.Raw(t, records))
	_, s, _, _ := ask(t, Request{}, dir)
	require.Zero(t, s.Copies)
	archivetest.Put(t, dir, name+".pcapng.zst", packetFile(t, ".pcapng.zst", records))
	got, s, _, _ := ask(t, Request{}, dir)
	require.Len(t, got, 600, "none is left out")
	require.GreaterOrEqual(t, s.Copies, uint64(290))
	_, s, _, _ = ask(t, Request{Format: "raw"}, dir)
	require.Zero(t, s.Copies)
}

// A packet file that is cut anywhere gives its whole packets. It is a fault with the
// file's name, unless the file is being written.
func TestPacketFilesThatAreCutGiveTheirWholePackets(t *testing.T) {
	records := archivetest.Traffic(4, 450, 4, archivetest.Day, time.Millisecond)
	name := archive.FileName("eth2", 0, archivetest.Day, 0)
	other := archivetest.Traffic(5, 50, 4, archivetest.Day, time.Millisecond)
	for _, suffix := range []string{".pcap", ".pcapng", ".pcapng.zst"} {
		whole := packetFile(t, suffix, records)
		for cut := len(whole) / 3; cut < len(whole)*9/10; cut += len(whole) / 7 {
			for _, part := range []string{"", ".part"} {
				dir := t.TempDir()
				archivetest.Put(t, dir, "other.pcap", packetFile(t, ".pcap", other))
				path := archivetest.Put(t, dir, name+suffix+part, whole[:cut])
				got, _, _, faults := ask(t, Request{Queue: 0, Port: "eth2"}, dir)
				text := fmt.Sprintf("%s%s cut at %d", suffix, part, cut)
				require.NotEmpty(t, got, text)
				require.Less(t, len(got), len(records), text)
				same(t, records[:len(got)], got, text)
				if part != "" {
					require.NoError(t, faults, text)
				} else {
					require.ErrorIs(t, faults, io.ErrUnexpectedEOF, text)
					require.ErrorContains(t, faults, path)
				}
				all, _, _, _ := ask(t, Request{}, dir)
				require.Len(t, all, len(got)+len(other), text)
			}
		}
	}
	dir := t.TempDir()
	path := archivetest.Put(t, dir, name+".pcap", append(packetFile(t, ".pcap", records), make([]byte, 5000)...))
	got, _, _, faults := ask(t, Request{}, dir)
	require.Len(t, got, len(records), "zeros that a power failure left are no packets")
	require.ErrorContains(t, faults, path)
	require.ErrorContains(t, faults, "zeros")
}

// Files that cannot be read are named; those that can be are answered.
func TestFilesThatCannotBeReadAreFaults(t *testing.T) {
	dir := t.TempDir()
	files := mixed(t, dir)
	q := Request{From: archivetest.Day.Add(time.Nanosecond)}
	bad := []string{
		archivetest.Put(t, dir, "noise.pcap", bytes.Repeat([]byte("noise"), 100)),
		archivetest.Put(t, dir, "short.pcapng", []byte{0x0a, 0x0d}),
		archivetest.Put(t, dir, archive.FileName("eth2", 9, archivetest.Day, 0)+".pcapng.zst", []byte("no zstd at all")),
		archivetest.Put(t, dir, "noise.raw", bytes.Repeat([]byte("noise"), 100)),
		archivetest.Put(t, dir, "empty.pcap", nil),
		filepath.Join(dir, "dangling.pcap"),
		filepath.Join(dir, "loop.pcap"),
	}
	require.NoError(t, os.Symlink("loop.pcap", bad[len(bad)-1])) // open(2) fails for root, too
	require.NoError(t, os.Symlink("gone.pcap", bad[len(bad)-2]))
	archivetest.Put(t, dir, archive.FileName("eth2", 8, archivetest.Day, 0)+".pcapng.part", nil) // to be written
	got, _, _, faults := ask(t, q, dir)
	for _, path := range bad {
		require.ErrorContains(t, faults, path)
	}
	require.Len(t, strings.Split(faults.Error(), "\n"), len(bad))
	require.ErrorContains(t, faults, "empty.pcap: empty: 0 bytes, without a capture header")
	require.ErrorContains(t, faults, "dangling.pcap: dangling symbolic link: gone.pcap does not exist")
	_, err := Find(q, filepath.Join(dir, "dangling.pcap"))
	require.ErrorContains(t, err, "dangling.pcap: dangling symbolic link: gone.pcap does not exist")
	same(t, brute(files, q), got, "")
}

// 2400 files of the same time are answered with few descriptors, each read in pieces.
func TestManyFilesAreReadWithFewDescriptors(t *testing.T) {
	dir := t.TempDir()
	const n = 600
	var files []capFile
	for i := range n {
		records := archivetest.Traffic(uint64(i), 6, 4, archivetest.Day.Add(time.Duration(i)), time.Second)
		suffix := []string{".raw", ".pcap", ".pcapng.zst"}[i%3]
		f := capFile{fmt.Sprintf("file%d%s", i, suffix), records}
		files = append(files, f)
		b := archivetest.Raw(t, records)
		if suffix != ".raw" {
			b = packetFile(t, suffix, records)
		}
		archivetest.Put(t, dir, f.name, b)
	}
	s, err := Find(Request{Queue: capture.AllQueues}, dir)
	require.NoError(t, err)
	s.Close()
	x := &Result{}
	x.files = newFiles(func(int64) {})
	require.LessOrEqual(t, x.files.limit, maxOpen)

	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	low := before
	low.Cur = 64
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before)) }()
	got, _, _, faults := ask(t, Request{}, dir)
	require.NoError(t, faults)
	same(t, brute(files, Request{}), got, "")
}

// A file that is deleted or replaced while it is read in pieces is a fault.
func TestFilesDeletedOrReplacedWhileTheyAreRead(t *testing.T) {
	for _, replace := range []bool{false, true} {
		dir := t.TempDir()
		records := archivetest.Traffic(12, 9000, 5, archivetest.Day, time.Microsecond)
		path := archivetest.Put(t, dir, archive.FileName("eth2", 0, archivetest.Day, 0)+".pcap", packetFile(t, ".pcap", records))
		s, err := Find(Request{Queue: capture.AllQueues}, dir)
		require.NoError(t, err)
		_, err = s.Next()
		require.NoError(t, err)
		s.active[0].in.close() // as with more files than may be open
		require.NoError(t, os.Rename(path, path+".old"))
		if replace {
			archivetest.Put(t, dir, filepath.Base(path), packetFile(t, ".pcap", records))
		}
		n := 1
		for ; err == nil; n++ {
			_, err = s.Next()
		}
		require.Equal(t, io.EOF, err)
		require.Less(t, n, len(records))
		require.ErrorContains(t, s.Faults(), map[bool]string{false: "was deleted during the query", true: "was replaced during the query"}[replace])
		require.ErrorContains(t, s.Faults(), path)
	}
}

// A damaged frame of a compressed file costs its own packets: none of them is returned,
// and all of the others are. Files without their tables, and files that grow, too.
func TestDamagedFramesCostTheirPacketsOnly(t *testing.T) {
	records := archivetest.Traffic(31, 1000, 10, archivetest.Day, time.Millisecond)
	name := archive.FileName("eth2", 0, archivetest.Day, 0) + ".pcapng.zst"
	whole := packetFile(t, ".pcapng.zst", records) // 10 frames
	table, err := pcapfile.ReadTable(bytes.NewReader(whole), int64(len(whole)))
	require.NoError(t, err)
	end := table.Frames[9].Offset + table.Frames[9].Compressed
	for _, frame := range []int{0, 4, 9} {
		f := table.Frames[frame]
		bad := bytes.Clone(whole)
		for i := f.Offset + f.Compressed - 4; i < f.Offset+f.Compressed; i++ { // its checksum
			bad[i] ^= 0x55
		}
		want := slices.Concat(records[:frame*100], records[(frame+1)*100:])
		text := fmt.Sprintf("zstd frame at byte %d is damaged: ", f.Offset)

		dir := t.TempDir()
		path := archivetest.Put(t, dir, name, bad)
		got, _, _, faults := ask(t, Request{}, dir)
		same(t, want, got, text)
		require.ErrorContains(t, faults, path+": "+text)
		require.ErrorContains(t, faults, "its 100 packets are left out")
		require.Len(t, strings.Split(faults.Error(), "\n"), 1)
		if frame > 0 {
			got, _, _, faults = ask(t, Request{To: records[frame*100-1].Time()}, dir)
			require.NoError(t, faults, "the frame is outside the window")
			require.Len(t, got, frame*100-1)
		}

		archivetest.Put(t, dir, name, bad[:end])
		got, _, _, faults = ask(t, Request{}, dir)
		same(t, want, got, text)
		require.ErrorContains(t, faults, text)

		dir = t.TempDir()
		got, s := stepFollow(t, Request{}, dir, func() { archivetest.Put(t, dir, name+archive.Part, bad) }, func() {})
		same(t, want, got, text)
		require.ErrorContains(t, s.Faults(), text)
	}
}

// Packets that are left out by cause are a fault: of another link type, too.
func TestPacketsOfOtherLinkTypesAreAFault(t *testing.T) {
	dir := t.TempDir()
	enc := pcapfile.Encoder{Format: pcapfile.Pcapng, Interface: pcapfile.Interface{Name: "wan"}}
	b := enc.Header(nil)
	link := len(b) + 8
	b = enc.AddInterface(b, &pcapfile.Interface{Name: "tun0"})
	b[link] = 101
	for i := range 4 {
		b = enc.Packet(b, &pcapfile.Packet{Nano: int64(i), Len: 60, Data: make([]byte, 60), Interface: uint32(i % 2)})
	}
	path := archivetest.Put(t, dir, "two-links.pcapng", b)
	got, _, warned, faults := ask(t, Request{}, dir)
	require.Len(t, got, 2)
	require.Empty(t, warned)
	require.EqualError(t, faults, path+": 2 packets left out: interface 1 (tun0) has link type 101 (raw IP). First: packet 2")
}
