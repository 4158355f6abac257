package test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A program is compiled, as C and as C++, against what make install installs.
func TestNativeProgramsUseTheInstalledLibrary(t *testing.T) {
	b := build(t)
	needs(t, "g++")
	root := t.TempDir()
	out, err := exec.Command("make", "-C", "..", "BUILD="+b.dir, "CFLAGS=-O2 -g", "install", "DESTDIR="+root, "PREFIX=/usr").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for compiler, flags := range map[string][]string{"gcc": {"-std=c11"}, "g++": {"-x", "c++"}} {
		exe := filepath.Join(root, "native-"+compiler)
		args := append(flags, "-Wall", "-Wextra", "-Werror", "-I"+root+"/usr/include", "testdata/native.c", "-x", "none", "-o", exe, "-L"+root+"/usr/lib", "-l:libpcap.so.1")
		out, err := exec.Command(compiler, args...).CombinedOutput()
		require.NoError(t, err, "%s: %s", compiler, out)
		cmd := exec.Command(exe)
		cmd.Env = []string{"LD_LIBRARY_PATH=" + root + "/usr/lib"}
		out, err = cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		expect(t, `
			-1 get channels of lo: Operation not supported. The device's driver has no such channels.
			-1 set channels of lo: mask 0 names no channels. Possible: PCAP_RX_CHANNELS and others of pcap/fanout.h.
			-1 No such file or directory
			-1 Invalid argument
			0 -1 mode "fast" is unknown. Possible: hash, lb, rnd, cpu, rollover, qm, consistent, filter, buddy.`, string(out))
	}
	for _, page := range []string{"man3/pcap_fanout.3pcap", "man3/pcap_set_channels.3pcap", "man3/pcap_get_channels.3pcap", "man3/pcap_channel_setaffinity.3pcap", "man3/pcap_channel_getaffinity.3pcap", "man5/pcap.conf.5"} {
		require.FileExists(t, filepath.Join(root, "usr/share/man", page))
	}
}

func TestManPagesHaveNoErrors(t *testing.T) {
	if _, err := exec.LookPath("mandoc"); err != nil {
		t.Skip("mandoc is missing; `make tools` installs it")
	}
	pages, err := filepath.Glob("../man/pcap*")
	require.NoError(t, err)
	require.Len(t, pages, 4)
	for _, page := range pages {
		cmd := exec.Command("mandoc", "-T", "lint", "-W", "warning", filepath.Base(page))
		cmd.Dir = "../man"
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Empty(t, string(out))
	}
}
