package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

func TestPacketsOfFilesAreCounted(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("tcpdump is missing: apt install tcpdump")
	}
	const file = "../../testdata/hosts.pcap"
	lines, err := exec.Command(tcpdump, "-n", "-t", "-q", "-r", file).Output()
	require.NoError(t, err)
	dir := t.TempDir()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir+"/a.pcap", b, 0o600))
	require.NoError(t, os.WriteFile(dir+"/b.pcap", b, 0o600))
	n, err := captured(program{}, dir, nil)
	require.NoError(t, err)
	require.Equal(t, 2*bytes.Count(lines, []byte("\n")), n)
}

func TestLedgerThatDoesNotBalanceIsNoMeasurement(t *testing.T) {
	l := capture.Ledger{Account: capture.Account{Wire: 10, Received: 9}}
	b, err := json.Marshal(l)
	require.NoError(t, err)
	_, err = captured(program{ledger: true}, "", b)
	require.Error(t, err)
}

func TestCPUTimeGrows(t *testing.T) {
	before := cpuTime(os.Getpid())
	require.Positive(t, before)
	for n, x := 0, []byte{1}; cpuTime(os.Getpid()) == before; n++ {
		require.Less(t, n, 1_000_000)
		x = bytes.Repeat(x[:1], 1000)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{{"--size", "41"}, {"--size", "1515"}, {"--search-size", "41"}, {"--search-size", "1515"}, {"--frames", "0"}, {"--rate", "0"}, {"--rounds", "0"}, {"more"}} {
		err := cli.Execute(command(func(options) error { return nil }), args...)
		require.ErrorAs(t, err, new(cli.UsageError), args)
	}
}
