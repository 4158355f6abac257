package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"
)

// words appends words, little endian.
func words(b []byte, v ...uint32) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

// ngBlock is a pcapng block.
func ngBlock(kind uint32, body ...[]byte) []byte {
	b := bytes.Join(body, nil)
	b = append(b, make([]byte, -len(b)&3)...)
	return words(append(words(nil, kind, uint32(len(b)+12)), b...), uint32(len(b)+12))
}

var sectionHeader = ngBlock(0x0a0d0d0a, words(nil, 0x1a2b3c4d, 1, 0xffffffff, 0xffffffff))

// interfaceOf is an interface description. unit is if_tsresol.
func interfaceOf(link uint32, name string, unit byte) []byte {
	text := append(words(nil, 2|uint32(len(name))<<16), name...)
	text = append(text, make([]byte, -len(text)&3)...)
	return ngBlock(1, words(nil, link, 0), text, words(nil, 9|1<<16, uint32(unit), 0))
}

func enhanced(iface uint32, stamp uint64, frame []byte) []byte {
	n := uint32(len(frame))
	return ngBlock(6, words(nil, iface, uint32(stamp>>32), uint32(stamp), n, n), frame)
}

// oldFile makes a pcap file in µs whose packets are stamped 1, 2, 3 s.
func oldFile(minor, link uint32, frames ...[]byte) []byte {
	b := words(nil, 0xa1b2c3d4, 2|minor<<16, 0, 0, 262144, link)
	for i, f := range frames {
		b = append(words(b, uint32(i+1), 0, uint32(len(f)), uint32(len(f))), f...)
	}
	return b
}

func small(fill byte) []byte {
	f := bytes.Repeat([]byte{fill}, 60)
	copy(f, []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5})
	return f
}

// inputCase is a capture file, what it becomes in RAW, and what is said about it.
type inputCase struct {
	name   string
	file   []byte
	stamps string // of raw2tstamp; "" if there is no output
	status int
	says   string
}

func inputCases(t *testing.T) []inputCase {
	third := func(bits uint) uint64 { return 1<<bits*1000 + 1<<bits/3 }
	ng := func(blocks ...[]byte) []byte { return append(bytes.Clone(sectionHeader), bytes.Join(blocks, nil)...) }
	eth := interfaceOf(1, "eth0", 6)
	plain := ng(eth, enhanced(0, 1_700_000_000_000_001, small(1)))
	var zipped, lz bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err := w.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	l := lz4.NewWriter(&lz)
	_, err = l.Write(plain)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	z, err := zstd.NewWriter(nil)
	require.NoError(t, err)

	excess := words(oldFile(4, 1, small(1)), 2, 0, 60, 56)
	excess = append(append(excess, small(2)...), oldFile(4, 1, small(3))[24:]...)
	const line = "\t60\t60\n"
	one := "1.000000000" + line
	return []inputCase{
		{"2^-20", ng(interfaceOf(1, "e", 0x80|20), enhanced(0, third(20), small(1))), "1000.333333015" + line, 0, ""},
		{"2^-24", ng(interfaceOf(1, "e", 0x80|24), enhanced(0, third(24), small(1))), "1000.333333313" + line, 0, ""},
		{"2^-30", ng(interfaceOf(1, "e", 0x80|30), enhanced(0, third(30), small(1))), "1000.333333333" + line, 0, ""},
		{"too long", oldFile(4, 1, small(1), make([]byte, 65536), small(3)), one + "3.000000000" + line, 1,
			"1 packet left out, too long for the output: 65536 bytes, RAW holds at most 65535. First: packet 2"},
		{"simple", ng(eth, ngBlock(3, words(nil, 60), small(1)), ngBlock(3, words(nil, 60), small(2))), strings.Repeat("0.000000001"+line, 2), 0,
			"2 packets without a stamp, which becomes 0. First: packet 1"},
		{"gzip", zipped.Bytes(), "1700000000.000001000" + line, 0, ""},
		{"zstd", z.EncodeAll(plain, nil), "1700000000.000001000" + line, 0, ""},
		{"lz4", lz.Bytes(), "1700000000.000001000" + line, 0, ""},
		{"version 2.3", oldFile(3, 1, small(1)), one, 0, ""},
		{"version 2.0", oldFile(0, 1, small(1)), one, 0, ""},
		{"excess", excess, one + "2.000000000" + line + one, 0, "1 packet with more bytes captured than on the wire, all kept: 60 captured of 56. First: packet 2"},
		{"FCS", oldFile(4, 2<<28|1<<26|1, append(small(1), 0xde, 0xad, 0xbe, 0xef)), one, 0, "1 packet with a frame check sequence, removed: 4 bytes, interface 0"},
		{"link bits", oldFile(4, 0x00050001, small(1)), "", 1, "pcap link type 0x00050001: the reserved bits 0x00050000 are set"},
		{"two links", ng(eth, interfaceOf(101, "tun0", 6), enhanced(0, 1_000_000, small(1)), enhanced(1, 2, small(1)[14:]), enhanced(0, 3_000_000, small(1))),
			one + "3.000000000" + line, 1, "1 packet left out: interface 1 (tun0) has link type 101 (raw IP). First: packet 2. RAW holds Ethernet frames; --interface selects what is converted"},
		{"nothing of Ethernet", ng(interfaceOf(101, "tun0", 6), enhanced(0, 1, small(1))), "", 1, "1 packet left out: interface 0 (tun0)"},
		{"cut", oldFile(4, 1, small(1), small(2))[:150], one, 1, "packet 2, at byte 100: unexpected EOF"},
	}
}

