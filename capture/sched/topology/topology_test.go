package topology

import (
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// folder makes a root folder with files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		name = filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text+"\n"), 0o644))
	}
	return root
}

// twoNodes is a machine of two nodes with four cores of two hyperthreads each, as
// Linux numbers them: core i's other thread is i+8.
func twoNodes(t *testing.T, more map[string]string) Machine {
	files := map[string]string{
		"sys/devices/system/cpu/online":         "0-15",
		"sys/devices/system/cpu/isolated":       "",
		"sys/devices/system/cpu/nohz_full":      "(null)",
		"sys/devices/system/node/node0/cpulist": "0-3,8-11",
		"sys/devices/system/node/node1/cpulist": "4-7,12-15",
	}
	for core := range 16 {
		pair := FormatList([]int{core % 8, core%8 + 8})
		files["sys/devices/system/cpu/cpu"+strconv.Itoa(core)+"/topology/thread_siblings_list"] = pair
	}
	maps.Copy(files, more)
	return Read(folder(t, files))
}

func TestChooseSelectsCores(t *testing.T) {
	all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	isolated, tickless := "sys/devices/system/cpu/isolated", "sys/devices/system/cpu/nohz_full"
	for _, c := range []struct {
		name          string
		files         map[string]string
		pollers, node int
		allowed       []int
		want          []int
		why           string // of the first
	}{
		{"the last of the node", nil, 1, 0, all, []int{11}, "not isolated, hyperthread of 3, NUMA node 0"},
		{"unknown node", nil, 1, -1, all, []int{15}, "not isolated, hyperthread of 7"},
		{"missing node", nil, 1, 7, all, []int{15}, "not isolated, hyperthread of 7"},
		{"different physical cores", nil, 3, 1, all, []int{13, 14, 15}, "hyperthread of 5"},
		{"avoids core 0 and its hyperthread", nil, 3, 0, all, []int{9, 10, 11}, "hyperthread of 1"},
		{"core 0's hyperthread before another poller's", nil, 4, 0, all, []int{8, 9, 10, 11}, "hyperthread of 0"},
		{"another poller's hyperthread last", nil, 5, 0, all, []int{3, 8, 9, 10, 11}, "hyperthread of 11 (another poller's core)"},
		{"isolated first", map[string]string{isolated: "2,5"}, 1, 0, all, []int{2}, "isolated, with timer tick"},
		{"isolated without tick first", map[string]string{isolated: "2-3", tickless: "2"}, 1, 0, all, []int{2}, "isolated, without timer tick"},
		{"isolated hyperthreads", map[string]string{isolated: "3,11"}, 2, 0, all, []int{3, 11}, "isolated, with timer tick, hyperthread of 11 (another poller's core)"},
		{"isolated, different physical cores", map[string]string{isolated: "2-3,10-11"}, 2, 0, all, []int{10, 11}, "isolated, with timer tick, hyperthread of 2"},
		{"allowed cores only", nil, 1, 0, []int{1, 2, 4}, []int{2}, "not isolated"},
		{"core 0 if there is no other", nil, 1, 0, []int{0, 4, 5}, []int{0}, "default core of interrupts and kernel threads"},
		{"too few would remain", nil, 1, -1, []int{0, 1}, []int{AnyCore}, "of 2 cores, fewer than 2 would remain"},
		{"too few on the node", nil, 2, 0, []int{3, 4, 5, 6}, []int{AnyCore, AnyCore}, "only 1 core on NUMA node 0 for 2 pollers"},
		{"isolated cores leave the rest", map[string]string{isolated: "1"}, 1, -1, []int{0, 1}, []int{1}, "isolated"},
		{"no cores", nil, 1, -1, nil, []int{AnyCore}, "only 0 cores for 1 poller"},
	} {
		t.Run(c.name, func(t *testing.T) {
			choices := twoNodes(t, c.files).Choose(c.pollers, c.allowed, c.node, 2)
			var got []int
			why := ""
			for _, choice := range choices {
				got = append(got, choice.Core)
				why += choice.Reason + "\n"
			}
			require.Equal(t, c.want, got)
			require.Contains(t, why, c.why)
		})
	}
}

