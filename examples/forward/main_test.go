package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/examples/internal/cli/clitest"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/server"
	"github.com/ixcap/ixcap/sim/wire"
)

// asProgram makes the test binary the program.
const asProgram = "IXCAP_FORWARD"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// frames are the frames of a capture file, padded as the device does.
func frames(t *testing.T, name string) (all []string) {
	t.Helper()
	for _, f := range clitest.Frames(t, name) {
		all = append(all, string(f)+strings.Repeat("\x00", max(0, 60-len(f))))
	}
	return all
}

const hosts = "../../testdata/hosts.pcap"

// What a file holds goes through both ports, is filtered, tagged and stored on the way.
func TestFramesAreForwardedAndStored(t *testing.T) {
	all := frames(t, hosts)
	dir := t.TempDir()
	name := filepath.Join(dir, "out.pcap")
	text := clitest.Output(t, command(), "-c", fmt.Sprint(len(all)), "-f", "tcp", "--push-vlan", "7", "--dst-mac", "02:00:00:00:00:99",
		"-w", filepath.Join(dir, "tap"), "sim:pcap="+hosts+",rate=100kpps", "sim:sink="+name)
	filter, err := pcapfilter.Compile("tcp")
	require.NoError(t, err)
	var want []string
	for _, f := range all {
		if filter.Match([]byte(f), len(f)) {
			want = append(want, "\x02\x00\x00\x00\x00\x99"+f[6:12]+"\x81\x00\x00\x07"+f[12:])
		}
	}
	got := frames(t, name)
	require.Equal(t, len(want), len(got))
	for i := range want {
		require.True(t, want[i] == got[i], "frame %d", i)
	}
	require.Contains(t, text, fmt.Sprintf("%12d  frames  received\n", len(all)))
	require.Contains(t, text, fmt.Sprintf("%12d  frames    dropped by the filter\n", len(all)-len(want)))
	require.Contains(t, text, fmt.Sprintf("%12d  frames  sent\n", len(want)))
	require.Contains(t, text, "the counters of the ports balance")
	require.Equal(t, 2, strings.Count(text, "the ledger balances"))
	stored, err := filepath.Glob(filepath.Join(dir, "tap", "0", "*.raw"))
	require.NoError(t, err)
	n := 0
	for r, err := range cli.Records(stored) {
		require.NoError(t, err)
		require.True(t, n < len(all) && all[n] == string(r.Data), "frame %d is stored as it was received", n)
		n++
	}
	require.Equal(t, len(all), n)
}

// The program is killed while frames are forwarded, and started again: the devices come up, and
// forward as before.
func TestKilledAndStartedAgain(t *testing.T) {
	dir := t.TempDir()
	var ports []string
	for i := range 2 {
		options, err := wire.ParseOptions("gen,size=60-1514,rate=20kpps,flows=100")
		require.NoError(t, err)
		w, err := wire.Parse(options)
		require.NoError(t, err)
		nic, err := sim.New(sim.Config{}, w)
		require.NoError(t, err)
		path := filepath.Join(dir, fmt.Sprint(i))
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		require.NoError(t, err)
		s := server.New(nic)
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		t.Cleanup(func() {
			require.NoError(t, s.Close())
			<-served
			require.NoError(t, nic.Close())
			stats := nic.Stats()
			require.NoError(t, stats.Balanced())
			require.Zero(t, stats.Faults, stats.LastFault)
		})
		ports = append(ports, "vfio-user:"+path)
	}
	self, err := os.Executable()
	require.NoError(t, err)
	for round := range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		args := ports
		if round == 2 {
			args = append([]string{"-c", "4000"}, ports...)
		}
		c := exec.CommandContext(ctx, self, args...)
		c.Env = append(os.Environ(), asProgram+"=1")
		var text strings.Builder
		c.Stdout, c.Stderr = &text, &text
		require.NoError(t, c.Start())
		if round < 2 {
			time.Sleep(time.Duration(300+round*200) * time.Millisecond)
			require.NoError(t, c.Process.Kill())
			require.Error(t, c.Wait())
			continue
		}
		require.NoError(t, c.Wait(), text.String())
		require.Contains(t, text.String(), "the counters of the ports balance")
	}
}

func TestUsageErrors(t *testing.T) {
	for args, want := range map[string]string{
		"":                                    "operand is missing",
		"sim:sink sim:sink":                   "name a port once",
		"--push-vlan 4095 sim:sink":           "want 1 to 4094",
		"--dst-mac x sim:sink":                "--dst-mac",
		"--back-src-mac 1:2 sim:sink sim:gen": "--back-src-mac",
		"--back-filter )( sim:sink sim:gen":   "--back-filter",
		"-f )( sim:sink":                      "--filter",
		"--back-pop-vlan sim:sink":            "no second port",
		"--queues 17 sim:sink":                "want 1 to 16",
		"--queues 0 sim:sink":                 "want 1 to 16",
		"sim:gen sim:sink sim:gen,size=1514":  "operand",
	} {
		err := cli.Execute(command(), strings.Fields(args)...)
		require.ErrorContains(t, err, want, args)
		require.ErrorAs(t, err, new(cli.UsageError), args)
	}
	require.ErrorContains(t, cli.Execute(command(), "packet:lo", "sim:sink"), "packet:lo")
	require.ErrorContains(t, cli.Execute(command(), "--chunk-size", "3", "sim:sink"), "chunk")
}
