package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestSleepingCaptureStoresEveryFrameByteForByte(t *testing.T) {
	file := captures(t)[0]
	sent := readPcap(t, file)
	sock := filepath.Join(t.TempDir(), "nic.sock")
	model := launch(t, command(t, "nicsim", "--socket", sock, "--wire", "pcap="+file+",backpressure"))
	model.waitStderr("serving on")
	dir := t.TempDir()
	dd := launch(t, command(t, "hpcapdd", "-i", "vfio-user:"+sock, "-w", dir, "--buffer", "4MiB", "--sleep", "--json"))
	model.waitStderr("the wire has ended")
	r := dd.end(unix.SIGINT)
	require.Zero(t, r.status, r.stderr)
	require.NotContains(t, r.stderr, "never fired")
	require.EqualValues(t, len(sent), ledger(t, r).Frames())
	got, _ := readRaw(t, dir)
	requireSameFrames(t, sent, got)
}

func TestSleepingCaptureOfManyQueuesLosesNothing(t *testing.T) {
	r := succeed(t, "hpcapdd", "-i", "sim:gen,size=60-1514,flows=64,count=20000,rate=20kpps,backpressure",
		"-w", "null", "--queues", "4", "--sleep", "--json")
	l := ledger(t, r)
	require.EqualValues(t, 20000, l.Frames())
	require.Zero(t, l.Lost())
	sleeps := uint64(0)
	for _, q := range l.Queues {
		sleeps += q.Sleeps
	}
	require.NotZero(t, sleeps)
}

func TestIdleCaptureSleeps(t *testing.T) {
	r := succeed(t, "hpcapdd", "-i", "sim:gen,rate=1pps", "-w", "null", "--duration", "1s", "--sleep", "--json")
	q := ledger(t, r).Queues[0]
	require.NotZero(t, q.Sleeps)
	require.Less(t, q.Polls, uint64(2000), "some 20 sleeps of 50 ms")
}

func TestCaptureSurvivesInterruptsThatNeverFire(t *testing.T) {
	r := succeed(t, "hpcapdd", "-i", "sim:gen,size=60,count=20000,rate=50kpps,backpressure,fault=no-msix", "-w", "null", "--sleep", "--json")
	l := ledger(t, r)
	require.EqualValues(t, 20000, l.Frames())
	require.Zero(t, l.Lost())
	require.Equal(t, 1, strings.Count(r.stderr, "MSI-X vector 0 (receive queue 0) is dead: it never fired"), r.stderr)
	require.Equal(t, 1, strings.Count(r.stderr, "MSI-X vector 1 (link changes) is dead: it never fired"), r.stderr)
}

func TestLinkChangesAreReportedAndCounted(t *testing.T) {
	r := succeed(t, "hpcapdd", "-i", "sim:gen,size=60,count=1000,rate=1kpps,backpressure,fault=flap:150ms", "-w", "null", "--json")
	l := ledger(t, r)
	require.EqualValues(t, 1000, l.Frames())
	require.NotZero(t, l.Account.LinkDowns)
	require.Regexp(t, `(?m): link down at=\S+Z$`, r.stderr)
	require.Regexp(t, `(?m): link up at 10000 Mb/s at=\S+Z$`, r.stderr)
	r = succeed(t, "hpcapdd", "-i", "sim:gen,size=60,count=500,rate=1kpps,backpressure,fault=flap:150ms", "-w", "null")
	require.Regexp(t, `(?m)^ *[1-9]\d* +times  link lost$`, r.stdout)
}