func TestEveryCaptureFileIsConvertedAsFarAsItCanBe(t *testing.T) {
	for _, c := range inputCases(t) {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out.raw")
			require.NoError(t, os.WriteFile(in, c.file, 0o644))
			r := run(t, "pcap2raw", "-w", out, in)
			require.Equal(t, c.status, r.status, r.stderr)
			if c.says == "" {
				require.Empty(t, r.stderr)
			} else {
				require.Contains(t, r.stderr, "pcap2raw: ")
				require.Contains(t, r.stderr, in+": ")
				require.Contains(t, r.stderr, c.says)
			}
			if c.stamps == "" {
				require.NoFileExists(t, out)
				return
			}
			require.Equal(t, c.stamps, succeed(t, "raw2tstamp", out).stdout)

			// What tshark shows of the file that raw2pcap makes of it.
			pcap := filepath.Join(dir, "out.pcapng")
			succeed(t, "raw2pcap", "-w", pcap, out)
			fields, err := exec.Command(tool(t, "tshark"), "-n", "-r", pcap, "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len").Output()
			require.NoError(t, err)
			require.Equal(t, c.stamps, string(fields))

			// The same from a pipe, where the name says nothing.
			pipe := command(t, "pcap2raw", "-w", "-", "-r", "-")
			pipe.Stdin = bytes.NewReader(c.file)
			raw, _ := pipe.Output()
			want, err := os.ReadFile(out)
			require.NoError(t, err)
			require.Equal(t, want, raw)
		})
	}
}

// With --strict nothing is left out silently or with a warning: the conversion ends.
func TestStrictEndsAtTheFirstPacketLeftOut(t *testing.T) {
	for _, c := range inputCases(t) {
		dir := t.TempDir()
		in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out.raw")
		require.NoError(t, os.WriteFile(in, c.file, 0o644))
		r := run(t, "pcap2raw", "--strict", "-w", out, in)
		if c.says == "" || c.name == "FCS" {
			require.Zero(t, r.status, r.stderr)
			continue
		}
		require.Equal(t, 1, r.status, "%s: %s", c.name, r.stderr)
	}
}

func TestInterfacesAreSelected(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in.pcapng")
	file := bytes.Join([][]byte{sectionHeader, interfaceOf(1, "eth0", 6), interfaceOf(1, "eth1", 6), interfaceOf(101, "tun0", 6),
		enhanced(0, 1_000_000, small(1)), enhanced(1, 2_000_000, small(2)), enhanced(2, 3_000_000, small(3)[14:])}, nil)
	require.NoError(t, os.WriteFile(in, file, 0o644))
	for _, name := range []string{"eth1", "1"} {
		out := filepath.Join(dir, name+".raw")
		r := succeed(t, "pcap2raw", "-i", name, "-w", out, in)
		require.Contains(t, r.stderr, "1 packet not selected: interface 2 (tun0)")
		require.Equal(t, "2.000000000\t60\t60\n", succeed(t, "raw2tstamp", out).stdout)
	}
	r := run(t, "pcap2raw", "-i", "tun0", "-w", filepath.Join(dir, "x.raw"), in)
	require.Equal(t, 1, r.status)
	require.Contains(t, r.stderr, "interface 2 (tun0) has link type 101 (raw IP): RAW holds Ethernet frames only. Select another interface")
	r = run(t, "pcap2raw", "-i", "eth7", "-w", filepath.Join(dir, "x.raw"), in)
	require.Equal(t, 1, r.status)
	require.Contains(t, r.stderr, `no interface "eth7": the file has 0 (eth0), 1 (eth1), 2 (tun0)`)
	keep := filepath.Join(dir, "fcs.pcap")
	require.NoError(t, os.WriteFile(keep, oldFile(4, 2<<28|1<<26|1, append(small(1), 1, 2, 3, 4)), 0o644))
	r = succeed(t, "pcap2raw", "--keep-fcs", "-w", keep+".raw", keep)
	require.Contains(t, r.stderr, "kept as payload")
	require.Equal(t, "1.000000000\t64\t64\n", succeed(t, "raw2tstamp", keep+".raw").stdout)
}

