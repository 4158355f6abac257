package topology

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Quota is a limit of CPU time of a control group: the processes in it, and in the
// groups below, together may run for Time in each Period, on all cores. When they have,
// the kernel throttles them, real-time threads excepted, until the period ends.
type Quota struct {
	Group  string        // path of the group, such as /system.slice/ixcap.service
	File   string        // that sets the limit: cpu.max, or cpu.cfs_quota_us of version 1
	Time   time.Duration // of CPU per period
	Period time.Duration

	Throttled time.Duration // since the group was made, added up over the cores
	Periods   uint64        // in which it was throttled
}

// String is "control group /x: 50ms of CPU time in each 100ms (cpu.max)".
func (q Quota) String() string {
	return fmt.Sprintf("control group %s: %v of CPU time in each %v (%s)", q.Group, q.Time, q.Period, q.File)
}

// ReadQuotas returns the quotas of this process: that of its group and of all groups
// above, versions 1 and 2, below a root folder. Groups without a limit are left out.
func ReadQuotas(root string) []Quota {
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return nil
	}
	return readQuotas(root, string(groups))
}

// ReadServiceQuotas returns the quotas that apply to a unit of systemd, whether or not
// it runs.
func ReadServiceQuotas(root, unit string) []Quota {
	group := "/system.slice/" + unit
	return readQuotas(root, "0::"+group+"\n1:cpu:"+group+"\n")
}

// readQuotas reads the quotas of the groups in the format of /proc/self/cgroup.
func readQuotas(root, groups string) (all []Quota) {
	mounts, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return nil
	}
	for _, m := range cpuMounts(string(mounts)) {
		group, ok := groupOf(groups, m)
		for ok {
			if q, limited := readQuota(filepath.Join(root, m.at, group), m.version); limited {
				q.Group = path.Join(m.root, group)
				all = append(all, q)
			}
			ok = group != "/"
			group = path.Dir(group)
		}
	}
	return all
}

// groupMount is a hierarchy of control groups that limits CPU time.
type groupMount struct {
	version int    // 1 or 2
	root    string // the group that is mounted
	at      string // where
}

// cpuMounts finds the hierarchies in the text of /proc/self/mountinfo (proc(5)).
func cpuMounts(mountinfo string) (all []groupMount) {
	for line := range strings.Lines(mountinfo) {
		mount, kind, ok := strings.Cut(line, " - ")
		fields, types := strings.Fields(mount), strings.Fields(kind)
		if !ok || len(fields) < 5 || len(types) < 3 {
			continue
		}
		m := groupMount{root: fields[3], at: fields[4]}
		switch {
		case types[0] == "cgroup2":
			m.version = 2
		case types[0] == "cgroup" && slices.Contains(strings.Split(types[2], ","), "cpu"):
			m.version = 1
		default:
			continue
		}
		all = append(all, m)
	}
	return all
}

// groupOf finds a process's group of a hierarchy in the text of /proc/self/cgroup
// (cgroups(7)), as a path below the mount.
func groupOf(groups string, m groupMount) (group string, ok bool) {
	for line := range strings.Lines(groups) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		unified := fields[0] == "0" && fields[1] == ""
		if m.version == 2 && !unified || m.version == 1 && !slices.Contains(strings.Split(fields[1], ","), "cpu") {
			continue
		}
		group = path.Clean("/" + fields[2])
		if below, inside := strings.CutPrefix(group, path.Clean("/"+m.root)); inside && (below == "" || below[0] == '/' || m.root == "/") {
			group = path.Clean("/" + below)
		}
		return group, true
	}
	return "", false
}

// readQuota reads the limit of a group and how often it was reached; false: there is no
// limit.
func readQuota(dir string, version int) (q Quota, limited bool) {
	text := func(file string) string {
		b, _ := os.ReadFile(filepath.Join(dir, file))
		return strings.TrimSpace(string(b))
	}
	limit, period := "", ""
	if version == 2 {
		q.File = "cpu.max"
		limit, period, _ = strings.Cut(text(q.File), " ")
	} else {
		q.File = "cpu.cfs_quota_us"
		limit, period = text(q.File), text("cpu.cfs_period_us")
	}
	us, err := strconv.ParseUint(limit, 10, 40)
	every, wrong := strconv.ParseUint(period, 10, 40)
	if err != nil || wrong != nil { // max, -1, or no such file
		return q, false
	}
	q.Time, q.Period = time.Duration(us)*time.Microsecond, time.Duration(every)*time.Microsecond
	q.Throttled, q.Periods = cpuStat(text("cpu.stat"))
	return q, true
}

// cpuStat parses the throttling in cpu.stat of both versions: lines of a name and a
// number, throttled_usec in us, throttled_time in ns.
func cpuStat(text string) (throttled time.Duration, periods uint64) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(value, 10, 53)
		if err != nil {
			continue
		}
		switch name {
		case "nr_throttled":
			periods = n
		case "throttled_usec":
			throttled = time.Duration(n) * time.Microsecond
		case "throttled_time":
			throttled = time.Duration(n)
		}
	}
	return throttled, periods
}
