package sched

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/sched/topology"
)

// machineOf makes a machine out of the files of its sysfs.
func machineOf(t *testing.T, files map[string]string) topology.Machine {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		name = filepath.Join(root, "sys/devices/system", name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text+"\n"), 0o644))
	}
	return topology.Read(root)
}

func TestPlaceUsesRequestedCoresOrChoosesAmongTheUsable(t *testing.T) {
	four := []int{0, 1, 2, 3}
	for _, c := range []struct {
		name              string
		pollers, fifo     int
		requested, usable []int
		want              []int
	}{
		{"requested", 2, 0, []int{1, AnyCore}, four, []int{1, AnyCore}},
		{"two cores are too few", 1, 0, nil, []int{0, 1}, []int{AnyCore}},
		{"but not with SCHED_FIFO", 1, 50, nil, []int{0, 1}, []int{1}},
		{"three are enough for one", 1, 0, nil, []int{0, 1, 2}, []int{2}},
		{"four for two", 2, 0, nil, four, []int{2, 3}},
		{"not for three", 3, 0, nil, four, []int{AnyCore, AnyCore, AnyCore}},
		{"nothing known", 1, 0, nil, nil, []int{AnyCore}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := machineOf(t, map[string]string{"cpu/online": "0-3"})
			var got []int
			for _, choice := range Place(c.pollers, c.fifo, c.requested, -1, m, c.usable) {
				require.NotEmpty(t, choice.Reason)
				got = append(got, choice.Core)
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestSCHEDFIFOMustLeaveACoreForEverythingElse(t *testing.T) {
	for _, c := range []struct {
		name     string
		priority int
		cores    []int
		usable   []int
		want     string // "" for no error
	}{
		{"off", 0, []int{0, 1}, []int{0, 1}, ""},
		{"one of two cores", 50, []int{1}, []int{0, 1}, ""},
		{"both of two cores", 50, []int{0, 1}, []int{0, 1}, "none would be left"},
		{"the only core", 1, []int{0}, []int{0}, "none would be left"},
		{"an isolated core besides the only one", 50, []int{1}, []int{0}, ""},
		{"not pinned, on the only core", 50, []int{AnyCore}, []int{0}, "none would be left"},
		{"not pinned, on two", 50, []int{AnyCore}, []int{0, 1}, ""},
		{"one pinned and one not, on two", 50, []int{AnyCore, 1}, []int{0, 1}, "none would be left"},
		{"two on one core", 50, []int{1, 1}, []int{0, 1, 2, 3}, "two pollers on core 1"},
		{"too high", 100, []int{1}, []int{0, 1}, "Choose 1 to 99"},
		{"negative", -1, []int{1}, []int{0, 1}, "Choose 1 to 99"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var choices []topology.Choice
			for _, core := range c.cores {
				choices = append(choices, topology.Choice{Core: core})
			}
			err := CheckFIFO(c.priority, choices, c.usable)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
		})
	}
}

func TestACoreThatIsNotThereCannotBeReached(t *testing.T) {
	require.False(t, reachable(1000))
	for _, core := range allowedCores() {
		require.True(t, reachable(core))
	}
	require.Len(t, allowedCores(), runtime.NumCPU(), "trying has not narrowed the process")
}

func TestRequestedCoresMustBeUsable(t *testing.T) {
	cores := allowedCores()
	require.NoError(t, CheckCores(append(cores, AnyCore), topology.Read("/")))
	require.NoError(t, CheckCores(nil, topology.Machine{}))
	four := machineOf(t, map[string]string{"cpu/online": "0-3"})
	require.EqualError(t, CheckCores([]int{cores[0], 1000}, four), "core 1000 for a poller: this machine has the cores 0-3. Choose one of them")
	excluded := machineOf(t, map[string]string{"cpu/online": "0-1000"})
	require.ErrorContains(t, CheckCores([]int{1000}, excluded), "core 1000 for a poller: this process may not use it. Choose one of ")
}

func TestThisProcessMayRunSomewhere(t *testing.T) {
	require.Len(t, allowedCores(), runtime.NumCPU())
}
