package sched

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/internal/logtest"
)

func TestAddPollersRaisesGOMAXPROCSAndLogsItOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU()))
	t.Setenv("GOMAXPROCS", "")
	var log logtest.Recorder
	add := func(pollers int) int {
		AddPollers(log.Logger(), pollers)
		t.Cleanup(func() { RemovePollers(pollers) })
		return runtime.GOMAXPROCS(0) - runtime.NumCPU()
	}
	require.Equal(t, 3, add(2))
	require.Len(t, log.Lines(), 1)
	require.Regexp(t, `^GOMAXPROCS raised from \d+ to \d+, pollers: 2$`, log.Take()[0])
	require.Equal(t, 4, add(1), "pollers of several engines add up")
	require.Len(t, log.Take(), 1)
	RemovePollers(1)
	require.Equal(t, 4, add(1))
	require.Empty(t, log.Take(), "enough processors")
	processors.pollers++ // of the RemovePollers above

	runtime.GOMAXPROCS(runtime.NumCPU())
	t.Setenv("GOMAXPROCS", "1")
	require.Zero(t, add(5), "the environment wins")
	require.Empty(t, log.Lines())
}
