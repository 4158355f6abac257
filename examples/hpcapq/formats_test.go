package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// tool returns the path of a program of the Makefile's TOOLS.
func tool(t testing.TB, name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("needs %s: make tools", name)
	}
	return path
}

// oracle runs a program and returns its standard output.
func oracle(t testing.TB, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), tool(t, name), args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	require.NoError(t, err, "%s %q: %s", name, args, stderr.String())
	return string(out)
}

// repack writes a RAW file as a packet file with another suffix, and removes it.
func repack(t testing.TB, raw, suffix string) string {
	in, err := os.Open(raw)
	require.NoError(t, err)
	defer in.Close()
	format, level := pcapfile.Pcap, 0
	if strings.Contains(suffix, archive.Pcapng) {
		format = pcapfile.Pcapng
	}
	if strings.HasSuffix(suffix, archive.Zstd) {
		level = 1
	}
	name := strings.TrimSuffix(raw, archive.Raw) + suffix
	out, err := os.Create(name)
	require.NoError(t, err)
	defer out.Close()
	w, err := pcapfile.NewWriter(out, pcapfile.Encoder{Format: format, Interface: pcapfile.Interface{Name: "eth2"}}, level)
	require.NoError(t, err)
	for rec, err := range rawfile.NewReader(in).Records() {
		require.NoError(t, err)
		require.NoError(t, w.Flush()) // a zstd frame
		if rec.Data == nil {
			break
		}
		require.NoError(t, w.Write(&pcapfile.Packet{Nano: rec.Time().UnixNano(), Len: uint32(rec.Len), Data: rec.Data}))
	}
	require.NoError(t, w.Close())
	require.NoError(t, os.Remove(raw))
	return name
}

// mixedFolder is folder with a part of the files in other formats.
func mixedFolder(t testing.TB) string {
	dir := folder(t)
	names, err := filepath.Glob(filepath.Join(dir, "*.raw"))
	require.NoError(t, err)
	for i, suffix := range []string{".pcapng.zst", ".pcap", ".pcapng", ".pcap.zst"} {
		for n := i; n < len(names); n += 5 {
			repack(t, names[n], suffix)
		}
	}
	return dir
}

// The answer over all formats is that of mergecap and tcpdump over the same packets.
func TestAnswerOverAllFormatsEqualsMergecap(t *testing.T) {
	dir, plain := mixedFolder(t), t.TempDir()
	var merge []string
	files, err := archive.List(dir)
	require.NoError(t, err)
	formats := map[string]int{}
	for i, f := range files {
		formats[filepath.Ext(strings.TrimSuffix(f.Path, archive.Zstd))]++
		one := filepath.Join(plain, fmt.Sprintf("%d.pcap", i))
		_, stderr, status := call(t, "-r", f.Path, "-w", one)
		require.Zero(t, status, stderr)
		if f.Packets { // read by libpcap, too
			unpacked := filepath.Join(plain, "unpacked")
			if strings.HasSuffix(f.Path, archive.Zstd) {
				oracle(t, "zstd", "-dfq", f.Path, "-o", unpacked)
			} else {
				unpacked = f.Path
			}
			require.Equal(t, tcpdump(t, unpacked, ""), tcpdump(t, one, ""))
		}
		merge = append(merge, one)
	}
	require.Len(t, formats, 3)
	all := filepath.Join(plain, "all.pcapng")
	oracle(t, "mergecap", append([]string{"-w", all}, merge...)...)
	for _, filter := range []string{"", "udp port 53", "tcp", "host 192.0.2.1"} {
		for _, name := range []string{"got.pcap", "got.pcapng"} {
			got := filepath.Join(t.TempDir(), name)
			_, stderr, status := call(t, append(filterFlag(filter), "-r", dir, "-w", got)...)
			require.Zero(t, status, stderr)
			want := tcpdump(t, all, filter)
			require.NotEmpty(t, want[0], filter)
			require.Equal(t, want, tcpdump(t, got, ""), filter)
		}
	}
}

// frames counts the frames of tcpdump's lines.
func frames(lines []string) (n int) {
	for _, l := range lines {
		if l != "" && !strings.HasPrefix(l, "\t") {
			n++
		}
	}
	return n
}

// Each port and queue is an interface of the output.
func TestPcapngHasAnInterfaceForEachPortAndQueue(t *testing.T) {
	dir := mixedFolder(t)
	got := filepath.Join(t.TempDir(), "got.pcapng")
	_, stderr, status := call(t, "-r", dir, "-f", "udp", "-w", got)
	require.Zero(t, status, stderr)
	found := map[string]int{}
	for _, line := range strings.Fields(oracle(t, "tshark", "-r", got, "-T", "fields", "-e", "frame.interface_name")) {
		found[line]++
	}
	for name, args := range map[string][]string{"eth2:0": {"--port", "eth2", "--queue", "0"}, "eth2:1": {"--port", "eth2", "--queue", "1"}, "eth3:0": {"--port", "eth3"}} {
		one := filepath.Join(t.TempDir(), "one.pcap")
		_, stderr, status := call(t, append(args, "-r", dir, "-f", "udp", "-w", one)...)
		require.Zero(t, status, stderr)
		require.NotZero(t, found[name])
		require.Equal(t, found[name], frames(tcpdump(t, one, "")), name)
		delete(found, name)
	}
	require.Empty(t, found)
	info := oracle(t, "capinfos", "-I", got)
	require.Equal(t, 3, strings.Count(info, "Filter string = udp"), info)
	require.Equal(t, 3, strings.Count(info, "Time precision = nanoseconds"), info)
}

