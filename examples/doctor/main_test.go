package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/doctor"
	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/hugepage/hugepagetest"
	_ "github.com/ixcap/ixcap/sim"
)

func TestCommandLines(t *testing.T) {
	for _, c := range []struct {
		args   []string
		device string
		json   bool
	}{
		{nil, "", false},
		{[]string{"eth2"}, "eth2", false},
		{[]string{"--json"}, "", true},
		{[]string{"--json", "0000:03:00.0"}, "0000:03:00.0", true},
		{[]string{"0000:03:00.0", "--json"}, "0000:03:00.0", true},
		{[]string{"-i", "eth2"}, "eth2", false},
	} {
		var device string
		var json bool
		err := cli.Execute(newCommand(func(d string, j bool) error {
			device, json = d, j
			return nil
		}), c.args...)
		require.NoError(t, err)
		require.Equal(t, c.device, device)
		require.Equal(t, c.json, json)
	}
	for _, args := range [][]string{{"eth2", "eth3"}, {"-x"}, {"eth2", "-x"}, {"-i", "eth2", "eth3"}, {"-i", ""}, {"sim:gen"}, {"vfio-user:/run/nic.sock"}} {
		err := cli.Execute(newCommand(func(string, bool) error { return nil }), args...)
		require.True(t, errors.As(err, new(cli.UsageError)), "%v: %v", args, err)
	}
}

func TestTheCommandFitsTheReport(t *testing.T) {
	r := doctor.Report{Device: "0000:03:00.0"}
	require.Equal(t, "hpcapdd -i 0000:03:00.0 -w DIR", command(r))
	r.Pages1G, r.Cores = true, []int{14, 15}
	require.Equal(t, "hpcapdd -i 0000:03:00.0 --pages 1GiB --buffer 1GiB --cores 15 -w DIR", command(r))
}

func TestFixesAreCommandsOfOurPrograms(t *testing.T) {
	s := spec("0000:03:00.0")
	require.Equal(t, "0000:03:00.0", s.Device)
	for want, b := range map[string]doctor.Binding{
		"sudo examples/vfio-bind bind 0000:03:00.0 -u $USER":                         {Address: "0000:03:00.0"},
		"sudo examples/vfio-bind bind 0000:03:00.0 -u $USER --force":                 {Address: "0000:03:00.0", Force: true},
		"sudo examples/vfio-bind bind 0000:03:00.0 -u $USER --hugepages 201@1":       {Address: "0000:03:00.0", HugePages: 201, Node: 1},
		"sudo examples/vfio-bind bind 0000:03:00.0 -u $USER --hugepages 151":         {Address: "0000:03:00.0", HugePages: 151, Node: -1},
		"sudo examples/vfio-bind bind 0000:03:00.0 -u $USER --hugepages 3@0 --force": {Address: "0000:03:00.0", HugePages: 3, Force: true},
	} {
		require.Equal(t, want, s.Bind(b))
	}
	require.Contains(t, s.Family.None.Fix, "sim:")
	require.Contains(t, s.Family.Bus.Fix, "8 lanes")
	require.Equal(t, 825753600*time.Nanosecond/1000, s.Family.Holds.Truncate(time.Nanosecond))
}

func TestFailedChecksAreNamed(t *testing.T) {
	r := doctor.Report{Checks: []doctor.Check{{Name: "a", State: doctor.Failed}, {Name: "b", State: doctor.Warning}}}
	require.Equal(t, "a failed", failed(r))
	r.Checks = append(r.Checks, doctor.Check{Name: "c", State: doctor.Failed}, doctor.Check{Name: "d", State: doctor.Failed})
	require.Equal(t, "a, c and d failed; fix them in this order", failed(r))
}

// needs are the exact needs of a capture with hpcapdd's defaults.
func TestNeedsAreThoseOfACapture(t *testing.T) {
	n := needs()
	hugepagetest.Reserve(t, hugepage.Size2M, hugepage.AnyNode, n.Pages2M)
	port, err := nic.Open("sim:gen,size=60,count=1", nic.Config{Queues: 1, Pages: hugepage.Size2M})
	require.NoError(t, err)
	require.Equal(t, n.Lock2M, int64(own(t))<<21, "memory mapped for DMA")
	engine, err := capture.New(port, capture.Config{Buffer: buffer, Pages: hugepage.Size2M})
	require.NoError(t, err)
	require.Equal(t, n.Pages2M, own(t))
	require.NoError(t, engine.Close())
}

// own counts the huge pages of 2 MiB in this process's memfds. The pool's counters
// include those of other processes.
func own(t *testing.T) (pages int) {
	links, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	seen := map[uint64]bool{} // the model has its own descriptors of the same memory
	for _, link := range links {
		var st unix.Stat_t
		if unix.Stat(link, &st) != nil || int64(st.Blksize) != int64(hugepage.Size2M) || seen[st.Ino] {
			continue
		}
		seen[st.Ino] = true
		pages += int(st.Size) / int(hugepage.Size2M)
	}
	return pages
}

// On any machine, run succeeds or reports what is missing.
func TestThisMachineIsExamined(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer null.Close()
	out := os.Stdout
	os.Stdout = null
	defer func() { os.Stdout = out }()
	if err := run("", false); err != nil {
		require.ErrorContains(t, err, "not ready: ")
	}
	require.ErrorContains(t, run("no-such-if", false), "no such interface")
}

func TestErrorsOfOperandsNameTheProgramOnce(t *testing.T) {
	for arg, want := range map[string]string{"": `port ""`, "eth3": `unexpected operand "eth3"`} {
		args := []string{arg}
		if arg != "" {
			args = []string{"eth2", arg}
		}
		err := cli.Execute(newCommand(func(string, bool) error { t.Fatal("ran"); return nil }), args...)
		require.ErrorAs(t, err, new(cli.UsageError))
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "doctor: ")
	}
}
