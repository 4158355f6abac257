package daemon_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon"
	"github.com/ixcap/ixcap/internal/testtime"
)

// A command sees every finished file once, under its final name, before Close
// returns; one that fails is logged and does not end the capture.
func TestCommandRunsForEachFinishedFile(t *testing.T) {
	dir, seen := folder(t), filepath.Join(folder(t), "seen")
	program := filepath.Join(folder(t), "program")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\ntest -s \"$1\" && echo \"$1\" >>"+seen+"\necho it failed >&2\nexit 3\n"), 0o755))
	s := parse(t, `
[port.one]
device = "sim:gen,size=1000,count=9000,backpressure"
buffer = "8MiB"
[storage]
dirs = "`+dir+`"
segment = "2MiB"
command = "`+program+`"
`)
	var r rig
	var err error
	r.Daemon, err = daemon.Open(s, daemon.Config{Logger: r.log.Logger()})
	require.NoError(t, err)
	require.NoError(t, r.Run(t.Context()))
	require.NoError(t, r.Close())
	require.NoError(t, r.Ledgers()[0].Err)
	text, err := os.ReadFile(seen)
	require.NoError(t, err)
	got := strings.Fields(string(text))
	slices.Sort(got)
	want := files(t, dir, "*.raw")
	require.Greater(t, len(want), 3)
	require.Equal(t, want, got)
	failed := 0
	for _, line := range r.log.Lines() {
		if strings.Contains(line, "exit status 3: it failed") {
			failed++
		}
	}
	require.Equal(t, len(want), failed)
}

// A process that a command leaves in the background keeps its output open; a command may
// print without end.
func TestCommandThatLeavesAProcessOrPrintsMuchDelaysNothing(t *testing.T) {
	dir, program := folder(t), filepath.Join(folder(t), "program")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\nsleep 40 &\nhead -c 200000000 /dev/zero\necho\necho the last line\nexit 3\n"), 0o755))
	s := parse(t, `
[port.one]
device = "sim:gen,size=1000,count=100,backpressure"
buffer = "8MiB"
[storage]
dirs = "`+dir+`"
command = "`+program+`"
`)
	var r rig
	var err error
	r.Daemon, err = daemon.Open(s, daemon.Config{Logger: r.log.Logger()})
	require.NoError(t, err)
	require.NoError(t, r.Run(t.Context()))
	began := time.Now()
	require.NoError(t, r.Close())
	require.Less(t, time.Since(began), testtime.Deadline/2)
	require.Contains(t, r.log.Text(), ": the last line")
}