// The number of lost packets is in the packet after them and in the interface's counters.
func TestDropsAreInThePcapng(t *testing.T) {
	dir := t.TempDir()
	enc := pcapfile.Encoder{Format: pcapfile.Pcapng, Interface: pcapfile.Interface{Name: "eth2"}}
	b := enc.Header(nil)
	for i := range 10 {
		b = enc.Packet(b, &pcapfile.Packet{Nano: day.UnixNano() + int64(i), Len: uint32(60 + i), Data: make([]byte, 60), Dropped: uint64(i)})
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, archive.FileName("eth2", 3, day, 0)+".pcapng"), b, 0o644))
	got := filepath.Join(dir, "..", "got.pcapng")
	_, stderr, status := call(t, "-r", dir, "-w", got, "-f", "len = 64 or len = 69", "--force")
	require.Zero(t, status, stderr)
	require.Equal(t, "eth2:3\t10\neth2:3\t35\n", oracle(t, "tshark", "-r", got, "-T", "fields", "-e", "frame.interface_name", "-e", "frame.drop_count"))
	all, err := os.ReadFile(got)
	require.NoError(t, err)
	require.Regexp(t, regexp.MustCompile(`(?s)\x05\x00\x00\x00.{16}.*\x07\x00\x08\x00\x2d\x00\x00\x00\x00\x00\x00\x00`), string(all), "isb_osdrop 45")
	_, err = os.Stat(got)
	require.NoError(t, err)
}

// Outputs are split by size, time and number of packets, and for each input file. The
// parts have the packets of one output.
func TestOutputsAreSplit(t *testing.T) {
	dir := mixedFolder(t)
	whole := filepath.Join(t.TempDir(), "whole.pcapng")
	_, stderr, status := call(t, "-r", dir, "-w", whole)
	require.Zero(t, status, stderr)
	want := tcpdump(t, whole, "")
	for _, c := range []struct {
		args []string
		ok   func(part int, last bool, size int64, lines []string) bool
	}{
		{[]string{"-C", "100KiB"}, func(_ int, last bool, size int64, _ []string) bool {
			return size <= 100<<10 && (last || size > 97<<10)
		}},
		{[]string{"--split", "333"}, func(_ int, last bool, _ int64, lines []string) bool {
			n := frames(lines)
			return n == 333 || last && n < 333
		}},
		{[]string{"-G", "2s"}, func(part int, _ bool, _ int64, lines []string) bool {
			low, high := day.Unix()+int64(2*part), day.Unix()+int64(2*part+2)
			for _, l := range lines {
				var sec int64
				if _, err := fmt.Sscanf(l, "%d.", &sec); err == nil && !strings.HasPrefix(l, "\t") && (sec < low || sec >= high) {
					return false
				}
			}
			return true
		}},
	} {
		for _, ext := range []string{".pcap", ".pcapng"} {
			out := t.TempDir()
			_, stderr, status := call(t, append(c.args, "-r", dir, "-w", filepath.Join(out, "part"+ext))...)
			require.Zero(t, status, stderr)
			parts, err := filepath.Glob(filepath.Join(out, "*"))
			require.NoError(t, err)
			require.Greater(t, len(parts), 2)
			var got []string
			for i, p := range parts {
				require.Equal(t, filepath.Join(out, fmt.Sprintf("part-%06d%s", i, ext)), p)
				info, err := os.Stat(p)
				require.NoError(t, err)
				lines := tcpdump(t, p, "")
				require.True(t, c.ok(i, i == len(parts)-1, info.Size(), lines), "%q: %s has %d bytes", c.args, p, info.Size())
				got = append(got, lines...)
			}
			require.Equal(t, want, got, "%q", c.args)
			_, stderr, status = call(t, append(c.args, "-r", dir, "-w", filepath.Join(out, "part"+ext))...)
			require.Equal(t, 1, status, stderr)
			require.Contains(t, stderr, "file exists")
		}
	}
	out := t.TempDir()
	_, stderr, status = call(t, "-r", dir, "-w", filepath.Join(out, "of.pcap"), "--split", "file", "--from", "2026-11-21 14:00:01", "--to", "+2s")
	require.Zero(t, status, stderr)
	parts, err := filepath.Glob(filepath.Join(out, "of-2026*-eth*.pcap"))
	require.NoError(t, err)
	require.Greater(t, len(parts), 3)
	n := 0
	for _, p := range parts {
		stem := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(p), "of-"), ".pcap")
		inputs, err := filepath.Glob(filepath.Join(dir, stem+".*"))
		require.NoError(t, err)
		require.Len(t, inputs, 1)
		n += frames(tcpdump(t, p, ""))
	}
	require.Equal(t, 2000, n)
}

