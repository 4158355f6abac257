package query

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/stream"
)

func TestSocketsFindsThoseOfOneAndOfSeveralPorts(t *testing.T) {
	for name, c := range map[string]struct{ files, want []string }{
		"one port":      {[]string{"queue10.sock", "queue0.sock", "queue2.sock", "control.sock"}, []string{"queue0.sock", "queue2.sock", "queue10.sock"}},
		"several ports": {[]string{"b-queue0.sock", "a-queue1.sock", "a-queue0.sock", "control.sock"}, []string{"a-queue0.sock", "a-queue1.sock", "b-queue0.sock"}},
		"hyphens":       {[]string{"eth-queue1-queue0.sock"}, []string{"eth-queue1-queue0.sock"}},
		"others":        {[]string{"control.sock", "queue.sock", "queue0.sock.tmp", "-queue0.sock", "aqueue0.sock"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range c.files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, f), nil, 0o600))
			}
			got, err := Sockets(dir)
			if c.want == nil {
				require.ErrorContains(t, err, "no capture shares its queues there")
				return
			}
			require.NoError(t, err)
			for i := range c.want {
				c.want[i] = filepath.Join(dir, c.want[i])
			}
			require.Equal(t, c.want, got)
		})
	}
	_, err := Sockets(filepath.Join(t.TempDir(), "gone"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestLiveDataOfTwoPortsIsFoundInTheFolder(t *testing.T) {
	dir, share := t.TempDir(), t.TempDir()
	for i, port := range []string{"eth2", "eth3"} {
		q := newLiveQueue(t, dir, 0, uint64(70+i))
		_, err := q.stream.Serve(stream.ServerConfig{Path: filepath.Join(share, port+"-queue0.sock"), Mode: 0o600})
		require.NoError(t, err)
		q.allowed.Store(100)
		go q.produce(100) // less than a block: no file before the end
		require.Eventually(t, func() bool { return q.published.Load() == 100 }, 30*time.Second, time.Millisecond)
	}
	sockets, err := Sockets(share)
	require.NoError(t, err)
	require.Len(t, sockets, 2)
	got, s, warned, _ := ask(t, Request{Live: sockets}, dir)
	require.Len(t, got, 200)
	require.EqualValues(t, 200, s.Live)
	require.Empty(t, warned)
}
