package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/sched"
)

// causeOf returns a ledger's loss for a cause, nil if there is none.
func causeOf(l capture.Ledger, cause sched.Cause) *sched.LossCause {
	for i := range l.LossCauses {
		if l.LossCauses[i].Cause == cause {
			return &l.LossCauses[i]
		}
	}
	return nil
}

// capturing starts a capture of a model in another process, which goes on sending
// whatever becomes of the capture.
func capturing(t *testing.T) *program {
	t.Helper()
	sock := filepath.Join(t.TempDir(), "nic.sock")
	model := launch(t, command(t, "nicsim", "--socket", sock, "--wire", "gen,size=60,rate=500kpps"))
	model.waitStderr("serving on")
	dd := launch(t, command(t, "hpcapdd", "-i", "vfio-user:"+sock, "-w", "null", "--buffer", "8MiB", "--json", "--progress"))
	dd.waitStderr("received")
	return dd
}

// quotaGroup is a control group, version 1 or 2.
type quotaGroup struct{ dir, file string }

// newQuotaGroup makes a group with a CPU quota.
func newQuotaGroup(t *testing.T, quota time.Duration) quotaGroup {
	t.Helper()
	name := fmt.Sprintf("ixcap-e2e-%d", os.Getpid())
	for root, file := range map[string]string{
		"/sys/fs/cgroup": "cpu.max", "/sys/fs/cgroup/cpu": "cpu.cfs_quota_us", "/sys/fs/cgroup/cpu,cpuacct": "cpu.cfs_quota_us",
	} {
		g := quotaGroup{filepath.Join(root, name), file}
		if os.Mkdir(g.dir, 0o755) != nil {
			continue
		}
		_, err := os.Stat(filepath.Join(g.dir, "cgroup.procs")) // the kernel made it
		if err != nil || g.set(quota) != nil {
			require.NoError(t, os.Remove(g.dir))
			continue
		}
		t.Cleanup(func() { eventually(t, "the group is in use", func() bool { return os.Remove(g.dir) == nil }) })
		return g
	}
	t.Skip("needs root and control groups with the cpu controller that can be written: capture/sched/topology tests the parsing")
	return quotaGroup{}
}

// set allows the processes of the group together a time of each second.
func (g quotaGroup) set(quota time.Duration) error {
	if g.file == "cpu.max" {
		return os.WriteFile(filepath.Join(g.dir, g.file), fmt.Appendf(nil, "%d 1000000", quota.Microseconds()), 0o600)
	}
	return errors.Join(os.WriteFile(filepath.Join(g.dir, "cpu.cfs_period_us"), []byte("1000000"), 0o600),
		os.WriteFile(filepath.Join(g.dir, g.file), fmt.Append(nil, quota.Microseconds()), 0o600))
}

func TestACPUQuotaIsToldFromOtherLoad(t *testing.T) {
	group := newQuotaGroup(t, 10*time.Millisecond)
	dd := capturing(t)
	require.NoError(t, os.WriteFile(filepath.Join(group.dir, "cgroup.procs"), []byte(strconv.Itoa(dd.Process.Pid)), 0o600))
	time.Sleep(3 * time.Second)
	require.NoError(t, group.set(10*time.Second)) // so that it can end
	time.Sleep(1500 * time.Millisecond)
	r := dd.end(unix.SIGTERM)
	require.Zero(t, r.status, r.stderr)
	l := ledger(t, r)
	c := causeOf(l, sched.CauseQuota)
	require.NotNil(t, c, "%+v\n%s", l.LossCauses, r.stderr)
	require.Contains(t, c.Worst.Quota, filepath.Base(group.dir))
	require.NotZero(t, c.Worst.Periods)
	require.Contains(t, r.stderr, "CPU quota of a control group")
}

func TestAStoppedCaptureSaysSo(t *testing.T) {
	dd := capturing(t)
	require.NoError(t, dd.Process.Signal(unix.SIGSTOP))
	time.Sleep(time.Second)
	require.NoError(t, dd.Process.Signal(unix.SIGCONT))
	time.Sleep(2500 * time.Millisecond)
	r := dd.end(unix.SIGTERM)
	require.Zero(t, r.status, r.stderr)
	l := ledger(t, r)
	stopped := func(g sched.Gap) bool { return g.Cause == sched.CauseStopped && g.Length > 500*time.Millisecond }
	require.True(t, slices.ContainsFunc(l.Queues[0].WorstGaps, stopped), "%+v\n%s", l.Queues[0].WorstGaps, r.stderr)
	if c := causeOf(l, sched.CauseStopped); c != nil { // the model sends as much as the machine lets it
		require.Contains(t, r.stderr, "process stopped or machine suspended")
	}
}