// One bad input does not keep the others from being converted.
func TestOtherInputsAreConverted(t *testing.T) {
	dir := t.TempDir()
	good, bad, out := filepath.Join(dir, "good.pcap"), filepath.Join(dir, "bad.pcap"), filepath.Join(dir, "out.raw")
	require.NoError(t, os.WriteFile(good, oldFile(4, 1, small(1)), 0o644))
	require.NoError(t, os.WriteFile(bad, []byte("this is a text"), 0o644))
	r := run(t, "pcap2raw", "-w", out, bad, good, filepath.Join(dir, "missing"))
	require.Equal(t, 1, r.status)
	require.Contains(t, r.stderr, "bad.pcap: neither pcap nor pcapng")
	require.Contains(t, r.stderr, "missing: no such file")
	require.Equal(t, "1.000000000\t60\t60\n", succeed(t, "raw2tstamp", out).stdout)
	require.NoError(t, os.Remove(out))
	r = run(t, "pcap2raw", "--strict", "-w", out, bad, good)
	require.Equal(t, 1, r.status)
	require.NoFileExists(t, out)
}

// No existing file is destroyed, and none is made under the name of an input.
func TestConversionsDestroyNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	raw := func(name string, fill byte) {
		require.NoError(t, os.WriteFile(name+".pcap", oldFile(4, 1, small(fill)), 0o644))
		succeed(t, "pcap2raw", "-w", name+".raw", name+".pcap")
	}
	raw("a", 1)
	raw("b", 2)
	require.NoError(t, os.WriteFile("bad.pcap", []byte("this is a text"), 0o644))
	require.NoError(t, os.Link("a.raw", "hard.raw"))
	require.NoError(t, os.Symlink("a.raw", "link.raw"))
	content := func() (all map[string]string) {
		entries, err := os.ReadDir(".")
		require.NoError(t, err)
		all = map[string]string{}
		for _, e := range entries {
			b, err := os.ReadFile(e.Name())
			require.NoError(t, err)
			all[e.Name()] = string(b)
		}
		return all
	}
	before := content()
	for _, args := range [][]string{
		{"raw2pcap", "a.raw", "b.raw"}, {"raw2pcap", "--force", "a.raw", "b.raw"}, {"raw2pcap", "a.raw", "c.raw"},
		{"raw2pcap", "-w", "b.raw", "a.raw"}, {"raw2pcap", "--force", "-w", "hard.raw", "a.raw"}, {"raw2pcap", "--force", "-w", "a.raw", "link.raw"},
		{"raw2tstamp", "--force", "-w", "./a.raw", "hard.raw"},
		{"pcap2raw", "a.pcap", "b.pcap"}, {"pcap2raw", "--force", "a.pcap", "b.pcap"}, {"pcap2raw", "-w", "a.raw", "bad.pcap"},
		{"pcap2raw", "--force", "-w", "a.raw", "bad.pcap"}, {"pcap2raw", "--force", "-w", "a.pcap", "a.pcap"}, {"raw2pcap", "--force", "-w", "a.raw", "b.pcap"},
		{"hpcapq", "--force", "-w", "a.raw", "."},
	} {
		r := run(t, args[0], args[1:]...)
		require.NotZero(t, r.status, "%q: %s", args, r.stderr)
		require.Equal(t, before, content(), "%q: %s", args, r.stderr)
	}

	// A shell's redirections.
	for _, line := range []string{`$BIN/raw2pcap -w hard.raw --force - < a.raw`, `$BIN/raw2tstamp a.raw >> hard.raw`, `$BIN/raw2pcap -w /dev/fd/3 a.raw 3>> link.raw`} {
		c := exec.Command("sh", "-c", line)
		c.Env = append(os.Environ(), "BIN="+built(t, ""))
		out, err := c.CombinedOutput()
		require.Error(t, err, line)
		require.Contains(t, string(out), "also an input", line)
		require.Equal(t, before, content(), line)
	}
}

// A wire sends the frames of every kind of file that a conversion reads.
func TestWiresSendEveryKindOfFile(t *testing.T) {
	for _, c := range inputCases(t) {
		options := ",backpressure"
		switch c.name {
		case "too long", "cut", "link bits", "nothing of Ethernet":
			continue // they are refused
		case "two links":
			options += ",other=skip"
		}
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			in := filepath.Join(dir, "in")
			require.NoError(t, os.WriteFile(in, c.file, 0o644))
			r := succeed(t, "hpcapdd", "-i", "sim:pcap="+in+options, "-w", filepath.Join(dir, "out"), "--segment", "1MiB", "--buffer", "4MiB", "--json")
			says, _, _ := strings.Cut(c.says, ". RAW")
			require.Contains(t, r.stderr, says)
			l := ledger(t, r)
			got, _ := readRaw(t, filepath.Join(dir, "out"))
			require.Len(t, got, strings.Count(c.stamps, "\n"))
			require.EqualValues(t, len(got), l.Account.Wire)
			require.Zero(t, l.Lost())
			for _, p := range got {
				require.Equal(t, 60, p.len)
				require.Equal(t, small(p.data[20]), p.data)
			}
		})
	}
}
