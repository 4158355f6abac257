package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/internal/mounttest"
)

func TestInvalidInputGivesOneLineAndKeepsEarlierCaptures(t *testing.T) {
	hosts := captures(t)[0]
	earlier := t.TempDir()
	succeed(t, "hpcapdd", "-i", "sim:pcap="+hosts+",backpressure", "-w", earlier, "--buffer", "4MiB")
	before, _ := readRaw(t, earlier)

	scratch := t.TempDir()
	plain := filepath.Join(scratch, "plain")
	require.NoError(t, os.WriteFile(plain, []byte("no directory, no capture"), 0o644))
	whole, err := os.ReadFile(hosts)
	require.NoError(t, err)
	cut := filepath.Join(scratch, "cut.pcap")
	require.NoError(t, os.WriteFile(cut, whole[:len(whole)-7], 0o644))

	gen := "sim:gen,count=10,backpressure"
	for name, c := range map[string]struct {
		want string
		args []string
	}{
		"no device":           {"name it with -i", []string{"-w", earlier}},
		"no directory":        {"name it with -w", []string{"-i", gen}},
		"unknown transport":   {"(sim: ", []string{"-i", "smoke-signal:x", "-w", earlier}},
		"unknown wire":        {"pcap", []string{"-i", "sim:pidgeon=1", "-w", earlier}},
		"unknown key":         {"speed", []string{"-i", "sim:gen,speed=9", "-w", earlier}},
		"bad rate":            {"rate", []string{"-i", "sim:gen,rate=fast", "-w", earlier}},
		"no such file":        {"no such file", []string{"-i", "sim:pcap=" + scratch + "/none.pcap", "-w", earlier}},
		"not a capture":       {plain, []string{"-i", "sim:pcap=" + plain, "-w", earlier}},
		"cut capture":         {cut, []string{"-i", "sim:pcap=" + cut, "-w", earlier}},
		"no such socket":      {"none.sock", []string{"-i", "vfio-user:" + scratch + "/none.sock", "-w", earlier}},
		"directory is a file": {"not a directory", []string{"-i", gen, "-w", plain}},
		"below a file":        {"not a directory", []string{"-i", gen, "-w", filepath.Join(plain, "below")}},
		"parent missing":      {"no such file", []string{"-i", gen, "-w", filepath.Join(scratch, "a", "b")}},
		"queue 99":            {"--queue: 99: must be below 1", []string{"-i", gen, "-w", earlier, "--queue", "99"}},
		"queue of four":       {"--queue: 4: must be below 4", []string{"-i", gen, "-w", earlier, "--queue", "4", "--queues", "4"}},
		"too many queues":     {"1 to 16", []string{"-i", gen, "-w", earlier, "--queues", "99"}},
		"small buffer":        {"at least 2MiB", []string{"-i", gen, "-w", earlier, "--buffer", "64KiB"}},
		"odd buffer":          {"power of two", []string{"-i", gen, "-w", earlier, "--buffer", "3MiB"}},
		"odd segment":         {"multiple of 1 MiB", []string{"-i", gen, "-w", earlier, "--segment", "1500kB"}},
		"no unit":             {"256MiB or 2G", []string{"-i", gen, "-w", earlier, "--segment", "2X"}},
		"caplen":              {"--snaplen: 70000: must be 1 to 65535", []string{"-i", gen, "-w", earlier, "--snaplen", "70000"}},
		"pages":               {"2MiB, 1GiB or ordinary", []string{"-i", gen, "-w", earlier, "--pages", "3MiB"}},
		"core":                {"core", []string{"-i", gen, "-w", earlier, "--cores", "1000"}},
		"cores":               {"--cores: 2 for 1: list one core for each", []string{"-i", gen, "-w", earlier, "--cores", "0,1"}},
		"HPCAP queue":         {"queue \"x\"", []string{gen, "x", earlier}},
		"no queues":           {"--queues: -1: must be 1 to 16", []string{"-i", gen, "-w", earlier, "--queues", "-1"}},
		"negative time":       {`duration "-1s"`, []string{"-i", gen, "-w", earlier, "--duration", "-1s"}},
		"too many words":      {"unexpected", []string{"-i", gen, "-w", earlier, "more"}},
	} {
		t.Run(name, func(t *testing.T) { fail(t, c.want, "hpcapdd", c.args...) })
	}
	after, _ := readRaw(t, earlier)
	require.Equal(t, before, after, "a failure does not change the files of an earlier capture")
}

func TestReadOnlyDirectoryIsRejected(t *testing.T) {
	dir := t.TempDir()
	mounttest.ReadOnly(t, dir)
	fail(t, "read-only file system", "hpcapdd", "-i", "sim:gen,count=10,backpressure", "-w", dir)
}

func TestFullDiskDoesNotEndTheCaptureAndKeepsStoredFrames(t *testing.T) {
	dir := mounttest.Tmpfs(t, "5m")
	r := fail(t, "no space left on device", "hpcapdd",
		"-i", "sim:gen,size=1514,seed=7,count=10000,backpressure", "-w", dir, "--segment", "2MiB", "--buffer", "4MiB", "--json")
	require.Contains(t, r.stderr, "the capture goes on, and what is not stored is counted")
	require.Contains(t, r.stderr, "bytes were not stored")
	l := ledger(t, r)
	require.NoError(t, l.Balanced())
	require.EqualValues(t, 10000, l.Frames())
	require.Len(t, l.Storers, 1)
	require.NotZero(t, l.Storers[0].Written)
	require.NotEmpty(t, l.Storers[0].Failed)
	got, files := readRaw(t, dir)
	require.NotEmpty(t, files)
	require.Greater(t, len(got), 2500)
	for _, p := range got {
		require.Len(t, p.data, 1514)
	}
}

