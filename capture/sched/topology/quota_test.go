package topology

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tree writes files below a new folder.
func tree(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return root
}

const unified = "25 1 0:22 / /sys rw - sysfs sysfs rw\n30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"

func TestQuotasOfAGroupAndOfThoseAboveAreFound(t *testing.T) {
	const service = "sys/fs/cgroup/system.slice/ixcap.service/"
	root := tree(t, map[string]string{
		"proc/self/cgroup":                   "0::/system.slice/ixcap.service\n",
		"proc/self/mountinfo":                unified,
		service + "cpu.max":                  "50000 100000\n",
		service + "cpu.stat":                 "usage_usec 1\nnr_periods 20\nnr_throttled 7\nthrottled_usec 93000\n",
		"sys/fs/cgroup/system.slice/cpu.max": "max 100000\n",
		"sys/fs/cgroup/cpu.stat":             "usage_usec 1\n",
	})
	own := Quota{Group: "/system.slice/ixcap.service", File: "cpu.max", Time: 50 * time.Millisecond, Period: 100 * time.Millisecond, Throttled: 93 * time.Millisecond, Periods: 7}
	require.Equal(t, []Quota{own}, ReadQuotas(root))
	require.Equal(t, "control group /system.slice/ixcap.service: 50ms of CPU time in each 100ms (cpu.max)", own.String())
	require.Equal(t, []Quota{own}, ReadServiceQuotas(root, "ixcap.service"))
	require.Empty(t, ReadServiceQuotas(root, "other.service"))

	require.NoError(t, os.WriteFile(filepath.Join(root, service+"cpu.max"), []byte("max 100000\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(root, "sys/fs/cgroup/system.slice/cpu.max"), []byte("1000 2000"), 0o600))
	require.Equal(t, []Quota{{Group: "/system.slice", File: "cpu.max", Time: time.Millisecond, Period: 2 * time.Millisecond}}, ReadQuotas(root), "of the slice")
}

func TestQuotasOfVersion1AreFound(t *testing.T) {
	const mounts = "40 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n" +
		"41 25 0:31 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
		"42 25 0:32 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
	const group = "sys/fs/cgroup/cpu,cpuacct/inner/"
	root := tree(t, map[string]string{
		"proc/self/cgroup":                            "3:cpuset:/\n2:cpu,cpuacct:/docker/abc/inner\n0::/\n",
		"proc/self/mountinfo":                         mounts,
		group + "cpu.cfs_quota_us":                    "20000\n",
		group + "cpu.cfs_period_us":                   "100000\n",
		group + "cpu.stat":                            "nr_periods 9\nnr_throttled 4\nthrottled_time 123456789\n",
		"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":  "-1\n",
		"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
	})
	require.Equal(t, []Quota{{
		Group: "/docker/abc/inner", File: "cpu.cfs_quota_us", Time: 20 * time.Millisecond, Period: 100 * time.Millisecond, Throttled: 123456789, Periods: 4,
	}}, ReadQuotas(root))
	require.Empty(t, ReadQuotas(t.TempDir()))
}

func FuzzQuotas(f *testing.F) {
	f.Add("0::/a/b\n", unified, "nr_throttled 7\nthrottled_usec 1\n")
	f.Add("2:cpu,cpuacct:/docker/abc\n", "41 25 0:31 /docker /x rw - cgroup cgroup rw,cpu\n", "throttled_time 18446744073709551615\n")
	f.Add("1:cpu:a/../..\n:::\n", "a b c d e - cgroup x cpu\n - \n", "nr_throttled -1")
	f.Fuzz(func(t *testing.T, groups, mounts, stat string) {
		for _, m := range cpuMounts(mounts) {
			if group, ok := groupOf(groups, m); ok {
				require.Equal(t, filepath.Clean(group), group)
				require.True(t, filepath.IsAbs(group))
			}
		}
		throttled, _ := cpuStat(stat)
		require.GreaterOrEqual(t, throttled, time.Duration(0))
	})
}