// A query that may use few descriptors answers over many files of one time.
func TestFewDescriptorsAndManyFiles(t *testing.T) {
	dir := t.TempDir()
	const files = 2400
	for i := range files {
		at := day.Add(time.Duration(i) * time.Microsecond)
		enc := pcapfile.Encoder{Format: pcapfile.Pcap}
		b := enc.Header(nil)
		for j := range 2 {
			b = enc.Packet(b, &pcapfile.Packet{Nano: at.Add(time.Duration(j) * time.Second).UnixNano(), Len: 60, Data: make([]byte, 60)})
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d.pcap", i)), b, 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "noise.pcap"), []byte("this is no capture"), 0o644))
	self, err := os.Executable()
	require.NoError(t, err)
	for _, limit := range []string{"64", "256", "1024"} {
		out := filepath.Join(t.TempDir(), "got.pcap")
		c := exec.CommandContext(t.Context(), tool(t, "prlimit"), "--nofile="+limit+":"+limit, self, "-r", dir, "-w", out)
		c.Env = append(os.Environ(), asProgram+"=1", "TZ=UTC")
		var stderr bytes.Buffer
		c.Stderr = &stderr
		require.ErrorAs(t, c.Run(), new(*exec.ExitError))
		require.Equal(t, 1, c.ProcessState.ExitCode())
		require.Contains(t, stderr.String(), "noise.pcap: ")
		require.NotContains(t, stderr.String(), "too many open files")
		require.Equal(t, fmt.Sprintf("%d packets\n", 2*files), oracle(t, "tcpdump", "-r", out, "--count"))
	}
}

// A packet file that is cut does not hide other packets, and sets the status.
func TestCutPacketFilesSetTheStatus(t *testing.T) {
	dir := mixedFolder(t)
	for _, suffix := range []string{"*.pcap", "*.pcapng", "*.zst"} {
		names, err := filepath.Glob(filepath.Join(dir, suffix))
		require.NoError(t, err)
		whole, err := os.ReadFile(names[0])
		require.NoError(t, err)
		require.NoError(t, os.Truncate(names[0], int64(len(whole)*2/3)))
		out, stderr, status := call(t, "-r", dir, "-w", "-")
		require.Equal(t, 1, status)
		require.Contains(t, stderr, names[0]+": packet ")
		require.NotEmpty(t, out)
		require.NoError(t, os.WriteFile(names[0], whole, 0o644))
	}
	_, stderr, status := call(t, "-r", dir, "-w", filepath.Join(dir, "..", "x.pcap"), "--force")
	require.Zero(t, status, stderr)
}

func TestPacketFilesAreVerifiedAndFinished(t *testing.T) {
	dir := mixedFolder(t)
	out, stderr, status := call(t, "verify", dir)
	require.Zero(t, status, out+stderr)
	require.Contains(t, out, "frames  ")
	for _, format := range []string{"  pcap\n", "  pcapng\n", "no index"} {
		require.Contains(t, out, format)
	}
	for i, suffix := range []string{"*.pcap", "*.pcapng", "*.pcapng.zst"} {
		names, err := filepath.Glob(filepath.Join(dir, suffix))
		require.NoError(t, err)
		whole, err := os.ReadFile(names[0])
		require.NoError(t, err)
		require.NoError(t, os.Truncate(names[0], int64(len(whole)*2/3)))
		out, _, status = call(t, "verify", names[0])
		require.Equal(t, 1, status)
		require.Contains(t, out, "problem: packet ")
		require.NoError(t, os.Rename(names[0], names[0]+".part"))
		out, _, status = call(t, "info", names[0]+".part")
		require.Equal(t, 1, status)
		require.Contains(t, out, "not finished by its writer")
		out, _, status = call(t, "repair", "-n", names[0]+".part")
		require.Equal(t, 1, status)
		require.Contains(t, out, "dry run: close it after its last whole packet")
		require.NoFileExists(t, names[0])
		out, stderr, status = call(t, "repair", names[0]+".part")
		require.Zero(t, status, out+stderr)
		out, stderr, status = call(t, "verify", "--json", names[0])
		require.Zero(t, status, out+stderr)
		require.Contains(t, out, `"index":"none"`, i)
	}
}

// An output in the folder that is read does not replace a stored file, by any name.
func TestOutputIsNoStoredFile(t *testing.T) {
	dir := mixedFolder(t)
	names, err := filepath.Glob(filepath.Join(dir, "*.pcap"))
	require.NoError(t, err)
	want, err := os.ReadFile(names[0])
	require.NoError(t, err)
	link := filepath.Join(t.TempDir(), "link.pcap")
	require.NoError(t, os.Link(names[0], link))
	for _, name := range []string{names[0], link} {
		_, stderr, status := call(t, "-r", dir, "-w", name, "--force")
		require.Equal(t, 1, status)
		require.Contains(t, stderr, "is also an input")
		got, err := os.ReadFile(names[0])
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got))
	}
}
