package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/examples/internal/cli"
)

// What arrives is neither stored nor ordered by a window: flags for that are refused.
func TestLiveFollowTakesFewFlags(t *testing.T) {
	dir := t.TempDir() // without sockets
	live := []string{"--share", dir, "--follow"}
	err := cli.Execute(command(runQuery, maintain), append(live, "-w", dir+"/o.pcap", "-f", "udp", "-s", "64")...)
	require.ErrorContains(t, err, "no capture shares its queues there")
	require.NoFileExists(t, dir+"/o.pcap")
	for args, want := range map[string]string{
		"":                      "no output: name it with -w",
		"-w x.doc":              "must end in .pcap or .pcapng",
		"-w - --from now":       "without -r packets are written as they arrive",
		"-w - -c 3":             "without -r",
		"-w - --queue 1":        "without -r",
		"-w x.pcap -C 1MiB":     "without -r",
		"-w - --stats":          "without -r",
		"-w - -s -1":            "--snaplen -1",
		"-w x.pcap.gz -F pcap":  "outputs are not compressed",
		"-w - --input-format r": "without -r",
	} {
		err := cli.Execute(command(runQuery, maintain), append(live, strings.Fields(args)...)...)
		require.ErrorAs(t, err, new(cli.UsageError), args)
		require.ErrorContains(t, err, want, args)
	}
	err = cli.Execute(command(runQuery, maintain), "--share", dir, "-w", "-")
	require.ErrorContains(t, err, "no directory", "without --follow there is nothing to wait for")
}
