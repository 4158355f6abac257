package hpcapmon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// machine computes the use of cores and memory.
type machine struct {
	proc   string
	before map[string]ticks
}

// ticks are the times of a core since boot, in units of USER_HZ.
type ticks struct{ busy, all uint64 }

// line returns the use of each core since the last line, in percent, and that of
// memory in KiB.
func (m *machine) line() (string, error) {
	stat, err := os.ReadFile(filepath.Join(m.proc, "stat"))
	if err != nil {
		return "", err
	}
	info, err := os.ReadFile(filepath.Join(m.proc, "meminfo"))
	if err != nil {
		return "", err
	}
	names, now, err := cores(string(stat))
	if err != nil {
		return "", err
	}
	var words []string
	for _, name := range names {
		was, is := m.before[name], now[name]
		if is.all <= was.all || is.busy < was.busy { // the core was offline in between
			was = ticks{}
		}
		used := 0.0
		if all := is.all - was.all; all > 0 {
			used = 100 * float64(is.busy-was.busy) / float64(all)
		}
		words = append(words, fmt.Sprintf("%.1f", used))
	}
	m.before = now
	total, used, free, cached, err := memory(string(info))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d %d %d %d", strings.Join(words, " "), total, used, free, cached), nil
}

// cores parses the lines of /proc/stat for single cores.
func cores(stat string) (names []string, all map[string]ticks, err error) {
	const idle, iowait, virtual = 3, 4, 8
	all = map[string]ticks{}
	for line := range strings.Lines(stat) {
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(fields[0], "cpu") || fields[0] == "cpu" {
			continue
		}
		var t ticks
		for i, word := range fields[1:] {
			n, err := strconv.ParseUint(word, 10, 64)
			if err != nil {
				return nil, nil, fmt.Errorf("/proc/stat: %q: %w", strings.TrimSpace(line), err)
			}
			if i >= virtual { // included in user time
				break
			}
			t.all += n
			if i != idle && i != iowait {
				t.busy += n
			}
		}
		names = append(names, fields[0])
		all[fields[0]] = t
	}
	if len(names) == 0 {
		return nil, nil, errors.New("/proc/stat: no core")
	}
	return names, all, nil
}

// memory parses /proc/meminfo. Values are in KiB.
func memory(info string) (total, used, free, cached uint64, err error) {
	kib := map[string]uint64{}
	for line := range strings.Lines(info) {
		name, rest, _ := strings.Cut(line, ":")
		if fields := strings.Fields(rest); len(fields) > 0 {
			if n, err := strconv.ParseUint(fields[0], 10, 64); err == nil {
				kib[name] = n
			}
		}
	}
	total, free = kib["MemTotal"], kib["MemFree"]
	cached = kib["Cached"] + kib["Buffers"] + kib["SReclaimable"]
	if total == 0 {
		return 0, 0, 0, 0, errors.New("/proc/meminfo: no MemTotal")
	}
	// The kernel does not count all of them at one moment.
	return total, total - min(total, free+cached), free, cached, nil
}