func TestIsolatedCoresAreAllowedUnlessTheAffinityWasNarrowed(t *testing.T) {
	m := Machine{Online: []int{0, 1, 2, 3}, Isolated: []int{2, 3}}
	require.Equal(t, []int{0, 1, 2, 3}, m.Allowed([]int{0, 1}), "what the kernel gives a process with isolcpus=2-3")
	require.Equal(t, []int{0}, m.Allowed([]int{0}), "taskset -c 0")
	require.Equal(t, []int{0, 1, 2}, m.Allowed([]int{0, 1, 2}))
	m.Isolated = nil
	require.Equal(t, []int{0, 1}, m.Allowed([]int{0, 1}))
	require.Empty(t, m.Allowed(nil), "unknown affinity")
}

func TestAnEmptyFolderIsAnUnknownMachine(t *testing.T) {
	m := Read(t.TempDir())
	require.Empty(t, m.Online)
	require.Empty(t, m.Node(0))
	require.Empty(t, m.Siblings(0))
	require.Empty(t, m.Governor(0))
	rt := ReadRealTime(t.TempDir())
	require.Equal(t, RealTime{}, rt)
	require.Zero(t, rt.StopTime())
}

func TestRealTimeLimitsAreRead(t *testing.T) {
	const runtime, period, release = "proc/sys/kernel/sched_rt_runtime_us", "proc/sys/kernel/sched_rt_period_us", "proc/sys/kernel/osrelease"
	const limits, status = "proc/self/limits", "proc/self/status"
	for _, c := range []struct {
		name    string
		files   map[string]string
		want    RealTime
		stopped time.Duration
	}{
		{"the kernel's default", map[string]string{runtime: "950000", period: "1000000", release: "6.1.0-56-amd64"},
			RealTime{Known: true, Runtime: 950 * time.Millisecond, Period: time.Second}, 50 * time.Millisecond},
		{"switched off", map[string]string{runtime: "-1", period: "1000000", release: "6.12.0"},
			RealTime{Known: true, Runtime: -time.Microsecond, Period: time.Second, FairServer: true}, 0},
		{"all of the time", map[string]string{runtime: "1000000", period: "1000000", release: "7.2.1"},
			RealTime{Known: true, Runtime: time.Second, Period: time.Second, FairServer: true}, 0},
		{"a limit for the user", map[string]string{limits: "Max nice priority         0   0\nMax realtime priority     50  99"}, RealTime{Priority: 50}, 0},
		{"no limit", map[string]string{limits: "Max realtime priority     unlimited  unlimited"}, RealTime{Priority: 99}, 0},
		{"the capability", map[string]string{limits: "Max realtime priority     0  0", status: "Name:\tx\nCapEff:\t0000000000800000"}, RealTime{Priority: 99, Capability: true}, 0},
		{"another capability", map[string]string{status: "CapEff:\t0000000000400000"}, RealTime{}, 0},
		{"malformed", map[string]string{runtime: "x", period: "", limits: "Max realtime priority\n", status: "CapEff:\tzz"}, RealTime{}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			rt := ReadRealTime(folder(t, c.files))
			require.Equal(t, c.want, rt)
			require.Equal(t, c.stopped, rt.StopTime())
		})
	}
}

func TestListsOfCoresAreReadAsTheKernelWritesThem(t *testing.T) {
	for list, want := range map[string][]int{"0": {0}, "0-3": {0, 1, 2, 3}, "0-1,8,10-11": {0, 1, 8, 10, 11}} {
		got, err := ParseList(list)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, list, FormatList(got))
	}
	for _, list := range []string{"", "x", "3-1", "1,,2", "1-", "-1", "99999", "(null)"} {
		_, err := ParseList(list)
		require.Error(t, err, "%q", list)
	}
}

func FuzzParseList(f *testing.F) {
	for _, seed := range []string{"0-3,8", "", "1-", "65535", "0-65535", "3-1", "(null)"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		cores, err := ParseList(list)
		if err != nil {
			return
		}
		require.NotEmpty(t, cores)
		for i := 1; i < len(cores); i++ {
			if cores[i] <= cores[i-1] {
				return // FormatList requires an ascending list
			}
		}
		back, err := ParseList(FormatList(cores))
		require.NoError(t, err)
		require.Equal(t, cores, back)
	})
}
