package daemon_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/testtime"
)

// readerSocket in the environment makes the test binary a listener of another process: it
// prints its account at the end of the stream.
const readerSocket = "IXCAP_TEST_READER"

func TestMain(m *testing.M) {
	if path := os.Getenv(readerSocket); path != "" {
		if err := readAll(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func readAll(path string) error {
	l, err := stream.Attach(path, "reader", stream.Options{})
	if err != nil {
		return err
	}
	for range l.Packets(context.Background()) {
	}
	if err := errors.Join(l.Err(), l.Close()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(l.Stats())
}

// startReader starts a listener of another process. The function that it returns waits for
// its account.
func startReader(t *testing.T, socket string) func() stream.ListenerStats {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env, c.Stderr = append(os.Environ(), readerSocket+"="+socket), os.Stderr
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	return func() (st stream.ListenerStats) {
		text, err := io.ReadAll(out)
		require.NoError(t, err)
		require.NoError(t, c.Wait())
		require.NoError(t, json.Unmarshal(text, &st))
		return st
	}
}

// waitingPort is a capture of a port with two queues that waits for two listeners.
func waitingPort(t *testing.T, device string, cfg daemon.Config) (r *rig, status func() control.Status, socket func(queue int) string) {
	t.Helper()
	dir := filepath.Join(folder(t), "share")
	r = open(t, parse(t, `
[defaults]
buffer = "8MiB"
[storage]
dirs = "null"
[port.a]
device = "`+device+`"
queues = 2
[share]
dir = "`+dir+`"
wait_listeners = 2
`), cfg)
	c := control.NewClient(filepath.Join(dir, "control.sock"))
	t.Cleanup(c.Close)
	status = func() control.Status {
		st, err := c.Status(t.Context())
		require.NoError(t, err)
		return st
	}
	return r, status, func(queue int) string { return filepath.Join(dir, fmt.Sprintf("a-queue%d.sock", queue)) }
}

// The listeners of a queue that another process reads get every frame, and a listener of
// the capturing process does not count.
func TestPortStartsWithItsListeners(t *testing.T) {
	states := newManager(t)
	r, status, socket := waitingPort(t, "sim:gen,count=3000,size=60-300,flows=16,backpressure", daemon.Config{Duration: time.Hour})
	done := make(chan error, 1)
	go func() { done <- r.Run(t.Context()) }()
	require.Contains(t, states.next(), "READY=1\nSTATUS=waiting for listeners", "a service that waits is ready: its listeners may be started after it")

	own, err := stream.Attach(socket(1), "own", stream.Options{Policy: stream.Lossy})
	require.NoError(t, err)
	defer own.Close()
	var readers []func() stream.ListenerStats
	for _, queue := range []int{0, 0, 1} {
		readers = append(readers, startReader(t, socket(queue)))
	}
	require.Eventually(t, func() bool {
		st := status()
		return len(st.Queues[0].Listeners) == 3 && len(st.Queues[1].Listeners) == 3
	},
		testtime.Deadline, time.Millisecond)
	time.Sleep(50 * time.Millisecond) // in which a port that did not count right would start
	st := status()
	require.Equal(t, control.Idle, st.State)
	require.Equal(t, 2, st.Awaited)
	require.Equal(t, 1, st.Arrived, "queue 1 has one of another process")

	readers = append(readers, startReader(t, socket(1)))
	require.NoError(t, <-done)
	require.Zero(t, status().Awaited)
	all := r.Ledgers()
	require.NoError(t, all[0].Err)
	require.NoError(t, all[0].Ledger.Balanced())
	require.EqualValues(t, 3000, all[0].Ledger.Frames())
	var read uint64
	for _, reader := range readers {
		read += reader().Read
	}
	require.EqualValues(t, 2*3000, read)
	require.Contains(t, states.next(), "STATUS=capturing")
	require.Contains(t, r.log.Text(), "starting: 2 listeners of other programs at each queue attached")
}

func TestPortThatWaitsForListenersEndsWithoutAStart(t *testing.T) {
	r, status, _ := waitingPort(t, "sim:gen,rate=1kpps", daemon.Config{Duration: time.Nanosecond})
	end := r.start(t)
	require.Eventually(t, func() bool { return status().Awaited == 2 }, testtime.Deadline, time.Millisecond)
	require.NoError(t, end())
	l := r.Ledgers()[0]
	require.NoError(t, l.Err)
	require.NoError(t, l.Ledger.Balanced())
	require.Zero(t, l.Ledger.Account.Wire)
	require.Contains(t, r.log.Text(), "not started: the capture ended before 2 listeners")
}
