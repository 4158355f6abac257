package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
)

// errLedger is the ledger among the lines of standard error.
func errLedger(t *testing.T, stderr string) capture.Ledger {
	t.Helper()
	at := strings.Index(stderr, "{\n")
	require.GreaterOrEqual(t, at, 0, stderr)
	var l capture.Ledger
	require.NoError(t, json.NewDecoder(strings.NewReader(stderr[at:])).Decode(&l), stderr)
	require.NoError(t, l.Balanced())
	return l
}

// piped starts hpcapdd with its standard output as the standard input of a program.
func piped(t *testing.T, to *exec.Cmd, args ...string) (capturing, reading *program) {
	t.Helper()
	in, out, err := os.Pipe()
	require.NoError(t, err)
	to.Stdin = in
	c := command(t, "hpcapdd", append([]string{"-w", "-", "--buffer", "8MiB", "--json"}, args...)...)
	c.Stdout = out
	capturing, reading = launch(t, c), launch(t, to)
	require.NoError(t, in.Close())
	require.NoError(t, out.Close())
	return capturing, reading
}

// What tcpdump and tshark get through a pipe is what was sent: each packet, in order.
func TestOtherProgramsReadACaptureThroughAPipe(t *testing.T) {
	file := captures(t)[0]
	sent := readPcap(t, file)
	copied := filepath.Join(t.TempDir(), "copied.pcap")
	dd, dump := piped(t, exec.Command(tool(t, "tcpdump"), "-n", "-r", "-", "-w", copied, "--nano"), "-i", "sim:pcap="+file+",backpressure")
	r := dd.wait()
	require.Zero(t, r.status, r.stderr)
	require.Zero(t, dump.wait().status, &dump.stderr)
	requireSameFrames(t, sent, readPcap(t, copied))
	l := errLedger(t, r.stderr)
	require.EqualValues(t, len(sent), l.Frames())
	require.Equal(t, "- q0", l.Storers[0].Name)
	require.Equal(t, l.Storers[0].Read, l.Storers[0].Written)

	const frames = 20_000
	dd, shark := piped(t, exec.Command(tool(t, "tshark"), "-n", "-r", "-", "-T", "fields", "-e", "frame.interface_id", "-e", "frame.time_epoch", "-e", "frame.len"),
		"-F", "pcapng", "--queues", "2", "-i", fmt.Sprintf("sim:gen,size=60-300,flows=16,rate=20kpps,count=%d", frames))
	r = dd.wait()
	require.Zero(t, r.status, r.stderr)
	end := shark.wait()
	require.Zero(t, end.status, end.stderr)
	l = errLedger(t, r.stderr)
	require.EqualValues(t, frames, l.Frames()+l.Lost())
	require.EqualValues(t, l.Frames(), strings.Count(end.stdout, "\n"))
	var of [2]uint64
	for line := range strings.Lines(end.stdout) {
		of[line[0]-'0']++
	}
	for q := range of {
		require.Equal(t, l.Queues[q].Stored, of[q], "an interface for each queue")
	}
}

// On a terminal's time scale a reader sees a packet when it arrives.
func TestPacketsComeThroughAFIFOAsTheyArrive(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	dd := launch(t, command(t, "hpcapdd", "-i", "sim:gen,size=100,rate=5pps,count=4", "-w", fifo, "--buffer", "8MiB", "--json"))
	in, err := os.Open(fifo)
	require.NoError(t, err)
	defer in.Close()
	_, err = io.ReadFull(in, make([]byte, 24))
	require.NoError(t, err)
	soon := 0
	for range 4 {
		var b [16 + 100]byte
		_, err := io.ReadFull(in, b[:])
		require.NoError(t, err)
		if time.Since(packetTime(b[:])) < 100*time.Millisecond {
			soon++
		}
	}
	require.GreaterOrEqual(t, soon, 2, "each within 100 ms of its arrival, where this process had a core")
	r := dd.wait()
	require.Zero(t, r.status, r.stderr)
	require.EqualValues(t, 4, ledger(t, r).Frames(), "standard output is free for the ledger")
}

// packetTime is the stamp of a packet in a pcap file with nanoseconds.
func packetTime(record []byte) time.Time {
	r, err := pcapfile.NewReader(bytes.NewReader(append((&pcapfile.Encoder{Format: pcapfile.Pcap}).Header(nil), record...)))
	if err != nil {
		return time.Time{}
	}
	p, err := r.Next()
	if err != nil {
		return time.Time{}
	}
	return p.Time()
}

func TestReaderThatEndsEndsTheCapture(t *testing.T) {
	dd, dump := piped(t, exec.Command(tool(t, "tcpdump"), "-n", "-c", "3", "-r", "-"),
		"-i", "sim:gen,size=60,rate=1kpps", "-i", "sim:gen,size=60,rate=1kpps,seed=2")
	end := dump.wait()
	require.Zero(t, end.status, end.stderr)
	require.Equal(t, 3, strings.Count(end.stdout, "\n"))
	r := dd.wait()
	require.Zero(t, r.status, r.stderr)
	require.Equal(t, 1, strings.Count(r.stderr, "-: closed by its reader: the capture has ended"), r.stderr)
	require.NotContains(t, r.stderr, "broken pipe")
	require.Equal(t, 2, strings.Count(r.stderr, `"balanced": true`), r.stderr)
}

// hpcapq follows a capture to a pipe: from its files and memory, and from memory alone as
// packets arrive.
func TestQueryFollowsACaptureThroughAPipe(t *testing.T) {
	dir, share := t.TempDir(), filepath.Join(shortDir(t), "share")
	dd := launch(t, command(t, "hpcapdd", "-i", "sim:gen,size=100,rate=200pps", "-w", dir, "--share", share, "--buffer", "8MiB", "--json"))
	eventually(t, "no socket", func() bool { _, err := os.Stat(filepath.Join(share, "control.sock")); return err == nil })
	for _, c := range []struct {
		args   []string
		within time.Duration
	}{
		{[]string{"-r", dir, "--share", share}, 4 * time.Second},
		{[]string{"--share", share, "-f", "ip", "-F", "pcapng"}, 200 * time.Millisecond},
	} {
		in, out, err := os.Pipe()
		require.NoError(t, err)
		q := command(t, "hpcapq", append(c.args, "--follow", "-w", "-")...)
		q.Stdout = out
		follow := launch(t, q)
		require.NoError(t, out.Close())
		dump := exec.Command(tool(t, "tcpdump"), "-n", "-l", "-tt", "-r", "-")
		dump.Stdin = in
		lines, err := dump.StdoutPipe()
		require.NoError(t, err)
		reading := launch(t, dump)
		require.NoError(t, in.Close())
		text, soon := bufio.NewScanner(lines), 0
		for range 150 {
			require.True(t, text.Scan(), "%s %s", &reading.stderr, &follow.stderr)
			var at float64
			_, err := fmt.Sscan(text.Text(), &at)
			require.NoError(t, err)
			if time.Since(time.Unix(0, int64(at*1e9))) < c.within {
				soon++
			}
		}
		require.Greater(t, soon, 50, "the reader sees packets while the capture runs")
		require.Zero(t, follow.end(unix.SIGINT).status, &follow.stderr)
		_, err = io.Copy(io.Discard, lines)
		require.NoError(t, err)
	}
	require.Zero(t, dd.end(unix.SIGINT).status, &dd.stderr)
}
