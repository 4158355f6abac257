package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/internal/testtime"
)

// manyPackets makes a pcap file of n packets of 1000 bytes.
func manyPackets(t *testing.T, n int) string {
	name := filepath.Join(t.TempDir(), "many.pcap")
	frame := append(small(1), make([]byte, 940)...)
	b := oldFile(4, 1)
	for i := range n {
		b = append(words(b, uint32(i+1), 0, 1000, 1000), frame...)
	}
	require.NoError(t, os.WriteFile(name, b, 0o644))
	return name
}

// names returns the names in a folder, hidden ones too.
func names(t *testing.T, dir string) (all []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// A write that fails leaves neither a cut output nor a partial file, and an earlier output
// stays as it was.
func TestFailedWritesReplaceNothing(t *testing.T) {
	pcap := manyPackets(t, 4000)
	raw := filepath.Join(t.TempDir(), "many.raw")
	succeed(t, "pcap2raw", "-w", raw, pcap)
	for _, c := range []struct {
		args []string
		out  string
	}{
		{[]string{"hpcapq", "-r", pcap, "-w", "x.pcap"}, "x.pcap"},
		{[]string{"hpcapq", "-r", pcap, "-w", "x.pcap", "--split", "file"}, "x-many.pcap"},
		{[]string{"hpcapq", "-r", pcap, "-w", "x.pcap", "-C", "3MB"}, "x-000000.pcap"},
		{[]string{"pcap2raw", "-w", "x.raw", pcap}, "x.raw"},
		{[]string{"pcap2raw", "-w", "x.raw", "-C", "3MiB", pcap}, "x-000000.raw"},
		{[]string{"raw2pcap", "-w", "x.pcap", raw}, "x.pcap"},
		{[]string{"raw2tstamp", "-w", "x.txt", raw}, "x.txt"},
	} {
		for _, force := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s to %s force %v", c.args[0], c.out, force), func(t *testing.T) {
				dir := t.TempDir()
				args, limit := append([]string{}, c.args...), "--fsize=2000000"
				if c.out == "x.txt" {
					limit = "--fsize=20000"
				}
				if force {
					args = append(args, "--force")
					require.NoError(t, os.WriteFile(filepath.Join(dir, c.out), []byte("precious"), 0o644))
				}
				args[0] = built(t, args[0])
				p := exec.CommandContext(t.Context(), tool(t, "prlimit"), append([]string{limit}, args...)...)
				p.Dir = dir
				text, err := p.CombinedOutput()
				require.Error(t, err)
				require.Equal(t, 1, p.ProcessState.ExitCode(), "%s", text)
				require.Contains(t, string(text), "write "+c.out+": file too large")
				require.Equal(t, 1, bytes.Count(text, []byte("file too large")), "%s", text)
				if !force {
					require.Empty(t, names(t, dir), "%s", text)
					return
				}
				require.Equal(t, []string{c.out}, names(t, dir))
				b, err := os.ReadFile(filepath.Join(dir, c.out))
				require.NoError(t, err)
				require.Equal(t, "precious", string(b))
			})
		}
	}
}

// An output of --split that cannot be created is refused as that of -w is, and the other
// files are written.
func TestPartsThatCannotBeCreatedAreRefused(t *testing.T) {
	pcap := manyPackets(t, 10)
	in := filepath.Dir(pcap)
	b, err := os.ReadFile(pcap)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(in, "few.pcap"), b, 0o644))
	for _, c := range []struct {
		make func(name string) error
		want string
	}{
		{func(name string) error { return os.WriteFile(name, []byte("precious"), 0o644) }, "x-many.pcap: file exists. Choose another name or add --force"},
		{func(name string) error { return os.Mkdir(name, 0o755) }, "x-many.pcap: is a directory"},
	} {
		dir := t.TempDir()
		require.NoError(t, c.make(filepath.Join(dir, "x-many.pcap")))
		fail(t, c.want, "hpcapq", "-r", in, "-w", filepath.Join(dir, "x.pcap"), "--split", "file")
		require.Equal(t, []string{"x-few.pcap", "x-many.pcap"}, names(t, dir))
	}
	r := run(t, "hpcapq", "-r", in, "-w", filepath.Join(in, "none", "x.pcap"), "--split", "file")
	require.Equal(t, 1, r.status)
	require.NotContains(t, r.stderr, "panic")
	require.Contains(t, r.stderr, "no such file or directory")
}

// A signal ends a conversion as usual, and leaves no partial file.
func TestSignalsRemovePartialOutputs(t *testing.T) {
	for _, name := range []string{"raw2pcap", "pcap2raw", "raw2tstamp"} {
		for _, s := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
			dir := t.TempDir()
			c := command(t, name, "-w", filepath.Join(dir, "x"), "-")
			in, err := c.StdinPipe()
			require.NoError(t, err)
			require.NoError(t, c.Start())
			require.Eventually(t, func() bool { return len(names(t, dir)) == 1 }, testtime.Deadline, time.Millisecond)
			require.NoError(t, c.Process.Signal(s))
			require.Error(t, c.Wait())
			require.Equal(t, s, c.ProcessState.Sys().(syscall.WaitStatus).Signal(), "%s", name)
			require.Empty(t, names(t, dir), "%s, %v", name, s)
			in.Close()
		}
	}
}

