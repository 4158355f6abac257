package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/examples/internal/cli"
	_ "github.com/ixcap/ixcap/sim"
)

// While a capture runs, the output of a query is the begin of that over the final
// files, byte for byte.
func TestLiveOutputIsABeginOfTheFinalOutput(t *testing.T) {
	const queues = 2
	dir, shared := t.TempDir(), t.TempDir()
	port, err := nic.Open("sim:gen,count=20000,size=1000,rate=10kpps,flows=64,backpressure", nic.Config{Queues: queues})
	require.NoError(t, err)
	engine, err := capture.New(port, capture.Config{Buffer: 4 << 20, Segment: 2 << 20})
	require.NoError(t, err)
	for q := range queues {
		_, err := engine.Stream(q).Serve(stream.ServerConfig{Path: filepath.Join(shared, fmt.Sprintf("queue%d.sock", q)), Mode: 0o600})
		require.NoError(t, err)
	}
	done := make(chan error, 1)
	go func() {
		l, err := recorder.Run(t.Context(), engine, recorder.Config{
			Dirs: []string{dir}, Queue: capture.AllQueues, Segment: 2 << 20, Store: rawstore.Config{Port: "sim:gen"},
		})
		if err == nil {
			err = l.Balanced()
		}
		done <- err
	}()
	ask := func(i, queue int, args ...string) []byte {
		out := filepath.Join(t.TempDir(), fmt.Sprintf("%d.pcap", i))
		args = append([]string{"-r", dir, "--queue", fmt.Sprint(queue), "-f", "udp or tcp", "-w", out}, args...)
		require.NoError(t, cli.Execute(command(runQuery, maintain), args...))
		b, err := os.ReadFile(out)
		require.NoError(t, err)
		return b
	}
	var outputs [queues][][]byte
	for running := true; running; {
		for q := range queues {
			outputs[q] = append(outputs[q], ask(len(outputs[q]), q, "--share", shared))
		}
		select {
		case err := <-done:
			require.NoError(t, err)
			running = false
		default:
		}
	}
	require.NoError(t, engine.Close())
	for q, all := range outputs {
		last, grew := ask(-1, q), 0
		for i, a := range all {
			require.True(t, bytes.HasPrefix(last, a), "queue %d, output %d: %d of %d bytes", q, i, len(a), len(last))
			if i > 0 && len(a) > len(all[i-1]) {
				grew++
			}
			require.True(t, i == 0 || len(a) >= len(all[i-1]), "an output includes the earlier ones")
		}
		require.Greater(t, len(last), 1<<20)
		require.NotZero(t, grew)
		t.Logf("queue %d: %d outputs, of 0 to %d bytes", q, len(all), len(last))
	}
}