func TestCutRawFileIsConvertedUpToItsLastWholeRecord(t *testing.T) {
	dir := t.TempDir()
	hosts := captures(t)[0]
	succeed(t, "pcap2raw", hosts, filepath.Join(dir, "whole.raw"))
	whole, err := os.ReadFile(filepath.Join(dir, "whole.raw"))
	require.NoError(t, err)
	all := readPcap(t, hosts)

	for _, at := range []int{0, 5, 12, 13, len(whole) / 3, len(whole) / 2, len(whole) - 20} {
		cut, out := filepath.Join(dir, "cut.raw"), filepath.Join(dir, fmt.Sprintf("cut-%d.pcap", at))
		require.NoError(t, os.WriteFile(cut, whole[:at], 0o644))
		r := rawfile.NewReader(bytes.NewReader(whole[:at]))
		for range r.Records() {
		}
		if r.Offset() == int64(at) {
			succeed(t, "raw2pcap", cut, out)
		} else {
			fail(t, "file is cut", "raw2pcap", cut, out)
		}
		if r.Count() == 0 && at > 0 {
			require.NoFileExists(t, out, "no output without a whole record")
			continue
		}
		require.Equal(t, all[:r.Count()], append([]packet{}, readPcap(t, out)...), "cut at %d", at)
	}

	// Inputs after a cut file are converted, too.
	cut, out := filepath.Join(dir, "cut.raw"), filepath.Join(dir, "both.pcap")
	require.NoError(t, os.WriteFile(cut, whole[:len(whole)/2], 0o644))
	fail(t, "file is cut", "raw2pcap", "-w", out, cut, filepath.Join(dir, "whole.raw"))
	require.Greater(t, len(readPcap(t, out)), len(all))
}

func TestConvertersRejectInvalidInput(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(text, bytes.Repeat([]byte("not a capture at all. "), 9), 0o644))
	out := filepath.Join(dir, "out")
	fail(t, "neither pcap nor pcapng", "pcap2raw", text, out)
	fail(t, "not a RAW record", "raw2pcap", text, out)
	fail(t, "no such file", "raw2pcap", filepath.Join(dir, "none"), out)
	fail(t, "no such file", "pcap2raw", filepath.Join(dir, "none"), out)
	for _, program := range []string{"raw2pcap", "pcap2raw"} {
		kept := filepath.Join(dir, program)
		require.NoError(t, os.WriteFile(kept, []byte("earlier work"), 0o644))
		fail(t, "no such file", program, filepath.Join(dir, "none"), kept)
		after, err := os.ReadFile(kept)
		require.NoError(t, err)
		require.Equal(t, "earlier work", string(after), "without an input the output is not replaced")
	}
	fail(t, "also an input", "raw2pcap", text, text)
	fail(t, "pcap or pcapng", "raw2pcap", "--format", "doc", "-w", out, text)
	fail(t, "no output", "raw2pcap", text)
	fail(t, "no input", "pcap2raw", "-w", out)
	fail(t, "must hold the longest record", "pcap2raw", "--segment", "2KiB", text, out)
	fail(t, "no space left", "pcap2raw", captures(t)[0], "/dev/full")
	raw := filepath.Join(dir, "hosts.raw")
	succeed(t, "pcap2raw", captures(t)[0], raw)
	full := fail(t, "no space left", "raw2pcap", "-w", "/dev/full", raw, raw)
	require.Equal(t, 1, strings.Count(full.stderr, "no space left"), "a full output is reported once, not for each input")
	fail(t, "unknown flag: --nonsense", "raw2pcap", "--nonsense")
}

func TestConvertersNameTheProgramForAFile(t *testing.T) {
	dir := t.TempDir()
	pcap, raw, pcapng := captures(t)[0], filepath.Join(dir, "a.raw"), filepath.Join(dir, "a.pcapng")
	succeed(t, "pcap2raw", pcap, raw)
	succeed(t, "raw2pcap", "-w", pcapng, raw)
	content, err := os.ReadFile(pcapng)
	require.NoError(t, err)
	require.Equal(t, []byte{0x0a, 0x0d, 0x0d, 0x0a}, content[:4], "the name gives the format")
	out := filepath.Join(dir, "out")
	for file, format := range map[string]string{pcap: "pcap", pcapng: "pcapng"} {
		want := file + ": is a " + format + " file, not a RAW file. pcap2raw reads it"
		fail(t, want, "raw2pcap", "-w", out, file)
		require.Empty(t, fail(t, want, "raw2tstamp", file).stdout)
	}
	fail(t, raw+": is a RAW file, not a pcap file. raw2pcap and raw2tstamp read it", "pcap2raw", "-w", out, raw)
	require.NoFileExists(t, out)
}

func TestNicsimRejectsInvalidFlags(t *testing.T) {
	dir := t.TempDir()
	sock := filepath.Join(dir, "nic.sock")
	fail(t, "no socket", "nicsim", "--wire", "gen")
	fail(t, "no wire", "nicsim", "--socket", sock)
	fail(t, "nonsense", "nicsim", "--socket", sock, "--wire", "nonsense")
	for _, wire := range []string{"nonsense", "gen,rate=fast", "gen,mac=x", `gen\\`} {
		require.Equal(t, 2, run(t, "nicsim", "--socket", sock, "--wire", wire).status, wire)
	}
	fail(t, "no such file", "nicsim", "--socket", filepath.Join(dir, "no", "nic.sock"), "--wire", "gen,count=1")
	plain := filepath.Join(dir, "plain")
	require.NoError(t, os.WriteFile(plain, nil, 0o644))
	fail(t, plain, "nicsim", "--socket", plain, "--wire", "gen,count=1")
}
