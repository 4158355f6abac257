package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/examples/internal/cli/clitest"
)

// replay runs the program and returns what it prints.
func replay(t *testing.T, args ...string) string {
	t.Helper()
	return clitest.Output(t, command(), args...)
}

// frames are the frames of a capture file.
func frames(t *testing.T, name string) (all []string) {
	t.Helper()
	for _, f := range clitest.Frames(t, name) {
		all = append(all, string(f))
	}
	return all
}

const hosts = "../../testdata/hosts.pcap"

// The frames of a file arrive, in order and byte for byte, whatever spaces them.
func TestFramesAreSentByteForByte(t *testing.T) {
	var want []string
	for _, f := range frames(t, hosts) {
		if len(f) < 60 { // the device pads
			f += strings.Repeat("\x00", 60-len(f))
		}
		want = append(want, f)
	}
	for _, args := range []string{
		"--rate line", "--rate 1Gbps --by filler", "--rate 200kpps --by limiter", "--rate 500kpps", "--scale 1000000", "--scale 1000000 --by filler",
		"--rate line --loop 3",
	} {
		name := filepath.Join(t.TempDir(), "out.pcap")
		text := replay(t, append(strings.Fields(args), "-i", "sim:sink="+name, hosts)...)
		got := frames(t, name)
		rounds := 1
		if strings.HasSuffix(args, "3") {
			rounds = 3
		}
		require.Len(t, got, rounds*len(want), args)
		for i := range got {
			require.Equal(t, want[i%len(want)], got[i], "%s: frame %d", args, i)
		}
		require.Contains(t, text, "frames    sent to sim:sink="+name)
		require.Contains(t, text, "error of the spacing, standard deviation")
	}
}

func TestFilterAndEdits(t *testing.T) {
	name := filepath.Join(t.TempDir(), "out.pcap")
	replay(t, "--rate", "line", "-f", "ip and udp", "--dst-mac", "02:00:00:00:00:99", "--vlan", "7", "-i", "sim:sink="+name, hosts)
	got := frames(t, name)
	require.NotEmpty(t, got)
	require.Less(t, len(got), len(frames(t, hosts)))
	for _, f := range got {
		require.Equal(t, "\x02\x00\x00\x00\x00\x99", f[:6])
		require.Equal(t, "\x81\x00\x00\x07", f[12:16])
		require.EqualValues(t, 17, f[4+23])
	}
}

func TestUsageErrors(t *testing.T) {
	for args, want := range map[string]string{
		"x.pcap":                              "name it with -i",
		"-i sim:sink":                         "operand is missing",
		"-i sim:sink --scale 0 x":             "above 0",
		"-i sim:sink --rate fast x":           "or recorded",
		"-i sim:sink --scale 2 --rate 1pps x": "of recorded distances",
		"-i sim:sink --vlan 1 --strip-vlan x": "choose one",
		"-i sim:sink --src-mac x x":           "six bytes",
		"-i sim:sink --from x x":              "x",
		"-i sim:sink --filter )( x":           "--filter",
	} {
		err := cli.Execute(command(), strings.Fields(args)...)
		require.ErrorContains(t, err, want, args)
		require.ErrorAs(t, err, new(cli.UsageError), args)
	}
	require.Error(t, cli.Execute(command(), "-i", "sim:sink", "nosuch.pcap"))
}
