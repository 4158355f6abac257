package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

func parse(args ...string) (o *options, err error) {
	err = cli.Execute(command(func(got options) error {
		o = &got
		return nil
	}), args...)
	return o, err
}

func TestFlagsMakeTheSettingsOfAGroup(t *testing.T) {
	o, err := parse("--threads", "4", "--group", "7", "--mode", "lb", "--lossless", "/run/x")
	require.NoError(t, err)
	require.Equal(t, "/run/x", o.dir)
	require.Equal(t, 4, o.count.Threads)
	require.Equal(t, "group=7\nmode=lb", o.count.Fanout)
	require.Equal(t, stream.Lossless, o.count.Policy)
	o, err = parse("--threads", "1", "--group", "0", "--tunnels", "gre,vxlan")
	require.NoError(t, err)
	require.Equal(t, "group=0\ntunnels=gre,vxlan", o.count.Fanout)
	require.Equal(t, stream.Lossy, o.count.Policy)
	o, err = parse("--threads", "1", "--group", "3", "--mode", "filter", "-f", "udp port 53")
	require.NoError(t, err)
	require.Equal(t, "group=3\nmode=filter\nfilter=udp port 53", o.count.Fanout)
	o, err = parse()
	require.NoError(t, err)
	require.Empty(t, o.count.Fanout)
	require.Equal(t, usual(), o.dir)
}

func TestUsageErrors(t *testing.T) {
	for args, want := range map[string]string{
		"--threads 65":                          "--threads 65: must be 0 to 64",
		"--threads -1":                          "--threads -1: must be 0 to 64",
		"--group 7":                             "no threads that read",
		"--lossless":                            "no threads that read",
		"--threads 1 --mode hash":               "--mode, --filter and --tunnels: go with --group",
		"--threads 1 --filter udp":              "--mode, --filter and --tunnels: go with --group",
		"--threads 1 --group 1 --mode filter":   "--mode filter: name the packets with --filter",
		"--threads 1 --group 1 -f nonsense":     "nonsense",
		"--threads 1 --group 70000":             "group",
		"--threads 1 --group 1 --mode sideways": "sideways",
		"--threads 1 --group 1 --tunnels ipx":   "ipx",
		"--interval 0":                          "--interval",
		"a b":                                   `unexpected operand "b"`,
	} {
		_, err := parse(strings.Fields(args)...)
		require.ErrorAs(t, err, new(cli.UsageError), args)
		require.ErrorContains(t, err, want, args)
	}
}
