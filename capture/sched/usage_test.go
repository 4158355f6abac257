package sched

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSchedstatParsesTheFormatOfTheKernel(t *testing.T) {
	for text, want := range map[string][2]uint64{
		"502427206 110303222 108\n": {502427206, 110303222}, "0 0 0\n": {}, "": {}, "x": {}, "12": {12, 0},
	} {
		ran, waited := schedstat([]byte(text))
		require.Equal(t, want, [2]uint64{ran, waited}, text)
	}
}

func TestTheUsageOfAThreadGrows(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var u threadUsage
	require.False(t, u.read().timed, "not opened")
	u.open()
	defer u.close()
	first := u.read()
	require.True(t, first.counted)
	for end := time.Now().Add(30 * time.Second); u.read().blocked+u.read().preempted == first.blocked+first.preempted; time.Sleep(ms) {
		require.True(t, time.Now().Before(end), "a thread that sleeps is switched")
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { u.read() }))
}
