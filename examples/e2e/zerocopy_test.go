package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/stream"
)

// Listeners of this process, of others and in C read what the files of a capture without a copy
// have. The pool is smaller than the traffic, so its buffers are used again many times.
func TestListenersOfAPoolReadWhatItsFilesHave(t *testing.T) {
	s := newSharedPort(t, sharedFrames, nic.Config{Chunks: 24, ChunkSize: 256}, capture.Config{})
	exe, c := creader(t), func() {}
	if exe != "" {
		c = s.startCReader(exe, "C")
	}
	lossless := []func() report{
		s.startClient(client{Name: "process"}),
		s.startClient(client{Name: "process, bytes", Bytes: true}),
		s.runClient(client{Name: "own"}),
		s.runClient(client{Name: "own, bytes", Bytes: true}),
	}
	lossy := s.startClient(client{Name: "lossy", Options: stream.Options{Policy: stream.Lossy}})
	l, truth := s.capture(sharedFrames)
	c()
	for _, wait := range lossless {
		requireAllFrames(t, truth, wait())
	}
	requireAllButOverrun(t, truth, lossy())
	require.Equal(t, 24, l.Queues[0].Pool.Chunks)
}

// startZeroCopy starts hpcapdd --zero-copy and waits until it receives.
func startZeroCopy(t *testing.T, dir, share string, args ...string) *program {
	p := launch(t, command(t, "hpcapdd", append([]string{"--zero-copy", "-B", "8MiB", "-w", dir, "--share", share, "--json", "--progress"}, args...)...))
	p.waitStderr("Gb/s")
	return p
}

// hpcapdd --zero-copy is shown, searched and metered while it captures, and its ledger balances.
func TestProgramsWorkWithAZeroCopyCapture(t *testing.T) {
	const frames = 5000 // in the buffers of the pool more than once
	dir, share := t.TempDir(), shortDir(t)
	p := startZeroCopy(t, dir, share, "-i", "sim:gen,size=60-9000,flows=16,rate=4kpps,backpressure", "-C", "4MiB", "--metrics", "127.0.0.1:0")
	p.waitStderr("zero copy: frames stay in the packet buffers, each queue has a pool of 31 chunks of 256 packet buffers, 16.0 MiB: 533µs of the shortest frames at line rate")
	ctl := func(args ...string) []string {
		return append([]string{"--socket", filepath.Join(share, "control.sock")}, args...)
	}
	var s control.Status
	eventually(t, "few frames are stored", func() bool {
		s = asJSON[control.Status](t, ctl("status")...)
		return s.Queues[0].Stored >= frames
	})
	require.Equal(t, &capture.PoolAccount{Chunks: 31, ChunkSize: 256, Bytes: 31 * 256 * 2112, Depth: s.Queues[0].Pool.Depth}, s.Queues[0].Pool)
	require.EqualValues(t, 31*256*2112, s.Queues[0].BufferBytes)
	require.Contains(t, succeed(t, "hpcapctl", ctl("status")...).stdout, "zero copy  each queue has a pool of 31 chunks of 256 packet buffers")
	require.Contains(t, succeed(t, "hpcapctl", ctl("ledger")...).stdout, "not copied: a pool of 31 chunks")

	live := filepath.Join(t.TempDir(), "live.pcap")
	succeed(t, "hpcapq", "-r", dir, "--share", share, "-w", live)
	inMemory := readPcap(t, live)
	require.GreaterOrEqual(t, len(inMemory), frames, "out of files and the buffers of the capture")

	address := regexp.MustCompile(`http://\S+`).FindString(p.stderr.String())
	r, err := http.Get(address)
	require.NoError(t, err)
	defer r.Body.Close()
	var metrics bytes.Buffer
	_, err = metrics.ReadFrom(r.Body)
	require.NoError(t, err)
	require.Contains(t, metrics.String(), "ixcap_queue_pool_depth_seconds{")
	require.Contains(t, metrics.String(), "ixcap_queue_pool_chunks{")

	end := p.end(unix.SIGINT)
	require.Zero(t, end.status, end.stderr)
	l := ledger(t, end)
	require.NoError(t, l.Balanced())
	require.Zero(t, l.Lost())
	require.Equal(t, 31, l.Queues[0].Pool.Chunks)
	stored, _ := readRaw(t, dir)
	requireSameFrames(t, inMemory, stored[:len(inMemory)])
}

// unstamped returns the files of a directory without names and stamps: RAW records, or packets of
// pcap files.
func unstamped(t *testing.T, dir string) (all []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		switch filepath.Ext(path) {
		case ".raw":
			for at := 0; at < len(b); {
				h := rawfile.DecodeHeader(b[at:])
				clear(b[at : at+8])
				at += rawfile.HeaderLen + int(h.Caplen)
			}
		case ".pcap":
			for at := 24; at < len(b); {
				clear(b[at : at+8])
				at += 16 + int(uint32(b[at+8])|uint32(b[at+9])<<8)
			}
		default:
			continue
		}
		all = append(all, string(b))
	}
	return all
}

// Files of the same traffic are the same bytes with and without a copy but for the stamps.
func TestFilesAreTheSameWithoutACopy(t *testing.T) {
	for name, args := range map[string][]string{
		"raw":            {"-C", "2MiB"},
		"raw, cut":       {"-C", "1MiB", "--rules", "(less 3000) 100; all"},
		"pcap, filtered": {"-F", "pcap", "-C", "2MiB", "--store-filter", "tcp or udp"},
	} {
		t.Run(name, func(t *testing.T) {
			var files [2][]string
			for i, mode := range []string{"--zero-copy=false", "--zero-copy"} {
				dir := t.TempDir()
				r := succeed(t, "hpcapdd", append([]string{mode, "-B", "4MiB", "-i", "sim:gen,size=60-9000,flows=64,count=3000,backpressure", "-w", dir, "--json"}, args...)...)
				var l capture.Ledger
				require.NoError(t, json.Unmarshal([]byte(r.stdout), &l))
				require.EqualValues(t, 3000, l.Frames())
				require.Equal(t, i == 1, l.Queues[0].Pool != nil)
				files[i] = unstamped(t, dir)
			}
			require.Greater(t, len(files[0]), 3)
			require.Len(t, files[1], len(files[0]))
			for i := range files[0] {
				require.True(t, files[0][i] == files[1][i], "file %d", i)
			}
		})
	}
}
