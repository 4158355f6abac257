package sched

import (
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestSCHEDFIFOWithoutPermissionSaysWhatToDo(t *testing.T) {
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_RTPRIO, &limit))
	if limit.Cur > 0 {
		t.Skip("needs a shell without a real-time limit (ulimit -r 0)")
	}
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with what it has lost
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			errs <- err
			return
		}
		errs <- setFIFO(50)
	}()
	err := <-errs
	require.NoError(t, TryFIFO(0))
	tried := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		tried <- setFIFO(50)
	}()
	require.Equal(t, <-tried, TryFIFO(50), "as a poller's thread")
	require.ErrorIs(t, err, os.ErrPermission)
	require.EqualError(t, err, "SCHED_FIFO priority 50 for a poller: operation not permitted. Allow it to the program (sudo setcap cap_sys_nice+ep PROGRAM) or to its user (ulimit -r 50, in systemd LimitRTPRIO=50)")
}
