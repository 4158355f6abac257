package sched

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

type stoppedClock struct{}

func (stoppedClock) Ticks() uint64               { return 0 }
func (stoppedClock) Nanoseconds(n uint64) uint64 { return n }

func slackOf(t *testing.T, tid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/timerslack_ns")
	require.NoError(t, err)
	return strings.TrimSpace(string(b))
}

const noSlack = "timer slack of other threads needs CAP_SYS_NICE: run the tests with sudo"

// It runs in a process of its own, whose threads it changes.
func TestTimerSlackIsOfAllThreadsButPollers(t *testing.T) {
	if os.Getenv("IXCAP_SLACK") == "" {
		c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		c.Env = append(os.Environ(), "IXCAP_SLACK=1")
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
		if bytes.Contains(out, []byte("--- SKIP")) {
			t.Skip(noSlack)
		}
		require.Contains(t, string(out), "--- PASS")
		return
	}
	err := SetTimerSlack(time.Millisecond)
	if errors.Is(err, os.ErrPermission) {
		t.Skip(noSlack)
	}
	require.NoError(t, err)
	require.Equal(t, "1000000", slackOf(t, unix.Getpid()))
	polls, done := make(chan int), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		m := NewMonitor(Config{Clock: stoppedClock{}, Core: AnyCore})
		require.NoError(t, m.Start())
		polls <- unix.Gettid()
		<-done
	}()
	require.Equal(t, "50000", slackOf(t, <-polls))
	close(done)
}
