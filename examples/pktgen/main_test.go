package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/examples/internal/cli/clitest"
)

// output runs the program and returns what it prints.
func output(t *testing.T, args ...string) string {
	t.Helper()
	return clitest.Output(t, command(), args...)
}

// What is sent arrives: each frame of each queue once, whatever the sizes, flows, distances
// and methods are.
func TestSentFramesAreAnalyzed(t *testing.T) {
	for i, args := range []string{
		"--rate 500kpps --by filler -c 5000",
		"--rate 2Gbps --by limiter --size imix -c 5000",
		"--gaps poisson --rate 1Mpps -c 5000 --size 70-300 --vlan 9 --tcp",
		"--gaps burst=10,100us --rate 1Mpps -c 5000 --src fd00::/120 --dst fd00::1 --size 80 --flows 200",
		"-c 2500 --queues 2",
	} {
		name := filepath.Join(t.TempDir(), "sent.pcap")
		sent := output(t, append(append([]string{"send"}, strings.Fields(args)...), "sim:sink="+name)...)
		require.Contains(t, sent, "5000  frames    sent to", args)
		require.Contains(t, sent, "error of the spacing, 99.9th percentile")
		got := output(t, "analyze", name)
		if i == 4 {
			require.Contains(t, got, "2500  frames    received of stream 0, sequence numbers 0 to 2499")
			require.Contains(t, got, "2500  frames    received of stream 1, sequence numbers 0 to 2499")
			continue
		}
		require.Contains(t, got, "5000  frames    received of stream 0, sequence numbers 0 to 4999", args)
		require.Contains(t, got, "\n           0  frames      lost", args)
		require.NotContains(t, got, "without a mark", args)
	}
}

func TestUsageErrors(t *testing.T) {
	for args, want := range map[string]string{
		"":                            "no command",
		"send":                        "operand is missing",
		"send --rate 5 sim:sink":      "want line",
		"send --by magic sim:sink":    "want software, limiter or filler",
		"send --by limiter sim:sink":  "Give a --rate",
		"send --gaps x sim:sink":      "want constant",
		"send --dst-mac 1 sim:sink":   "six bytes",
		"send --queues 17 sim:sink":   "1 to 16",
		"send --flows 2 sim:sink":     "1 combinations",
		"send --src fd00::1 sim:sink": "two families",
		"analyze":                     "give files",
		"send --by limiter --rate 1Mpps --size imix sim:sink": "counts bytes",
		"send --by filler --rate 1Mpps --queues 2 sim:sink":   "Choose one queue",
	} {
		err := cli.Execute(command(), strings.Fields(args)...)
		require.ErrorContains(t, err, want, args)
		require.ErrorAs(t, err, new(cli.UsageError), args)
	}
	require.ErrorContains(t, cli.Execute(command(), "send", "-c", "1", "packet:eth0"), "Send through an 82599")
}
