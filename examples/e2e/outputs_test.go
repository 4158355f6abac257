package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
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
				args[0] = filepath.Join(bin, args[0])
				p := exec.CommandContext(t.Context(), tool(t, "prlimit"), append([]string{limit}, args...)...)
				p.Dir = dir
				text, err := p.CombinedOutput()
				require.Error(t, err)
				require.Equal(t, 1, p.ProcessState.ExitCode(), "%s", text)
				require.Contains(t, string(text), "file too large")
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
