package test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// buildMatcher makes testdata/matcher.c with the matcher.
func buildMatcher(t testing.TB, flags ...string) string {
	t.Helper()
	needs(t, "gcc")
	exe := filepath.Join(t.TempDir(), "matcher")
	args := append([]string{"-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-o", exe, "../matcher.c", "testdata/matcher.c", "-lpcap"}, flags...)
	out, err := exec.Command("gcc", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return exe
}

// TestMatcherIsBpfFilter compares both on random programs and packets.
func TestMatcherIsBpfFilter(t *testing.T) {
	exe := buildMatcher(t, "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
	for _, seed := range []string{"1", "2", "3"} {
		out, err := exec.Command(exe, "random", seed, "5000").CombinedOutput()
		require.NoError(t, err, "seed %s: %s", seed, out)
		require.Greater(t, number(t, string(out), 0), 90000)
	}
}

// BenchmarkFilter compares the time of both a packet: libpcap's and the matcher's.
func BenchmarkFilter(b *testing.B) {
	exe := buildMatcher(b, "-O2")
	filters := []string{"ip", "udp", "tcp port 80", "host 1.2.3.0", "tcp port 80 or udp port 53 or net 1.2.0.0/16"}
	for b.Loop() {
		out, err := exec.Command(exe, append([]string{"bench"}, filters...)...).CombinedOutput()
		require.NoError(b, err, "%s", out)
		b.Logf("ns a packet of bpf_filter and of the matcher:\n%s", strings.TrimSpace(string(out)))
	}
}