// Parts of an earlier run are not taken for parts of this one.
func TestPartsOfAnEarlierRunAreRemoved(t *testing.T) {
	pcap := manyPackets(t, 4000)
	for ext, args := range map[string][]string{
		".pcap": {"hpcapq", "-r", pcap, "-C", "2MB"},
		".raw":  {"pcap2raw", "-r", pcap, "-C", "2MiB"},
	} {
		dir := t.TempDir()
		part := func(n int) string { return filepath.Join(dir, fmt.Sprintf("x-%06d%s", n, ext)) }
		other := filepath.Join(dir, "x-7"+ext) // no part
		for _, name := range []string{part(0), part(5), part(1_000_000), other} {
			require.NoError(t, os.WriteFile(name, []byte("precious"), 0o644))
		}
		before := names(t, dir)
		args = append(args, "-w", filepath.Join(dir, "x"+ext))
		fail(t, part(0)+": file exists. Choose another name or add --force", args[0], args[1:]...)
		require.Equal(t, before, names(t, dir))
		r := succeed(t, args[0], append(args[1:], "--force")...)
		require.Contains(t, r.stderr, "2 files of an earlier output, "+part(5)+" to "+part(1_000_000)+": removed")
		for n := range 2 {
			require.FileExists(t, part(n))
		}
		require.NoFileExists(t, part(5))
		require.NoFileExists(t, part(1_000_000))
		require.FileExists(t, other)
	}

	// An input is not removed.
	in := filepath.Join(filepath.Dir(pcap), "many-000009.pcap")
	require.NoError(t, os.Rename(pcap, in))
	fail(t, "is also an input", "hpcapq", "-r", in, "--split", "1000", "--force", "-w", pcap)
	require.FileExists(t, in)
}

// An earlier output is replaced only if all inputs can be opened.
func TestInputsThatCannotBeOpenedReplaceNothing(t *testing.T) {
	pcap, dir := manyPackets(t, 10), t.TempDir()
	raw, text := filepath.Join(t.TempDir(), "many.raw"), filepath.Join(dir, "text")
	succeed(t, "pcap2raw", "-w", raw, pcap)
	require.NoError(t, os.WriteFile(text, []byte("this is a text"), 0o644))
	for _, args := range [][]string{
		{"pcap2raw", pcap, "typo.pcap"}, {"pcap2raw", pcap, text}, {"raw2pcap", raw, "typo.raw"}, {"raw2pcap", raw, pcap}, {"raw2tstamp", raw, "typo.raw"},
	} {
		out := filepath.Join(dir, "x")
		require.NoError(t, os.WriteFile(out, []byte("precious"), 0o644))
		r := run(t, args[0], append(args[1:], "--force", "-w", out)...)
		require.Equal(t, 1, r.status, "%q: %s", args, r.stderr)
		require.Contains(t, r.stderr, "output "+out+": not replaced")
		b, err := os.ReadFile(out)
		require.NoError(t, err)
		require.Equal(t, "precious", string(b))
	}
	fail(t, "input "+dir+": is a directory. Name the files in it", "raw2pcap", "--force", "-w", filepath.Join(dir, "x"), dir)
}

func TestNamesOfOutputsAreWhatIsWritten(t *testing.T) {
	pcap, dir := manyPackets(t, 10), t.TempDir()
	raw, out := filepath.Join(dir, "many.raw"), filepath.Join(dir, "o.PCAPNG")
	succeed(t, "pcap2raw", "-w", raw, pcap)
	for _, args := range [][]string{{"raw2pcap", raw}, {"hpcapq", "--force", "-r", pcap}} {
		succeed(t, args[0], append(args[1:], "-w", out)...)
		b, err := os.ReadFile(out)
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(b, sectionHeader[:4]), args[0])
	}
	before := names(t, dir)
	for program, args := range map[string][]string{"raw2pcap": {raw}, "raw2tstamp": {raw}, "pcap2raw": {pcap}, "hpcapq": {"-F", "pcap", "-r", pcap}} {
		name := filepath.Join(dir, "o.pcap.GZ")
		r := fail(t, "append | gzip > "+name, program, append(args, "-w", name)...)
		require.Equal(t, 2, r.status)
	}
	require.Equal(t, before, names(t, dir))
}

// The runtime makes a closed standard output /dev/null, and writes succeed.
func TestClosedStandardOutputIsTold(t *testing.T) {
	pcap := manyPackets(t, 10)
	raw := filepath.Join(t.TempDir(), "many.raw")
	succeed(t, "pcap2raw", "-w", raw, pcap)
	for _, args := range []string{"hpcapq -w - -r " + pcap, "raw2pcap -w - " + raw, "raw2tstamp " + raw, "pcap2raw -w /dev/stdout " + pcap} {
		for redirection, told := range map[string]int{">&-": 1, ">/dev/null": 0} {
			c := exec.CommandContext(t.Context(), "sh", "-c", built(t, "")+"/"+args+" "+redirection)
			var text bytes.Buffer
			c.Stderr = &text
			require.NoError(t, c.Run(), text.String())
			require.Equal(t, told, strings.Count(text.String(), "warning: standard output was closed, or is /dev/null"), "%s %s: %s", args, redirection, text.String())
		}
	}
}
